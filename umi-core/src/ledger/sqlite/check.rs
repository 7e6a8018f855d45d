//! The check of a whole store: pages, schema, references, rows, chains against sightings, the feed.
//!
//! It reads one state of the store, row after row; what it holds in memory does not grow with the store, but for the
//! findings, which are cut. A part that cannot be read is a finding, and the next one goes on.

use std::collections::BTreeSet;

use rusqlite::{Connection, Params, Row};

use super::{
    blobs::Blobs,
    chains::{self, Stretch},
    contexts, decisions,
    errors::{self, Fault, Stored},
    evolutions, migrations, rows,
};
use crate::{
    episode::Episode,
    error::ErrorKind,
    ledger::CheckReport,
    scope::{Scope, restored},
};

/// The most findings that are told.
const PROBLEMS: usize = 1_000;
/// How many keys are read at once where each is looked at by other queries.
const KEYS: usize = 1_000;

/// Every table, with what a finding calls it.
const TABLES: [&str; 16] = [
    "spaces",
    "episodes",
    "slots",
    "versions",
    "sightings",
    "evolutions",
    "decisions",
    "pieces",
    "vectors",
    "jobs",
    "deletions",
    "blocks",
    "working",
    "contexts",
    "items",
    "attachments",
];

/// Every row that has a place in the feed, once.
const FEED: &str = "SELECT seq FROM episodes UNION ALL SELECT seq FROM versions UNION ALL SELECT seq FROM deletions \
     UNION ALL SELECT seq FROM evolutions UNION ALL SELECT seq FROM blocks UNION ALL SELECT seq FROM sightings \
     UNION ALL SELECT seq FROM decisions";

/// Every decision, with the later and the earlier one of its sayings.
const DECIDED: &str = "SELECT decisions.*, older.version AS older, newer.version AS newer, older.slot AS older_slot, \
     newer.valid_from AS newer_at, newer.seq AS newer_seq, \
     decisions.type IN ('update', 'contradict') AND older.slot <> newer.slot AS is_closing FROM decisions \
     JOIN sightings AS older ON older.sighting IN (decisions.sighting, other) \
     JOIN sightings AS newer ON newer.sighting IN (decisions.sighting, other) \
     AND (older.valid_from, older.seq) < (newer.valid_from, newer.seq)";

