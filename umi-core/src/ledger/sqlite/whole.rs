//! What concerns the whole store: numbers, rewriting, copying.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, backup::Backup};

use super::{
    blobs::Blobs,
    contexts,
    errors::{self, Fault, Stored},
    lock, open, rows,
    target::Target,
    writer::{Write, try_empty_log},
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
        contexts: count("SELECT count(*) FROM contexts")?,
        context_items: count("SELECT count(*) FROM items")?,
        users: count("SELECT count(*) FROM (SELECT user FROM episodes UNION SELECT user FROM versions)")?,
        bytes_on_disk,
        seq: super::feed::head(connection)?,
    })
}

fn folder_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let listed = match std::fs::read_dir(&folder) {
            // An index beside the database writes its tables anew and removes the old ones.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            listed => listed.map_err(|error| errors::from_io(error, "list", &folder))?,
        };
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
        if try_empty_log(write.connection)? {
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

/// Writes a copy of what the connection reads into a new folder, with the blobs that it names.
pub(super) fn backup(connection: &Connection, blobs: &Blobs, folder: Option<&Path>, to: &Path) -> Stored<()> {
    let target = Target::prepare(to, folder)?;
    let database = target.make_database()?;
    if let Some(why) = errors::outward(copy(connection, &database), Some(&database))? {
        let of = folder.map_or(database, |folder| folder.join(open::DATABASE));
        return Err(errors::corrupt(&of.display().to_string(), &why).into());
    }
    blobs.copy(&contexts::blobs(connection)?, &target.unfinished())?;
    target.finish()?;
    Ok(())
}

/// Copies all pages in one step, of the one state that the connection's transaction reads: a copy of several steps would
/// begin again with every commit of another connection. The target's cache is bounded, and spills into its file.
///
/// Gives what is damaged in the copy, and so in the pages that were copied: a copy of damage is none to rely on.
fn copy(connection: &Connection, database: &Path) -> Stored<Option<String>> {
    let mut target = Connection::open_with_flags(database, open::flags())?;
    target.pragma_update(None, "synchronous", "FULL")?;
    Backup::new(connection, &mut target)?.run_to_completion(i32::MAX, Duration::ZERO, None)?;
    let found = target.query_row("PRAGMA quick_check(1)", (), |row| row.get::<_, String>(0));
    let damage = match found.map_err(Fault::from) {
        Ok(found) if found == "ok" => None,
        Ok(found) => Some(found.lines().last().unwrap_or_default().to_owned()),
        Err(fault) if fault.is_corruption() => Some("its pages are damaged".to_owned()),
        Err(fault) => return Err(fault),
    };
    target.close().map_err(|(_, error)| error)?;
    Ok(damage)
}
