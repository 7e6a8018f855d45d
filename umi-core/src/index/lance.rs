//! The index on LanceDB, for stores that outgrow memory: a table of pieces in a folder beside the ledger, an exact tail
//! of what changed behind the table's watermark, and a mask of what the table holds of it.
//!
//! The table only proposes: 200 rows by vector and 200 by words, for each question, through a filter that carries the
//! scope. What they are, and what is behind the watermark, comes from the ledger, is scored exactly and is ranked by the
//! code of the index in memory. So a table that is behind, or that a writer damaged, can make a search slower or leave
//! an old row out of the 200; it can never bring a row back, show another tenant's or an old version.
//!
//! Without a table (a new store, another embedding space, a damaged folder), and for tenants whose tail is too long, the
//! index in memory answers, exactly.

mod check;
mod errors;
mod feeder;
mod sample;
mod table;
mod tail;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use jiff::Timestamp;
use lancedb::{Connection, Table};
use parking_lot::Mutex;
use tokio::sync::{OnceCell, Semaphore};
use uuid::Uuid;

use self::{
    feeder::Goal,
    sample::{Sampled, Samples},
    table::Marker,
    tail::{Tails, View},
};
use super::{
    Hit, Index, IndexStats, LanceStats, SearchQuery,
    analysis::{self, AnalysedQuery},
    ram::{RamIndex, pool::Pool},
    ranking,
};
use crate::{
    blocking::blocking,
    error::{Error, ErrorKind, Result},
    ledger::{IndexRow, Ledger, Owner, TurnPlace},
    scope::Scope,
    world::{Clock, Ids},
};

/// The folder of the index in that of the store.
const FOLDER: &str = "lance";
/// How many rows each signal proposes.
const CANDIDATES: usize = 200;
/// A signal is asked for no more rows than this, however many of them are masked.
const CANDIDATES_MOST: usize = 12_800;
/// How many of the strongest episodes bring their neighbours.
const WITH_NEIGHBOURS: usize = 100;
/// How many of a question's terms are looked for, its rarest: longer questions are texts.
const QUERY_TERMS: usize = 48;
/// After so many changes the index looks whether another process has written to the table.
const LOOK_AFTER: i64 = 256;

/// What can be set for tests and measurements.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// A tenant of at most so many rows is loaded and searched in memory.
    pub(crate) exact_rows: usize,
    /// From so many rows on the table has indexes; below, it is searched exactly.
    pub(crate) indexed_rows: usize,
    /// So many rows, and a tenth of those that are indexed, may be without an index.
    pub(crate) unindexed_rows: usize,
    /// From so many files on they are merged.
    pub(crate) fragments: usize,
    /// After so many changes the table is fed in the background.
    pub(crate) due_changes: i64,
    /// How many rows are written at once.
    pub(crate) batch_rows: usize,
    /// Old versions of the table are kept for so many minutes, for searches that still read them.
    pub(crate) kept_minutes: i64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            exact_rows: 2_000,
            indexed_rows: 50_000,
            unindexed_rows: 10_000,
            fragments: 32,
            due_changes: 4_096,
            batch_rows: 16_384,
            kept_minutes: 5,
        }
    }
}

/// A state of the table that can be read.
#[derive(Debug)]
struct Snapshot {
    table: Table,
    marker: Marker,
    dimensions: usize,
}

/// What this process did.
#[derive(Debug, Default)]
struct Figures {
    rows: AtomicU64,
    unindexed_rows: AtomicU64,
    fragments: AtomicU64,
    versions: AtomicU64,
    bytes_on_disk: AtomicU64,
    commits: AtomicU64,
    compactions: AtomicU64,
    indexings: AtomicU64,
    cleaned_bytes: AtomicU64,
    rebuilds: AtomicU64,
    conflicts: AtomicU64,
    failures: AtomicU64,
}

/// See the module.
pub(crate) struct LanceIndex {
    folder: PathBuf,
    settings: Settings,
    clock: Arc<dyn Clock>,
    /// Who this is among the processes that feed the table.
    holder: Uuid,
    connection: OnceCell<Connection>,
    ram: RamIndex,
    tails: Tails,
    samples: Samples,
    snapshot: Mutex<Option<Arc<Snapshot>>>,
    /// One look for a newer state of the table at a time.
    looking: Semaphore,
    /// Where the feed stood at the last look.
    looked_at: AtomicI64,
    feeding: Semaphore,
    /// The place in the feed up to which there was nothing left to write.
    fed: AtomicI64,
    /// Before this time no feeding is due: the last one reached nothing.
    due_from: Mutex<Timestamp>,
    /// The table cannot be read: the next feeding makes another one.
    is_broken: AtomicBool,
    figures: Figures,
    #[cfg(test)]
    hook: tests::Hook,
}