/// Findings that one query gives, a line each. Where `{feed}` and `{decided}` stand, [`FEED`] and [`DECIDED`] are put.
const QUERIES: &[&str] = &[
    // the feed
    "SELECT 'feed: there are ' || count(*) || ' counters' FROM counter HAVING count(*) <> 1",
    "SELECT 'feed: seq ' || seq || ' is given ' || count(*) || ' times' FROM ({feed}) GROUP BY seq HAVING count(*) > 1",
    "SELECT 'feed: seq ' || seq || ' lies behind the counter' FROM ({feed}) \
     WHERE seq > (SELECT max(seq) FROM counter) OR seq < 1",
    "SELECT 'feed: the last change of core memory, seq ' || max(blocks.seq) || ', is not told' FROM blocks \
     HAVING max(blocks.seq) > (SELECT max(core) FROM counter)",
    "SELECT 'deletions: ' || id || ' is there' FROM deletions \
     WHERE id IN (SELECT id FROM episodes) OR id IN (SELECT id FROM versions)",
    // facts
    "SELECT 'sightings: ' || id || ' has no version' FROM sightings WHERE version IS NULL",
    "SELECT 'sightings: ' || sightings.id || ' is of another slot than its version' FROM sightings \
     JOIN versions USING (version) WHERE versions.slot <> sightings.slot",
    "SELECT 'sightings: ' || sightings.id || ' is of another tenant than its slot' FROM sightings \
     JOIN slots USING (slot) WHERE slots.user <> sightings.user",
    "SELECT 'sightings: ' || sightings.id || ' was said by an episode of another tenant' FROM sightings \
     JOIN episodes ON episodes.id = sightings.episode_id WHERE episodes.user <> sightings.user",
    "SELECT 'versions: ' || versions.id || ' is of another subject than its slot' FROM versions \
     JOIN slots USING (slot) WHERE slots.user <> versions.user OR slots.type <> versions.type \
     OR slots.name_folded <> versions.name_folded OR slots.attribute_folded IS NOT versions.attribute_folded",
    "SELECT 'versions: ' || id || ' ends before it begins' FROM versions WHERE valid_to < valid_from",
    "SELECT 'versions: slot ' || slot || ' has ' || count(*) || ' current versions' FROM versions \
     WHERE valid_to IS NULL GROUP BY slot HAVING count(*) > 1",
    "SELECT 'slots: ' || slot || ' has no version' FROM slots \
     WHERE NOT EXISTS (SELECT 1 FROM versions WHERE versions.slot = slots.slot)",
    "SELECT 'evolutions: ' || evolutions.id || ' leads to another tenant' FROM evolutions \
     JOIN versions AS first ON first.version = older JOIN versions AS second ON second.version = newer \
     WHERE first.user <> second.user OR first.user <> evolutions.user",
    // decisions
    "SELECT 'decisions: ' || decisions.id || ' is of the unknown type `' || substr(type, 1, 64) || '`' FROM decisions \
     WHERE type NOT IN ('update', 'extend', 'derive', 'contradict')",
    "SELECT 'decisions: ' || decisions.id || ' leads to another tenant' FROM decisions \
     JOIN sightings AS one ON one.sighting = decisions.sighting JOIN sightings AS two ON two.sighting = other \
     WHERE one.user <> decisions.user OR two.user <> decisions.user",
    "SELECT 'decisions: ' || id || ' closes something else than its sayings say' FROM ({decided}) \
     WHERE closes IS NOT iif(is_closing, older_slot, NULL) OR closes_at IS NOT iif(is_closing, newer_at, NULL) \
     OR closes_seq IS NOT iif(is_closing, newer_seq, NULL)",
    "SELECT 'evolutions: ' || evolutions.id || ' is not what was decided' FROM evolutions \
     JOIN ({decided}) AS made USING (decision) WHERE evolutions.older <> made.older OR evolutions.newer <> made.newer \
     OR evolutions.type <> made.type OR evolutions.reason <> made.reason OR evolutions.user <> made.user \
     OR evolutions.confidence <> made.confidence OR evolutions.created_at <> made.created_at \
     OR evolutions.id <> made.id",
    "SELECT 'decisions: ' || made.id || ' gives no relation' FROM ({decided}) AS made WHERE made.older <> made.newer \
     AND NOT EXISTS (SELECT 1 FROM evolutions WHERE evolutions.older = made.older \
     AND evolutions.newer = made.newer AND evolutions.type = made.type AND evolutions.decision >= 1)",
    // keys, which an index keeps unique where it is sound
    "SELECT 'episodes: the key `' || substr(key, 1, 64) || '` is there ' || count(*) || ' times' FROM episodes \
     WHERE key IS NOT NULL GROUP BY user, key, turn HAVING count(*) > 1",
    "SELECT 'episodes: the id ' || id || ' is there ' || count(*) || ' times' FROM episodes NOT INDEXED \
     GROUP BY id HAVING count(*) > 1",
    // pieces and vectors
    "SELECT 'pieces: the episode ' || id || ' has none' FROM episodes \
     WHERE NOT EXISTS (SELECT 1 FROM pieces WHERE pieces.episode = episodes.episode AND ordinal = 0)",
    "SELECT 'pieces: the saying ' || id || ' has none' FROM sightings \
     WHERE NOT EXISTS (SELECT 1 FROM pieces WHERE pieces.sighting = sightings.sighting AND ordinal = 0)",
    "SELECT 'pieces: the episode ' || id || ' lacks some' FROM (SELECT episode, count(*) AS found, max(ordinal) AS last \
     FROM pieces WHERE episode IS NOT NULL GROUP BY episode) JOIN episodes USING (episode) WHERE found <> last + 1",
    "SELECT 'vectors: the episode ' || id || ' lacks some' FROM (SELECT episode FROM pieces \
     LEFT JOIN vectors ON vectors.piece = pieces.piece AND space = (SELECT space FROM spaces WHERE state = 'active') \
     WHERE embeds AND episode IS NOT NULL GROUP BY episode \
     HAVING count(vectors.piece) BETWEEN 1 AND count(*) - 1) JOIN episodes USING (episode)",
    "SELECT 'spaces: there are ' || count(*) || ' active ones' FROM spaces WHERE state = 'active' HAVING count(*) > 1",
    // jobs
    "SELECT 'jobs: ' || id || ' is of the unknown kind `' || substr(kind, 1, 64) || '`' FROM jobs \
     WHERE kind NOT IN ('embed', 'extract')",
    "SELECT 'jobs: ' || id || ' has a lease without a holder' FROM jobs \
     WHERE (lease_until IS NULL) <> (lease_holder IS NULL)",
    "SELECT 'jobs: ' || jobs.id || ' is of another scope than what it is about' FROM jobs \
     LEFT JOIN episodes ON episodes.episode = jobs.episode LEFT JOIN sightings ON sightings.sighting = jobs.sighting \
     WHERE jobs.user <> coalesce(episodes.user, sightings.user) \
     OR jobs.agent <> coalesce(episodes.agent, sightings.agent) \
     OR jobs.session <> coalesce(episodes.session, sightings.session)",
    // contexts
    "SELECT 'items: ' || items.session || '/' || ref || ' is of another scope than its context' FROM items \
     JOIN contexts AS own USING (context) WHERE (items.user, items.agent, items.session) <> (own.user, own.agent, own.session)",
    "SELECT 'items: the context `' || substr(session, 1, 64) || '` lacks some' FROM items GROUP BY context, session \
     HAVING count(*) <> max(place) + 1",
    "SELECT 'attachments: ' || origin || '/' || ref || ' is of another scope than its episode' FROM attachments \
     JOIN episodes AS own USING (episode) \
     WHERE (attachments.user, attachments.agent, attachments.session) <> (own.user, own.agent, own.session)",
    // core and working memory
    "SELECT 'blocks: block ' || block || ' has version ' || version FROM blocks WHERE version < 1",
    "SELECT 'blocks: block ' || block || ' is of the unknown type `' || substr(type, 1, 64) || '`' FROM blocks \
     WHERE type NOT IN ('system', 'persona', 'human', 'facts', 'goals', 'scratch')",
    "SELECT 'working: the usage of `' || user || '` is not that of its keys' FROM (SELECT user, agent, session, \
     sum(bytes) AS bytes, sum(entries) AS entries FROM (SELECT user, agent, session, bytes, entries \
     FROM working_usage UNION ALL SELECT user, agent, session, -(octet_length(key) + octet_length(value)), -1 \
     FROM working LEFT JOIN working_usage AS used USING (user, agent, session) \
     WHERE expires_at IS NULL OR expires_at > coalesce(used.at, expires_at - 1)) \
     GROUP BY user, agent, session) WHERE bytes <> 0 OR entries <> 0",
];

