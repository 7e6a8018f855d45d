//! Writing the rows of another store as they were: their ids, times and versions stay, their places in the feed are new.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, named_params};

use super::{
    chains::{self, Stretch},
    decisions::{self, NewDecision},
    errors::Stored,
    facts,
    rows::{self, micros},
    salvage::{SavedBlock, SavedDecision, SavedFact, SavedKey},
    spaces,
    writer::Write,
};
use crate::{
    embed::EmbeddingSpace,
    ledger::{EmbedJob, Piece},
};

/// The chains of the new store by those of the old one.
pub(crate) type Slots = BTreeMap<i64, i64>;

/// A saying to write, with what the index needs of it.
#[derive(Clone, Debug)]
pub(crate) struct RestoredFact {
    pub(crate) fact: SavedFact,
    pub(crate) piece: Piece,
    pub(crate) embed_job: Option<EmbedJob>,
}

/// Writes sayings without computing their chains. An episode that is not there is no longer named.
pub(super) fn sayings(
    write: &mut Write<'_>,
    space: &EmbeddingSpace,
    rows: &[RestoredFact],
    mut slots: Slots,
) -> Stored<Slots> {
    let space = spaces::claim(write, space)?;
    for row in rows {
        let mut entity = row.fact.entity.clone();
        if let Some(episode) = entity.episode_id
            && !write
                .connection
                .prepare_cached("SELECT 1 FROM episodes WHERE id = ?1")?
                .exists((rows::text(episode),))?
        {
            entity.episode_id = None;
        }
        let slot = match slots.get(&row.fact.slot) {
            Some(&slot) => slot,
            None => match facts::slot_of_attribute(write.connection, &entity)? {
                Some(slot) => slot,
                None => facts::new_slot(write.connection, &entity)?,
            },
        };
        slots.insert(row.fact.slot, slot);
        facts::insert_sighting(write, space, slot, &entity, row.fact.starts_version, &row.piece, row.embed_job)?;
    }
    Ok(slots)
}

/// Writes decisions between sayings that are there; what follows from them is computed with the chains. Gives how many
/// it wrote.
pub(super) fn decisions(write: &mut Write<'_>, saved: &[SavedDecision]) -> Stored<u64> {
    let mut written = 0;
    for decision in saved {
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let mut ends: Vec<(i64, String)> = Vec::with_capacity(2);
        for id in decision.sayings {
            let found = write
                .connection
                .prepare_cached("SELECT sighting, user FROM sightings WHERE id = ?1")?
                .query_row((rows::text(id),), read)
                .optional()?;
            ends.extend(found);
        }
        let [(sighting, user), (other, of_other)] = &ends[..] else { continue };
        if user != of_other || sighting == other {
            continue;
        }
        let new = NewDecision {
            id: decision.id,
            user,
            sighting: *sighting,
            other: *other,
            evolution_type: decision.evolution_type,
            reason: &decision.reason,
            confidence: decision.confidence,
            created_at: decision.created_at,
        };
        if !decisions::insert(write, &new)?.is_empty() {
            written += 1;
        }
    }
    Ok(written)
}

/// Computes chains from their sayings.
pub(super) fn compute(write: &mut Write<'_>, slots: &[i64], now: Timestamp) -> Stored<()> {
    for &slot in slots {
        let stretch = Stretch::whole(write.connection, slot)?;
        chains::recompute(write, &stretch, &BTreeSet::new(), now)?;
    }
    Ok(())
}

/// Writes versions of core blocks.
pub(super) fn blocks(write: &mut Write<'_>, blocks: &[SavedBlock]) -> Stored<()> {
    for block in blocks {
        let seq = write.touch_core();
        write
            .connection
            .prepare_cached(
                "INSERT OR IGNORE INTO blocks (seq, user, agent, type, version, label, content, importance, \
                 updated_at) VALUES (:seq, :user, :agent, :type, :version, :label, :content, :importance, :updated_at)",
            )?
            .execute(named_params! {
                ":seq": seq, ":user": block.user, ":agent": block.agent, ":type": block.block_type.as_str(),
                ":version": block.version, ":label": block.label, ":content": block.content,
                ":importance": block.importance, ":updated_at": block.updated_at,
            })?;
    }
    Ok(())
}

/// Writes working keys, expired ones too: they go with the next change of their scope.
pub(super) fn working(write: &mut Write<'_>, keys: &[SavedKey]) -> Stored<()> {
    for key in keys {
        let [user, agent, session] = &key.scope;
        write
            .connection
            .prepare_cached("INSERT OR IGNORE INTO working VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
            .execute((user, agent, session, &key.key, &key.value, key.ttl, key.expires_at))?;
    }
    Ok(())
}

/// Sums what the working keys of each scope amount to.
pub(super) fn usage(write: &mut Write<'_>, now: Timestamp) -> Stored<()> {
    write.connection.execute(
        "INSERT OR REPLACE INTO working_usage SELECT user, agent, session, \
         sum(iif(live, size, 0)), sum(live), ?1 FROM (SELECT user, agent, session, \
         octet_length(key) + octet_length(value) AS size, (expires_at IS NULL OR expires_at > ?1) AS live \
         FROM working) GROUP BY user, agent, session",
        (micros(now),),
    )?;
    Ok(())
}
