//! What only a store of files does.

use std::{collections::BTreeMap, fs, path::Path};

use uuid::Uuid;

use super::*;
use crate::{
    core_memory::{BlockType, CoreLimits},
    entity::Entity,
    episode::Episode,
    error::ErrorKind,
    ledger::{ForgetReach, Ledger, NewEpisode, NewFact, Piece, WorkingChange},
    scope::Scope,
    working_memory::{TimeToLive, WorkingLimits},
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn space() -> EmbeddingSpace {
    EmbeddingSpace::new("test", 2, "")
}

fn episode(number: u128, text: &str) -> NewEpisode {
    let episode = Episode::new(Uuid::from_u128(number), text, "user", at(10));
    let piece = Piece { ordinal: 0, lexical: text.as_bytes().to_vec(), vector: Some(vec![1; 256]) };
    NewEpisode {
        episode,
        pieces: vec![piece],
        key: None,
        wants_vectors: true,
        embed_job: None,
        extract_job: None,
        attachment: None,
    }
}

fn bytes_of(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/store");
    {
        let ledger = SqliteLedger::open(&path).unwrap();
        ledger.append(&space(), vec![episode(1, "kept")]).await.unwrap();
        ledger.close().await.unwrap();
    }
    let names: Vec<String> = bytes_of(&path).into_keys().collect();
    assert_eq!(names, ["umi.db", "umi.lock", "umi.queue"], "the last connection has emptied the WAL");
    {
        // dropped without being closed
        let ledger = SqliteLedger::open(&path).unwrap();
        ledger.append(&space(), vec![episode(2, "kept too")]).await.unwrap();
    }
    let ledger = SqliteLedger::open(&path).unwrap();
    assert_eq!(ledger.count(&Scope::new(), at(99)).await.unwrap(), 2);
    assert!(ledger.check().await.unwrap().problems.is_empty());
    assert!(ledger.stats().await.unwrap().bytes_on_disk > 4096);
}

#[cfg(unix)]
#[tokio::test]
async fn a_store_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let ledger = SqliteLedger::open(&path).unwrap();
    ledger.append(&space(), vec![episode(1, "private")]).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    for name in bytes_of(&path).into_keys() {
        assert_eq!(mode(&path.join(&name)), 0o600, "{name}");
    }
}

#[tokio::test]
async fn newer_foreign_and_damaged_files_are_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        let path = folder.path().join(name);
        drop(SqliteLedger::open(&path).unwrap());
        for side in ["umi.lock", "umi.queue"] {
            fs::remove_file(path.join(side)).unwrap();
        }
        path
    };
    let newer = make("newer");
    Connection::open(newer.join("umi.db")).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let foreign = make("foreign");
    Connection::open(foreign.join("umi.db")).unwrap().pragma_update(None, "application_id", 7).unwrap();
    let cut = make("cut");
    let whole = fs::read(cut.join("umi.db")).unwrap();
    fs::write(cut.join("umi.db"), &whole[..whole.len() - 4096]).unwrap();
    let short = make("short");
    fs::write(short.join("umi.db"), &whole[..50]).unwrap();
    let text = make("text");
    fs::write(text.join("umi.db"), "not a database, ".repeat(400)).unwrap();
    for (path, kind) in [
        (newer, ErrorKind::StoreVersion),
        (foreign, ErrorKind::StoreVersion),
        (cut, ErrorKind::CorruptStore),
        (short, ErrorKind::CorruptStore),
        (text, ErrorKind::CorruptStore),
    ] {
        let before = bytes_of(&path);
        let error = SqliteLedger::open(&path).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(bytes_of(&path), before, "{}", path.display());
    }
}

/// What a process leaves that is killed while it makes a store.
fn half_made(folder: &Path) -> (Vec<u8>, Vec<u8>) {
    let database = folder.join("half.db");
    let connection = Connection::open(&database).unwrap();
    connection.execute_batch("PRAGMA cache_size = 1; PRAGMA cache_spill = 1; BEGIN IMMEDIATE").unwrap();
    connection.execute_batch(include_str!("schema.sql")).unwrap();
    let left = (fs::read(&database).unwrap(), fs::read(folder.join("half.db-journal")).unwrap());
    connection.execute_batch("ROLLBACK").unwrap();
    assert!(left.0.len() > 3 * 4096 && !left.1.is_empty());
    left
}

