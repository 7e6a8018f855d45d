//! Whether the files that a connection has open are still those that their names lead to.
//!
//! SQLite cannot tell: where a folder was deleted or moved, or where somebody in this process closed a descriptor of the
//! database (which drops the process's locks, so that another process may take the log away), it goes on writing into
//! files that nobody will ever open again.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{errors::Stored, lock};
use crate::error::{Error, ErrorKind};

/// How long a look holds for reads that take about as long as a look: two looks are 5 µs of a read's 10.
const LOOK_HOLDS: Duration = Duration::from_millis(1);

/// The files of an open store, as they were when it was opened.
#[derive(Debug)]
pub(super) struct Place {
    files: [(PathBuf, Option<Identity>); 2],
    /// When both were last seen where they were.
    seen: Option<Instant>,
}

type Identity = (u64, u64);

impl Place {
    /// Remembers the database and its log.
    pub(super) fn of(database: &Path) -> Self {
        let known = |path: PathBuf| {
            let identity = identity(&path);
            (path, identity)
        };
        Self { files: [known(database.to_owned()), known(database.with_extension("db-wal"))], seen: None }
    }

    /// The length of the log, which stays what it was when the log begins again from the start.
    pub(super) fn log_bytes(&self) -> u64 {
        let [_, (log, _)] = &self.files;
        std::fs::metadata(log).map_or(0, |metadata| metadata.len())
    }

    /// As [`Place::check`], unless the last look was a moment ago.
    pub(super) fn check_lately(&mut self) -> Stored<()> {
        if self.seen.is_some_and(|seen| lock::now().duration_since(seen) < LOOK_HOLDS) { Ok(()) } else { self.check() }
    }

    /// Looks whether both are where they were. A log that was not there yet is remembered once it is.
    pub(super) fn check(&mut self) -> Stored<()> {
        self.seen = None;
        for (path, known) in &mut self.files {
            let found = identity(path);
            if known.is_none() {
                *known = found;
            } else if found != *known {
                let shown = path.display().to_string();
                return Err(Error::new(
                    ErrorKind::StoreIo,
                    format!("`{shown}` was removed or replaced while it was open"),
                )
                .with_hint("close every handle and open the store again; let only other processes read its files")
                .with_file(None, shown)
                .into());
            }
        }
        self.seen = Some(lock::now());
        Ok(())
    }
}

/// Device and inode of a file; none where there is no such file, or no such thing.
pub(super) fn identity(path: &Path) -> Option<Identity> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}
