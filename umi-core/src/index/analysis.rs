//! What is indexed of a text: its composition with name and date, its pieces, its terms, tokens and features. Pure.
//!
//! An episode is indexed as `"{name} ({date}): {text}"` with its time in words, so that questions about who and when
//! find it. Terms serve BM25, tokens (of the bundled static table) the token match; both are encoded into
//! [`Piece::lexical`](crate::ledger::Piece), so that loading an index tokenises nothing.

mod codec;
mod features;
mod sentences;
mod words;

use std::{borrow::Cow, fmt::Write as _};

use jiff::{Timestamp, tz::TimeZone};

pub(crate) use self::codec::{FIRST_PERSON, IS_ASKING, Lexical, TEMPORAL};
pub(super) use self::words::{is_word_character, stop_words};
use super::tokens;

/// A text as the ledger and the embedder take it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AnalysedPiece {
    /// 0 for the whole, then 1, 2, … for the parts of a long text.
    pub(crate) ordinal: u32,
    /// What the embedder is given.
    pub(crate) text_to_embed: String,
    /// The blob for [`Piece::lexical`](crate::ledger::Piece).
    pub(crate) lexical: Vec<u8>,
}

/// A question's words, as search needs them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct AnalysedQuery {
    /// Distinct terms in the order of the question.
    pub(crate) terms: Vec<u64>,
    /// Distinct tokens in the order of the question, without those that mean nothing alone.
    pub(crate) tokens: Vec<u16>,
    /// The share of its tokens that say something, from 0 to 1: how far the token match can be trusted in the score.
    pub(crate) legibility: f32,
    /// Its words in lower case, a possessive `'s` cut: where a speaker's name is looked for.
    pub(crate) words: Vec<String>,
    /// Whether it asks for a time.
    pub(crate) asks_when: bool,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Analyses an episode: the whole first, then its parts when it is long.
pub(crate) fn analyse_episode(name: Option<&str>, at: Timestamp, text: &str) -> Vec<AnalysedPiece> {
    let mut head = String::with_capacity(64);
    if let Some(name) = name {
        head.push_str(name);
        head.push(' ');
    }
    head.push('(');
    write_date(&mut head, at);
    head.push_str("): ");
    let features = features::of_text(text);
    let mut pieces = vec![analyse(0, format!("{head}{text}"), features)];
    let parts = sentences::pack(text);
    pieces.extend((1..).zip(parts).map(|(ordinal, part)| analyse(ordinal, format!("{head}{part}"), features)));
    pieces
}

/// Analyses a fact as one piece: subject, attribute, the time from which it holds, content.
pub(crate) fn analyse_fact(name: &str, attribute: Option<&str>, content: &str, valid_from: Timestamp) -> AnalysedPiece {
    let mut text = String::with_capacity(name.len() + content.len() + 64);
    text.push_str(name);
    if let Some(attribute) = attribute {
        text.push(' ');
        text.push_str(attribute);
    }
    text.push_str(" (");
    write_date(&mut text, valid_from);
    text.push_str("): ");
    text.push_str(content);
    analyse(0, text, features::of_text(content))
}

/// The question as every signal reads it, the embedder included: ISO dates become the words that the index holds.
pub(crate) fn query_text(question: &str) -> Cow<'_, str> {
    let bytes = question.as_bytes();
    let digits = |range: std::ops::Range<usize>| bytes[range].iter().all(u8::is_ascii_digit);
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let mut out = String::new();
    let (mut done, mut at) = (0, 0);
    while at + 10 <= bytes.len() {
        let is_date = bytes[at + 4] == b'-'
            && bytes[at + 7] == b'-'
            && digits(at..at + 4)
            && digits(at + 5..at + 7)
            && digits(at + 8..at + 10)
            && !is_word(question[..at].chars().next_back())
            && !is_word(question[at + 10..].chars().next());
        let month = if is_date { question[at + 5..at + 7].parse::<usize>().unwrap_or(0) } else { 0 };
        if let (1..=12, Ok(day)) = (month, question.get(at + 8..at + 10).unwrap_or("").parse::<u8>()) {
            out.push_str(&question[done..at]);
            let _ = write!(out, "{day} {}, {}", MONTHS[month - 1], &question[at..at + 4]);
            at += 10;
            done = at;
        } else {
            at += 1;
        }
    }
    if done == 0 {
        return Cow::Borrowed(question);
    }
    out.push_str(&question[done..]);
    Cow::Owned(out)
}

/// Analyses a question.
pub(crate) fn analyse_query(question: &str) -> AnalysedQuery {
    let question = query_text(question);
    let mut terms = Vec::new();
    words::each_term(&question, |term| terms.push(words::hash(term)));
    let mut seen = std::collections::HashSet::new();
    terms.retain(|term| seen.insert(*term));
    let (tokens, legibility) = tokens::query_tokens(&question);
    AnalysedQuery {
        terms,
        tokens,
        legibility,
        words: words::plain_words(&question, true),
        asks_when: features::asks_when(&question),
    }
}

/// A name as it is looked for among a question's words: its words with single spaces; empty for a name without any.
pub(crate) fn name_key(name: &str) -> String {
    words::plain_words(name, false).join(" ")
}

fn analyse(ordinal: u32, text: String, features: features::Features) -> AnalysedPiece {
    let mut terms = Vec::with_capacity(text.len() / 5);
    words::each_term(&text, |term| terms.push(words::hash(term)));
    let mut tokens = tokens::tokens(&text);
    let lexical = codec::encode(&mut terms, &mut tokens, features);
    AnalysedPiece { ordinal, text_to_embed: text, lexical }
}

/// Writes a time in UTC as `4:04 pm on 20 January, 2023`.
fn write_date(out: &mut String, at: Timestamp) {
    let at = at.to_zoned(TimeZone::UTC);
    let (hour, half) = (at.hour(), if at.hour() < 12 { "am" } else { "pm" });
    let hour = if hour % 12 == 0 { 12 } else { hour % 12 };
    let month = MONTHS[usize::from(at.month().unsigned_abs()).saturating_sub(1).min(11)];
    // Writing to a string cannot fail.
    let _ = write!(out, "{hour}:{:02} {half} on {} {month}, {}", at.minute(), at.day(), at.year());
}

#[cfg(test)]
mod tests;
