//! A tenant that is too large to be loaded: two passes over its feed, the first for frequencies, the second for signals.
//!
//! Between the passes nothing of a text is kept but the numbers that rank it, about 130 bytes an item.

use super::{
    catalogue::Catalogue,
    partition::{Scratch, parts},
    postings::stored_length,
    rank,
    tokens::TokenMatcher,
};
use crate::{
    error::Result,
    index::{
        Hit, SearchQuery,
        analysis::{AnalysedQuery, Lexical},
        ranking,
        vector::{self, Quantized},
    },
    ledger::{Changes, IndexRow, Piece},
};

/// What an item takes in the list of its session, about.
const SESSION_ENTRY: usize = 24;

/// The first pass: how many items hold each term and token of the question.
#[derive(Debug)]
pub(super) struct Frequencies {
    items: usize,
    total_length: u64,
    terms: Vec<u32>,
    tokens: Vec<u32>,
    /// An estimate of what the tenant would take in memory.
    bytes: usize,
}

impl Frequencies {
    /// Begins the pass.
    pub(super) fn new(analysed: &AnalysedQuery) -> Self {
        Self {
            items: 0,
            total_length: 0,
            terms: vec![0; analysed.terms.len()],
            tokens: vec![0; analysed.tokens.len()],
            bytes: 0,
        }
    }

    /// Takes a stretch of the feed.
    ///
    /// # Errors
    /// `CorruptStore` when a row cannot be read.
    pub(super) fn apply(&mut self, analysed: &AnalysedQuery, changes: &Changes) -> Result<()> {
        for row in &changes.rows {
            let (_, lexical, _) = parts(row)?;
            self.items += 1;
            self.total_length += u64::from(lexical.length);
            self.bytes += estimated_bytes(row);
            for (term, items) in analysed.terms.iter().zip(&mut self.terms) {
                *items += u32::from(lexical.count(*term).is_some());
            }
            for (token, items) in analysed.tokens.iter().zip(&mut self.tokens) {
                *items += u32::from(lexical.has_token(*token));
            }
        }
        Ok(())
    }

    /// An estimate of what the tenant would take in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// What a row takes in memory, about: its blobs are nearly what is kept of them.
fn estimated_bytes(row: &IndexRow) -> usize {
    const ITEM: usize = 200;
    let piece = |piece: &Piece| piece.lexical.len() * 3 / 2 + piece.vector.as_ref().map_or(0, Vec::len);
    ITEM + row.pieces.iter().map(piece).sum::<usize>()
}

/// The second pass: the signals of every item.
#[derive(Debug)]
pub(super) struct Scan {
    catalogue: Catalogue,
    /// The feed's head when the passes began: only what changed behind it can be in the feed twice.
    begun: i64,
    question: Option<Quantized>,
    mean_length: f32,
    weights: Vec<f32>,
    total_weight: f32,
    matcher: TokenMatcher,
    lexical: Vec<f32>,
    share: Vec<f32>,
    vector: Vec<f32>,
    cosine: Vec<f32>,
    token: Vec<f32>,
}

impl Scan {
    /// Begins the pass.
    pub(super) fn new(query: &SearchQuery, analysed: &AnalysedQuery, frequencies: &Frequencies, begun: i64) -> Self {
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
            catalogue: Catalogue::for_scan(items),
            begun,
            question: query.vector.as_ref().map(|vector| Quantized::new(vector)),
            mean_length: (frequencies.total_length as f64 / items.max(1) as f64) as f32,
            weights,
            total_weight,
            matcher,
            lexical: Vec::with_capacity(items),
            share: Vec::with_capacity(items),
            vector: Vec::with_capacity(items),
            cosine: Vec::with_capacity(items),
            token: Vec::with_capacity(items),
        }
    }

    /// Takes a stretch of the feed.
    ///
    /// # Errors
    /// `CorruptStore` when a row cannot be read.
    pub(super) fn apply(&mut self, analysed: &AnalysedQuery, changes: &Changes) -> Result<()> {
        // Whatever went before the passes began was in no row of theirs.
        for id in changes.removed.iter().filter(|_| changes.head > self.begun) {
            self.catalogue.remove(*id);
        }
        for row in &changes.rows {
            if row.seq > self.begun {
                self.catalogue.remove(row.id);
            }
            self.insert(analysed, row)?;
        }
        Ok(())
    }

    /// Bytes of memory once every item is there, with those that ranking needs.
    pub(super) fn heap_bytes(&self) -> usize {
        const RANKING: usize = 16;
        let items = self.lexical.capacity();
        self.catalogue.heap_bytes() + items * (5 * size_of::<f32>() + SESSION_ENTRY + RANKING)
    }

    fn insert(&mut self, analysed: &AnalysedQuery, row: &IndexRow) -> Result<()> {
        let (whole, lexical, pieces) = parts(row)?;
        self.catalogue.insert(row, lexical, whole.vector.is_some())?;
        let (mut words, share) = self.words(analysed, lexical);
        let cosine = self.cosine(whole)?;
        let (mut best_words, mut best_cosine, mut token) = (None::<f32>, None::<f32>, 0.0_f32);
        for piece in pieces {
            let lexical = Lexical::decode(&piece.lexical)?;
            let (piece_words, _) = self.words(analysed, lexical);
            best_words = Some(best_words.map_or(piece_words, |best| best.max(piece_words)));
            let piece_cosine = self.cosine(piece)?;
            best_cosine = Some(best_cosine.map_or(piece_cosine, |best| best.max(piece_cosine)));
            token = token.max(self.match_tokens(lexical));
        }
        if pieces.is_empty() {
            token = self.match_tokens(lexical);
        }
        words = ranking::with_piece(words, best_words);
        self.lexical.push(words);
        self.share.push(if self.total_weight > 0.0 { share / self.total_weight } else { 0.0 });
        self.vector.push(ranking::with_piece(cosine, best_cosine));
        self.cosine.push(best_cosine.map_or(cosine, |best| cosine.max(best)));
        self.token.push(token);
        Ok(())
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

    fn match_tokens(&mut self, lexical: Lexical<'_>) -> f32 {
        let tokens: Vec<u16> = lexical.tokens().collect();
        self.matcher.match_text(&tokens)
    }

    /// The best rows for the question, best first.
    pub(super) fn finish(self, query: &SearchQuery, analysed: &AnalysedQuery, scratch: &mut Scratch) -> Vec<Hit> {
        let Scratch { columns, work, .. } = scratch;
        self.catalogue.admitted(query, &mut columns.admitted);
        columns.has_words = query.use_text;
        columns.has_vector = self.question.is_some()
            && columns
                .admitted
                .iter()
                .any(|&slot| self.catalogue.features[slot as usize].flags & super::catalogue::HAS_VECTOR != 0);
        (columns.lexical, columns.share) = (self.lexical, self.share);
        (columns.vector, columns.cosine) = (self.vector, self.cosine);
        let token = self.token;
        rank::rank(&self.catalogue, columns, query, analysed, &mut |slot| token[slot as usize], work)
    }
}
