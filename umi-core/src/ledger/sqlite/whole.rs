//! What concerns the whole store: numbers, rewriting, copying.

use std::{fs::OpenOptions, path::Path, time::Duration};

use rusqlite::{Connection, backup::Backup};

use super::{
    errors::{self, Stored},
    lock,
    open::{self, DATABASE},
    rows,
    writer::Write,
};
use crate::{
    error::{Error, ErrorKind, Result},
    ledger::LedgerStats,
};

/// How long a purge waits for the reads of other processes to end.
const CHECKPOINT_DEADLINE: Duration = Duration::from_secs(10);
/// The pause between two tries of it.
const CHECKPOINT_PAUSE: Duration = Duration::from_millis(2);

/// Rows by kind; bytes of an in-memory store are those of its pages.
pub(super) fn stats(connection: &Connection, folder: Option<&Path>) -> Stored<LedgerStats> {
    let count = |sql: &str| connection.prepare_cached(sql)?.query_row((), |row| rows::unsigned(row, 0));
    let bytes_on_disk = match folder {
        Some(folder) => folder_bytes(folder)?,
        None => 0,
    };
    Ok(LedgerStats {
        episodes: count("SELECT count(*) FROM episodes")?,
        current_facts: count("SELECT count(*) FROM versions WHERE valid_to IS NULL")?,
        versions: count("SELECT count(*) FROM versions")?,
        sightings: count("SELECT count(*) FROM sightings")?,
        evolutions: count("SELECT count(*) FROM evolutions")?,
        pieces: count("SELECT count(*) FROM pieces")?,
        vectors: count("SELECT count(*) FROM vectors JOIN spaces USING (space) WHERE state = 'active'")?,
        jobs: count("SELECT count(*) FROM jobs")?,
        block_versions: count("SELECT count(*) FROM blocks WHERE content IS NOT NULL")?,
        working_keys: count("SELECT count(*) FROM working")?,
        users: count("SELECT count(*) FROM (SELECT user FROM episodes UNION SELECT user FROM versions)")?,
        bytes_on_disk,
        seq: super::feed::head(connection)?,
    })
}

fn folder_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let listed = std::fs::read_dir(&folder).map_err(|error| errors::from_io(error, "list", &folder))?;
        for entry in listed {
            let entry = entry.map_err(|error| errors::from_io(error, "list", &folder))?;
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                Ok(metadata) => bytes += metadata.len(),
                // SQLite's side files come and go.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(errors::from_io(error, "read", &entry.path())),
            }
        }
    }
    Ok(bytes)
}

/// Rewrites the whole file, so that freed pages are gone.
pub(super) fn vacuum(write: &mut Write<'_>) -> Stored<()> {
    write.connection.execute_batch("VACUUM")?;
    Ok(())
}

/// Empties the WAL, so that old frames and the pages that they replace are gone. No read of this process may run.
pub(super) fn empty_log(write: &Write<'_>, database: &Path) -> Stored<()> {
    let began = lock::now();
    loop {
        let busy: bool = write.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get(0))?;
        if !busy {
            return Ok(());
        }
        if lock::now().duration_since(began) >= CHECKPOINT_DEADLINE {
            return Err(Error::new(
                ErrorKind::StoreLocked,
                format!("the old pages of `{}` are being read outside of this handle", database.display()),
            )
            .with_retryable(true)
            .with_hint("call `purge()` again once that read has ended")
            .into());
        }
        std::thread::sleep(CHECKPOINT_PAUSE);
    }
}

/// What a copy is called until all of it is on disk.
const UNFINISHED: &str = "umi.db.unfinished";

/// Writes a copy of what the connection reads into a new folder. It has the name of a store only once all of it is on
/// disk, so that one that was cut short is never taken for a store with less in it.
pub(super) fn backup(connection: &Connection, to: &Path) -> Stored<()> {
    if std::fs::read_dir(to).is_ok_and(|mut listed| listed.next().is_some()) {
        return Err(Error::invalid_input(format!("the folder `{}` is not empty", to.display()))
            .with_hint("name a folder that does not exist yet")
            .into());
    }
    open::make_folder(to)?;
    let database = to.join(UNFINISHED);
    // From here on the file is this call's own.
    lock::private(OpenOptions::new().write(true).create_new(true))
        .open(&database)
        .map_err(|error| errors::from_io(error, "make", &database))?;
    let copied = copy(connection, &database).and_then(|()| {
        std::fs::rename(&database, to.join(DATABASE)).map_err(|error| errors::from_io(error, "rename", &database))?;
        Ok(())
    });
    if copied.is_err()
        && let Err(error) = std::fs::remove_file(&database)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(target: "umi::ledger", %error, path = %database.display(), "cannot remove an unfinished backup");
    }
    copied
}

fn copy(connection: &Connection, database: &Path) -> Stored<()> {
    let mut target = errors::outward(Connection::open(database).map_err(Into::into), Some(database))?;
    let done = Backup::new(connection, &mut target).and_then(|backup| {
        // All pages in one step: a backup of several would begin again with every commit of another connection.
        backup.run_to_completion(i32::MAX, Duration::ZERO, None)
    });
    Ok(errors::outward(done.map_err(Into::into), Some(database))?)
}
