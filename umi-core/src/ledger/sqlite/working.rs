//! Working memory: bytes with a time to live. What has expired counts for nothing and goes with the next write to its
//! scope, a cleanup or a purge.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::{
    errors::{self, Stored},
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
    Ok(WorkingEntry { key: row.get(0)?, value: row.get(1)?, expires_at: rows::maybe_time(row, 2)? })
}

/// A key, if it is live, with the time to live that it was given.
pub(super) fn live_key_sql() -> String {
    format!("SELECT key, value, expires_at, ttl FROM working WHERE {OWN} AND key = :key AND {LIVE}")
}

/// A live entry.
pub(super) fn get(connection: &Connection, scope: &Scope, key: &str, now: Timestamp) -> Stored<Option<WorkingEntry>> {
    Ok(live(connection, scope, key, now)?.map(|(entry, _)| entry))
}

/// A live entry with its own time to live.
fn live(
    connection: &Connection,
    scope: &Scope,
    key: &str,
    now: Timestamp,
) -> Stored<Option<(WorkingEntry, TimeToLive)>> {
    let [user, agent, session] = owner(scope);
    let values =
        named_params! { ":user": user, ":agent": agent, ":session": session, ":key": key, ":now": micros(now) };
    Ok(connection
        .prepare_cached(&live_key_sql())?
        .query_row(values, |row| {
            let ttl: Option<i64> = row.get(3)?;
            let ttl = ttl.map_or(TimeToLive::Forever, |ttl| TimeToLive::For(Duration::from_micros(ttl.unsigned_abs())));
            Ok((read(row)?, ttl))
        })
        .optional()?)
}

/// A time to live as it is stored: what is shorter than a microsecond counts as one.
fn stored_ttl(ttl: TimeToLive) -> Option<i64> {
    match ttl {
        TimeToLive::For(duration) => Some(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX).max(1)),
        TimeToLive::Forever => None,
    }
}

/// Every live key.
pub(super) fn entries_sql() -> String {
    format!("SELECT key, value, expires_at FROM working WHERE {OWN} AND {LIVE} ORDER BY key")
}

/// Every live entry, by key.
pub(super) fn entries(connection: &Connection, scope: &Scope, now: Timestamp) -> Stored<Vec<WorkingEntry>> {
    let [user, agent, session] = owner(scope);
    let mut statement = connection.prepare_cached(&entries_sql())?;
    let values = named_params! { ":user": user, ":agent": agent, ":session": session, ":now": micros(now) };
    Ok(statement.query_map(values, read)?.collect::<rusqlite::Result<_>>()?)
}

/// (bytes, entries) that are live.
pub(super) fn usage(connection: &Connection, scope: &Scope, now: Timestamp) -> Stored<(usize, usize)> {
    Usage::load(connection, scope, now)?.numbers()
}

/// What keys that are live at a time amount to. The store keeps it for the time of the last change, so that a change
/// has to look only at the keys that expire between that time and its own, whichever of the two is earlier.
#[derive(Clone, Copy, Debug)]
struct Usage {
    bytes: i64,
    entries: i64,
}

/// What the keys that expire in a span of time, its beginning excluded, amount to.
pub(super) fn expiring_sql() -> String {
    format!(
        "SELECT coalesce(sum(octet_length(key) + octet_length(value)), 0), count(*) FROM working \
         WHERE {OWN} AND expires_at > :after AND expires_at <= :until"
    )
}

