//! Decisions: how sayings relate to one another, as a model decided, and what follows from it for their versions.
//!
//! A decision names two sayings, never versions, so that what it closes depends on nothing that it changes itself: the
//! one that is true earlier is the older one, and `update` and `contradict` end its slot at the other one.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rusqlite::{Connection, Row, named_params};
use uuid::Uuid;

use super::{
    chains::{self, Place, Stretch},
    errors::Stored,
    rows::{self, micros},
    writer::Write,
};
use crate::entity::{Closing, EVOLUTION_REASON_BYTES, EvolutionType};

/// A saying that a decision names.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct End {
    pub(super) sighting: i64,
    pub(super) slot: i64,
    pub(super) version: Option<i64>,
    pub(super) place: Place,
}

/// The columns that [`end`] reads.
pub(super) const END: &str = "sighting, slot, version, valid_from, seq";

/// Reads a saying.
pub(super) fn end(row: &Row<'_>) -> rusqlite::Result<End> {
    Ok(End {
        sighting: row.get(0)?,
        slot: row.get(1)?,
        version: row.get(2)?,
        place: (rows::time(row, 3)?, row.get(4)?),
    })
}

/// The saying with an internal key.
pub(super) fn end_of(connection: &Connection, sighting: i64) -> Stored<End> {
    Ok(connection
        .prepare_cached(&format!("SELECT {END} FROM sightings WHERE sighting = ?1"))?
        .query_row((sighting,), end)?)
}

/// A decision to write.
#[derive(Debug)]
pub(super) struct NewDecision<'a> {
    pub(super) id: Uuid,
    pub(super) user: &'a str,
    /// The internal key of the saying that was new.
    pub(super) sighting: i64,
    /// That of the other one.
    pub(super) other: i64,
    pub(super) evolution_type: EvolutionType,
    pub(super) reason: &'a str,
    pub(super) confidence: f64,
    pub(super) created_at: Timestamp,
}

/// Where chains are to be computed again.
pub(super) type Places = BTreeSet<(i64, Place)>;

/// The slot that a decision between two sayings closes, and where.
pub(super) fn closing(one: &End, two: &End, evolution_type: EvolutionType) -> Option<(i64, Place)> {
    let (older, newer) = if one.place < two.place { (one, two) } else { (two, one) };
    (evolution_type.closes() && one.slot != two.slot).then_some((older.slot, newer.place))
}

/// Writes a decision and gives what is to be computed again; nothing where it is there already.
pub(super) fn insert(write: &mut Write<'_>, new: &NewDecision<'_>) -> Stored<Places> {
    let (one, two) = (end_of(write.connection, new.sighting)?, end_of(write.connection, new.other)?);
    let closes = closing(&one, &two, new.evolution_type);
    let seq = write.next_seq();
    let written = write
        .connection
        .prepare_cached(
            "INSERT INTO decisions (id, seq, user, sighting, other, type, reason, confidence, created_at, closes, \
             closes_at, closes_seq) VALUES (:id, :seq, :user, :sighting, :other, :type, :reason, :confidence, \
             :created_at, :closes, :closes_at, :closes_seq) ON CONFLICT (sighting, other, type) DO NOTHING",
        )?
        .execute(named_params! {
            ":id": rows::text(new.id), ":seq": seq, ":user": new.user, ":sighting": new.sighting,
            ":other": new.other, ":type": new.evolution_type.as_str(), ":reason": cut_reason(new.reason),
            ":confidence": new.confidence, ":created_at": micros(new.created_at),
            ":closes": closes.map(|(slot, _)| slot), ":closes_at": closes.map(|(_, (at, _))| micros(at)),
            ":closes_seq": closes.map(|(_, (_, seq))| seq),
        })?;
    if written == 0 {
        return Ok(Places::new());
    }
    Ok([(one.slot, one.place), (two.slot, two.place)].into_iter().chain(closes).collect())
}

fn cut_reason(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(EVOLUTION_REASON_BYTES)]
}

/// Computes again what decisions have changed.
pub(super) fn recompute(write: &mut Write<'_>, places: &Places, now: Timestamp) -> Stored<u64> {
    let mut removed = 0;
    for &(slot, place) in places {
        let stretch = Stretch::beside(write.connection, slot, place)?;
        removed += chains::recompute(write, &stretch, &BTreeSet::new(), now)?.removed;
    }
    Ok(removed)
}

/// The closings of a slot from a time on.
pub(super) const CLOSINGS: &str =
    "SELECT closes_at, closes_seq FROM decisions WHERE closes = ?1 AND closes_at >= ?2 ORDER BY closes_at, closes_seq";

/// What ends a slot from a time on; nothing for none.
pub(super) fn closings(connection: &Connection, slot: i64, from: Option<Timestamp>) -> Stored<Vec<Closing>> {
    let Some(from) = from else { return Ok(Vec::new()) };
    Ok(connection
        .prepare_cached(CLOSINGS)?
        .query_map((slot, micros(from)), |row| Ok(Closing { at: rows::time(row, 0)?, seq: row.get(1)? }))?
        .collect::<rusqlite::Result<_>>()?)
}