impl LanceIndex {
    /// The index of the store in `store`, which keeps about `bytes_limit` bytes of tenants in memory at most. Beside
    /// them come the samples, the tails and the caches of LanceDB, each with a limit of its own.
    pub(crate) fn new(store: &Path, bytes_limit: usize, clock: Arc<dyn Clock>, ids: &dyn Ids) -> Self {
        Self::with(store, bytes_limit, clock, ids, Settings::default())
    }

    /// The same with other settings.
    pub(crate) fn with(
        store: &Path,
        bytes_limit: usize,
        clock: Arc<dyn Clock>,
        ids: &dyn Ids,
        settings: Settings,
    ) -> Self {
        let holder = ids.next(clock.now());
        Self {
            folder: store.join(FOLDER),
            settings,
            clock,
            holder,
            connection: OnceCell::new(),
            ram: RamIndex::new(bytes_limit),
            tails: Tails::default(),
            samples: Samples::default(),
            snapshot: Mutex::default(),
            looking: Semaphore::new(1),
            looked_at: AtomicI64::new(-LOOK_AFTER),
            feeding: Semaphore::new(1),
            fed: AtomicI64::new(0),
            due_from: Mutex::new(Timestamp::MIN),
            is_broken: AtomicBool::new(false),
            figures: Figures::default(),
            #[cfg(test)]
            hook: tests::Hook::default(),
        }
    }

    /// The state of the table that is read; none where there is none, or none that can be.
    async fn snapshot(&self, ledger: &dyn Ledger, head: i64) -> Result<Option<Arc<Snapshot>>> {
        let known = self.snapshot.lock().clone();
        let is_new = self.looked_at.load(Ordering::Acquire) + LOOK_AFTER > head;
        if is_new || self.is_broken.load(Ordering::Acquire) {
            return Ok(known);
        }
        let turn = self.looking.acquire().await;
        let _turn = turn.map_err(|error| Error::internal("the index stopped looking").with_source(error))?;
        if self.looked_at.load(Ordering::Acquire) + LOOK_AFTER > head {
            return Ok(self.snapshot.lock().clone());
        }
        self.look(ledger).await
    }

    /// Takes the newest state of the table.
    async fn look(&self, ledger: &dyn Ledger) -> Result<Option<Arc<Snapshot>>> {
        let mut place = ledger.feeder_place().await?;
        let found = loop {
            let Some(looked_for) = place else { break None };
            match self.read(&looked_for).await {
                Ok(found) => break found,
                Err(error) => {
                    place = ledger.feeder_place().await?;
                    if place.as_ref() == Some(&looked_for) {
                        self.note_failure("look for", &error);
                        self.fed.store(-self.settings.due_changes, Ordering::Release);
                        break None;
                    }
                    // Another process has put a new table in its place meanwhile.
                }
            }
        };
        // Another process may have fed it up to now: only what was asked for after it was read is behind it.
        let head = ledger.head()?;
        let newest = found.filter(|found| found.marker.watermark <= head).map(Arc::new);
        self.looked_at.store(head, Ordering::Release);
        self.snapshot.lock().clone_from(&newest);
        Ok(newest)
    }

    /// Opens a table and reads its marker.
    async fn read(&self, place: &str) -> Result<Option<Snapshot>> {
        let (table, marker) = self.open(place).await?;
        let dimensions = table::dimensions(&table).await?;
        Ok(marker.map(|marker| Snapshot { table, marker, dimensions }))
    }

    async fn connection(&self) -> Result<&Connection> {
        self.connection.get_or_try_init(|| table::connect(&self.folder)).await
    }

    async fn open(&self, place: &str) -> Result<(Table, Option<Marker>)> {
        let opened = self.connection().await?.open_table(place).execute().await;
        let table = opened.map_err(|error| errors::failed("the index cannot be opened", error))?;
        let marker = table::marker(&table).await?;
        Ok((table, marker))
    }

    fn note_failure(&self, what: &str, error: &Error) {
        self.figures.failures.fetch_add(1, Ordering::Relaxed);
        let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        tracing::warn!(target: "umi::index", kind = ?error.kind(), %source, "could not {what} the table of the index");
    }