/// What was found so far.
#[derive(Default)]
struct Findings {
    report: CheckReport,
    untold: u64,
}

impl Findings {
    fn tell(&mut self, problem: String) {
        if self.report.problems.len() < PROBLEMS {
            self.report.problems.push(problem);
        } else {
            self.untold += 1;
        }
    }

    /// Tells of what cannot be read; what is no fault of the store's bytes ends the check.
    fn step(&mut self, what: &str, done: Stored<()>) -> Stored<()> {
        match done {
            Ok(()) => Ok(()),
            Err(fault) if fault.is_damage() => {
                self.tell(format!("{what}: {fault}"));
                Ok(())
            }
            Err(fault) => Err(fault),
        }
    }

    fn lines(&mut self, connection: &Connection, sql: &str, parameters: impl Params) -> Stored<()> {
        let mut statement = connection.prepare(sql)?;
        let mut found = statement.query(parameters)?;
        while let Some(row) = found.next()? {
            self.tell(row.get(0)?);
        }
        Ok(())
    }
}

/// Looks at everything.
pub(super) fn check(connection: &Connection, blobs: &Blobs) -> Stored<CheckReport> {
    let mut findings = Findings::default();
    let done = pages(connection, &mut findings);
    findings.step("pages", done)?;
    let done = schema(connection, &mut findings);
    findings.step("schema", done)?;
    let done = references(connection, &mut findings);
    findings.step("references", done)?;
    for query in QUERIES {
        let done = findings.lines(connection, &query.replace("{feed}", FEED).replace("{decided}", DECIDED), ());
        let what = query.split_once('\'').map_or("rows", |(_, rest)| rest.split(':').next().unwrap_or("rows"));
        findings.step(what, done)?;
    }
    let done = episodes(connection, &mut findings);
    findings.step("episodes", done)?;
    let done = contexts(connection, &mut findings);
    findings.step("items", done)?;
    let done = files(connection, blobs, &mut findings);
    findings.step("blobs", done)?;
    let done = all_chains(connection, &mut findings);
    findings.step("slots", done)?;
    for table in TABLES {
        let done = count(connection, table, &mut findings);
        findings.step(table, done)?;
    }
    let Findings { mut report, untold } = findings;
    if untold > 0 {
        report.problems.push(errors::count(untold, "more problem", "more problems"));
    }
    Ok(report)
}

