#![expect(unsafe_code, reason = "SQLite's file layer is an interface of C; only tests link this crate")]
#![deny(clippy::undocumented_unsafe_blocks)]
//! Full disks, I/O errors and power cuts under SQLite, for the tests of the engine.
//!
//! [`Disk::at`] puts a layer over SQLite's own file access, as the process's default one, so that the production engine
//! runs on it unchanged. Files outside of the watched folders pass straight through. Inside, every operation is
//! recorded, one armed [`Fault`] can make operations fail, and the power can be cut: [`Disk::power_on`] then leaves of
//! every file what was synced and a seeded part of what was not.
//!
//! What counts as durable is what POSIX promises and no more:
//! - bytes after a successful sync of their file; where a sync failed, what was written before it stays in doubt until
//!   it is written again, because the system call of Linux forgets it;
//! - a name (a file made or deleted) after its folder was synced, which SQLite does with the first sync of a new
//!   journal or log, and with some deletions.
//!
//! The layer itself decides what survives, so it syncs nothing for real.

mod disk;
#[cfg(target_os = "linux")]
mod names;
mod random;
mod unsynced;
mod vfs;

use std::path::Path;

use disk::Watched;
#[cfg(target_os = "linux")]
pub use names::take_synced_folders;
pub use random::Random;

/// What a failing operation tells SQLite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The I/O error of the operation.
    Io,
    /// There is no space: `SQLITE_FULL`, and of a sync its I/O error, as SQLite's own layer tells it.
    Full,
}

/// What was done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It was opened or made.
    Open,
    /// Bytes were read. Successful reads leave no event.
    Read,
    /// Bytes were written.
    Write,
    /// What was written was made durable.
    Sync,
    /// Its length was set.
    Truncate,
    /// It was deleted.
    Delete,
}

/// What a file is to SQLite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// The database.
    Database,
    /// Its write-ahead log.
    Wal,
    /// Its rollback journal.
    Journal,
    /// A temporary file that has a name, and others.
    Other,
}

/// What is to go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What the failing operations tell.
    pub failure: Failure,
    /// The operation that fails; none for each of write, sync and truncate.
    pub operation: Option<Operation>,
    /// The file with which it fails; none for each.
    pub file: Option<FileKind>,
    /// So many operations that match pass first.
    pub after: u64,
    /// So many that match fail then; `u64::MAX` until [`Disk::clear`].
    pub count: u64,
    /// A failing write leaves the first half of its bytes.
    pub short: bool,
    /// The power goes at that operation, whose change is in the file, not synced.
    pub power_off: bool,
}

impl Fault {
    /// An I/O error of every change from the next one on, until [`Disk::clear`].
    pub const EVERY_CHANGE: Self = Self {
        failure: Failure::Io,
        operation: None,
        file: None,
        after: 0,
        count: u64::MAX,
        short: false,
        power_off: false,
    };
}

/// One operation with a file of the folder, in the order in which they ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The file.
    pub file: FileKind,
    /// What was done.
    pub operation: Operation,
    /// Where, in bytes; the new length of a truncated file.
    pub offset: u64,
    /// How many bytes were to be read or written.
    pub bytes: u64,
    /// Whether it failed.
    pub failed: bool,
}

/// A folder whose SQLite files are watched as long as a handle of it lives.
#[derive(Clone, Debug)]
pub struct Disk {
    watched: std::sync::Arc<Watched>,
}

impl Disk {
    /// Watches every SQLite file below `folder` that is opened from now on. Handles of one folder share one state.
    ///
    /// # Panics
    /// Where SQLite does not take the layer, or the folder is not there.
    pub fn at(folder: &Path) -> Self {
        vfs::install();
        Self { watched: disk::watch(folder) }
    }

    /// Arms a fault in the place of the one that was armed.
    pub fn fail(&self, fault: Fault) {
        self.watched.lock().arm(fault);
    }

    /// Disarms, and says whether the fault had made an operation fail.
    pub fn clear(&self) -> bool {
        self.watched.lock().disarm()
    }

    /// The events since the last call.
    pub fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut self.watched.lock().events)
    }

    /// Cuts the power: every operation fails with an I/O error and nothing reaches the disk, until [`Disk::power_on`].
    /// Closing and unlocking work.
    pub fn power_off(&self) {
        self.watched.lock().is_off = true;
    }

    /// Whether the power is off.
    pub fn is_off(&self) -> bool {
        self.watched.lock().is_off
    }

    /// Makes of every file what a power cut leaves of it: what was synced, and of the rest what the seed says (each
    /// write kept, dropped or torn at sectors of 512 bytes; truncations, files made and files deleted alike). Then
    /// everything works again, with no fault armed.
    ///
    /// # Panics
    /// Where a file is still open, or cannot be written for real.
    pub fn power_on(&self, seed: u64) {
        self.watched.lock().restore(seed);
    }
}