    /// Searches by way of the table; none where the index in memory must answer.
    async fn search_table(&self, ledger: &dyn Ledger, scope: &Scope, query: &SearchQuery) -> Result<Option<Vec<Hit>>> {
        let sampled = self.samples.of(ledger, scope).await?;
        if sampled.is_whole && sampled.sample.items() <= self.settings.exact_rows {
            return Ok(None);
        }
        let analysed = Arc::new(analysis::analyse_query(&query.text));
        for _attempt in 0..2 {
            let head = ledger.head()?;
            let Some(snapshot) = self.snapshot(ledger, head).await? else { return Ok(None) };
            let Some(view) = self.tails.follow(ledger, scope, snapshot.marker.watermark).await? else {
                return Ok(None);
            };
            match self.candidates(&snapshot, query, &analysed, &sampled, &view).await {
                Ok(Some(found)) => return self.rank(ledger, query, analysed, sampled, view, found).await,
                Ok(None) => return Ok(None),
                Err(error) => {
                    self.note_failure("search", &error);
                    self.leave(&snapshot);
                }
            }
        }
        // Its newest state cannot be searched either.
        self.is_broken.store(true, Ordering::Release);
        Ok(None)
    }

    /// Leaves a state of the table that could not be searched: another process may have made a newer one.
    fn leave(&self, snapshot: &Arc<Snapshot>) {
        let mut known = self.snapshot.lock();
        if known.as_ref().is_some_and(|known| Arc::ptr_eq(known, snapshot)) {
            *known = None;
            self.looked_at.store(-LOOK_AFTER, Ordering::Release);
        }
    }

    /// What the table proposes, and whether that is all that the question may find; none where it has no signal to go by.
    async fn candidates(
        &self,
        snapshot: &Snapshot,
        query: &SearchQuery,
        analysed: &AnalysedQuery,
        sampled: &Sampled,
        view: &View,
    ) -> Result<Option<Found>> {
        let vector = query.vector.as_ref().filter(|vector| vector.len() == snapshot.dimensions);
        let mut terms = if query.use_text { analysed.terms.clone() } else { Vec::new() };
        if terms.len() > QUERY_TERMS {
            terms.sort_by_key(|term| sampled.sample.items_with(*term));
            terms.truncate(QUERY_TERMS);
        }
        if vector.is_none() && terms.is_empty() {
            return Ok(None);
        }
        let filter = table::filter(query);
        let nearest = async {
            let Some(vector) = vector else { return Ok((Vec::new(), true)) };
            let ask = |limit| table::nearest(&snapshot.table, filter.clone(), vector, limit, sampled.is_whole);
            unmasked(ask, view).await
        };
        let matching = async {
            if terms.is_empty() {
                return Ok((Vec::new(), true));
            }
            unmasked(|limit| table::matching(&snapshot.table, filter.clone(), &terms, limit), view).await
        };
        let ((mut owners, has_more), (by_words, _)) = futures::try_join!(nearest, matching)?;
        owners.extend(by_words);
        let mut is_all = vector.is_some() && !has_more;
        if is_all {
            // What waits for its vector, or is of no words that have one, is near to nothing: the filter admits it too.
            let ask = |limit| table::without_vector(&snapshot.table, filter.clone(), limit);
            let (without, has_more) = unmasked(ask, view).await?;
            owners.extend(without);
            is_all = !has_more;
        }
        owners.sort_unstable();
        owners.dedup();
        Ok(Some(Found { owners, is_all }))
    }

    /// Scores and ranks what was found together with the tail.
    async fn rank(
        &self,
        ledger: &dyn Ledger,
        query: &SearchQuery,
        analysed: Arc<AnalysedQuery>,
        sampled: Arc<Sampled>,
        view: View,
        found: Found,
    ) -> Result<Option<Vec<Hit>>> {
        let rows = ledger.index_rows(&query.scope, &found.owners).await?;
        let asked = query.clone();
        let (mut pool, strongest) = blocking(move || {
            let is_part = rows.len() + view.rows.len() < sampled.sample.items();
            let mut pool = Pool::new(&asked, analysed, &sampled.sample, is_part)?;
            for row in view.rows.into_iter().chain(rows.into_iter().map(Arc::new)) {
                pool.add(row)?;
            }
            let strongest = pool.strongest_episodes(&asked, WITH_NEIGHBOURS);
            Ok((pool, strongest))
        })
        .await?;
        let turns: Vec<TurnPlace> = strongest.iter().filter_map(|row| turn_place(row)).collect();
        let neighbours = if turns.is_empty() {
            Vec::new()
        } else {
            ledger.neighbours(&query.scope, &turns, ranking::PAUSE_MICROSECONDS).await?
        };
        let asked = query.clone();
        let hits = blocking(move || {
            for row in neighbours {
                pool.add(Arc::new(row))?;
            }
            pool.rank(&asked)
        })
        .await?;
        // Words alone find less than there is: the rest of the rows are results too, behind them.
        Ok((found.is_all || hits.len() >= query.limit || query.min_score > 0.0).then_some(hits))
    }
}

