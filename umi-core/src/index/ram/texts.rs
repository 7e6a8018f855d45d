//! Vectors and tokens of texts: whole ones, or the pieces of long ones.

use super::footprint::{ALLOCATION, of_vec};
use crate::{
    error::Result,
    index::{
        analysis::Lexical,
        vector::{self, Quantized, QuantizedVectors},
    },
    ledger::Piece,
};

/// Texts by number, in the order in which they came.
#[derive(Debug)]
pub(super) struct Texts {
    vectors: QuantizedVectors,
    tokens: Vec<u16>,
    ends: Vec<usize>,
}

impl Default for Texts {
    fn default() -> Self {
        Self { vectors: QuantizedVectors::new(0), tokens: Vec::new(), ends: Vec::new() }
    }
}

impl Texts {
    /// Adds a text; one without a vector gets one without direction.
    ///
    /// # Errors
    /// `CorruptStore` when the vector cannot be read or has other dimensions than those before it.
    pub(super) fn push(&mut self, piece: &Piece, lexical: Lexical<'_>) -> Result<()> {
        match &piece.vector {
            Some(encoded) => {
                if self.vectors.dimensions() == 0 {
                    self.vectors = QuantizedVectors::new(vector::encoded_dimensions(encoded));
                    (0..self.len()).for_each(|_| self.vectors.push_none());
                }
                self.vectors.push(encoded)?;
            }
            None => self.vectors.push_none(),
        }
        self.tokens.extend(lexical.tokens());
        self.ends.push(self.tokens.len());
        Ok(())
    }

    /// The number of texts.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The distinct tokens of a text.
    pub(super) fn tokens(&self, text: usize) -> &[u16] {
        let start = if text == 0 { 0 } else { self.ends[text - 1] };
        &self.tokens[start..self.ends[text]]
    }

    /// Whether a text is what the ledger says: its tokens and its vector.
    pub(super) fn holds(&self, text: usize, piece: &Piece, lexical: Lexical<'_>) -> bool {
        let (values, scale) = self.vectors.row(text);
        let has_vector = match &piece.vector {
            None => scale == 0.0,
            Some(encoded) => vector::decode(encoded, self.vectors.dimensions()).is_ok_and(|own| own == (values, scale)),
        };
        has_vector && lexical.tokens().eq(self.tokens(text).iter().copied())
    }

    /// The cosine of a text and a question.
    pub(super) fn cosine(&self, text: usize, question: &Quantized) -> f32 {
        self.vectors.cosine(text, question)
    }

    /// The cosines of all texts and a question, in place of what `out` held.
    pub(super) fn cosines(&self, question: &Quantized, out: &mut Vec<f32>) {
        self.vectors.dot_all(question, out);
    }

    /// Drops dead texts, which `kept` maps to none.
    pub(super) fn retain(&mut self, kept: &[Option<u32>]) {
        let (mut tokens, mut ends) = (Vec::new(), Vec::new());
        for text in (0..self.len()).filter(|&text| kept[text].is_some()) {
            tokens.extend_from_slice(self.tokens(text));
            ends.push(tokens.len());
        }
        (self.tokens, self.ends) = (tokens, ends);
        self.vectors.retain(|text| kept[text].is_some());
    }

    /// Gives back the memory that growing took too much.
    pub(super) fn shrink(&mut self) {
        self.vectors.shrink();
        self.tokens.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    /// Bytes of memory.
    pub(super) fn heap_bytes(&self) -> usize {
        self.vectors.heap_bytes() + of_vec(&self.tokens) + of_vec(&self.ends) + 2 * ALLOCATION
    }
}
