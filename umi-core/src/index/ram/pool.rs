//! Rows that another index found, scored and ranked exactly as those of a loaded tenant are.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use uuid::Uuid;

use super::{
    catalogue::{Catalogue, HAS_VECTOR},
    partition::parts,
    rank::{self, Background, Columns, Work},
    scan::Frequencies,
    scorer::Scorer,
};
use crate::{
    episode::Kind,
    error::{Error, Result},
    index::{Hit, SearchQuery, analysis::AnalysedQuery},
    ledger::{IndexRow, Piece},
};

/// How often terms and tokens are in the rows of a tenant, or in an even sample of them.
#[derive(Debug, Default)]
pub(in crate::index) struct Sample {
    items: usize,
    total_length: u64,
    terms: HashMap<u64, u32>,
    tokens: HashMap<u16, u32>,
    /// Rows that stand for all others.
    background: Vec<Arc<IndexRow>>,
    background_bytes: usize,
}

/// About how many bytes a row takes, its pieces above all: a long turn has hundreds.
pub(in crate::index) fn row_bytes(row: &IndexRow) -> usize {
    const ROW: usize = 300;
    let piece = |piece: &Piece| size_of::<Piece>() + piece.lexical.len() + piece.vector.as_ref().map_or(0, Vec::len);
    ROW + row.pieces.iter().map(piece).sum::<usize>()
}

impl Sample {
    /// Takes a row; a `background` one is kept.
    ///
    /// # Errors
    /// `CorruptStore` when the row cannot be read.
    pub(in crate::index) fn add(&mut self, row: IndexRow, is_background: bool) -> Result<()> {
        let (_, lexical, _) = parts(&row)?;
        self.items += 1;
        self.total_length += u64::from(lexical.length);
        for (term, _) in lexical.terms() {
            *self.terms.entry(term).or_insert(0) += 1;
        }
        for token in lexical.tokens() {
            *self.tokens.entry(token).or_insert(0) += 1;
        }
        if is_background {
            self.background_bytes += row_bytes(&row);
            self.background.push(Arc::new(row));
        }
        Ok(())
    }

    /// The number of rows taken.
    pub(in crate::index) fn items(&self) -> usize {
        self.items
    }

    /// How many of its rows hold a term.
    pub(in crate::index) fn items_with(&self, term: u64) -> u32 {
        self.terms.get(&term).copied().unwrap_or(0)
    }

    /// About how many bytes it takes.
    pub(in crate::index) fn heap_bytes(&self) -> usize {
        self.terms.capacity() * 20 + self.tokens.capacity() * 10 + self.background_bytes
    }

    fn frequencies(&self, analysed: &AnalysedQuery) -> Frequencies {
        Frequencies {
            items: self.items,
            total_length: self.total_length,
            terms: analysed.terms.iter().map(|term| self.items_with(*term)).collect(),
            tokens: analysed.tokens.iter().map(|token| self.tokens.get(token).copied().unwrap_or(0)).collect(),
            bytes: 0,
        }
    }
}

/// The rows that one question may find.
#[derive(Debug)]
pub(in crate::index) struct Pool {
    analysed: Arc<AnalysedQuery>,
    scorer: Scorer,
    background: Option<Background>,
    catalogue: Catalogue,
    rows: Vec<Arc<IndexRow>>,
    ids: HashSet<Uuid>,
    columns: Columns,
    work: Work,
}

impl Pool {
    /// An empty pool. With `is_part` it will hold a part of the tenant's rows, and the sample stands for the others.
    ///
    /// # Errors
    /// `CorruptStore` when a row of the sample cannot be read.
    pub(in crate::index) fn new(
        query: &SearchQuery,
        analysed: Arc<AnalysedQuery>,
        sample: &Sample,
        is_part: bool,
    ) -> Result<Self> {
        let scorer = Scorer::new(query, &analysed, &sample.frequencies(&analysed));
        let mut background = is_part.then(Background::default);
        if let Some(background) = &mut background {
            for row in &sample.background {
                let signals = scorer.signals(&analysed, row)?;
                if query.use_text {
                    background.lexical.push(signals.lexical);
                }
                if row.pieces.first().is_some_and(|piece| piece.vector.is_some()) && scorer.has_question_vector() {
                    background.vector.push(signals.vector);
                }
            }
        }
        Ok(Self {
            analysed,
            scorer,
            background,
            catalogue: Catalogue::for_scan(0),
            rows: Vec::new(),
            ids: HashSet::new(),
            columns: Columns { has_words: query.use_text, ..Columns::default() },
            work: Work::default(),
        })
    }

    /// Adds a row, unless it is there.
    ///
    /// # Errors
    /// `CorruptStore` when the row cannot be read.
    pub(in crate::index) fn add(&mut self, row: Arc<IndexRow>) -> Result<()> {
        if !self.ids.insert(row.id) {
            return Ok(());
        }
        let (whole, lexical, _) = parts(&row)?;
        self.catalogue.insert(&row, lexical, whole.vector.is_some())?;
        let signals = self.scorer.signals(&self.analysed, &row)?;
        self.columns.lexical.push(signals.lexical);
        self.columns.share.push(signals.share);
        self.columns.vector.push(signals.vector);
        self.columns.cosine.push(signals.cosine);
        self.rows.push(row);
        Ok(())
    }

    /// The strongest episodes among the admitted rows, whose neighbours may matter.
    pub(in crate::index) fn strongest_episodes(&mut self, query: &SearchQuery, count: usize) -> Vec<Arc<IndexRow>> {
        self.admit(query);
        let Self { catalogue, columns, background, work, rows, .. } = self;
        let strongest = rank::strongest(catalogue, columns, background.as_ref(), count, work);
        let strongest = strongest.into_iter().map(|slot| &rows[slot as usize]);
        strongest.filter(|row| row.kind == Kind::Episode).cloned().collect()
    }

    /// The best rows, best first.
    ///
    /// # Errors
    /// `CorruptStore` when a row cannot be read.
    pub(in crate::index) fn rank(&mut self, query: &SearchQuery) -> Result<Vec<Hit>> {
        self.admit(query);
        let Self { analysed, scorer, catalogue, columns, background, work, rows, .. } = self;
        let mut failure: Option<Error> = None;
        let mut token_match = |slot: u32| match scorer.match_tokens(&rows[slot as usize]) {
            Ok(token) => token,
            Err(error) => {
                failure = failure.take().or(Some(error));
                0.0
            }
        };
        let hits = rank::rank(catalogue, columns, query, analysed, background.as_ref(), &mut token_match, work);
        failure.map_or(Ok(hits), Err)
    }

    fn admit(&mut self, query: &SearchQuery) {
        self.catalogue.admitted(query, &mut self.columns.admitted);
        let has_vector = |slot: &u32| self.catalogue.features[*slot as usize].flags & HAS_VECTOR != 0;
        self.columns.has_vector = self.scorer.has_question_vector() && self.columns.admitted.iter().any(has_vector);
    }
}