/// What the table proposes.
struct Found {
    owners: Vec<Owner>,
    /// Whether the filter admits nothing else.
    is_all: bool,
}

/// Asks for ever more rows until enough of them are not masked. Gives them, and whether there may be more.
async fn unmasked<F>(ask: impl Fn(usize) -> F, view: &View) -> Result<(Vec<Owner>, bool)>
where
    F: Future<Output = Result<(Vec<Owner>, bool)>>,
{
    let mut limit = CANDIDATES;
    loop {
        let (mut owners, has_more) = ask(limit).await?;
        owners.retain(|owner| !view.masks(owner.id));
        if owners.len() >= CANDIDATES || !has_more || limit >= CANDIDATES_MOST {
            owners.truncate(CANDIDATES);
            return Ok((owners, has_more));
        }
        limit *= 4;
    }
}

/// Where an episode stands in its session, if it is in one.
fn turn_place(row: &IndexRow) -> Option<TurnPlace> {
    let (_, session) = row.origins.first()?;
    Some(TurnPlace { session: session.clone()?, at: row.from, id: row.id })
}

#[async_trait]
impl Index for LanceIndex {
    async fn search(&self, ledger: &dyn Ledger, query: &SearchQuery) -> Result<Vec<Hit>> {
        if query.limit == 0 || query.kinds.is_empty() || !(query.use_text || query.vector.is_some()) {
            return Ok(Vec::new());
        }
        let scope = Scope::from_parts(query.scope.user().map(str::to_owned), None, None)?;
        match self.search_table(ledger, &scope, query).await? {
            Some(hits) => Ok(hits),
            None => self.ram.search(ledger, query).await,
        }
    }

    async fn check(&self, ledger: &dyn Ledger, scope: &Scope, dimensions: Option<usize>) -> Result<Vec<String>> {
        let mut problems = self.ram.check(ledger, scope, dimensions).await?;
        problems.extend(self.check_table(ledger, scope).await?);
        Ok(problems)
    }

    fn stats(&self) -> IndexStats {
        let of = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let snapshot = self.snapshot.lock().clone();
        let figures = &self.figures;
        let in_memory = self.ram.stats();
        let (tail_rows, tail_bytes) = self.tails.held();
        IndexStats {
            bytes: in_memory.bytes + (self.samples.heap_bytes() + tail_bytes) as u64,
            watermark: snapshot.map(|snapshot| snapshot.marker.watermark).or(in_memory.watermark),
            lance: Some(LanceStats {
                rows: of(&figures.rows),
                unindexed_rows: of(&figures.unindexed_rows),
                fragments: of(&figures.fragments),
                versions: of(&figures.versions),
                bytes_on_disk: of(&figures.bytes_on_disk),
                tail_rows: tail_rows as u64,
                commits: of(&figures.commits),
                compactions: of(&figures.compactions),
                indexings: of(&figures.indexings),
                cleaned_bytes: of(&figures.cleaned_bytes),
                rebuilds: of(&figures.rebuilds),
                conflicts: of(&figures.conflicts),
                failures: of(&figures.failures),
            }),
            ..in_memory
        }
    }

    fn clear(&self) {
        *self.snapshot.lock() = None;
        self.looked_at.store(-LOOK_AFTER, Ordering::Release);
        self.tails.clear();
        self.samples.clear();
        self.ram.clear();
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn is_due(&self, head: i64) -> bool {
        let is_idle = self.feeding.available_permits() > 0;
        let is_behind = head - self.fed.load(Ordering::Acquire) >= self.settings.due_changes;
        let is_wanted = is_idle && (is_behind || self.is_broken.load(Ordering::Acquire));
        is_wanted && *self.due_from.lock() <= self.clock.now()
    }

    async fn feed(&self, ledger: &dyn Ledger) -> Result<()> {
        self.feed_to(ledger, Goal::Follow).await.map(drop)
    }

    async fn purge(&self, ledger: &dyn Ledger) -> Result<()> {
        if self.feed_to(ledger, Goal::Rebuild).await? {
            return Ok(());
        }
        Err(Error::new(ErrorKind::StoreLocked, "another process writes to the index of the store")
            .with_hint("try again when it has done so"))
    }
}

impl fmt::Debug for LanceIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LanceIndex").field("folder", &self.folder).field("stats", &self.stats()).finish_non_exhaustive()
    }
}
