//! Forks: no child is born while a thread uses SQLite, and a child closes what it inherits before it opens a store.
//!
//! SQLite keeps in the process's memory which locks its connections hold on a file, and which files they have open. A
//! child inherits that memory but not the locks: a connection that it opens to the same file would join them, believe
//! locks that it does not have, so that another process may take away the log that it writes to, and wait for ever for
//! those that a thread of the parent held. So whoever forks waits until no connection is in use, and the child closes
//! its copies of all connections, which touches neither the files nor the parent's locks.

use std::{
    cell::RefCell,
    sync::{Arc, LazyLock, Weak},
    time::Duration,
};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock, RwLockWriteGuard};
use rusqlite::{Connection, config::DbConfig};

use super::{errors, errors::Stored};
use crate::error::Result;

/// How long a fork waits: longer than any transaction takes, and not for ever where a thread that uses SQLite waits for
/// something that the forking one has, such as the lock of Python's logging.
const PATIENCE: Duration = Duration::from_mins(1);

/// Connections that a forked child is to close.
pub(super) trait Inherited: Send + Sync {
    /// Takes them away from whoever has them.
    fn take(&self) -> Stored<Vec<Connection>>;
}

/// What the uses of SQLite in one process have in common.
struct Gate {
    process: u32,
    uses: RwLock<()>,
    /// Locked only within a use, so that no child inherits it locked.
    connections: Mutex<Vec<Weak<dyn Inherited>>>,
}

/// Swapped in a forked child, because threads that it does not have may wait for the lock of the parent's. Each is
/// leaked: one a generation of forks.
static GATE: LazyLock<ArcSwap<&'static Gate>> = LazyLock::new(|| ArcSwap::from_pointee(Gate::of_this_process()));

thread_local! {
    /// Held by the thread that forks, from before to after.
    static HELD: RefCell<Option<RwLockWriteGuard<'static, ()>>> = const { RefCell::new(None) };
}

impl Gate {
    fn of_this_process() -> &'static Self {
        let process = std::process::id();
        Box::leak(Box::new(Self { process, uses: RwLock::new(()), connections: Mutex::default() }))
    }
}

fn gate() -> &'static Gate {
    **GATE.load()
}

/// Makes the gate, and not on first use.
pub(crate) fn prepare() {
    LazyLock::force(&GATE);
}

/// Uses SQLite: no fork happens meanwhile. Not to be nested, because a fork that waits would stop the inner one.
pub(super) fn using<T>(work: impl FnOnce() -> T) -> T {
    let _use = gate().uses.read();
    work()
}

/// Notes connections, within a use.
pub(super) fn note(connections: Weak<dyn Inherited>) {
    let mut noted = gate().connections.lock();
    noted.retain(|known| known.strong_count() > 0);
    noted.push(connections);
}

/// Refuses to open a store in a child that was forked without a word to its parent, if that had one open.
pub(super) fn check() -> Result<()> {
    let gate = gate();
    if gate.process == std::process::id() {
        return Ok(());
    }
    // Nobody waited before the fork, so the list may be inherited locked.
    if gate.connections.try_lock().is_some_and(|noted| noted.iter().all(|known| known.strong_count() == 0)) {
        GATE.store(Arc::new(Gate::of_this_process()));
        return Ok(());
    }
    Err(errors::forked().with_hint(
        "fork while no call of a memory is under way, from Rust with `before_fork` and `after_fork_in_child` around it",
    ))
}

/// Waits until no thread uses SQLite, and keeps it so until one of the two others is called on this thread. After a
/// minute it gives up, and then the child is refused what the parent has open.
pub(crate) fn before() {
    HELD.with_borrow_mut(|held| {
        if held.is_none() {
            *held = gate().uses.try_write_for(PATIENCE);
        }
    });
}

/// Lets the threads of the parent go on.
pub(crate) fn after_in_parent() {
    drop(HELD.take());
}

/// Closes the child's copies of all connections.
pub(crate) fn after_in_child() {
    let inherited = gate();
    if inherited.process == std::process::id() {
        return after_in_parent();
    }
    // Without it nothing that is inherited can be touched, and `check` says so.
    let Some(held) = HELD.take() else { return };
    // Letting go of it could hand it to a thread that the child does not have.
    std::mem::forget(held);
    let connections = std::mem::take(&mut *inherited.connections.lock());
    for connections in connections.iter().filter_map(Weak::upgrade) {
        match connections.take() {
            Ok(taken) => taken.into_iter().for_each(close),
            Err(_) => return, // without them closed, `check` goes on to refuse
        }
        // Its owner is a handle that is never dropped in the child.
        std::mem::forget(connections);
    }
    GATE.store(Arc::new(Gate::of_this_process()));
}

/// Closes a copy of a connection without a look at the log, which is the parent's.
fn close(connection: Connection) {
    let kept = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    if kept.is_err() {
        std::mem::forget(connection);
    } else if let Err((connection, _)) = connection.close() {
        std::mem::forget(connection);
    }
}
