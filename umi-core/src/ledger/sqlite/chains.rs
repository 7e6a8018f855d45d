//! Chains: the versions of a slot, computed from its sightings by [`chain`] and kept as rows.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rusqlite::{Connection, Row, named_params};
use uuid::Uuid;

use super::{
    decisions,
    errors::Stored,
    rows::{self, micros},
    writer::Write,
};
use crate::{
    entity::{Entity, Sighting, Span, chain, fold},
    error::{Error, Result},
    metadata::Metadata,
    scope::{SCOPE_PREDICATE, Scope, stored},
};

/// How much of each content the reason of an evolution shows, in bytes.
const REASON_CONTENT_BYTES: usize = 320;
/// The namespace of the ids of evolutions, which follow from their two ends.
const EVOLUTION_NAMESPACE: Uuid = Uuid::from_u128(0x3c55_9f5a_57f0_4b27_9d7f_8a0e_2b6b_51d4);

/// What a new computation of a chain changed.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// The ids of evolutions that came into being.
    pub(super) evolutions: Vec<Uuid>,
    /// How many versions are gone.
    pub(super) removed: u64,
    /// Why the metadata of a new saying does not fit to that of its version.
    pub(super) overfull: Option<Error>,
}

/// A sighting as it is stored.
#[derive(Debug)]
pub(super) struct StoredSighting {
    key: i64,
    version: Option<i64>,
    seq: i64,
    starts_version: bool,
    entity: Entity,
}

/// The columns that [`read_stored`] reads of `sightings JOIN slots USING (slot)`.
fn stored_columns() -> String {
    format!("{}, sightings.sighting, sightings.version, sightings.seq, sightings.starts_version", rows::SIGHTING)
}

fn read_stored(row: &Row<'_>) -> rusqlite::Result<StoredSighting> {
    Ok(StoredSighting {
        key: row.get("sighting")?,
        version: row.get("version")?,
        seq: row.get("seq")?,
        starts_version: row.get("starts_version")?,
        entity: rows::sighting(row)?,
    })
}

/// A version as it should be.
#[derive(Debug)]
pub(super) struct Computed {
    /// Its values; `updated_at` is that of its latest recording.
    pub(super) entity: Entity,
    /// The seq of its first sighting.
    pub(super) said_seq: i64,
    /// The internal keys of its sightings, each with the version that it belonged to before.
    pub(super) sightings: Vec<(i64, Option<i64>)>,
    /// Why their metadata is not that of all of them.
    overfull: Option<Error>,
}

/// A version as it is.
#[derive(Debug)]
pub(super) struct Existing {
    pub(super) key: i64,
    pub(super) said_seq: i64,
    pub(super) entity: Entity,
}

/// Where a saying stands in its chain: its time and its seq. A version stands where its first saying does.
pub(super) type Place = (Timestamp, i64);

/// Where a version stands.
pub(super) fn place(connection: &Connection, version: i64) -> Stored<Place> {
    Ok(connection
        .prepare_cached("SELECT valid_from, said_seq FROM versions WHERE version = ?1")?
        .query_row((version,), |row| Ok((rows::time(row, 0)?, row.get(1)?)))?)
}

/// A stretch of a chain that is computed by itself.
#[derive(Debug)]
pub(super) struct Stretch {
    slot: i64,
    /// The internal keys of its versions, oldest first.
    versions: Vec<i64>,
    /// Where the version behind it begins, if there is one.
    end: Option<Place>,
}

