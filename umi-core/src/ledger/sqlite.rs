//! The ledger in one SQLite file: `umi.db` in the store's folder, beside the two lock files of its writers.

mod chains;
mod check;
mod core;
mod episodes;
mod errors;
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
mod restore;
mod rows;
mod salvage;
mod spaces;
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

use async_trait::async_trait;
use jiff::Timestamp;
use parking_lot::Mutex;
use rusqlite::Connection;
use uuid::Uuid;

use self::{
    core::{CoreCache, Edit},
    errors::Stored,
    lock::WriterLock,
    open::Found,
    readers::Readers,
    working::Change,
    writer::{Store, Write, Writer},
};
pub(crate) use self::{
    restore::{RestoredFact, Slots},
    salvage::{Salvage, SavedBlock, SavedKey, SavedVectors},
    target::Target,
};
#[cfg(feature = "lance")]
use super::{AllChanges, Feeder, IndexRow, Owner, TurnPlace};
use super::{
    Appended, Changes, CheckReport, EpisodePage, FactFilter, FactUpdate, ForgetReach, Job, JobLease, Ledger,
    LedgerStats, NewEpisode, NewFact, OwnerText, OwnerVectors, Recorded, Worked, WorkingChange, WorkingEntry,
};
use crate::{
    core_memory::{Block, BlockType, CoreLimits, CoreMemory},
    embed::EmbeddingSpace,
    entity::{Entity, EvolutionRelation},
    episode::Episode,
    error::{Error, Result},
    scope::Scope,
    working_memory::{TimeToLive, WorkingLimits},
};

/// How long a write waits for those of other processes.
const LOCK_DEADLINE: Duration = Duration::from_secs(30);
/// So few rows are read on the caller's thread: that takes less than going to another one and back.
const ROWS_AT_ONCE: usize = 16;
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
        let parts = Parts { writer: Writer::start(store)?, readers, core: CoreCache::default() };
        Ok(Self { folder, process: std::process::id(), closed: AtomicBool::new(false), parts: Some(parts) })
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

fn episode_bytes(new: &NewEpisode) -> usize {
    let pieces: usize = new.pieces.iter().map(piece_bytes).sum();
    ROW_BYTES + new.episode.text.len() + new.episode.metadata.as_str().len() + pieces
}

