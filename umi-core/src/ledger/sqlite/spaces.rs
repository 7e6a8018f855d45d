//! Embedding spaces, and the pieces and vectors of texts.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::{errors::Stored, rows, writer::Write};
use crate::{
    embed::EmbeddingSpace,
    episode::Kind,
    ledger::{Owner, OwnerText, OwnerVectors, Piece},
};

/// The internal key of a space.
pub(super) type SpaceKey = i64;

/// The internal key of an owner of pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum OwnerKey {
    Episode(i64),
    Sighting(i64),
}

impl OwnerKey {
    /// The values of the columns `episode` and `sighting`.
    pub(super) fn columns(self) -> (Option<i64>, Option<i64>) {
        match self {
            Self::Episode(key) => (Some(key), None),
            Self::Sighting(key) => (None, Some(key)),
        }
    }
}

fn read_space(row: &Row<'_>) -> rusqlite::Result<(SpaceKey, EmbeddingSpace)> {
    Ok((
        row.get("space")?,
        EmbeddingSpace::new(row.get::<_, String>("model")?, rows::unsigned(row, 2)?, row.get::<_, String>("digest")?),
    ))
}

/// The active space.
pub(super) fn active(connection: &Connection) -> Stored<Option<(SpaceKey, EmbeddingSpace)>> {
    Ok(connection
        .prepare_cached("SELECT space, model, dimensions, digest FROM spaces WHERE state = 'active'")?
        .query_row((), read_space)
        .optional()?)
}

/// The key of `space` in whatever state.
pub(super) fn find(connection: &Connection, space: &EmbeddingSpace) -> Stored<Option<SpaceKey>> {
    Ok(connection
        .prepare_cached("SELECT space FROM spaces WHERE model = ?1 AND dimensions = ?2 AND digest = ?3")?
        .query_row((&space.model, rows::number(space.dimensions), &space.digest), |row| row.get(0))
        .optional()?)
}

fn insert(write: &Write<'_>, space: &EmbeddingSpace, state: &str) -> Stored<SpaceKey> {
    write
        .connection
        .prepare_cached("INSERT INTO spaces (model, dimensions, digest, state) VALUES (?1, ?2, ?3, ?4)")?
        .execute((&space.model, rows::number(space.dimensions), &space.digest, state))?;
    Ok(write.connection.last_insert_rowid())
}

/// Makes `space` the active one of a store that has none, and checks that it is.
pub(super) fn claim(write: &Write<'_>, space: &EmbeddingSpace) -> Stored<SpaceKey> {
    match active(write.connection)? {
        Some((key, found)) if found == *space => Ok(key),
        Some((_, found)) => Err(found.mismatch(space).into()),
        None => match find(write.connection, space)? {
            None => insert(write, space, "active"),
            Some(key) => {
                write.connection.execute("UPDATE spaces SET state = 'active' WHERE space = ?1", (key,))?;
                Ok(key)
            }
        },
    }
}