/// The relation that a decision gives: its older and newer version, and its type.
type Relation = (i64, i64, String);

/// The decision that tells of each relation: of several the last one.
pub(super) type Decided = BTreeMap<Relation, i64>;

/// The decisions of a version's sayings with the versions of their two ends, once for each end that is its own.
pub(super) const OF_VERSION: &str = "SELECT decisions.decision, decisions.seq, decisions.type, far.version, \
     (far.valid_from, far.seq) < (own.valid_from, own.seq) FROM sightings AS own \
     CROSS JOIN decisions ON decisions.sighting = own.sighting \
     CROSS JOIN sightings AS far ON far.sighting = decisions.other WHERE own.version = ?1 \
     UNION ALL SELECT decisions.decision, decisions.seq, decisions.type, far.version, \
     (far.valid_from, far.seq) < (own.valid_from, own.seq) FROM sightings AS own \
     CROSS JOIN decisions ON decisions.other = own.sighting \
     CROSS JOIN sightings AS far ON far.sighting = decisions.sighting WHERE own.version = ?1";

/// Whether the store has a decision: one without a model has none, and looks for none.
pub(super) fn has_any(connection: &Connection) -> Stored<bool> {
    Ok(connection.prepare_cached("SELECT 1 FROM decisions LIMIT 1")?.exists(())?)
}

/// The relations that decisions give between these versions and any.
pub(super) fn decided(connection: &Connection, versions: &[i64]) -> Stored<Decided> {
    let mut last: BTreeMap<Relation, (i64, i64)> = BTreeMap::new();
    if !has_any(connection)? {
        return Ok(Decided::new());
    }
    let mut statement = connection.prepare_cached(OF_VERSION)?;
    for &own in versions {
        let mut found = statement.query((own,))?;
        while let Some(row) = found.next()? {
            // A saying whose chain is still to be computed has no version; its turn comes.
            let Some(far) = row.get::<_, Option<i64>>(3)?.filter(|far| *far != own) else { continue };
            let is_older: bool = row.get(4)?;
            let (older, newer) = if is_older { (far, own) } else { (own, far) };
            let decision = (row.get(1)?, row.get(0)?);
            let known = last.entry((older, newer, row.get(2)?)).or_insert(decision);
            *known = decision.max(*known);
        }
    }
    Ok(last.into_iter().map(|(relation, (_, decision))| (relation, decision)).collect())
}

/// Removes the relations of these versions that no decision gives any more, or another one.
pub(super) fn drop_undecided(write: &Write<'_>, versions: &[i64], decided: &Decided) -> Stored<()> {
    if !has_any(write.connection)? {
        return Ok(());
    }
    let mut statement = write.connection.prepare_cached(
        "SELECT older, newer, type, evolution, decision FROM evolutions \
         WHERE (older = ?1 OR newer = ?1) AND decision IS NOT NULL",
    )?;
    let mut gone: Vec<i64> = Vec::new();
    for version in versions {
        let mut found = statement.query((version,))?;
        while let Some(row) = found.next()? {
            let relation = (row.get(0)?, row.get(1)?, row.get(2)?);
            if decided.get(&relation) != Some(&row.get(4)?) {
                gone.push(row.get(3)?);
            }
        }
    }
    for evolution in gone {
        write.connection.prepare_cached("DELETE FROM evolutions WHERE evolution = ?1")?.execute((evolution,))?;
    }
    Ok(())
}

/// Writes the relations that decisions give, where they are not there. Gives the ids of those that are new.
pub(super) fn relate(write: &mut Write<'_>, decided: &Decided) -> Stored<Vec<Uuid>> {
    let mut new = Vec::new();
    for ((older, newer, _), decision) in decided {
        let is_there = write
            .connection
            .prepare_cached("SELECT 1 FROM evolutions WHERE decision = ?1 AND older = ?2 AND newer = ?3")?
            .exists((decision, older, newer))?;
        if is_there {
            continue;
        }
        let seq = write.next_seq();
        let id = write
            .connection
            .prepare_cached(
                "INSERT INTO evolutions (id, seq, user, older, newer, type, reason, confidence, created_at, decision) \
                 SELECT id, ?1, user, ?2, ?3, type, reason, confidence, created_at, decision FROM decisions \
                 WHERE decision = ?4 RETURNING id",
            )?
            .query_row((seq, older, newer, decision), |row| rows::parsed(row, 0))?;
        new.push(id);
    }
    Ok(new)
}

