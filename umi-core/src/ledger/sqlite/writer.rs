//! The one thread that writes: it groups the requests that wait into one transaction, each in its own savepoint.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, ffi};
use tokio::sync::oneshot;

use super::{
    errors::{self, Fault, Stored},
    fork::{self, Inherited},
    lock::WriterLock,
    open::BUSY_TIMEOUT,
    place::Place,
};
use crate::error::{Error, Result};

/// The most requests of one transaction.
const GROUP_REQUESTS: usize = 256;
/// About the most bytes of one transaction.
const GROUP_BYTES: usize = 8 * 1024 * 1024;

/// A log that is longer is emptied, where it can be.
const LONG_LOG_BYTES: u64 = 20 * 1024 * 1024;
/// After a vain try it may grow by this until the next one.
const LOG_STEP_BYTES: u64 = 4 * 1024 * 1024;
/// How long the first try waits for the reads of an old state, and each one behind it twice as long as the one before.
const LOG_PATIENCE: Duration = Duration::from_millis(50);
/// No try waits longer.
const LOG_PATIENCE_MOST: Duration = Duration::from_secs(2);

/// A transaction in progress: its connection and the counter of the feed.
#[derive(Debug)]
pub(super) struct Write<'c> {
    /// The connection, inside the transaction.
    pub(super) connection: &'c Connection,
    seq: i64,
    core: i64,
}

impl Write<'_> {
    /// The next place in the feed.
    pub(super) fn next_seq(&mut self) -> i64 {
        self.seq += 1;
        self.seq
    }

    /// The last place that was given.
    pub(super) fn seq(&self) -> i64 {
        self.seq
    }

    /// Passes over the places up to `seq`, which a statement has given to many rows at once.
    pub(super) fn advance_to(&mut self, seq: i64) {
        self.seq = self.seq.max(seq);
    }

    /// Notes that core memory changed, so that every process reads it again.
    pub(super) fn touch_core(&mut self) -> i64 {
        self.core = self.next_seq();
        self.core
    }
}

/// A request, without the type of its answer.
trait Request: Send {
    fn is_abandoned(&self) -> bool;
    fn bytes(&self) -> usize;
    /// Whether it runs outside of any transaction.
    fn is_alone(&self) -> bool;
    /// Does the work and says whether it is to be kept.
    fn run(&mut self, write: &mut Write<'_>, database: Option<&PathBuf>) -> bool;
    /// Why it is not to be kept.
    fn own_failure(&self) -> Option<Error>;
    /// Answers; with an error, what was done is undone.
    fn answer(self: Box<Self>, failure: Option<Error>);
}

struct Typed<T, F> {
    work: Option<F>,
    bytes: usize,
    alone: bool,
    outcome: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T, F> Request for Typed<T, F>
where
    T: Send,
    F: FnOnce(&mut Write<'_>) -> Stored<T> + Send,
{
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn is_alone(&self) -> bool {
        self.alone
    }

    fn run(&mut self, write: &mut Write<'_>, database: Option<&PathBuf>) -> bool {
        let Some(work) = self.work.take() else { return false };
        let outcome = catch_unwind(AssertUnwindSafe(|| work(write)))
            .unwrap_or_else(|_| Err(Error::internal("a write panicked; nothing of it was kept").into()));
        let outcome = errors::outward(outcome, database.map(PathBuf::as_path));
        let keep = outcome.is_ok();
        self.outcome = Some(outcome);
        keep
    }

    fn own_failure(&self) -> Option<Error> {
        self.outcome.as_ref()?.as_ref().err().cloned()
    }

    fn answer(self: Box<Self>, failure: Option<Error>) {
        let Self { outcome, reply, .. } = *self;
        let answer = match (outcome, failure) {
            (Some(Err(own)), _) => Err(own),
            (_, Some(failure)) => Err(failure),
            (Some(done), None) => done,
            (None, None) => Err(Error::internal("a write was never run")),
        };
        // A caller that has gone asks for no answer.
        drop(reply.send(answer));
    }
}

/// The writer's end that callers hold.
pub(super) struct Writer {
    requests: Mutex<Option<Sender<Box<dyn Request>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    stop: Arc<AtomicBool>,
}

/// What the thread owns: the connection (shared with the readers of an in-memory store), the lock, the file's name.
pub(super) struct Store {
    pub(super) connection: Arc<Mutex<Connection>>,
    pub(super) lock: Option<WriterLock>,
    pub(super) database: Option<PathBuf>,
}

/// The connection of a writer of a file.
impl Inherited for Mutex<Connection> {
    fn take(&self) -> Stored<Vec<Connection>> {
        // An empty store takes its place, which nobody can reach.
        let nothing = Connection::open_in_memory()?;
        Ok(vec![std::mem::replace(&mut *self.lock(), nothing)])
    }
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(store: Store) -> Result<Self> {
        let (sender, receiver) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("umi-writer".to_owned())
            .spawn(move || {
                serve(&store, &receiver, &seen);
                fork::using(|| drop(store));
            })
            .map_err(|error| Error::storage("cannot start the thread that writes").with_source(error))?;
        Ok(Self { requests: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)), stop })
    }

