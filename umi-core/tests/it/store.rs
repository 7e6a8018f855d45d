//! One store, several handles: opening, closing, forgetting for good.

use std::path::Path;

use umi_core::{BlockType, ErrorKind, ForgetReach, Memory, RememberRequest, Scope};

use crate::support::{fact, user};

#[tokio::test]
async fn what_was_acknowledged_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Memory::open(folder.path()).await.unwrap();
    let said = memory.remember("kept").user("alice").unwrap().await.unwrap();
    memory.core().set_block(BlockType::Goals, "open the studio", None, None).await.unwrap();
    memory.working().incr("visits", 41).await.unwrap();
    memory.close().await.unwrap();
    memory.close().await.unwrap();
    assert_eq!(memory.remember("late").await.unwrap_err().kind(), ErrorKind::Closed);

    let memory = Memory::open(folder.path()).await.unwrap();
    let found = memory.recall("kept").user("alice").unwrap().await.unwrap();
    assert_eq!(found[0].entity.id, said.episode_ids[0]);
    assert_eq!(memory.core().get(BlockType::Goals).await.unwrap().unwrap().content, "open the studio");
    assert_eq!(memory.working().incr("visits", 1).await.unwrap(), 42);
}

#[tokio::test]
async fn two_handles_share_a_folder_and_the_last_one_closes_it() {
    let folder = tempfile::tempdir().unwrap();
    let one = Memory::open(folder.path()).await.unwrap();
    let two = Memory::open(folder.path().join(".")).await.unwrap();
    one.remember("said through one").await.unwrap();
    assert_eq!(two.recall("said").await.unwrap().len(), 1);
    let scoped = two.scoped(&user("alice")).unwrap();
    one.close().await.unwrap();
    scoped.remember("said through a scoped handle").await.unwrap();
    scoped.close().await.unwrap();
    assert!(scoped.is_closed() && !two.is_closed());
    two.remember("still open").await.unwrap();
    let scoped = two.scoped(&user("alice")).unwrap();
    two.close().await.unwrap();
    assert_eq!(scoped.count(&Scope::new()).await.unwrap_err().kind(), ErrorKind::Closed);
    let again = Memory::open(folder.path()).await.unwrap();
    assert_eq!(again.count(&Scope::new()).await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writers_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Memory::open(folder.path()).await.unwrap();
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let memory = memory.clone();
            tokio::spawn(async move {
                for number in 0..25 {
                    memory.remember(format!("writer {writer} says {number}")).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(memory.count(&Scope::new()).await.unwrap(), 200);
    let check = memory.check().await.unwrap();
    assert!(check.problems.is_empty(), "{:?}", check.problems);
}

fn bytes_of(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        bytes.extend(std::fs::read(entry.unwrap().path()).unwrap());
    }
    bytes
}

#[tokio::test]
async fn purging_leaves_no_byte_of_what_was_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Memory::open(folder.path()).await.unwrap();
    let items = (0..400).map(|number| RememberRequest::from(format!("canary-{number:04}-{}", "text ".repeat(40))));
    let said = memory.remember_many(items, |_| ()).await.unwrap();
    memory.add_entity(fact("Ana", Some("home"), "canary-fact", None), &Scope::new()).await.unwrap();
    memory.core().set_block(BlockType::Scratch, "canary-block", None, None).await.unwrap();
    for result in said.iter().skip(10) {
        memory.forget(&result.episode_ids[0].to_string(), ForgetReach::Version, &Scope::new()).await.unwrap();
    }
    assert_eq!(memory.recall("canary text").await.unwrap().len(), 10);
    memory.purge().await.unwrap();
    let holds = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    let bytes = bytes_of(folder.path());
    assert!(holds(&bytes, "canary-0009-") && !(10..400).any(|number| holds(&bytes, &format!("canary-{number:04}-"))));
    memory.forget_scope(true, &Scope::new()).await.unwrap();
    memory.purge().await.unwrap();
    let bytes = bytes_of(folder.path());
    assert!(!holds(&bytes, "canary"));
    assert_eq!(memory.count(&Scope::new()).await.unwrap(), 0);
}

#[tokio::test]
async fn a_backup_is_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Memory::open(folder.path().join("store")).await.unwrap();
    memory.remember("kept").await.unwrap();
    memory.backup(&folder.path().join("copy")).await.unwrap();
    memory.remember("after the copy").await.unwrap();
    let refused = memory.backup(&folder.path().join("copy")).await.unwrap_err();
    assert!(refused.is_invalid_input(), "{refused}");
    let copy = Memory::open(folder.path().join("copy")).await.unwrap();
    assert_eq!(copy.count(&Scope::new()).await.unwrap(), 1);
    assert_eq!(copy.recall("kept").await.unwrap().len(), 1);
}

#[tokio::test]
async fn bad_folders_are_refused_by_name_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let refused = Memory::open(&file).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::StoreIo);
    assert_eq!(refused.details().filename.as_deref(), Some(file.to_str().unwrap()));

    let memory = Memory::open(folder.path().join("store")).await.unwrap();
    memory.close().await.unwrap();
    let database = std::fs::read_dir(folder.path().join("store"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "db"))
        .unwrap();
    std::fs::write(&database, vec![7_u8; 8_192]).unwrap();
    assert_eq!(Memory::open(folder.path().join("store")).await.unwrap_err().kind(), ErrorKind::CorruptStore);
    assert_eq!(std::fs::read(&database).unwrap(), vec![7_u8; 8_192]);
}

#[tokio::test]
async fn a_simulated_memory_gives_the_same_bytes_twice() {
    let mut documents = Vec::new();
    for _ in 0..2 {
        let memory = Memory::sim(42).await.unwrap();
        for number in 0..30 {
            memory.remember(format!("thing {} of the garden", number % 7)).await.unwrap();
        }
        memory.add_entity(fact("Ana", Some("home"), "Porto", None), &Scope::new()).await.unwrap();
        documents.push(memory.context().query("the garden of Ana").budget_tokens(5_000).await.unwrap());
    }
    assert_eq!(documents[0], documents[1]);
}
