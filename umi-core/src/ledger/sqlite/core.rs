//! Core memory: every edit is a row, and the newest row of each type is what holds.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, Row};

use super::{
    errors::Stored,
    rows::{self, micros},
    writer::Write,
};
use crate::{
    core_memory::{Block, BlockType, CoreLimits, CoreMemory},
    error::Error,
    scope::{Scope, stored},
};

/// How many core memories are kept read.
const CACHED: usize = 256;

/// Core memories as they were read, each with the `seq` of the last change of any core block at that time.
#[derive(Debug, Default)]
pub(super) struct CoreCache {
    entries: Mutex<HashMap<(String, String), Cached>>,
}

#[derive(Debug)]
struct Cached {
    changed: i64,
    limits: CoreLimits,
    core: CoreMemory,
    rendered: Option<Arc<str>>,
}

impl CoreCache {
    /// The core memory of (user, agent): from the cache while no process has changed a block.
    pub(super) fn get(&self, connection: &Connection, scope: &Scope, limits: CoreLimits) -> Stored<CoreMemory> {
        self.with(connection, scope, limits, |cached| cached.core.clone())
    }

    /// The XML of the core memory of (user, agent), rendered once for each change.
    pub(super) fn rendered(&self, connection: &Connection, scope: &Scope, limits: CoreLimits) -> Stored<Arc<str>> {
        self.with(connection, scope, limits, |Cached { core, rendered, .. }| {
            Arc::clone(rendered.get_or_insert_with(|| core.render().into()))
        })
    }

    fn with<T>(
        &self,
        connection: &Connection,
        scope: &Scope,
        limits: CoreLimits,
        take: impl FnOnce(&mut Cached) -> T,
    ) -> Stored<T> {
        let (user, agent) = owner(scope);
        let changed: i64 = connection.prepare_cached("SELECT core FROM counter")?.query_row((), |row| row.get(0))?;
        let key = (user.to_owned(), agent.to_owned());
        if let Some(cached) = self.entries.lock().get_mut(&key)
            && cached.changed == changed
            && cached.limits == limits
        {
            return Ok(take(cached));
        }
        let mut cached = Cached { changed, limits, core: load(connection, scope, limits)?, rendered: None };
        let taken = take(&mut cached);
        let mut entries = self.entries.lock();
        if entries.len() >= CACHED && !entries.contains_key(&key) {
            entries.clear();
        }
        entries.insert(key, cached);
        Ok(taken)
    }
}

fn owner(scope: &Scope) -> (&str, &str) {
    (stored(scope.user()), stored(scope.agent()))
}

fn read(row: &Row<'_>) -> rusqlite::Result<Block> {
    Ok(Block {
        block_type: rows::parsed(row, "type")?,
        label: row.get("label")?,
        content: row.get("content")?,
        importance: row.get("importance")?,
        version: rows::unsigned(row, row.as_ref().column_index("version")?)?,
        updated_at: rows::time(row, "updated_at")?,
    })
}

/// The blocks that hold. Each is looked up by itself, so that the number of old versions does not matter.
fn load(connection: &Connection, scope: &Scope, limits: CoreLimits) -> Stored<CoreMemory> {
    let (user, agent) = owner(scope);
    let mut statement = connection.prepare_cached(
        "SELECT type, label, content, importance, version, updated_at FROM blocks \
         WHERE content IS NOT NULL AND block = (SELECT block FROM blocks \
             WHERE user = ?1 AND agent = ?2 AND type = ?3 ORDER BY version DESC LIMIT 1)",
    )?;
    let mut blocks = Vec::new();
    for block_type in BlockType::ALL {
        blocks.extend(statement.query_row((user, agent, block_type.as_str()), read).optional()?);
    }
    Ok(CoreMemory::from_blocks(limits, blocks))
}

/// What an edit changes of a block.
#[derive(Debug)]
pub(super) struct Edit {
    pub(super) block_type: BlockType,
    pub(super) content: String,
    pub(super) label: Option<String>,
    pub(super) importance: Option<f64>,
    pub(super) now: Timestamp,
}

