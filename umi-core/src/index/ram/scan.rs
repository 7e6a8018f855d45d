//! A tenant that is too large to be loaded: two passes over its feed, the first for frequencies, the second for signals.
//!
//! Between the passes nothing of a text is kept but the numbers that rank it, about 130 bytes an item.

use super::{
    catalogue::Catalogue,
    partition::{Scratch, parts},
    rank,
    scorer::Scorer,
};
use crate::{
    error::Result,
    index::{Hit, SearchQuery, analysis::AnalysedQuery},
    ledger::{Changes, IndexRow, Piece},
};

/// What an item takes in the list of its session, about.
const SESSION_ENTRY: usize = 24;

/// The first pass: how many items hold each term and token of the question.
#[derive(Debug)]
pub(super) struct Frequencies {
    pub(super) items: usize,
    pub(super) total_length: u64,
    pub(super) terms: Vec<u32>,
    pub(super) tokens: Vec<u32>,
    /// An estimate of what the tenant would take in memory.
    pub(super) bytes: usize,
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
    scorer: Scorer,
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
        Self {
            catalogue: Catalogue::for_scan(items),
            begun,
            scorer: Scorer::new(query, analysed, frequencies),
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
        let (whole, lexical, _) = parts(row)?;
        self.catalogue.insert(row, lexical, whole.vector.is_some())?;
        let signals = self.scorer.signals(analysed, row)?;
        self.lexical.push(signals.lexical);
        self.share.push(signals.share);
        self.vector.push(signals.vector);
        self.cosine.push(signals.cosine);
        self.token.push(self.scorer.match_tokens(row)?);
        Ok(())
    }

    /// The best rows for the question, best first.
    pub(super) fn finish(self, query: &SearchQuery, analysed: &AnalysedQuery, scratch: &mut Scratch) -> Vec<Hit> {
        let Scratch { columns, work, .. } = scratch;
        self.catalogue.admitted(query, &mut columns.admitted);
        columns.has_words = query.use_text;
        columns.has_vector = self.scorer.has_question_vector()
            && columns
                .admitted
                .iter()
                .any(|&slot| self.catalogue.features[slot as usize].flags & super::catalogue::HAS_VECTOR != 0);
        (columns.lexical, columns.share) = (self.lexical, self.share);
        (columns.vector, columns.cosine) = (self.vector, self.cosine);
        let token = self.token;
        rank::rank(&self.catalogue, columns, query, analysed, None, &mut |slot| token[slot as usize], work)
    }
}
