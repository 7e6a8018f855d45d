//! The index in memory: the tenants in use, each loaded from the feed on first use and searched exactly.

mod catalogue;
mod check;
mod footprint;
mod partition;
#[cfg(feature = "lance")]
pub(super) mod pool;
mod postings;
mod rank;
mod scan;
mod scorer;
mod tenants;
mod texts;
mod tokens;
mod worker;

use std::{
    fmt,
    num::NonZero,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread::available_parallelism,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use self::{
    partition::Scratch,
    scan::{Frequencies, Scan},
    tenants::{Tenant, Tenants},
    worker::Worker,
};
use super::{Hit, Index, IndexStats, SearchQuery, analysis};
use crate::{
    blocking::blocking,
    error::{Error, Result},
    ledger::{Changes, Ledger},
    scope::Scope,
};

/// Rows that are asked of the feed at once: few enough that nobody waits long behind a page, and that what the
/// allocator keeps of a page for the thread that read it is little.
const PAGE: usize = 256;
/// A tenant of at most so many rows is searched on the caller's thread: it takes less than going to another one and back.
const ROWS_AT_ONCE: usize = 10_000;
/// How many searches' memory is kept for the next.
const KEPT_SCRATCH: usize = 4;
/// The most that each of them may take, as a part of the bound: that of a search of a very large tenant goes.
const KEPT_SCRATCH_PART: usize = 32;
/// How many tenants are loaded at once: two that grow side by side would leave holes in the memory of one another.
const LOADS: usize = 1;
/// After so many freed bytes memory is given back to the system.
const GIVE_BACK_BYTES: usize = 8 * 1024 * 1024;

/// The part of a [`Ledger`] that an index follows.
#[async_trait]
trait Feed: Send + Sync {
    /// See [`Ledger::head`].
    fn head(&self) -> Result<i64>;
    /// See [`Ledger::changes`].
    async fn changes(&self, scope: &Scope, after: i64, limit: usize) -> Result<Changes>;
}

struct LedgerFeed<'l>(&'l dyn Ledger);

#[async_trait]
impl Feed for LedgerFeed<'_> {
    fn head(&self) -> Result<i64> {
        self.0.head()
    }

    async fn changes(&self, scope: &Scope, after: i64, limit: usize) -> Result<Changes> {
        self.0.changes(scope, after, limit).await
    }
}

/// An index over the tenants in use, within a bound of memory. Tenants that were not used for longest make room; one
/// that is larger than the bound is scanned from the ledger at each search: slower, never partial.
pub(crate) struct RamIndex {
    bytes_limit: usize,
    tenants: Mutex<Tenants>,
    scratch: Arc<Mutex<Vec<Scratch>>>,
    /// Bytes of the scan that runs.
    scan_bytes: AtomicUsize,
    /// As many searches compute at once as there are cores: more would only be in one another's way, and in that of
    /// the caller's event loop.
    computing: Arc<Semaphore>,
    worker: Worker,
    loading: Semaphore,
    /// A scan needs memory for every item of a tenant, so one runs at a time.
    scanning: Semaphore,
    scans: AtomicU64,
    evictions: AtomicU64,
    /// Bytes that were freed since memory was given back.
    freed: AtomicUsize,
}

impl RamIndex {
    /// An empty index that keeps about `bytes_limit` bytes at most.
    pub(crate) fn new(bytes_limit: usize) -> Self {
        Self {
            bytes_limit,
            tenants: Mutex::default(),
            scratch: Arc::default(),
            scan_bytes: AtomicUsize::new(0),
            computing: Arc::new(Semaphore::new(available_parallelism().map_or(1, NonZero::get))),
            worker: Worker::default(),
            loading: Semaphore::new(LOADS),
            scanning: Semaphore::new(1),
            scans: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
            freed: AtomicUsize::new(0),
        }
    }

    async fn search_feed(&self, feed: &dyn Feed, query: &SearchQuery) -> Result<Vec<Hit>> {
        if query.limit == 0 || query.kinds.is_empty() || !(query.use_text || query.vector.is_some()) {
            return Ok(Vec::new());
        }
        let scope = Scope::from_parts(query.scope.user().map(str::to_owned), None, None)?;
        let tenant = self.tenants.lock().of(query.scope.user());
        loop {
            let followed = if tenant.is_oversized.load(Ordering::Acquire) {
                None
            } else {
                self.follow(feed, &scope, &tenant).await?
            };
            let Some(watermark) = followed else {
                return self.scan(feed, &scope, &tenant, query).await;
            };
            let hits = if tenant.rows() <= ROWS_AT_ONCE {
                self.with_scratch(|scratch| tenant.search(watermark, query, scratch))
            } else {
                let (query, tenant) = (query.clone(), Arc::clone(&tenant));
                self.compute(move |scratch| tenant.search(watermark, &query, scratch)).await?
            };
            if let Some(hits) = hits {
                return Ok(hits);
            }
        }
    }

