//! Recording facts: each saying finds its slot, and the slot's chain is computed again.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, named_params};
use uuid::Uuid;

use super::{
    chains::{self, Changed, Stretch},
    decisions,
    errors::{self, Stored},
    jobs::NewJob,
    lookup,
    rows::{self, micros},
    spaces::{self, OwnerKey, SpaceKey},
    writer::Write,
};
use crate::{
    embed::EmbeddingSpace,
    entity::{Entity, fold},
    episode::Kind,
    error::Error,
    ledger::{EmbedJob, FactUpdate, NewFact, Piece, Recorded},
    scope::{Scope, stored},
};

/// What recording sayings changed, by their ids.
pub(super) type Changes = BTreeMap<Uuid, Changed>;

/// Records facts. Each answer tells the version that its saying is part of once all of them are recorded.
pub(super) fn record(write: &mut Write<'_>, space: &EmbeddingSpace, facts: &[NewFact]) -> Stored<Vec<Recorded>> {
    let changes = say(write, space, facts)?;
    tell(write.connection, None, facts, &changes)
}

/// Writes sayings and computes their chains.
pub(super) fn say(write: &mut Write<'_>, space: &EmbeddingSpace, facts: &[NewFact]) -> Stored<Changes> {
    let space = spaces::claim(write, space)?;
    let mut changes = Changes::new();
    for fact in facts {
        fact.entity.check()?;
        check_episode(write.connection, &fact.entity)?;
        let slot = slot_for(write.connection, &fact.entity)?;
        let seq = insert_sighting(write, space, slot, &fact.entity, false, &fact.piece, fact.embed_job)?;
        let stretch = Stretch::around(write.connection, slot, fact.entity.valid_from, seq)?;
        let changed = computed(write, &stretch, fact.entity.recorded_at)?;
        changes.insert(fact.entity.id, changed);
    }
    Ok(changes)
}

/// What became of sayings, each as its own scope sees it; their evolutions too, or as they are told to `scope`.
pub(super) fn tell(
    connection: &Connection,
    scope: Option<&Scope>,
    facts: &[NewFact],
    changes: &Changes,
) -> Stored<Vec<Recorded>> {
    let answer = |Entity { id, user, agent, session, .. }: &Entity| {
        let own = Scope::from_parts(user.clone(), agent.clone(), session.clone())?;
        let Recorded { entity, evolutions } = recorded(connection, &own, *id, changes.get(id))?;
        let Some(scope) = scope else { return Ok(Recorded { entity, evolutions }) };
        let mut told = Vec::with_capacity(evolutions.len());
        for &evolution in changes.get(id).iter().flat_map(|changed| &changed.evolutions) {
            told.extend(lookup::evolution_told(connection, scope, evolution)?);
        }
        Ok(Recorded { entity, evolutions: told })
    };
    facts.iter().map(|fact| answer(&fact.entity)).collect()
}

/// Computes the chain around a new saying, which is refused where its version's metadata would be over the limit.
fn computed(write: &mut Write<'_>, stretch: &Stretch, now: Timestamp) -> Stored<Changed> {
    let changed = chains::recompute(write, stretch, &BTreeSet::new(), now)?;
    match changed.overfull {
        Some(error) => Err(error.with_hint("say it with less metadata, or `update` it to begin with its own").into()),
        None => Ok(changed),
    }
}

/// What became of a saying, as a scope sees it.
fn recorded(connection: &Connection, own: &Scope, saying: Uuid, changed: Option<&Changed>) -> Stored<Recorded> {
    let entity = lookup::get(connection, own, saying)?
        .ok_or_else(|| errors::damaged(format!("the saying `{saying}` has no version")))?;
    let mut evolutions = Vec::new();
    for &evolution in changed.iter().flat_map(|changed| &changed.evolutions) {
        // A later fact of the same call may have come between the two.
        evolutions.extend(lookup::evolution(connection, own, evolution)?);
    }
    Ok(Recorded { entity, evolutions })
}

/// A fact can be said only by an episode that is still there, in its own tenant.
fn check_episode(connection: &Connection, entity: &Entity) -> Stored<()> {
    let Some(episode) = entity.episode_id else { return Ok(()) };
    let found = connection
        .prepare_cached("SELECT 1 FROM episodes WHERE id = ?1 AND user = ?2")?
        .exists((rows::text(episode), stored(entity.user.as_deref())))?;
    if found {
        return Ok(());
    }
    Err(Error::not_found(format!("no episode `{episode}`")).with_hint("it may have been forgotten").into())
}

