//! The change feed: what happened in a tenant behind a place.

use rusqlite::{Connection, Row, Rows, named_params};
use uuid::Uuid;

use super::{
    errors::{self, Stored},
    rows, spaces,
};
use crate::{
    entity::EntityType,
    episode::Kind,
    ledger::{Changes, IndexRow, Piece},
    scope::{Scope, restored},
};

/// The last place in the feed.
pub(super) fn head(connection: &Connection) -> Stored<i64> {
    Ok(connection.prepare_cached("SELECT seq FROM counter")?.query_row((), |row| row.get(0))?)
}

/// Episodes, a row for each of their pieces. No limit: whoever reads them stops where there are enough, and SQLite
/// has looked at nothing behind that.
pub(super) const EPISODES: &str = "SELECT episodes.seq, ordinal, lexical, vector, episodes.id, agent, session, role, \
     name, at, importance \
     FROM episodes LEFT JOIN pieces ON pieces.episode = episodes.episode \
     LEFT JOIN vectors ON vectors.space = :space AND vectors.piece = pieces.piece \
     WHERE user = :user AND episodes.seq > :after ORDER BY episodes.seq";

/// Versions, a row for each of their sayings. The piece of the first saying stands for the version.
pub(super) const VERSIONS: &str = "SELECT versions.seq, ordinal, lexical, vector, versions.id, sightings.agent, \
     sightings.session, versions.type, versions.name, versions.valid_from, versions.valid_to, versions.importance \
     FROM versions LEFT JOIN sightings ON sightings.version = versions.version \
     LEFT JOIN pieces ON pieces.sighting = sightings.sighting AND sightings.seq = versions.said_seq \
     LEFT JOIN vectors ON vectors.space = :space AND vectors.piece = pieces.piece \
     WHERE versions.user = :user AND versions.seq > :after ORDER BY versions.seq";

/// Rows that are gone.
pub(super) const DELETIONS: &str = "SELECT seq, id FROM deletions WHERE user = :user AND seq > :after ORDER BY seq";

/// A page that holds about so many bytes is full, whatever the number of its rows.
const PAGE_BYTES: usize = 2 * 1024 * 1024;

/// The next tenant behind `:after`: one step in each of two indexes, however many rows a tenant has.
const NEXT_TENANT: &str = "SELECT min(user) FROM (SELECT min(user) AS user FROM episodes WHERE user > :after \
     UNION ALL SELECT min(user) FROM versions WHERE user > :after)";
const FIRST_TENANT: &str =
    "SELECT min(user) FROM (SELECT min(user) AS user FROM episodes UNION ALL SELECT min(user) FROM versions)";

/// Tenants that have an episode or a fact, in their order.
pub(super) fn tenants(connection: &Connection, after: Option<&str>, limit: usize) -> Stored<Vec<String>> {
    let mut found: Vec<String> = Vec::new();
    while found.len() < limit {
        let next: Option<String> = match found.last().map(String::as_str).or(after) {
            None => connection.prepare_cached(FIRST_TENANT)?.query_row((), |row| row.get(0))?,
            Some(after) => connection
                .prepare_cached(NEXT_TENANT)?
                .query_row(named_params! { ":after": after }, |row| row.get(0))?,
        };
        let Some(next) = next else { break };
        found.push(next);
    }
    Ok(found)
}

/// At most `limit` changes behind `after`, in order, and fewer where they are large.
pub(super) fn changes(connection: &Connection, scope: &Scope, after: i64, limit: usize) -> Stored<Changes> {
    let (user, ..) = scope.bound();
    let limit = limit.max(1);
    let space = spaces::active(connection)?.map(|(space, _)| space);
    let bound = named_params! { ":space": space, ":user": user, ":after": after };
    let mut episodes = connection.prepare_cached(EPISODES)?;
    let mut versions = connection.prepare_cached(VERSIONS)?;
    let mut deletions = connection.prepare_cached(DELETIONS)?;
    let mut episodes = Stream::new(episodes.query(bound)?, episode);
    let mut versions = Stream::new(versions.query(bound)?, version);
    let mut deletions = deletions.query(named_params! { ":user": user, ":after": after })?;

    let mut changes = Changes::default();
    let mut heads = (episodes.next()?, versions.next()?, deletion(&mut deletions)?);
    let (mut last, mut bytes) = (after, 0);
    for taken in 0.. {
        // Every `seq` is in one of the three at most.
        let seqs =
            [heads.0.as_ref().map(|row| row.seq), heads.1.as_ref().map(|row| row.seq), heads.2.map(|gone| gone.0)];
        let Some(seq) = seqs.into_iter().flatten().min() else { break };
        if taken == limit || bytes >= PAGE_BYTES {
            changes.has_more = true;
            break;
        }
        last = seq;
        let row = heads.0.as_ref().filter(|_| seqs[0] == Some(seq)).or(heads.1.as_ref());
        bytes += row.filter(|row| row.seq == seq).map_or(0, row_bytes);
        if seqs[0] == Some(seq) {
            changes.rows.extend(std::mem::replace(&mut heads.0, episodes.next()?));
        } else if seqs[1] == Some(seq) {
            changes.rows.extend(std::mem::replace(&mut heads.1, versions.next()?));
        } else {
            let gone = std::mem::replace(&mut heads.2, deletion(&mut deletions)?);
            changes.removed.extend(gone.map(|(_, id)| id));
        }
    }
    changes.head = if changes.has_more { last } else { after.max(head(connection)?) };
    Ok(changes)
}