    /// Brings a tenant up to the feed's head and gives the place that it reached; none when it is larger than the bound,
    /// and then it is empty.
    async fn follow(&self, feed: &dyn Feed, scope: &Scope, tenant: &Arc<Tenant>) -> Result<Option<i64>> {
        let head = feed.head()?;
        if tenant.watermark() == head {
            return Ok(Some(head));
        }
        let permit = tenant.following.acquire().await;
        let _permit = permit.map_err(|error| Error::internal("the index stopped following").with_source(error))?;
        if tenant.is_oversized.load(Ordering::Acquire) {
            return Ok(None);
        }
        if tenant.watermark() > head {
            // Another store took this one's place, a restored backup perhaps.
            let newer = feed.head()?;
            if tenant.watermark() > newer {
                tenant.reset();
            }
        }
        let mut may_retry = true;
        let mut turn = None;
        while tenant.watermark() < head {
            let after = tenant.watermark();
            // What follows a loaded tenant is seldom more than a page, and waits for no load.
            let is_load = after == 0 || turn.is_some();
            if is_load && turn.is_none() {
                let acquired = self.loading.acquire().await;
                turn = Some(acquired.map_err(|error| Error::internal("the index stopped loading").with_source(error))?);
            }
            let changes = feed.changes(scope, after, PAGE).await?;
            let next = next_page(after, &changes)?;
            let taker = Arc::clone(tenant);
            let applied = self.worker.run(move || Ok(taker.apply(after, &changes, is_load))).await?;
            let bytes = tenant.bytes();
            if bytes > self.bytes_limit {
                tenant.reset();
                self.note_freed(bytes);
                tenant.is_oversized.store(true, Ordering::Release);
                self.weigh(tenant);
                return Ok(None);
            }
            self.weigh(tenant);
            match applied {
                Ok(()) => {}
                // Vectors of another space came behind those of the old one: they are all new then.
                Err(_) if may_retry => {
                    may_retry = false;
                    continue;
                }
                Err(error) => return Err(error),
            }
            if next.is_none() {
                break;
            }
        }
        Ok(Some(tenant.watermark()))
    }

    /// Notes what a tenant takes now, and drops those that were not used for longest until all fit.
    fn weigh(&self, tenant: &Arc<Tenant>) {
        self.tenants.lock().weigh(tenant);
        self.make_room(Some(tenant));
    }

    fn make_room(&self, newest: Option<&Arc<Tenant>>) {
        let bound = self.bytes_limit.saturating_sub(self.scan_bytes.load(Ordering::Acquire) + self.scratch_bytes());
        let dropped = self.tenants.lock().make_room(bound, newest);
        let evicted = dropped.iter().filter(|tenant| tenant.rows() > 0).count();
        self.evictions.fetch_add(evicted as u64, Ordering::Relaxed);
        self.note_freed(dropped.iter().map(|tenant| tenant.bytes()).sum());
    }

    /// Gives memory back to the system once enough of it was freed.
    fn note_freed(&self, bytes: usize) {
        let freed = self.freed.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if freed >= GIVE_BACK_BYTES {
            self.freed.store(0, Ordering::Relaxed);
            self.worker.leave(footprint::give_back);
        }
    }

    fn scratch_bytes(&self) -> usize {
        self.scratch.lock().iter().map(Scratch::heap_bytes).sum()
    }

