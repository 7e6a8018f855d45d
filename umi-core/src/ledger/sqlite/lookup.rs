//! Reading facts, their chains and their relations.

use std::collections::{HashSet, VecDeque};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, named_params};
use uuid::Uuid;

use super::{
    chains, decisions,
    errors::Stored,
    evolutions, reasons,
    rows::{self, micros},
};
use crate::{
    entity::{Entity, EntityType, EvolutionRelation, fold},
    ledger::FactFilter,
    scope::{SCOPE_PREDICATE, Scope},
};

/// [`SCOPE_PREDICATE`] for a version that a query calls `version`: its tenant, and one of its sayings under the agent
/// and session. Its sayings are its tenant's own, so they need no look where the scope names neither.
fn admitted(version: &str) -> String {
    format!(
        "{version}.user = :user AND ((:agent IS NULL AND :session IS NULL) OR EXISTS (SELECT 1 FROM sightings \
         WHERE sightings.version = {version}.version AND {SCOPE_PREDICATE}))"
    )
}

fn is_narrowed(scope: &Scope) -> bool {
    scope.agent().is_some() || scope.session().is_some()
}

/// A version by an id: a version's is that of one of its sayings.
pub(super) fn key_sql() -> String {
    format!(
        "SELECT version FROM versions WHERE version = (SELECT version FROM sightings WHERE id = :id) AND {}",
        admitted("versions")
    )
}

/// The internal key of a version, by its id or that of one of its sayings.
pub(super) fn key(connection: &Connection, scope: &Scope, id: Uuid) -> Stored<Option<i64>> {
    let (user, agent, session) = scope.bound();
    Ok(connection
        .prepare_cached(&key_sql())?
        .query_row(
            named_params! { ":id": rows::text(id), ":user": user, ":agent": agent, ":session": session },
            |row| row.get(0),
        )
        .optional()?)
}

/// Reads the columns of [`versions_sql`].
fn keyed(row: &Row<'_>) -> rusqlite::Result<(i64, Entity)> {
    Ok((row.get("version")?, rows::version(row)?))
}

/// The versions of a condition that a scope admits, each with its internal key.
fn versions_sql(condition: &str) -> String {
    format!("SELECT {}, versions.version FROM versions WHERE {} AND {condition}", rows::VERSION, admitted("versions"))
}

/// A version as a scope sees it. What a narrowed scope does not admit, it does not show.
fn seen(connection: &Connection, scope: &Scope, (key, version): (i64, Entity)) -> Stored<Option<Entity>> {
    if is_narrowed(scope) { chains::narrowed(connection, scope, key, &version) } else { Ok(Some(version)) }
}

fn all_seen(connection: &Connection, scope: &Scope, versions: Vec<(i64, Entity)>) -> Stored<Vec<Entity>> {
    let mut found = Vec::with_capacity(versions.len());
    for version in versions {
        found.extend(seen(connection, scope, version)?);
    }
    Ok(found)
}

/// A version by its internal key, as the scope sees it.
pub(super) fn by_key(connection: &Connection, scope: &Scope, version: i64) -> Stored<Option<Entity>> {
    let (user, agent, session) = scope.bound();
    let found = connection
        .prepare_cached(&versions_sql("versions.version = :version"))?
        .query_row(named_params! { ":version": version, ":user": user, ":agent": agent, ":session": session }, keyed)
        .optional()?;
    match found {
        Some(found) => seen(connection, scope, found),
        None => Ok(None),
    }
}

/// A version, by its id or that of one of its sayings.
pub(super) fn get(connection: &Connection, scope: &Scope, id: Uuid) -> Stored<Option<Entity>> {
    match key(connection, scope, id)? {
        Some(version) => by_key(connection, scope, version),
        None => Ok(None),
    }
}

