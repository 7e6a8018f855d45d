//! The index in memory: the tenants in use, each loaded from the feed on first use and searched exactly.

mod catalogue;
mod check;
mod partition;
mod postings;
mod rank;
mod scan;
mod texts;
mod tokens;

use std::{
    collections::BTreeMap,
    fmt,
    num::NonZero,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
    thread::available_parallelism,
};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Semaphore;

use self::{
    partition::{Partition, Scratch},
    scan::{Frequencies, Scan},
};
use super::{Hit, Index, IndexStats, SearchQuery, analysis};
use crate::{
    blocking::blocking,
    error::{Error, Result},
    ledger::{Changes, Ledger},
    scope::Scope,
};

/// Rows that are asked of the feed at once: few enough that nobody waits long behind a page.
const PAGE: usize = 2_000;
/// A tenant of at most so many rows is searched on the caller's thread: it takes less than going to another one and back.
const ROWS_AT_ONCE: usize = 10_000;
/// How many searches' memory is kept for the next.
const KEPT_SCRATCH: usize = 4;

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
    tenants: Mutex<BTreeMap<Option<String>, Arc<Tenant>>>,
    scratch: Arc<Mutex<Vec<Scratch>>>,
    /// As many searches compute at once as there are cores: more would only be in one another's way, and in that of
    /// the caller's event loop.
    computing: Arc<Semaphore>,
    clock: AtomicU64,
    scans: AtomicU64,
    evictions: AtomicU64,
}

/// One tenant. The numbers tell of the partition without waiting for its lock.
#[derive(Debug)]
struct Tenant {
    partition: RwLock<Partition>,
    /// One caller at a time follows the feed; the others find it done.
    following: Semaphore,
    watermark: AtomicI64,
    bytes: AtomicUsize,
    rows: AtomicUsize,
    used: AtomicU64,
    is_oversized: AtomicBool,
}

impl Default for Tenant {
    fn default() -> Self {
        Self {
            partition: RwLock::default(),
            following: Semaphore::new(1),
            watermark: AtomicI64::new(0),
            bytes: AtomicUsize::new(0),
            rows: AtomicUsize::new(0),
            used: AtomicU64::new(0),
            is_oversized: AtomicBool::new(false),
        }
    }
}

impl Tenant {
    /// Takes a stretch of the feed. A stretch that cannot be read leaves the tenant empty, to be loaded anew.
    fn apply(&self, after: i64, changes: &Changes) -> Result<()> {
        let mut partition = self.partition.write();
        let applied = partition.apply(after, changes);
        if applied.is_err() {
            *partition = Partition::default();
        } else if !changes.has_more && after == 0 {
            partition.shrink();
        }
        self.tell(&partition);
        applied
    }

    /// Searches what is loaded; none when another caller has emptied it since, so that this one must follow again.
    fn search(&self, watermark: i64, query: &SearchQuery, scratch: &mut Scratch) -> Option<Vec<Hit>> {
        let partition = self.partition.read();
        let is_loaded = partition.watermark() >= watermark;
        is_loaded.then(|| partition.search(query, &analysis::analyse_query(&query.text), scratch))
    }

    fn reset(&self) {
        let mut partition = self.partition.write();
        *partition = Partition::default();
        self.tell(&partition);
    }

    fn tell(&self, partition: &Partition) {
        self.watermark.store(partition.watermark(), Ordering::Release);
        self.bytes.store(partition.heap_bytes(), Ordering::Release);
        self.rows.store(partition.len(), Ordering::Release);
    }

    fn watermark(&self) -> i64 {
        self.watermark.load(Ordering::Acquire)
    }

    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Acquire)
    }
}

impl RamIndex {
    /// An empty index that keeps about `bytes_limit` bytes at most.
    pub(crate) fn new(bytes_limit: usize) -> Self {
        Self {
            bytes_limit,
            tenants: Mutex::default(),
            scratch: Arc::default(),
            computing: Arc::new(Semaphore::new(available_parallelism().map_or(1, NonZero::get))),
            clock: AtomicU64::new(0),
            scans: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
        }
    }

