//! The change feed: what happened in a tenant behind a place.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row, named_params};
use uuid::Uuid;

use super::{
    errors::Stored,
    rows,
    spaces::{self, OwnerKey, SpaceKey},
};
use crate::{
    entity::EntityType,
    episode::Kind,
    error::Error,
    ledger::{Changes, IndexRow},
    scope::{Scope, restored},
};

/// The last place in the feed.
pub(super) fn head(connection: &Connection) -> Stored<i64> {
    Ok(connection.prepare_cached("SELECT seq FROM counter")?.query_row((), |row| row.get(0))?)
}

/// What a place in the feed holds.
enum Change {
    Row(Box<IndexRow>, Key),
    Removed(Uuid),
}

enum Key {
    Episode(i64),
    Version(i64),
}

/// At most `limit` changes behind `after`, in order.
pub(super) fn changes(connection: &Connection, scope: &Scope, after: i64, limit: usize) -> Stored<Changes> {
    let (user, ..) = scope.bound();
    let limit = limit.max(1);
    let mut found: BTreeMap<i64, Change> = BTreeMap::new();
    for (sql, read) in SOURCES {
        let mut statement = connection.prepare_cached(sql)?;
        let values = named_params! {
            ":user": user, ":after": after, ":limit": rows::number(limit.saturating_add(1)),
        };
        for change in statement.query_map(values, |row| Ok((row.get("seq")?, read(row)?)))? {
            let (seq, change) = change?;
            found.insert(seq, change);
        }
    }
    let has_more = found.len() > limit;
    let mut changes = Changes { has_more, head: after.max(head(connection)?), ..Changes::default() };
    let space = spaces::active(connection)?.map(|(space, _)| space);
    for (seq, change) in found.into_iter().take(limit) {
        if has_more {
            changes.head = seq;
        }
        match change {
            Change::Removed(id) => changes.removed.push(id),
            Change::Row(mut row, key) => {
                complete(connection, space, &mut row, &key)?;
                changes.rows.push(*row);
            }
        }
    }
    Ok(changes)
}

type Read = fn(&Row<'_>) -> rusqlite::Result<Change>;

/// Each table of the feed with its reader. Every `seq` is in one of them at most.
const SOURCES: [(&str, Read); 3] = [
    (
        "SELECT episode, id, seq, agent, session, role, name, at, importance FROM episodes \
         WHERE user = :user AND seq > :after ORDER BY seq LIMIT :limit",
        episode,
    ),
    (
        "SELECT version, id, seq, type, name, valid_from, valid_to, importance FROM versions \
         WHERE user = :user AND seq > :after ORDER BY seq LIMIT :limit",
        version,
    ),
    ("SELECT id, seq FROM deletions WHERE user = :user AND seq > :after ORDER BY seq LIMIT :limit", deletion),
];

fn episode(row: &Row<'_>) -> rusqlite::Result<Change> {
    let index_row = IndexRow {
        id: rows::parsed(row, "id")?,
        kind: Kind::Episode,
        seq: row.get("seq")?,
        origins: vec![(rows::named(row, "agent")?, rows::named(row, "session")?)],
        role: row.get("role")?,
        name: row.get("name")?,
        entity_type: EntityType::Note,
        from: rows::time(row, "at")?,
        to: None,
        importance: row.get("importance")?,
        pieces: Vec::new(),
    };
    Ok(Change::Row(Box::new(index_row), Key::Episode(row.get("episode")?)))
}

fn version(row: &Row<'_>) -> rusqlite::Result<Change> {
    let index_row = IndexRow {
        id: rows::parsed(row, "id")?,
        kind: Kind::Fact,
        seq: row.get("seq")?,
        origins: Vec::new(),
        role: String::new(),
        name: row.get("name")?,
        entity_type: rows::parsed(row, "type")?,
        from: rows::time(row, "valid_from")?,
        to: rows::maybe_time(row, "valid_to")?,
        importance: row.get("importance")?,
        pieces: Vec::new(),
    };
    Ok(Change::Row(Box::new(index_row), Key::Version(row.get("version")?)))
}

fn deletion(row: &Row<'_>) -> rusqlite::Result<Change> {
    Ok(Change::Removed(rows::parsed(row, "id")?))
}

/// Adds what lies in other tables.
fn complete(connection: &Connection, space: Option<SpaceKey>, row: &mut IndexRow, key: &Key) -> Stored<()> {
    let owner = match key {
        Key::Episode(episode) => OwnerKey::Episode(*episode),
        Key::Version(version) => {
            let mut statement = connection.prepare_cached(
                "SELECT DISTINCT agent, session FROM sightings WHERE version = ?1 ORDER BY agent, session",
            )?;
            row.origins = statement
                .query_map((version,), |row| Ok((restored(row.get(0)?), restored(row.get(1)?))))?
                .collect::<rusqlite::Result<_>>()?;
            spaces::representative(connection, *version)?
                .ok_or_else(|| Error::internal(format!("the version `{}` has no saying", row.id)))?
        }
    };
    row.pieces = spaces::pieces(connection, space, owner)?;
    Ok(())
}
