//! One tenant in memory: catalogue, postings, vectors and tokens, kept up to the feed.

use std::collections::HashMap;

use super::{
    catalogue::{Catalogue, HAS_VECTOR},
    footprint::{of_map, of_vec},
    postings::Postings,
    rank::{self, Columns, Work},
    texts::Texts,
    tokens::TokenMatcher,
};
use crate::{
    error::{Error, ErrorKind, Result},
    index::{
        Hit, SearchQuery,
        analysis::{AnalysedQuery, Lexical},
        ranking,
        vector::Quantized,
    },
    ledger::{Changes, IndexRow},
};

/// Memory that one search needs and the next can use again.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) columns: Columns,
    pub(super) work: Work,
    pub(super) matcher: TokenMatcher,
    piece_values: Vec<f32>,
}

impl Scratch {
    /// Bytes of memory.
    pub(super) fn heap_bytes(&self) -> usize {
        self.columns.heap_bytes() + self.work.heap_bytes() + self.matcher.heap_bytes() + of_vec(&self.piece_values)
    }
}

/// What one tenant's rows say, up to a place in the feed.
#[derive(Debug, Default)]
pub(super) struct Partition {
    watermark: i64,
    catalogue: Catalogue,
    wholes: Texts,
    postings: Postings,
    /// The pieces of long texts, and the slot that each belongs to; a text's pieces stand together.
    pieces: Texts,
    piece_postings: Postings,
    piece_owners: Vec<u32>,
    /// The number of live items that hold a token.
    token_items: HashMap<u16, u32>,
    /// Terms in all live items.
    total_length: u64,
    lengths: Vec<u32>,
}

impl Partition {
    /// The place in the feed that was reached.
    pub(super) fn watermark(&self) -> i64 {
        self.watermark
    }

    /// The number of live rows.
    pub(super) fn len(&self) -> usize {
        self.catalogue.len()
    }

    /// Takes a stretch of the feed that begins behind `after`. One that begins elsewhere was taken already by another
    /// caller and changes nothing.
    ///
    /// # Errors
    /// `CorruptStore` when a row cannot be read; the partition must then be thrown away.
    pub(super) fn apply(&mut self, after: i64, changes: &Changes) -> Result<()> {
        if after != self.watermark {
            return Ok(());
        }
        for id in &changes.removed {
            self.remove(*id);
        }
        for row in &changes.rows {
            self.remove(row.id);
            self.insert(row)?;
        }
        self.watermark = changes.head;
        if self.catalogue.dead() * 4 > self.catalogue.items.len() {
            self.compact();
        }
        Ok(())
    }

    fn insert(&mut self, row: &IndexRow) -> Result<()> {
        let (whole, lexical, pieces) = parts(row)?;
        let slot = self.catalogue.insert(row, lexical, whole.vector.is_some())?;
        self.wholes.push(whole, lexical)?;
        self.postings.insert(slot, lexical);
        self.lengths.push(lexical.length);
        self.total_length += u64::from(lexical.length);
        for token in lexical.tokens() {
            *self.token_items.entry(token).or_insert(0) += 1;
        }
        for piece in pieces {
            let number = u32::try_from(self.piece_owners.len())
                .map_err(|error| Error::internal("too many pieces").with_source(error))?;
            let lexical = Lexical::decode(&piece.lexical)?;
            self.pieces.push(piece, lexical)?;
            self.piece_postings.insert(number, lexical);
            self.piece_owners.push(slot);
        }
        Ok(())
    }

    fn remove(&mut self, id: uuid::Uuid) {
        let Some(slot) = self.catalogue.remove(id) else { return };
        self.total_length -= u64::from(self.lengths[slot as usize]);
        for token in self.wholes.tokens(slot as usize) {
            if let Some(items) = self.token_items.get_mut(token) {
                *items -= 1;
            }
        }
    }

