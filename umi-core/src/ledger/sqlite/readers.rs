//! A small pool of connections that read, and the one for reads that are too short to leave the caller's thread.

use std::{
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use super::{
    errors::{self, Stored},
    fork::{self, Inherited},
    open,
    place::Place,
};
use crate::error::{Error, Result};

/// The time between two looks at reads that nobody awaits any more.
const NAP: Duration = Duration::from_micros(200);
/// How many reads run at once; others wait their turn.
const READERS: u32 = 4;

/// Where reads come from.
#[derive(Debug, Clone)]
pub(super) struct Readers {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    source: Source,
    turns: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
    micro: Mutex<Option<Connection>>,
}

#[derive(Debug)]
enum Source {
    File {
        database: PathBuf,
        place: Mutex<Place>,
    },
    /// Reads and writes share the one connection that the store lives in.
    Memory(Arc<Mutex<Connection>>),
}

impl Readers {
    /// Readers of a file, within a use.
    pub(super) fn of_file(database: PathBuf) -> Result<Self> {
        let micro = errors::outward(open::reader(&database), Some(&database))?;
        let place = Mutex::new(Place::of(&database));
        let readers = Self::new(Source::File { database, place }, Some(micro));
        let shared: Weak<Shared> = Arc::downgrade(&readers.shared);
        fork::note(shared);
        Ok(readers)
    }

    /// Readers of a store in memory.
    pub(super) fn of_memory(connection: Arc<Mutex<Connection>>) -> Self {
        Self::new(Source::Memory(connection), None)
    }

    fn new(source: Source, micro: Option<Connection>) -> Self {
        let shared = Shared {
            source,
            turns: Arc::new(Semaphore::new(READERS as usize)),
            idle: Mutex::new(Vec::new()),
            micro: Mutex::new(micro),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Reads in one snapshot on a blocking thread.
    pub(super) async fn read<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Stored<T> + Send + 'static,
    {
        let turn = Arc::clone(&self.shared.turns).acquire_owned().await.map_err(|_| errors::closed())?;
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || {
            let result = fork::using(|| shared.read(work));
            drop(turn);
            result
        })
        .await
        .map_err(|error| Error::internal("a read panicked").with_source(error))?
    }

    /// Reads a few rows at once, in one snapshot: one pair of SQLite's file locks for all of them.
    pub(super) fn micro_snapshot<T>(&self, work: impl FnOnce(&Connection) -> Stored<T>) -> Result<T> {
        self.micro(|connection| in_snapshot(connection, work))
    }

    /// Reads at once, for a few microseconds.
    pub(super) fn micro<T>(&self, work: impl FnOnce(&Connection) -> Stored<T>) -> Result<T> {
        fork::using(|| match &self.shared.source {
            Source::Memory(connection) => errors::outward(work(&connection.lock()), None),
            Source::File { database, place } => {
                let micro = self.shared.micro.lock();
                let micro = micro.as_ref().ok_or_else(errors::closed)?;
                errors::outward(place.lock().check_lately().and_then(|()| work(micro)), Some(database))
            }
        })
    }

    /// Waits for the reads that run and holds new ones back while the answer lives.
    pub(super) async fn pause(&self) -> Result<OwnedSemaphorePermit> {
        Arc::clone(&self.shared.turns).acquire_many_owned(READERS).await.map_err(|_| errors::closed())
    }

    /// As [`Readers::close`], on a thread that may block, for reads whose callers have gone.
    pub(super) fn close_blocking(&self) {
        while let Err(TryAcquireError::NoPermits) = self.shared.turns.try_acquire_many(READERS) {
            std::thread::sleep(NAP);
        }
        self.shared.close();
    }

    /// Waits for the reads that run, refuses new ones and closes every connection.
    pub(super) async fn close(&self) {
        // An error means that another call has closed them.
        if let Ok(turns) = self.shared.turns.acquire_many(READERS).await {
            self.shared.turns.close();
            drop(turns);
        }
        self.shared.close();
    }
}

impl Inherited for Shared {
    fn take(&self) -> Stored<Vec<Connection>> {
        let idle = std::mem::take(&mut *self.idle.lock());
        Ok(idle.into_iter().chain(self.micro.lock().take()).collect())
    }
}

impl Shared {
    fn close(&self) {
        fork::using(|| {
            self.idle.lock().clear();
            drop(self.micro.lock().take());
        });
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> Stored<T>) -> Result<T> {
        match &self.source {
            Source::Memory(connection) => errors::outward(in_snapshot(&connection.lock(), work), None),
            Source::File { database, place } => {
                errors::outward(place.lock().check(), Some(database))?;
                let idle = self.idle.lock().pop();
                let connection = match idle {
                    Some(connection) => connection,
                    None => errors::outward(open::reader(database), Some(database))?,
                };
                let result = in_snapshot(&connection, work);
                if connection.is_autocommit() {
                    self.idle.lock().push(connection);
                }
                errors::outward(result, Some(database))
            }
        }
    }
}

/// All statements of one read see one state of the store.
fn in_snapshot<T>(connection: &Connection, work: impl FnOnce(&Connection) -> Stored<T>) -> Stored<T> {
    let transaction = connection.unchecked_transaction()?;
    let result = work(&transaction)?;
    transaction.commit()?;
    Ok(result)
}