fn pages(connection: &Connection, findings: &mut Findings) -> Stored<()> {
    findings.lines(
        connection,
        "SELECT 'pages: ' || integrity_check FROM pragma_integrity_check WHERE integrity_check <> 'ok'",
        (),
    )
}

/// Compares tables and indexes with those of a new store.
fn schema(connection: &Connection, findings: &mut Findings) -> Stored<()> {
    let expected = super::open::memory()?;
    let read = |connection: &Connection| -> Stored<BTreeSet<(String, String)>> {
        let mut statement = connection.prepare(
            "SELECT type || ' ' || name, coalesce(sql, '') FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%'",
        )?;
        Ok(statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?)
    };
    debug_assert_eq!(migrations::version(&expected)?, migrations::VERSION);
    let (expected, found) = (read(&expected)?, read(connection)?);
    for (name, _) in expected.difference(&found) {
        findings.tell(format!("schema: the {name} is missing or another"));
    }
    for (name, _) in found.difference(&expected).filter(|(name, _)| !expected.iter().any(|(own, _)| own == name)) {
        findings.tell(format!("schema: the {name} is not the engine's"));
    }
    Ok(())
}

fn references(connection: &Connection, findings: &mut Findings) -> Stored<()> {
    findings.lines(
        connection,
        "SELECT \"table\" || ': row ' || coalesce(rowid, 0) || ' names a row that is not in ' || parent \
         FROM pragma_foreign_key_check",
        (),
    )
}

/// Reads every episode as a recall would.
fn episodes(connection: &Connection, findings: &mut Findings) -> Stored<()> {
    let mut statement = connection
        .prepare(&format!("SELECT {}, episodes.episode FROM episodes ORDER BY episodes.episode", rows::EPISODE))?;
    let mut found = statement.query(())?;
    while let Some(row) = found.next()? {
        match rows::episode(row) {
            Err(error) => {
                let key: i64 = row.get("episode")?;
                findings.tell(format!("episodes: row {key} cannot be read: {error}"));
            }
            Ok(Episode { id, text, role, importance, .. }) => {
                if text.is_empty() || role.is_empty() || !(0.0..=1.0).contains(&importance) {
                    findings.tell(format!("episodes: {id} has no text, no role or an importance outside of 0 to 1"));
                }
            }
        }
    }
    Ok(())
}

/// Reads every saved context as loading it would.
fn contexts(connection: &Connection, findings: &mut Findings) -> Stored<()> {
    let mut statement = connection.prepare("SELECT user, session FROM contexts ORDER BY context")?;
    let mut found = statement.query(())?;
    while let Some(row) = found.next()? {
        let (user, session): (String, String) = (row.get(0)?, row.get(1)?);
        let read = Scope::from_parts(restored(user), None, Some(session.clone()))
            .map_err(Fault::from)
            .and_then(|scope| contexts::load(connection, &scope));
        if let Err(fault) = read {
            findings.tell(format!("items: the context `{session}` cannot be read: {fault}"));
        }
    }
    Ok(())
}

