//! Values from rows, and what rows hold of values.

use std::str::FromStr;

use jiff::Timestamp;
use rusqlite::{Row, RowIndex, types::Type};
use uuid::Uuid;

use crate::{
    entity::{Entity, EntityType, EvolutionRelation},
    episode::Episode,
    metadata::Metadata,
    scope::restored,
    world::to_microseconds,
};

type Read<T> = rusqlite::Result<T>;

/// A time as it is stored.
pub(super) fn micros(time: Timestamp) -> i64 {
    to_microseconds(time).as_microsecond()
}

/// An id as it is stored.
pub(super) fn text(id: Uuid) -> String {
    id.as_hyphenated().to_string()
}

/// Reads a text column as the value that it names.
pub(super) fn parsed<T>(row: &Row<'_>, column: impl RowIndex) -> Read<T>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let index = column.idx(row.as_ref())?;
    let found = row.get_ref(index)?.as_str()?;
    found.parse().map_err(|error| rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(error)))
}

/// Reads a type as this library writes it: no other spelling has to be looked for, which would cost an allocation.
pub(super) fn entity_type(row: &Row<'_>, index: usize) -> Read<EntityType> {
    let found = row.get_ref(index)?.as_str()?;
    match EntityType::ALL.into_iter().find(|known| known.as_str() == found) {
        Some(known) => Ok(known),
        None => parsed(row, index),
    }
}

/// Reads a time.
pub(super) fn time(row: &Row<'_>, column: impl RowIndex) -> Read<Timestamp> {
    let index = column.idx(row.as_ref())?;
    Timestamp::from_microsecond(row.get(index)?)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(index, Type::Integer, Box::new(error)))
}

/// Reads a time that may be missing.
pub(super) fn maybe_time(row: &Row<'_>, column: impl RowIndex) -> Read<Option<Timestamp>> {
    let index = column.idx(row.as_ref())?;
    match row.get::<_, Option<i64>>(index)? {
        None => Ok(None),
        Some(_) => time(row, index).map(Some),
    }
}

/// Reads an id that may be missing.
pub(super) fn maybe_id(row: &Row<'_>, column: impl RowIndex) -> Read<Option<Uuid>> {
    let index = column.idx(row.as_ref())?;
    match row.get_ref(index)?.as_str_or_null()? {
        None => Ok(None),
        Some(_) => parsed(row, index).map(Some),
    }
}

/// Reads metadata, which was checked when it was written.
pub(super) fn metadata(row: &Row<'_>, column: impl RowIndex) -> Read<Metadata> {
    let index = column.idx(row.as_ref())?;
    let json = row.get_ref(index)?.as_str()?;
    if json == "{}" {
        return Ok(Metadata::default());
    }
    Metadata::parse(json).map_err(|error| rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(error)))
}

/// Reads a user, agent or session.
pub(super) fn named(row: &Row<'_>, column: impl RowIndex) -> Read<Option<String>> {
    Ok(restored(row.get(column)?))
}

/// The columns that [`episode`] reads, by their places: a search by name costs more than the rest of a row.
pub(super) const EPISODE: &str = "episodes.id, episodes.text, episodes.role, episodes.name, episodes.at, \
     episodes.recorded_at, episodes.user, episodes.agent, episodes.session, episodes.source, episodes.metadata, \
     episodes.importance";

/// Reads an episode.
pub(super) fn episode(row: &Row<'_>) -> Read<Episode> {
    Ok(Episode {
        id: parsed(row, 0)?,
        text: row.get(1)?,
        role: row.get(2)?,
        name: row.get(3)?,
        at: time(row, 4)?,
        recorded_at: time(row, 5)?,
        user: named(row, 6)?,
        agent: named(row, 7)?,
        session: named(row, 8)?,
        source: row.get(9)?,
        metadata: metadata(row, 10)?,
        importance: row.get(11)?,
    })
}

/// The columns that [`version`] reads, by their places.
pub(super) const VERSION: &str = "versions.id, versions.type, versions.name, versions.attribute, versions.content, \
     versions.metadata, versions.confidence, versions.importance, versions.event_time, versions.document_time, \
     versions.source, versions.valid_from, versions.valid_to, versions.last_seen, versions.recorded_at, \
     versions.updated_at, versions.episode_id, versions.user, versions.agent, versions.session";

/// Reads a version of a fact.
pub(super) fn version(row: &Row<'_>) -> Read<Entity> {
    Ok(Entity {
        id: parsed(row, 0)?,
        entity_type: entity_type(row, 1)?,
        name: row.get(2)?,
        attribute: row.get(3)?,
        content: row.get(4)?,
        metadata: metadata(row, 5)?,
        confidence: row.get(6)?,
        importance: row.get(7)?,
        event_time: maybe_time(row, 8)?,
        document_time: maybe_time(row, 9)?,
        source: row.get(10)?,
        valid_from: time(row, 11)?,
        valid_to: maybe_time(row, 12)?,
        last_seen: time(row, 13)?,
        recorded_at: time(row, 14)?,
        updated_at: time(row, 15)?,
        episode_id: maybe_id(row, 16)?,
        user: named(row, 17)?,
        agent: named(row, 18)?,
        session: named(row, 19)?,
    })
}

/// The columns that [`sighting`] reads, in the places of [`VERSION`], of `sightings JOIN slots USING (slot)`.
pub(super) const SIGHTING: &str = "sightings.id, slots.type, sightings.name, sightings.attribute, sightings.content, \
     sightings.metadata, sightings.confidence, sightings.importance, sightings.event_time, sightings.document_time, \
     sightings.source, sightings.valid_from, NULL AS valid_to, sightings.valid_from AS last_seen, \
     sightings.recorded_at, sightings.recorded_at AS updated_at, sightings.episode_id, sightings.user, \
     sightings.agent, sightings.session";

/// Reads a saying of a fact as an entity.
pub(super) fn sighting(row: &Row<'_>) -> Read<Entity> {
    version(row)
}

/// The columns that [`evolution`] reads, by their places, of `evolutions` joined with its two versions as `first` and
/// `second`.
pub(super) const EVOLUTION: &str = "evolutions.id, first.id AS source_id, second.id AS target_id, evolutions.type, \
     evolutions.reason, evolutions.confidence, evolutions.created_at";

/// Reads a relation.
pub(super) fn evolution(row: &Row<'_>) -> Read<EvolutionRelation> {
    Ok(EvolutionRelation {
        id: parsed(row, 0)?,
        source_id: row.get(1)?,
        target_id: row.get(2)?,
        evolution_type: parsed(row, 3)?,
        reason: row.get(4)?,
        confidence: row.get(5)?,
        created_at: time(row, 6)?,
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