fn piece_bytes(piece: &super::Piece) -> usize {
    piece.lexical.len() + piece.vector.as_ref().map_or(0, Vec::len)
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn active_space(&self) -> Result<Option<EmbeddingSpace>> {
        // Every recall asks this: a thread of its own would cost it more than the answer.
        self.parts()?.readers.micro(|connection| Ok(spaces::active(connection)?.map(|(_, space)| space)))
    }

    async fn claim_space(&self, space: &EmbeddingSpace) -> Result<()> {
        let space = space.clone();
        self.write(ROW_BYTES, move |write| spaces::claim(write, &space).map(drop)).await
    }

    async fn owners_without_vectors(&self, space: &EmbeddingSpace, limit: usize) -> Result<Vec<OwnerText>> {
        let space = space.clone();
        self.read(move |connection| spaces::without_vectors(connection, &space, limit)).await
    }

    async fn count_without_vectors(&self, space: &EmbeddingSpace) -> Result<u64> {
        let space = space.clone();
        self.read(move |connection| spaces::count_without_vectors(connection, &space)).await
    }

    async fn put_vectors(&self, space: &EmbeddingSpace, vectors: Vec<OwnerVectors>) -> Result<()> {
        let space = space.clone();
        let bytes = vectors.iter().flat_map(|owner| &owner.vectors).map(|(_, vector)| vector.len()).sum();
        self.write(bytes, move |write| spaces::put(write, &space, &vectors)).await
    }

    async fn activate_space(&self, space: &EmbeddingSpace) -> Result<bool> {
        let space = space.clone();
        self.write(ROW_BYTES, move |write| spaces::activate(write, &space)).await
    }

    async fn append(&self, space: &EmbeddingSpace, episodes: Vec<NewEpisode>) -> Result<Vec<Appended>> {
        let space = space.clone();
        let bytes = episodes.iter().map(episode_bytes).sum();
        self.write(bytes, move |write| episodes::append(write, &space, &episodes)).await
    }

    async fn record(&self, space: &EmbeddingSpace, facts: Vec<NewFact>) -> Result<Vec<Recorded>> {
        let space = space.clone();
        let bytes = facts.iter().map(|fact| ROW_BYTES + 2 * fact.entity.content.len() + piece_bytes(&fact.piece)).sum();
        self.write(bytes, move |write| facts::record(write, &space, &facts)).await
    }

    async fn update(&self, space: &EmbeddingSpace, scope: &Scope, update: FactUpdate) -> Result<Recorded> {
        let (space, scope) = (space.clone(), scope.clone());
        let bytes = ROW_BYTES + piece_bytes(&update.piece);
        self.write(bytes, move |write| facts::update(write, &space, &scope, update)).await
    }

    async fn forget(&self, scope: &Scope, id: Uuid, reach: ForgetReach, now: Timestamp) -> Result<bool> {
        let scope = scope.clone();
        self.write(ROW_BYTES, move |write| forget::forget(write, &scope, id, reach, now)).await
    }

    async fn forget_scope(&self, scope: &Scope, now: Timestamp) -> Result<u64> {
        let scope = scope.clone();
        self.write(ROW_BYTES, move |write| forget::forget_scope(write, &scope, now)).await
    }

    async fn purge(&self, now: Timestamp) -> Result<()> {
        self.write(ROW_BYTES, move |write| working::cleanup_all(write, now)).await?;
        let Parts { writer, readers, .. } = self.parts()?;
        writer.alone(whole::vacuum).await?;
        let Some(folder) = &self.folder else { return Ok(()) };
        let database = folder.join(open::DATABASE);
        // The old pages cannot go while one of our own reads needs them.
        let pause = readers.pause().await?;
        let done = writer.alone(move |write| whole::empty_log(write, &database)).await;
        drop(pause);
        done
    }

    async fn fact(&self, scope: &Scope, id: Uuid) -> Result<Option<Entity>> {
        let scope = scope.clone();
        self.read(move |connection| lookup::get(connection, &scope, id)).await
    }

    async fn current(&self, scope: &Scope, id: Uuid, now: Timestamp) -> Result<Option<Entity>> {
        let scope = scope.clone();
        self.read(move |connection| {
            let Some(version) = lookup::key(connection, &scope, id)? else { return Ok(None) };
            Ok(lookup::current(connection, &scope, version, now)?.map(|(_, version)| version))
        })
        .await
    }

    async fn episode(&self, scope: &Scope, id: Uuid) -> Result<Option<Episode>> {
        let scope = scope.clone();
        self.read(move |connection| episodes::get(connection, &scope, id)).await
    }

    async fn facts_by_id(&self, scope: &Scope, ids: &[Uuid]) -> Result<Vec<Entity>> {
        if ids.len() <= ROWS_AT_ONCE {
            return self.parts()?.readers.micro_snapshot(|connection| lookup::many(connection, scope, ids));
        }
        let (scope, ids) = (scope.clone(), ids.to_vec());
        self.read(move |connection| lookup::many(connection, &scope, &ids)).await
    }

    async fn episodes_by_id(&self, scope: &Scope, ids: &[Uuid]) -> Result<Vec<Episode>> {
        if ids.len() <= ROWS_AT_ONCE {
            return self.parts()?.readers.micro_snapshot(|connection| episodes::many(connection, scope, ids));
        }
        let (scope, ids) = (scope.clone(), ids.to_vec());
        self.read(move |connection| episodes::many(connection, &scope, &ids)).await
    }

    async fn history(&self, scope: &Scope, id: Uuid) -> Result<Vec<Entity>> {
        let scope = scope.clone();
        self.read(move |connection| lookup::history(connection, &scope, id)).await
    }

    async fn evolutions(&self, scope: &Scope, id: Uuid) -> Result<Vec<EvolutionRelation>> {
        let scope = scope.clone();
        self.read(move |connection| lookup::evolutions(connection, &scope, id)).await
    }

    async fn facts(&self, scope: &Scope, filter: &FactFilter) -> Result<Vec<Entity>> {
        let (scope, filter) = (scope.clone(), filter.clone());
        self.read(move |connection| lookup::list(connection, &scope, &filter)).await
    }

    async fn episodes(&self, scope: &Scope, page: EpisodePage) -> Result<Vec<Episode>> {
        let scope = scope.clone();
        self.read(move |connection| episodes::page(connection, &scope, page)).await
    }

    async fn count(&self, scope: &Scope, now: Timestamp) -> Result<u64> {
        let scope = scope.clone();
        self.read(move |connection| lookup::count(connection, &scope, now)).await
    }

    async fn has_jobs(&self) -> Result<bool> {
        self.read(jobs::any).await
    }

    async fn pending(&self, scope: &Scope) -> Result<Vec<Job>> {
        let scope = scope.clone();
        self.read(move |connection| jobs::pending(connection, &scope)).await
    }

    async fn lease_jobs(&self, limit: usize, now: Timestamp, lease: JobLease) -> Result<Vec<(Job, OwnerText)>> {
        self.write(ROW_BYTES, move |write| jobs::lease(write, limit, now, lease)).await
    }

    async fn renew_jobs(&self, lease: JobLease) -> Result<()> {
        self.write(ROW_BYTES, move |write| jobs::renew(write, lease)).await
    }

    async fn release_jobs(&self, holder: Uuid) -> Result<()> {
        self.write(ROW_BYTES, move |write| jobs::release(write, holder)).await
    }

    async fn next_lease_end(&self) -> Result<Option<Timestamp>> {
        self.read(jobs::next_lease_end).await
    }

    async fn finish_embed_job(
        &self,
        space: &EmbeddingSpace,
        job: Uuid,
        holder: Uuid,
        vectors: OwnerVectors,
    ) -> Result<bool> {
        let space = space.clone();
        let bytes = ROW_BYTES + vectors.vectors.iter().map(|(_, vector)| vector.len()).sum::<usize>();
        self.write(bytes, move |write| jobs::finish(write, &space, job, holder, &vectors)).await
    }

    async fn fail_job(&self, job: Uuid, holder: Uuid, error: &Error) -> Result<()> {
        let error = error.clone();
        self.write(ROW_BYTES, move |write| jobs::fail(write, job, holder, &error)).await
    }

    fn head(&self) -> Result<i64> {
        self.parts()?.readers.micro(feed::head)
    }

    async fn tenants(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        let after = after.map(str::to_owned);
        self.read(move |connection| feed::tenants(connection, after.as_deref(), limit)).await
    }

    async fn changes(&self, scope: &Scope, after: i64, limit: usize) -> Result<Changes> {
        let scope = scope.clone();
        self.read(move |connection| feed::changes(connection, &scope, after, limit)).await
    }

    #[cfg(feature = "lance")]
    async fn all_changes(&self, after: i64, limit: usize) -> Result<AllChanges> {
        self.read(move |connection| feed::all_changes(connection, after, limit)).await
    }

    #[cfg(feature = "lance")]
    async fn index_rows(&self, scope: &Scope, owners: &[Owner]) -> Result<Vec<IndexRow>> {
        let (scope, owners) = (scope.clone(), owners.to_vec());
        self.read(move |connection| feed::by_owners(connection, &scope, &owners)).await
    }

    #[cfg(feature = "lance")]
    async fn neighbours(&self, scope: &Scope, turns: &[TurnPlace], pause: i64) -> Result<Vec<IndexRow>> {
        let (scope, turns) = (scope.clone(), turns.to_vec());
        self.read(move |connection| feed::neighbours(connection, &scope, &turns, pause)).await
    }

    #[cfg(feature = "lance")]
    async fn take_feeder(&self, now: Timestamp, lease: JobLease) -> Result<Option<Feeder>> {
        self.write(ROW_BYTES, move |write| feeders::take(write, now, lease)).await
    }

    #[cfg(feature = "lance")]
    async fn renew_feeder(&self, fence: i64, lease: JobLease) -> Result<bool> {
        self.write(ROW_BYTES, move |write| feeders::renew(write, fence, lease)).await
    }

    #[cfg(feature = "lance")]
    async fn place_feeder(&self, fence: i64, holder: Uuid, place: &str) -> Result<bool> {
        let place = place.to_owned();
        self.write(ROW_BYTES, move |write| feeders::place(write, fence, holder, &place)).await
    }

    #[cfg(feature = "lance")]
    async fn release_feeder(&self, fence: i64, holder: Uuid) -> Result<()> {
        self.write(ROW_BYTES, move |write| feeders::release(write, fence, holder)).await
    }

    #[cfg(feature = "lance")]
    async fn feeder_place(&self) -> Result<Option<String>> {
        self.parts()?.readers.micro(feeders::placed)
    }

    async fn core(&self, scope: &Scope, limits: CoreLimits) -> Result<CoreMemory> {
        let parts = self.parts()?;
        parts.readers.micro(|connection| parts.core.get(connection, scope, limits))
    }

    async fn core_rendered(&self, scope: &Scope, limits: CoreLimits) -> Result<Arc<str>> {
        let parts = self.parts()?;
        parts.readers.micro(|connection| parts.core.rendered(connection, scope, limits))
    }

    async fn set_block(
        &self,
        scope: &Scope,
        limits: CoreLimits,
        block_type: BlockType,
        content: &str,
        label: Option<&str>,
        importance: Option<f64>,
        now: Timestamp,
    ) -> Result<Block> {
        let scope = scope.clone();
        let edit = Edit { block_type, content: content.to_owned(), label: label.map(str::to_owned), importance, now };
        self.write(ROW_BYTES + content.len(), move |write| core::set(write, &scope, limits, &edit)).await
    }

    async fn remove_block(&self, scope: &Scope, block_type: BlockType, now: Timestamp) -> Result<bool> {
        let scope = scope.clone();
        self.write(ROW_BYTES, move |write| core::remove(write, &scope, block_type, now)).await
    }

    async fn clear_core(&self, scope: &Scope, now: Timestamp) -> Result<()> {
        let scope = scope.clone();
        self.write(ROW_BYTES, move |write| core::clear(write, &scope, now)).await
    }

    async fn block_versions(&self, scope: &Scope, block_type: BlockType) -> Result<Vec<Block>> {
        let scope = scope.clone();
        self.read(move |connection| core::versions(connection, &scope, block_type)).await
    }

    async fn restore_block(
        &self,
        scope: &Scope,
        limits: CoreLimits,
        block_type: BlockType,
        version: u64,
        now: Timestamp,
    ) -> Result<Block> {
        let scope = scope.clone();
        self.write(ROW_BYTES, move |write| core::restore(write, &scope, limits, block_type, version, now)).await
    }

    async fn working_get(&self, scope: &Scope, key: &str, now: Timestamp) -> Result<Option<WorkingEntry>> {
        self.parts()?.readers.micro(|connection| working::get(connection, scope, key, now))
    }

    async fn working_entries(&self, scope: &Scope, now: Timestamp) -> Result<Vec<WorkingEntry>> {
        let scope = scope.clone();
        self.read(move |connection| working::entries(connection, &scope, now)).await
    }

    async fn working_usage(&self, scope: &Scope, now: Timestamp) -> Result<(usize, usize)> {
        let scope = scope.clone();
        self.read(move |connection| working::usage(connection, &scope, now)).await
    }

    async fn working_change(
        &self,
        scope: &Scope,
        limits: WorkingLimits,
        key: &str,
        change: WorkingChange,
        ttl: Option<TimeToLive>,
        now: Timestamp,
    ) -> Result<Worked> {
        let scope = scope.clone();
        let change = Change { key: key.to_owned(), what: change, ttl, now };
        self.write(ROW_BYTES, move |write| working::change(write, &scope, &limits, change)).await
    }

    async fn working_delete(&self, scope: &Scope, key: &str, now: Timestamp) -> Result<bool> {
        let (scope, key) = (scope.clone(), key.to_owned());
        self.write(ROW_BYTES, move |write| working::delete(write, &scope, &key, now)).await
    }

    async fn working_cleanup(&self, scope: &Scope, now: Timestamp) -> Result<usize> {
        let scope = scope.clone();
        self.write(ROW_BYTES, move |write| working::cleanup(write, &scope, now)).await
    }

    async fn working_clear(&self, scope: &Scope) -> Result<()> {
        let scope = scope.clone();
        self.write(ROW_BYTES, move |write| working::clear(write, &scope)).await
    }

    async fn stats(&self) -> Result<LedgerStats> {
        let folder = self.folder.clone();
        self.read(move |connection| whole::stats(connection, folder.as_deref())).await
    }

    async fn backup(&self, to: &Path) -> Result<()> {
        let (to, folder) = (to.to_owned(), self.folder.clone());
        self.read(move |connection| whole::backup(connection, folder.as_deref(), &to)).await
    }

    async fn check(&self) -> Result<CheckReport> {
        self.read(check::check).await
    }

    async fn close(&self) -> Result<()> {
        if self.process != std::process::id() {
            return Err(errors::forked());
        }
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let Some(parts) = &self.parts else { return Ok(()) };
        parts.readers.close().await;
        let Some(thread) = parts.writer.finish() else { return Ok(()) };
        tokio::task::spawn_blocking(move || thread.join())
            .await
            .map_err(|error| Error::internal("closing the store panicked").with_source(error))?
            .map_err(|_| Error::internal("the thread that writes panicked"))
    }
}