/// The versions that exist among `ids`, each once.
pub(super) fn many(connection: &Connection, scope: &Scope, ids: &[Uuid]) -> Stored<Vec<Entity>> {
    let mut seen = HashSet::with_capacity(ids.len());
    let mut found = Vec::with_capacity(ids.len());
    for &id in ids {
        if let Some(version) = key(connection, scope, id)?
            && seen.insert(version)
        {
            found.extend(by_key(connection, scope, version)?);
        }
    }
    Ok(found)
}

/// The versions of the slot of a version.
const OF_SLOT: &str = "SELECT version FROM versions WHERE slot = (SELECT slot FROM versions WHERE version = :version)";

/// The history of a version: its slot's versions, what these replaced and what replaced them, over as many steps as there
/// are. What else a version replaced or was replaced by on the way is not part of it.
pub(super) const HISTORY: &str = "WITH RECURSIVE own (version) AS (SELECT version FROM versions \
     WHERE slot = (SELECT slot FROM versions WHERE version = :version)), \
     earlier (version) AS (SELECT version FROM own UNION SELECT older FROM earlier \
         JOIN evolutions ON newer = earlier.version WHERE type IN ('update', 'contradict')), \
     later (version) AS (SELECT version FROM own UNION SELECT newer FROM later \
         JOIN evolutions ON older = later.version WHERE type IN ('update', 'contradict')) \
     SELECT version FROM earlier UNION SELECT version FROM later";

/// The history of a version, oldest first, of those versions that the scope admits.
pub(super) fn history(connection: &Connection, scope: &Scope, id: Uuid) -> Stored<Vec<Entity>> {
    let Some(version) = key(connection, scope, id)? else { return Ok(Vec::new()) };
    let found = history_of(connection, scope, version)?;
    all_seen(connection, scope, found)
}

/// The history of a version by its internal key, as [`history`], not yet as the scope sees it.
pub(super) fn history_of(connection: &Connection, scope: &Scope, version: i64) -> Stored<Vec<(i64, Entity)>> {
    let (user, agent, session) = scope.bound();
    // Without a decision nothing leads out of a slot.
    let among = if decisions::has_any(connection)? { HISTORY } else { OF_SLOT };
    let mut statement = connection.prepare_cached(&format!(
        "{} ORDER BY valid_from, said_seq",
        versions_sql(&format!("versions.version IN ({among})"))
    ))?;
    Ok(statement
        .query_map(named_params! { ":version": version, ":user": user, ":agent": agent, ":session": session }, keyed)?
        .collect::<rusqlite::Result<_>>()?)
}

/// The version of a slot that begins last among those that have begun by a time.
pub(super) fn begun_sql() -> String {
    format!(
        "{} ORDER BY valid_from DESC, said_seq DESC LIMIT 1",
        versions_sql("slot = (SELECT slot FROM versions WHERE version = :version) AND valid_from <= :now")
    )
}

/// The first version of a slot behind a time.
pub(super) fn planned_sql() -> String {
    format!(
        "{} ORDER BY valid_from, said_seq LIMIT 1",
        versions_sql("slot = (SELECT slot FROM versions WHERE version = :version) AND valid_from > :now")
    )
}

/// What an update at `now` of a version's slot goes out from, with its internal key: the version that holds, or the
/// first one that is planned where none does. A narrowed scope goes out from the last one of those that it admits.
pub(super) fn current(
    connection: &Connection,
    scope: &Scope,
    version: i64,
    now: Timestamp,
) -> Stored<Option<(i64, Entity)>> {
    let (user, agent, session) = scope.bound();
    for sql in [begun_sql(), planned_sql()] {
        let found = connection
            .prepare_cached(&sql)?
            .query_row(
                named_params! {
                    ":version": version, ":now": micros(now), ":user": user, ":agent": agent, ":session": session,
                },
                keyed,
            )
            .optional()?;
        if let Some(found) = found {
            let key = found.0;
            return Ok(seen(connection, scope, found)?.map(|version| (key, version)));
        }
    }
    Ok(None)
}