/// The slot of a content of a subject at a time: one whose version of it holds then, or was ended and followed by nothing
/// until then. The `+` keeps SQLite from putting the value into `substr` too, which
/// would hide the expression that is indexed.
pub(super) const SAME_CONTENT: &str = "SELECT slot FROM versions \
     WHERE user = :user AND type = :type AND name_folded = :name AND attribute_folded IS NULL \
     AND substr(content, 1, 64) = substr(:content, 1, 64) AND +content = :content \
     AND (valid_to IS NULL OR :time < valid_to OR NOT EXISTS (SELECT 1 FROM versions AS later \
         WHERE later.slot = versions.slot AND later.said_seq <> versions.said_seq AND later.valid_from <= :time \
         AND (later.valid_from, later.said_seq) > (versions.valid_from, versions.said_seq))) \
     AND (valid_from <= :time OR NOT EXISTS (SELECT 1 FROM versions AS older \
         WHERE older.slot = versions.slot AND older.said_seq <> versions.said_seq \
         AND (older.valid_from, older.said_seq) < (versions.valid_from, versions.said_seq))) \
     ORDER BY valid_from > :time, slot LIMIT 1";

fn slot_for(connection: &Connection, entity: &Entity) -> Stored<i64> {
    let found = if entity.attribute.is_some() {
        slot_of_attribute(connection, entity)?
    } else {
        // The span of the same content that the time falls into, else one whose beginning it moves back: the first
        // version of its slot, because an earlier one has ended where another began.
        connection
            .prepare_cached(SAME_CONTENT)?
            .query_row(
                named_params! {
                    ":user": stored(entity.user.as_deref()), ":type": entity.entity_type.as_str(),
                    ":name": fold(&entity.name), ":content": entity.content, ":time": micros(entity.valid_from),
                },
                |row| row.get(0),
            )
            .optional()?
    };
    match found {
        Some(slot) => Ok(slot),
        None => new_slot(connection, entity),
    }
}

/// The slot of an attribute of a subject; none of a fact that has none.
pub(super) fn slot_of_attribute(connection: &Connection, entity: &Entity) -> Stored<Option<i64>> {
    let Some(attribute) = entity.attribute.as_deref().map(fold) else { return Ok(None) };
    let (user, kind, name) = (stored(entity.user.as_deref()), entity.entity_type.as_str(), fold(&entity.name));
    Ok(connection
        .prepare_cached(
            "SELECT slot FROM slots WHERE user = ?1 AND type = ?2 AND name_folded = ?3 AND attribute_folded = ?4",
        )?
        .query_row((user, kind, name, attribute), |row| row.get(0))
        .optional()?)
}

/// Opens a slot.
pub(super) fn new_slot(connection: &Connection, entity: &Entity) -> Stored<i64> {
    let (user, kind, name) = (stored(entity.user.as_deref()), entity.entity_type.as_str(), fold(&entity.name));
    connection
        .prepare_cached("INSERT INTO slots (user, type, name_folded, attribute_folded) VALUES (?1, ?2, ?3, ?4)")?
        .execute((user, kind, name, entity.attribute.as_deref().map(fold)))?;
    Ok(connection.last_insert_rowid())
}

/// Stores a saying and gives its place in the feed.
pub(super) fn insert_sighting(
    write: &mut Write<'_>,
    space: SpaceKey,
    slot: i64,
    entity: &Entity,
    starts_version: bool,
    piece: &Piece,
    embed_job: Option<EmbedJob>,
) -> Stored<i64> {
    let user = stored(entity.user.as_deref());
    let (agent, session) = (stored(entity.agent.as_deref()), stored(entity.session.as_deref()));
    let seq = write.next_seq();
    write
        .connection
        .prepare_cached(
            "INSERT INTO sightings (id, seq, slot, user, agent, session, name, attribute, content, metadata, \
             confidence, importance, event_time, document_time, source, valid_from, starts_version, recorded_at, \
             episode_id) VALUES (:id, :seq, :slot, :user, :agent, :session, :name, :attribute, :content, :metadata, \
             :confidence, :importance, :event_time, :document_time, :source, :valid_from, :starts_version, \
             :recorded_at, :episode_id)",
        )?
        .execute(named_params! {
            ":id": rows::text(entity.id), ":seq": seq, ":slot": slot, ":user": user, ":agent": agent,
            ":session": session, ":name": entity.name, ":attribute": entity.attribute, ":content": entity.content,
            ":metadata": entity.metadata.as_str(), ":confidence": entity.confidence,
            ":importance": entity.importance, ":event_time": entity.event_time.map(micros),
            ":document_time": entity.document_time.map(micros), ":source": entity.source,
            ":valid_from": micros(entity.valid_from), ":starts_version": starts_version,
            ":recorded_at": micros(entity.recorded_at), ":episode_id": entity.episode_id.map(rows::text),
        })?;
    let owner = OwnerKey::Sighting(write.connection.last_insert_rowid());
    spaces::insert_pieces(write, space, owner, std::slice::from_ref(piece), true)?;
    if let Some(job) = embed_job {
        NewJob { owner, user, agent, session, created_at: micros(entity.recorded_at) }.embed(write, job)?;
    }
    Ok(seq)
}

