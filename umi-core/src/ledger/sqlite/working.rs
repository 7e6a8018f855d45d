//! Working memory: bytes with a time to live. What has expired counts for nothing and goes with the next cleanup.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::{
    errors::Stored,
    rows::{self, micros},
    writer::Write,
};
use crate::{
    ledger::{Worked, WorkingChange, WorkingEntry},
    scope::{Scope, stored},
    working_memory::{self, TimeToLive, WorkingLimits},
};

/// Working memory belongs to (user, agent, session), each compared exactly.
const OWN: &str = "user = :user AND agent = :agent AND session = :session";
const LIVE: &str = "(expires_at IS NULL OR expires_at > :now)";

fn owner(scope: &Scope) -> [&str; 3] {
    [stored(scope.user()), stored(scope.agent()), stored(scope.session())]
}

fn read(row: &Row<'_>) -> rusqlite::Result<WorkingEntry> {
    Ok(WorkingEntry {
        key: row.get("key")?,
        value: row.get("value")?,
        expires_at: rows::maybe_time(row, "expires_at")?,
    })
}

/// A live entry.
pub(super) fn get(connection: &Connection, scope: &Scope, key: &str, now: Timestamp) -> Stored<Option<WorkingEntry>> {
    let [user, agent, session] = owner(scope);
    Ok(connection
        .prepare_cached(
            "SELECT key, value, expires_at FROM working \
             WHERE user = ?1 AND agent = ?2 AND session = ?3 AND key = ?4 AND (expires_at IS NULL OR expires_at > ?5)",
        )?
        .query_row((user, agent, session, key, micros(now)), read)
        .optional()?)
}

/// Every live entry, by key.
pub(super) fn entries(connection: &Connection, scope: &Scope, now: Timestamp) -> Stored<Vec<WorkingEntry>> {
    let [user, agent, session] = owner(scope);
    let mut statement = connection
        .prepare_cached(&format!("SELECT key, value, expires_at FROM working WHERE {OWN} AND {LIVE} ORDER BY key"))?;
    let values = named_params! { ":user": user, ":agent": agent, ":session": session, ":now": micros(now) };
    Ok(statement.query_map(values, read)?.collect::<rusqlite::Result<_>>()?)
}

/// (bytes, entries) that are live.
pub(super) fn usage(connection: &Connection, scope: &Scope, now: Timestamp) -> Stored<(usize, usize)> {
    let [user, agent, session] = owner(scope);
    Ok(connection
        .prepare_cached(&format!(
            "SELECT coalesce(sum(octet_length(key) + octet_length(value)), 0), count(*) FROM working \
             WHERE {OWN} AND {LIVE}"
        ))?
        .query_row(
            named_params! { ":user": user, ":agent": agent, ":session": session, ":now": micros(now) },
            |row| Ok((rows::unsigned(row, 0)?, rows::unsigned(row, 1)?)),
        )?)
}

/// A change of one key.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) key: String,
    pub(super) what: WorkingChange,
    pub(super) ttl: Option<TimeToLive>,
    pub(super) now: Timestamp,
}

/// Changes one key within the limits.
pub(super) fn change(write: &Write<'_>, scope: &Scope, limits: &WorkingLimits, change: Change) -> Stored<Worked> {
    let Change { key, what, ttl, now } = change;
    working_memory::check_key(limits, &key)?;
    if let Some(ttl) = ttl {
        ttl.check()?;
    }
    let old = get(write.connection, scope, &key, now)?;
    let is_set = matches!(what, WorkingChange::Set(_));
    let (value, worked) = match (what, &old) {
        (WorkingChange::Set(value), _) => (value, Worked::Done),
        (WorkingChange::Increment(delta), old) => {
            let number = old.as_ref().map_or(Ok(0), |old| working_memory::parse_number(&old.value))?;
            let sum = working_memory::add(number, delta)?;
            (sum.to_string().into_bytes(), Worked::Number(sum))
        }
        (WorkingChange::Append(more), old) => {
            let mut value = old.as_ref().map_or_else(Vec::new, |old| old.value.clone());
            value.extend(more);
            let length = value.len();
            (value, Worked::Length(length))
        }
        (WorkingChange::Touch, None) => return Ok(Worked::Touched(false)),
        (WorkingChange::Touch, Some(old)) => (old.value.clone(), Worked::Touched(true)),
    };
    let expires_at = match (ttl, &old) {
        (Some(ttl), _) => ttl.expires_at(now),
        (None, Some(old)) if !is_set => old.expires_at,
        (None, _) => limits.default_ttl.expires_at(now),
    };
    let (bytes, count) = usage(write.connection, scope, now)?;
    working_memory::admit(limits, bytes, count, old.map(|old| old.value.len()), &key, value.len())?;
    let [user, agent, session] = owner(scope);
    write
        .connection
        .prepare_cached(
            "INSERT INTO working (user, agent, session, key, value, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
             ON CONFLICT DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at",
        )?
        .execute((user, agent, session, key, value, expires_at.map(micros)))?;
    Ok(worked)
}

/// Deletes a key. Gives whether it was live.
pub(super) fn delete(write: &Write<'_>, scope: &Scope, key: &str, now: Timestamp) -> Stored<bool> {
    let was_live = get(write.connection, scope, key, now)?.is_some();
    let [user, agent, session] = owner(scope);
    write
        .connection
        .prepare_cached("DELETE FROM working WHERE user = ?1 AND agent = ?2 AND session = ?3 AND key = ?4")?
        .execute((user, agent, session, key))?;
    Ok(was_live)
}

/// Deletes what has expired. Gives how many.
pub(super) fn cleanup(write: &Write<'_>, scope: &Scope, now: Timestamp) -> Stored<usize> {
    let [user, agent, session] = owner(scope);
    Ok(write
        .connection
        .prepare_cached(&format!("DELETE FROM working WHERE {OWN} AND NOT {LIVE}"))?
        .execute(named_params! { ":user": user, ":agent": agent, ":session": session, ":now": micros(now) })?)
}

/// Deletes every key.
pub(super) fn clear(write: &Write<'_>, scope: &Scope) -> Stored<()> {
    write
        .connection
        .prepare_cached("DELETE FROM working WHERE user = ?1 AND agent = ?2 AND session = ?3")?
        .execute(owner(scope))?;
    Ok(())
}