    /// Answers from the feed alone.
    async fn scan(&self, feed: &dyn Feed, scope: &Scope, tenant: &Tenant, query: &SearchQuery) -> Result<Vec<Hit>> {
        let turn = self.scanning.acquire().await;
        let _turn = turn.map_err(|error| Error::internal("the index stopped scanning").with_source(error))?;
        self.scans.fetch_add(1, Ordering::Relaxed);
        let analysed = Arc::new(analysis::analyse_query(&query.text));
        let mut frequencies = Frequencies::new(&analysed);
        let begun = feed.head()?;
        let mut after = 0;
        loop {
            let changes = feed.changes(scope, after, PAGE).await?;
            let next = next_page(after, &changes)?;
            let taken = Arc::clone(&analysed);
            frequencies = blocking(move || {
                frequencies.apply(&taken, &changes)?;
                Ok(frequencies)
            })
            .await?;
            let Some(next) = next else { break };
            after = next;
        }
        if frequencies.bytes() < self.bytes_limit / 4 * 3 {
            // It shrank: the next search loads it.
            tenant.is_oversized.store(false, Ordering::Release);
        }
        let mut scan = Scan::new(query, &analysed, &frequencies, begun);
        let _reserved = Reserved::new(&self.scan_bytes, scan.heap_bytes());
        self.make_room(None);
        let mut after = 0;
        loop {
            let changes = feed.changes(scope, after, PAGE).await?;
            let next = next_page(after, &changes)?;
            let taken = Arc::clone(&analysed);
            scan = blocking(move || {
                scan.apply(&taken, &changes)?;
                Ok(scan)
            })
            .await?;
            let Some(next) = next else { break };
            after = next;
        }
        let (query, bytes) = (query.clone(), scan.heap_bytes());
        let hits = self.compute(move |scratch| scan.finish(&query, &analysed, scratch)).await;
        self.note_freed(bytes);
        hits
    }

    /// Runs a search on a thread for work that computes, with memory of an earlier search.
    async fn compute<T: Send + 'static>(&self, work: impl FnOnce(&mut Scratch) -> T + Send + 'static) -> Result<T> {
        let turn = Arc::clone(&self.computing).acquire_owned().await;
        let turn = turn.map_err(|error| Error::internal("the index stopped computing").with_source(error))?;
        let (pool, kept_bytes) = (Arc::clone(&self.scratch), self.bytes_limit / KEPT_SCRATCH_PART);
        blocking(move || {
            // A caller that gives up leaves the work running: its turn lasts as long as that.
            let _turn = turn;
            Ok(scratch_of(&pool, kept_bytes, work))
        })
        .await
    }

    /// Runs a short search on the caller's thread, with memory of an earlier one.
    fn with_scratch<T>(&self, work: impl FnOnce(&mut Scratch) -> T) -> T {
        scratch_of(&self.scratch, self.bytes_limit / KEPT_SCRATCH_PART, work)
    }
}

/// Bytes that are in use while it lives.
struct Reserved<'b>(&'b AtomicUsize);

impl<'b> Reserved<'b> {
    fn new(bytes: &'b AtomicUsize, count: usize) -> Self {
        bytes.store(count, Ordering::Release);
        Self(bytes)
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}

fn scratch_of<T>(pool: &Mutex<Vec<Scratch>>, kept_bytes: usize, work: impl FnOnce(&mut Scratch) -> T) -> T {
    let mut scratch = pool.lock().pop().unwrap_or_default();
    let out = work(&mut scratch);
    let mut pool = pool.lock();
    if pool.len() < KEPT_SCRATCH && scratch.heap_bytes() <= kept_bytes {
        pool.push(scratch);
    }
    out
}

/// Where the next page begins; none behind the last one.
fn next_page(after: i64, changes: &Changes) -> Result<Option<i64>> {
    match (changes.has_more, changes.head > after) {
        (false, _) => Ok(None),
        (true, true) => Ok(Some(changes.head)),
        (true, false) => Err(Error::internal(format!("the change feed stands still at `{after}`"))),
    }
}

#[async_trait]
impl Index for RamIndex {
    async fn search(&self, ledger: &dyn Ledger, query: &SearchQuery) -> Result<Vec<Hit>> {
        self.search_feed(&LedgerFeed(ledger), query).await
    }

    async fn check(&self, ledger: &dyn Ledger, scope: &Scope, dimensions: Option<usize>) -> Result<Vec<String>> {
        self.check_feed(&LedgerFeed(ledger), scope, dimensions).await
    }

    fn stats(&self) -> IndexStats {
        let beside = self.scan_bytes.load(Ordering::Acquire) + self.scratch_bytes();
        let tenants = self.tenants.lock();
        IndexStats {
            users_loaded: tenants.loaded().count() as u64,
            rows_loaded: tenants.loaded().map(|tenant| tenant.rows() as u64).sum(),
            bytes: (tenants.bytes() + beside) as u64,
            bytes_limit: self.bytes_limit as u64,
            scans: self.scans.load(Ordering::Relaxed),
            evictions: self.evictions.load(Ordering::Relaxed),
            watermark: tenants.loaded().map(Tenant::watermark).min(),
            lance: None,
        }
    }

    fn clear(&self) {
        *self.tenants.lock() = Tenants::default();
        self.scratch.lock().clear();
        self.worker.leave(footprint::give_back);
        self.worker.rest();
    }
}

impl fmt::Debug for RamIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RamIndex").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
