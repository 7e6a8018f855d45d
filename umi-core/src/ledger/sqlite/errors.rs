//! The one place where SQLite's errors and the operating system's become the engine's.

use std::{io, path::Path};

use rusqlite::ErrorCode;

use crate::error::{Error, ErrorKind, Result};

/// What can go wrong inside the ledger: SQLite's own error stays itself until it leaves the room.
#[derive(Debug)]
pub(super) enum Fault {
    /// SQLite failed.
    Sqlite(rusqlite::Error),
    /// A rule of the engine was broken.
    Umi(Error),
    /// Rows that the engine never writes: the file was damaged.
    Damaged(String),
}

/// The result of work inside the ledger.
pub(super) type Stored<T> = std::result::Result<T, Fault>;

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Umi(error)
    }
}

impl Fault {
    /// Whether SQLite says that the pages are not what they should be.
    pub(super) fn is_corruption(&self) -> bool {
        let Self::Sqlite(error) = self else { return matches!(self, Self::Damaged(_)) };
        matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
    }

    /// The engine's error, with the database's file where the operating system refused.
    pub(super) fn into_error(self, database: Option<&Path>) -> Error {
        match self {
            Self::Umi(error) => error,
            Self::Sqlite(error) => from_sqlite(error, database),
            Self::Damaged(why) => corrupt(&shown(database), &why),
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Umi(error) => error.fmt(f),
            Self::Sqlite(error) => error.fmt(f),
            Self::Damaged(why) => f.write_str(why),
        }
    }
}

/// Maps the error of work on `database`.
pub(super) fn outward<T>(result: Stored<T>, database: Option<&Path>) -> Result<T> {
    result.map_err(|fault| fault.into_error(database))
}

// Linux, macOS and the BSDs agree on these; they stand in where SQLite tells its own code only.
const EPERM: i32 = 1;
const EIO: i32 = 5;
const EACCES: i32 = 13;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;

fn shown(database: Option<&Path>) -> String {
    database.map_or_else(|| ":memory:".to_owned(), |path| path.display().to_string())
}

/// Whether SQLite read a row that nothing could have written: the types of its columns are kept by its tables, and what
/// the values say was checked before they were stored.
fn is_unreadable_row(error: &rusqlite::Error) -> bool {
    use rusqlite::Error as Sqlite;
    matches!(
        error,
        Sqlite::FromSqlConversionFailure(..)
            | Sqlite::IntegralValueOutOfRange(..)
            | Sqlite::InvalidColumnType(..)
            | Sqlite::Utf8Error(..)
            | Sqlite::QueryReturnedNoRows
    )
}

fn from_sqlite(error: rusqlite::Error, database: Option<&Path>) -> Error {
    let shown = shown(database);
    let code = error.sqlite_error_code();
    let refused = |errno, message: String, hint: &str| {
        Error::new(ErrorKind::StoreIo, message).with_file(Some(errno), shown.clone()).with_hint(hint)
    };
    let mapped = match code {
        Some(ErrorCode::DiskFull) => {
            refused(ENOSPC, format!("no space to write `{shown}`"), "free some space, then call again")
                .with_retryable(true)
        }
        Some(ErrorCode::SystemIoFailure) => {
            refused(EIO, format!("cannot read or write `{shown}`"), "check the disk and its file system")
        }
        Some(ErrorCode::ReadOnly) => {
            let errno = database.map_or(EROFS, read_only_errno);
            refused(errno, format!("`{shown}` is read-only"), "make the file and its folder writable")
        }
        Some(ErrorCode::PermissionDenied) => {
            refused(EPERM, format!("no permission for `{shown}`"), "change the owner or mode of the file")
        }
        Some(ErrorCode::CannotOpen) => {
            let errno = database.map_or(EIO, open_errno);
            refused(errno, format!("cannot open `{shown}`"), "check that its folder exists and may be written")
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => corrupt(&shown, "its pages are damaged"),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => locked(&shown),
        _ if is_unreadable_row(&error) => corrupt(&shown, "a row of it cannot be read"),
        _ => Error::storage(format!("the ledger `{shown}` failed")),
    };
    mapped.with_source(error)
}

fn read_only_errno(database: &Path) -> i32 {
    match std::fs::metadata(database) {
        Ok(metadata) if !metadata.permissions().readonly() => EROFS,
        _ => EACCES,
    }
}

fn open_errno(database: &Path) -> i32 {
    let Err(error) = std::fs::metadata(database) else { return EACCES };
    error.raw_os_error().unwrap_or(EACCES)
}

/// The store's bytes are not what a store's bytes are.
pub(super) fn corrupt(shown: &str, why: &str) -> Error {
    let folder = Path::new(shown).parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.map_or_else(|| "STORE".to_owned(), |folder| folder.display().to_string());
    Error::new(ErrorKind::CorruptStore, format!("`{shown}` is not a sound store: {why}"))
        .with_file(None, shown)
        .with_hint(format!(
            "restore it from a backup, or save every row that can be read: `python -m umi recover {folder} NEW_FOLDER`"
        ))
}

/// A row that the engine never writes.
pub(super) fn damaged(why: impl Into<String>) -> Fault {
    Fault::Damaged(why.into())
}

/// Somebody else writes for longer than the deadline.
pub(super) fn locked(shown: &str) -> Error {
    Error::new(ErrorKind::StoreLocked, format!("another process holds the write lock of `{shown}`"))
        .with_retryable(true)
        .with_hint("call again once its transaction has ended")
}

/// The handle was closed.
pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the store is closed").with_hint("open it again")
}

/// The handle came over a fork.
pub(super) fn forked() -> Error {
    Error::new(ErrorKind::Forked, "the store was opened before this process was forked")
        .with_hint("open it again in the child")
}

/// The operating system refused `what` with `path`.
pub(super) fn from_io(error: io::Error, what: &str, path: &Path) -> Error {
    let shown = path.display().to_string();
    Error::new(ErrorKind::StoreIo, format!("cannot {what} `{shown}`"))
        .with_file(error.raw_os_error(), shown)
        .with_hint("check the path, its permissions and the space on the disk")
        .with_source(error)
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn codes_become_kinds() {
        let kind = |code: i32| {
            let fault = Fault::from(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
            let error = fault.into_error(Some(Path::new("/nowhere/umi.db")));
            (error.kind(), error.is_retryable(), error.details().errno)
        };
        assert_eq!(kind(ffi::SQLITE_FULL), (ErrorKind::StoreIo, true, Some(28)));
        assert_eq!(kind(ffi::SQLITE_IOERR), (ErrorKind::StoreIo, false, Some(5)));
        assert_eq!(kind(ffi::SQLITE_CANTOPEN), (ErrorKind::StoreIo, false, Some(2)));
        assert_eq!(kind(ffi::SQLITE_CORRUPT), (ErrorKind::CorruptStore, false, None));
        assert_eq!(kind(ffi::SQLITE_NOTADB), (ErrorKind::CorruptStore, false, None));
        assert_eq!(kind(ffi::SQLITE_BUSY), (ErrorKind::StoreLocked, true, None));
        assert_eq!(kind(ffi::SQLITE_CONSTRAINT), (ErrorKind::Storage, false, None));
        let missing = Fault::from(rusqlite::Error::QueryReturnedNoRows).into_error(None);
        assert_eq!(missing.kind(), ErrorKind::CorruptStore);
        assert!(missing.hint().unwrap().contains("recover STORE NEW_FOLDER"), "{missing:?}");
    }
}