impl Usage {
    /// The usage at `now`.
    fn load(connection: &Connection, scope: &Scope, now: Timestamp) -> Stored<Self> {
        let [user, agent, session] = owner(scope);
        let kept = connection
            .prepare_cached(&format!("SELECT bytes, entries, at FROM working_usage WHERE {OWN}"))?
            .query_row(named_params! { ":user": user, ":agent": agent, ":session": session }, |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()?;
        let Some((bytes, entries, at)) = kept else { return Ok(Self { bytes: 0, entries: 0 }) };
        let (now, at): (i64, i64) = (micros(now), at);
        if now == at {
            return Ok(Self { bytes, entries });
        }
        let (span_bytes, span_entries): (i64, i64) = connection.prepare_cached(&expiring_sql())?.query_row(
            named_params! {
                ":user": user, ":agent": agent, ":session": session, ":after": now.min(at), ":until": now.max(at),
            },
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        // Time passed, and they are live no more; or the clock was set back, and they are live again.
        let sign = if now > at { -1 } else { 1 };
        Ok(Self { bytes: bytes + sign * span_bytes, entries: entries + sign * span_entries })
    }

    /// This usage with or without a key of this size.
    fn with(self, key: &str, value: usize, sign: i64) -> Self {
        Self { bytes: self.bytes + sign * rows::number(key.len() + value), entries: self.entries + sign }
    }

    fn numbers(self) -> Stored<(usize, usize)> {
        let number = |sum: i64| {
            usize::try_from(sum)
                .map_err(|_| errors::damaged(format!("the usage `{sum}` of a working memory is negative")))
        };
        Ok((number(self.bytes)?, number(self.entries)?))
    }

    fn store(self, write: &Write<'_>, scope: &Scope, now: Timestamp) -> Stored<()> {
        let [user, agent, session] = owner(scope);
        write
            .connection
            .prepare_cached("INSERT OR REPLACE INTO working_usage VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
            .execute((user, agent, session, self.bytes, self.entries, micros(now)))?;
        Ok(())
    }
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
    let (mut used, _) = expire(write, scope, now)?;
    let (old, own_ttl) = live(write.connection, scope, &key, now)?.unzip();
    let (is_set, is_touch) = (matches!(what, WorkingChange::Set(_)), what == WorkingChange::Touch);
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
    let own_ttl = own_ttl.filter(|_| !is_set);
    let new_ttl = ttl.or(own_ttl).unwrap_or(limits.default_ttl);
    let expires_at = match &old {
        // Only a new value and a touch begin a time to live anew.
        Some(old) if ttl.is_none() && !is_set && !is_touch => old.expires_at,
        _ => new_ttl.expires_at(now),
    };
    let (bytes, count) = used.numbers()?;
    let old_length = old.map(|old| old.value.len());
    working_memory::admit(limits, bytes, count, old_length, &key, value.len())?;
    if let Some(length) = old_length {
        used = used.with(&key, length, -1);
    }
    if expires_at.is_none_or(|expires_at| micros(expires_at) > micros(now)) {
        used = used.with(&key, value.len(), 1);
    }
    used.store(write, scope, now)?;
    let [user, agent, session] = owner(scope);
    write
        .connection
        .prepare_cached(
            "INSERT INTO working (user, agent, session, key, value, ttl, expires_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
             ON CONFLICT DO UPDATE SET value = excluded.value, ttl = excluded.ttl, expires_at = excluded.expires_at",
        )?
        .execute((user, agent, session, key, value, stored_ttl(new_ttl), expires_at.map(micros)))?;
    Ok(worked)
}

/// Deletes a key. Gives whether it was live.
pub(super) fn delete(write: &Write<'_>, scope: &Scope, key: &str, now: Timestamp) -> Stored<bool> {
    let live = get(write.connection, scope, key, now)?;
    let mut used = Usage::load(write.connection, scope, now)?;
    if let Some(live) = &live {
        used = used.with(key, live.value.len(), -1);
    }
    let [user, agent, session] = owner(scope);
    let removed = write
        .connection
        .prepare_cached(&format!("DELETE FROM working WHERE {OWN} AND key = :key"))?
        .execute(named_params! { ":user": user, ":agent": agent, ":session": session, ":key": key })?;
    if removed > 0 {
        used.store(write, scope, now)?;
    }
    Ok(live.is_some())
}

/// Deletes what has expired. Gives the usage at `now`, and how many keys that were.
fn expire(write: &Write<'_>, scope: &Scope, now: Timestamp) -> Stored<(Usage, usize)> {
    let used = Usage::load(write.connection, scope, now)?;
    let [user, agent, session] = owner(scope);
    let removed = write
        .connection
        .prepare_cached(&expired_sql())?
        .execute(named_params! { ":user": user, ":agent": agent, ":session": session, ":now": micros(now) })?;
    if removed > 0 {
        used.store(write, scope, now)?;
    }
    Ok((used, removed))
}

/// Deletes the keys of a scope that have expired.
pub(super) fn expired_sql() -> String {
    format!("DELETE FROM working WHERE {OWN} AND expires_at <= :now")
}

/// Deletes what has expired. Gives how many.
pub(super) fn cleanup(write: &Write<'_>, scope: &Scope, now: Timestamp) -> Stored<usize> {
    expire(write, scope, now).map(|(_, removed)| removed)
}

/// Deletes what has expired, of all scopes.
pub(super) fn cleanup_all(write: &Write<'_>, now: Timestamp) -> Stored<()> {
    let scopes: Vec<Scope> = write
        .connection
        .prepare("SELECT DISTINCT user, agent, session FROM working WHERE expires_at <= ?1")?
        .query_map((micros(now),), |row| Ok([rows::named(row, 0)?, rows::named(row, 1)?, rows::named(row, 2)?]))?
        .map(|parts| {
            let [user, agent, session] = parts?;
            Ok(Scope::from_parts(user, agent, session)?)
        })
        .collect::<Stored<_>>()?;
    for scope in scopes {
        expire(write, &scope, now)?;
    }
    Ok(())
}

/// Deletes every key.
pub(super) fn clear(write: &Write<'_>, scope: &Scope) -> Stored<()> {
    let [user, agent, session] = owner(scope);
    for table in ["working", "working_usage"] {
        write
            .connection
            .prepare_cached(&format!("DELETE FROM {table} WHERE {OWN}"))?
            .execute(named_params! { ":user": user, ":agent": agent, ":session": session })?;
    }
    Ok(())
}
