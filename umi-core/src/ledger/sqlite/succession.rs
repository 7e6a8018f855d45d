//! Forgetting sayings that decisions name: what was decided about one goes over to another saying of its version. Where
//! the whole version goes, what it had ended is ended by what had ended it, as if it had never been said.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, named_params};
use uuid::Uuid;

use super::{
    chains::Place,
    decisions::{self, END, End, NewDecision, Places, closing, end, end_of},
    errors::Stored,
    reasons,
    rows::{self, micros},
    writer::Write,
};
use crate::entity::EvolutionType;

/// A decision that names a saying which goes.
#[derive(Debug)]
struct Losing {
    key: i64,
    id: Uuid,
    user: String,
    evolution_type: EvolutionType,
    confidence: f64,
    created_at: Timestamp,
    /// The saying that was new, and the other one.
    ends: [End; 2],
}

/// The columns that [`losing`] reads.
const LOSING: &str = "decision, id, user, type, confidence, created_at, sighting, other";

fn losing(connection: &Connection, row: &Row<'_>) -> Stored<Losing> {
    Ok(Losing {
        key: row.get(0)?,
        id: rows::parsed(row, 1)?,
        user: row.get(2)?,
        evolution_type: rows::parsed(row, 3)?,
        confidence: row.get(4)?,
        created_at: rows::time(row, 5)?,
        ends: [end_of(connection, row.get(6)?)?, end_of(connection, row.get(7)?)?],
    })
}

/// The decisions that name a saying.
fn naming(connection: &Connection, sighting: i64) -> Stored<Vec<Losing>> {
    let mut statement = connection
        .prepare_cached(&format!("SELECT {LOSING} FROM decisions WHERE sighting = ?1 OR other = ?1 ORDER BY seq"))?;
    let mut found = statement.query((sighting,))?;
    let mut all = Vec::new();
    while let Some(row) = found.next()? {
        all.push(losing(connection, row)?);
    }
    Ok(all)
}

impl Losing {
    /// Its sayings, the older one first.
    fn in_time(&self) -> [&End; 2] {
        let [one, two] = &self.ends;
        if one.place < two.place { [one, two] } else { [two, one] }
    }

    /// The slot that it closes, and where.
    fn closes(&self) -> Option<(i64, Place)> {
        closing(&self.ends[0], &self.ends[1], self.evolution_type)
    }
}

/// A version of which no saying is left.
#[derive(Clone, Copy, Debug)]
struct Lost {
    version: i64,
    slot: i64,
    place: Place,
    valid_to: Option<Timestamp>,
}

/// What ended a lost version: a saying of another slot, as a model decided, or the next one of its own.
#[derive(Debug)]
struct Ender {
    saying: End,
    /// What was decided; none where the order of time alone did.
    by: Option<(Uuid, EvolutionType, f64, Timestamp)>,
}

/// The versions that were passed over, and which two of a slot stand side by side because of it.
#[derive(Debug, Default)]
struct Passed {
    versions: BTreeSet<i64>,
    beside: BTreeSet<(i64, i64)>,
}

/// Lets go of sayings that are to be forgotten and gives what is to be computed again when they are gone.
pub(super) fn let_go(write: &mut Write<'_>, gone: &BTreeSet<i64>) -> Stored<Places> {
    let mut places = Places::new();
    if !decisions::has_any(write.connection)? {
        return Ok(places);
    }
    // The oldest first: what it had ended is gone by then, or stays.
    let lost = lost(write.connection, gone)?;
    let mut passed = Passed::default();
    for version in &lost {
        passed.versions.insert(version.version);
        pass_over(write, version, &mut passed, gone, &mut places)?;
    }
    for &sighting in gone {
        for losing in naming(write.connection, sighting)? {
            note(&mut places, &losing);
            let ([one, two], connection) = (&losing.ends, write.connection);
            let heirs = (heir(connection, one, two, gone)?, heir(connection, two, one, gone)?);
            let (Some(one), Some(two)) = heirs else {
                remove(write, &losing)?;
                continue;
            };
            places.extend(re_anchor(write, &losing, &one, &two)?);
        }
    }
    Ok(places)
}

