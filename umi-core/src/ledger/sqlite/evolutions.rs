//! Evolutions: the `update` that each two versions of a chain have between them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rusqlite::{Connection, Row};
use uuid::Uuid;

use super::{
    chains::Computed,
    decisions,
    errors::Stored,
    rows::{self, micros},
    writer::Write,
};
use crate::{entity::Entity, scope::stored};

/// How much of each content the reason of an evolution shows, in bytes.
const REASON_CONTENT_BYTES: usize = 320;
/// The namespace of the ids of evolutions, which follow from their two ends.
const EVOLUTION_NAMESPACE: Uuid = Uuid::from_u128(0x3c55_9f5a_57f0_4b27_9d7f_8a0e_2b6b_51d4);

/// An `update` between two versions, as it is stored.
#[derive(Debug)]
pub(super) struct Related {
    evolution: i64,
    pub(super) reason: String,
    confidence: f64,
}

/// The updates of each two versions, by their internal keys.
pub(super) type Updates = BTreeMap<(i64, i64), Related>;

/// The updates between these versions that follow from their chain. Other relations are a model's decision.
pub(super) fn related(connection: &Connection, versions: &[i64]) -> Stored<Updates> {
    let among: BTreeSet<i64> = versions.iter().copied().collect();
    let mut statement = connection.prepare_cached(
        "SELECT older, newer, evolution, reason, confidence FROM evolutions \
         WHERE older = ?1 AND type = 'update' AND decision IS NULL",
    )?;
    let read = |row: &Row<'_>| {
        let related = Related { evolution: row.get(2)?, reason: row.get(3)?, confidence: row.get(4)? };
        Ok(((row.get(0)?, row.get(1)?), related))
    };
    let mut found = BTreeMap::new();
    for version in versions {
        for related in statement.query_map((version,), read)? {
            let (ends, related): ((i64, i64), Related) = related?;
            if among.contains(&ends.1) {
                found.insert(ends, related);
            }
        }
    }
    Ok(found)
}

/// Whether nothing lies between two versions of a chain that stand side by side.
pub(super) fn follows(older: &Computed, newer: &Computed) -> bool {
    older.entity.valid_to == Some(newer.entity.valid_from)
}

/// Keeps one `update` between each two versions that follow one another, but for those of which a model decided how they
/// relate, and the relations that it decided on. Gives the ids of new ones.
pub(super) fn relate(
    write: &mut Write<'_>,
    mut before: Updates,
    keys: &[i64],
    computed: &[Computed],
) -> Stored<Vec<Uuid>> {
    let decided = decisions::decided(write.connection, keys)?;
    decisions::drop_undecided(write, keys, &decided)?;
    let told_by_model: BTreeSet<[i64; 2]> = decided.keys().map(|&(older, newer, _)| [older, newer]).collect();
    let pairs: Vec<_> = keys
        .windows(2)
        .zip(computed.windows(2))
        .filter(|(keys, pair)| follows(&pair[0], &pair[1]) && !told_by_model.contains(&[keys[0], keys[1]]))
        .collect();
    let follow: BTreeSet<(i64, i64)> = pairs.iter().map(|(keys, _)| (keys[0], keys[1])).collect();
    // First of all, because a new row may get the key of one that went with its version.
    for (_, gone) in before.extract_if(.., |ends, _| !follow.contains(ends)) {
        write.connection.prepare_cached("DELETE FROM evolutions WHERE evolution = ?1")?.execute((gone.evolution,))?;
    }
    let mut new = decisions::relate(write, &decided)?;
    for (keys, pair) in pairs {
        let ([source, target], [older, newer]) = (keys, pair) else { continue };
        let Told { reason, confidence, created_at } = told(&older.entity, &newer.entity);
        let found = before.remove(&(*source, *target));
        if found
            .as_ref()
            .is_some_and(|found| found.reason == reason && found.confidence.to_bits() == confidence.to_bits())
        {
            continue;
        }
        let id = evolution_id(older.entity.id, newer.entity.id);
        if found.is_none() {
            new.push(id);
        }
        let seq = write.next_seq();
        write
            .connection
            .prepare_cached(
                "INSERT INTO evolutions (id, seq, user, older, newer, type, reason, confidence, created_at) \
                 VALUES (?1, ?2, ?3, ?4, ?5, 'update', ?6, ?7, ?8) \
                 ON CONFLICT (older, newer, type) DO UPDATE SET seq = excluded.seq, reason = excluded.reason, \
                 confidence = excluded.confidence",
            )?
            .execute((
                rows::text(id),
                seq,
                stored(newer.entity.user.as_deref()),
                source,
                target,
                reason,
                confidence,
                micros(created_at),
            ))?;
    }
    Ok(new)
}

/// The id of the `update` between two versions: the same whenever the two follow one another.
fn evolution_id(older: Uuid, newer: Uuid) -> Uuid {
    let mut ends = [0; 32];
    ends[..16].copy_from_slice(older.as_bytes());
    ends[16..].copy_from_slice(newer.as_bytes());
    Uuid::new_v5(&EVOLUTION_NAMESPACE, &ends)
}

/// What an `update` tells of its two versions.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) reason: String,
    pub(super) confidence: f64,
    pub(super) created_at: Timestamp,
}

/// What an `update` tells of two versions as they are given: nothing that these do not hold.
pub(super) fn told(older: &Entity, newer: &Entity) -> Told {
    Told {
        reason: reason(older, newer),
        confidence: newer.confidence,
        created_at: older.recorded_at.max(newer.recorded_at),
    }
}

fn reason(older: &Entity, newer: &Entity) -> String {
    let cut = |text: &str| {
        let short = &text[..text.floor_char_boundary(REASON_CONTENT_BYTES)];
        if short.len() < text.len() { format!("{short}…") } else { short.to_owned() }
    };
    let what = newer.attribute.as_deref().unwrap_or("what was said");
    // With an attribute at its limit this stays below the limit of a reason.
    if older.content == newer.content {
        format!("{what} was updated: “{}”", cut(&newer.content))
    } else {
        format!("{what} changed from “{}” to “{}”", cut(&older.content), cut(&newer.content))
    }
}