#[tokio::test]
async fn a_store_whose_making_was_cut_off_is_made_at_the_next_opening() {
    let folder = tempfile::tempdir().unwrap();
    let (database, journal) = half_made(folder.path());
    let mut no_header = database.clone();
    no_header[..100].fill(0);
    for (name, database) in [
        ("whole", database.as_slice()),
        ("cut", &database[..2 * 4096]),
        ("short", &database[..50]),
        ("no_header", &no_header),
    ] {
        let path = folder.path().join(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("umi.db"), database).unwrap();
        fs::write(path.join("umi.db-journal"), &journal).unwrap();
        let ledger = SqliteLedger::open(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        ledger.append(&space(), vec![episode(1, "kept")]).await.unwrap();
        assert!(ledger.check().await.unwrap().problems.is_empty());
    }
}

#[test]
fn a_foreign_file_beside_a_journal_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("umi.db");
    Connection::open(&database).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    fs::write(folder.path().join("umi.db-journal"), "no journal").unwrap();
    let error = SqliteLedger::open(folder.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreVersion, "{error}");
    let tables: i64 = Connection::open(&database)
        .unwrap()
        .query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))
        .unwrap();
    assert_eq!(tables, 1);
}

#[tokio::test]
async fn a_purge_leaves_no_byte_of_what_was_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = SqliteLedger::open(folder.path()).unwrap();
    let canary = |number: u128| format!("canary-{number:05}-{}", "x".repeat(60));
    ledger.append(&space(), (1..=600).map(|number| episode(number, &canary(number))).collect()).await.unwrap();
    for number in (1..=600).filter(|number| number % 3 != 0) {
        assert!(ledger.forget(&Scope::new(), Uuid::from_u128(number), ForgetReach::Version, at(9)).await.unwrap());
    }
    for (user, second) in [("a", 2), ("b", 60)] {
        let (scope, ttl) = (Scope::new().with_user(user).unwrap(), TimeToLive::For(Duration::from_secs(second)));
        let value = WorkingChange::Set(format!("working-{user}").into_bytes());
        let limits = WorkingLimits::default();
        ledger.working_change(&scope, limits, "key", value, Some(ttl), at(1)).await.unwrap();
    }
    ledger.purge(at(9)).await.unwrap();
    assert_eq!(ledger.stats().await.unwrap().working_keys, 1);
    for (name, bytes) in bytes_of(folder.path()) {
        assert!(!bytes.windows(9).any(|window| window == b"working-a"), "an expired value in {name}");
        for found in bytes.windows(12).filter(|window| window.starts_with(b"canary-")) {
            let number: u128 = std::str::from_utf8(&found[7..]).unwrap().parse().unwrap();
            assert!(number.is_multiple_of(3), "canary {number} in {name}");
        }
    }
    assert_eq!(ledger.count(&Scope::new(), at(99)).await.unwrap(), 200);
    assert!(ledger.check().await.unwrap().problems.is_empty());
}

#[tokio::test]
async fn a_failed_commit_fails_the_group_and_the_next_one_stands() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = SqliteLedger::open(folder.path()).unwrap();
    ledger.append(&space(), vec![episode(1, "before")]).await.unwrap();
    let limit = |pages: i64| {
        ledger.write(0, move |write| {
            // a full disk, as SQLite sees one
            write.connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
            Ok(())
        })
    };
    limit(1).await.unwrap();
    let big = vec![episode(2, &"big ".repeat(100_000))];
    let space = space();
    let (big, small) = tokio::join!(ledger.append(&space, big), ledger.append(&space, vec![episode(3, "small")]));
    let error = big.unwrap_err();
    assert_eq!((error.kind(), error.details().errno, error.is_retryable()), (ErrorKind::StoreIo, Some(28), true));
    assert!(error.details().filename.as_deref().unwrap().ends_with("umi.db"));
    limit(1_000_000).await.unwrap();
    ledger.append(&space, vec![episode(4, "after")]).await.unwrap();
    let expected = 2 + u64::from(small.is_ok());
    assert_eq!(ledger.count(&Scope::new(), at(99)).await.unwrap(), expected);
    assert!(ledger.check().await.unwrap().problems.is_empty());
}

#[tokio::test]
async fn a_panic_in_a_write_is_an_error_of_that_write_alone() {
    let ledger = SqliteLedger::in_memory().unwrap();
    let failed = ledger
        .write(0, |write| -> Stored<()> {
            write.next_seq();
            panic!("on purpose")
        })
        .await;
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Internal);
    ledger.append(&space(), vec![episode(1, "after")]).await.unwrap();
    assert_eq!(ledger.head().unwrap(), 1, "the number of the failed write was not used up");
}