impl Stretch {
    /// A whole chain.
    pub(super) fn whole(connection: &Connection, slot: i64) -> Stored<Self> {
        let mut statement =
            connection.prepare_cached("SELECT version FROM versions WHERE slot = ?1 ORDER BY valid_from, said_seq")?;
        let versions = statement.query_map((slot,), |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        Ok(Self { slot, versions, end: None })
    }

    /// What a new saying can change: the version that it falls into or follows, and the one behind it. The version
    /// before these is told apart from them again.
    pub(super) fn around(connection: &Connection, slot: i64, valid_from: Timestamp, seq: i64) -> Stored<Self> {
        Self::near(connection, slot, (valid_from, seq), [2, 1])
    }

    /// What a new or lost closing at a place can change, or the loss of a saying of the version there: the version may
    /// go, or become two, and those beside it become one. The versions beside these are told apart from them again.
    pub(super) fn beside(connection: &Connection, slot: i64, place: Place) -> Stored<Self> {
        Self::near(connection, slot, place, [3, 2])
    }

    /// The `before` versions up to a place, and the `behind` ones that follow it.
    fn near(connection: &Connection, slot: i64, (valid_from, seq): Place, [before, behind]: [i64; 2]) -> Stored<Self> {
        let read = |sql: &str, limit: i64| -> Stored<Vec<(i64, Place)>> {
            Ok(connection
                .prepare_cached(sql)?
                .query_map((slot, micros(valid_from), seq, limit), |row| {
                    Ok((row.get(0)?, (rows::time(row, 1)?, row.get(2)?)))
                })?
                .collect::<rusqlite::Result<_>>()?)
        };
        let mut versions = read(
            "SELECT version, valid_from, said_seq FROM versions WHERE slot = ?1 \
             AND (valid_from, said_seq) <= (?2, ?3) ORDER BY valid_from DESC, said_seq DESC LIMIT ?4",
            before,
        )?;
        versions.reverse();
        let mut later = read(
            "SELECT version, valid_from, said_seq FROM versions WHERE slot = ?1 \
             AND (valid_from, said_seq) > (?2, ?3) ORDER BY valid_from, said_seq LIMIT ?4",
            behind + 1,
        )?;
        let is_last = rows::number(later.len()) <= behind;
        let end = if is_last { None } else { later.pop().map(|(_, place)| place) };
        versions.append(&mut later);
        Ok(Self { slot, versions: versions.into_iter().map(|(version, _)| version).collect(), end })
    }

    /// Its sightings, those included that belong to no version yet.
    fn sightings(&self, connection: &Connection) -> Stored<Vec<StoredSighting>> {
        let mut statement = connection.prepare_cached(&format!(
            "SELECT {} FROM sightings JOIN slots USING (slot) WHERE sightings.slot = ?1 AND sightings.version IS ?2",
            stored_columns()
        ))?;
        let mut found = Vec::new();
        for version in std::iter::once(None).chain(self.versions.iter().copied().map(Some)) {
            for sighting in statement.query_map((self.slot, version), read_stored)? {
                found.push(sighting?);
            }
        }
        Ok(found)
    }

    /// Its versions as they are.
    pub(super) fn existing(&self, connection: &Connection) -> Stored<BTreeMap<Uuid, Existing>> {
        let mut statement = connection.prepare_cached(&format!(
            "SELECT {}, versions.version, versions.said_seq FROM versions WHERE version = ?1",
            rows::VERSION
        ))?;
        let read = |row: &Row<'_>| {
            let entity = rows::version(row)?;
            let existing = Existing { key: row.get("version")?, said_seq: row.get("said_seq")?, entity };
            Ok((existing.entity.id, existing))
        };
        let mut found = BTreeMap::new();
        for version in &self.versions {
            let (id, existing) = statement.query_row((version,), read)?;
            found.insert(id, existing);
        }
        Ok(found)
    }

    /// The versions that its sightings amount to, oldest first.
    pub(super) fn compute(&self, connection: &Connection) -> Stored<Vec<Computed>> {
        let sightings = self.sightings(connection)?;
        let said: Vec<Sighting> = sightings
            .iter()
            .map(|sighting| Sighting {
                id: sighting.entity.id,
                seq: sighting.seq,
                content: sighting.entity.content.clone(),
                valid_from: sighting.entity.valid_from,
                starts_version: sighting.starts_version,
            })
            .collect();
        let mut closings = decisions::closings(connection, self.slot, said.iter().map(|one| one.valid_from).min())?;
        closings.retain(|closing| self.end.is_none_or(|end| (closing.at, closing.seq) < end));
        let spans = chain(&said, &closings);
        let mut computed: Vec<Computed> = spans.iter().filter_map(|span| merge(span, &sightings)).collect();
        if let (Some(last), Some((end, _))) = (computed.last_mut(), self.end) {
            last.entity.valid_to.get_or_insert(end);
        }
        Ok(computed)
    }
}

