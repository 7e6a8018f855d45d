//! Jobs: work that was left for later, each under a lease while somebody does it.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, named_params};
use uuid::Uuid;

use super::{
    errors::{self, Stored},
    rows::{self, micros},
    spaces::{self, OwnerKey},
    writer::Write,
};
use crate::{
    embed::EmbeddingSpace,
    episode::Kind,
    ledger::{
        EmbedJob, ExtractJob, Job, JobChoice, JobFailure, JobKind, JobLease, LeasedJob, NOBODY, Owner, OwnerVectors,
    },
    scope::{SCOPE_PREDICATE, Scope},
};

/// The longest reason of a failure that is kept, in bytes.
const LAST_ERROR_BYTES: usize = 1_024;

/// The columns that [`read`] reads. The scope's columns are those of `jobs`.
const JOB: &str = "SELECT jobs.job, jobs.id, jobs.kind, jobs.evolves, jobs.episode, jobs.sighting, jobs.attempts, jobs.last_error, \
     jobs.created_at, coalesce((SELECT id FROM episodes WHERE episodes.episode = jobs.episode), \
     (SELECT id FROM sightings WHERE sightings.sighting = jobs.sighting)) AS owner_id, \
     coalesce((SELECT id FROM episodes WHERE episodes.episode = jobs.episode), \
     (SELECT episode_id FROM sightings WHERE sightings.sighting = jobs.sighting)) AS episode_id FROM jobs";

fn read(row: &Row<'_>) -> rusqlite::Result<(i64, OwnerKey, Job)> {
    let owner = match row.get::<_, Option<i64>>("episode")? {
        Some(episode) => OwnerKey::Episode(episode),
        None => OwnerKey::Sighting(row.get("sighting")?),
    };
    let kind = match owner {
        OwnerKey::Episode(_) => Kind::Episode,
        OwnerKey::Sighting(_) => Kind::Fact,
    };
    let job = Job {
        id: rows::parsed(row, "id")?,
        kind: rows::parsed(row, "kind")?,
        episode_id: rows::maybe_id(row, "episode_id")?,
        owner: Owner { kind, id: rows::parsed(row, "owner_id")? },
        attempts: row.get("attempts")?,
        last_error: row.get("last_error")?,
        created_at: rows::time(row, "created_at")?,
    };
    Ok((row.get("job")?, owner, job))
}

/// A job to leave behind.
#[derive(Debug)]
pub(super) struct NewJob<'a> {
    pub(super) owner: OwnerKey,
    pub(super) user: &'a str,
    pub(super) agent: &'a str,
    pub(super) session: &'a str,
    pub(super) created_at: i64,
}

impl NewJob<'_> {
    /// Leaves a job to embed the owner.
    pub(super) fn embed(&self, write: &Write<'_>, job: EmbedJob) -> Stored<()> {
        self.insert(write, JobKind::Embed, job, true)
    }

    /// Leaves a job to find the owner's facts.
    pub(super) fn extract(&self, write: &Write<'_>, job: ExtractJob) -> Stored<()> {
        let ExtractJob { id, lease, detects_evolutions } = job;
        self.insert(write, JobKind::Extract, EmbedJob { id, lease }, detects_evolutions)
    }

    fn insert(&self, write: &Write<'_>, kind: JobKind, job: EmbedJob, evolves: bool) -> Stored<()> {
        let (episode, sighting) = self.owner.columns();
        write
            .connection
            .prepare_cached(
                "INSERT INTO jobs (id, kind, user, agent, session, episode, sighting, attempts, created_at, \
                 lease_until, lease_holder, evolves) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8, ?9, ?10, ?11)",
            )?
            .execute((
                rows::text(job.id),
                kind.as_str(),
                self.user,
                self.agent,
                self.session,
                episode,
                sighting,
                self.created_at,
                job.lease.map(|lease| micros(lease.until)),
                job.lease.map(|lease| rows::text(lease.holder)),
                evolves,
            ))?;
        Ok(())
    }
}

/// Whether there is a job, or one that is free at a time.
pub(super) fn any(connection: &Connection, free_at: Option<Timestamp>) -> Stored<bool> {
    Ok(connection
        .prepare_cached("SELECT 1 FROM jobs WHERE ?1 IS NULL OR lease_until IS NULL OR lease_until <= ?1 LIMIT 1")?
        .exists((free_at.map(micros),))?)
}