    /// Hands work over and waits until it is durable. `bytes` is about what it will write.
    pub(super) async fn write<T, F>(&self, bytes: usize, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Write<'_>) -> Stored<T> + Send + 'static,
    {
        self.ask(bytes, false, work).await
    }

    /// As [`Writer::write`], but outside of any transaction, under the lock of writers.
    pub(super) async fn alone<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Write<'_>) -> Stored<T> + Send + 'static,
    {
        self.ask(0, true, work).await
    }

    async fn ask<T, F>(&self, bytes: usize, alone: bool, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Write<'_>) -> Stored<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let request = Box::new(Typed { work: Some(work), bytes, alone, outcome: None, reply });
        self.requests
            .lock()
            .as_ref()
            .ok_or_else(errors::closed)?
            .send(request)
            .map_err(|_| Error::internal("the thread that writes has ended"))?;
        answer.await.map_err(|_| Error::internal("the thread that writes gave no answer"))?
    }

    /// Takes no more requests; the thread ends once it has done those that wait. Gives its handle, the first time.
    pub(super) fn finish(&self) -> Option<JoinHandle<()>> {
        drop(self.requests.lock().take());
        self.thread.lock().take()
    }

    /// As [`Writer::finish`], and waits no longer for the lock of another process.
    pub(super) fn abandon(&self) -> Option<JoinHandle<()>> {
        self.stop.store(true, Ordering::Relaxed);
        self.finish()
    }
}

fn serve(store: &Store, requests: &Receiver<Box<dyn Request>>, stop: &AtomicBool) {
    let mut place = store.database.as_deref().map(Place::of);
    let mut longest_log = LONG_LOG_BYTES;
    let mut patience = LOG_PATIENCE;
    while let Ok(first) = requests.recv() {
        let held = store.lock.as_ref().map(|lock| lock.acquire(stop)).transpose();
        let held = held.and_then(|held| {
            errors::outward(place.as_mut().map_or(Ok(()), Place::check), store.database.as_deref())?;
            Ok(held)
        });
        let held = match held {
            Ok(held) => held,
            Err(error) => {
                // Those that wait by now share its fate; who comes once it is answered does not.
                let waiting: Vec<_> = std::iter::once(first).chain(requests.try_iter()).collect();
                for request in waiting {
                    request.answer(Some(error.clone()));
                }
                continue;
            }
        };
        let mut next = Some(first);
        while let Some(request) = next.take() {
            if request.is_abandoned() {
                next = requests.try_recv().ok();
            } else if request.is_alone() {
                fork::using(|| run_alone(store, request));
            } else {
                next = fork::using(|| run_group(store, requests, request));
            }
        }
        let log = place.as_ref().map_or(0, Place::log_bytes);
        if log > longest_log {
            (longest_log, patience) = if fork::using(|| empty_log(store, patience)) {
                (LONG_LOG_BYTES, LOG_PATIENCE)
            } else {
                (log + LOG_STEP_BYTES, LOG_PATIENCE_MOST.min(2 * patience))
            };
        }
        drop(held);
    }
}

/// Empties a log that has grown long: SQLite begins it again only at a moment when nobody reads from it, which may never
/// come where several processes read without a pause. Says whether it did.
fn empty_log(store: &Store, patience: Duration) -> bool {
    let connection = store.connection.lock();
    let emptied = connection.busy_timeout(patience).and_then(|()| try_empty_log(&connection));
    let restored = connection.busy_timeout(BUSY_TIMEOUT);
    emptied.and_then(|emptied| restored.map(|()| emptied)).unwrap_or_else(|error| {
        // What was acknowledged lies in the log, and the next write tries again.
        tracing::warn!(target: "umi::ledger", %error, "cannot empty the log of the store");
        false
    })
}

/// Empties the log, unless somebody reads an old state from it. Says whether it did.
pub(super) fn try_empty_log(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get(0)).map(|is_busy: bool| !is_busy)
}

fn run_alone(store: &Store, mut request: Box<dyn Request>) {
    let connection = store.connection.lock();
    let mut write = Write { connection: &connection, seq: 0, core: 0 };
    request.run(&mut write, store.database.as_ref());
    drop(connection);
    request.answer(None);
}

/// One transaction. Gives back a request that it had to leave to the next one.
fn run_group(
    store: &Store,
    requests: &Receiver<Box<dyn Request>>,
    first: Box<dyn Request>,
) -> Option<Box<dyn Request>> {
    let connection = store.connection.lock();
    let mut group: Vec<Box<dyn Request>> = Vec::new();
    let mut left = None;
    let outcome = fill(&connection, store, requests, first, &mut group, &mut left);
    let failure = match outcome {
        Ok(true) => connection.execute_batch("COMMIT").err().map(|error| undo_commit(&connection, store, error)),
        Ok(false) => None, // every caller had gone
        Err(fault) => {
            roll_back(&connection);
            Some(fault.into_error(store.database.as_deref()))
        }
    };
    drop(connection);
    for request in group {
        request.answer(failure.clone());
    }
    left
}

fn roll_back(connection: &Connection) {
    if !connection.is_autocommit()
        && let Err(error) = connection.execute_batch("ROLLBACK")
    {
        tracing::error!(target: "umi::ledger", %error, "cannot roll back a transaction that failed");
    }
}

/// Makes sure that nothing of a commit that failed is ever found, and gives the error for its callers.
///
/// Where only the sync failed, the transaction lies in the log as a whole. No connection that is open reads it, but who
/// opens the store after a crash would. So a change of the counter is committed over it, while nobody else may write.
fn undo_commit(connection: &Connection, store: &Store, error: rusqlite::Error) -> Error {
    roll_back(connection);
    let is_whole_in_log = match error.sqlite_error() {
        // The last write of a commit is the one that makes it whole.
        Some(code) if code.code == ErrorCode::DiskFull || code.extended_code == ffi::SQLITE_IOERR_WRITE => false,
        Some(code) => code.code == ErrorCode::SystemIoFailure,
        None => false,
    };
    let failure = Fault::from(error).into_error(store.database.as_deref());
    if !is_whole_in_log || store.database.is_none() {
        return failure;
    }
    match connection.execute_batch("BEGIN IMMEDIATE; UPDATE counter SET seq = seq + 1; COMMIT") {
        Ok(()) => failure,
        Err(error) => {
            roll_back(connection);
            tracing::error!(target: "umi::ledger", %error, "cannot take a transaction back whose sync failed");
            failure.with_hint(
                "check the disk and its file system; if the machine loses power before the next write succeeds, this \
                 one may be found afterwards",
            )
        }
    }
}

/// Begins a transaction and runs in it what waits. Gives whether there is anything to commit.
fn fill(
    connection: &Connection,
    store: &Store,
    requests: &Receiver<Box<dyn Request>>,
    first: Box<dyn Request>,
    group: &mut Vec<Box<dyn Request>>,
    left: &mut Option<Box<dyn Request>>,
) -> Stored<bool> {
    let mut bytes = 0;
    let mut next = Some(first);
    let mut write: Option<Write<'_>> = None;
    while let Some(request) = next.take() {
        if request.is_alone() {
            *left = Some(request);
            break;
        }
        if !request.is_abandoned() {
            bytes += request.bytes();
            group.push(request);
            let request = group.last_mut().ok_or_else(|| Error::internal("a group lost its request"))?;
            if write.is_none() {
                write = Some(begin(connection)?);
            }
            let Some(write) = write.as_mut() else { break };
            run_in_savepoint(request.as_mut(), write, store.database.as_ref())?;
        }
        if group.len() < GROUP_REQUESTS && bytes < GROUP_BYTES {
            next = requests.try_recv().ok();
        }
    }
    if let Some(write) = &write {
        finish(write)?;
    }
    Ok(write.is_some())
}

fn begin(connection: &Connection) -> Stored<Write<'_>> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute(())?;
    let (seq, core) = connection
        .prepare_cached("SELECT seq, core FROM counter")?
        .query_row((), |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Write { connection, seq, core })
}

fn finish(write: &Write<'_>) -> Stored<()> {
    write
        .connection
        .prepare_cached("UPDATE counter SET seq = ?1, core = ?2 WHERE seq <> ?1 OR core <> ?2")?
        .execute((write.seq, write.core))?;
    Ok(())
}

/// Runs a request so that its failure undoes it alone. An error means that the whole transaction is lost.
fn run_in_savepoint(request: &mut dyn Request, write: &mut Write<'_>, database: Option<&PathBuf>) -> Stored<()> {
    let connection = write.connection;
    let before = (write.seq, write.core);
    connection.prepare_cached("SAVEPOINT request")?.execute(())?;
    if !request.run(write, database) {
        (write.seq, write.core) = before;
        if connection.is_autocommit() {
            // SQLite ends the transaction by itself where a disk is full or fails, which all its requests share.
            let own = request.own_failure();
            return Err(own
                .unwrap_or_else(|| Error::internal("a write ended its transaction and did not fail"))
                .into());
        }
        connection.prepare_cached("ROLLBACK TO request")?.execute(())?;
    }
    connection.prepare_cached("RELEASE request")?.execute(())?;
    Ok(())
}
