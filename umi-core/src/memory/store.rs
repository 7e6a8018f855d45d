//! The store that handles share, and the one place that knows which folders this process has open.
//!
//! That place is process-wide state by nature: two ledgers on one folder in one process would drop each other's file
//! locks (POSIX record locks belong to the process), so there is at most one. A ledger has its folder's turn from before
//! its files are opened until after they are closed; the next opening waits for it.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc, LazyLock, OnceLock, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::tasks::Tasks;
pub(super) use crate::blocking::blocking;
use crate::{
    error::{Error, Result},
    index::{Index, ram::RamIndex},
    ledger::{
        Ledger,
        sqlite::{self, SqliteLedger},
    },
};
#[cfg(feature = "lance")]
use crate::{
    index::lance::LanceIndex,
    world::{Clock, Ids},
};

/// Which index a store that is opened gets. One that is open keeps the index that it has.
#[derive(Debug)]
pub(super) enum IndexKind {
    /// In memory alone.
    Ram {
        /// The most bytes to use.
        bytes: usize,
    },
    /// On LanceDB, in the store's folder.
    #[cfg(feature = "lance")]
    Lance {
        /// The most bytes to use in memory.
        bytes: usize,
        /// Tells when a lease ends.
        clock: Arc<dyn Clock>,
        /// Names whoever holds it.
        ids: Arc<dyn Ids>,
    },
}

impl IndexKind {
    fn make(self, folder: Option<&Path>) -> Box<dyn Index> {
        match (self, folder) {
            #[cfg(feature = "lance")]
            (Self::Lance { bytes, clock, ids }, Some(folder)) => {
                Box::new(LanceIndex::new(folder, bytes, clock, ids.as_ref()))
            }
            #[cfg(feature = "lance")]
            (Self::Lance { bytes, .. }, None) => Box::new(RamIndex::new(bytes)),
            (Self::Ram { bytes }, _) => Box::new(RamIndex::new(bytes)),
        }
    }
}

/// One ledger and the index over it.
pub(super) struct Store {
    pub(super) ledger: Box<dyn Ledger>,
    pub(super) index: Box<dyn Index>,
    pub(super) path: Option<PathBuf>,
    /// What its database was when it was opened.
    identity: Option<(u64, u64)>,
    /// Letting go of jobs whose run was cancelled.
    pub(super) releases: Tasks,
    /// How many openings share it. At zero nobody joins it any more.
    leases: AtomicUsize,
    /// The last field: it goes when the ledger, its thread and its files have gone.
    turn: Turn,
}

/// The right to have a ledger on a folder.
struct Turn {
    held: Mutex<Option<OwnedSemaphorePermit>>,
    process: u32,
}

/// One opening of a store, shared by a handle and the scoped handles made from it.
pub(super) struct Lease {
    pub(super) store: Arc<Store>,
    /// Set when closing begins: no new call.
    closed: AtomicBool,
    /// The one closing, which every caller of `close` waits for.
    closing: OnceLock<Shared<BoxFuture<'static, Result<()>>>>,
    /// Whether the store counts it no more.
    left: AtomicBool,
    process: u32,
}

/// A folder that is open, or about to be.
struct Slot {
    store: tokio::sync::Mutex<Weak<Store>>,
    turn: Arc<Semaphore>,
    /// Held during a look, so that two of them do not take each other for an opening.
    looking: Mutex<()>,
}

