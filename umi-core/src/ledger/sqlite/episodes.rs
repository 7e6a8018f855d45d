//! Appending and reading episodes.

use std::collections::HashSet;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, named_params};
use uuid::Uuid;

use super::{
    contexts,
    errors::Stored,
    jobs::NewJob,
    rows::{self, micros},
    spaces::{self, OwnerKey, SpaceKey},
    writer::Write,
};
use crate::{
    embed::EmbeddingSpace,
    episode::Episode,
    error::Error,
    ledger::{Appended, EpisodePage, NewEpisode},
    scope::{SCOPE_PREDICATE, Scope, stored},
};

/// Appends episodes, each once a key.
pub(super) fn append(write: &mut Write<'_>, space: &EmbeddingSpace, episodes: &[NewEpisode]) -> Stored<Vec<Appended>> {
    let space = spaces::claim(write, space)?;
    episodes.iter().map(|new| append_one(write, space, new)).collect()
}

fn append_one(write: &mut Write<'_>, space: SpaceKey, new: &NewEpisode) -> Stored<Appended> {
    let episode = &new.episode;
    let user = stored(episode.user.as_deref());
    let (key, turn) = new.key.as_ref().map_or((None, 0), |(key, turn)| (Some(key), *turn));
    if let Some(key) = key
        && let Some(known) = by_key(write.connection, user, key, turn)?
    {
        if known.text == episode.text {
            return Ok(Appended { id: known.id, known: Some(Box::new(known)) });
        }
        let shown: String = key.chars().take(64).collect();
        return Err(Error::invalid_input(format!("the key `{shown}` belongs to another text"))
            .with_hint("use one key for one text")
            .into());
    }
    let (agent, session) = (stored(episode.agent.as_deref()), stored(episode.session.as_deref()));
    let seq = write.next_seq();
    write
        .connection
        .prepare_cached(
            "INSERT INTO episodes (id, seq, user, agent, session, role, name, text, at, recorded_at, source, \
             metadata, importance, key, turn) VALUES (:id, :seq, :user, :agent, :session, :role, :name, :text, :at, \
             :recorded_at, :source, :metadata, :importance, :key, :turn)",
        )?
        .execute(named_params! {
            ":id": rows::text(episode.id), ":seq": seq, ":user": user, ":agent": agent, ":session": session,
            ":role": episode.role, ":name": episode.name, ":text": episode.text, ":at": micros(episode.at),
            ":recorded_at": micros(episode.recorded_at), ":source": episode.source,
            ":metadata": episode.metadata.as_str(), ":importance": episode.importance, ":key": key, ":turn": turn,
        })?;
    let row = write.connection.last_insert_rowid();
    let owner = OwnerKey::Episode(row);
    spaces::insert_pieces(write, space, owner, &new.pieces, new.wants_vectors)?;
    if let Some(attachment) = &new.attachment {
        contexts::attach(write, row, [user, agent, session], attachment)?;
    }
    let job = NewJob { owner, user, agent, session, created_at: micros(episode.recorded_at) };
    if let Some(embed) = new.embed_job {
        job.embed(write, embed)?;
    }
    if let Some(extract) = new.extract_job {
        job.extract(write, extract)?;
    }
    Ok(Appended { id: episode.id, known: None })
}

fn by_key(connection: &Connection, user: &str, key: &str, turn: u32) -> Stored<Option<Episode>> {
    let sql = format!("SELECT {} FROM episodes WHERE user = ?1 AND key = ?2 AND turn = ?3", rows::EPISODE);
    Ok(connection.prepare_cached(&sql)?.query_row((user, key, turn), rows::episode).optional()?)
}

/// One episode by its id.
pub(super) fn get_sql() -> String {
    format!("SELECT {} FROM episodes WHERE id = :id AND {SCOPE_PREDICATE}", rows::EPISODE)
}

/// A page of episodes, from either end. Those of one time are in the order of their making, which their ids keep and
/// `seq` does not: an episode that is embedded later takes a new one.
pub(super) fn page_sql(newest_first: bool) -> String {
    let order = if newest_first { "at DESC, id DESC" } else { "at, id" };
    format!(
        "SELECT {} FROM episodes WHERE {SCOPE_PREDICATE} AND (:until IS NULL OR at <= :until) \
         ORDER BY {order} LIMIT :limit OFFSET :offset",
        rows::EPISODE
    )
}

/// One episode.
pub(super) fn get(connection: &Connection, scope: &Scope, id: Uuid) -> Stored<Option<Episode>> {
    let (user, agent, session) = scope.bound();
    Ok(connection
        .prepare_cached(&get_sql())?
        .query_row(
            named_params! { ":id": rows::text(id), ":user": user, ":agent": agent, ":session": session },
            rows::episode,
        )
        .optional()?)
}

/// The internal key of an episode.
pub(super) fn key(connection: &Connection, scope: &Scope, id: Uuid) -> Stored<Option<i64>> {
    let (user, agent, session) = scope.bound();
    Ok(connection
        .prepare_cached(&format!("SELECT episode FROM episodes WHERE id = :id AND {SCOPE_PREDICATE}"))?
        .query_row(
            named_params! { ":id": rows::text(id), ":user": user, ":agent": agent, ":session": session },
            |row| row.get(0),
        )
        .optional()?)
}

/// The episodes that exist among `ids`.
pub(super) fn many(connection: &Connection, scope: &Scope, ids: &[Uuid]) -> Stored<Vec<Episode>> {
    let mut seen = HashSet::with_capacity(ids.len());
    let mut found = Vec::with_capacity(ids.len());
    for &id in ids {
        if seen.insert(id) {
            found.extend(get(connection, scope, id)?);
        }
    }
    Ok(found)
}

/// A page of episodes, in (`at`, id) order.
pub(super) fn page(connection: &Connection, scope: &Scope, page: EpisodePage) -> Stored<Vec<Episode>> {
    let (user, agent, session) = scope.bound();
    let mut statement = connection.prepare_cached(&page_sql(page.newest_first))?;
    let mut found: Vec<Episode> = statement
        .query_map(
            named_params! {
                ":user": user, ":agent": agent, ":session": session,
                ":limit": rows::number(page.limit), ":offset": rows::number(page.offset),
                ":until": page.until.map(micros),
            },
            rows::episode,
        )?
        .collect::<rusqlite::Result<_>>()?;
    if page.newest_first {
        found.reverse();
    }
    Ok(found)
}

/// Episodes of one origin before a place, the last one first.
pub(super) fn before_sql() -> String {
    format!(
        "SELECT {} FROM episodes WHERE user = :user AND agent = :agent AND session = :session \
         AND (at < :at OR (at = :at AND id < :id)) AND at <= :at ORDER BY at DESC, id DESC LIMIT :limit",
        rows::EPISODE
    )
}

/// The last episodes before a place, of exactly the user, agent and session of `origin`, in (`at`, id) order.
pub(super) fn before(
    connection: &Connection,
    origin: &Scope,
    (at, id): (Timestamp, Uuid),
    limit: usize,
) -> Stored<Vec<Episode>> {
    let mut found: Vec<Episode> = connection
        .prepare_cached(&before_sql())?
        .query_map(
            named_params! {
                ":user": stored(origin.user()), ":agent": stored(origin.agent()),
                ":session": stored(origin.session()), ":at": micros(at), ":id": rows::text(id),
                ":limit": rows::number(limit),
            },
            rows::episode,
        )?
        .collect::<rusqlite::Result<_>>()?;
    found.reverse();
    Ok(found)
}
