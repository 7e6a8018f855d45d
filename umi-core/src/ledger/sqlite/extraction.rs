//! Recording what a language model found: the facts of episodes and how they relate to stored ones.

use rusqlite::{Connection, OptionalExtension};

use super::{errors::Stored, facts, lookup, rows, writer::Write};
use crate::{
    embed::EmbeddingSpace,
    entity::fold,
    error::Error,
    ledger::{Extraction, ExtractionOutcome},
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
    let recorded = facts::record(write, space, &extraction.facts)?;
    for job in jobs {
        write.connection.prepare_cached("DELETE FROM jobs WHERE job = ?1")?.execute((job,))?;
    }
    Ok(ExtractionOutcome::Recorded(recorded))
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

/// Whether a subject of the facts or a candidate of the relations has changed since it was looked at, or is gone.
fn has_moved(connection: &Connection, tenant: &Scope, extraction: &Extraction) -> Stored<bool> {
    let user = stored(tenant.user());
    for fact in &extraction.facts {
        let subject = (user, fact.entity.entity_type.as_str(), fold(&fact.entity.name), extraction.seen);
        if connection.prepare_cached(SUBJECT_MOVED)?.exists(subject)? {
            return Ok(true);
        }
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