#[tokio::test]
async fn a_backup_is_a_store() {
    let folder = tempfile::tempdir().unwrap();
    for (name, ledger) in [
        ("of_file", SqliteLedger::open(&folder.path().join("store")).unwrap()),
        ("of_memory", SqliteLedger::in_memory().unwrap()),
    ] {
        ledger.append(&space(), vec![episode(1, "kept")]).await.unwrap();
        let to = folder.path().join(name);
        ledger.backup(&to).await.unwrap();
        ledger.append(&space(), vec![episode(2, "too late")]).await.unwrap();
        assert!(ledger.backup(&to).await.unwrap_err().is_invalid_input());
        let copy = SqliteLedger::open(&to).unwrap();
        assert_eq!(copy.count(&Scope::new(), at(99)).await.unwrap(), 1);
        assert!(copy.check().await.unwrap().problems.is_empty());
    }
}

#[tokio::test]
async fn a_foreign_commit_is_seen_at_once() {
    // Two handles in one process stand for two processes; SQLite's own lock keeps them apart.
    let folder = tempfile::tempdir().unwrap();
    let one = SqliteLedger::open(folder.path()).unwrap();
    let two = SqliteLedger::open(folder.path()).unwrap();
    let (scope, limits) = (Scope::new(), CoreLimits::default());
    for round in 0..3_u128 {
        let content = format!("round {round}");
        one.set_block(&scope, limits, BlockType::Facts, &content, None, None, at(1)).await.unwrap();
        assert_eq!(two.core(&scope, limits).await.unwrap().blocks()[0].content, content);
        two.append(&space(), vec![episode(round + 1, "text")]).await.unwrap();
        assert_eq!(one.head().unwrap(), two.head().unwrap());
    }
    let both = (0..40_u128).map(|number| {
        let ledger = if number % 2 == 0 { &one } else { &two };
        let said = vec![episode(100 + number, "both")];
        async move { ledger.append(&space(), said).await.map(drop) }
    });
    for result in futures::future::join_all(both).await {
        result.unwrap();
    }
    assert_eq!(one.head().unwrap(), 46);
    assert!(two.check().await.unwrap().problems.is_empty());
}

#[test]
fn a_check_tells_what_does_not_agree() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    runtime.block_on(async {
        let ledger = SqliteLedger::in_memory().unwrap();
        let mut entity =
            Entity::new(Uuid::from_u128(1), at(10), crate::entity::EntityType::Person, "Alice", "Rome").unwrap();
        entity.attribute = Some("home".to_owned());
        ledger.record(&space(), vec![NewFact { entity, piece: Piece::default(), embed_job: None }]).await.unwrap();
        ledger
            .write(0, |write| {
                write.connection.execute("UPDATE versions SET content = 'Oslo', seq = 99", ())?;
                Ok(())
            })
            .await
            .unwrap();
        let problems = ledger.check().await.unwrap().problems;
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems.iter().any(|line| line.contains("seq 99")));
        assert!(problems.iter().any(|line| line.contains("not what its sightings say")));
    });
}

/// Not a test: the child of [`several_processes_open_a_new_store_and_write_it_together`].
#[test]
#[ignore = "run by another test, in a process of its own"]
fn child_writes() {
    let folder = std::env::current_dir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    runtime.block_on(async {
        let ledger = SqliteLedger::open(&folder).unwrap();
        let base = u128::from(std::process::id()) << 32;
        for number in 0..100 {
            ledger.append(&space(), vec![episode(base + number, "child")]).await.unwrap();
        }
        ledger.close().await.unwrap();
    });
}

#[tokio::test]
async fn several_processes_open_a_new_store_and_write_it_together() {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "ledger::sqlite::tests::child_writes", "--ignored", "--nocapture"])
            .current_dir(folder.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let children: Vec<_> = (0..3).map(|_| start()).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let ledger = SqliteLedger::open(folder.path()).unwrap();
    assert_eq!(ledger.count(&Scope::new(), at(99)).await.unwrap(), 300);
    assert_eq!(ledger.head().unwrap(), 300);
    assert!(ledger.check().await.unwrap().problems.is_empty());
}