    /// Whether a row is there as the ledger has it.
    pub(super) fn holds(&self, row: &IndexRow) -> bool {
        let Ok((whole, lexical, pieces)) = parts(row) else { return false };
        let Some(slot) = self.catalogue.slot(row.id) else { return false };
        let first = self.piece_owners.partition_point(|&owner| owner < slot);
        let count = self.piece_owners[first..].iter().take_while(|&&owner| owner == slot).count();
        let holds_piece = |(number, piece): (usize, &crate::ledger::Piece)| {
            Lexical::decode(&piece.lexical).is_ok_and(|lexical| {
                self.pieces.holds(number, piece, lexical) && self.piece_postings.holds(number as u32, lexical)
            })
        };
        self.catalogue.holds(slot, row, lexical, whole.vector.is_some())
            && self.wholes.holds(slot as usize, whole, lexical)
            && self.postings.holds(slot, lexical)
            && self.lengths[slot as usize] == lexical.length
            && count == pieces.len()
            && (first..).zip(pieces).all(holds_piece)
    }

    /// The ids of its rows.
    pub(super) fn ids(&self) -> impl Iterator<Item = uuid::Uuid> {
        self.catalogue.ids()
    }

    /// Drops what dead slots hold.
    fn compact(&mut self) {
        let renumber = |is_kept: &mut dyn FnMut(usize) -> bool, count: usize| -> Vec<Option<u32>> {
            let mut next = 0;
            (0..count)
                .map(|number| {
                    is_kept(number).then(|| {
                        next += 1;
                        next - 1
                    })
                })
                .collect()
        };
        let catalogue = &self.catalogue;
        let kept = renumber(&mut |slot| catalogue.is_live(slot as u32), catalogue.items.len());
        let owners = &self.piece_owners;
        let kept_pieces = renumber(&mut |piece| kept[owners[piece] as usize].is_some(), owners.len());
        self.piece_owners = self.piece_owners.iter().filter_map(|&owner| kept[owner as usize]).collect();
        self.pieces.retain(&kept_pieces);
        self.piece_postings.retain(&kept_pieces);
        self.wholes.retain(&kept);
        self.postings.retain(&kept);
        let mut slots = kept.iter();
        self.lengths.retain(|_| slots.next().is_some_and(Option::is_some));
        self.token_items.retain(|_, items| *items > 0);
        self.catalogue.retain(&kept);
    }

    /// Gives back the memory that loading took too much.
    pub(super) fn shrink(&mut self) {
        self.catalogue.shrink();
        self.wholes.shrink();
        self.postings.seal();
        self.pieces.shrink();
        self.piece_postings.seal();
        self.piece_owners.shrink_to_fit();
        self.token_items.shrink_to_fit();
        self.lengths.shrink_to_fit();
    }

    /// Bytes of memory, by the capacity of what is allocated.
    pub(super) fn heap_bytes(&self) -> usize {
        self.catalogue.heap_bytes()
            + self.wholes.heap_bytes()
            + self.postings.heap_bytes()
            + self.pieces.heap_bytes()
            + self.piece_postings.heap_bytes()
            + of_vec(&self.piece_owners)
            + of_vec(&self.lengths)
            + of_map::<u16, u32>(self.token_items.capacity())
    }

    /// The best rows for a question, best first.
    pub(super) fn search(&self, query: &SearchQuery, analysed: &AnalysedQuery, scratch: &mut Scratch) -> Vec<Hit> {
        let Scratch { columns, work, matcher, piece_values } = scratch;
        self.catalogue.admitted(query, &mut columns.admitted);
        columns.has_words = query.use_text;
        if columns.has_words {
            self.score_words(analysed, columns, piece_values);
            let tokens: Vec<(u16, u32)> = analysed
                .tokens
                .iter()
                .map(|token| (*token, self.token_items.get(token).copied().unwrap_or(0)))
                .collect();
            matcher.start(&tokens, self.len());
        }
        self.score_vectors(query, columns, piece_values);
        let mut token_match = |slot: u32| self.match_tokens(slot, matcher);
        rank::rank(&self.catalogue, columns, query, analysed, None, &mut token_match, work)
    }

