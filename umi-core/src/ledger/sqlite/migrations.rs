//! The versions of the schema and the way from one to the next.

use rusqlite::Connection;

use super::errors::Stored;

/// Marks a SQLite file as an Umi store: `umi1` in ASCII.
pub(super) const APPLICATION_ID: i32 = i32::from_be_bytes(*b"umi1");

/// What to run for each version, from an empty file on.
const MIGRATIONS: [&str; 2] = [include_str!("schema.sql"), include_str!("feeders.sql")];

/// The version that this build reads and writes.
pub(super) const VERSION: i32 = 2;
const _: () = assert!(MIGRATIONS.len() == VERSION as usize);

/// The version of a connection's store; 0 for an empty file.
pub(super) fn version(connection: &Connection) -> Stored<i32> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

/// Brings a store to [`VERSION`] in one transaction. The caller holds the lock of writers.
pub(super) fn migrate(connection: &Connection) -> Stored<()> {
    let from = usize::try_from(version(connection)?).unwrap_or(0);
    if from >= MIGRATIONS.len() {
        return Ok(());
    }
    let transaction = connection.unchecked_transaction()?;
    for migration in &MIGRATIONS[from..] {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(())
}