/// The relations of a condition of which the scope admits both ends. The keys of the two ends and whether a model
/// decided on it are the last columns.
fn evolutions_sql(condition: &str) -> String {
    format!(
        "SELECT {}, older, newer, evolutions.decision IS NOT NULL AS is_decided FROM evolutions \
         JOIN versions AS first ON first.version = older JOIN versions AS second ON second.version = newer \
         WHERE {condition} AND {} AND {} \
         ORDER BY first.valid_from, first.said_seq, second.valid_from, second.said_seq, evolutions.id",
        rows::EVOLUTION,
        admitted("first"),
        admitted("second")
    )
}

/// A relation as it is stored, with the keys of its two ends and whether a model decided on it.
type Stretched = (EvolutionRelation, i64, i64, bool);

fn stretched(row: &Row<'_>) -> rusqlite::Result<Stretched> {
    Ok((rows::evolution(row)?, row.get("older")?, row.get("newer")?, row.get("is_decided")?))
}

/// A relation as a scope sees it: to a narrowed one it tells only of what that admits of the two versions. A model's own
/// reason may quote any fact that it was shown, so that a narrowed scope gets one from the two contents.
fn relation_seen(
    connection: &Connection,
    scope: &Scope,
    (relation, older, newer, is_decided): Stretched,
) -> Stored<Option<EvolutionRelation>> {
    if !is_narrowed(scope) {
        return Ok(Some(relation));
    }
    let (Some(older), Some(newer)) = (by_key(connection, scope, older)?, by_key(connection, scope, newer)?) else {
        return Ok(None);
    };
    let told = evolutions::told(&older, &newer);
    let (reason, confidence) = if is_decided {
        (reasons::of_contents(relation.evolution_type, &older.content, &newer.content), relation.confidence)
    } else {
        (told.reason, told.confidence)
    };
    Ok(Some(EvolutionRelation { reason, confidence, created_at: told.created_at, ..relation }))
}

/// The relations from or to a version.
pub(super) fn evolutions(connection: &Connection, scope: &Scope, id: Uuid) -> Stored<Vec<EvolutionRelation>> {
    let Some(version) = key(connection, scope, id)? else { return Ok(Vec::new()) };
    let (user, agent, session) = scope.bound();
    let mut statement = connection.prepare_cached(&evolutions_sql("(older = :version OR newer = :version)"))?;
    let stored: Vec<Stretched> = statement
        .query_map(
            named_params! { ":version": version, ":user": user, ":agent": agent, ":session": session },
            stretched,
        )?
        .collect::<rusqlite::Result<_>>()?;
    let mut found = Vec::with_capacity(stored.len());
    for relation in stored {
        found.extend(relation_seen(connection, scope, relation)?);
    }
    Ok(found)
}

/// A relation, if it is still there.
pub(super) fn evolution(connection: &Connection, scope: &Scope, id: Uuid) -> Stored<Option<EvolutionRelation>> {
    let (user, agent, session) = scope.bound();
    let found = connection
        .prepare_cached(&evolutions_sql("evolutions.id = :id"))?
        .query_row(
            named_params! { ":id": rows::text(id), ":user": user, ":agent": agent, ":session": session },
            stretched,
        )
        .optional()?;
    match found {
        Some(found) => relation_seen(connection, scope, found),
        None => Ok(None),
    }
}

/// A relation, if it is still there, as it is told to a scope: of what that does not admit that it is there, without a
/// reason.
pub(super) fn evolution_told(connection: &Connection, scope: &Scope, id: Uuid) -> Stored<Option<EvolutionRelation>> {
    let found = evolution(connection, scope, id)?;
    if found.is_some() || !is_narrowed(scope) {
        return Ok(found);
    }
    let tenant = Scope::from_parts(scope.user().map(str::to_owned), None, None)?;
    Ok(evolution(connection, &tenant, id)?.map(|found| EvolutionRelation { reason: String::new(), ..found }))
}

