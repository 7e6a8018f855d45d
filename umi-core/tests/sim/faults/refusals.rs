//! A disk that is full or fails in the middle of a commit: the typed error for every caller of the group, and nothing of
//! what failed, neither now nor after a crash.

use futures::future::{BoxFuture, FutureExt, join_all};
use rusqlite::Connection;
use umi_core::{BlockType, Error, ErrorKind, Memory, Result, Scope};
use umi_faults::{Disk, Event, Failure, Fault, FileKind, Operation};

use super::{contents, copy, fact, open, sound_contents};

const CALLERS: usize = 8;

/// Writes of all kinds that end up in one transaction, which meets the fault; each with the line of [`contents`] that it
/// makes.
async fn group(memory: &Memory, round: u64, disk: &Disk, fault: Option<Fault>) -> Vec<(String, Result<()>)> {
    let database = memory.path().unwrap().join("umi.db");
    let before = Connection::open(database).unwrap();
    before.execute_batch("BEGIN IMMEDIATE").unwrap();
    if let Some(fault) = fault {
        disk.fail(fault);
    }
    let callers = (0..CALLERS).map(|caller| -> BoxFuture<'_, Option<(String, Result<()>)>> {
        let text = format!("{round}-{caller} {}", "some words ".repeat(100));
        async move {
            let (core, working) = (memory.core(), memory.working());
            let (line, done) = match caller % 4 {
                0 => (format!("episode {text}"), memory.remember(text.as_str()).await.map(drop)),
                1 => {
                    let entity = fact(&format!("Ana {round} {caller}"), &text);
                    (format!("fact {} {text}", entity.name), memory.add_entity(entity, &Scope::new()).await.map(drop))
                }
                2 => {
                    let key = format!("key {}", caller / 4);
                    (format!("working {key} {text}"), working.set(&key, text.clone().into(), None).await)
                }
                _ => {
                    let set = core.set_block(BlockType::Scratch, &text, None, None).await;
                    (format!("block {text}"), set.map(drop))
                }
            };
            Some((line, done))
        }
        .boxed()
    });
    // The writer waits for this connection until every caller has been polled once.
    let release = async move {
        before.execute_batch("ROLLBACK").unwrap();
        None
    };
    join_all(callers.chain([release.boxed()])).await.into_iter().flatten().collect()
}

fn assert_typed(error: &Error, failure: Failure, memory: &Memory, context: &str) {
    assert_eq!(error.kind(), ErrorKind::StoreIo, "{context}: {error}");
    let database = memory.path().unwrap().join("umi.db");
    assert_eq!(error.details().filename.as_deref(), database.to_str(), "{context}: {error}");
    let errno = if failure == Failure::Full { 28 } else { 5 };
    assert_eq!(error.details().errno, Some(errno), "{context}: {error}");
    assert!(error.hint().is_some() && std::error::Error::source(error).is_some(), "{context}: {error}");
}

/// What a process finds that opens the store after this one was killed.
async fn after_a_kill(memory: &Memory) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    copy(memory.path().unwrap(), &folder.path().join("store"));
    sound_contents(&open(folder.path()).await.unwrap()).await
}

/// What is there once the writes of a group have ended, where those that failed changed nothing.
fn expected(mut lines: Vec<String>, outcomes: &[(String, Result<()>)]) -> Vec<String> {
    for (line, _) in outcomes.iter().filter(|(_, outcome)| outcome.is_ok()) {
        if let Some((kind, key)) = line.split_once(' ')
            && kind == "working"
        {
            let key: String = key.split_inclusive(' ').take(2).collect();
            lines.retain(|known| !known.starts_with(&format!("working {key}")));
        }
        lines.push(line.clone());
    }
    lines.sort();
    lines
}

/// Lets the fault hit operations of a group's commit, one after the other in one store: so many, spread from the first
/// to the last.
async fn refuse_each(fault: Fault, points: u64, is_closed_between: bool) {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::at(folder.path());
    let mut memory = open(folder.path()).await.unwrap();
    disk.take_events();
    let outcomes = group(&memory, 0, &disk, None).await;
    let matches = |event: &&Event| {
        fault.operation.is_none_or(|operation| operation == event.operation) && event.file == FileKind::Wal
    };
    let last = disk.take_events().iter().filter(matches).count() as u64 - 1;
    let mut there = expected(Vec::new(), &outcomes);
    let mut shared = 0;
    for point in 0..=points {
        let after = last * point / points;
        let context = format!("{fault:?} after {after} of {last}");
        let outcomes = group(&memory, point + 1, &disk, Some(Fault { after, ..fault })).await;
        let failed = outcomes.iter().filter(|(_, outcome)| outcome.is_err()).count();
        for (_, outcome) in &outcomes {
            if let Err(error) = outcome {
                assert_typed(error, fault.failure, &memory, &context);
            }
        }
        // Reads go on while the disk still refuses, and see nothing of it.
        there = expected(there, &outcomes);
        assert_eq!(contents(&memory).await, there, "{context}");
        assert_eq!(disk.clear(), failed > 0, "{context}: {failed} callers failed");
        assert!(
            after_a_kill(&memory).await == there,
            "{context}: a kill brings back what was refused, or loses what was not"
        );
        shared += usize::from(failed == CALLERS);
        if is_closed_between {
            memory.close().await.unwrap();
            memory = open(folder.path()).await.unwrap();
            assert_eq!(contents(&memory).await, there, "{context}, opened again");
        }
        let text = format!("next {after}");
        memory.remember(text.as_str()).await.unwrap();
        there = expected(there, &[(format!("episode {text}"), Ok(()))]);
    }
    assert!(shared * 2 > points as usize, "only {shared} groups of {CALLERS} failed together");
    let found = memory.recall("some words").await.unwrap();
    assert!(!found.is_empty());
    memory.close().await.unwrap();
    assert_eq!(sound_contents(&open(folder.path()).await.unwrap()).await, there);
}