/// Notes where a decision that changes can have changed its chains.
fn note(places: &mut Places, losing: &Losing) {
    places.extend(losing.ends.iter().map(|end| (end.slot, end.place)));
    places.extend(losing.closes());
}

/// The versions that lose every saying, in the order of time.
fn lost(connection: &Connection, gone: &BTreeSet<i64>) -> Stored<Vec<Lost>> {
    let mut losses: BTreeMap<i64, i64> = BTreeMap::new();
    for &sighting in gone {
        if let Some(version) = end_of(connection, sighting)?.version {
            *losses.entry(version).or_default() += 1;
        }
    }
    let mut statement = connection.prepare_cached(
        "SELECT slot, valid_from, said_seq, valid_to, (SELECT count(*) FROM sightings \
         WHERE sightings.version = versions.version) FROM versions WHERE version = ?1",
    )?;
    let mut lost = Vec::new();
    for (version, losses) in losses {
        let (found, count) = statement.query_row((version,), |row| {
            let place = (rows::time(row, 1)?, row.get(2)?);
            let lost = Lost { version, slot: row.get(0)?, place, valid_to: rows::maybe_time(row, 3)? };
            Ok((lost, row.get::<_, i64>(4)?))
        })?;
        if count == losses {
            lost.push(found);
        }
    }
    lost.sort_by_key(|version| version.place);
    Ok(lost)
}

/// Composes the decisions about a lost version: what it ended is ended by what ended it. `passed` are the versions that
/// this was done for, itself included.
fn pass_over(
    write: &mut Write<'_>,
    version: &Lost,
    passed: &mut Passed,
    gone: &BTreeSet<i64>,
    places: &mut Places,
) -> Stored<()> {
    let connection = write.connection;
    let sayings: Vec<i64> = connection
        .prepare_cached("SELECT sighting FROM sightings WHERE version = ?1 ORDER BY valid_from, seq")?
        .query_map((version.version,), |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut naming_it: BTreeMap<i64, Losing> = BTreeMap::new();
    for saying in sayings {
        naming_it.extend(naming(connection, saying)?.into_iter().map(|losing| (losing.key, losing)));
    }
    if naming_it.is_empty() {
        return Ok(());
    }
    let enders = enders(connection, version)?;
    for losing in naming_it.values() {
        note(places, losing);
        let [older, newer] = losing.in_time();
        if losing.closes().is_none() {
            remove(write, losing)?;
        } else if newer.version == Some(version.version) {
            // It goes first, so that of one pair there are never two.
            remove(write, losing)?;
            for ender in &enders {
                if ender.saying.slot == older.slot {
                    passed.beside.extend(older.version.zip(ender.saying.version));
                } else if !is_said_between(connection, older, newer, ender, gone)? {
                    places.extend(compose(write, losing, older, ender)?);
                }
            }
        } else {
            match stand_in(connection, version, newer.place, passed)? {
                Some(older) => places.extend(re_anchor(write, losing, newer, &older)?),
                None => remove(write, losing)?,
            }
        }
    }
    Ok(())
}

/// What ended a version: all that closes its slot between it and the next version, and that one where it follows.
fn enders(connection: &Connection, version: &Lost) -> Stored<Vec<Ender>> {
    let (from, seq) = (micros(version.place.0), version.place.1);
    let next: Option<(i64, Place)> = connection
        .prepare_cached(
            "SELECT version, valid_from, said_seq FROM versions WHERE slot = ?1 \
             AND (valid_from, said_seq) > (?2, ?3) ORDER BY valid_from, said_seq LIMIT 1",
        )?
        .query_row((version.slot, from, seq), |row| Ok((row.get(0)?, (rows::time(row, 1)?, row.get(2)?))))
        .optional()?;
    let mut enders = Vec::new();
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {LOSING} FROM decisions WHERE closes = ?1 AND (closes_at, closes_seq) > (?2, ?3) \
         ORDER BY closes_at, closes_seq, decision"
    ))?;
    let mut found = statement.query((version.slot, from, seq))?;
    while let Some(row) = found.next()? {
        let losing = losing(connection, row)?;
        let saying = losing.in_time()[1].clone();
        if next.is_some_and(|(_, next)| saying.place > next) {
            break;
        }
        let by = Some((losing.id, losing.evolution_type, losing.confidence, losing.created_at));
        enders.push(Ender { saying, by });
    }
    if let Some((next, (begins, _))) = next
        && version.valid_to == Some(begins)
    {
        let sql = format!("SELECT {END} FROM sightings WHERE version = ?1 ORDER BY valid_from, seq LIMIT 1");
        let saying = connection.prepare_cached(&sql)?.query_row((next,), end)?;
        enders.push(Ender { saying, by: None });
    }
    Ok(enders)
}

