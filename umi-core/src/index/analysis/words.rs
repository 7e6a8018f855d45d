//! From text to terms: words by Unicode classes, stop words, stems, bigrams where words have no spaces between them.

use std::borrow::Cow;

use rust_stemmers::{Algorithm, Stemmer};
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};
use unicode_script::{Script, UnicodeScript};
use xxhash_rust::xxh3::xxh3_64;

/// English words without meaning of their own, apostrophes removed, sorted. A fixed list: stored terms depend on it.
const STOP_WORDS: &[&str] = &[
    "a",
    "about",
    "above",
    "after",
    "again",
    "against",
    "all",
    "am",
    "an",
    "and",
    "any",
    "are",
    "arent",
    "as",
    "at",
    "be",
    "because",
    "been",
    "before",
    "being",
    "below",
    "between",
    "both",
    "but",
    "by",
    "can",
    "cannot",
    "could",
    "couldnt",
    "d",
    "did",
    "didnt",
    "do",
    "does",
    "doesnt",
    "doing",
    "dont",
    "down",
    "during",
    "each",
    "few",
    "for",
    "from",
    "further",
    "had",
    "hadnt",
    "has",
    "hasnt",
    "have",
    "havent",
    "having",
    "he",
    "her",
    "here",
    "hers",
    "herself",
    "him",
    "himself",
    "his",
    "how",
    "i",
    "id",
    "if",
    "ill",
    "im",
    "in",
    "into",
    "is",
    "isnt",
    "it",
    "its",
    "itself",
    "ive",
    "just",
    "lets",
    "ll",
    "m",
    "me",
    "more",
    "most",
    "my",
    "myself",
    "no",
    "nor",
    "not",
    "of",
    "off",
    "on",
    "once",
    "only",
    "or",
    "other",
    "our",
    "ours",
    "ourselves",
    "out",
    "over",
    "own",
    "re",
    "s",
    "same",
    "she",
    "should",
    "shouldnt",
    "so",
    "some",
    "such",
    "t",
    "than",
    "that",
    "thats",
    "the",
    "their",
    "theirs",
    "them",
    "themselves",
    "then",
    "there",
    "these",
    "they",
    "theyre",
    "this",
    "those",
    "through",
    "to",
    "too",
    "under",
    "until",
    "up",
    "us",
    "ve",
    "very",
    "was",
    "wasnt",
    "we",
    "were",
    "werent",
    "weve",
    "what",
    "whats",
    "when",
    "where",
    "which",
    "while",
    "who",
    "whom",
    "why",
    "will",
    "with",
    "wont",
    "would",
    "wouldnt",
    "you",
    "youd",
    "youll",
    "your",
    "youre",
    "yours",
    "yourself",
    "yourselves",
    "youve",
];

/// The stop words, for those who tell tokens by them.
pub(in crate::index) fn stop_words() -> &'static [&'static str] {
    STOP_WORDS
}

/// The stable number of a term.
pub(super) fn hash(term: &str) -> u64 {
    xxh3_64(term.as_bytes())
}

/// Letters, digits and the marks on them.
pub(in crate::index) fn is_word_character(c: char) -> bool {
    c.is_alphanumeric() || (!c.is_ascii() && is_combining_mark(c))
}

/// Whether a character belongs to a script that puts no spaces between words (or, as Hangul, glues particles to them).
pub(super) fn is_unspaced(c: char) -> bool {
    c >= '\u{0E00}'
        && (c == 'ー'
            || matches!(
                c.script(),
                Script::Han
                    | Script::Hiragana
                    | Script::Katakana
                    | Script::Hangul
                    | Script::Thai
                    | Script::Lao
                    | Script::Khmer
                    | Script::Myanmar
            ))
}

fn normalise(text: &str) -> String {
    if text.is_ascii() { text.to_ascii_lowercase() } else { text.nfkc().collect::<String>().to_lowercase() }
}

/// Calls `word` with every word of a normalised text. Apostrophes inside belong to it.
fn each_word<'t>(text: &'t str, mut word: impl FnMut(&'t str)) {
    let mut start = None;
    let mut characters = text.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        if is_word_character(c) {
            start.get_or_insert(at);
        } else if let Some(from) = start {
            let joins = matches!(c, '\'' | '’') && characters.peek().is_some_and(|&(_, next)| is_word_character(next));
            if !joins {
                word(&text[from..at]);
                start = None;
            }
        }
    }
    if let Some(from) = start {
        word(&text[from..]);
    }
}

/// Calls `term` with every term of a text, in its order.
pub(super) fn each_term(text: &str, mut term: impl FnMut(&str)) {
    let stemmer = Stemmer::create(Algorithm::English);
    let text = normalise(text);
    each_word(&text, |word| {
        let Some(word) = without_apostrophes(word) else { return };
        if word.is_ascii() {
            term(&stemmer.stem(&word));
        } else if word.chars().any(is_unspaced) {
            each_bigram(&word, &mut term);
        } else {
            let folded = fold_accents(&word);
            if folded.is_ascii() {
                term(&stemmer.stem(&folded));
            } else {
                term(&folded);
            }
        }
    });
}