/// Stores the pieces of a new owner. `embeds` says whether they are to have vectors.
pub(super) fn insert_pieces(
    write: &Write<'_>,
    space: SpaceKey,
    owner: OwnerKey,
    pieces: &[Piece],
    embeds: bool,
) -> Stored<()> {
    let (episode, sighting) = owner.columns();
    for piece in pieces {
        write
            .connection
            .prepare_cached(
                "INSERT INTO pieces (episode, sighting, ordinal, lexical, embeds) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute((episode, sighting, piece.ordinal, &piece.lexical, embeds))?;
        if let Some(vector) = &piece.vector {
            write
                .connection
                .prepare_cached("INSERT INTO vectors (space, piece, vector) VALUES (?1, ?2, ?3)")?
                .execute((space, write.connection.last_insert_rowid(), vector))?;
        }
    }
    Ok(())
}

/// Removes an owner's pieces and their vectors of every space.
pub(super) fn delete_pieces(write: &Write<'_>, owner: OwnerKey) -> Stored<()> {
    let (episode, sighting) = owner.columns();
    for sql in [
        "DELETE FROM vectors WHERE piece IN (SELECT piece FROM pieces WHERE episode = ?1 OR sighting = ?2)",
        "DELETE FROM pieces WHERE episode = ?1 OR sighting = ?2",
    ] {
        write.connection.prepare_cached(sql)?.execute((episode, sighting))?;
    }
    Ok(())
}

/// The internal key of an owner; none when it is gone.
pub(super) fn owner_key(connection: &Connection, owner: Owner) -> Stored<Option<OwnerKey>> {
    let id = rows::text(owner.id);
    let key = |sql: &str| connection.prepare_cached(sql)?.query_row((&id,), |row| row.get(0)).optional();
    Ok(match owner.kind {
        Kind::Episode => key("SELECT episode FROM episodes WHERE id = ?1")?.map(OwnerKey::Episode),
        Kind::Fact => key("SELECT sighting FROM sightings WHERE id = ?1")?.map(OwnerKey::Sighting),
    })
}

/// Reads what is embedded of an owner.
pub(super) fn owner_text(connection: &Connection, owner: OwnerKey) -> Stored<Option<OwnerText>> {
    Ok(match owner {
        OwnerKey::Episode(key) => connection
            .prepare_cached(&format!("SELECT {} FROM episodes WHERE episode = ?1", rows::EPISODE))?
            .query_row((key,), rows::episode)
            .optional()?
            .map(OwnerText::Episode),
        OwnerKey::Sighting(key) => connection
            .prepare_cached(&format!(
                "SELECT {} FROM sightings JOIN slots USING (slot) WHERE sighting = ?1",
                rows::SIGHTING
            ))?
            .query_row((key,), rows::sighting)
            .optional()?
            .map(OwnerText::Fact),
    })
}

/// Pieces behind a piece that are to have a vector and have none in a space.
pub(super) const WITHOUT_VECTORS: &str = "SELECT episode, sighting FROM pieces \
     WHERE piece > ?2 AND embeds AND NOT EXISTS (SELECT 1 FROM vectors WHERE vectors.space = ?1 AND vectors.piece = pieces.piece) \
     ORDER BY piece";

/// The last piece that has a vector in a space.
pub(super) const LAST_EMBEDDED: &str = "SELECT coalesce(max(piece), 0) FROM vectors WHERE space = ?1";

/// A key that no space has: nothing has vectors in a space that is not stored yet.
const NO_SPACE: SpaceKey = -1;

/// Owners with a piece that has no vector in `space`: those behind the last piece that has one, and only where they
/// are too few also those before it. So whoever embeds a store in this order looks at every piece about twice.
pub(super) fn without_vectors(connection: &Connection, space: &EmbeddingSpace, limit: usize) -> Stored<Vec<OwnerText>> {
    let key = find(connection, space)?.unwrap_or(NO_SPACE);
    let last: i64 = connection.prepare_cached(LAST_EMBEDDED)?.query_row((key,), |row| row.get(0))?;
    let mut seen = HashSet::with_capacity(limit.min(1_024));
    let mut texts = Vec::with_capacity(limit.min(1_024));
    let mut statement = connection.prepare_cached(WITHOUT_VECTORS)?;
    for after in [last, 0] {
        let mut pieces = statement.query((key, after))?;
        while texts.len() < limit
            && let Some(row) = pieces.next()?
        {
            let owner = match row.get(0)? {
                Some(episode) => OwnerKey::Episode(episode),
                None => OwnerKey::Sighting(row.get(1)?),
            };
            if seen.insert(owner) {
                texts.extend(owner_text(connection, owner)?);
            }
        }
    }
    Ok(texts)
}

/// How many owners lack vectors in `space`.
pub(super) fn count_without_vectors(connection: &Connection, space: &EmbeddingSpace) -> Stored<u64> {
    let key = find(connection, space)?.unwrap_or(NO_SPACE);
    Ok(connection
        .prepare_cached(&format!("SELECT count(*) FROM (SELECT DISTINCT episode, sighting FROM ({WITHOUT_VECTORS}))"))?
        .query_row((key, 0), |row| rows::unsigned(row, 0))?)
}

/// Stores vectors in `space`; a space that is new is noted as one that is being built.
pub(super) fn put(write: &mut Write<'_>, space: &EmbeddingSpace, vectors: &[OwnerVectors]) -> Stored<()> {
    let key = match find(write.connection, space)? {
        Some(key) => key,
        None => insert(write, space, "building")?,
    };
    for owner in vectors {
        put_owner(write, key, owner)?;
    }
    Ok(())
}

/// Stores one owner's vectors and, in the active space, tells the feed of it. A piece without a vector here is to have
/// none: what is composed of a text today may be fewer pieces than once, and nothing would ever embed the others.
pub(super) fn put_owner(write: &mut Write<'_>, space: SpaceKey, vectors: &OwnerVectors) -> Stored<()> {
    let Some(owner) = owner_key(write.connection, vectors.owner)? else { return Ok(()) };
    let (episode, sighting) = owner.columns();
    for (ordinal, vector) in &vectors.vectors {
        write
            .connection
            .prepare_cached(
                "INSERT INTO vectors (space, piece, vector) \
                 SELECT :space, piece, :vector FROM pieces \
                 WHERE (episode = :episode OR sighting = :sighting) AND ordinal = :ordinal \
                 ON CONFLICT (space, piece) DO UPDATE SET vector = excluded.vector",
            )?
            .execute(named_params! {
                ":space": space, ":vector": vector, ":episode": episode, ":sighting": sighting, ":ordinal": ordinal,
            })?;
    }
    write
        .connection
        .prepare_cached(
            "UPDATE pieces SET embeds = 0 WHERE (episode = ?2 OR sighting = ?3) AND NOT EXISTS \
             (SELECT 1 FROM vectors WHERE vectors.space = ?1 AND vectors.piece = pieces.piece)",
        )?
        .execute((space, episode, sighting))?;
    if active(write.connection)?.is_some_and(|(active, _)| active == space) {
        let seq = write.next_seq();
        let (sql, key) = match owner {
            OwnerKey::Episode(key) => ("UPDATE episodes SET seq = ?1 WHERE episode = ?2", key),
            OwnerKey::Sighting(key) => (
                "UPDATE versions SET seq = ?1 WHERE version = (SELECT version FROM sightings WHERE sighting = ?2)",
                key,
            ),
        };
        write.connection.prepare_cached(sql)?.execute((seq, key))?;
    }
    Ok(())
}

/// Makes `space` the active one if every owner has its vectors in it.
pub(super) fn activate(write: &mut Write<'_>, space: &EmbeddingSpace) -> Stored<bool> {
    let connection = write.connection;
    if let Some((_, found)) = active(connection)?
        && found == *space
    {
        return Ok(true);
    }
    if count_without_vectors(connection, space)? > 0 {
        return Ok(false);
    }
    let key = match find(connection, space)? {
        Some(key) => key,
        None => insert(write, space, "building")?, // a store without a text
    };
    connection.execute("DELETE FROM vectors WHERE space <> ?1", (key,))?;
    connection.execute("DELETE FROM spaces WHERE space <> ?1", (key,))?;
    connection.execute("UPDATE spaces SET state = 'active' WHERE space = ?1", (key,))?;
    // Jobs that waited for a vector have it now.
    connection.execute("DELETE FROM jobs WHERE kind = 'embed'", ())?;
    // Every row has another vector now, so every row moves to the end of the feed.
    for (sql, last) in [
        ("UPDATE episodes SET seq = ?1 + episode", "SELECT coalesce(max(seq), 0) FROM episodes"),
        ("UPDATE versions SET seq = ?1 + version", "SELECT coalesce(max(seq), 0) FROM versions"),
    ] {
        connection.execute(sql, (write.seq(),))?;
        let seq = connection.query_row(last, (), |row| row.get(0))?;
        write.advance_to(seq);
    }
    Ok(true)
}