const FULL: Fault = Fault { failure: Failure::Full, operation: Some(Operation::Write), ..Fault::EVERY_CHANGE };

#[tokio::test]
async fn space_runs_out_once_in_a_commit() {
    refuse_each(Fault { count: 1, short: true, ..FULL }, 6, false).await;
}

#[tokio::test]
async fn space_runs_out_for_good_in_a_commit() {
    refuse_each(FULL, 6, true).await;
}

#[tokio::test]
async fn the_disk_fails_once_in_a_commit() {
    refuse_each(Fault { count: 1, ..Fault::EVERY_CHANGE }, 6, false).await;
}

#[tokio::test]
async fn the_disk_fails_for_good_in_a_commit() {
    refuse_each(Fault { short: true, ..Fault::EVERY_CHANGE }, 6, true).await;
}

#[tokio::test]
async fn the_sync_of_a_commit_fails_once() {
    refuse_each(Fault { operation: Some(Operation::Sync), count: 1, ..Fault::EVERY_CHANGE }, 2, false).await;
}

#[tokio::test]
async fn the_sync_of_a_commit_fails_for_good() {
    refuse_each(Fault { operation: Some(Operation::Sync), ..Fault::EVERY_CHANGE }, 2, true).await;
}

#[tokio::test]
async fn a_read_fails_in_a_commit() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::at(folder.path());
    let mut there = Vec::new();
    let mut shared = 0;
    for after in (0..64).step_by(8) {
        let memory = open(folder.path()).await.unwrap();
        assert_eq!(contents(&memory).await, there); // the pages of those who read are there, the writer's are not
        let fault = Fault { operation: Some(Operation::Read), after, count: 1, ..Fault::EVERY_CHANGE };
        let outcomes = group(&memory, after, &disk, Some(fault)).await;
        disk.clear();
        for error in outcomes.iter().filter_map(|(_, outcome)| outcome.as_ref().err()) {
            assert_typed(error, Failure::Io, &memory, &format!("read {after}"));
        }
        shared += usize::from(outcomes.iter().filter(|(_, outcome)| outcome.is_err()).count() > 1);
        there = expected(there, &outcomes);
        assert_eq!(sound_contents(&memory).await, there, "read {after}");
        memory.close().await.unwrap();
    }
    assert!(shared > 0, "no read failed for a whole group");
}

#[tokio::test]
async fn a_checkpoint_fails_and_takes_nothing_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::at(folder.path());
    let memory = open(folder.path()).await.unwrap();
    memory.remember("before everything").await.unwrap();
    let mut there = contents(&memory).await;
    let database = Fault { file: Some(FileKind::Database), ..Fault::EVERY_CHANGE };
    let faults = [
        database,
        Fault { after: 5, short: true, ..database },
        Fault { operation: Some(Operation::Sync), ..database },
        Fault { failure: Failure::Full, after: 3, ..database },
    ];
    let filler = vec![b'x'; 60 * 1024];
    for (number, fault) in faults.into_iter().enumerate() {
        disk.fail(fault);
        // More than what the log may grow to before a commit empties it.
        for _ in 0..70 {
            memory.working().set("filler", filler.clone(), None).await.unwrap();
        }
        let text = format!("under fault {number}");
        memory.remember(text.as_str()).await.unwrap();
        there = expected(there, &[(format!("episode {text}"), Ok(()))]);
        memory.working().delete("filler").await.unwrap();
        assert_eq!(contents(&memory).await, there, "{fault:?}");
        let refused = memory.purge().await.unwrap_err();
        assert_typed(&refused, fault.failure, &memory, &format!("purge under {fault:?}"));
        assert!(disk.clear());
        assert_eq!(after_a_kill(&memory).await, there, "{fault:?}");
        memory.purge().await.unwrap();
        assert_eq!(sound_contents(&memory).await, there, "{fault:?}");
    }
}
