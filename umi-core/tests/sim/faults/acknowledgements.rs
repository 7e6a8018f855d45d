//! Whatever is acknowledged has been synced before.

use std::path::PathBuf;

use parking_lot::Mutex;
use umi_core::{BlockType, FactChange, ForgetReach, Memory, RememberRequest, Scope};
use umi_faults::{Disk, Event, FileKind, Operation};

use super::{fact, open};

/// Looks at what of the log has been synced.
struct Log {
    disk: Disk,
    path: PathBuf,
    events: Mutex<Vec<Event>>,
}

impl Log {
    fn of(disk: &Disk, memory: &Memory) -> Self {
        disk.take_events();
        Self { disk: disk.clone(), path: memory.path().unwrap().join("umi.db-wal"), events: Mutex::default() }
    }

    /// Asserts that the text is in the part of the log that has been synced.
    fn assert_synced(&self, text: &str) {
        let mut events = self.events.lock();
        events.extend(self.disk.take_events().into_iter().filter(|event| event.file == FileKind::Wal));
        let synced = events.iter().rposition(|event| event.operation == Operation::Sync && !event.failed).unwrap_or(0);
        let log = std::fs::read(&self.path).unwrap();
        let is_synced = events[..synced].iter().filter(|event| event.operation == Operation::Write).any(|event| {
            let at = event.offset as usize;
            log[at..at + event.bytes as usize].windows(text.len()).any(|window| window == text.as_bytes())
        });
        assert!(is_synced, "`{text}` was acknowledged and not synced");
    }

    /// Asserts that since the last look something was written to the log, and that its last write was synced.
    fn assert_last_write_synced(&self) {
        let mut events = self.disk.take_events();
        events.retain(|event| event.file == FileKind::Wal);
        let last = |operation| events.iter().rposition(|event| event.operation == operation && !event.failed);
        let written = last(Operation::Write).expect("nothing was written");
        assert!(last(Operation::Sync) > Some(written), "the log was written and not synced before the answer");
        self.events.lock().extend(events);
    }
}

#[tokio::test]
async fn every_kind_of_write_is_synced_before_its_answer() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::at(folder.path());
    let memory = open(folder.path()).await.unwrap();
    let scope = Scope::new();
    let log = Log::of(&disk, &memory);
    let said = memory.remember("an episode").await.unwrap();
    log.assert_last_write_synced();
    memory.remember_many((0..5).map(|number| RememberRequest::from(format!("turn {number}"))), |_| ()).await.unwrap();
    log.assert_last_write_synced();
    let added = memory.add_entity(fact("Ana", "lives in Porto"), &scope).await.unwrap();
    log.assert_last_write_synced();
    let id = added.entities[0].id.to_string();
    let change = FactChange { content: Some("lives in Lisbon".to_owned()), ..FactChange::default() };
    memory.update(&id, change, &scope).await.unwrap();
    log.assert_last_write_synced();
    memory.forget(&said.episode_ids[0].to_string(), ForgetReach::Version, &scope).await.unwrap();
    log.assert_last_write_synced();
    memory.core().set_block(BlockType::Goals, "a goal", None, None).await.unwrap();
    log.assert_last_write_synced();
    memory.core().remove(BlockType::Goals).await.unwrap();
    log.assert_last_write_synced();
    memory.working().set("key", b"value".to_vec(), None).await.unwrap();
    log.assert_last_write_synced();
    memory.working().delete("key").await.unwrap();
    log.assert_last_write_synced();
    memory.forget_scope(true, &scope).await.unwrap();
    log.assert_last_write_synced();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_whose_writes_are_grouped_are_answered_after_the_sync() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::at(folder.path());
    let memory = open(folder.path()).await.unwrap();
    let log = Log::of(&disk, &memory);
    for round in 0..4 {
        let callers = (0..16).map(|caller| {
            let (memory, log) = (&memory, &log);
            async move {
                let text = format!("canary-{round}-{caller}.");
                match caller % 4 {
                    0 => drop(memory.remember(text.as_str()).await.unwrap()),
                    1 => drop(
                        memory.add_entity(fact(&format!("Ana {round} {caller}"), &text), &Scope::new()).await.unwrap(),
                    ),
                    2 => memory.working().set(&text, b"value".to_vec(), None).await.unwrap(),
                    _ => drop(memory.core().set_block(BlockType::Scratch, &text, None, None).await.unwrap()),
                }
                log.assert_synced(&text);
            }
        });
        futures::future::join_all(callers).await;
    }
    let events = log.events.lock();
    let syncs = events.iter().filter(|event| event.operation == Operation::Sync).count();
    assert!(syncs < 64, "{syncs} syncs for 64 writes: none was grouped");
}
