//! What a text's own wording says about its worth as an answer.

use super::{
    codec::{FIRST_PERSON, IS_ASKING, TEMPORAL},
    sentences::sentences,
};

/// The features of one text.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Features {
    /// [`IS_ASKING`], [`FIRST_PERSON`], [`TEMPORAL`].
    pub(super) flags: u8,
    /// The share of its characters that are in questions, from 0 to 1.
    pub(super) question_share: f32,
}

const TIME_WORDS: &[&str] = &[
    "ago",
    "afternoon",
    "april",
    "august",
    "day",
    "december",
    "evening",
    "february",
    "friday",
    "january",
    "july",
    "june",
    "last",
    "march",
    "may",
    "monday",
    "month",
    "morning",
    "next",
    "night",
    "november",
    "october",
    "recently",
    "saturday",
    "september",
    "since",
    "soon",
    "sunday",
    "thursday",
    "today",
    "tomorrow",
    "tonight",
    "tuesday",
    "wednesday",
    "week",
    "weekend",
    "year",
    "yesterday",
];
const FIRST_PERSON_WORDS: [&str; 6] = ["i", "my", "me", "we", "our", "mine"];

/// The features of a text, apart from a bracketed note at its end.
pub(super) fn of_text(text: &str) -> Features {
    let body = without_note(text);
    let mut flags = 0;
    if ends_asking(body.trim_end()) {
        flags |= IS_ASKING;
    }
    for (_, run) in runs(body) {
        if run.len() > 16 {
            continue;
        }
        let word = run.to_lowercase();
        if FIRST_PERSON_WORDS.contains(&word.as_str()) || word == "us" {
            flags |= FIRST_PERSON;
        }
        if is_time_word(&word) || word.strip_suffix('s').is_some_and(is_time_word) {
            flags |= TEMPORAL;
        }
    }
    Features { flags, question_share: question_share(body) }
}

/// Whether a question asks for a time: `when`, `how long`, `what|which date|day|month|year|time|week`.
pub(super) fn asks_when(question: &str) -> bool {
    let lower = question.to_lowercase();
    let mut before: Option<(usize, &str)> = None;
    for (at, run) in runs(&lower) {
        let follows = |first: &str| before.is_some_and(|(end, word)| word == first && &lower[end..at] == " ");
        let is_unit = matches!(run, "date" | "day" | "month" | "year" | "time" | "week");
        if run == "when" || (run == "long" && follows("how")) || (is_unit && (follows("what") || follows("which"))) {
            return true;
        }
        before = Some((at + run.len(), run));
    }
    false
}

/// The runs of word characters with their places.
fn runs(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + text[at..].find(is_word)?;
        let end = text[start..].find(|c| !is_word(c)).map_or(text.len(), |length| start + length);
        at = end;
        Some((start, &text[start..end]))
    })
}

fn is_time_word(word: &str) -> bool {
    let is_year = word.len() == 4
        && (word.starts_with("19") || word.starts_with("20"))
        && word.bytes().all(|byte| byte.is_ascii_digit());
    is_year || TIME_WORDS.contains(&word)
}

fn without_note(text: &str) -> &str {
    let Some(open) = text.trim_end().strip_suffix(']') else { return text };
    match open.rfind(['[', ']']) {
        Some(at) if open.as_bytes()[at] == b'[' => open[..at].trim_end(),
        _ => text,
    }
}

fn ends_asking(sentence: &str) -> bool {
    sentence.trim_end_matches(['"', '\'', '”', '’', ')', '»', ']', ' ', '.', '!']).ends_with(['?', '？', '؟'])
}

fn question_share(body: &str) -> f32 {
    if !body.contains(['?', '？', '؟']) {
        return 0.0;
    }
    let (mut asking, mut all) = (0, 0);
    for sentence in sentences(body) {
        let length = sentence.chars().count();
        all += length;
        asking += if ends_asking(sentence) { length } else { 0 };
    }
    if all == 0 { 0.0 } else { asking as f32 / all as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_seen_behind_quotes_and_notes() {
        let asked = of_text("I am back. \"Did you go?\" [shares a photo]");
        assert_eq!(asked.flags, IS_ASKING | FIRST_PERSON);
        assert!((asked.question_share - 13.0 / 23.0).abs() < 1e-6, "{}", asked.question_share);
        assert_eq!(of_text("").flags, 0);
        assert_eq!(of_text("[note]"), Features::default());
    }

    #[test]
    fn times_are_seen() {
        assert_eq!(of_text("In 2023, two weeks later").flags, TEMPORAL);
        assert_eq!(of_text("In 20234 weekly").flags, 0);
        assert!(asks_when("So when was it?") && asks_when("What day?") && asks_when("How long ago"));
        assert!(!asks_when("whenever") && !asks_when("what a day") && !asks_when("how-long"));
    }
}