/// Not a test: the child of [`a_writer_that_holds_on_is_waited_for_until_the_deadline`].
#[test]
#[ignore = "run by another test, in a process of its own"]
fn child_holds_the_lock() {
    use std::io::{Read, Write};
    let lock = WriterLock::open(&std::env::current_dir().unwrap(), LOCK_DEADLINE).unwrap();
    let _held = lock.acquire(&AtomicBool::new(false)).unwrap();
    std::io::stderr().write_all(b"held").unwrap();
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

#[tokio::test]
async fn a_writer_that_holds_on_is_waited_for_until_the_deadline() {
    use std::{io::Read, process::Stdio};
    let folder = tempfile::tempdir().unwrap();
    let ledger = SqliteLedger::open_with(folder.path(), Duration::from_millis(50)).unwrap();
    ledger.append(&space(), vec![episode(1, "before")]).await.unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ledger::sqlite::tests::child_holds_the_lock", "--ignored", "--nocapture"])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = [0; 4];
    child.stderr.as_mut().unwrap().read_exact(&mut told).unwrap();
    assert_eq!(&told, b"held");
    let error = ledger.append(&space(), vec![episode(2, "refused")]).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::StoreLocked, true));
    assert_eq!(ledger.count(&Scope::new(), at(99)).await.unwrap(), 1, "reads go on");
    let another = SqliteLedger::open_with(folder.path(), Duration::from_millis(50)).unwrap();
    assert_eq!(another.count(&Scope::new(), at(99)).await.unwrap(), 1, "a store is opened while another writes");
    drop(another);
    child.kill().unwrap();
    child.wait().unwrap();
    ledger.append(&space(), vec![episode(3, "after")]).await.unwrap();
    assert_eq!(ledger.count(&Scope::new(), at(99)).await.unwrap(), 2);
}

#[cfg(unix)]
#[tokio::test]
async fn a_store_whose_files_are_gone_acknowledges_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = SqliteLedger::open(folder.path()).unwrap();
    ledger.append(&space(), vec![episode(1, "kept")]).await.unwrap();
    for (number, name) in [(3, "umi.db-wal"), (4, "umi.db")] {
        let (from, to) = (folder.path().join(name), folder.path().join("elsewhere"));
        std::fs::rename(&from, &to).unwrap();
        let error = ledger.append(&space(), vec![episode(2, "into a file that nobody opens")]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StoreIo, "{error}");
        std::fs::rename(&to, &from).unwrap();
        ledger.append(&space(), vec![episode(number, "back again")]).await.unwrap();
    }
}

#[test]
fn sqlite_is_built_without_the_lock_that_a_forked_child_could_inherit() {
    let connection = Connection::open_in_memory().unwrap();
    let mut statement = connection.prepare("PRAGMA compile_options").unwrap();
    let options: Vec<String> = statement.query_map((), |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert!(options.iter().any(|option| option == "DEFAULT_MEMSTATUS=0"), "{options:?}");
}

/// Two that take turns: at every moment one of them reads a state that is not older than the turn before.
fn read_without_a_pause(database: &Path, stop: &AtomicBool) {
    let open = || open::reader(database).unwrap();
    let begin = |connection: &Connection| {
        connection.execute_batch("BEGIN").unwrap();
        connection.query_row("SELECT seq FROM counter", (), |row| row.get::<_, i64>(0)).unwrap()
    };
    let [mut one, mut other] = [open(), open()];
    begin(&one);
    while !stop.load(Ordering::Acquire) {
        begin(&other);
        one.execute_batch("COMMIT").unwrap();
        std::mem::swap(&mut one, &mut other);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_stays_short_though_others_read_without_a_pause() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = SqliteLedger::open(folder.path()).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (database, seen) = (folder.path().join(open::DATABASE), Arc::clone(&stop));
    let reader = std::thread::spawn(move || read_without_a_pause(&database, &seen));
    let text = "a long story ".repeat(20_000);
    let mut longest = 0;
    for number in 0..160 {
        ledger.append(&space(), vec![episode(number, &text)]).await.unwrap();
        longest = longest.max(fs::metadata(folder.path().join("umi.db-wal")).map_or(0, |log| log.len()));
    }
    stop.store(true, Ordering::Release);
    reader.join().unwrap();
    assert!(longest < 40 * 1024 * 1024, "the log had {longest} bytes");
    assert!(ledger.check().await.unwrap().problems.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_being_written_never_looks_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = SqliteLedger::open(folder.path()).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (path, seen) = (folder.path().join("umi.db-wal"), Arc::clone(&stop));
    let reader = std::thread::spawn(move || {
        let mut looks = 0;
        while looks == 0 || !seen.load(Ordering::Acquire) {
            let log = super::log::read(&path).unwrap();
            assert!(!log.is_some_and(|log| log.is_damaged), "look {looks} found damage");
            looks += 1;
        }
    });
    // Long enough that the log begins again from its start a few times, over the frames of an earlier turn.
    for number in 0..1_500 {
        ledger.append(&space(), vec![episode(number, "said")]).await.unwrap();
        if reader.is_finished() {
            break;
        }
    }
    stop.store(true, Ordering::Release);
    reader.join().unwrap();
}
