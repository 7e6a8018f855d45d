//! Opening: the folder, the look at the file before SQLite sees it, and a connection's settings.

use std::{
    fs::OpenOptions,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use super::{
    errors::{self, Stored},
    lock::{self, WriterLock},
    log, migrations, target,
};
use crate::error::{Error, ErrorKind, Result};

/// The database's name in a store's folder.
pub(super) const DATABASE: &str = "umi.db";
/// How long SQLite itself waits for a lock: the second line behind the lock of writers.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The WAL is cut to this when a checkpoint has emptied it.
const WAL_BYTES: i64 = 16 * 1024 * 1024;
/// The pages that a connection which reads keeps, in KiB. There are several of them, and the operating system has the
/// pages too.
const READER_CACHE: i64 = 512;
/// How many prepared statements a connection keeps; more than there are queries.
const STATEMENTS: usize = 192;
/// The size of the header of a SQLite file.
pub(super) const HEADER_BYTES: usize = 100;

/// Makes a folder for its owner alone, where it is missing, so that it outlasts a loss of power.
pub(super) fn make_folder(folder: &Path) -> Result<()> {
    let missing: Vec<&Path> =
        folder.ancestors().take_while(|ancestor| !ancestor.as_os_str().is_empty() && !ancestor.exists()).collect();
    make(folder, true)?;
    missing.into_iter().rev().try_for_each(sync_name)
}

/// Gives the canonical path of a store's folder, or none where it is still to be made and nothing is in its way.
pub(super) fn look_for_folder(folder: &Path) -> Result<Option<PathBuf>> {
    let refused = |error: io::Error| errors::from_io(error, "make the folder", folder);
    match folder.canonicalize() {
        Ok(found) if found.is_dir() => return Ok(Some(found)),
        Ok(_) => return Err(refused(in_the_way())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(refused(error)),
    }
    let named = |ancestor: &&Path| !ancestor.as_os_str().is_empty() && ancestor.symlink_metadata().is_ok();
    let above = folder.ancestors().find(named).unwrap_or(Path::new("."));
    if !above.is_dir() {
        return Err(refused(in_the_way()));
    }
    check_access(above).map_err(refused)?;
    Ok(None)
}

/// The error of making a folder where something else is.
fn in_the_way() -> io::Error {
    #[cfg(unix)]
    return rustix::io::Errno::EXIST.into();
    #[cfg(not(unix))]
    return io::ErrorKind::AlreadyExists.into();
}

/// Makes it durable that a file or folder is where it is. SQLite does that for its own files only.
pub(super) fn sync_name(of: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        let folder = match of.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => return Ok(()),
        };
        match std::fs::File::open(folder).and_then(|folder| folder.sync_all()) {
            // A folder that may not be read, or a file system that does not sync folders: there is no other way.
            Err(error)
                if !matches!(
                    error.kind(),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
                ) =>
            {
                return Err(errors::from_io(error, "write to the disk", folder));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Makes a folder for its owner alone, which must not be there.
pub(super) fn make_folder_alone(folder: &Path) -> Result<()> {
    make(folder, false)
}

fn make(folder: &Path, is_recursive: bool) -> Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(is_recursive);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|error| errors::from_io(error, "make the folder", folder))
}

/// What a look at the bytes of a database found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A store of this version, as it is.
    Ready,
    /// Nothing yet, an older version, or what a process left that ended while it made or migrated a store.
    ToMake,
}

/// Looks at the bytes of a database before anything is opened for writing: a newer version, a foreign file, a damaged
/// one and a copy that is not whole are refused with nothing touched.
///
/// A process must not call it while it has the store open, because closing the file drops SQLite's locks on it.
pub(super) fn inspect(database: &Path) -> Result<Found> {
    let found = look(database)?;
    if found == Header::Unfinished {
        return Ok(Found::ToMake);
    }
    let wal = database.with_extension("db-wal");
    let log = log::read(&wal).map_err(|error| errors::from_io(error, "read", &wal))?;
    if log.is_some_and(|log| log.is_damaged) {
        let shown = database.display().to_string();
        return Err(errors::corrupt(&shown, "its log has damage before its end, and would lose what is behind it"));
    }
    Ok(if found == Header::Ready { Found::Ready } else { Found::ToMake })
}

/// What the header of a database says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// A whole store of this version.
    Ready,
    /// A whole store of an older version, or one without its write-ahead log.
    Older,
    /// Nothing yet, or what a process left that ended while it made a store.
    Unfinished,
}