/// Open folders of one process by their canonical path.
struct OpenFolders {
    process: u32,
    slots: Mutex<HashMap<PathBuf, Arc<Slot>>>,
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

fn slot(path: &Path) -> Arc<Slot> {
    let open = open_folders();
    let mut slots = open.slots.lock();
    slots.retain(|known, slot| known == path || slot.is_in_use());
    Arc::clone(slots.entry(path.to_owned()).or_default())
}

/// A slot in the place of one whose files are gone, or the one that another opening has put there.
fn renewed_slot(path: &Path, gone: &Arc<Slot>) -> Arc<Slot> {
    let open = open_folders();
    let mut slots = open.slots.lock();
    let slot = slots.entry(path.to_owned()).or_default();
    if Arc::ptr_eq(slot, gone) {
        *slot = Arc::default();
    }
    Arc::clone(slot)
}

fn open_folders() -> Arc<OpenFolders> {
    let mut open = OPEN.load_full();
    while open.process != std::process::id() {
        let previous = OPEN.compare_and_swap(&open, Arc::new(OpenFolders::of_this_process()));
        if Arc::ptr_eq(&previous, &open) {
            std::mem::forget(open);
        }
        open = OPEN.load_full();
    }
    open
}

/// The turn of a folder that this process does not have open, so that nobody here opens it while the turn is held.
///
/// # Errors
/// `InvalidInput` for a folder that is open here: reading its files beside SQLite would drop SQLite's locks.
pub(super) fn turn_of_closed(path: &Path) -> Result<OwnedSemaphorePermit> {
    Arc::clone(&slot(path).turn).try_acquire_owned().map_err(|error| {
        Error::invalid_input(format!("this process has the store `{}` open", path.display()))
            .with_hint("close every handle on it first")
            .with_source(error)
    })
}

/// Looks at a folder and at the header of its database as an opening does at first, without waiting for a lock, another
/// process or the disk's writes.
///
/// A store that this process has open, or is opening or closing, is not looked at: that would drop SQLite's locks.
///
/// # Errors
/// `StoreIo`, `CorruptStore` or `StoreVersion`, as the opening would raise it.
pub(super) fn look(path: &Path) -> Result<()> {
    let Some(canonical) = sqlite::look_for_folder(path)? else { return Ok(()) };
    let slot = slot(&canonical);
    let _looking = slot.looking.lock();
    match slot.turn.try_acquire() {
        Ok(_turn) => sqlite::look(&canonical),
        Err(_) => Ok(()),
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self { store: tokio::sync::Mutex::default(), turn: Arc::new(Semaphore::new(1)), looking: Mutex::default() }
    }
}

impl Slot {
    /// Whether somebody is opening the folder or a ledger still has it.
    fn is_in_use(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1 || self.turn.available_permits() == 0
    }
}

impl Lease {
    /// Opens a folder, or joins it where this process has it open.
    #[expect(
        clippy::await_holding_invalid_type,
        reason = "one folder is opened by one task at a time; no provider is called, and nothing that closes needs it"
    )]
    pub(super) async fn open(path: &Path, index: IndexKind) -> Result<Self> {
        let folder = path.to_owned();
        let canonical = blocking(move || sqlite::make_folder(&folder)).await?;
        let mut slot = slot(&canonical);
        let mut known = slot.store.lock().await;
        if known.upgrade().is_some_and(|store| !store.is_in_place()) {
            // The folder was deleted or moved while it was open. Whoever has it open keeps its turn of what is gone.
            drop(known);
            slot = renewed_slot(&canonical, &slot);
            known = slot.store.lock().await;
        }
        if let Some(store) = known.upgrade().filter(|store| store.join()) {
            return Ok(Self::on(store));
        }
        // A store that is being closed or dropped has the files until it is gone.
        let turn = Arc::clone(&slot.turn)
            .acquire_owned()
            .await
            .map_err(|error| Error::internal("a folder has no turns").with_source(error))?;
        let folder = canonical.clone();
        // The turn goes along, so that a cancelled call leaves it with the files that are being opened.
        let (ledger, turn) = blocking(move || SqliteLedger::open(&folder).map(|ledger| (ledger, turn))).await?;
        let store = Arc::new(Store::new(ledger, index, Some(canonical), Some(turn)));
        *known = Arc::downgrade(&store);
        Ok(Self::on(store))
    }

    /// A store that only this lease knows.
    pub(super) async fn in_memory(index_bytes: usize) -> Result<Self> {
        let ledger = blocking(SqliteLedger::in_memory).await?;
        Ok(Self::on(Arc::new(Store::new(ledger, IndexKind::Ram { bytes: index_bytes }, None, None))))
    }

    /// A lease that the store has counted.
    fn on(store: Arc<Store>) -> Self {
        Self {
            store,
            closed: AtomicBool::new(false),
            closing: OnceLock::new(),
            left: AtomicBool::new(false),
            process: std::process::id(),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Refuses new calls, ends the opening's background tasks, and lets go of the store; the last lease closes it. It runs to its end whoever of those that wait for it is cancelled.
    pub(super) async fn close(self: &Arc<Self>, background: &Tasks) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        let closing = self.closing.get_or_init(|| {
            let (lease, background) = (Arc::clone(self), background.clone());
            let task = tokio::spawn(async move {
                background.end();
                background.wait().await;
                lease.leave().await
            });
            let ended = async move {
                task.await
                    .map_err(|error| Error::internal("closing the store did not end").with_source(error))
                    .flatten()
            };
            ended.boxed().shared()
        });
        closing.clone().await
    }

    async fn leave(&self) -> Result<()> {
        if self.left.swap(true, Ordering::AcqRel) || !self.store.leave() {
            return Ok(());
        }
        self.store.releases.wait().await;
        let fed = self.store.index.feed(self.store.ledger.as_ref()).await;
        self.store.index.clear();
        let closed = self.store.ledger.close().await;
        drop(self.store.turn.held.lock().take());
        closed.and(fed)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.process == std::process::id() && !self.left.swap(true, Ordering::AcqRel) {
            self.store.leave();
        }
    }
}

