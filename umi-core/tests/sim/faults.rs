//! The production engine over a file layer that records, refuses and loses power.

mod acknowledgements;
mod power;
mod refusals;

use std::{path::Path, sync::Arc};

use umi_core::{
    BlockType, Entity, EntityType, Memory, MemoryBuilder, Result, Scope, SimEmbedder, StorageBackend, Timestamp, Uuid,
};

/// Opens the store in `folder/store` as users do, with an embedder that takes no time.
async fn open(folder: &Path) -> Result<Memory> {
    let storage = StorageBackend::sqlite(folder.join("store"));
    MemoryBuilder::new().storage(storage).embedder(Arc::new(SimEmbedder::new(1))).build().await
}

fn fact(name: &str, content: &str) -> Entity {
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    Entity::new(Uuid::nil(), now, EntityType::Person, name, content).unwrap()
}

/// As [`contents`], of a store that has no problem.
async fn sound_contents(memory: &Memory) -> Vec<String> {
    assert_eq!(memory.check().await.unwrap().problems, Vec::<String>::new());
    contents(memory).await
}

/// Everything that a store says, a line each, in order.
async fn contents(memory: &Memory) -> Vec<String> {
    let scope = Scope::new();
    let mut lines = Vec::new();
    for episode in memory.episodes(1_000, 0, &scope).await.unwrap() {
        lines.push(format!("episode {}", episode.text));
    }
    for entity in memory.list(&umi_core::ListOptions::default(), &scope).await.unwrap() {
        lines.push(format!("fact {} {}", entity.name, entity.content));
    }
    for key in memory.working().keys().await.unwrap() {
        let value = memory.working().get(&key).await.unwrap().unwrap();
        lines.push(format!("working {key} {}", String::from_utf8_lossy(&value)));
    }
    for version in memory.core().versions(BlockType::Scratch).await.unwrap() {
        lines.push(format!("block {}", version.content));
    }
    lines.sort();
    lines
}

/// A copy of a folder's files as they are, which is what a process leaves that is killed now.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "db-shm") {
            continue; // without it SQLite reads the log as after a crash
        }
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}
