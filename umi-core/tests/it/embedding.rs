//! Embedders that fail, spaces that differ.

use std::sync::{Arc, atomic::Ordering};

use parking_lot::Mutex;
use umi_core::{
    ErrorKind, Memory, MemoryBuilder, RecallOptions, RememberOptions, Scope, SimEmbedder, StorageBackend, Wait,
};

use crate::support::{RemoteEmbedder, fact, user};

async fn with_remote(embedder: &RemoteEmbedder, storage: StorageBackend) -> Memory {
    MemoryBuilder::new().storage(storage).embedder(Arc::new(embedder.clone())).build().await.unwrap()
}

fn vectors_only() -> RecallOptions {
    RecallOptions::default().with_search(true, false).unwrap()
}

#[tokio::test]
async fn an_outage_costs_no_words_and_is_made_good_later() {
    let embedder = RemoteEmbedder::new(true);
    let memory = with_remote(&embedder, StorageBackend::in_memory()).await;
    let said = memory.remember("The spare key is under the pot.").user("alice").unwrap().await.unwrap();
    assert_eq!(said.warnings.len(), 1);
    assert_eq!((said.warnings[0].step, said.warnings[0].error.kind()), ("embed", ErrorKind::Embedding));
    let known = memory.add_entity(fact("Ana", None, "likes tea", None), &user("alice")).await.unwrap();
    assert_eq!(known.warnings.len(), 1);
    let jobs = memory.pending(&user("alice")).await.unwrap();
    assert_eq!(
        jobs.iter().map(|job| Some(job.id)).collect::<Vec<_>>(),
        [said.warnings[0].job_id, known.warnings[0].job_id]
    );
    assert_eq!((jobs[0].episode_id, jobs[0].attempts), (Some(said.episode_ids[0]), 1));
    assert!(jobs[0].last_error.as_deref().unwrap().contains("the service is down"));
    assert!(memory.pending(&user("bob")).await.unwrap().is_empty());

    let found = memory.recall("spare key").user("alice").unwrap().await.unwrap();
    assert_eq!((found[0].entity.id, found.warnings.len()), (said.episode_ids[0], 1));
    assert_eq!(found.warnings[0].step, "embed_query");
    let refused = memory.recall_with("spare key", &vectors_only(), &user("alice")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Embedding);

    assert_eq!(memory.retry_pending().await.unwrap(), 0);
    assert_eq!(memory.pending(&user("alice")).await.unwrap()[0].attempts, 2);
    embedder.is_down.store(false, Ordering::Release);
    assert_eq!(memory.retry_pending().await.unwrap(), 2);
    assert!(memory.pending(&user("alice")).await.unwrap().is_empty());
    let found = memory.recall_with("spare key", &vectors_only(), &user("alice")).await.unwrap();
    assert_eq!(found[0].entity.id, said.episode_ids[0]);
}

#[tokio::test]
async fn opening_a_store_starts_what_an_outage_left() {
    let folder = tempfile::tempdir().unwrap();
    let embedder = RemoteEmbedder::new(true);
    let memory = with_remote(&embedder, StorageBackend::sqlite(folder.path())).await;
    memory.remember("kept").await.unwrap();
    memory.close().await.unwrap();
    embedder.is_down.store(false, Ordering::Release);
    let memory = with_remote(&embedder, StorageBackend::sqlite(folder.path())).await;
    memory.flush().await.unwrap();
    assert!(memory.pending(&Scope::new()).await.unwrap().is_empty());
    assert_eq!(memory.recall("kept").options(vectors_only()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_durable_remember_embeds_behind_its_caller() {
    let embedder = RemoteEmbedder::new(false);
    let memory = with_remote(&embedder, StorageBackend::in_memory()).await;
    let options = RememberOptions::default().with_wait(Wait::Durable);
    let said = memory.remember("kept").options(options).await.unwrap();
    assert!(said.warnings.is_empty() && said.entity_count() == 1);
    memory.flush().await.unwrap();
    assert!(memory.pending(&Scope::new()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_text_without_a_vector_is_found_by_its_words() {
    let memory = Memory::in_memory().await.unwrap();
    let options = RememberOptions::default().with_generate_embeddings(false);
    memory.remember("heliotrope").options(options).await.unwrap();
    assert!(memory.pending(&Scope::new()).await.unwrap().is_empty());
    assert_eq!(memory.stats().await.unwrap().ledger.vectors, 0);
    assert_eq!(memory.recall("heliotrope").await.unwrap().len(), 1);
}

#[tokio::test]
async fn another_embedder_is_refused_until_the_store_is_embedded_again() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Memory::open(folder.path()).await.unwrap();
    for number in 0..150 {
        memory.remember(format!("memory {number} of the garden")).await.unwrap();
    }
    memory.add_entity(fact("Ana", None, "likes tea", None), &Scope::new()).await.unwrap();
    memory.close().await.unwrap();
    let other =
        || MemoryBuilder::new().storage(StorageBackend::sqlite(folder.path())).embedder(Arc::new(SimEmbedder::new(5)));
    let refused = other().build().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::EmbeddingSpace);
    assert!(refused.to_string().contains("static") && refused.to_string().contains("sim-5"), "{refused}");

    let memory = other().reembed(true).build().await.unwrap();
    let found = memory.recall("memory 7 of the garden").await.unwrap();
    assert_eq!(found.warnings.len(), 1, "by words only, and it says so");
    assert!(found.iter().any(|hit| hit.entity.content == "memory 7 of the garden"));
    let seen = Mutex::new(Vec::new());
    let progress = |done: u64, total: u64| seen.lock().push((done, total));
    assert_eq!(memory.reembed(Some(&progress)).await.unwrap(), 151);
    assert_eq!(seen.lock().last(), Some(&(151, 151)));
    let found = memory.recall("memory 7 of the garden").options(vectors_only()).await.unwrap();
    assert!(found.warnings.is_empty() && !found.is_empty());
    memory.close().await.unwrap();
    other().build().await.unwrap();
}
