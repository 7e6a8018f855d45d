//! The plans of the queries that run often: each searches, by an index, what is its tenant's or its caller's.

use rusqlite::{Connection, Statement};

use super::{decisions, episodes, extraction, facts, feed, lookup, open, reasons, spaces, working};

/// What SQLite will do, a line each.
fn plan(connection: &Connection, sql: &str) -> Vec<String> {
    // Its values do not matter: `open` has SQLite make plans that do not depend on them.
    let mut statement: Statement<'_> = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    for index in 1..=statement.parameter_count() {
        statement.raw_bind_parameter(index, 1).unwrap();
    }
    let mut lines = Vec::new();
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next().unwrap() {
        lines.push(row.get::<_, String>("detail").unwrap());
    }
    lines
}

#[test]
fn no_query_that_runs_often_looks_at_other_tenants_or_sorts_a_tenant() {
    let connection = open::memory().unwrap();
    for (sql, searches) in [
        (feed::EPISODES.to_owned(), "episodes USING INDEX episodes_feed (user=? AND seq>?)"),
        (feed::VERSIONS.to_owned(), "versions USING INDEX versions_feed (user=? AND seq>?)"),
        (feed::DELETIONS.to_owned(), "deletions USING COVERING INDEX deletions_feed (user=? AND seq>?)"),
        (episodes::get_sql(), "episodes USING INDEX sqlite_autoindex_episodes_1 (id=?)"),
        (episodes::page_sql(true), "episodes USING INDEX episodes_time (user=?)"),
        (episodes::page_sql(false), "episodes USING INDEX episodes_time (user=?)"),
        (episodes::before_sql(), "episodes USING INDEX episodes_time (user=? AND at<?)"),
        (reasons::LATER_DECISIONS.to_owned(), "decisions USING INDEX decisions_feed (user=? AND seq>?)"),
        (lookup::key_sql(), "sightings USING INDEX sqlite_autoindex_sightings_1 (id=?)"),
        (lookup::list_sql(false), "versions USING INDEX versions_time (user=?)"),
        (lookup::list_sql(true), "versions USING INDEX versions_importance (user=?)"),
        (lookup::count_sql(), "versions USING INDEX versions_time (user=?)"),
        (lookup::count_sql(), "episodes USING INDEX episodes_time (user=?)"),
        (
            facts::SAME_CONTENT.to_owned(),
            "versions USING INDEX versions_content (user=? AND type=? AND name_folded=? AND <expr>=?)",
        ),
        (
            facts::REPEATED.to_owned(),
            "repeat USING INDEX versions_content (user=? AND type=? AND name_folded=? AND <expr>=?)",
        ),
        (
            extraction::SUBJECT_MOVED.to_owned(),
            "slots USING COVERING INDEX slots_subject (user=? AND type=? AND name_folded=?)",
        ),
        (decisions::CLOSINGS.to_owned(), "decisions USING COVERING INDEX decisions_closes (closes=? AND closes_at>?)"),
        (decisions::OF_VERSION.to_owned(), "decisions USING INDEX sqlite_autoindex_decisions_2 (sighting=?)"),
        (decisions::OF_VERSION.to_owned(), "decisions USING INDEX decisions_other (other=?)"),
        (lookup::of_subject_sql(), "versions USING INDEX versions_slot (slot=?)"),
        (lookup::begun_sql(), "versions USING INDEX versions_slot (slot=? AND valid_from<?)"),
        (lookup::planned_sql(), "versions USING INDEX versions_slot (slot=? AND valid_from>?)"),
        (working::live_key_sql(), "working USING PRIMARY KEY (user=? AND agent=? AND session=? AND key=?)"),
        (working::entries_sql(), "working USING PRIMARY KEY (user=? AND agent=? AND session=?)"),
        (
            working::expiring_sql(),
            "working USING INDEX working_expiry (user=? AND agent=? AND session=? AND expires_at>? AND expires_at<?)",
        ),
        (
            working::expired_sql(),
            "working USING INDEX working_expiry (user=? AND agent=? AND session=? AND expires_at<?)",
        ),
        (spaces::WITHOUT_VECTORS.to_owned(), "pieces USING INTEGER PRIMARY KEY (rowid>?)"),
        (spaces::LAST_EMBEDDED.to_owned(), "vectors USING PRIMARY KEY (space=?)"),
    ] {
        let lines = plan(&connection, &sql);
        assert!(lines.iter().any(|line| line.contains(searches)), "{sql}\n{lines:#?}");
        assert!(!lines.iter().any(|line| line.starts_with("SCAN") && line != "SCAN CONSTANT ROW"), "{sql}\n{lines:#?}");
        // Only the few spans of one content or facts of one subject are sorted, and episodes of one time by their ids.
        let of_one_time =
            |line: &String| line == "USE TEMP B-TREE FOR LAST TERM OF ORDER BY" && sql.contains("ORDER BY at");
        let sorts = lines.iter().any(|line| line.contains("USE TEMP B-TREE") && !of_one_time(line));
        assert_eq!(
            sorts,
            [facts::SAME_CONTENT, facts::REPEATED, &lookup::of_subject_sql()].contains(&sql.as_str()),
            "{sql}\n{lines:#?}"
        );
    }
}

#[cfg(feature = "lance")]
#[test]
fn what_an_index_beside_the_ledger_reads_is_searched_by_an_index_too() {
    let connection = open::memory().unwrap();
    for (sql, searches) in [
        (feed::ALL_EPISODES, "episodes USING INDEX episodes_seq (seq>?)"),
        (feed::ALL_VERSIONS, "versions USING INDEX versions_seq (seq>?)"),
        (feed::ALL_DELETIONS, "deletions USING COVERING INDEX deletions_seq (seq>?)"),
        (feed::EPISODE_BY_ID, "episodes USING INDEX sqlite_autoindex_episodes_1 (id=?)"),
        (feed::VERSION_BY_ID, "versions USING INDEX sqlite_autoindex_versions_1 (id=?)"),
        (feed::EPISODE_BEFORE, "episodes USING INDEX episodes_session (user=? AND session=? AND "),
        (feed::EPISODE_AFTER, "episodes USING INDEX episodes_session (user=? AND session=? AND "),
    ] {
        let lines = plan(&connection, sql);
        assert!(lines.iter().any(|line| line.contains(searches)), "{sql}\n{lines:#?}");
        assert!(
            !lines.iter().any(|line| line.starts_with("SCAN") || line.contains("TEMP B-TREE")),
            "{sql}\n{lines:#?}"
        );
    }
}