/// The values of a version from its run of sightings, in the order of time.
fn merge(span: &Span, sightings: &[StoredSighting]) -> Option<Computed> {
    let members: Vec<&StoredSighting> = span.members.iter().map(|&index| &sightings[index]).collect();
    let said_seq = members.first()?.seq;
    let (mut entity, overfull) = merged_values(&members)?;
    entity.id = span.id;
    entity.valid_from = span.valid_from;
    entity.valid_to = span.valid_to;
    entity.last_seen = span.last_seen;
    let sightings = members.iter().map(|member| (member.key, member.version)).collect();
    Some(Computed { entity, said_seq, sightings, overfull })
}

/// What sayings of one content, in the order of time, amount to; none for no saying. With it an error where their
/// metadata is over the limit as one object: what was said later stands alone then. No saying that would lead to it is
/// recorded, but forgetting what stood between two sayings can.
fn merged_values(members: &[&StoredSighting]) -> Option<(Entity, Option<Error>)> {
    let (first, rest) = members.split_first()?;
    let mut entity = first.entity.clone();
    let mut overfull = None;
    for StoredSighting { entity: later, .. } in rest {
        entity.metadata = union(&entity.metadata, &later.metadata).unwrap_or_else(|error| {
            overfull = Some(error);
            later.metadata.clone()
        });
        if !first.starts_version {
            entity.confidence = entity.confidence.max(later.confidence);
            entity.importance = entity.importance.max(later.importance);
        }
        entity.recorded_at = entity.recorded_at.min(later.recorded_at);
        entity.updated_at = entity.updated_at.max(later.recorded_at);
        entity.last_seen = later.valid_from;
    }
    Some((entity, overfull))
}

/// A version as a scope that is narrowed by agent or session sees it: its id, content and span are the version's, all
/// else is merged from the sayings that the scope admits. None where it admits none.
pub(super) fn narrowed(connection: &Connection, scope: &Scope, key: i64, version: &Entity) -> Stored<Option<Entity>> {
    let (user, agent, session) = scope.bound();
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {} FROM (SELECT * FROM sightings WHERE version = :version AND {SCOPE_PREDICATE}) AS sightings \
         JOIN slots USING (slot) ORDER BY sightings.valid_from, sightings.seq",
        stored_columns()
    ))?;
    let sightings: Vec<StoredSighting> = statement
        .query_map(named_params! { ":version": key, ":user": user, ":agent": agent, ":session": session }, read_stored)?
        .collect::<rusqlite::Result<_>>()?;
    let members: Vec<&StoredSighting> = sightings.iter().collect();
    Ok(merged_values(&members).map(|(values, _)| Entity {
        id: version.id,
        valid_from: version.valid_from,
        valid_to: version.valid_to,
        ..values
    }))
}

/// Both objects as one.
fn union(older: &Metadata, newer: &Metadata) -> Result<Metadata> {
    if newer.is_empty() { Ok(older.clone()) } else { older.merged(newer) }
}

