//! Tokens of the bundled static table, for the token match. They are the same whatever the embedder is.

use std::collections::BTreeSet;

use once_cell::race::OnceBox;

use super::analysis::{is_word_character, stop_words};
use crate::embed::static_table::StaticTable;

/// A character that no vocabulary of everyday words holds: its token is the one of unknown words.
const UNKNOWN: &str = "\u{13000}";

/// The tokens of a text, repetitions included.
pub(super) fn tokens(text: &str) -> Vec<u16> {
    StaticTable::shared().tokens(text)
}

/// The tokens of stop words, and that of unknown words. Made as [`StaticTable::shared`] is, on first use.
fn meaningless() -> &'static BTreeSet<u16> {
    static MEANINGLESS: OnceBox<BTreeSet<u16>> = OnceBox::new();
    MEANINGLESS.get_or_init(|| {
        let table = StaticTable::shared();
        let single = |text: &&str| table.tokens(text);
        Box::new(stop_words().iter().chain(&[UNKNOWN]).map(single).filter(|ids| ids.len() == 1).flatten().collect())
    })
}

/// The distinct tokens of a question, in its order, without stop words, punctuation and unknown words; and the share of
/// what is no stop word that says something.
pub(super) fn query_tokens(question: &str) -> (Vec<u16>, f32) {
    // The tokenizer splits at punctuation, so leaving it out changes no other token.
    let words: String = question.chars().map(|c| if is_word_character(c) { c } else { ' ' }).collect();
    let all = tokens(&words);
    let unknown = tokens(UNKNOWN);
    let meaningless = meaningless();
    let telling: Vec<u16> =
        all.iter().copied().filter(|token| unknown.contains(token) || !meaningless.contains(token)).collect();
    let legibility = StaticTable::shared().legibility(&telling);
    let mut seen = meaningless.clone();
    (all.into_iter().filter(|token| seen.insert(*token)).collect(), legibility)
}

/// A token's direction: int8 values and the factor that makes them a unit vector. None for an unknown id.
pub(super) fn unit_row(token: u16) -> Option<(&'static [i8], f32)> {
    StaticTable::shared().unit_row(token)
}

/// The length of a token's row in the table: a measure of how rare and telling the word is in all of the language.
pub(super) fn length(token: u16) -> f32 {
    StaticTable::shared().row_length(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_keeps_what_means_something() {
        let ids = |text: &str| tokens(text);
        assert_eq!(query_tokens("When did the LGBTQ group, the GROUP, meet?"), (ids("lgbtq group meet"), 18.0 / 19.0));
        assert_eq!(query_tokens("what is it? \u{13000} …"), (Vec::new(), 0.0));
        assert!(query_tokens("كم عدد سكان الصين؟").1 < 0.6);
    }
}
