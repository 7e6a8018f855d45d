#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]
//! The layer under plain SQLite: what a power cut leaves, what a fault tells, and that a seed says it all.

use std::path::Path;

use rusqlite::{Connection, ErrorCode, ffi};
use umi_faults::{Disk, Event, Failure, Fault, FileKind, Operation};

fn open(folder: &Path, mode: &str) -> Connection {
    let connection = Connection::open(folder.join("test.db")).unwrap();
    connection.pragma_update_and_check(None, "journal_mode", mode, |_| Ok(())).unwrap();
    // Only this setting makes it durable that a journal was deleted.
    connection.pragma_update(None, "synchronous", if mode == "delete" { "EXTRA" } else { "FULL" }).unwrap();
    connection.execute_batch("CREATE TABLE IF NOT EXISTS said (number INTEGER PRIMARY KEY, text TEXT)").unwrap();
    connection
}

fn say(connection: &Connection, number: i64) -> rusqlite::Result<usize> {
    let text = format!("{number} ").repeat(6_000); // a few pages
    connection.execute("INSERT INTO said VALUES (?1, ?2)", (number, text))
}

fn numbers(connection: &Connection) -> Vec<i64> {
    let problems: String = connection.query_row("PRAGMA integrity_check", (), |row| row.get(0)).unwrap();
    assert_eq!(problems, "ok");
    let mut statement = connection.prepare("SELECT number FROM said ORDER BY number").unwrap();
    statement.query_map((), |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

fn bytes(folder: &Path) -> Vec<Option<Vec<u8>>> {
    ["test.db", "test.db-wal", "test.db-journal"].map(|name| std::fs::read(folder.join(name)).ok()).into()
}

/// Commits until the power goes at the given change, and gives which commits were acknowledged.
fn until_the_power_goes(folder: &Path, disk: &Disk, mode: &str, after: u64) -> Vec<i64> {
    let connection = open(folder, mode);
    disk.fail(Fault { after, power_off: true, ..Fault::EVERY_CHANGE });
    let acknowledged = (0..12).filter(|&number| {
        if number == 6 && connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(())).is_err() {
            assert!(disk.is_off());
        }
        say(&connection, number).is_ok()
    });
    acknowledged.collect()
}

#[test]
fn a_power_cut_keeps_what_was_acknowledged_and_tears_nothing_else_in() {
    let (mut cuts, mut lost, mut kept) = (0, 0, 0);
    for mode in ["wal", "delete", "persist", "truncate"] {
        for seed in 0..40 {
            let folder = tempfile::tempdir().unwrap();
            let disk = Disk::at(folder.path());
            let acknowledged = until_the_power_goes(folder.path(), &disk, mode, seed * 3);
            cuts += u64::from(disk.is_off());
            disk.power_on(seed);
            let found = numbers(&open(folder.path(), mode));
            // The commit at which the power went may be there or not.
            assert!(found == acknowledged || found.len() == acknowledged.len() + 1, "{mode} {seed}: {found:?}");
            assert!(found.starts_with(&acknowledged), "{mode} {seed}: {found:?} lacks some of {acknowledged:?}");
            lost += u64::from(found.len() == acknowledged.len());
            kept += u64::from(found.len() > acknowledged.len());
        }
    }
    assert!(cuts > 100 && lost > 10 && kept > 0, "{cuts} cuts, {lost} lost, {kept} kept");
}

#[test]
fn commits_that_are_not_synced_are_lost_to_some_seeds() {
    let mut left = Vec::new();
    for seed in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::at(folder.path());
        let connection = open(folder.path(), "wal");
        connection.pragma_update(None, "synchronous", "NORMAL").unwrap();
        for number in 0..5 {
            say(&connection, number).unwrap();
        }
        disk.power_off();
        drop(connection);
        disk.power_on(seed);
        left.push(numbers(&open(folder.path(), "wal")).len());
    }
    assert!(left.contains(&0) && left.contains(&5) && left.iter().any(|&left| 0 < left && left < 5), "{left:?}");
}

#[test]
fn one_seed_leaves_the_same_bytes_twice() {
    let run = |seed| {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::at(folder.path());
        let connection = open(folder.path(), "delete"); // a log has random salts
        connection.pragma_update(None, "synchronous", "OFF").unwrap();
        assert!((0..5).all(|number| say(&connection, number).is_ok()));
        disk.power_off();
        drop(connection);
        disk.power_on(seed);
        (bytes(folder.path())[0].clone(), disk.take_events())
    };
    assert!((0..10).all(|seed| run(seed) == run(seed)));
    assert!((1..10).any(|seed| run(0).0 != run(seed).0));
}

