//! Bring your own language model and your own embedder: each is a trait with one method that does the work.
//!
//! The two here are toys, so that the example runs without a key and tells the same story each time. In their place
//! stands a call of whatever you have: a client of another vendor, a model in this process, a queue. Run it with
//! `cargo run -p umi-core --example your_own_model`.

#![allow(clippy::print_stdout, reason = "an example prints what it finds")]

use std::{error::Error, sync::Arc};

use serde_json::json;
use umi_core::{
    Completion, CompletionRequest, Embedder, EmbeddingSpace, LanguageModel, ListOptions, MemoryBuilder, MessagePart,
    Result, Scope, StorageBackend, async_trait,
};

const DIMENSIONS: usize = 64;

/// Counts the letters of each text: a vector that knows nothing of meaning, but is of the right form.
#[derive(Debug)]
struct Letters(EmbeddingSpace);

#[async_trait]
impl Embedder for Letters {
    fn space(&self) -> &EmbeddingSpace {
        &self.0
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        let count = |text: &String| {
            let mut vector = vec![0.0; DIMENSIONS];
            for letter in text.to_lowercase().bytes() {
                vector[usize::from(letter) % DIMENSIONS] += 1.0;
            }
            vector
        };
        Ok(texts.iter().map(count).collect())
    }
}

/// Knows where people live, and nothing else.
#[derive(Debug)]
struct Toy;

#[async_trait]
impl LanguageModel for Toy {
    fn name(&self) -> &'static str {
        "toy"
    }

    async fn complete(&self, request: &CompletionRequest) -> Result<Completion> {
        let prompt = match request.messages.last().and_then(|message| message.parts.first()) {
            Some(MessagePart::Text(text)) => text.as_str(),
            _ => "",
        };
        // The schema says what is asked for: `facts`, `relations` or `rewrites`.
        Ok(Completion::new(match request.answer.as_ref().map(|answer| answer.name.as_str()) {
            Some("facts") => json!({"facts": homes(prompt)}).to_string(),
            // Within a slot such as `home` the order of time decides, without a model.
            Some(list) => json!({list: []}).to_string(),
            None => "I only know where people live.".to_owned(),
        }))
    }
}

/// The facts of the one turn that this example remembers at a time.
fn homes(prompt: &str) -> Vec<serde_json::Value> {
    let latest = prompt.find("<turn ").map_or("", |start| &prompt[start..]);
    let words: Vec<&str> = latest.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let homes = words.windows(4).filter(|four| matches!((four[1], four[2]), ("lives", "in") | ("moved", "to")));
    let fact = |four: &[&str]| {
        json!({
            "turn": 1, "type": "person", "name": four[0], "attribute": "home",
            "content": format!("{} lives in {}", four[0], four[3]), "confidence": 0.9, "event_time": null,
        })
    };
    homes.map(fact).collect()
}

#[tokio::main]
pub(crate) async fn main() -> std::result::Result<(), Box<dyn Error>> {
    let memory = MemoryBuilder::new()
        .storage(StorageBackend::in_memory())
        .language_model(Arc::new(Toy))
        .embedder(Arc::new(Letters(EmbeddingSpace::new("letters", DIMENSIONS, ""))))
        .build()
        .await?;
    for text in ["Tarek lives in Lisbon, above a bakery.", "Guess what: Tarek moved to Porto!"] {
        println!("{text}");
        let result = memory.remember(text).await?;
        for fact in result.entities {
            println!("  -> {}", fact.content);
        }
        for evolution in result.evolutions {
            println!("  -> {}", evolution.evolution_type);
        }
    }
    for fact in memory.list(&ListOptions::default(), &Scope::new()).await? {
        println!("now: {}", fact.content);
    }
    memory.close().await?;
    Ok(())
}