    /// BM25 and the share of the question's terms.
    fn score_words(&self, analysed: &AnalysedQuery, columns: &mut Columns, piece_values: &mut Vec<f32>) {
        let (slots, items) = (self.catalogue.items.len(), self.len());
        let mean_length = (self.total_length as f64 / items.max(1) as f64) as f32;
        let Columns { lexical, share, .. } = columns;
        for column in [&mut *lexical, &mut *share] {
            column.clear();
            column.resize(slots, 0.0);
        }
        piece_values.clear();
        piece_values.resize(self.piece_owners.len(), 0.0);
        let has_dead = self.catalogue.dead() > 0;
        let mut total = 0.0;
        for &term in &analysed.terms {
            let mut frequency = 0;
            self.postings.each(term, |posting| {
                frequency += u32::from(!has_dead || self.catalogue.is_live(posting.text));
            });
            let weight = ranking::inverse_document_frequency(frequency, items);
            total += weight;
            self.postings.each(term, |posting| {
                let slot = posting.text as usize;
                lexical[slot] += weight * ranking::term_weight(posting.count, posting.length.into(), mean_length);
                share[slot] += weight;
            });
            self.piece_postings.each(term, |posting| {
                piece_values[posting.text as usize] +=
                    weight * ranking::term_weight(posting.count, posting.length.into(), mean_length);
            });
        }
        if total > 0.0 {
            for share in share {
                *share /= total;
            }
        }
        self.each_best_piece(piece_values, |slot, best| {
            lexical[slot] = ranking::with_piece(lexical[slot], Some(best));
        });
    }

    /// Cosines with the question's vector.
    fn score_vectors(&self, query: &SearchQuery, columns: &mut Columns, piece_values: &mut Vec<f32>) {
        columns.has_vector = false;
        let Some(vector) = &query.vector else { return };
        let has_vector = |&slot: &u32| self.catalogue.features[slot as usize].flags & HAS_VECTOR != 0;
        columns.has_vector = columns.admitted.iter().any(has_vector);
        if !columns.has_vector {
            return;
        }
        let question = Quantized::new(vector);
        let Columns { admitted, vector, cosine, .. } = columns;
        // A scan in a row is much faster a text, so few are needed to be worth their own way.
        if admitted.len() * 4 >= self.catalogue.items.len() {
            self.wholes.cosines(&question, cosine);
        } else {
            cosine.clear();
            cosine.resize(self.catalogue.items.len(), 0.0);
            for &slot in admitted.iter() {
                cosine[slot as usize] = self.wholes.cosine(slot as usize, &question);
            }
        }
        vector.clone_from(cosine);
        self.pieces.cosines(&question, piece_values);
        self.each_best_piece(piece_values, |slot, best| {
            vector[slot] = ranking::with_piece(vector[slot], Some(best));
            cosine[slot] = cosine[slot].max(best);
        });
    }

    /// Calls `take` with each slot that has pieces, and its best piece's value.
    fn each_best_piece(&self, values: &[f32], mut take: impl FnMut(usize, f32)) {
        let mut piece = 0;
        for owned in self.piece_owners.chunk_by(u32::eq) {
            let best = values[piece..piece + owned.len()].iter().copied().fold(f32::NEG_INFINITY, f32::max);
            take(owned[0] as usize, best);
            piece += owned.len();
        }
    }

    /// The token match of a slot: of its best piece, where it has pieces.
    fn match_tokens(&self, slot: u32, matcher: &mut TokenMatcher) -> f32 {
        let first = self.piece_owners.partition_point(|&owner| owner < slot);
        let pieces = self.piece_owners[first..].iter().take_while(|&&owner| owner == slot).count();
        if pieces == 0 {
            return matcher.match_text(self.wholes.tokens(slot as usize));
        }
        (first..first + pieces).map(|piece| matcher.match_text(self.pieces.tokens(piece))).fold(0.0, f32::max)
    }
}

/// The whole text of a row, decoded, and its pieces.
///
/// # Errors
/// `CorruptStore` when the whole is missing or cannot be read.
pub(super) fn parts(row: &IndexRow) -> Result<(&crate::ledger::Piece, Lexical<'_>, &[crate::ledger::Piece])> {
    match row.pieces.split_first() {
        Some((whole, pieces)) if whole.ordinal == 0 => Ok((whole, Lexical::decode(&whole.lexical)?, pieces)),
        _ => Err(Error::new(ErrorKind::CorruptStore, format!("the row `{}` lacks its indexed text", row.id))
            .with_hint("restore a backup, or remember the text again")),
    }
}