/// The condition that a version holds at `:at`, or any if that is null.
const HOLDS: &str = "(:at IS NULL OR (valid_from <= :at AND (valid_to IS NULL OR :at < valid_to)))";

/// A page of facts in either order.
pub(super) fn list_sql(most_important_first: bool) -> String {
    let order = if most_important_first { "importance DESC, valid_from DESC, id" } else { "valid_from, seq" };
    format!(
        "{} ORDER BY {order} LIMIT :limit OFFSET :offset",
        versions_sql(&format!("{HOLDS} AND (:type IS NULL OR type = :type)"))
    )
}

/// A page of facts in the order that the filter asks for.
pub(super) fn list(connection: &Connection, scope: &Scope, filter: &FactFilter) -> Stored<Vec<Entity>> {
    let (user, agent, session) = scope.bound();
    let mut statement = connection.prepare_cached(&list_sql(filter.most_important_first))?;
    let found = statement
        .query_map(
            named_params! {
                ":user": user, ":agent": agent, ":session": session, ":at": filter.valid_at.map(micros),
                ":type": filter.entity_type.map(EntityType::as_str), ":limit": rows::number(filter.limit),
                ":offset": rows::number(filter.offset),
            },
            keyed,
        )?
        .collect::<rusqlite::Result<_>>()?;
    all_seen(connection, scope, found)
}

/// The latest facts about a subject that hold, through the slots of the tenant.
pub(super) fn of_subject_sql() -> String {
    format!(
        "SELECT {}, versions.version FROM slots CROSS JOIN versions ON versions.slot = slots.slot \
         WHERE slots.user = :user AND slots.type = :type AND slots.name_folded = :name AND {HOLDS} \
         ORDER BY valid_from DESC, said_seq DESC LIMIT :limit",
        rows::VERSION
    )
}

/// Facts about subjects that hold at `now`, in all up to `limit`, of which each subject gets its share: of each the
/// latest first, in the order of `subjects`.
pub(super) fn of_subjects(
    connection: &Connection,
    scope: &Scope,
    subjects: &[(EntityType, String)],
    now: Timestamp,
    limit: usize,
) -> Stored<Vec<Entity>> {
    let (user, ..) = scope.bound();
    let mut statement = connection.prepare_cached(&of_subject_sql())?;
    let mut seen = HashSet::with_capacity(subjects.len());
    let mut found: Vec<VecDeque<Entity>> = Vec::new();
    for (entity_type, name) in subjects {
        let subject = (*entity_type, fold(name));
        if seen.contains(&subject) {
            continue;
        }
        let rows = statement.query_map(
            named_params! {
                ":user": user, ":at": micros(now), ":type": entity_type.as_str(), ":name": subject.1,
                ":limit": rows::number(limit),
            },
            keyed,
        )?;
        found.push(rows.map(|row| row.map(|(_, version)| version)).collect::<rusqlite::Result<_>>()?);
        seen.insert(subject);
    }
    // Who has few leaves the rest of the share to those who have many.
    let mut shares: Vec<Vec<Entity>> = vec![Vec::new(); found.len()];
    let mut left = limit;
    while left > 0 && found.iter().any(|facts| !facts.is_empty()) {
        for (facts, share) in found.iter_mut().zip(&mut shares) {
            if left > 0
                && let Some(fact) = facts.pop_front()
            {
                share.push(fact);
                left -= 1;
            }
        }
    }
    Ok(shares.into_iter().flatten().collect())
}

/// The number of facts that hold, plus that of episodes.
pub(super) fn count_sql() -> String {
    format!(
        "SELECT (SELECT count(*) FROM versions WHERE {} AND {HOLDS}) \
         + (SELECT count(*) FROM episodes WHERE {SCOPE_PREDICATE})",
        admitted("versions")
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