/// Cuts a possessive and removes apostrophes; none for a stop word.
fn without_apostrophes(word: &str) -> Option<Cow<'_, str>> {
    let is_stop = |word: &str| STOP_WORDS.binary_search(&word).is_ok();
    let is_apostrophe = |c| matches!(c, '\'' | '’');
    if !word.contains(is_apostrophe) {
        return (!is_stop(word)).then_some(Cow::Borrowed(word));
    }
    if is_stop(&word.replace(is_apostrophe, "")) {
        return None;
    }
    let cut = word.strip_suffix("'s").or_else(|| word.strip_suffix("’s")).unwrap_or(word);
    let cut = cut.replace(is_apostrophe, "");
    (!cut.is_empty() && !is_stop(&cut)).then_some(Cow::Owned(cut))
}

/// Runs of unspaced scripts as overlapping pairs (one character alone as itself), what is between them as it is.
fn each_bigram(word: &str, term: &mut impl FnMut(&str)) {
    let mut rest = word;
    while let Some(first) = rest.chars().next() {
        let unspaced = is_unspaced(first);
        let end = rest.find(|c| is_unspaced(c) != unspaced).unwrap_or(rest.len());
        let run = &rest[..end];
        rest = &rest[end..];
        if !unspaced || run.chars().nth(1).is_none() {
            term(run);
            continue;
        }
        let mut starts = run.char_indices().map(|(at, _)| at).chain([run.len()]);
        let (mut from, mut middle) = (starts.next().unwrap_or(0), starts.next().unwrap_or(0));
        for to in starts {
            term(&run[from..to]);
            (from, middle) = (middle, to);
        }
        debug_assert_eq!(middle, run.len());
    }
}

/// Latin letters without their accents, because questions are often typed without them; other scripts as they are.
fn fold_accents(word: &str) -> Cow<'_, str> {
    if !word.chars().any(|c| !c.is_ascii() && c.script() == Script::Latin) {
        return Cow::Borrowed(word);
    }
    let mut after_latin = false;
    let mut out = String::with_capacity(word.len());
    for c in word.nfd() {
        if is_combining_mark(c) && after_latin {
            continue;
        }
        after_latin = c.script() == Script::Latin;
        match c {
            'ß' => out.push_str("ss"),
            'æ' => out.push_str("ae"),
            'œ' => out.push_str("oe"),
            'ø' => out.push('o'),
            'ł' => out.push('l'),
            'đ' | 'ð' => out.push('d'),
            'ı' => out.push('i'),
            'þ' => out.push_str("th"),
            other => out.push(other),
        }
    }
    Cow::Owned(out.nfc().collect())
}

/// The words of a text in lower case, a possessive `'s` cut where `cut_possessive` says so.
pub(super) fn plain_words(text: &str, cut_possessive: bool) -> Vec<String> {
    let text = normalise(text);
    let mut words = Vec::new();
    each_word(&text, |word| {
        let cut = word.strip_suffix("'s").or_else(|| word.strip_suffix("’s")).filter(|_| cut_possessive);
        words.push(cut.unwrap_or(word).to_owned());
    });
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(text: &str) -> Vec<String> {
        let mut out = Vec::new();
        each_term(text, |term| out.push(term.to_owned()));
        out
    }

    #[test]
    fn stop_words_are_sorted() {
        let mut sorted = STOP_WORDS.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted, STOP_WORDS);
    }

    #[test]
    fn english_is_stemmed_and_stop_words_go() {
        assert_eq!(
            terms("I don't think Café-owners' plans for 2023's O'Brien re-opening were cancelled."),
            ["think", "cafe", "owner", "plan", "2023", "obrien", "open", "cancel"]
        );
        assert_eq!(terms("Jon’s running (4:04 pm)"), ["jon", "run", "4", "04", "pm"]);
    }

    #[test]
    fn unspaced_scripts_become_pairs() {
        assert_eq!(
            terms("東京タワーに行きました。 Umi2は速い"),
            ["東京", "京タ", "タワ", "ワー", "ーに", "に行", "行き", "きま", "まし", "した", "umi2", "は速", "速い"]
        );
        assert_eq!(terms("木"), ["木"]);
        assert_eq!(terms("서울에서"), ["서울", "울에", "에서"]);
    }

    #[test]
    fn accents_are_folded_in_latin_only() {
        assert_eq!(terms("Straße STRASSE Ærø Łódź"), ["strass", "strass", "aero", "lodz"]);
        assert_eq!(terms("Сегодня мы гуляли"), ["сегодня", "мы", "гуляли"]);
        assert_eq!(terms("หนังสือ").len(), 6);
        assert!(!terms("مرحبا بالعالم").is_empty());
    }
}
