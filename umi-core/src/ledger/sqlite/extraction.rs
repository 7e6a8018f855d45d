//! Recording what a language model found: the facts of episodes and how they relate to stored ones.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};
use uuid::Uuid;

use super::{
    decisions::{self, NewDecision, Places},
    errors::Stored,
    facts, lookup,
    rows::{self, micros},
    writer::Write,
};
use crate::{
    embed::EmbeddingSpace,
    entity::{check_unit, fold},
    error::Error,
    ledger::{Extraction, ExtractionOutcome, NewFact, NewRelation},
    scope::{Scope, stored},
};

/// Records an extraction and removes its jobs, unless these are gone or what it decided on has moved.
pub(super) fn record(
    write: &mut Write<'_>,
    space: &EmbeddingSpace,
    extraction: &Extraction,
) -> Stored<ExtractionOutcome> {
    let tenant = Scope::from_parts(extraction.scope.user().map(str::to_owned), None, None)?;
    if extraction.facts.iter().any(|fact| fact.entity.user.as_deref() != tenant.user()) {
        return Err(Error::invalid_input("a fact is of another user than its extraction").into());
    }
    let Some(jobs) = held_jobs(write.connection, extraction)? else { return Ok(ExtractionOutcome::Gone) };
    if has_moved(write.connection, &tenant, extraction)? {
        return Ok(ExtractionOutcome::Moved);
    }
    let relations = anchored(write.connection, &tenant, extraction)?;
    let mut changes = facts::say(write, space, &extraction.facts)?;
    let mut places = Places::new();
    for anchored in &relations {
        let entity = &anchored.fact.entity;
        for &(id, other) in &anchored.others {
            let Some(sighting) = apart(write.connection, entity.id, other)? else { continue };
            let relation = anchored.relation;
            let new = NewDecision {
                id,
                user: stored(tenant.user()),
                sighting,
                other,
                evolution_type: relation.evolution_type,
                reason: &relation.reason,
                confidence: relation.confidence,
                created_at: entity.recorded_at,
            };
            places.extend(decisions::insert(write, &new)?);
            changes.entry(entity.id).or_default().evolutions.push(id);
        }
    }
    if let Some(now) = extraction.facts.iter().map(|fact| fact.entity.recorded_at).max() {
        decisions::recompute(write, &places, now)?;
    }
    for job in jobs {
        write.connection.prepare_cached("DELETE FROM jobs WHERE job = ?1")?.execute((job,))?;
    }
    let recorded = facts::tell(write.connection, Some(&extraction.scope), &extraction.facts, &changes)?;
    Ok(ExtractionOutcome::Recorded(recorded))
}

/// A relation with the sayings of the stored version that it is kept with, each under the id of its own decision.
struct Anchored<'e> {
    relation: &'e NewRelation,
    fact: &'e NewFact,
    others: Vec<(Uuid, i64)>,
}

/// Finds the sayings that relations are kept with, in the versions as they were looked at.
fn anchored<'e>(connection: &Connection, tenant: &Scope, extraction: &'e Extraction) -> Stored<Vec<Anchored<'e>>> {
    let mut found = Vec::with_capacity(extraction.relations.len());
    for relation in &extraction.relations {
        check_unit("confidence", relation.confidence)?;
        let fact = extraction.facts.get(relation.fact).ok_or_else(|| {
            Error::invalid_input(format!("a relation names fact `{}` of {}", relation.fact, extraction.facts.len()))
        })?;
        let Some(version) = lookup::key(connection, tenant, relation.other)? else { continue };
        let [before, behind] = around(connection, version, fact.entity.valid_from)?;
        // A fact from the midst of a version's time ends it, and is ended where that was said again.
        let behind = if relation.evolution_type.closes() { behind } else { behind.filter(|_| before.is_none()) };
        let mut others = Vec::with_capacity(2);
        others.extend(before.map(|before| (relation.id, before)));
        others
            .extend(behind.map(|behind| (if before.is_none() { relation.id } else { second_id(relation.id) }, behind)));
        found.push(Anchored { relation, fact, others });
    }
    Ok(found)
}

