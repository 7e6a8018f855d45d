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
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
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

/// Whether a statement names a table or a column that is not there, or the schema is of a format that SQLite has not.
fn is_unfit_table(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqlInputError { .. } => true,
        rusqlite::Error::SqliteFailure(_, Some(message)) => {
            ["no such table", "unsupported file format"].iter().any(|start| message.starts_with(start))
        }
        _ => false,
    }
}

fn from_sqlite(error: rusqlite::Error, database: Option<&Path>) -> Error {
    let shown = shown(database);
    let refused = |what, errno| refused(&io::Error::from_raw_os_error(errno), what, shown.clone());
    let mapped = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => refused("write", ENOSPC),
        Some(ErrorCode::SystemIoFailure) => refused("read or write", EIO),
        Some(ErrorCode::ReadOnly) => refused("write", database.map_or(EROFS, read_only_errno)),
        Some(ErrorCode::PermissionDenied) => refused("open", EPERM),
        Some(ErrorCode::CannotOpen) => refused("open", database.map_or(EIO, open_errno)),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => corrupt(&shown, "its pages are damaged"),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => locked(&shown),
        _ if is_unreadable_row(&error) => corrupt(&shown, "a row of it cannot be read"),
        // The engine's statements are fixed, so it is the stored tables that do not fit to them.
        _ if is_unfit_table(&error) => corrupt(&shown, "its tables are damaged"),
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

/// Why SQLite could not open the database, or a file beside it. The database itself is not opened to find out, because
/// closing it would drop the locks of this process.
fn open_errno(database: &Path) -> i32 {
    let folder = database.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let asked = std::fs::metadata(database).and_then(|_| std::fs::File::open(folder));
    asked.err().and_then(|error| error.raw_os_error()).unwrap_or(EACCES)
}

/// A number of things, one of which is called `one`.
pub(super) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// A word of a command line, quoted where a shell would read something else.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"@%+=:,./_-".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r#"'"'"'"#))
}

/// The store's bytes are not what a store's bytes are.
pub(super) fn corrupt(shown: &str, why: &str) -> Error {
    let folder = Path::new(shown).parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.map_or_else(|| "STORE".to_owned(), |folder| quoted(&folder.display().to_string()));
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
    refused(&error, what, path.display().to_string()).with_source(error)
}

fn refused(error: &io::Error, what: &str, shown: String) -> Error {
    let errno = error.raw_os_error();
    let (hint, is_retryable) = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ("free some space, then call again", true),
        io::ErrorKind::PermissionDenied => ("change the owner or the mode of the file and of its folder", false),
        io::ErrorKind::ReadOnlyFilesystem => ("put the store on a file system that may be written", false),
        _ => match errno {
            Some(EMFILE | ENFILE) => ("close some files or raise the limit of open files, then call again", true),
            Some(EIO) => ("check the disk and its file system", false),
            _ => ("check the path and its file system", false),
        },
    };
    Error::new(ErrorKind::StoreIo, format!("cannot {what} `{shown}`: {}", reason(error)))
        .with_file(errno, shown)
        .with_hint(hint)
        .with_retryable(is_retryable)
}

/// The system's own words, as those of the engine are written.
fn reason(error: &io::Error) -> String {
    let words = error.to_string();
    let words = words.split(" (os error").next().unwrap_or_default();
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, ffi};

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
        for statement in ["SELECT agent", "SELECT 1 FROM nowhere"] {
            let unfit = Connection::open_in_memory().unwrap().prepare(statement).map(drop).unwrap_err();
            assert_eq!(Fault::from(unfit).into_error(None).kind(), ErrorKind::CorruptStore);
        }
        let missing = Fault::from(rusqlite::Error::QueryReturnedNoRows).into_error(None);
        assert_eq!(missing.kind(), ErrorKind::CorruptStore);
        assert!(missing.hint().unwrap().contains("recover STORE NEW_FOLDER"), "{missing:?}");
    }

    #[test]
    fn the_reason_of_the_system_is_told() {
        let said = |errno: i32| {
            let error = from_io(io::Error::from_raw_os_error(errno), "open", Path::new("/a/umi.db"));
            (error.message().to_owned(), error.hint().unwrap().to_owned(), error.is_retryable())
        };
        let (message, hint, _) = said(EACCES);
        assert_eq!(message, "cannot open `/a/umi.db`: permission denied");
        assert!(hint.contains("mode"), "{hint}");
        let (message, hint, is_retryable) = said(EMFILE);
        assert!(message.ends_with("too many open files") && hint.contains("limit") && is_retryable, "{message} {hint}");
        let (message, hint, is_retryable) = said(ENOSPC);
        assert!(message.contains(": no space left") && hint.contains("space") && is_retryable, "{message} {hint}");
        let (message, hint, _) = said(EROFS);
        assert!(message.contains(": read-only file system") && hint.contains("written"), "{message} {hint}");
    }

    #[test]
    fn the_command_of_a_hint_can_be_pasted() {
        let hint = |shown| corrupt(shown, "why").hint().unwrap().to_owned();
        assert!(hint("/a/b-1/umi.db").ends_with("recover /a/b-1 NEW_FOLDER`"));
        assert!(hint("/a b/it's/umi.db").ends_with(r#"recover '/a b/it'"'"'s' NEW_FOLDER`"#));
    }
}