/// The part of [`inspect`] that takes no time: a look at the header, and not at the log.
pub(super) fn look(database: &Path) -> Result<Header> {
    check_regular(database)?;
    // For writing too, so that a file that cannot be written is refused before anything is put beside it.
    let mut file = match OpenOptions::new().read(true).write(true).open(database) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            check_copy(database)?;
            check_folder(database)?;
            return Ok(Header::Unfinished);
        }
        Err(error) => return Err(errors::from_io(error, "open", database)),
    };
    check_folder(database)?;
    let length = file.metadata().map_err(|error| errors::from_io(error, "read", database))?.len();
    if length == 0 {
        return Ok(Header::Unfinished);
    }
    // A rollback journal means that a process ended while it made the store: SQLite undoes that on opening, and until
    // then the file may hold any part of it.
    let has_journal = has_bytes(&database.with_extension("db-journal"));
    let shown = database.display().to_string();
    let mut header = [0; HEADER_BYTES];
    match file.read_exact(&mut header) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && has_journal => return Ok(Header::Unfinished),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(errors::corrupt(&shown, &format!("it has only {length} bytes")));
        }
        Err(error) => return Err(errors::from_io(error, "read", database)),
    }
    if has_journal && header.iter().all(|&byte| byte == 0) {
        return Ok(Header::Unfinished);
    }
    if !is_sqlite(&header) {
        return Err(errors::corrupt(&shown, "it is not a SQLite file"));
    }
    let (application, version) = written_by(&header);
    if has_journal && (application, version) == (0, 0) {
        return Ok(Header::Unfinished);
    }
    check_version(application, version, database)?;
    if has_journal {
        return Ok(Header::Unfinished);
    }
    if let Some(why) = damage_of_header(&header) {
        return Err(errors::corrupt(&shown, &why));
    }
    let expected = expected_bytes(&header);
    // Asked again, because another process may have made the file longer before the header was read.
    let length = file.metadata().map_err(|error| errors::from_io(error, "read", database))?.len();
    // A WAL may still hold the pages that the file lacks.
    if length < expected && !has_bytes(&database.with_extension("db-wal")) {
        return Err(errors::corrupt(&shown, &format!("it has {length} of {expected} bytes")));
    }
    // Making a store ends with its write-ahead log.
    let has_log = header[18..20] == [2, 2];
    Ok(if version == migrations::VERSION && has_log { Header::Ready } else { Header::Older })
}

/// Whether a header is that of a SQLite file.
pub(super) fn is_sqlite(header: &[u8; HEADER_BYTES]) -> bool {
    header.starts_with(b"SQLite format 3\0")
}

fn number(header: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

/// The program and the schema version that a header names.
pub(super) fn written_by(header: &[u8; HEADER_BYTES]) -> (i32, i32) {
    (number(header, 68).cast_signed(), number(header, 60).cast_signed())
}

/// What a header says that the engine's never does, its program and a newer version aside.
pub(super) fn damage_of_header(header: &[u8; HEADER_BYTES]) -> Option<String> {
    let (_, version) = written_by(header);
    if version < 1 {
        return Some(format!("its header names schema version `{version}`"));
    }
    // SQLite writes both alike: 1 without a write-ahead log, 2 with one.
    let formats = [header[18], header[19]];
    if formats != [1, 1] && formats != [2, 2] {
        return Some(format!("its header names the file formats `{formats:?}`"));
    }
    let (schema_format, encoding) = (number(header, 44), number(header, 56));
    let is_known = (1..=4).contains(&schema_format) && encoding == 1;
    (!is_known).then(|| format!("its header names schema format `{schema_format}` and text encoding `{encoding}`"))
}

/// The length of a file, from its header.
pub(super) fn expected_bytes(header: &[u8; HEADER_BYTES]) -> u64 {
    let page = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        size => u64::from(size),
    };
    page * u64::from(number(header, 28))
}