/// The slot of the same fact without an attribute whose first version begins in the last version of another slot: had
/// nothing closed that one, what was said there would have been said here.
pub(super) const REPEATED: &str = "SELECT repeat.slot FROM versions AS last, versions AS repeat \
     WHERE last.version = (SELECT version FROM versions WHERE slot = :slot \
         ORDER BY valid_from DESC, said_seq DESC LIMIT 1) AND last.attribute_folded IS NULL \
     AND repeat.user = last.user AND repeat.type = last.type AND repeat.name_folded = last.name_folded \
     AND repeat.attribute_folded IS NULL AND substr(repeat.content, 1, 64) = substr(last.content, 1, 64) \
     AND +repeat.content = last.content AND repeat.slot <> last.slot AND +repeat.valid_from >= last.valid_from \
     AND NOT EXISTS (SELECT 1 FROM versions AS older WHERE older.slot = repeat.slot \
         AND (older.valid_from, older.said_seq) < (repeat.valid_from, repeat.said_seq)) \
     ORDER BY repeat.valid_from, repeat.slot LIMIT 1";

/// Joins to a slot without attribute those that repeat its last version, which something that is gone had closed.
pub(super) fn join_repeats(write: &mut Write<'_>, slot: i64, now: Timestamp) -> Stored<()> {
    loop {
        let repeat: Option<i64> = write
            .connection
            .prepare_cached(REPEATED)?
            .query_row(named_params! { ":slot": slot }, |row| row.get(0))
            .optional()?;
        let Some(repeat) = repeat else { return Ok(()) };
        for sql in ["UPDATE sightings SET slot = ?1 WHERE slot = ?2", "UPDATE versions SET slot = ?1 WHERE slot = ?2"] {
            write.connection.prepare_cached(sql)?.execute((slot, repeat))?;
        }
        decisions::follow(write, slot, repeat)?;
        write.connection.prepare_cached("DELETE FROM slots WHERE slot = ?1")?.execute((repeat,))?;
        let stretch = Stretch::whole(write.connection, slot)?;
        chains::recompute(write, &stretch, &BTreeSet::new(), now)?;
    }
}

/// Records a new version behind the one that holds at the time of the update; what is planned stays ahead of it.
pub(super) fn update(
    write: &mut Write<'_>,
    space: &EmbeddingSpace,
    scope: &Scope,
    update: FactUpdate,
) -> Stored<Recorded> {
    let space = spaces::claim(write, space)?;
    let connection = write.connection;
    let Some(version) = lookup::key(connection, scope, update.id)? else {
        return Err(not_updatable(connection, scope, update.id)?.into());
    };
    let no_version = || errors::damaged(format!("the slot of `{}` has no version", update.id));
    let (base, old) = lookup::current(connection, scope, version, update.now)?.ok_or_else(no_version)?;
    let tenant = Scope::from_parts(scope.user().map(str::to_owned), None, None)?;
    let (holds, held) = lookup::current(connection, &tenant, version, update.now)?.ok_or_else(no_version)?;
    if base != holds && update.content.is_none() {
        // Another agent or session said what holds: keeping its content would show it, keeping ours would undo it.
        return Err(Error::invalid_input(format!("`{}` has changed outside of this agent and session", update.id))
            .with_hint("give the content of the new version")
            .into());
    }
    let slot = connection
        .prepare_cached("SELECT slot FROM versions WHERE version = ?1")?
        .query_row((version,), |row| row.get(0))?;
    // Where nothing holds yet, it follows the first version that is planned.
    let valid_from = update.now.max(held.valid_from);
    let metadata = match &update.metadata {
        Some(metadata) => old.metadata.merged(metadata)?,
        None => old.metadata.clone(),
    };
    let own = |narrowed: Option<&str>, of_old: Option<String>| narrowed.map(str::to_owned).or(of_old);
    let entity = Entity {
        id: update.new_id,
        content: update.content.unwrap_or(old.content),
        metadata,
        confidence: update.confidence.unwrap_or(old.confidence),
        importance: update.importance.unwrap_or(old.importance),
        event_time: None,
        valid_from,
        valid_to: None,
        last_seen: valid_from,
        recorded_at: update.now,
        updated_at: update.now,
        episode_id: None,
        agent: own(scope.agent(), old.agent),
        session: own(scope.session(), old.session),
        ..old
    };
    entity.check()?;
    let seq = insert_sighting(write, space, slot, &entity, true, &update.piece, update.embed_job)?;
    let stretch = Stretch::around(write.connection, slot, entity.valid_from, seq)?;
    let changed = computed(write, &stretch, update.now)?;
    recorded(write.connection, scope, entity.id, Some(&changed))
}

fn not_updatable(connection: &Connection, scope: &Scope, id: Uuid) -> Stored<Error> {
    if super::episodes::key(connection, scope, id)?.is_some() {
        return Ok(Error::invalid_input(format!("`{id}` is an {}, which is never rewritten", Kind::Episode.as_str()))
            .with_hint("remember the new text, or forget the episode"));
    }
    Ok(Error::not_found(format!("no fact `{id}`")))
}