#[test]
fn faults_surface_as_the_errors_of_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::at(folder.path());
    let connection = open(folder.path(), "wal");
    let failure = |fault| {
        disk.fail(fault);
        let error = say(&connection, 1).unwrap_err();
        assert!(disk.clear());
        let rusqlite::Error::SqliteFailure(error, _) = error else { panic!("{error}") };
        error
    };
    let write = Some(Operation::Write);
    assert_eq!(failure(Fault { failure: Failure::Full, ..Fault::EVERY_CHANGE }).code, ErrorCode::DiskFull);
    assert_eq!(failure(Fault { operation: write, ..Fault::EVERY_CHANGE }).extended_code, ffi::SQLITE_IOERR_WRITE);
    let sync = Fault { operation: Some(Operation::Sync), file: Some(FileKind::Wal), ..Fault::EVERY_CHANGE };
    assert_eq!(failure(sync).extended_code, ffi::SQLITE_IOERR_FSYNC);
    disk.take_events();
    assert_eq!(
        failure(Fault { operation: write, after: 2, short: true, ..Fault::EVERY_CHANGE }).code,
        ErrorCode::SystemIoFailure
    );
    let failed: Vec<Event> = disk.take_events().into_iter().filter(|event| event.failed).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!((failed[0].file, failed[0].operation), (FileKind::Wal, Operation::Write));

    let reading = Connection::open(folder.path().join("test.db")).unwrap();
    disk.fail(Fault { operation: Some(Operation::Read), ..Fault::EVERY_CHANGE });
    let error = reading.query_row("SELECT count(*) FROM said", (), |_| Ok(())).unwrap_err();
    assert_eq!(error.sqlite_error_code(), Some(ErrorCode::SystemIoFailure));
    assert!(disk.clear() && !disk.clear());

    say(&connection, 1).unwrap();
    assert_eq!(numbers(&connection), [1]);
}

#[test]
fn a_fault_lets_some_pass_and_ends_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::at(folder.path());
    let connection = open(folder.path(), "wal");
    disk.fail(Fault { operation: Some(Operation::Sync), after: 2, count: 1, ..Fault::EVERY_CHANGE });
    let outcomes: Vec<bool> = (0..5).map(|number| say(&connection, number).is_ok()).collect();
    assert_eq!(outcomes, [true, true, false, true, true]);
    assert!(disk.clear());
    assert_eq!(numbers(&connection), [0, 1, 3, 4]);
}

#[test]
fn what_a_failed_sync_left_in_doubt_a_later_sync_does_not_save() {
    let mut found = Vec::new();
    for seed in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::at(folder.path());
        let path = folder.path().join("test.db");
        let connection = open(folder.path(), "wal");
        connection.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
        disk.fail(Fault {
            operation: Some(Operation::Sync),
            file: Some(FileKind::Database),
            count: 1,
            ..Fault::EVERY_CHANGE
        });
        say(&connection, 0).unwrap();
        connection.query_row("PRAGMA wal_checkpoint(FULL)", (), |_| Ok(())).unwrap_err();
        let before = std::fs::read(&path).unwrap();
        disk.power_off();
        drop(connection);
        disk.power_on(seed);
        found.push(std::fs::read(&path).unwrap() == before);
        assert_eq!(numbers(&open(folder.path(), "wal")), [0]);
    }
    assert!(found.contains(&true) && found.contains(&false), "{found:?}");
}

#[test]
fn other_folders_and_the_time_after_the_power_is_back_are_untouched() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let disk = Disk::at(folder.path());
    let outside = open(elsewhere.path(), "wal");
    let inside = open(folder.path(), "wal");
    disk.power_off();
    assert!(say(&inside, 1).is_err());
    say(&outside, 1).unwrap();
    drop(inside);
    disk.power_on(3);
    assert!(!folder.path().join("test.db-shm").exists());
    assert!(!disk.is_off());
    let inside = open(folder.path(), "wal");
    say(&inside, 2).unwrap();
    assert_eq!(numbers(&inside), [2]);
    drop((inside, outside));
    assert!(!folder.path().join("test.db-wal").exists(), "the last connection deletes the log");
}

#[test]
#[should_panic(expected = "still open")]
fn the_power_does_not_come_back_under_an_open_file() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::at(folder.path());
    let connection = open(folder.path(), "wal");
    disk.power_off();
    disk.power_on(0);
    drop(connection);
}