/// The nearest sayings of a version to a time: the last one up to it, and the first one behind it.
fn around(connection: &Connection, version: i64, time: Timestamp) -> Stored<[Option<i64>; 2]> {
    let nearest = |sql: &str| -> Stored<Option<i64>> {
        Ok(connection.prepare_cached(sql)?.query_row((version, micros(time)), |row| row.get(0)).optional()?)
    };
    Ok([
        nearest(
            "SELECT sighting FROM sightings WHERE version = ?1 AND valid_from <= ?2 \
             ORDER BY valid_from DESC, seq DESC LIMIT 1",
        )?,
        nearest(
            "SELECT sighting FROM sightings WHERE version = ?1 AND valid_from > ?2 ORDER BY valid_from, seq LIMIT 1",
        )?,
    ])
}

/// The id of the second decision of one relation.
fn second_id(relation: Uuid) -> Uuid {
    Uuid::new_v5(&relation, b"behind")
}

/// The key of a new saying, if it did not become part of the version of the other one.
fn apart(connection: &Connection, saying: Uuid, other: i64) -> Stored<Option<i64>> {
    Ok(connection
        .prepare_cached(
            "SELECT own.sighting FROM sightings AS own, sightings AS far \
             WHERE own.id = ?1 AND far.sighting = ?2 AND own.version <> far.version",
        )?
        .query_row((rows::text(saying), other), |row| row.get(0))
        .optional()?)
}

/// The keys of the jobs; none where one of them is gone or is another's.
fn held_jobs(connection: &Connection, extraction: &Extraction) -> Stored<Option<Vec<i64>>> {
    let mut statement = connection.prepare_cached(
        "SELECT job FROM jobs WHERE id = ?1 AND lease_holder = ?2 AND kind = 'extract' AND user = ?3",
    )?;
    let (holder, user) = (rows::text(extraction.holder), stored(extraction.scope.user()));
    let mut keys = Vec::with_capacity(extraction.jobs.len());
    for &job in &extraction.jobs {
        match statement.query_row((rows::text(job), &holder, user), |row| row.get(0)).optional()? {
            Some(key) => keys.push(key),
            None => return Ok(None),
        }
    }
    Ok(Some(keys))
}

/// Versions of a subject behind a place in the feed.
pub(super) const SUBJECT_MOVED: &str = "SELECT 1 FROM slots JOIN versions ON versions.slot = slots.slot \
     WHERE slots.user = ?1 AND slots.type = ?2 AND slots.name_folded = ?3 AND versions.seq > ?4 LIMIT 1";

/// What a tenant has forgotten behind a place in the feed.
pub(super) const FORGOTTEN: &str = "SELECT 1 FROM deletions WHERE user = ?1 AND seq > ?2 LIMIT 1";

/// Whether a subject of the facts or a candidate of the relations has changed since it was looked at, or is gone. Where
/// there are relations, whatever the tenant has forgotten counts: the model may have been shown it and quote it.
fn has_moved(connection: &Connection, tenant: &Scope, extraction: &Extraction) -> Stored<bool> {
    let user = stored(tenant.user());
    for fact in &extraction.facts {
        let subject = (user, fact.entity.entity_type.as_str(), fold(&fact.entity.name), extraction.seen);
        if connection.prepare_cached(SUBJECT_MOVED)?.exists(subject)? {
            return Ok(true);
        }
    }
    if !extraction.relations.is_empty() && connection.prepare_cached(FORGOTTEN)?.exists((user, extraction.seen))? {
        return Ok(true);
    }
    for relation in &extraction.relations {
        let Some(version) = lookup::key(connection, tenant, relation.other)? else { return Ok(true) };
        let seq: i64 = connection
            .prepare_cached("SELECT seq FROM versions WHERE version = ?1")?
            .query_row((version,), |row| row.get(0))?;
        if seq > extraction.seen {
            return Ok(true);
        }
    }
    Ok(false)
}
