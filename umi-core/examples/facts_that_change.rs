//! Facts change: what is true now, what was true then, and how the one became the other.
//!
//! Run it with `cargo run -p umi-core --example facts_that_change`.

#![allow(clippy::print_stdout, reason = "an example prints what it finds")]

use std::error::Error;

use umi_core::{Entity, EntityType, FactChange, ForgetReach, ListOptions, Memory, Scope, Timestamp, new_id};

/// The first moment of a year.
fn year(number: u16) -> Result<Timestamp, Box<dyn Error>> {
    Ok(format!("{number}-01-01T00:00:00Z").parse()?)
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let memory = Memory::in_memory().await?;
    let scope = Scope::new();

    // Told out of order, read in order: a slot such as `employer` holds one value at a time.
    for (start, employer) in [(2019, "Acme Corp"), (2024, "Initech"), (2021, "Globex")] {
        let now = memory.clock().now();
        let mut fact = Entity::new(new_id(now), now, EntityType::Person, "Tarek", &format!("works at {employer}"))?;
        fact.attribute = Some("employer".to_owned());
        fact.event_time = Some(year(start)?);
        for evolution in memory.add_entity(fact, &scope).await?.evolutions {
            println!("{}: {}", evolution.evolution_type, evolution.reason);
        }
    }

    let current = memory.list(&ListOptions::default(), &scope).await?.remove(0);
    println!("\nnow:     {} (since {})", current.content, current.valid_from.strftime("%Y"));
    for then in [2020, 2022] {
        let found = memory.recall("Where does Tarek work?").as_of(year(then)?).await?;
        println!("in {then}: {}", found[0].entity.content);
    }

    println!("\nhistory:");
    for version in memory.history(&current.id.to_string(), &scope).await? {
        let until = version.valid_to.map_or_else(|| "now".to_owned(), |end| end.strftime("%Y").to_string());
        println!("  {} to {until:4}  {}", version.valid_from.strftime("%Y"), version.content);
    }

    let change = FactChange { content: Some("works at Initech as head of design".to_owned()), ..FactChange::default() };
    let newer = memory.update(&current.id.to_string(), change, &scope).await?;
    println!("\nupdated: {}", newer.content);
    for relation in memory.evolutions(&newer.id.to_string(), &scope).await? {
        println!("because: {}, {}", relation.evolution_type, relation.reason);
    }

    // Forgetting a version reads as if it had never been said: its predecessor is current again.
    memory.forget(&newer.id.to_string(), ForgetReach::Version, &scope).await?;
    println!("after forgetting it: {}", memory.list(&ListOptions::default(), &scope).await?[0].content);
    memory.close().await?;
    Ok(())
}
