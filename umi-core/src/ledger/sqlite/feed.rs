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
    let streams = (
        Stream::new(episodes.query(bound)?, episode),
        Stream::new(versions.query(bound)?, version),
        deletions.query(named_params! { ":user": user, ":after": after })?,
    );
    let mut changes = Changes::default();
    let end = merge(streams, after, limit, |_, row| changes.rows.push(row), &mut changes.removed)?;
    changes.has_more = end.is_some();
    changes.head = end.map_or_else(|| Ok(after.max(head(connection)?)), Stored::Ok)?;
    Ok(changes)
}

/// Takes at most `limit` changes of the three streams in their common order. Gives the last one's place if there are
/// more.
fn merge(
    (mut episodes, mut versions, mut deletions): (Stream<'_>, Stream<'_>, Rows<'_>),
    after: i64,
    limit: usize,
    mut take: impl FnMut(String, IndexRow),
    removed: &mut Vec<Uuid>,
) -> Stored<Option<i64>> {
    let mut heads = (episodes.next()?, versions.next()?, deletion(&mut deletions)?);
    let (mut last, mut bytes) = (after, 0);
    for taken in 0.. {
        // Every `seq` is in one of the three at most.
        let seqs =
            [heads.0.as_ref().map(|row| row.1.seq), heads.1.as_ref().map(|row| row.1.seq), heads.2.map(|gone| gone.0)];
        let Some(seq) = seqs.into_iter().flatten().min() else { break };
        if taken == limit || bytes >= PAGE_BYTES {
            return Ok(Some(last));
        }
        last = seq;
        let row = if seqs[0] == Some(seq) {
            std::mem::replace(&mut heads.0, episodes.next()?)
        } else if seqs[1] == Some(seq) {
            std::mem::replace(&mut heads.1, versions.next()?)
        } else {
            let gone = std::mem::replace(&mut heads.2, deletion(&mut deletions)?);
            removed.extend(gone.map(|(_, id)| id));
            None
        };
        if let Some((user, row)) = row {
            bytes += row_bytes(&row);
            take(user, row);
        }
    }
    Ok(None)
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
    /// Where the user stands, if it is asked for.
    user: Option<usize>,
    /// The row whose parts are being read, and its user.
    open: Option<(String, IndexRow)>,
}

impl<'s> Stream<'s> {
    fn new(rows: Rows<'s>, begin: Begin) -> Self {
        Self { rows, begin, user: None, open: None }
    }

    fn next(&mut self) -> Stored<Option<(String, IndexRow)>> {
        while let Some(row) = self.rows.next()? {
            let seq: i64 = row.get(0)?;
            if let Some((_, open)) = self.open.as_mut().filter(|(_, open)| open.seq == seq) {
                if open.kind == Kind::Fact {
                    open.origins.extend(origin(row)?);
                }
                open.pieces.extend(piece(row)?);
                continue;
            }
            let mut new = (self.begin)(row)?;
            new.origins.extend(origin(row)?);
            new.pieces.extend(piece(row)?);
            let user = self.user.map_or(Ok(String::new()), |column| row.get(column))?;
            if let Some((user, done)) = self.open.replace((user, new)) {
                return Ok(Some((user, finished(done)?)));
            }
        }
        let last = self.open.take();
        last.map(|(user, done)| Ok((user, finished(done)?))).transpose()
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

#[cfg(all(test, feature = "lance"))]
pub(super) use all::{
    ALL_DELETIONS, ALL_EPISODES, ALL_VERSIONS, EPISODE_AFTER, EPISODE_BEFORE, EPISODE_BY_ID, VERSION_BY_ID,
};
#[cfg(feature = "lance")]
pub(super) use all::{all_changes, by_owners, neighbours};

/// What an index beside the ledger reads.
#[cfg(feature = "lance")]
mod all {
    use std::collections::HashSet;

    use rusqlite::{Connection, ToSql, named_params};
    use uuid::Uuid;

    use super::{Stored, Stream, episode, head, merge, rows, spaces, version};
    use crate::{
        episode::Kind,
        ledger::{AllChanges, IndexRow, Owner, TurnPlace},
        scope::Scope,
    };

    /// The place of the user behind the columns that are read of an episode and of a version.
    const EPISODE_USER: usize = 11;
    const VERSION_USER: usize = 12;
    /// How many neighbours on one side lend to a turn.
    const NEIGHBOURS: usize = 2;

    macro_rules! episodes {
        ($condition:literal) => {
            concat!(
                "SELECT episodes.seq, ordinal, lexical, vector, episodes.id, agent, session, role, name, at, \
                 importance, user FROM episodes LEFT JOIN pieces ON pieces.episode = episodes.episode \
                 LEFT JOIN vectors ON vectors.space = :space AND vectors.piece = pieces.piece WHERE ",
                $condition
            )
        };
    }
    macro_rules! versions {
        ($condition:literal) => {
            concat!(
                "SELECT versions.seq, ordinal, lexical, vector, versions.id, sightings.agent, sightings.session, \
                 versions.type, versions.name, versions.valid_from, versions.valid_to, versions.importance, \
                 versions.user FROM versions LEFT JOIN sightings ON sightings.version = versions.version \
                 LEFT JOIN pieces ON pieces.sighting = sightings.sighting AND sightings.seq = versions.said_seq \
                 LEFT JOIN vectors ON vectors.space = :space AND vectors.piece = pieces.piece WHERE ",
                $condition
            )
        };
    }

    /// The same as those of one tenant, of all of them.
    pub(in super::super) const ALL_EPISODES: &str = episodes!("episodes.seq > :after ORDER BY episodes.seq");
    pub(in super::super) const ALL_VERSIONS: &str = versions!("versions.seq > :after ORDER BY versions.seq");
    pub(in super::super) const ALL_DELETIONS: &str = "SELECT seq, id FROM deletions WHERE seq > :after ORDER BY seq";

    /// One row of a tenant.
    pub(in super::super) const EPISODE_BY_ID: &str = episodes!("episodes.id = :id AND user = :user");
    pub(in super::super) const VERSION_BY_ID: &str = versions!("versions.id = :id AND versions.user = :user");

    /// The episodes of a session around a time, the closest first. The scope's predicate, with the session that is asked
    /// for in the place of the scope's own, which is none or the same.
    pub(in super::super) const EPISODE_BEFORE: &str = episodes!(
        "user = :user AND (:agent IS NULL OR agent = :agent) AND session = :session AND session <> '' \
         AND (at, episodes.id) < (:at, :id) AND at >= :bound ORDER BY at DESC, episodes.id DESC"
    );
    pub(in super::super) const EPISODE_AFTER: &str = episodes!(
        "user = :user AND (:agent IS NULL OR agent = :agent) AND session = :session AND session <> '' \
         AND (at, episodes.id) > (:at, :id) AND at <= :bound ORDER BY at, episodes.id"
    );

    /// At most `limit` changes of all tenants behind `after`, in order, and fewer where they are large.
    pub(in super::super) fn all_changes(connection: &Connection, after: i64, limit: usize) -> Stored<AllChanges> {
        let space = spaces::active(connection)?.map(|(space, _)| space);
        let bound = named_params! { ":space": space, ":after": after };
        let mut episodes = connection.prepare_cached(ALL_EPISODES)?;
        let mut versions = connection.prepare_cached(ALL_VERSIONS)?;
        let mut deletions = connection.prepare_cached(ALL_DELETIONS)?;
        let streams = (
            Stream { user: Some(EPISODE_USER), ..Stream::new(episodes.query(bound)?, episode) },
            Stream { user: Some(VERSION_USER), ..Stream::new(versions.query(bound)?, version) },
            deletions.query(named_params! { ":after": after })?,
        );
        let mut changes = AllChanges::default();
        let take = |user, row| changes.rows.push((user, row));
        let end = merge(streams, after, limit.max(1), take, &mut changes.removed)?;
        changes.has_more = end.is_some();
        changes.head = end.map_or_else(|| Ok(after.max(head(connection)?)), Stored::Ok)?;
        Ok(changes)
    }

    /// The rows of some owners.
    pub(in super::super) fn by_owners(
        connection: &Connection,
        scope: &Scope,
        owners: &[Owner],
    ) -> Stored<Vec<IndexRow>> {
        let (user, ..) = scope.bound();
        let space = spaces::active(connection)?.map(|(space, _)| space);
        let mut episodes = connection.prepare_cached(EPISODE_BY_ID)?;
        let mut versions = connection.prepare_cached(VERSION_BY_ID)?;
        let mut found = Vec::with_capacity(owners.len());
        for owner in owners {
            let id = rows::text(owner.id);
            let bound = named_params! { ":space": space, ":user": user, ":id": id };
            let row = match owner.kind {
                Kind::Episode => Stream::new(episodes.query(bound)?, episode).next()?,
                Kind::Fact => Stream::new(versions.query(bound)?, version).next()?,
            };
            found.extend(row.map(|(_, row)| row));
        }
        Ok(found)
    }

    /// The rows next to some turns, each once.
    pub(in super::super) fn neighbours(
        connection: &Connection,
        scope: &Scope,
        turns: &[TurnPlace],
        pause: i64,
    ) -> Stored<Vec<IndexRow>> {
        let (user, agent, own) = scope.bound();
        let space = spaces::active(connection)?.map(|(space, _)| space);
        let mut seen: HashSet<Uuid> = HashSet::new();
        let mut found = Vec::new();
        for turn in turns.iter().filter(|turn| own.is_none_or(|own| own == turn.session)) {
            let (at, id) = (rows::micros(turn.at), rows::text(turn.id));
            for (sql, bound) in [(EPISODE_BEFORE, at.saturating_sub(pause)), (EPISODE_AFTER, at.saturating_add(pause))]
            {
                let mut statement = connection.prepare_cached(sql)?;
                let bound: &[(&str, &dyn ToSql)] = named_params! {
                    ":space": space, ":user": user, ":agent": agent, ":session": turn.session, ":at": at, ":id": id,
                    ":bound": bound,
                };
                let mut stream = Stream::new(statement.query(bound)?, episode);
                for _ in 0..NEIGHBOURS {
                    let Some((_, row)) = stream.next()? else { break };
                    if seen.insert(row.id) {
                        found.push(row);
                    }
                }
            }
        }
        Ok(found)
    }
}