/// Computes a stretch of a chain again and writes what differs, at the time `now`.
///
/// `touched` names versions that lost a sighting, which is no longer there to tell. An empty slot is removed.
pub(super) fn recompute(
    write: &mut Write<'_>,
    stretch: &Stretch,
    touched: &BTreeSet<i64>,
    now: Timestamp,
) -> Stored<Changed> {
    let slot = stretch.slot;
    let computed = stretch.compute(write.connection)?;
    let mut before = stretch.existing(write.connection)?;
    let related = related(write.connection, &stretch.versions)?;
    let mut changed = Changed::default();
    // A sighting that moved from one version to another changes both.
    let mut touched = touched.clone();
    for version in &computed {
        if version.sightings.iter().any(|(_, was)| was.is_none()) {
            changed.overfull.clone_from(&version.overfull);
        }
        let own = before.get(&version.entity.id).map(|existing| existing.key);
        touched.extend(version.sightings.iter().filter(|(_, was)| *was != own).filter_map(|(_, was)| *was));
    }
    let mut keys = Vec::with_capacity(computed.len());
    let mut kept: BTreeMap<Uuid, Existing> = BTreeMap::new();
    for version in &computed {
        if let Some(existing) = before.remove(&version.entity.id) {
            kept.insert(version.entity.id, existing);
        }
    }
    // Those that are versions no more are closed first, so that never two of a slot are current.
    for gone in before.values() {
        write
            .connection
            .prepare_cached("UPDATE versions SET valid_to = valid_from WHERE version = ?1 AND valid_to IS NULL")?
            .execute((gone.key,))?;
    }
    for version in &computed {
        let key = match kept.get(&version.entity.id) {
            Some(existing) => {
                let joined = version.sightings.iter().any(|(_, was)| *was != Some(existing.key));
                if joined || touched.contains(&existing.key) || !is_same(version, existing) {
                    store(write, Some(existing.key), slot, version, now)?;
                }
                existing.key
            }
            None => store(write, None, slot, version, now)?,
        };
        for (sighting, _) in version.sightings.iter().filter(|(_, was)| *was != Some(key)) {
            write
                .connection
                .prepare_cached("UPDATE sightings SET version = ?1 WHERE sighting = ?2")?
                .execute((key, sighting))?;
        }
        keys.push(key);
    }
    for gone in before.values() {
        remove_version(write, gone)?;
        changed.removed += 1;
    }
    relate(write, related, &keys, &computed, &mut changed)?;
    if computed.is_empty() {
        write
            .connection
            .prepare_cached(
                "DELETE FROM slots WHERE slot = ?1 AND NOT EXISTS (SELECT 1 FROM versions WHERE slot = ?1)",
            )?
            .execute((slot,))?;
    }
    Ok(changed)
}

/// Whether a row says what it should; when it was last changed does not count.
pub(super) fn is_same(computed: &Computed, existing: &Existing) -> bool {
    let expected = Entity { updated_at: existing.entity.updated_at, ..computed.entity.clone() };
    expected == existing.entity && computed.said_seq == existing.said_seq
}

fn store(write: &mut Write<'_>, key: Option<i64>, slot: i64, version: &Computed, now: Timestamp) -> Stored<i64> {
    let entity = &version.entity;
    let seq = write.next_seq();
    if key.is_none() {
        // An id that was a version once, and is one again, is deleted no more.
        write.connection.prepare_cached("DELETE FROM deletions WHERE id = ?1")?.execute((rows::text(entity.id),))?;
    }
    write
        .connection
        .prepare_cached(
            "INSERT INTO versions (version, id, seq, slot, said_seq, user, agent, session, type, name, name_folded, \
             attribute, attribute_folded, content, metadata, confidence, importance, event_time, document_time, \
             source, valid_from, valid_to, last_seen, recorded_at, updated_at, episode_id) \
             VALUES (:version, :id, :seq, :slot, :said_seq, :user, :agent, :session, :type, :name, :name_folded, \
             :attribute, :attribute_folded, :content, :metadata, :confidence, :importance, :event_time, \
             :document_time, :source, :valid_from, :valid_to, :last_seen, :recorded_at, :updated_at, :episode_id) \
             ON CONFLICT (version) DO UPDATE SET seq = excluded.seq, said_seq = excluded.said_seq, \
             agent = excluded.agent, session = excluded.session, name = excluded.name, \
             attribute = excluded.attribute, metadata = excluded.metadata, confidence = excluded.confidence, \
             importance = excluded.importance, event_time = excluded.event_time, \
             document_time = excluded.document_time, source = excluded.source, valid_from = excluded.valid_from, \
             valid_to = excluded.valid_to, last_seen = excluded.last_seen, recorded_at = excluded.recorded_at, \
             updated_at = excluded.updated_at, episode_id = excluded.episode_id",
        )?
        .execute(named_params! {
            ":version": key, ":id": rows::text(entity.id), ":seq": seq, ":slot": slot,
            ":said_seq": version.said_seq, ":user": stored(entity.user.as_deref()),
            ":agent": stored(entity.agent.as_deref()), ":session": stored(entity.session.as_deref()),
            ":type": entity.entity_type.as_str(), ":name": entity.name, ":name_folded": fold(&entity.name),
            ":attribute": entity.attribute, ":attribute_folded": entity.attribute.as_deref().map(fold),
            ":content": entity.content, ":metadata": entity.metadata.as_str(),
            ":confidence": entity.confidence, ":importance": entity.importance,
            ":event_time": entity.event_time.map(micros), ":document_time": entity.document_time.map(micros),
            ":source": entity.source, ":valid_from": micros(entity.valid_from),
            ":valid_to": entity.valid_to.map(micros), ":last_seen": micros(entity.last_seen),
            ":recorded_at": micros(entity.recorded_at), ":updated_at": micros(now),
            ":episode_id": entity.episode_id.map(rows::text),
        })?;
    Ok(key.unwrap_or_else(|| write.connection.last_insert_rowid()))
}