impl Store {
    fn new(ledger: SqliteLedger, index: IndexKind, path: Option<PathBuf>, turn: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            ledger: Box::new(ledger),
            index: index.make(path.as_deref()),
            identity: path.as_deref().and_then(sqlite::identity),
            path,
            releases: Tasks::default(),
            leases: AtomicUsize::new(1),
            turn: Turn { held: Mutex::new(turn), process: std::process::id() },
        }
    }

    /// Whether its files are still those that its path leads to.
    fn is_in_place(&self) -> bool {
        self.path.as_deref().is_none_or(|path| sqlite::identity(path) == self.identity)
    }

    /// Counts one more lease, unless the last one has left.
    fn join(&self) -> bool {
        self.leases
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |leases| (leases > 0).then_some(leases + 1))
            .is_ok()
    }

    /// Counts one lease less, and gives whether it was the last.
    fn leave(&self) -> bool {
        self.leases.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            // A forked child has its own turns; the parent's may be locked by a thread that the child does not have.
            std::mem::forget(self.held.get_mut().take());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::ErrorKind;

    const RAM: IndexKind = IndexKind::Ram { bytes: 1 << 20 };

    #[tokio::test]
    async fn a_folder_is_opened_again_only_when_its_ledger_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lease::open(folder.path(), RAM).await.unwrap();
        let not_yet_gone = Arc::clone(&first.store);
        drop(first);
        let second = Lease::open(folder.path(), RAM);
        let mut second = Box::pin(second);
        let early = tokio::time::timeout(Duration::from_millis(200), &mut second).await;
        assert!(early.is_err(), "two ledgers on one folder");
        // Another folder's opening looks through the slots; this one's is in use.
        let elsewhere = tempfile::tempdir().unwrap();
        drop(Lease::open(elsewhere.path(), RAM).await.unwrap());
        drop(not_yet_gone);
        second.await.unwrap();
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_read_that_was_given_up_keeps_no_file_open_behind_its_ledger() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().canonicalize().unwrap().join("umi.db");
        for _ in 0..10 {
            let lease = Lease::open(folder.path(), RAM).await.unwrap();
            for _ in 0..4 {
                let _given_up = futures::poll!(lease.store.ledger.check());
            }
            drop(lease);
            let open = std::fs::read_dir("/proc/self/fd").unwrap();
            let links = open.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
            assert!(!links.into_iter().any(|link| link == database));
        }
    }

    #[tokio::test]
    async fn a_look_refuses_what_an_opening_would_and_keeps_off_what_is_open() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store");
        look(&store).unwrap();
        assert!(!store.exists(), "a look makes nothing");
        drop(Lease::open(&store, RAM).await.unwrap());
        let database = store.join("umi.db");
        let turn = Arc::clone(&slot(&store.canonicalize().unwrap()).turn).acquire_owned().await.unwrap();
        std::fs::write(&database, "not a database, ".repeat(100)).unwrap();
        look(&store).unwrap(); // whoever has its turn may have it open
        drop(turn);
        assert_eq!(look(&store).unwrap_err().kind(), ErrorKind::CorruptStore);
        assert_eq!(look(&database).unwrap_err().kind(), ErrorKind::StoreIo);
        assert_eq!(look(&database.join("store")).unwrap_err().kind(), ErrorKind::StoreIo);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_folder_that_was_deleted_while_it_was_open_is_opened_as_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let first = Lease::open(&path, RAM).await.unwrap();
        std::fs::remove_dir_all(&path).unwrap();
        let second = Lease::open(&path, RAM).await.unwrap();
        assert!(!Arc::ptr_eq(&first.store, &second.store));
        let third = Lease::open(&path, RAM).await.unwrap();
        assert!(Arc::ptr_eq(&second.store, &third.store));
    }

    #[tokio::test]
    async fn an_opening_that_is_given_up_leaves_the_turn_to_the_next() {
        let folder = tempfile::tempdir().unwrap();
        for polls in 0..20 {
            let mut opening = Box::pin(Lease::open(folder.path(), RAM));
            for _ in 0..polls {
                if futures::poll!(&mut opening).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        Lease::open(folder.path(), RAM).await.unwrap();
    }
}
