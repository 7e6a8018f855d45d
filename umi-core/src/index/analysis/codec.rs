//! The bytes of [`Piece::lexical`](crate::ledger::Piece): terms with counts, tokens and features.
//!
//! Little-endian: version (1 byte), flags (1), question share (f32), tokens in all (u32), terms in all (u32), number of
//! distinct terms (u32), of distinct tokens (u32); then the terms (u64, ascending), their counts (u16), the distinct
//! tokens (u16, ascending).

use super::features::Features;
use crate::error::{Error, ErrorKind, Result};

/// The text ends with a question.
pub(crate) const IS_ASKING: u8 = 1;
/// The text speaks of its speaker (English only).
pub(crate) const FIRST_PERSON: u8 = 2;
/// The text names a time (English only).
pub(crate) const TEMPORAL: u8 = 4;

const VERSION: u8 = 1;
const HEADER: usize = 22;

/// A decoded blob, borrowed from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Lexical<'b> {
    /// [`IS_ASKING`], [`FIRST_PERSON`], [`TEMPORAL`].
    pub(crate) flags: u8,
    /// The share of the text that is questions, from 0 to 1.
    pub(crate) question_share: f32,
    /// The number of tokens, repetitions included.
    pub(crate) token_total: u32,
    /// The number of terms, repetitions included.
    pub(crate) length: u32,
    terms: &'b [u8],
    counts: &'b [u8],
    tokens: &'b [u8],
}

impl<'b> Lexical<'b> {
    /// Reads a blob.
    ///
    /// # Errors
    /// `CorruptStore` when the bytes are not one.
    pub(crate) fn decode(blob: &'b [u8]) -> Result<Self> {
        let header = blob.first_chunk::<HEADER>().ok_or_else(|| corrupt("is cut off"))?;
        if header[0] != VERSION {
            return Err(corrupt(&format!("has version `{}`, `{VERSION}` was expected", header[0])));
        }
        let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let question_share = f32::from_bits(number(2));
        if !(0.0..=1.0).contains(&question_share) {
            return Err(corrupt(&format!("has a question share of `{question_share}`")));
        }
        let (terms, tokens) = (number(14) as usize, number(18) as usize);
        let body = &blob[HEADER..];
        let sizes = terms.checked_mul(10).zip(tokens.checked_mul(2));
        if sizes.and_then(|(terms, tokens)| terms.checked_add(tokens)) != Some(body.len()) {
            return Err(corrupt("has another length than it says"));
        }
        let (terms, rest) = body.split_at(terms * 8);
        let (counts, tokens) = rest.split_at(terms.len() / 4);
        let lexical = Self {
            flags: header[1],
            question_share,
            token_total: number(6),
            length: number(10),
            terms,
            counts,
            tokens,
        };
        if !lexical.terms().is_sorted_by(|(one, _), (other, _)| one < other)
            || lexical.terms().any(|(_, count)| count == 0)
            || !lexical.tokens().is_sorted_by(|one, other| one < other)
        {
            return Err(corrupt("is out of order"));
        }
        Ok(lexical)
    }

    /// The distinct terms, ascending, with their counts.
    pub(crate) fn terms(&self) -> impl ExactSizeIterator<Item = (u64, u16)> + use<'b> {
        let numbers = self.terms.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
        numbers.zip(self.counts.as_chunks::<2>().0.iter().map(|bytes| u16::from_le_bytes(*bytes)))
    }

    /// The distinct tokens, ascending.
    pub(crate) fn tokens(&self) -> impl ExactSizeIterator<Item = u16> + use<'b> {
        self.tokens.as_chunks::<2>().0.iter().map(|bytes| u16::from_le_bytes(*bytes))
    }

    /// Whether a token is in the text.
    pub(crate) fn has_token(&self, token: u16) -> bool {
        let tokens = self.tokens.as_chunks::<2>().0;
        tokens.binary_search_by_key(&token, |bytes| u16::from_le_bytes(*bytes)).is_ok()
    }

    /// How often a term is in the text.
    pub(crate) fn count(&self, term: u64) -> Option<u16> {
        let terms = self.terms.as_chunks::<8>().0;
        let index = terms.binary_search_by_key(&term, |bytes| u64::from_le_bytes(*bytes)).ok()?;
        Some(u16_at(self.counts, index))
    }
}

fn u16_at(bytes: &[u8], index: usize) -> u16 {
    u16::from_le_bytes([bytes[index * 2], bytes[index * 2 + 1]])
}

fn corrupt(how: &str) -> Error {
    Error::new(ErrorKind::CorruptStore, format!("the stored terms of a text cannot be read: the blob {how}"))
        .with_hint("restore a backup, or remember the text again")
}

/// Encodes the terms and tokens of a text, both with repetitions and in any order.
pub(super) fn encode(terms: &mut [u64], tokens: &mut Vec<u16>, features: Features) -> Vec<u8> {
    let (length, token_total) = (terms.len(), tokens.len());
    terms.sort_unstable();
    tokens.sort_unstable();
    tokens.dedup();
    let distinct = terms.chunk_by(u64::eq).count();
    let mut out = Vec::with_capacity(HEADER + distinct * 10 + tokens.len() * 2);
    out.extend([VERSION, features.flags]);
    out.extend(features.question_share.to_le_bytes());
    for number in [token_total, length, distinct, tokens.len()] {
        out.extend(u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
    }
    for same in terms.chunk_by(u64::eq) {
        out.extend(same[0].to_le_bytes());
    }
    // A count over 65,535 weighs the same in BM25.
    for same in terms.chunk_by(u64::eq) {
        out.extend(u16::try_from(same.len()).unwrap_or(u16::MAX).to_le_bytes());
    }
    for token in tokens {
        out.extend(token.to_le_bytes());
    }
    out
}