/// Replaces a block's content, within the limits.
pub(super) fn set(write: &mut Write<'_>, scope: &Scope, limits: CoreLimits, edit: &Edit) -> Stored<Block> {
    let mut core = load(write.connection, scope, limits)?;
    let mut block = core.set_block(edit.block_type, &edit.content, edit.label.as_deref(), edit.importance, edit.now)?;
    // A block that was removed goes on counting where it was.
    block.version = next_version(write.connection, scope, edit.block_type)?;
    insert(write, scope, &block, Some(&block.content))?;
    Ok(block)
}

fn next_version(connection: &Connection, scope: &Scope, block_type: BlockType) -> Stored<u64> {
    let (user, agent) = owner(scope);
    Ok(connection
        .prepare_cached(
            "SELECT coalesce(max(version), 0) + 1 FROM blocks WHERE user = ?1 AND agent = ?2 AND type = ?3",
        )?
        .query_row((user, agent, block_type.as_str()), |row| rows::unsigned(row, 0))?)
}

fn insert(write: &mut Write<'_>, scope: &Scope, block: &Block, content: Option<&str>) -> Stored<()> {
    let (user, agent) = owner(scope);
    let seq = write.touch_core();
    write
        .connection
        .prepare_cached(
            "INSERT INTO blocks (seq, user, agent, type, version, label, content, importance, updated_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute((
            seq,
            user,
            agent,
            block.block_type.as_str(),
            i64::try_from(block.version).unwrap_or(i64::MAX),
            &block.label,
            content,
            block.importance,
            micros(block.updated_at),
        ))?;
    Ok(())
}

/// Removes a block by a row without content. Gives whether it was there.
pub(super) fn remove(write: &mut Write<'_>, scope: &Scope, block_type: BlockType, now: Timestamp) -> Stored<bool> {
    let core = load(write.connection, scope, CoreLimits::default())?;
    let Some(block) = core.get_block(block_type) else { return Ok(false) };
    let version = next_version(write.connection, scope, block_type)?;
    let removal = Block { version, label: None, updated_at: now, ..block.clone() };
    insert(write, scope, &removal, None)?;
    Ok(true)
}

/// Removes every block.
pub(super) fn clear(write: &mut Write<'_>, scope: &Scope, now: Timestamp) -> Stored<()> {
    for block_type in BlockType::ALL {
        remove(write, scope, block_type, now)?;
    }
    Ok(())
}

/// Every version of a block, oldest first; removals are not among them.
pub(super) fn versions(connection: &Connection, scope: &Scope, block_type: BlockType) -> Stored<Vec<Block>> {
    let (user, agent) = owner(scope);
    let mut statement = connection.prepare_cached(
        "SELECT type, label, content, importance, version, updated_at FROM blocks \
         WHERE user = ?1 AND agent = ?2 AND type = ?3 AND content IS NOT NULL ORDER BY version",
    )?;
    Ok(statement.query_map((user, agent, block_type.as_str()), read)?.collect::<rusqlite::Result<_>>()?)
}

/// Makes an old version's content, label and importance the newest version.
pub(super) fn restore(
    write: &mut Write<'_>,
    scope: &Scope,
    limits: CoreLimits,
    block_type: BlockType,
    version: u64,
    now: Timestamp,
) -> Stored<Block> {
    let (user, agent) = owner(scope);
    let old = write
        .connection
        .prepare_cached(
            "SELECT type, label, content, importance, version, updated_at FROM blocks \
             WHERE user = ?1 AND agent = ?2 AND type = ?3 AND version = ?4 AND content IS NOT NULL",
        )?
        .query_row((user, agent, block_type.as_str(), i64::try_from(version).unwrap_or(-1)), read)
        .optional()?
        .ok_or_else(|| {
            Error::not_found(format!("no version `{version}` of block `{block_type}`"))
                .with_hint("`core.versions(type)` lists them")
        })?;
    let edit = Edit {
        block_type,
        content: old.content,
        label: Some(old.label.unwrap_or_default()),
        importance: Some(old.importance),
        now,
    };
    set(write, scope, limits, &edit)
}
