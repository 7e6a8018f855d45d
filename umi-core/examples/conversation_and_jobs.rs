//! A conversation is remembered as a whole and once, also where the language model is out: its facts are found later.
//!
//! The model here is a script that fails first. Run it with `cargo run -p umi-core --example conversation_and_jobs`.

#![allow(clippy::print_stdout, reason = "an example prints what it finds")]

use std::{error::Error, sync::Arc};

use serde_json::json;
use umi_core::{
    Completion, ErrorKind, ListOptions, MemoryBuilder, MemoryConfig, RememberOptions, RememberRequest, Scope,
    ScriptedModel, StorageBackend, TokenPrices, Turn, Usage, Wait,
};

/// What a model answers where it finds one fact.
fn answer(name: &str, content: &str) -> Completion {
    let fact = json!({
        "turn": 1, "type": "person", "name": name, "attribute": null, "content": content,
        "confidence": 0.9, "event_time": null,
    });
    Completion::new(json!({"facts": [fact]}).to_string()).with_usage(Usage::new(900, 100, 1))
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let model = ScriptedModel::from_results([
        Err(umi_core::Error::new(ErrorKind::ProviderTimeout, "the model did not answer")),
        Ok(answer("Tarek", "Tarek is allergic to pine dust")),
        Ok(answer("Nadia", "Nadia opens her studio on 2 May")),
    ]);
    let memory = MemoryBuilder::new()
        .storage(StorageBackend::in_memory())
        .language_model(Arc::new(model))
        .config(MemoryConfig::default().with_token_prices(TokenPrices::new(3.0, 15.0)?))
        .build()
        .await?;
    let scope = Scope::new();

    // The words are durable whatever the model does: its failure is a warning, and a job that waits.
    let turns = vec![Turn::new("Pine makes Tarek sneeze."), Turn::new("It is the dust, says his doctor.")];
    let request = RememberRequest::conversation(turns).with_key("message 17");
    let result = memory.remember(request.clone()).await?;
    println!("remembered {} turns", result.episode_ids.len());
    for warning in &result.warnings {
        println!("{} failed: {}", warning.step, warning.error);
    }
    for job in memory.pending(&scope).await? {
        println!("waits: {}, {} failure", job.kind.as_str(), job.attempts);
    }
    println!("found meanwhile: {}", memory.recall("Why does Tarek sneeze?").limit(1)?.await?[0].entity.content);

    // A repeated call, after a timeout of one's own say, finds the key and stores nothing twice.
    let repeated = memory.remember(request).await?;
    println!("the same episodes: {}", repeated.episode_ids == result.episode_ids);

    println!("jobs run: {}", memory.retry_pending().await?);

    // Who does not want to wait for the model says so. What runs in the background is done behind `flush`.
    let durable = RememberOptions::default().with_wait(Wait::Durable);
    memory.remember("My studio opens on the second of May!").name("Nadia").options(durable).await?;
    memory.flush().await?;

    for fact in memory.list(&ListOptions::default(), &scope).await? {
        println!("fact: {}", fact.content);
    }
    let usage = memory.stats().await?.usage;
    let total = usage.total();
    println!("{} requests, {} tokens read, cost {:.4}", total.requests, total.input_tokens, usage.cost.unwrap_or(0.0));
    memory.close().await?;
    Ok(())
}
