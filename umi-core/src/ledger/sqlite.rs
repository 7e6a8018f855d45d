//! The ledger in one SQLite file: `umi.db` in the store's folder, beside the two lock files of its writers and the folder
//! of its blobs.

pub(crate) mod blobs;
mod calls;
mod chains;
mod check;
mod contexts;
mod core;
mod decisions;
mod episodes;
mod errors;
mod evolutions;
mod extraction;
mod facts;
mod feed;
#[cfg(feature = "lance")]
mod feeders;
mod forget;
pub(crate) mod fork;
mod jobs;
mod lock;
mod log;
mod lookup;
mod migrations;
mod open;
mod place;
#[cfg(test)]
mod plans;
mod readers;
mod reasons;
mod restore;
mod rows;
mod salvage;
mod spaces;
mod succession;
mod target;
#[cfg(test)]
mod tests;
mod whole;
mod working;
mod writer;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use parking_lot::Mutex;
use rusqlite::Connection;

use self::{
    blobs::Blobs,
    core::CoreCache,
    errors::Stored,
    lock::WriterLock,
    open::Found,
    readers::Readers,
    writer::{Store, Write, Writer},
};
pub(crate) use self::{
    restore::{RestoredFact, Slots},
    salvage::{Salvage, SavedBlock, SavedDecision, SavedKey, SavedVectors},
    target::Target,
};
use crate::{embed::EmbeddingSpace, error::Result};

/// How long a write waits for those of other processes.
const LOCK_DEADLINE: Duration = Duration::from_secs(30);
/// What a row takes beside its texts, about.
const ROW_BYTES: usize = 512;

/// What tells a folder's database from every other file, also from one that comes to stand in its place; none where
/// there is none.
pub(crate) fn identity(folder: &Path) -> Option<(u64, u64)> {
    place::identity(&folder.join(open::DATABASE))
}

/// Makes a store's folder for its owner alone, where it is missing, and gives its canonical path. Blocks.
///
/// # Errors
/// `StoreIo` where the operating system refuses.
pub(crate) fn make_folder(folder: &Path) -> Result<PathBuf> {
    open::make_folder(folder)?;
    find_folder(folder)
}

/// Gives the canonical path of a folder that is there. Blocks.
///
/// # Errors
/// `StoreIo` where it is missing, or the operating system refuses.
pub(crate) fn find_folder(folder: &Path) -> Result<PathBuf> {
    folder.canonicalize().map_err(|error| errors::from_io(error, "open the folder", folder))
}

/// Gives the canonical path of a store's folder, or none where it is still to be made. Waits for nobody.
///
/// # Errors
/// `StoreIo` where it cannot be made, as [`make_folder`].
pub(crate) fn look_for_folder(folder: &Path) -> Result<Option<PathBuf>> {
    open::look_for_folder(folder)
}

/// Looks at the header of the database in a folder, if there is one, as [`SqliteLedger::open`] does at first. Waits for
/// nobody, and leaves the log, SQLite and locks aside.
///
/// A process must not call it while it has the store open, because closing the file drops SQLite's locks on it.
///
/// # Errors
/// `StoreVersion`, `CorruptStore` and `StoreIo` as [`SqliteLedger::open`].
pub(crate) fn look(folder: &Path) -> Result<()> {
    fork::check()?;
    fork::using(|| open::look(&folder.join(open::DATABASE))).map(drop)
}

/// A ledger in a SQLite file, or in memory.
///
/// One process opens a folder once at a time and shares the handle: a second handle would drop the first one's record
/// locks when it closes.
pub(crate) struct SqliteLedger {
    folder: Option<PathBuf>,
    /// The process that opened it: what a forked child inherits must not be used or closed there.
    process: u32,
    closed: AtomicBool,
    blobs: Arc<Blobs>,
    /// None only while it is dropped.
    parts: Option<Parts>,
}

struct Parts {
    writer: Writer,
    readers: Readers,
    core: CoreCache,
}

