//! Reading facts, their chains and their relations.

use std::collections::HashSet;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, named_params};
use uuid::Uuid;

use super::{
    errors::Stored,
    rows::{self, micros},
};
use crate::{
    entity::{Entity, EntityType, EvolutionRelation},
    ledger::FactFilter,
    scope::{SCOPE_PREDICATE, Scope},
};

/// [`SCOPE_PREDICATE`] for a version: its tenant, and one of its sayings under the agent and session. Its sayings are
/// its tenant's own, so they need no look where the scope names neither.
fn admitted() -> String {
    format!(
        "versions.user = :user AND ((:agent IS NULL AND :session IS NULL) OR EXISTS (SELECT 1 FROM sightings \
         WHERE sightings.version = versions.version AND {SCOPE_PREDICATE}))"
    )
}

/// A version by an id: a version's is that of one of its sayings.
pub(super) fn key_sql() -> String {
    format!(
        "SELECT version FROM versions WHERE version = (SELECT version FROM sightings WHERE id = :id) AND {}",
        admitted()
    )
}

/// The internal key of a version, by its id or that of one of its sayings.
pub(super) fn key(connection: &Connection, scope: &Scope, id: Uuid) -> Stored<Option<i64>> {
    let (user, agent, session) = scope.bound();
    Ok(connection
        .prepare_cached(&key_sql())?
        .query_row(
            named_params! { ":id": rows::text(id), ":user": user, ":agent": agent, ":session": session },
            |row| rows::unsigned(row, 0),
        )
        .optional()?)
}

/// The internal key of the version that a saying is part of.
pub(super) fn version_of_saying(connection: &Connection, saying: Uuid) -> Stored<Option<i64>> {
    Ok(connection
        .prepare_cached("SELECT version FROM sightings WHERE id = ?1")?
        .query_row((rows::text(saying),), |row| row.get(0))
        .optional()?
        .flatten())
}

/// A version by its internal key.
pub(super) fn by_key(connection: &Connection, version: i64) -> Stored<Entity> {
    Ok(connection
        .prepare_cached(&format!("SELECT {} FROM versions WHERE version = ?1", rows::VERSION))?
        .query_row((version,), rows::version)?)
}

/// A version, by its id or that of one of its sayings.
pub(super) fn get(connection: &Connection, scope: &Scope, id: Uuid) -> Stored<Option<Entity>> {
    key(connection, scope, id)?.map(|version| by_key(connection, version)).transpose()
}

/// The versions that exist among `ids`, each once.
pub(super) fn many(connection: &Connection, scope: &Scope, ids: &[Uuid]) -> Stored<Vec<Entity>> {
    let mut seen = HashSet::with_capacity(ids.len());
    let mut found = Vec::with_capacity(ids.len());
    for &id in ids {
        if let Some(version) = key(connection, scope, id)?
            && seen.insert(version)
        {
            found.push(by_key(connection, version)?);
        }
    }
    Ok(found)
}

/// The chain of a version, oldest first, of those versions that the scope admits.
pub(super) fn history(connection: &Connection, scope: &Scope, id: Uuid) -> Stored<Vec<Entity>> {
    let Some(version) = key(connection, scope, id)? else { return Ok(Vec::new()) };
    let (user, agent, session) = scope.bound();
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {} FROM versions WHERE slot = (SELECT slot FROM versions WHERE version = :version) AND {} \
         ORDER BY valid_from, said_seq",
        rows::VERSION,
        admitted()
    ))?;
    let found = statement.query_map(
        named_params! { ":version": version, ":user": user, ":agent": agent, ":session": session },
        rows::version,
    )?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// The relations from or to a version.
pub(super) fn evolutions(connection: &Connection, scope: &Scope, id: Uuid) -> Stored<Vec<EvolutionRelation>> {
    let Some(version) = key(connection, scope, id)? else { return Ok(Vec::new()) };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {} FROM evolutions JOIN versions AS first ON first.version = older \
         JOIN versions AS second ON second.version = newer \
         WHERE older = :version OR newer = :version \
         ORDER BY first.valid_from, first.said_seq, second.valid_from, second.said_seq, evolutions.id",
        rows::EVOLUTION
    ))?;
    let found = statement.query_map(named_params! { ":version": version }, rows::evolution)?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// A relation, if it is still there.
pub(super) fn evolution(connection: &Connection, id: Uuid) -> Stored<Option<EvolutionRelation>> {
    Ok(connection
        .prepare_cached(&format!(
            "SELECT {} FROM evolutions JOIN versions AS first ON first.version = older \
             JOIN versions AS second ON second.version = newer WHERE evolutions.id = ?1",
            rows::EVOLUTION
        ))?
        .query_row((rows::text(id),), rows::evolution)
        .optional()?)
}

/// The condition that a version holds at `:at`, or any if that is null.
const HOLDS: &str = "(:at IS NULL OR (valid_from <= :at AND (valid_to IS NULL OR :at < valid_to)))";

/// A page of facts in either order.
pub(super) fn list_sql(most_important_first: bool) -> String {
    let order = if most_important_first { "importance DESC, valid_from DESC, id" } else { "valid_from, seq" };
    format!(
        "SELECT {} FROM versions WHERE {} AND {HOLDS} AND (:type IS NULL OR type = :type) \
         ORDER BY {order} LIMIT :limit OFFSET :offset",
        rows::VERSION,
        admitted()
    )
}

/// A page of facts in the order that the filter asks for.
pub(super) fn list(connection: &Connection, scope: &Scope, filter: &FactFilter) -> Stored<Vec<Entity>> {
    let (user, agent, session) = scope.bound();
    let mut statement = connection.prepare_cached(&list_sql(filter.most_important_first))?;
    let found = statement.query_map(
        named_params! {
            ":user": user, ":agent": agent, ":session": session, ":at": filter.valid_at.map(micros),
            ":type": filter.entity_type.map(EntityType::as_str), ":limit": rows::number(filter.limit),
            ":offset": rows::number(filter.offset),
        },
        rows::version,
    )?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// The number of facts that hold, plus that of episodes.
pub(super) fn count_sql() -> String {
    format!(
        "SELECT (SELECT count(*) FROM versions WHERE {} AND {HOLDS}) \
         + (SELECT count(*) FROM episodes WHERE {SCOPE_PREDICATE})",
        admitted()
    )
}

/// Facts that hold at `now`, plus episodes.
pub(super) fn count(connection: &Connection, scope: &Scope, now: Timestamp) -> Stored<u64> {
    let (user, agent, session) = scope.bound();
    Ok(connection.prepare_cached(&count_sql())?.query_row(
        named_params! { ":user": user, ":agent": agent, ":session": session, ":at": micros(now) },
        |row| rows::unsigned(row, 0),
    )?)
}
