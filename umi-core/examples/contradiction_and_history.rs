//! What a language model decides about facts that do not go together, and the history that is left.
//!
//! The model here is a script, so that the example runs without a key: it says what a real one would say to these
//! sentences. With an `AnthropicModel` or an `OpenAIModel` in its place the rest stays as it is. Run it with
//! `cargo run -p umi-core --example contradiction_and_history`.

#![allow(clippy::print_stdout, reason = "an example prints what it finds")]

use std::{error::Error, sync::Arc};

use serde_json::json;
use umi_core::{
    Completion, CompletionRequest, Kind, ListOptions, MemoryBuilder, MessagePart, RecallOptions, Scope, ScriptedModel,
    StorageBackend, Timestamp,
};

/// When something was said, the words, and the fact in them: whom it is about and what it says.
const STORY: [(&str, &str, &str, &str); 4] = [
    ("2026-01-06T00:00:00Z", "I don't eat any meat.", "Ines", "Ines eats no meat"),
    ("2026-02-03T00:00:00Z", "My grandfather Albin was born in Riga.", "Albin", "Albin was born in Riga"),
    ("2026-05-09T00:00:00Z", "Steak twice this week!", "Ines", "Ines eats meat again"),
    ("2026-06-02T00:00:00Z", "It was Tallinn, his papers say.", "Albin", "Albin was born in Tallinn"),
];
/// A new fact and a stored one, how they relate, and why.
const DECISIONS: [(&str, &str, &str, &str); 2] = [
    ("Ines eats meat again", "Ines eats no meat", "update", "her diet has changed"),
    ("Albin was born in Tallinn", "Albin was born in Riga", "contradict", "one is born in one place"),
];

/// Says what a language model would.
fn answer(request: &CompletionRequest) -> String {
    let prompt = match request.messages.last().and_then(|message| message.parts.first()) {
        Some(MessagePart::Text(text)) => text.as_str(),
        _ => "",
    };
    if request.answer.as_ref().is_some_and(|answer| answer.name == "facts") {
        let latest = prompt.find("<turn ").map_or("", |start| &prompt[start..]);
        let said = STORY.iter().filter(|(_, text, ..)| latest.contains(text));
        // Without an attribute: no slot that holds one value at a time, so what ends what is to be decided.
        let facts = said.map(|(_, _, name, content)| {
            json!({
                "turn": 1, "type": "person", "name": name, "attribute": null, "content": content,
                "confidence": 0.9, "event_time": null,
            })
        });
        return json!({"facts": facts.collect::<Vec<_>>()}).to_string();
    }
    // A stored fact is shown with its id, a new one with its number.
    let shown = |element: &str, fact: &str| {
        let (before, _) = prompt.split_once(&format!(">\n{fact}\n</{element}"))?;
        before.rsplit_once(&format!("<{element} "))?.1.split('"').nth(1).map(str::to_owned)
    };
    let relations = DECISIONS.iter().filter_map(|(new, old, kind, reason)| {
        let number: u64 = shown("new", new)?.parse().ok()?;
        let old = shown("stored", old)?;
        Some(json!({"new": number, "old": old, "type": kind, "reason": reason, "confidence": 0.9}))
    });
    json!({"relations": relations.collect::<Vec<_>>()}).to_string()
}

/// A day, for people.
fn day(time: Timestamp) -> String {
    time.strftime("%d %B").to_string()
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let memory = MemoryBuilder::new()
        .storage(StorageBackend::in_memory())
        .language_model(Arc::new(ScriptedModel::from_fn(|request| Ok(Completion::new(answer(request))))))
        .scope(Scope::new().with_user("ines")?)
        .build()
        .await?;
    for (at, text, ..) in STORY {
        let at = at.parse()?;
        let result = memory.remember(text).name("Ines").at(at).session(&day(at))?.await?;
        println!("{}  {text}", day(at));
        for evolution in result.evolutions {
            println!("    {}: {}", evolution.evolution_type, evolution.reason);
        }
    }

    let scope = Scope::new();
    println!("\nnow:");
    for fact in memory.list(&ListOptions::default(), &scope).await? {
        println!("  {}", fact.content);
    }

    let in_march = RecallOptions::default()
        .with_as_of("2026-03-01T00:00:00Z".parse()?)
        .with_include([Kind::Fact])?
        .with_limit(1)?;
    let then = &memory.recall("What does Ines eat?").options(in_march).await?[0].entity;
    println!("in March: {} (until {})", then.content, then.valid_to.map(day).unwrap_or_default());

    println!("\nwhat has ended, and why:");
    let every_version = ListOptions { current: false, ..ListOptions::default() };
    for fact in memory.list(&every_version, &scope).await? {
        let id = fact.id.to_string();
        for relation in memory.evolutions(&id, &scope).await?.iter().filter(|relation| relation.source_id == id) {
            let newer = memory.get(&relation.target_id, &scope).await?.map(|newer| newer.content).unwrap_or_default();
            let mark = if relation.is_conflict() { "!" } else { " " };
            println!("  {mark} {} -> {newer}: {}", fact.content, relation.reason);
        }
    }
    memory.close().await?;
    Ok(())
}
