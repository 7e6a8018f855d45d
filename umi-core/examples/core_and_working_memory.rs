//! Core memory is always in the prompt; working memory holds what matters for an hour. Both are durable.
//!
//! Run it with `cargo run -p umi-core --example core_and_working_memory`.

#![allow(clippy::print_stdout, reason = "an example prints what it finds")]

use std::{error::Error, path::Path, sync::Arc, time::Duration};

use umi_core::{BlockType, ManualClock, Memory, MemoryBuilder, Scope, StorageBackend, TimeToLive};

/// Opens the store as a program would each time it starts.
async fn open(folder: &Path, clock: &ManualClock) -> umi_core::Result<Memory> {
    MemoryBuilder::new()
        .storage(StorageBackend::sqlite(folder))
        .scope(Scope::new().with_user("nadia")?.with_agent("juno")?.with_session("studio")?)
        .clock(Arc::new(clock.clone()))
        .build()
        .await
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let clock = ManualClock::new("2026-06-01T09:00:00Z".parse()?);
    let folder = tempfile::tempdir()?;
    let memory = open(folder.path(), &clock).await?;

    let core = memory.core();
    core.set_block(BlockType::System, "You are a helpful assistant.", None, None).await?;
    core.set_block(BlockType::Human, "Prefers concise answers.", Some("Nadia"), Some(0.9)).await?;
    core.set_block(BlockType::Goals, "Open the studio in April.", None, None).await?;
    core.set_block(BlockType::Goals, "Open the studio on the second of May.", None, None).await?;
    println!("{}\n\nversions of goals:", core.render().await?);
    for block in core.versions(BlockType::Goals).await? {
        println!("  {}: {}", block.version, block.content);
    }
    println!("restored: {}\n", core.restore(BlockType::Goals, 1).await?.content);

    let working = memory.working();
    working.set("draft", b"Dear Tarek,".to_vec(), Some(TimeToLive::For(Duration::from_mins(1)))).await?;
    working.append("draft", b" the shelves are beautiful.".to_vec()).await?;
    working.incr("visitors", 40).await?;
    println!("{}\n", memory.context().budget_tokens(100).await?);

    clock.advance(Duration::from_mins(2))?;
    println!("after two minutes: {:?}, draft: {:?}", working.keys().await?, working.get("draft").await?);
    memory.close().await?;

    // Another process, or the same one tomorrow, finds both.
    let memory = open(folder.path(), &clock).await?;
    let goals = memory.core().get(BlockType::Goals).await?.map(|block| block.content).unwrap_or_default();
    let visitors = memory.working().incr("visitors", 1).await?;
    println!("after a restart: {goals} Visitor number {visitors} comes in.");
    memory.close().await?;
    Ok(())
}
