//! Saved contexts, and what episodes are attached to.

use std::collections::{BTreeSet, HashSet};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, named_params, types::Type};
use uuid::Uuid;

use super::{
    errors::Stored,
    rows::{self, micros},
    writer::Write,
};
use crate::{
    context::{GlobalRef, RefId},
    ledger::{Attachment, Blob, FileContent, FileStamp, SavedContext, SavedItem, SavedSource},
    scope::{SCOPE_PREDICATE, Scope, stored},
};

/// The columns that [`item`] reads, by their places.
const ITEM: &str = "items.ref, items.role, items.source, items.text, items.uri, items.media_type, items.metadata, \
     items.hash, items.extension, items.bytes, items.modified, items.touched";

/// The columns that [`attachment`] reads, by their places.
const ATTACHMENT: &str = "attachments.origin, attachments.ref, attachments.name, attachments.uri, \
     attachments.media_type, attachments.hash, attachments.extension, attachments.bytes";

/// Writes the context of the session of `scope`, in the place of what was saved of it.
pub(super) fn save(write: &mut Write<'_>, scope: &Scope, items: &[SavedItem], now: Timestamp) -> Stored<()> {
    let (user, session) = (stored(scope.user()), stored(scope.session()));
    let connection = write.connection;
    let context: i64 = connection
        .prepare_cached(
            "INSERT INTO contexts (user, agent, session, saved_at) VALUES (?1, '', ?2, ?3) \
             ON CONFLICT (user, session) DO UPDATE SET saved_at = excluded.saved_at RETURNING context",
        )?
        .query_row((user, session, micros(now)), |row| row.get(0))?;
    connection.prepare_cached("DELETE FROM items WHERE context = ?1")?.execute((context,))?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO items (context, user, agent, session, place, ref, role, kind, source, text, uri, media_type, \
         metadata, hash, extension, bytes, modified, touched) VALUES (:context, :user, '', :session, :place, :ref, \
         :role, :kind, :source, :text, :uri, :media_type, :metadata, :hash, :extension, :bytes, :modified, :touched)",
    )?;
    for (place, item) in items.iter().enumerate() {
        let columns = Columns::of(&item.source);
        insert.execute(named_params! {
            ":context": context, ":user": user, ":session": session, ":place": rows::number(place),
            ":ref": &*item.ref_id.text(), ":role": item.role.as_str(), ":kind": item.ref_id.kind().as_str(),
            ":source": columns.source, ":text": columns.text, ":uri": columns.uri, ":media_type": columns.media_type,
            ":metadata": item.metadata.as_ref().map_or("{}", |metadata| metadata.as_str()), ":hash": columns.hash,
            ":extension": columns.extension, ":bytes": columns.bytes,
            ":modified": columns.stamp.map(|stamp| stamp.modified),
            ":touched": columns.stamp.map(|stamp| stamp.touched),
        })?;
    }
    Ok(())
}

/// A source as it is stored.
#[derive(Default)]
struct Columns<'a> {
    source: &'static str,
    text: Option<&'a str>,
    uri: Option<&'a str>,
    media_type: Option<&'a str>,
    hash: Option<&'a str>,
    extension: Option<&'a str>,
    bytes: Option<i64>,
    stamp: Option<FileStamp>,
}

impl<'a> Columns<'a> {
    fn of(source: &'a SavedSource) -> Self {
        let size = |bytes: u64| Some(i64::try_from(bytes).unwrap_or(i64::MAX));
        let blob = |source, media_type: &'a str, blob: &'a Blob| Self {
            source,
            media_type: Some(media_type),
            hash: Some(blob.hash()),
            extension: Some(blob.extension()),
            bytes: size(blob.bytes()),
            ..Self::default()
        };
        match source {
            SavedSource::Text(text) => {
                Self { source: "text", text: Some(text), bytes: size(text.len() as u64), ..Self::default() }
            }
            SavedSource::File { uri, content } => Self {
                source: "path",
                uri: Some(uri),
                hash: content.as_ref().map(|content| content.hash.as_str()),
                bytes: content.as_ref().and_then(|content| size(content.stamp.bytes)),
                stamp: content.as_ref().map(|content| content.stamp),
                ..Self::default()
            },
            SavedSource::Url { uri, media_type } => {
                Self { source: "url", uri: Some(uri), media_type: media_type.as_deref(), ..Self::default() }
            }
            SavedSource::Bytes { media_type, blob: bytes } => blob("bytes", media_type, bytes),
            SavedSource::Object { media_type, blob: bytes } => blob("object", media_type, bytes),
        }
    }
}