fn row_bytes(row: &IndexRow) -> usize {
    row.pieces.iter().map(|piece| piece.lexical.len() + piece.vector.as_ref().map_or(0, Vec::len)).sum()
}

/// Reads a row's own columns: everything but its pieces and, for a version, its origins behind the first one.
type Begin = fn(&Row<'_>) -> rusqlite::Result<IndexRow>;

/// Index rows from the joined rows of a query: those of one `seq` follow one another and are one index row.
struct Stream<'s> {
    rows: Rows<'s>,
    begin: Begin,
    /// The row whose parts are being read.
    open: Option<IndexRow>,
}

impl<'s> Stream<'s> {
    fn new(rows: Rows<'s>, begin: Begin) -> Self {
        Self { rows, begin, open: None }
    }

    fn next(&mut self) -> Stored<Option<IndexRow>> {
        while let Some(row) = self.rows.next()? {
            let seq: i64 = row.get(0)?;
            if let Some(open) = self.open.as_mut().filter(|open| open.seq == seq) {
                if open.kind == Kind::Fact {
                    open.origins.extend(origin(row)?);
                }
                open.pieces.extend(piece(row)?);
                continue;
            }
            let mut new = (self.begin)(row)?;
            new.origins.extend(origin(row)?);
            new.pieces.extend(piece(row)?);
            if let Some(done) = self.open.replace(new) {
                return finished(done).map(Some);
            }
        }
        self.open.take().map(finished).transpose()
    }
}

/// A row that has all its parts, in their order.
fn finished(mut row: IndexRow) -> Stored<IndexRow> {
    if row.origins.is_empty() {
        return Err(errors::damaged(format!("the version `{}` has no saying", row.id)));
    }
    row.origins.sort_unstable();
    row.origins.dedup();
    row.pieces.sort_unstable_by_key(|piece| piece.ordinal);
    Ok(row)
}

/// The agent and session of a joined row; none for a version without a saying.
fn origin(row: &Row<'_>) -> rusqlite::Result<Option<(Option<String>, Option<String>)>> {
    let Some(agent) = row.get::<_, Option<String>>(5)? else { return Ok(None) };
    Ok(Some((restored(agent), restored(row.get(6)?))))
}

/// The piece of a joined row, if it has one.
fn piece(row: &Row<'_>) -> rusqlite::Result<Option<Piece>> {
    let Some(ordinal) = row.get(1)? else { return Ok(None) };
    Ok(Some(Piece { ordinal, lexical: row.get(2)?, vector: row.get(3)? }))
}

fn episode(row: &Row<'_>) -> rusqlite::Result<IndexRow> {
    Ok(IndexRow {
        id: rows::parsed(row, 4)?,
        kind: Kind::Episode,
        seq: row.get(0)?,
        origins: Vec::with_capacity(1),
        role: row.get(7)?,
        name: row.get(8)?,
        entity_type: EntityType::Note,
        from: rows::time(row, 9)?,
        to: None,
        importance: row.get(10)?,
        pieces: Vec::with_capacity(1),
    })
}

fn version(row: &Row<'_>) -> rusqlite::Result<IndexRow> {
    Ok(IndexRow {
        id: rows::parsed(row, 4)?,
        kind: Kind::Fact,
        seq: row.get(0)?,
        origins: Vec::with_capacity(1),
        role: String::new(),
        name: row.get(8)?,
        entity_type: rows::entity_type(row, 7)?,
        from: rows::time(row, 9)?,
        to: rows::maybe_time(row, 10)?,
        importance: row.get(11)?,
        pieces: Vec::with_capacity(1),
    })
}

fn deletion(rows: &mut Rows<'_>) -> Stored<Option<(i64, Uuid)>> {
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some((row.get(0)?, rows::parsed(row, 1)?)))
}
