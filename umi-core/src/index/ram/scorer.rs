//! The raw signals of one row after the other, for tenants that are not loaded.

use super::{partition::parts, postings::stored_length, scan::Frequencies, tokens::TokenMatcher};
use crate::{
    error::Result,
    index::{
        SearchQuery,
        analysis::{AnalysedQuery, Lexical},
        ranking,
        vector::{self, Quantized},
    },
    ledger::{IndexRow, Piece},
};

/// What a question makes of a row: see [`Columns`](super::rank::Columns).
#[derive(Clone, Copy, Debug)]
pub(super) struct Signals {
    pub(super) lexical: f32,
    pub(super) share: f32,
    pub(super) vector: f32,
    pub(super) cosine: f32,
}

/// One question, and how often its terms and tokens are in the tenant.
#[derive(Debug)]
pub(super) struct Scorer {
    question: Option<Quantized>,
    mean_length: f32,
    weights: Vec<f32>,
    total_weight: f32,
    matcher: TokenMatcher,
}

impl Scorer {
    pub(super) fn new(query: &SearchQuery, analysed: &AnalysedQuery, frequencies: &Frequencies) -> Self {
        let items = frequencies.items;
        let weights: Vec<f32> = frequencies
            .terms
            .iter()
            .map(|&items_with| ranking::inverse_document_frequency(items_with, items))
            .collect();
        let mut total_weight = 0.0;
        for weight in &weights {
            total_weight += weight;
        }
        let mut matcher = TokenMatcher::default();
        let tokens: Vec<(u16, u32)> = analysed.tokens.iter().copied().zip(frequencies.tokens.iter().copied()).collect();
        matcher.start(&tokens, items);
        Self {
            question: query.vector.as_ref().map(|vector| Quantized::new(vector)),
            mean_length: (frequencies.total_length as f64 / items.max(1) as f64) as f32,
            weights,
            total_weight,
            matcher,
        }
    }

    /// Whether the question has a vector.
    pub(super) fn has_question_vector(&self) -> bool {
        self.question.is_some()
    }

    /// The signals of a row.
    ///
    /// # Errors
    /// `CorruptStore` when the row cannot be read.
    pub(super) fn signals(&self, analysed: &AnalysedQuery, row: &IndexRow) -> Result<Signals> {
        let (whole, lexical, pieces) = parts(row)?;
        let (words, share) = self.words(analysed, lexical);
        let cosine = self.cosine(whole)?;
        let (mut best_words, mut best_cosine) = (None::<f32>, None::<f32>);
        for piece in pieces {
            let (piece_words, _) = self.words(analysed, Lexical::decode(&piece.lexical)?);
            best_words = Some(best_words.map_or(piece_words, |best| best.max(piece_words)));
            let piece_cosine = self.cosine(piece)?;
            best_cosine = Some(best_cosine.map_or(piece_cosine, |best| best.max(piece_cosine)));
        }
        Ok(Signals {
            lexical: ranking::with_piece(words, best_words),
            share: if self.total_weight > 0.0 { share / self.total_weight } else { 0.0 },
            vector: ranking::with_piece(cosine, best_cosine),
            cosine: best_cosine.map_or(cosine, |best| cosine.max(best)),
        })
    }

    /// The token match of a row: of its best piece, where it has pieces.
    ///
    /// # Errors
    /// `CorruptStore` when the row cannot be read.
    pub(super) fn match_tokens(&mut self, row: &IndexRow) -> Result<f32> {
        let (_, lexical, pieces) = parts(row)?;
        if pieces.is_empty() {
            return Ok(self.match_text(lexical));
        }
        pieces.iter().try_fold(0.0_f32, |best, piece| Ok(best.max(self.match_text(Lexical::decode(&piece.lexical)?))))
    }

    /// BM25, and the weight of the terms that are there.
    fn words(&self, analysed: &AnalysedQuery, lexical: Lexical<'_>) -> (f32, f32) {
        let length = stored_length(lexical.length);
        let (mut score, mut share) = (0.0, 0.0);
        for (term, weight) in analysed.terms.iter().zip(&self.weights) {
            if let Some(count) = lexical.count(*term) {
                score += weight * ranking::term_weight(count, length.into(), self.mean_length);
                share += weight;
            }
        }
        (score, share)
    }

    fn cosine(&self, piece: &Piece) -> Result<f32> {
        let (Some(question), Some(encoded)) = (&self.question, &piece.vector) else { return Ok(0.0) };
        let (values, scale) = vector::decode(encoded, vector::encoded_dimensions(encoded))?;
        Ok(vector::cosine(values, scale, question))
    }

    fn match_text(&mut self, lexical: Lexical<'_>) -> f32 {
        let tokens: Vec<u16> = lexical.tokens().collect();
        self.matcher.match_text(&tokens)
    }
}