/// A value that this library does not write.
fn unreadable(column: usize, what: &str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, what.into())
}

fn blob(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<Blob>> {
    let Some(extension) = row.get::<_, Option<String>>(first + 1)? else { return Ok(None) };
    let found = Blob::new(row.get(first)?, extension, rows::unsigned(row, first + 2)?);
    found.map(Some).ok_or_else(|| unreadable(first, "no name of a blob"))
}

fn item(row: &Row<'_>) -> rusqlite::Result<SavedItem> {
    let needed = |value: Option<String>, column| value.ok_or_else(|| unreadable(column, "a missing value"));
    let source = match row.get_ref(2)?.as_str()? {
        "text" => SavedSource::Text(row.get(3)?),
        "path" => {
            let content = match row.get::<_, Option<String>>(7)? {
                Some(hash) => Some(FileContent {
                    hash,
                    stamp: FileStamp { bytes: rows::unsigned(row, 9)?, modified: row.get(10)?, touched: row.get(11)? },
                }),
                None => None,
            };
            SavedSource::File { uri: row.get(4)?, content }
        }
        "url" => SavedSource::Url { uri: row.get(4)?, media_type: row.get(5)? },
        known @ ("bytes" | "object") => {
            let media_type = needed(row.get(5)?, 5)?;
            let blob = blob(row, 7)?.ok_or_else(|| unreadable(8, "no name of a blob"))?;
            if known == "bytes" {
                SavedSource::Bytes { media_type, blob }
            } else {
                SavedSource::Object { media_type, blob }
            }
        }
        _ => return Err(unreadable(2, "an unknown source")),
    };
    let metadata = rows::metadata(row, 6)?;
    Ok(SavedItem {
        ref_id: rows::parsed(row, 0)?,
        role: rows::parsed(row, 1)?,
        source,
        metadata: (!metadata.is_empty()).then_some(metadata),
    })
}

/// The saved context of the session of `scope`.
pub(super) fn load(connection: &Connection, scope: &Scope) -> Stored<Option<SavedContext>> {
    let (user, agent, session) = scope.bound();
    let found: Option<(i64, Timestamp)> = connection
        .prepare_cached(&format!("SELECT context, saved_at FROM contexts WHERE {SCOPE_PREDICATE}"))?
        .query_row(named_params! { ":user": user, ":agent": agent, ":session": session }, |row| {
            Ok((row.get(0)?, rows::time(row, 1)?))
        })
        .optional()?;
    let Some((context, saved_at)) = found else { return Ok(None) };
    let items = connection
        .prepare_cached(&format!(
            "SELECT {ITEM} FROM items WHERE context = :context AND {SCOPE_PREDICATE} ORDER BY place"
        ))?
        .query_map(named_params! { ":context": context, ":user": user, ":agent": agent, ":session": session }, item)?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Some(SavedContext { saved_at, items }))
}

/// An item of the saved context of the session of `scope`, its place, and when it was saved.
pub(super) fn one(
    connection: &Connection,
    scope: &Scope,
    ref_id: RefId,
) -> Stored<Option<(SavedItem, u64, Timestamp)>> {
    let (user, agent, session) = scope.bound();
    let sql = format!(
        "SELECT {ITEM}, place, saved_at FROM items JOIN (SELECT context AS of, saved_at FROM contexts \
         WHERE {SCOPE_PREDICATE}) ON of = context WHERE ref = :ref AND {SCOPE_PREDICATE}"
    );
    let bound = named_params! { ":ref": &*ref_id.text(), ":user": user, ":agent": agent, ":session": session };
    Ok(connection
        .prepare_cached(&sql)?
        .query_row(bound, |row| Ok((item(row)?, rows::unsigned(row, 12)?, rows::time(row, 13)?)))
        .optional()?)
}

