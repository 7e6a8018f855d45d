//! Closing and opening again: one ledger at a time, one end for every caller.

use std::{path::Path, sync::Arc};

use umi_core::{ErrorKind, Memory, RememberOptions, Scope, StorageBackend, Wait};

use crate::support::GatedEmbedder;

async fn busy(folder: &Path) -> (GatedEmbedder, Memory) {
    let embedder = GatedEmbedder::new();
    let memory = embedder.memory(StorageBackend::sqlite(folder)).await;
    let durable = RememberOptions::default().with_wait(Wait::Durable);
    memory.remember("kept").options(durable).await.unwrap();
    embedder.asked.acquire().await.unwrap().forget();
    (embedder, memory)
}

#[tokio::test]
async fn flush_waits_whoever_waits_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let (embedder, memory) = busy(folder.path()).await;
    let mut first = Box::pin(memory.flush());
    let mut second = Box::pin(memory.flush());
    assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending());
    drop(first);
    assert!(futures::poll!(&mut second).is_pending());
    embedder.open();
    second.await.unwrap();
    assert!(memory.pending(&Scope::new()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_cancelled_close_is_completed_and_every_close_waits_for_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (embedder, memory) = busy(folder.path()).await;
    let sibling = Memory::open(folder.path()).await;
    assert_eq!(sibling.unwrap_err().kind(), ErrorKind::EmbeddingSpace, "a refused opening leaves the other alone");
    let sibling = embedder.memory(StorageBackend::sqlite(folder.path())).await;
    let mut cancelled = Box::pin(memory.close());
    assert!(futures::poll!(&mut cancelled).is_pending());
    drop(cancelled);
    assert_eq!(memory.remember("late").await.unwrap_err().kind(), ErrorKind::Closed);
    let (mut one, mut two) = (Box::pin(memory.close()), Box::pin(memory.close()));
    assert!(futures::poll!(&mut one).is_pending() && futures::poll!(&mut two).is_pending());
    one.await.unwrap();
    two.await.unwrap();
    assert_eq!(sibling.pending(&Scope::new()).await.unwrap().len(), 1, "what ran in the background was given up");
    embedder.open();
    sibling.flush().await.unwrap();
    assert!(sibling.pending(&Scope::new()).await.unwrap().is_empty(), "the other handle does it");
    sibling.remember("still open").await.unwrap();
    sibling.close().await.unwrap();
    let wal = folder.path().join("umi.db-wal");
    assert!(!wal.exists(), "the last handle closes the files though another's close was cancelled");
}

/// How many ledgers of this process have the folder open.
#[cfg(target_os = "linux")]
fn ledgers(folder: &Path) -> usize {
    let lock = folder.canonicalize().unwrap().join("umi.lock");
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    open.filter(|entry| std::fs::read_link(entry.as_ref().unwrap().path()).is_ok_and(|target| target == lock)).count()
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_never_has_two_ledgers_however_often_it_is_dropped_and_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path: Arc<Path> = folder.path().into();
    let rounds = (0..4).map(|task| {
        let path = Arc::clone(&path);
        tokio::spawn(async move {
            for round in 0..25 {
                let memory = Memory::open(&*path).await.unwrap();
                assert_eq!(ledgers(&path), 1);
                memory.remember(format!("task {task}, round {round}")).await.unwrap();
                assert_eq!(ledgers(&path), 1);
                // As the bindings do it: without close, on another thread, while others open.
                tokio::task::spawn_blocking(move || drop(memory));
            }
        })
    });
    for task in rounds.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let memory = Memory::open(&*path).await.unwrap();
    assert_eq!(memory.count(&Scope::new()).await.unwrap(), 100);
    assert!(memory.check().await.unwrap().problems.is_empty());
}