fn remove_version(write: &mut Write<'_>, gone: &Existing) -> Stored<()> {
    write.connection.prepare_cached("DELETE FROM evolutions WHERE older = ?1 OR newer = ?1")?.execute((gone.key,))?;
    write.connection.prepare_cached("DELETE FROM versions WHERE version = ?1")?.execute((gone.key,))?;
    let entity = &gone.entity;
    note_deletion(
        write,
        &rows::text(entity.id),
        "fact",
        [&entity.user, &entity.agent, &entity.session].map(|name| stored(name.as_deref())),
    )
}

/// Leaves the nameless row of a deletion in the feed.
pub(super) fn note_deletion(write: &mut Write<'_>, id: &str, kind: &str, scope: [&str; 3]) -> Stored<()> {
    let seq = write.next_seq();
    let [user, agent, session] = scope;
    write
        .connection
        .prepare_cached(
            "INSERT OR REPLACE INTO deletions (id, kind, user, agent, session, seq) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute((id, kind, user, agent, session, seq))?;
    Ok(())
}

/// An `update` between two versions, as it is stored.
#[derive(Debug)]
pub(super) struct Related {
    evolution: i64,
    pub(super) reason: String,
    confidence: f64,
}

/// The updates of each two versions, by their internal keys.
pub(super) type Updates = BTreeMap<(i64, i64), Related>;

/// The updates between these versions that follow from their chain. Other relations are a model's decision.
pub(super) fn related(connection: &Connection, versions: &[i64]) -> Stored<Updates> {
    let among: BTreeSet<i64> = versions.iter().copied().collect();
    let mut statement = connection.prepare_cached(
        "SELECT older, newer, evolution, reason, confidence FROM evolutions \
         WHERE older = ?1 AND type = 'update' AND decision IS NULL",
    )?;
    let read = |row: &Row<'_>| {
        let related = Related { evolution: row.get(2)?, reason: row.get(3)?, confidence: row.get(4)? };
        Ok(((row.get(0)?, row.get(1)?), related))
    };
    let mut found = BTreeMap::new();
    for version in versions {
        for related in statement.query_map((version,), read)? {
            let (ends, related): ((i64, i64), Related) = related?;
            if among.contains(&ends.1) {
                found.insert(ends, related);
            }
        }
    }
    Ok(found)
}

/// Whether nothing lies between two versions of a chain that stand side by side.
pub(super) fn follows(older: &Computed, newer: &Computed) -> bool {
    older.entity.valid_to == Some(newer.entity.valid_from)
}