    async fn search_feed(&self, feed: &dyn Feed, query: &SearchQuery) -> Result<Vec<Hit>> {
        if query.limit == 0 || query.kinds.is_empty() || !(query.use_text || query.vector.is_some()) {
            return Ok(Vec::new());
        }
        let scope = Scope::from_parts(query.scope.user().map(str::to_owned), None, None)?;
        let tenant = self.tenant(query.scope.user());
        loop {
            let followed = if tenant.is_oversized.load(Ordering::Acquire) {
                None
            } else {
                self.follow(feed, &scope, &tenant).await?
            };
            let Some(watermark) = followed else {
                return self.scan(feed, &scope, &tenant, query).await;
            };
            let hits = if tenant.rows.load(Ordering::Acquire) <= ROWS_AT_ONCE {
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

    /// The tenant of a user, marked as used now.
    fn tenant(&self, user: Option<&str>) -> Arc<Tenant> {
        let tenant = Arc::clone(self.tenants.lock().entry(user.map(str::to_owned)).or_default());
        tenant.used.store(self.clock.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        tenant
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
        while tenant.watermark() < head {
            let after = tenant.watermark();
            let changes = feed.changes(scope, after, PAGE).await?;
            let next = next_page(after, &changes)?;
            let taker = Arc::clone(tenant);
            match blocking(move || Ok(taker.apply(after, &changes))).await? {
                Ok(()) => {}
                // Vectors of another space came behind those of the old one: they are all new then.
                Err(_) if may_retry => {
                    may_retry = false;
                    continue;
                }
                Err(error) => return Err(error),
            }
            if tenant.bytes() > self.bytes_limit {
                tenant.reset();
                tenant.is_oversized.store(true, Ordering::Release);
                return Ok(None);
            }
            self.make_room(tenant);
            if next.is_none() {
                break;
            }
        }
        Ok(Some(tenant.watermark()))
    }

    /// Drops the tenants that were not used for longest until all others fit beside this one.
    fn make_room(&self, newest: &Arc<Tenant>) {
        let mut tenants = self.tenants.lock();
        let mut bytes: usize = tenants.values().map(|tenant| tenant.bytes()).sum();
        while bytes > self.bytes_limit {
            let others = tenants.iter().filter(|(_, tenant)| !Arc::ptr_eq(tenant, newest) && tenant.bytes() > 0);
            let oldest = others.min_by_key(|(_, tenant)| tenant.used.load(Ordering::Relaxed));
            let Some(user) = oldest.map(|(user, _)| user.clone()) else { break };
            bytes -= tenants.remove(&user).map_or(0, |tenant| tenant.bytes());
            self.evictions.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Answers from the feed alone.
    async fn scan(&self, feed: &dyn Feed, scope: &Scope, tenant: &Tenant, query: &SearchQuery) -> Result<Vec<Hit>> {
        self.scans.fetch_add(1, Ordering::Relaxed);
        let analysed = Arc::new(analysis::analyse_query(&query.text));
        let mut frequencies = Frequencies::new(&analysed);
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
        let mut scan = Scan::new(query, &analysed, &frequencies);
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
        let query = query.clone();
        self.compute(move |scratch| scan.finish(&query, &analysed, scratch)).await
    }

    /// Runs a search on a thread for work that computes, with memory of an earlier search.
    async fn compute<T: Send + 'static>(&self, work: impl FnOnce(&mut Scratch) -> T + Send + 'static) -> Result<T> {
        let turn = Arc::clone(&self.computing).acquire_owned().await;
        let turn = turn.map_err(|error| Error::internal("the index stopped computing").with_source(error))?;
        let pool = Arc::clone(&self.scratch);
        blocking(move || {
            // A caller that gives up leaves the work running: its turn lasts as long as that.
            let _turn = turn;
            Ok(scratch_of(&pool, work))
        })
        .await
    }

    /// Runs a short search on the caller's thread, with memory of an earlier one.
    fn with_scratch<T>(&self, work: impl FnOnce(&mut Scratch) -> T) -> T {
        scratch_of(&self.scratch, work)
    }
}

fn scratch_of<T>(pool: &Mutex<Vec<Scratch>>, work: impl FnOnce(&mut Scratch) -> T) -> T {
    let mut scratch = pool.lock().pop().unwrap_or_default();
    let out = work(&mut scratch);
    let mut pool = pool.lock();
    if pool.len() < KEPT_SCRATCH {
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
        let tenants = self.tenants.lock();
        let loaded = || tenants.values().filter(|tenant| tenant.watermark() > 0);
        IndexStats {
            users_loaded: loaded().count() as u64,
            rows_loaded: loaded().map(|tenant| tenant.rows.load(Ordering::Acquire) as u64).sum(),
            bytes: loaded().map(|tenant| tenant.bytes() as u64).sum(),
            bytes_limit: self.bytes_limit as u64,
            scans: self.scans.load(Ordering::Relaxed),
            evictions: self.evictions.load(Ordering::Relaxed),
            watermark: loaded().map(|tenant| tenant.watermark()).min(),
        }
    }

    fn clear(&self) {
        self.tenants.lock().clear();
        self.scratch.lock().clear();
    }
}

impl fmt::Debug for RamIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RamIndex").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
