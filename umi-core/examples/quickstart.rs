//! Remember a conversation, recall from it, and print the XML for a model's prompt.
//!
//! Run it with `cargo run -p umi-core --example quickstart`. It needs no key, no network and no model download.

#![allow(clippy::print_stdout, reason = "an example prints what it finds")]

use std::error::Error;

use umi_core::{
    BlockType, Entity, EntityType, MemoryBuilder, RememberRequest, Scope, StorageBackend, Timestamp, Turn, new_id,
};

/// When each session began, and what was said in it.
const SESSIONS: [(&str, &[(&str, &str)]); 2] = [
    (
        "2026-03-02T18:05:00Z",
        &[
            ("Nadia", "I just signed the lease on a small pottery studio in the old harbour."),
            ("Juno", "Congratulations! Will you be teaching there as well?"),
            ("Nadia", "Yes, on Thursday evenings. My brother Tarek builds the shelves."),
        ],
    ),
    (
        "2026-03-19T20:40:00Z",
        &[
            ("Nadia", "The wiring is from 1962. I moved the opening from April to the second of May."),
            ("Juno", "How is Tarek doing with the shelves?"),
            ("Nadia", "Slowly: he is allergic to pine dust, so it has to be oak."),
        ],
    ),
];
const QUESTIONS: [&str; 3] =
    ["What is Tarek allergic to?", "What kind of work does Nadia do?", "When does the studio open?"];

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let memory = MemoryBuilder::new()
        .storage(StorageBackend::sqlite(folder.path()))
        .scope(Scope::new().with_user("nadia")?)
        .build()
        .await?;

    for (at, said) in SESSIONS {
        let at: Timestamp = at.parse()?;
        let turns = said.iter().map(|(name, text)| {
            let mut turn = Turn::new(*text);
            turn.role = (*name == "Juno").then(|| "assistant".to_owned());
            turn.name = Some((*name).to_owned());
            turn.at = Some(at);
            turn
        });
        let session = Scope::new().with_session(at.to_string())?;
        let result = memory.remember(RememberRequest::conversation(turns.collect()).with_scope(session)).await?;
        println!("remembered {} turns of {at}", result.episode_ids.len());
    }

    // A fact that the caller already has stands beside what was said.
    let now = memory.clock().now();
    let content = "runs a pottery studio in the old harbour";
    let mut fact = Entity::new(new_id(now), now, EntityType::Person, "Nadia", content)?;
    fact.attribute = Some("occupation".to_owned());
    memory.add_entity(fact, &Scope::new()).await?;

    for question in QUESTIONS {
        println!("\n{question}");
        for hit in memory.recall(question).limit(2)?.await? {
            println!("  {:.2}  {}", hit.score, hit.entity.content);
        }
    }

    memory.core().set_block(BlockType::Persona, "You are Juno, a warm and brief assistant.", None, None).await?;
    memory.core().set_block(BlockType::Human, "Nadia, a potter. Likes concrete dates.", None, None).await?;
    println!("\n{}", memory.context().query("What is Tarek allergic to?").budget_tokens(200).await?);

    memory.close().await?;
    Ok(())
}
