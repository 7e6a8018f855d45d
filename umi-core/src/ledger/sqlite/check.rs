//! The check of a whole store: pages, references, chains against sightings, the feed.

use rusqlite::Connection;

use super::{
    chains::{self, Stretch},
    errors::Stored,
    rows,
};
use crate::ledger::CheckReport;

/// Every table, with what a finding calls it.
const TABLES: [&str; 11] = [
    "spaces",
    "episodes",
    "slots",
    "versions",
    "sightings",
    "evolutions",
    "pieces",
    "vectors",
    "jobs",
    "deletions",
    "blocks",
];

/// Findings that one query gives, a line each.
const QUERIES: [&str; 9] = [
    "SELECT 'sightings: ' || id || ' has no version' FROM sightings WHERE version IS NULL",
    "SELECT 'sightings: ' || sightings.id || ' is of another slot than its version' FROM sightings \
     JOIN versions USING (version) WHERE versions.slot <> sightings.slot",
    "SELECT 'versions: slot ' || slot || ' has ' || count(*) || ' current versions' FROM versions \
     WHERE valid_to IS NULL GROUP BY slot HAVING count(*) <> 1",
    "SELECT 'slots: ' || slot || ' has no current version' FROM slots \
     WHERE NOT EXISTS (SELECT 1 FROM versions WHERE versions.slot = slots.slot AND valid_to IS NULL)",
    "SELECT 'feed: seq ' || seq || ' is given ' || count(*) || ' times' FROM (SELECT seq FROM episodes \
     UNION ALL SELECT seq FROM versions UNION ALL SELECT seq FROM deletions UNION ALL SELECT seq FROM evolutions \
     UNION ALL SELECT seq FROM blocks) GROUP BY seq HAVING count(*) > 1",
    "SELECT 'feed: seq ' || seq || ' lies behind the counter' FROM (SELECT seq FROM episodes \
     UNION ALL SELECT seq FROM versions UNION ALL SELECT seq FROM deletions UNION ALL SELECT seq FROM evolutions \
     UNION ALL SELECT seq FROM blocks UNION ALL SELECT seq FROM sightings) WHERE seq > (SELECT seq FROM counter)",
    "SELECT 'deletions: ' || id || ' is there' FROM deletions \
     WHERE id IN (SELECT id FROM episodes) OR id IN (SELECT id FROM versions)",
    "SELECT 'evolutions: ' || evolutions.id || ' leads to another tenant' FROM evolutions \
     JOIN versions AS first ON first.version = older JOIN versions AS second ON second.version = newer \
     WHERE first.user <> second.user OR first.user <> evolutions.user",
    "SELECT 'working: the usage of `' || user || '` is not that of its keys' FROM (SELECT user, agent, session, \
     sum(bytes) AS bytes, sum(entries) AS entries FROM (SELECT user, agent, session, bytes, entries \
     FROM working_usage UNION ALL SELECT user, agent, session, -(octet_length(key) + octet_length(value)), -1 \
     FROM working LEFT JOIN working_usage AS used USING (user, agent, session) \
     WHERE expires_at IS NULL OR expires_at > coalesce(used.at, expires_at - 1)) \
     GROUP BY user, agent, session) WHERE bytes <> 0 OR entries <> 0",
];

/// Looks at everything.
pub(super) fn check(connection: &Connection) -> Stored<CheckReport> {
    let mut report = CheckReport::default();
    let found = lines(connection, "PRAGMA integrity_check")?;
    report.problems.extend(found.into_iter().filter(|line| line != "ok").map(|line| format!("pages: {line}")));
    let mut statement = connection.prepare("PRAGMA foreign_key_check")?;
    let references = statement.query_map((), |row| {
        let (table, parent): (String, String) = (row.get(0)?, row.get(2)?);
        let row: Option<i64> = row.get(1)?;
        Ok(format!("{table}: row {} names a row that is not in {parent}", row.unwrap_or_default()))
    })?;
    for line in references {
        report.problems.push(line?);
    }
    for query in QUERIES {
        report.problems.extend(lines(connection, query)?);
    }
    check_chains(connection, &mut report)?;
    for table in TABLES {
        // The name is one of ours, and a table's name cannot be bound.
        let count = connection.query_row(&format!("SELECT count(*) FROM {table}"), (), |row| rows::unsigned(row, 0))?;
        report.checked.push((table.to_owned(), count));
    }
    Ok(report)
}

fn lines(connection: &Connection, sql: &str) -> Stored<Vec<String>> {
    let mut statement = connection.prepare(sql)?;
    Ok(statement.query_map((), |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
}

/// Computes every chain again and compares it with what is stored.
fn check_chains(connection: &Connection, report: &mut CheckReport) -> Stored<()> {
    let mut statement = connection.prepare("SELECT slot FROM slots ORDER BY slot")?;
    let slots: Vec<i64> = statement.query_map((), |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    for slot in slots {
        let stretch = Stretch::whole(connection, slot)?;
        let mut stored = stretch.existing(connection)?;
        for computed in stretch.compute(connection)? {
            let id = computed.entity.id;
            match stored.remove(&id) {
                Some(existing) if chains::is_same(&computed, &existing) => {}
                Some(_) => report.problems.push(format!("versions: {id} is not what its sightings say")),
                None => report.problems.push(format!("versions: {id} is missing")),
            }
        }
        report.problems.extend(stored.keys().map(|&id| format!("versions: {} has no sightings", rows::text(id))));
    }
    Ok(())
}
