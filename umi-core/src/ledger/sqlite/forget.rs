//! Forgetting: a row and all that was derived from it, in one transaction.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rusqlite::{Connection, Row, ToSql, named_params};
use uuid::Uuid;

use super::{
    chains::{self, Stretch},
    contexts, decisions, episodes,
    errors::Stored,
    facts, lookup,
    reasons::Forgotten,
    spaces::{self, OwnerKey},
    succession,
    writer::Write,
};
use crate::{
    ledger::ForgetReach,
    scope::{SCOPE_PREDICATE, Scope},
};

/// So many versions of a chain are each computed with their neighbours; where more change, the whole chain is.
const STRETCHES: usize = 64;

/// Removes the episode, version or chain of an id. Gives whether it was there.
pub(super) fn forget(
    write: &mut Write<'_>,
    scope: &Scope,
    id: Uuid,
    reach: ForgetReach,
    now: Timestamp,
) -> Stored<bool> {
    let connection = write.connection;
    if let Some(episode) = episodes::key(connection, scope, id)? {
        forget_episode(write, episode, now)?;
        return Ok(true);
    }
    let Some(version) = lookup::key(connection, scope, id)? else { return Ok(false) };
    let sayings = match reach {
        ForgetReach::Version => {
            sayings(connection, "SELECT sighting, slot, version FROM sightings WHERE version = ?1", &[&version])?
        }
        ForgetReach::Chain => chain(connection, scope, version)?,
    };
    remove_sayings(write, &sayings, now)?;
    Ok(true)
}

/// A saying that is to go.
struct Saying {
    key: i64,
    slot: i64,
    version: Option<i64>,
}

fn saying(row: &Row<'_>) -> rusqlite::Result<Saying> {
    Ok(Saying { key: row.get(0)?, slot: row.get(1)?, version: row.get(2)? })
}

/// The sayings of a version's slot, and of what else of its history the scope admits.
fn chain(connection: &Connection, scope: &Scope, version: i64) -> Stored<Vec<Saying>> {
    let mut found = sayings(
        connection,
        "SELECT sighting, slot, version FROM sightings WHERE slot = (SELECT slot FROM versions WHERE version = ?1)",
        &[&version],
    )?;
    if decisions::has_any(connection)? {
        let own: BTreeSet<i64> = found.iter().map(|saying| saying.key).collect();
        for (linked, _) in lookup::history_of(connection, scope, version)? {
            let said =
                sayings(connection, "SELECT sighting, slot, version FROM sightings WHERE version = ?1", &[&linked])?;
            found.extend(said.into_iter().filter(|saying| !own.contains(&saying.key)));
        }
    }
    Ok(found)
}

fn sayings(connection: &Connection, sql: &str, values: &[&dyn ToSql]) -> Stored<Vec<Saying>> {
    Ok(connection.prepare_cached(sql)?.query_map(values, saying)?.collect::<rusqlite::Result<_>>()?)
}

/// Removes sayings and computes their slots again. Gives how many versions are gone.
fn remove_sayings(write: &mut Write<'_>, sayings: &[Saying], now: Timestamp) -> Stored<u64> {
    let mut slots: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
    let gone = sayings.iter().map(|saying| saying.key).collect();
    let words = Forgotten::read(write.connection, &gone)?;
    let places = succession::let_go(write, &gone)?;
    for saying in sayings {
        slots.entry(saying.slot).or_default().extend(saying.version);
        let owner = OwnerKey::Sighting(saying.key);
        remove_owned(write, owner)?;
        write.connection.prepare_cached("DELETE FROM sightings WHERE sighting = ?1")?.execute((saying.key,))?;
    }
    let mut removed = 0;
    for (&slot, touched) in &slots {
        removed += recompute(write, slot, touched, now)?;
    }
    removed += decisions::recompute(write, &places, now)?;
    // Once all of them are what is left, because two of them may be one now.
    for &slot in slots.keys() {
        facts::join_repeats(write, slot, now)?;
    }
    words.strike(write)?;
    Ok(removed)
}