/// Whether what the older saying said was said again between its ending and that by another one, which ends it then.
fn is_said_between(
    connection: &Connection,
    older: &End,
    newer: &End,
    ender: &Ender,
    gone: &BTreeSet<i64>,
) -> Stored<bool> {
    let ((from, from_seq), (to, to_seq)) = (newer.place, ender.saying.place);
    let mut statement = connection.prepare_cached(
        "SELECT sighting FROM versions CROSS JOIN sightings USING (version) WHERE versions.slot = ?1 \
         AND (versions.valid_from, said_seq) > (?2, ?3) AND (versions.valid_from, said_seq) < (?4, ?5) \
         AND (sightings.valid_from, sightings.seq) < (?4, ?5)",
    )?;
    let mut found = statement.query((older.slot, micros(from), from_seq, micros(to), to_seq))?;
    while let Some(row) = found.next()? {
        if !gone.contains(&row.get(0)?) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Decides that the older saying of a decision, whose newer one goes, is ended by what ended that one.
fn compose(write: &mut Write<'_>, losing: &Losing, older: &End, ender: &Ender) -> Stored<Places> {
    let connection = write.connection;
    let known = "SELECT 1 FROM decisions WHERE ((sighting = ?1 AND other = ?2) OR (sighting = ?2 AND other = ?1)) \
                 AND closes IS NOT NULL";
    if connection.prepare_cached(known)?.exists((ender.saying.sighting, older.sighting))? {
        return Ok(Places::new());
    }
    debug_assert!(older.place < ender.saying.place, "what ended a version stands behind what it had ended");
    let (by, evolution_type, confidence, created_at) = match ender.by {
        Some((id, by, confidence, created_at)) => {
            // Something has changed where one of the two says so.
            let is_changed = [by, losing.evolution_type].contains(&EvolutionType::Update);
            let kind = if is_changed { EvolutionType::Update } else { EvolutionType::Contradict };
            (id, kind, losing.confidence.min(confidence), losing.created_at.max(created_at))
        }
        None => (Uuid::nil(), EvolutionType::Update, losing.confidence, losing.created_at),
    };
    let new = NewDecision {
        // The decision that goes gives its id to no other one.
        id: Uuid::new_v5(&losing.id, by.as_bytes()),
        user: &losing.user,
        sighting: ender.saying.sighting,
        other: older.sighting,
        evolution_type,
        reason: &reasons::of_ends(connection, evolution_type, older.sighting, ender.saying.sighting)?,
        confidence,
        created_at,
    };
    decisions::insert(write, &new)
}

/// The saying that a slot ended with at a place, now that a version is passed over: the last one of a later version, or
/// of the one that the lost version followed.
fn stand_in(connection: &Connection, version: &Lost, place: Place, passed: &Passed) -> Stored<Option<End>> {
    let mut statement = connection.prepare_cached(
        "SELECT version, valid_from, said_seq, valid_to FROM versions WHERE slot = ?1 \
         AND (valid_from, said_seq) < (?2, ?3) ORDER BY valid_from DESC, said_seq DESC",
    )?;
    let mut found = statement.query((version.slot, micros(place.0), place.1))?;
    let mut follower = (version.version, version.place.0);
    while let Some(row) = found.next()? {
        let (candidate, begins): (i64, Place) = (row.get(0)?, (rows::time(row, 1)?, row.get(2)?));
        let ends = rows::maybe_time(row, 3)?;
        let is_beside = ends == Some(follower.1) || passed.beside.contains(&(candidate, follower.0));
        if passed.versions.contains(&candidate) {
            if is_beside {
                follower = (candidate, begins.0);
            }
            continue;
        }
        if begins < version.place && !is_beside {
            return Ok(None);
        }
        let sql = format!(
            "SELECT {END} FROM sightings WHERE version = ?1 AND (valid_from, seq) < (?2, ?3) \
             ORDER BY valid_from DESC, seq DESC LIMIT 1"
        );
        return Ok(connection
            .prepare_cached(&sql)?
            .query_row((candidate, micros(place.0), place.1), end)
            .optional()?);
    }
    Ok(None)
}

fn remove(write: &Write<'_>, losing: &Losing) -> Stored<()> {
    for sql in ["DELETE FROM evolutions WHERE decision = ?1", "DELETE FROM decisions WHERE decision = ?1"] {
        write.connection.prepare_cached(sql)?.execute((losing.key,))?;
    }
    Ok(())
}

/// The saying that stands for `own` once the gone ones are: itself, else the nearest to the other end among those of its
/// version, on the side of that where it stood itself if there is one.
fn heir(connection: &Connection, own: &End, far: &End, gone: &BTreeSet<i64>) -> Stored<Option<End>> {
    if !gone.contains(&own.sighting) {
        return Ok(Some(own.clone()));
    }
    let sql = format!("SELECT {END} FROM sightings WHERE version = ?1 ORDER BY valid_from, seq");
    let left: Vec<End> = connection
        .prepare_cached(&sql)?
        .query_map((own.version,), end)?
        .filter(|end| end.as_ref().map_or(true, |end| !gone.contains(&end.sighting)))
        .collect::<rusqlite::Result<_>>()?;
    let before = left.iter().rfind(|end| end.place < far.place);
    let behind = left.iter().find(|end| end.place > far.place);
    let heir = if own.place < far.place { before.or(behind) } else { behind.or(before) };
    Ok(heir.cloned())
}

/// Moves a decision to other sayings, with a reason that tells of nothing but what these say, or removes it where there
/// is such a decision already. Gives what is to be computed again.
fn re_anchor(write: &Write<'_>, losing: &Losing, one: &End, two: &End) -> Stored<Places> {
    let connection = write.connection;
    let kind = losing.evolution_type;
    if one.sighting == two.sighting
        || connection
            .prepare_cached("SELECT 1 FROM decisions WHERE sighting = ?1 AND other = ?2 AND type = ?3")?
            .exists((one.sighting, two.sighting, kind.as_str()))?
    {
        remove(write, losing)?;
        return Ok(Places::new());
    }
    connection.prepare_cached("DELETE FROM evolutions WHERE decision = ?1")?.execute((losing.key,))?;
    let closes = closing(one, two, kind);
    let (older, newer) = if one.place < two.place { (one, two) } else { (two, one) };
    connection
        .prepare_cached(
            "UPDATE decisions SET sighting = :sighting, other = :other, reason = :reason, closes = :closes, \
             closes_at = :closes_at, closes_seq = :closes_seq WHERE decision = :decision",
        )?
        .execute(named_params! {
            ":decision": losing.key, ":sighting": one.sighting, ":other": two.sighting,
            ":reason": reasons::of_ends(connection, kind, older.sighting, newer.sighting)?,
            ":closes": closes.map(|(slot, _)| slot), ":closes_at": closes.map(|(_, (at, _))| micros(at)),
            ":closes_seq": closes.map(|(_, (_, seq))| seq),
        })?;
    Ok([(one.slot, one.place), (two.slot, two.place)].into_iter().chain(closes).collect())
}

#[cfg(test)]
mod tests;