/// Reads every blob that a row names.
fn files(connection: &Connection, blobs: &Blobs, findings: &mut Findings) -> Stored<()> {
    let named = contexts::blobs(connection)?;
    findings.report.checked.push(("blobs".to_owned(), named.len() as u64));
    for blob in named {
        match blobs.read(&blob) {
            Ok(Some(bytes)) if bytes.len() as u64 == blob.bytes() => {}
            Ok(Some(_)) => findings.tell(format!("blobs: {} has another size than its row says", blob.file_name())),
            Ok(None) => findings.tell(format!("blobs: {} is missing", blob.file_name())),
            Err(error) if error.kind() == ErrorKind::CorruptStore => {
                findings.tell(format!("blobs: {} has another content", blob.file_name()));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn count(connection: &Connection, table: &str, findings: &mut Findings) -> Stored<()> {
    // The name is one of ours, and a table's name cannot be bound.
    let sql = format!("SELECT count(*) FROM {table} NOT INDEXED");
    let count = connection.query_row(&sql, (), |row| rows::unsigned(row, 0))?;
    findings.report.checked.push((table.to_owned(), count));
    Ok(())
}

/// Computes every chain again and compares it with what is stored.
fn all_chains(connection: &Connection, findings: &mut Findings) -> Stored<()> {
    let mut statement = connection.prepare("SELECT slot FROM slots WHERE slot > ?1 ORDER BY slot LIMIT ?2")?;
    let mut after = i64::MIN;
    loop {
        let read = |row: &Row<'_>| row.get(0);
        let slots: Vec<i64> =
            statement.query_map((after, rows::number(KEYS)), read)?.collect::<rusqlite::Result<_>>()?;
        let Some(&last) = slots.last() else { return Ok(()) };
        after = last;
        for slot in slots {
            let done = one_chain(connection, slot, findings);
            findings.step(&format!("slots: {slot} cannot be read"), done)?;
        }
    }
}

fn one_chain(connection: &Connection, slot: i64, findings: &mut Findings) -> Stored<()> {
    let stretch = Stretch::whole(connection, slot)?;
    let mut stored = stretch.existing(connection)?;
    let computed = stretch.compute(connection)?;
    let mut keys = Vec::with_capacity(computed.len());
    for version in &computed {
        let id = version.entity.id;
        match stored.remove(&id) {
            Some(existing) => {
                if !chains::is_same(version, &existing) {
                    findings.tell(format!("versions: {id} is not what its sightings say"));
                }
                if version.sightings.iter().any(|(_, of)| *of != Some(existing.key)) {
                    findings.tell(format!("sightings: one of version {id} is kept with another"));
                }
                keys.push(existing.key);
            }
            None => findings.tell(format!("versions: {id} is missing")),
        }
    }
    for &id in stored.keys() {
        findings.tell(format!("versions: {} has no sightings", rows::text(id)));
    }
    if keys.len() < computed.len() {
        return Ok(());
    }
    let mut related = evolutions::related(connection, &keys)?;
    let decided = decisions::decided(connection, &keys)?;
    let told_by_model: BTreeSet<(i64, i64)> = decided.keys().map(|&(older, newer, _)| (older, newer)).collect();
    for (pair, versions) in keys.windows(2).zip(computed.windows(2)) {
        let ([older, newer], [before, after]) = (pair, versions) else { continue };
        if !evolutions::follows(before, after) || told_by_model.contains(&(*older, *newer)) {
            continue;
        }
        let told = evolutions::told(&before.entity, &after.entity);
        match related.remove(&(*older, *newer)) {
            None => findings.tell(format!("evolutions: what led to version {} is missing", after.entity.id)),
            Some(found) if found.reason != told.reason => {
                findings.tell(format!("evolutions: what led to version {} says something else", after.entity.id));
            }
            Some(_) => {}
        }
    }
    for (_, newer) in related.keys() {
        findings
            .tell(format!("evolutions: slot {slot} has an update to version {newer} from one that it does not follow"));
    }
    Ok(())
}

impl Fault {
    /// Whether the store's bytes are at fault, and not the disk, another process or this one.
    fn is_damage(&self) -> bool {
        match self {
            Self::Umi(_) => false,
            Self::Damaged(_) => true,
            Self::Sqlite(error) => match error.sqlite_error_code() {
                // What this schema's own queries do not find, a damaged schema lacks.
                Some(code) => matches!(
                    code,
                    rusqlite::ErrorCode::DatabaseCorrupt
                        | rusqlite::ErrorCode::NotADatabase
                        | rusqlite::ErrorCode::Unknown
                ),
                None => true,
            },
        }
    }
}