/// Writes what an episode stands for.
pub(super) fn attach(
    write: &Write<'_>,
    episode: i64,
    [user, agent, session]: [&str; 3],
    attachment: &Attachment,
) -> Stored<()> {
    let blob = attachment.blob.as_ref();
    write
        .connection
        .prepare_cached(
            "INSERT INTO attachments (episode, user, agent, session, origin, ref, kind, name, uri, media_type, hash, \
             extension, bytes) VALUES (:episode, :user, :agent, :session, :origin, :ref, :kind, :name, :uri, \
             :media_type, :hash, :extension, :bytes)",
        )?
        .execute(named_params! {
            ":episode": episode, ":user": user, ":agent": agent, ":session": session,
            ":origin": attachment.session_id, ":ref": &*attachment.ref_id.text(),
            ":kind": attachment.kind().as_str(), ":name": attachment.name, ":uri": attachment.uri,
            ":media_type": attachment.media_type, ":hash": blob.map(Blob::hash),
            ":extension": blob.map(Blob::extension),
            ":bytes": blob.map(|blob| i64::try_from(blob.bytes()).unwrap_or(i64::MAX)),
        })?;
    Ok(())
}

fn attachment(row: &Row<'_>) -> rusqlite::Result<Attachment> {
    Ok(Attachment {
        session_id: row.get(0)?,
        ref_id: rows::parsed(row, 1)?,
        name: row.get(2)?,
        uri: row.get(3)?,
        media_type: row.get(4)?,
        blob: blob(row, 5)?,
    })
}

/// The attachments of episodes.
pub(super) fn attachments(
    connection: &Connection,
    scope: &Scope,
    episodes: &[Uuid],
) -> Stored<Vec<(Uuid, Attachment)>> {
    let (user, agent, session) = scope.bound();
    let sql = format!(
        "SELECT {ATTACHMENT} FROM attachments WHERE episode = (SELECT episode FROM episodes WHERE id = :id) \
         AND {SCOPE_PREDICATE}"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut seen = HashSet::with_capacity(episodes.len());
    let mut found = Vec::new();
    for &id in episodes {
        if !seen.insert(id) {
            continue;
        }
        let bound = named_params! { ":id": rows::text(id), ":user": user, ":agent": agent, ":session": session };
        found.extend(statement.query_row(bound, attachment).optional()?.map(|attachment| (id, attachment)));
    }
    Ok(found)
}

/// The latest attachment of a global ref, with its episode.
pub(super) fn attachment_of(
    connection: &Connection,
    scope: &Scope,
    reference: &GlobalRef,
) -> Stored<Option<(Uuid, Attachment)>> {
    let (user, agent, session) = scope.bound();
    let sql = format!(
        "SELECT {ATTACHMENT}, (SELECT id FROM episodes WHERE episodes.episode = attachments.episode) FROM attachments \
         WHERE origin = :origin AND ref = :ref AND {SCOPE_PREDICATE} ORDER BY episode DESC LIMIT 1"
    );
    Ok(connection
        .prepare_cached(&sql)?
        .query_row(
            named_params! {
                ":origin": reference.session_id(), ":ref": &*reference.ref_id().text(),
                ":user": user, ":agent": agent, ":session": session,
            },
            |row| Ok((rows::parsed(row, 8)?, attachment(row)?)),
        )
        .optional()?)
}

/// Every blob that a row names, once.
pub(super) fn blobs(connection: &Connection) -> Stored<Vec<Blob>> {
    let sql = "SELECT hash, extension, bytes FROM items WHERE extension IS NOT NULL \
               UNION SELECT hash, extension, bytes FROM attachments WHERE extension IS NOT NULL";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_map((), |row| blob(row, 0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(found.into_iter().flatten().collect())
}

/// The names of the files of every blob that a row names.
pub(super) fn blob_names(connection: &Connection) -> Stored<BTreeSet<String>> {
    Ok(blobs(connection)?.iter().map(Blob::file_name).collect())
}

/// Removes the saved contexts of a scope.
pub(super) fn forget_scope(write: &Write<'_>, scope: &Scope) -> Stored<()> {
    let (user, agent, session) = scope.bound();
    let bound = named_params! { ":user": user, ":agent": agent, ":session": session };
    for table in ["items", "contexts"] {
        write.connection.prepare_cached(&format!("DELETE FROM {table} WHERE {SCOPE_PREDICATE}"))?.execute(bound)?;
    }
    Ok(())
}