/// Computes a slot again whose versions `touched` lost sayings. Gives how many versions are gone.
fn recompute(write: &mut Write<'_>, slot: i64, touched: &BTreeSet<i64>, now: Timestamp) -> Stored<u64> {
    if touched.len() > STRETCHES {
        let whole = Stretch::whole(write.connection, slot)?;
        return Ok(chains::recompute(write, &whole, touched, now)?.removed);
    }
    // What a version loses can change itself and join its neighbours, and reaches no farther.
    let mut places = Vec::with_capacity(touched.len());
    for version in touched {
        places.push((*version, chains::place(write.connection, *version)?));
    }
    let mut removed = 0;
    for (version, place) in places {
        let stretch = Stretch::beside(write.connection, slot, place)?;
        removed += chains::recompute(write, &stretch, &BTreeSet::from([version]), now)?.removed;
    }
    Ok(removed)
}

fn remove_owned(write: &Write<'_>, owner: OwnerKey) -> Stored<()> {
    let (episode, sighting) = owner.columns();
    write
        .connection
        .prepare_cached("DELETE FROM jobs WHERE episode = ?1 OR sighting = ?2")?
        .execute((episode, sighting))?;
    spaces::delete_pieces(write, owner)
}

fn forget_episode(write: &mut Write<'_>, episode: i64, now: Timestamp) -> Stored<u64> {
    let (id, scope): (String, [String; 3]) = write
        .connection
        .prepare_cached("SELECT id, user, agent, session FROM episodes WHERE episode = ?1")?
        .query_row((episode,), |row| Ok((row.get(0)?, [row.get(1)?, row.get(2)?, row.get(3)?])))?;
    let said =
        sayings(write.connection, "SELECT sighting, slot, version FROM sightings WHERE episode_id = ?1", &[&id])?;
    let versions = remove_sayings(write, &said, now)?;
    remove_owned(write, OwnerKey::Episode(episode))?;
    write.connection.prepare_cached("DELETE FROM attachments WHERE episode = ?1")?.execute((episode,))?;
    write.connection.prepare_cached("DELETE FROM episodes WHERE episode = ?1")?.execute((episode,))?;
    let [user, agent, session] = &scope;
    chains::note_deletion(write, &id, "episode", [user, agent, session])?;
    Ok(versions)
}

