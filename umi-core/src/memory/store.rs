//! The store that handles share, and the one place that knows which folders this process has open.
//!
//! That place is process-wide state by nature: two ledgers on one folder in one process would drop each other's file
//! locks (POSIX record locks belong to the process), so there is at most one.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc, LazyLock, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::{
    error::{Error, Result},
    index::{Index, ram::RamIndex},
    ledger::{
        Ledger,
        sqlite::{self, SqliteLedger},
    },
};

/// One ledger and the index over it.
pub(super) struct Store {
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) index: Arc<dyn Index>,
    pub(super) path: Option<PathBuf>,
    leases: AtomicUsize,
}

/// One opening of a store, shared by a handle and the scoped handles made from it.
pub(super) struct Lease {
    pub(super) store: Arc<Store>,
    closed: AtomicBool,
    process: u32,
}

type Slot = Arc<tokio::sync::Mutex<Weak<Store>>>;

/// Open folders of one process by their canonical path.
struct OpenFolders {
    process: u32,
    slots: Mutex<HashMap<PathBuf, Slot>>,
}

impl OpenFolders {
    fn of_this_process() -> Self {
        Self { process: std::process::id(), slots: Mutex::default() }
    }
}

/// Swapped as a whole in a forked child: what it inherits may be locked by a thread that it does not have, and the
/// parent's stores are not its own.
static OPEN: LazyLock<ArcSwap<OpenFolders>> = LazyLock::new(|| ArcSwap::from_pointee(OpenFolders::of_this_process()));

/// Makes the list of open folders.
pub(super) fn prepare() {
    LazyLock::force(&OPEN);
}

fn slot(path: &Path) -> Slot {
    let mut open = OPEN.load_full();
    while open.process != std::process::id() {
        let previous = OPEN.compare_and_swap(&open, Arc::new(OpenFolders::of_this_process()));
        if Arc::ptr_eq(&previous, &open) {
            std::mem::forget(open);
        }
        open = OPEN.load_full();
    }
    let mut slots = open.slots.lock();
    slots.retain(|known, slot| known == path || Arc::strong_count(slot) > 1 || is_in_use(slot));
    Arc::clone(slots.entry(path.to_owned()).or_default())
}

fn is_in_use(slot: &Slot) -> bool {
    slot.try_lock().map_or(true, |store| store.strong_count() > 0)
}

impl Lease {
    /// Opens a folder, or joins it where this process has it open.
    #[expect(
        clippy::await_holding_invalid_type,
        reason = "one folder is opened or closed by one task at a time; no provider is called"
    )]
    pub(super) async fn open(path: &Path, index_bytes: usize) -> Result<Self> {
        let folder = path.to_owned();
        let canonical = blocking(move || sqlite::make_folder(&folder)).await?;
        let slot = slot(&canonical);
        let mut known = slot.lock().await;
        let open_store = known.upgrade().filter(|store| store.leases.load(Ordering::Acquire) > 0);
        let store = if let Some(store) = open_store {
            store
        } else {
            let folder = canonical.clone();
            let ledger = blocking(move || SqliteLedger::open(&folder)).await?;
            Arc::new(Store::new(ledger, index_bytes, Some(canonical)))
        };
        *known = Arc::downgrade(&store);
        Ok(Self::on(store))
    }

    /// A store that only this lease knows.
    pub(super) async fn in_memory(index_bytes: usize) -> Result<Self> {
        let ledger = blocking(SqliteLedger::in_memory).await?;
        Ok(Self::on(Arc::new(Store::new(ledger, index_bytes, None))))
    }

    fn on(store: Arc<Store>) -> Self {
        store.leases.fetch_add(1, Ordering::AcqRel);
        Self { store, closed: AtomicBool::new(false), process: std::process::id() }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Lets go of the store; the last lease closes it.
    pub(super) async fn close(&self) -> Result<()> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let slot = self.store.path.as_deref().map(slot);
        let _alone = match &slot {
            Some(slot) => Some(slot.lock().await),
            None => None,
        };
        if self.store.leases.fetch_sub(1, Ordering::AcqRel) > 1 {
            return Ok(());
        }
        self.store.index.clear();
        self.store.ledger.close().await
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.is_closed() && self.process == std::process::id() {
            self.store.leases.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Store {
    fn new(ledger: SqliteLedger, index_bytes: usize, path: Option<PathBuf>) -> Self {
        Self {
            ledger: Arc::new(ledger),
            index: Arc::new(RamIndex::new(index_bytes)),
            path,
            leases: AtomicUsize::new(0),
        }
    }
}

/// Runs blocking work off the I/O workers.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal("a blocking task did not end").with_source(error))?
}