/// Jobs that wait, oldest first.
pub(super) fn pending(connection: &Connection, scope: &Scope) -> Stored<Vec<Job>> {
    let (user, agent, session) = scope.bound();
    let mut statement = connection.prepare_cached(&format!("{JOB} WHERE {SCOPE_PREDICATE} ORDER BY job"))?;
    let found = statement
        .query_map(named_params! { ":user": user, ":agent": agent, ":session": session }, |row| Ok(read(row)?.2))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Takes jobs of a kind that nobody holds.
pub(super) fn lease(write: &Write<'_>, choice: JobChoice, now: Timestamp, lease: JobLease) -> Stored<Vec<LeasedJob>> {
    let JobChoice { kind, failed, after, limit } = choice;
    let mut statement = write.connection.prepare_cached(&format!(
        "{JOB} WHERE jobs.job > ?1 AND jobs.kind = ?2 \
         AND (lease_until IS NULL OR lease_until <= ?3 OR (?4 AND lease_holder = ?5)) ORDER BY job LIMIT ?6"
    ))?;
    let values = (after, kind.as_str(), micros(now), failed, rows::text(NOBODY), rows::number(limit));
    let free: Vec<(i64, OwnerKey, Job, bool)> = statement
        .query_map(values, |row| {
            let (key, owner, job) = read(row)?;
            Ok((key, owner, job, row.get("evolves")?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let mut leased = Vec::with_capacity(free.len());
    for (key, owner, job, detects_evolutions) in free {
        write
            .connection
            .prepare_cached("UPDATE jobs SET lease_until = ?1, lease_holder = ?2 WHERE job = ?3")?
            .execute((micros(lease.until), rows::text(lease.holder), key))?;
        let text = spaces::owner_text(write.connection, owner)?
            .ok_or_else(|| errors::damaged(format!("the job `{}` has no owner", job.id)))?;
        leased.push(LeasedJob { job, place: key, text, detects_evolutions });
    }
    Ok(leased)
}

/// Moves the end of a holder's leases.
pub(super) fn renew(write: &Write<'_>, lease: JobLease) -> Stored<()> {
    write
        .connection
        .prepare_cached("UPDATE jobs SET lease_until = ?1 WHERE lease_holder = ?2")?
        .execute((micros(lease.until), rows::text(lease.holder)))?;
    Ok(())
}

/// Lets go of what a holder holds. What has failed before is put off until the end of its lease: it is not to be taken
/// again at once, and whether its failure passes is not known here. Gives the first of these ends.
pub(super) fn release(write: &Write<'_>, holder: Uuid) -> Stored<Option<Timestamp>> {
    let holder = rows::text(holder);
    let end = write
        .connection
        .prepare_cached(
            "SELECT lease_until FROM jobs WHERE lease_holder = ?1 AND last_error IS NOT NULL ORDER BY lease_until LIMIT 1",
        )?
        .query_row((&holder,), |row| rows::time(row, "lease_until"))
        .optional()?;
    if end.is_some() {
        write
            .connection
            .prepare_cached("UPDATE jobs SET lease_holder = ?1 WHERE lease_holder = ?2 AND last_error IS NOT NULL")?
            .execute((rows::text(NOBODY), &holder))?;
    }
    write
        .connection
        .prepare_cached("UPDATE jobs SET lease_until = NULL, lease_holder = NULL WHERE lease_holder = ?1")?
        .execute((&holder,))?;
    Ok(end)
}

/// Puts off what a holder holds.
pub(super) fn put_off(write: &Write<'_>, holder: Uuid, until: Option<Timestamp>) -> Stored<()> {
    let lease = JobLease::put_off(until);
    write
        .connection
        .prepare_cached("UPDATE jobs SET lease_until = ?1, lease_holder = ?2 WHERE lease_holder = ?3")?
        .execute((micros(lease.until), rows::text(lease.holder), rows::text(holder)))?;
    Ok(())
}

/// When the first lease ends, of those that have an end.
pub(super) fn next_lease_end(connection: &Connection, now: Timestamp) -> Stored<Option<Timestamp>> {
    Ok(connection
        .prepare_cached(
            "SELECT lease_until FROM jobs WHERE lease_until > ?1 AND lease_until < ?2 ORDER BY lease_until LIMIT 1",
        )?
        .query_row((micros(now), micros(Timestamp::MAX)), |row| rows::time(row, "lease_until"))
        .optional()?)
}

/// Stores a job's vectors and removes it. A job that is gone, or that another holds, is left alone.
pub(super) fn finish(
    write: &mut Write<'_>,
    space: &EmbeddingSpace,
    job: Uuid,
    holder: Uuid,
    vectors: &OwnerVectors,
) -> Stored<bool> {
    let found: Option<i64> = write
        .connection
        .prepare_cached("SELECT job FROM jobs WHERE id = ?1 AND lease_holder = ?2 AND kind = 'embed'")?
        .query_row((rows::text(job), rows::text(holder)), |row| row.get(0))
        .optional()?;
    let Some(key) = found else { return Ok(false) };
    let space = spaces::claim(write, space)?;
    spaces::put_owner(write, space, vectors)?;
    write.connection.prepare_cached("DELETE FROM jobs WHERE job = ?1")?.execute((key,))?;
    Ok(true)
}

/// Notes that a holder's job failed, and puts it off.
pub(super) fn fail(write: &Write<'_>, job: Uuid, holder: Uuid, failure: &JobFailure) -> Stored<()> {
    let shown = failure.error.to_string();
    let shown = &shown[..shown.floor_char_boundary(LAST_ERROR_BYTES)];
    let lease = JobLease::put_off(failure.again);
    write
        .connection
        .prepare_cached(
            "UPDATE jobs SET attempts = attempts + ?1, last_error = ?2, lease_until = ?3, lease_holder = ?4 \
             WHERE id = ?5 AND lease_holder = ?6",
        )?
        .execute((
            failure.is_counted,
            shown,
            micros(lease.until),
            rows::text(lease.holder),
            rows::text(job),
            rows::text(holder),
        ))?;
    Ok(())
}
