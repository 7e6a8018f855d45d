//! The right to write to the index beside the ledger: a lease with a number that counts its takings.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, named_params};
use uuid::Uuid;

use super::{
    errors::Stored,
    rows::{self, micros},
    writer::Write,
};
use crate::ledger::{Feeder, JobLease};

/// The one index there is.
const NAME: &str = "lance";

/// Takes the right, unless another has it. Who has it takes it anew, after a feeding that was cancelled.
pub(super) fn take(write: &Write<'_>, now: Timestamp, lease: JobLease) -> Stored<Option<Feeder>> {
    let taken = write
        .connection
        .prepare_cached(
            "INSERT INTO feeders (name, fence, lease_until, lease_holder) VALUES (:name, 1, :until, :holder) \
             ON CONFLICT (name) DO UPDATE SET fence = fence + 1, lease_until = excluded.lease_until, \
             lease_holder = excluded.lease_holder \
             WHERE lease_until IS NULL OR lease_until <= :now OR lease_holder = :holder RETURNING fence, place",
        )?
        .query_row(
            named_params! {
                ":name": NAME, ":until": micros(lease.until), ":holder": rows::text(lease.holder), ":now": micros(now),
            },
            |row| Ok(Feeder { holder: lease.holder, fence: row.get(0)?, place: row.get(1)? }),
        )
        .optional()?;
    Ok(taken)
}

/// Moves the end of the lease.
pub(super) fn renew(write: &Write<'_>, fence: i64, lease: JobLease) -> Stored<bool> {
    let moved = write
        .connection
        .prepare_cached("UPDATE feeders SET lease_until = ?1 WHERE name = ?2 AND fence = ?3 AND lease_holder = ?4")?
        .execute((micros(lease.until), NAME, fence, rows::text(lease.holder)))?;
    Ok(moved > 0)
}

/// Names the table that is read.
pub(super) fn place(write: &Write<'_>, fence: i64, holder: Uuid, place: &str) -> Stored<bool> {
    let placed = write
        .connection
        .prepare_cached("UPDATE feeders SET place = ?1 WHERE name = ?2 AND fence = ?3 AND lease_holder = ?4")?
        .execute((place, NAME, fence, rows::text(holder)))?;
    Ok(placed > 0)
}

/// Gives the right back.
pub(super) fn release(write: &Write<'_>, fence: i64, holder: Uuid) -> Stored<()> {
    write
        .connection
        .prepare_cached(
            "UPDATE feeders SET lease_until = NULL, lease_holder = NULL \
             WHERE name = ?1 AND fence = ?2 AND lease_holder = ?3",
        )?
        .execute((NAME, fence, rows::text(holder)))?;
    Ok(())
}

/// The table that is read.
pub(super) fn placed(connection: &Connection) -> Stored<Option<String>> {
    let place = connection
        .prepare_cached("SELECT place FROM feeders WHERE name = ?1")?
        .query_row((NAME,), |row| row.get(0))
        .optional()?;
    Ok(place.flatten())
}