/// Keeps one `update` between each two versions that follow one another, but for those of which a model decided how they
/// relate, and the relations that it decided on.
fn relate(
    write: &mut Write<'_>,
    mut before: Updates,
    keys: &[i64],
    computed: &[Computed],
    changed: &mut Changed,
) -> Stored<()> {
    let decided = decisions::decided(write.connection, keys)?;
    decisions::drop_undecided(write, keys, &decided)?;
    let told_by_model: BTreeSet<[i64; 2]> = decided.keys().map(|&(older, newer, _)| [older, newer]).collect();
    let pairs: Vec<_> = keys
        .windows(2)
        .zip(computed.windows(2))
        .filter(|(keys, pair)| follows(&pair[0], &pair[1]) && !told_by_model.contains(&[keys[0], keys[1]]))
        .collect();
    let follow: BTreeSet<(i64, i64)> = pairs.iter().map(|(keys, _)| (keys[0], keys[1])).collect();
    // First of all, because a new row may get the key of one that went with its version.
    for (_, gone) in before.extract_if(.., |ends, _| !follow.contains(ends)) {
        write.connection.prepare_cached("DELETE FROM evolutions WHERE evolution = ?1")?.execute((gone.evolution,))?;
    }
    changed.evolutions.extend(decisions::relate(write, &decided)?);
    for (keys, pair) in pairs {
        let ([source, target], [older, newer]) = (keys, pair) else { continue };
        let Told { reason, confidence, created_at } = told(&older.entity, &newer.entity);
        let found = before.remove(&(*source, *target));
        if found
            .as_ref()
            .is_some_and(|found| found.reason == reason && found.confidence.to_bits() == confidence.to_bits())
        {
            continue;
        }
        let id = evolution_id(older.entity.id, newer.entity.id);
        if found.is_none() {
            changed.evolutions.push(id);
        }
        let seq = write.next_seq();
        write
            .connection
            .prepare_cached(
                "INSERT INTO evolutions (id, seq, user, older, newer, type, reason, confidence, created_at) \
                 VALUES (?1, ?2, ?3, ?4, ?5, 'update', ?6, ?7, ?8) \
                 ON CONFLICT (older, newer, type) DO UPDATE SET seq = excluded.seq, reason = excluded.reason, \
                 confidence = excluded.confidence",
            )?
            .execute((
                rows::text(id),
                seq,
                stored(newer.entity.user.as_deref()),
                source,
                target,
                reason,
                confidence,
                micros(created_at),
            ))?;
    }
    Ok(())
}

/// The id of the `update` between two versions: the same whenever the two follow one another.
fn evolution_id(older: Uuid, newer: Uuid) -> Uuid {
    let mut ends = [0; 32];
    ends[..16].copy_from_slice(older.as_bytes());
    ends[16..].copy_from_slice(newer.as_bytes());
    Uuid::new_v5(&EVOLUTION_NAMESPACE, &ends)
}

/// What an `update` tells of its two versions.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) reason: String,
    pub(super) confidence: f64,
    pub(super) created_at: Timestamp,
}

/// What an `update` tells of two versions as they are given: nothing that these do not hold.
pub(super) fn told(older: &Entity, newer: &Entity) -> Told {
    Told {
        reason: reason(older, newer),
        confidence: newer.confidence,
        created_at: older.recorded_at.max(newer.recorded_at),
    }
}

fn reason(older: &Entity, newer: &Entity) -> String {
    let cut = |text: &str| {
        let short = &text[..text.floor_char_boundary(REASON_CONTENT_BYTES)];
        if short.len() < text.len() { format!("{short}…") } else { short.to_owned() }
    };
    let what = newer.attribute.as_deref().unwrap_or("what was said");
    // With an attribute at its limit this stays below the limit of a reason.
    if older.content == newer.content {
        format!("{what} was updated: “{}”", cut(&newer.content))
    } else {
        format!("{what} changed from “{}” to “{}”", cut(&older.content), cut(&newer.content))
    }
}