/// Removes everything of a scope. Gives how many facts and episodes are gone.
pub(super) fn forget_scope(write: &mut Write<'_>, scope: &Scope, now: Timestamp) -> Stored<u64> {
    let (user, agent, session) = scope.bound();
    let connection = write.connection;
    let bound = named_params! { ":user": user, ":agent": agent, ":session": session };
    // Sayings first, so that each chain is computed once.
    let sql = format!("SELECT sighting, slot, version FROM sightings WHERE {SCOPE_PREDICATE} ORDER BY seq");
    let said: Vec<Saying> =
        connection.prepare_cached(&sql)?.query_map(bound, saying)?.collect::<rusqlite::Result<_>>()?;
    let mut removed = remove_sayings(write, &said, now)?;
    let episodes: Vec<i64> = connection
        .prepare_cached(&format!("SELECT episode FROM episodes WHERE {SCOPE_PREDICATE} ORDER BY seq"))?
        .query_map(bound, |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for episode in episodes {
        removed += 1 + forget_episode(write, episode, now)?;
    }
    for table in ["working", "working_usage"] {
        connection.prepare_cached(&format!("DELETE FROM {table} WHERE {SCOPE_PREDICATE}"))?.execute(bound)?;
    }
    contexts::forget_scope(write, scope)?;
    // Core memory belongs to (user, agent): a session has none of its own.
    if session.is_none() {
        connection
            .prepare_cached("DELETE FROM blocks WHERE user = ?1 AND (?2 IS NULL OR agent = ?2)")?
            .execute((user, agent))?;
        write.touch_core();
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        embed::EmbeddingSpace,
        entity::{Entity, EntityType, EvolutionType},
        ledger::{
            FactFilter, FactUpdate, Ledger, NewFact, Piece,
            sqlite::{SqliteLedger, decisions::NewDecision},
        },
        metadata::Metadata,
    };

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Say { second: i64, content: u8, confidence: u8 },
        Update { second: i64, content: u8 },
        Decide { sayings: [prop::sample::Index; 2], kind: EvolutionType },
        Forget(prop::sample::Index),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let say = (0..30_i64, 0..3_u8, 1..10_u8).prop_map(|(second, content, confidence)| Step::Say {
            second,
            content,
            confidence,
        });
        let update = (0..30_i64, 0..3_u8).prop_map(|(second, content)| Step::Update { second, content });
        let forget = any::<prop::sample::Index>().prop_map(Step::Forget);
        let decide = (any::<[prop::sample::Index; 2]>(), prop::sample::select(EvolutionType::ALL.to_vec()))
            .prop_map(|(sayings, kind)| Step::Decide { sayings, kind });
        prop::collection::vec(prop_oneof![5 => say, 1 => update, 2 => decide, 2 => forget], 1..30)
    }

    /// Decides how two sayings relate, and gives whether there are two.
    fn decide(write: &mut Write<'_>, id: Uuid, sayings: [prop::sample::Index; 2], kind: EvolutionType) -> Stored<()> {
        let keys: Vec<i64> = write
            .connection
            .prepare("SELECT sighting FROM sightings ORDER BY sighting")?
            .query_map((), |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        if keys.is_empty() {
            return Ok(());
        }
        let [sighting, other] = sayings.map(|saying| *saying.get(&keys));
        if sighting == other {
            return Ok(());
        }
        let (created_at, reason) = (Timestamp::UNIX_EPOCH, "because");
        let new =
            NewDecision { id, user: "", sighting, other, evolution_type: kind, reason, confidence: 0.5, created_at };
        let places = decisions::insert(write, &new)?;
        decisions::recompute(write, &places, created_at).map(drop)
    }

    fn piece() -> Piece {
        Piece { ordinal: 0, lexical: vec![1], vector: Some(vec![1, 2]) }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn the_neighbours_of_what_was_forgotten_are_all_that_changes(steps in steps(), has_attribute: bool) {
            let at = |second: i64| Timestamp::from_second(second).unwrap();
            let space = EmbeddingSpace::new("test", 2, "");
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let ledger = SqliteLedger::in_memory().unwrap();
            let all = FactFilter { limit: 100, ..FactFilter::default() };
            runtime.block_on(async {
                for (number, step) in (1_u128..).zip(steps) {
                    let id = Uuid::from_u128(number);
                    let facts = ledger.facts(&Scope::new(), &all).await.unwrap();
                    match step {
                        Step::Say { second, content, confidence } => {
                            let content = format!("place {content}");
                            let name = if number % 3 == 0 { "Ben" } else { "Ana" };
                            let mut entity = Entity::new(id, at(second), EntityType::Person, name, &content).unwrap();
                            entity.attribute = has_attribute.then(|| "home".to_owned());
                            entity.confidence = f64::from(confidence) / 10.0;
                            entity.metadata = Metadata::parse(&format!("{{\"n{number}\":1}}")).unwrap();
                            let fact = NewFact { entity, piece: piece(), embed_job: None };
                            ledger.record(&space, vec![fact]).await.unwrap();
                        }
                        Step::Update { second, content } => {
                            let Some(fact) = facts.last() else { continue };
                            let update = FactUpdate {
                                id: fact.id,
                                new_id: id,
                                content: Some(format!("place {content}")),
                                metadata: None,
                                confidence: Some(0.3),
                                importance: None,
                                piece: piece(),
                                embed_job: None,
                                now: at(second),
                            };
                            ledger.update(&space, &Scope::new(), update).await.unwrap();
                        }
                        Step::Decide { sayings, kind } => {
                            ledger.write(0, move |write| decide(write, id, sayings, kind)).await.unwrap();
                        }
                        Step::Forget(which) => {
                            if facts.is_empty() {
                                continue;
                            }
                            let id = which.get(&facts).id;
                            ledger.forget(&Scope::new(), id, ForgetReach::Version, at(99)).await.unwrap();
                        }
                    }
                    let report = ledger.check().await.unwrap();
                    assert!(report.problems.is_empty(), "{:?}", report.problems);
                    // Computing every chain as a whole finds nothing left to write.
                    let written = ledger.write(0, |write| {
                        let before = write.seq();
                        let slots: Vec<i64> = write
                            .connection
                            .prepare("SELECT slot FROM slots")?
                            .query_map((), |row| row.get(0))?
                            .collect::<rusqlite::Result<_>>()?;
                        for slot in slots {
                            let whole = Stretch::whole(write.connection, slot)?;
                            chains::recompute(write, &whole, &BTreeSet::new(), Timestamp::UNIX_EPOCH)?;
                        }
                        Ok(write.seq() - before)
                    });
                    assert_eq!(written.await.unwrap(), 0, "after {step:?}");
                }
            });
        }
    }
}