impl fmt::Debug for SqliteLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteLedger").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl SqliteLedger {
    /// Opens the store in `folder`, and makes both where they are missing, readable by their owner alone. Blocks.
    ///
    /// # Errors
    /// `StoreVersion` for a store of a newer version or a file of another program, `CorruptStore` for a file that is
    /// no database or is cut, before anything is written; `StoreIo` where the operating system refuses;
    /// `StoreLocked` when another process writes for longer than 30 seconds.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        Self::open_with(folder, LOCK_DEADLINE)
    }

    fn open_with(folder: &Path, deadline: Duration) -> Result<Self> {
        fork::check()?;
        fork::using(|| Self::connect(folder, deadline))
    }

    fn connect(folder: &Path, deadline: Duration) -> Result<Self> {
        open::make_folder(folder)?;
        let database = folder.join(open::DATABASE);
        let found = open::inspect(&database)?;
        // What is refused gets no lock files beside it.
        let (connection, lock) = match found {
            Found::Ready => (open::ready_writer(&database)?, WriterLock::open(folder, deadline)?),
            Found::ToMake => {
                let lock = WriterLock::open(folder, deadline)?;
                (open::writer(&database, &lock)?, lock)
            }
        };
        let readers = Readers::of_file(database.clone())?;
        let connection = Arc::new(Mutex::new(connection));
        let shared: Weak<Mutex<Connection>> = Arc::downgrade(&connection);
        fork::note(shared);
        let store = Store { connection, lock: Some(lock), database: Some(database) };
        Self::start(Some(folder.to_owned()), readers, store)
    }

    /// A store in memory, gone with this handle.
    ///
    /// # Errors
    /// `Storage` where the thread that writes cannot be started.
    pub(crate) fn in_memory() -> Result<Self> {
        fork::check()?;
        let connection = Arc::new(Mutex::new(fork::using(|| errors::outward(open::memory(), None))?));
        let readers = Readers::of_memory(Arc::clone(&connection));
        Self::start(None, readers, Store { connection, lock: None, database: None })
    }

    fn start(folder: Option<PathBuf>, readers: Readers, store: Store) -> Result<Self> {
        let blobs = Arc::new(folder.as_deref().map_or_else(Blobs::in_memory, Blobs::of_folder));
        let parts = Parts { writer: Writer::start(store)?, readers, core: CoreCache::default() };
        Ok(Self { folder, process: std::process::id(), closed: AtomicBool::new(false), blobs, parts: Some(parts) })
    }

    fn parts(&self) -> Result<&Parts> {
        if self.process != std::process::id() {
            return Err(errors::forked());
        }
        if self.closed.load(Ordering::Acquire) {
            return Err(errors::closed());
        }
        self.parts.as_ref().ok_or_else(errors::closed)
    }

    async fn read<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Stored<T> + Send + 'static,
    {
        self.parts()?.readers.read(work).await
    }

    async fn write<T, F>(&self, bytes: usize, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Write<'_>) -> Stored<T> + Send + 'static,
    {
        self.parts()?.writer.write(bytes, work).await
    }
}

/// Writing what another store held.
impl SqliteLedger {
    /// Writes sayings of facts; their chains are computed by [`SqliteLedger::compute_chains`] when all are there.
    pub(crate) async fn restore_facts(
        &self,
        space: &EmbeddingSpace,
        facts: Vec<RestoredFact>,
        slots: Slots,
    ) -> Result<Slots> {
        let space = space.clone();
        self.write(ROW_BYTES, move |write| restore::sayings(write, &space, &facts, slots)).await
    }

    /// Writes how sayings relate that are there, before their chains are computed. Gives how many it wrote.
    pub(crate) async fn restore_decisions(&self, decisions: Vec<SavedDecision>) -> Result<u64> {
        self.write(ROW_BYTES, move |write| restore::decisions(write, &decisions)).await
    }

    /// Computes chains from their sayings.
    pub(crate) async fn compute_chains(&self, slots: Vec<i64>, now: Timestamp) -> Result<()> {
        self.write(ROW_BYTES, move |write| restore::compute(write, &slots, now)).await
    }

    /// Writes versions of core blocks.
    pub(crate) async fn restore_blocks(&self, blocks: Vec<SavedBlock>) -> Result<()> {
        self.write(ROW_BYTES, move |write| restore::blocks(write, &blocks)).await
    }

    /// Writes working keys; what they amount to is summed by [`SqliteLedger::sum_usage`] when all are there.
    pub(crate) async fn restore_working(&self, keys: Vec<SavedKey>) -> Result<()> {
        self.write(ROW_BYTES, move |write| restore::working(write, &keys)).await
    }

    /// Sums what working keys amount to.
    pub(crate) async fn sum_usage(&self, now: Timestamp) -> Result<()> {
        self.write(ROW_BYTES, move |write| restore::usage(write, now)).await
    }
}

impl Drop for SqliteLedger {
    fn drop(&mut self) {
        let Some(parts) = self.parts.take() else { return };
        if self.process != std::process::id() {
            // In a forked child the thread does not exist, and closing would disturb the parent's locks and WAL.
            std::mem::forget(parts);
            return;
        }
        let Parts { writer, readers, .. } = parts;
        readers.close_blocking(); // the writer's connection is the last, and empties the WAL
        if let Some(thread) = writer.abandon()
            && thread.join().is_err()
        {
            tracing::error!(target: "umi::ledger", "the thread that writes panicked");
        }
    }
}
