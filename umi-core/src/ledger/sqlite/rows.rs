//! Values from rows, and what rows hold of values.

use std::str::FromStr;

use jiff::Timestamp;
use rusqlite::{Row, types::Type};
use uuid::Uuid;

use crate::{
    entity::{Entity, EvolutionRelation},
    episode::Episode,
    metadata::Metadata,
    scope::restored,
};

type Read<T> = rusqlite::Result<T>;

/// A time as it is stored.
pub(super) fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

/// An id as it is stored.
pub(super) fn text(id: Uuid) -> String {
    id.as_hyphenated().to_string()
}

/// Reads a text column as the value that it names.
pub(super) fn parsed<T>(row: &Row<'_>, column: &str) -> Read<T>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let index = row.as_ref().column_index(column)?;
    let found = row.get_ref(index)?.as_str()?;
    found.parse().map_err(|error| rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(error)))
}

/// Reads a time.
pub(super) fn time(row: &Row<'_>, column: &str) -> Read<Timestamp> {
    let index = row.as_ref().column_index(column)?;
    Timestamp::from_microsecond(row.get(index)?)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(index, Type::Integer, Box::new(error)))
}

/// Reads a time that may be missing.
pub(super) fn maybe_time(row: &Row<'_>, column: &str) -> Read<Option<Timestamp>> {
    match row.get::<_, Option<i64>>(column)? {
        None => Ok(None),
        Some(_) => time(row, column).map(Some),
    }
}

/// Reads an id that may be missing.
pub(super) fn maybe_id(row: &Row<'_>, column: &str) -> Read<Option<Uuid>> {
    match row.get::<_, Option<String>>(column)? {
        None => Ok(None),
        Some(_) => parsed(row, column).map(Some),
    }
}

/// Reads metadata, which was checked when it was written.
pub(super) fn metadata(row: &Row<'_>, column: &str) -> Read<Metadata> {
    let index = row.as_ref().column_index(column)?;
    let json = row.get_ref(index)?.as_str()?;
    if json == "{}" {
        return Ok(Metadata::default());
    }
    Metadata::parse(json).map_err(|error| rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(error)))
}

/// Reads a user, agent or session.
pub(super) fn named(row: &Row<'_>, column: &str) -> Read<Option<String>> {
    Ok(restored(row.get(column)?))
}

/// The columns that [`episode`] reads.
pub(super) const EPISODE: &str = "episodes.id, episodes.text, episodes.role, episodes.name, episodes.at, \
     episodes.recorded_at, episodes.user, episodes.agent, episodes.session, episodes.source, episodes.metadata, \
     episodes.importance";

/// Reads an episode.
pub(super) fn episode(row: &Row<'_>) -> Read<Episode> {
    Ok(Episode {
        id: parsed(row, "id")?,
        text: row.get("text")?,
        role: row.get("role")?,
        name: row.get("name")?,
        at: time(row, "at")?,
        recorded_at: time(row, "recorded_at")?,
        user: named(row, "user")?,
        agent: named(row, "agent")?,
        session: named(row, "session")?,
        source: row.get("source")?,
        metadata: metadata(row, "metadata")?,
        importance: row.get("importance")?,
    })
}

/// The columns that [`version`] reads.
pub(super) const VERSION: &str = "versions.id, versions.type, versions.name, versions.attribute, versions.content, \
     versions.metadata, versions.confidence, versions.importance, versions.event_time, versions.document_time, \
     versions.source, versions.valid_from, versions.valid_to, versions.last_seen, versions.recorded_at, \
     versions.updated_at, versions.episode_id, versions.user, versions.agent, versions.session";

/// Reads a version of a fact.
pub(super) fn version(row: &Row<'_>) -> Read<Entity> {
    Ok(Entity {
        id: parsed(row, "id")?,
        entity_type: parsed(row, "type")?,
        name: row.get("name")?,
        attribute: row.get("attribute")?,
        content: row.get("content")?,
        metadata: metadata(row, "metadata")?,
        confidence: row.get("confidence")?,
        importance: row.get("importance")?,
        event_time: maybe_time(row, "event_time")?,
        document_time: maybe_time(row, "document_time")?,
        source: row.get("source")?,
        valid_from: time(row, "valid_from")?,
        valid_to: maybe_time(row, "valid_to")?,
        last_seen: time(row, "last_seen")?,
        recorded_at: time(row, "recorded_at")?,
        updated_at: time(row, "updated_at")?,
        episode_id: maybe_id(row, "episode_id")?,
        user: named(row, "user")?,
        agent: named(row, "agent")?,
        session: named(row, "session")?,
    })
}

/// The columns that [`sighting`] reads, of `sightings JOIN slots USING (slot)`.
pub(super) const SIGHTING: &str = "sightings.id, slots.type, sightings.name, sightings.attribute, sightings.content, \
     sightings.metadata, sightings.confidence, sightings.importance, sightings.event_time, sightings.document_time, \
     sightings.source, sightings.valid_from, NULL AS valid_to, sightings.valid_from AS last_seen, \
     sightings.recorded_at, sightings.recorded_at AS updated_at, sightings.episode_id, sightings.user, \
     sightings.agent, sightings.session";

/// Reads a saying of a fact as an entity.
pub(super) fn sighting(row: &Row<'_>) -> Read<Entity> {
    version(row)
}

/// The columns that [`evolution`] reads, of `evolutions` joined with its two versions as `first` and `second`.
pub(super) const EVOLUTION: &str = "evolutions.id, first.id AS source_id, second.id AS target_id, evolutions.type, \
     evolutions.reason, evolutions.confidence, evolutions.created_at";

/// Reads a relation.
pub(super) fn evolution(row: &Row<'_>) -> Read<EvolutionRelation> {
    Ok(EvolutionRelation {
        id: parsed(row, "id")?,
        source_id: row.get("source_id")?,
        target_id: row.get("target_id")?,
        evolution_type: parsed(row, "type")?,
        reason: row.get("reason")?,
        confidence: row.get("confidence")?,
        created_at: time(row, "created_at")?,
    })
}

/// A count as SQL takes it.
pub(super) fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Reads a count, a version or another number that is never negative.
pub(super) fn unsigned<T: TryFrom<i64>>(row: &Row<'_>, index: usize) -> Read<T> {
    let found: i64 = row.get(index)?;
    T::try_from(found).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(index, found))
}