/// Has decisions follow sayings that went over from one slot to another, in which they close nothing of their own.
pub(super) fn follow(write: &Write<'_>, slot: i64, from: i64) -> Stored<()> {
    for sql in [
        "UPDATE decisions SET closes = ?1 WHERE closes = ?2",
        "UPDATE decisions SET closes = NULL, closes_at = NULL, closes_seq = NULL WHERE closes = ?1 AND ?2 IS NOT NULL \
         AND (SELECT slot FROM sightings WHERE sightings.sighting = decisions.sighting) \
         = (SELECT slot FROM sightings WHERE sightings.sighting = decisions.other)",
    ] {
        write.connection.prepare_cached(sql)?.execute((slot, from))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        embed::EmbeddingSpace,
        entity::{Entity, EntityType},
        ledger::{Ledger, NewFact, Piece, sqlite::SqliteLedger},
    };

    /// A saying: its time, its subject and its content.
    type Said = (i64, bool, u8);

    /// (content, from, to, last seen) of every version, and (older, newer, type) of every relation by their times.
    type State = (BTreeSet<(String, i64, Option<i64>, i64)>, BTreeSet<(i64, i64, String)>);

    async fn say(ledger: &SqliteLedger, number: usize, (second, is_ana, content): Said, has_attribute: bool) {
        let (id, at) = (Uuid::from_u128(number as u128 + 1), Timestamp::from_second(second).unwrap());
        let name = if is_ana { "Ana" } else { "Ben" };
        let mut entity = Entity::new(id, at, EntityType::Person, name, &format!("place {content}")).unwrap();
        entity.attribute = has_attribute.then(|| "home".to_owned());
        let piece = Piece { ordinal: 0, lexical: vec![1], vector: Some(vec![1, 2]) };
        let fact = NewFact { entity, piece, embed_job: None };
        ledger.record(&EmbeddingSpace::new("test", 2, ""), vec![fact]).await.unwrap();
    }

    async fn decide(ledger: &SqliteLedger, number: usize, ends: [usize; 2], evolution_type: EvolutionType) {
        let write = move |write: &mut Write<'_>| {
            let key = |saying: usize| -> Stored<i64> {
                let id = rows::text(Uuid::from_u128(saying as u128 + 1));
                Ok(write
                    .connection
                    .query_row("SELECT sighting FROM sightings WHERE id = ?1", (id,), |row| row.get(0))?)
            };
            let (sighting, other, created_at) = (key(ends[0])?, key(ends[1])?, Timestamp::UNIX_EPOCH);
            let id = Uuid::from_u128(number as u128 + 1_000);
            let (reason, confidence) = ("because", 0.5);
            let new = NewDecision { id, user: "", sighting, other, evolution_type, reason, confidence, created_at };
            let places = insert(write, &new)?;
            recompute(write, &places, created_at)
        };
        ledger.write(0, write).await.unwrap();
    }

    async fn state(ledger: &SqliteLedger) -> State {
        let report = ledger.check().await.unwrap();
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        let read = |connection: &Connection| {
            let versions = connection
                .prepare("SELECT content, valid_from, valid_to, last_seen FROM versions")?
                .query_map((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
                .collect::<rusqlite::Result<_>>()?;
            let relations = connection
                .prepare(
                    "SELECT first.valid_from, second.valid_from, evolutions.type FROM evolutions \
                     JOIN versions AS first ON first.version = older JOIN versions AS second ON second.version = newer",
                )?
                .query_map((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                .collect::<rusqlite::Result<_>>()?;
            Ok((versions, relations))
        };
        ledger.read(read).await.unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn every_order_of_arrival_of_sayings_and_decisions_gives_the_same_versions(
            said in prop::collection::btree_map(0_i64..40, (any::<bool>(), 0_u8..3), 2..10),
            decided in prop::collection::vec(
                (any::<[prop::sample::Index; 2]>(), prop::sample::select(EvolutionType::ALL.to_vec())), 1..6,
            ),
            order in any::<prop::sample::Index>(),
            has_attribute: bool,
        ) {
            let said: Vec<Said> = said.into_iter().map(|(at, (is_ana, content))| (at, is_ana, content)).collect();
            let decided: Vec<([usize; 2], EvolutionType)> = decided
                .into_iter()
                .map(|(ends, kind)| (ends.map(|end| end.index(said.len())), kind))
                .filter(|(ends, _)| ends[0] != ends[1])
                .collect();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let states: [State; 2] = [false, true].map(|turned| runtime.block_on(async {
                let ledger = SqliteLedger::in_memory().unwrap();
                let mut arriving: Vec<usize> = (0..said.len()).collect();
                if turned {
                    arriving.reverse();
                    arriving.rotate_left(order.index(said.len()));
                }
                let mut there = BTreeSet::new();
                for saying in arriving {
                    say(&ledger, saying, said[saying], has_attribute).await;
                    there.insert(saying);
                    for (number, (ends, kind)) in decided.iter().enumerate().filter(|_| turned) {
                        if ends.contains(&saying) && ends.iter().all(|end| there.contains(end)) {
                            decide(&ledger, number, *ends, *kind).await;
                        }
                    }
                }
                for (number, (ends, kind)) in decided.iter().enumerate().filter(|_| !turned) {
                    decide(&ledger, number, *ends, *kind).await;
                }
                state(&ledger).await
            }));
            prop_assert_eq!(&states[0], &states[1]);
        }
    }
}