/// A new store must not take the place of a copy that is being made, or hide that one was never finished.
fn check_copy(database: &Path) -> Result<()> {
    let Some(folder) = database.parent().filter(|folder| folder.join(target::UNFINISHED).exists()) else {
        return Ok(());
    };
    let shown = folder.display().to_string();
    Err(Error::new(ErrorKind::CorruptStore, format!("`{shown}` holds a copy that is not whole"))
        .with_file(None, shown)
        .with_hint("wait where it is still being made, else delete the folder and make the copy again"))
}

/// Nothing but a regular file is opened: a pipe would never give its first byte, and a device may act on it.
fn check_regular(database: &Path) -> Result<()> {
    // What the look itself cannot tell, opening does.
    let Ok(found) = std::fs::metadata(database) else { return Ok(()) };
    if found.is_file() || found.is_dir() {
        return Ok(());
    }
    let error = io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file");
    Err(errors::from_io(error, "open", database))
}

/// SQLite puts its log beside the database, also to read.
fn check_folder(database: &Path) -> Result<()> {
    let Some(folder) = database.parent() else { return Ok(()) };
    check_access(folder).map_err(|error| errors::from_io(error, "write into the folder", folder))
}

/// Whether files can be made in a folder.
fn check_access(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use rustix::fs::Access;
        rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK)?;
    }
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

fn has_bytes(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0)
}

pub(super) fn check_version(application: i32, version: i32, database: &Path) -> Result<()> {
    let shown = database.display();
    if application != migrations::APPLICATION_ID {
        return Err(Error::new(ErrorKind::StoreVersion, format!("`{shown}` is a SQLite file of another program"))
            .with_hint("name another folder"));
    }
    if version > migrations::VERSION {
        return Err(Error::new(
            ErrorKind::StoreVersion,
            format!("`{shown}` has schema version {version}, this build reads up to {}", migrations::VERSION),
        )
        .with_hint("update the package that opens it"));
    }
    Ok(())
}

/// The connection of the writer to a store that is as it should be: opened while other processes write.
pub(super) fn ready_writer(database: &Path) -> Result<Connection> {
    errors::outward(connect_writer(database), Some(database))
}

/// Makes the database where it is missing, migrates it, and gives the connection of the writer.
pub(super) fn writer(database: &Path, lock: &WriterLock) -> Result<Connection> {
    let held = lock.acquire(&AtomicBool::new(false))?;
    // Who made the folder may have ended before it was durable. Nobody uses the store before the file is there.
    database.parent().map_or(Ok(()), sync_name)?;
    // SQLite gives its side files the mode of the database, so that this alone keeps all of them private.
    lock::private(OpenOptions::new().write(true).create(true).truncate(false))
        .open(database)
        .map_err(|error| errors::from_io(error, "make", database))?;
    let opened = connect_writer(database);
    drop(held);
    let connection = errors::outward(opened, Some(database))?;
    Ok(connection)
}

fn connect_writer(database: &Path) -> Stored<Connection> {
    let connection = Connection::open_with_flags(database, flags())?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let found = migrations::version(&connection)?;
    let is_empty: bool =
        connection.query_row("SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)", (), |row| row.get(0))?;
    if found > 0 || !is_empty {
        let application = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        check_version(application, found, database)?;
    }
    configure(&connection)?;
    // The schema is written before the WAL exists, so that the file's own header always tells what it is.
    migrations::migrate(&connection)?;
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        return Err(Error::storage(format!("`{}` cannot have a write-ahead log", database.display()))
            .with_hint("put the store on a local file system")
            .into());
    }
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES)?;
    Ok(connection)
}

/// A connection that reads.
pub(super) fn reader(database: &Path) -> Stored<Connection> {
    let connection = Connection::open_with_flags(database, flags())?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    configure(&connection)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "cache_size", -READER_CACHE)?;
    Ok(connection)
}

/// A store that lives as long as its connection.
pub(super) fn memory() -> Stored<Connection> {
    let connection = Connection::open_in_memory()?;
    configure(&connection)?;
    migrations::migrate(&connection)?;
    Ok(connection)
}

pub(super) fn flags() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

fn configure(connection: &Connection) -> Stored<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Plans that do not depend on bound values: SQLite would prepare a statement again whenever such a value changes.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "secure_delete", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(())
}
