//! Forgetting: a row and all that was derived from it, in one transaction.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rusqlite::{Connection, Row, ToSql, named_params};
use uuid::Uuid;

use super::{
    chains::{self, Stretch},
    episodes,
    errors::Stored,
    facts, lookup,
    spaces::{self, OwnerKey},
    writer::Write,
};
use crate::{
    ledger::ForgetReach,
    scope::{SCOPE_PREDICATE, Scope},
};

/// Removes the episode, version or chain of an id. Gives whether it was there.
pub(super) fn forget(
    write: &mut Write<'_>,
    scope: &Scope,
    id: Uuid,
    reach: ForgetReach,
    now: Timestamp,
) -> Stored<bool> {
    let connection = write.connection;
    if let Some(episode) = episodes::key(connection, scope, id)? {
        forget_episode(write, episode, now)?;
        return Ok(true);
    }
    let Some(version) = lookup::key(connection, scope, id)? else { return Ok(false) };
    let sayings = match reach {
        ForgetReach::Version => {
            sayings(connection, "SELECT sighting, slot, version FROM sightings WHERE version = ?1", &[&version])?
        }
        ForgetReach::Chain => sayings(
            connection,
            "SELECT sighting, slot, version FROM sightings \
             WHERE slot = (SELECT slot FROM versions WHERE version = ?1)",
            &[&version],
        )?,
    };
    remove_sayings(write, &sayings, now)?;
    Ok(true)
}

/// A saying that is to go.
struct Saying {
    key: i64,
    slot: i64,
    version: Option<i64>,
}

fn saying(row: &Row<'_>) -> rusqlite::Result<Saying> {
    Ok(Saying { key: row.get(0)?, slot: row.get(1)?, version: row.get(2)? })
}

fn sayings(connection: &Connection, sql: &str, values: &[&dyn ToSql]) -> Stored<Vec<Saying>> {
    Ok(connection.prepare_cached(sql)?.query_map(values, saying)?.collect::<rusqlite::Result<_>>()?)
}

/// Removes sayings and computes their slots again. Gives how many versions are gone.
fn remove_sayings(write: &mut Write<'_>, sayings: &[Saying], now: Timestamp) -> Stored<u64> {
    let mut slots: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
    for saying in sayings {
        slots.entry(saying.slot).or_default().extend(saying.version);
        let owner = OwnerKey::Sighting(saying.key);
        remove_owned(write, owner)?;
        write.connection.prepare_cached("DELETE FROM sightings WHERE sighting = ?1")?.execute((saying.key,))?;
    }
    let mut removed = 0;
    for (slot, touched) in slots {
        let stretch = Stretch::whole(write.connection, slot)?;
        removed += chains::recompute(write, &stretch, &touched, now)?.removed;
        facts::join_repeats(write, slot, now)?;
    }
    Ok(removed)
}

fn remove_owned(write: &Write<'_>, owner: OwnerKey) -> Stored<()> {
    let (episode, sighting) = owner.columns();
    write
        .connection
        .prepare_cached("DELETE FROM jobs WHERE episode = ?1 OR sighting = ?2")?
        .execute((episode, sighting))?;
    spaces::delete_pieces(write, owner)
}

fn forget_episode(write: &mut Write<'_>, episode: i64, now: Timestamp) -> Stored<u64> {
    let (id, scope): (String, [String; 3]) = write
        .connection
        .prepare_cached("SELECT id, user, agent, session FROM episodes WHERE episode = ?1")?
        .query_row((episode,), |row| Ok((row.get(0)?, [row.get(1)?, row.get(2)?, row.get(3)?])))?;
    let said =
        sayings(write.connection, "SELECT sighting, slot, version FROM sightings WHERE episode_id = ?1", &[&id])?;
    let versions = remove_sayings(write, &said, now)?;
    remove_owned(write, OwnerKey::Episode(episode))?;
    write.connection.prepare_cached("DELETE FROM episodes WHERE episode = ?1")?.execute((episode,))?;
    let [user, agent, session] = &scope;
    chains::note_deletion(write, &id, "episode", [user, agent, session])?;
    Ok(versions)
}

/// Removes everything of a scope. Gives how many facts and episodes are gone.
pub(super) fn forget_scope(write: &mut Write<'_>, scope: &Scope, now: Timestamp) -> Stored<u64> {
    let (user, agent, session) = scope.bound();
    let connection = write.connection;
    let bound = named_params! { ":user": user, ":agent": agent, ":session": session };
    // Sayings first, so that each chain is computed once.
    let sql = format!("SELECT sighting, slot, version FROM sightings WHERE {SCOPE_PREDICATE} ORDER BY seq");
    let said: Vec<Saying> =
        connection.prepare_cached(&sql)?.query_map(bound, saying)?.collect::<rusqlite::Result<_>>()?;
    let mut removed = remove_sayings(write, &said, now)?;
    let episodes: Vec<i64> = connection
        .prepare_cached(&format!("SELECT episode FROM episodes WHERE {SCOPE_PREDICATE} ORDER BY seq"))?
        .query_map(bound, |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for episode in episodes {
        removed += 1 + forget_episode(write, episode, now)?;
    }
    for table in ["working", "working_usage"] {
        connection.prepare_cached(&format!("DELETE FROM {table} WHERE {SCOPE_PREDICATE}"))?.execute(bound)?;
    }
    // Core memory belongs to (user, agent): a session has none of its own.
    if session.is_none() {
        connection
            .prepare_cached("DELETE FROM blocks WHERE user = ?1 AND (?2 IS NULL OR agent = ?2)")?
            .execute((user, agent))?;
        write.touch_core();
    }
    Ok(removed)
}
