//! What a model is given to decide with: the turns before, and the facts to compare with.

use std::sync::Arc;

use parking_lot::Mutex;
use umi_core::{Completion, FactChange, ForgetReach, Scope, Turn};

use crate::support::{Model, fact, facts, message, relation, relations, said};

#[tokio::test]
async fn the_turns_before_are_found_however_many_come_with_them() {
    let model = Model::from_fn(|_| Ok(Completion::new(facts(&[]))));
    let memory = model.memory().await;
    let session = || Scope::new().with_session("s").unwrap();
    memory.remember("My sister Ana is a pilot.").session("s").unwrap().await.unwrap();
    // All at one time, as the clock stands still: another agent's, and those of the conversation itself.
    for number in 0..40 {
        let text = format!("guide's {number}");
        memory.remember(text).session("s").unwrap().agent("guide").unwrap().await.unwrap();
    }
    let turns: Vec<Turn> = (0..40).map(|number| Turn::new(format!("turn {number} of her"))).collect();
    memory.remember(turns).session("s").unwrap().await.unwrap();
    let shown = model.last_message();
    assert!(shown.contains("\nMy sister Ana is a pilot.\n"), "{shown}");
    assert!(!shown.contains("guide's"), "of this agent alone");
    assert_eq!(shown.matches("of her").count(), 40, "each turn once");
    assert_eq!(memory.episodes(1_000, 0, &session()).await.unwrap().len(), 81);
}

#[tokio::test]
async fn a_fact_that_no_longer_repeats_another_is_compared_with_all() {
    let told = facts(&[said(1, "Ana", None, "Ana likes tea"), said(1, "Ana", None, "Ana sings")]);
    let model = Model::new([told, relations(&[]), relations(&[])]).gated(1);
    let memory = model.memory().await;
    let tea = memory.add_entity(fact("Ana", None, "Ana likes tea", None), &Scope::new()).await.unwrap();
    let coffee = memory.add_entity(fact("Ana", None, "Ana drinks coffee alone", None), &Scope::new()).await.unwrap();
    let remembering = tokio::spawn({
        let memory = memory.clone();
        async move { memory.remember("tea, and she sings").await.unwrap() }
    });
    model.asked.acquire_many(2).await.unwrap().forget();
    let first = model.last_message();
    // While the model decides about the other one, what the first repeats holds no more.
    let change = FactChange { content: Some("Ana likes cocoa".to_owned()), ..FactChange::default() };
    memory.update(&tea.entities[0].id.to_string(), change, &Scope::new()).await.unwrap();
    model.open(2);
    let result = remembering.await.unwrap();
    assert!(result.warnings.is_empty(), "{:?}", result.warnings);
    let coffee = coffee.entities[0].id.to_string();
    assert!(first.contains(&coffee) && !first.contains("<new number=\"2\""), "{first}");
    let second = message(&model.requests.lock()[2]);
    assert!(second.contains(&coffee) && second.contains("<new number=\"2\""), "{second}");
}

#[tokio::test]
async fn what_is_forgotten_while_a_model_decides_is_in_no_reason() {
    let (told, answers) = (facts(&[said(1, "Ana", None, "Ana moved to Rome")]), Arc::new(Mutex::new(Vec::new())));
    let (mut is_first, quoting) = (true, Arc::clone(&answers));
    let model = Model::from_fn(move |_| {
        let text = if std::mem::take(&mut is_first) { told.clone() } else { quoting.lock().remove(0) };
        Ok(Completion::new(text))
    })
    .gated(1);
    let memory = model.memory().await;
    let mut stored = Vec::new();
    for content in ["Ana lives in Paris", "Ana sees Dr Weiss"] {
        stored.push(memory.add_entity(fact("Ana", None, content, None), &Scope::new()).await.unwrap().entities[0].id);
    }
    let answer = |reason: &str| {
        let mut relation = relation(1, &stored[0].to_string(), "update");
        relation["reason"] = reason.into();
        relations(&[relation])
    };
    *answers.lock() = vec![answer("she left Paris, and Dr Weiss with it"), answer("she left Paris")];
    let remembering = tokio::spawn({
        let memory = memory.clone();
        async move { memory.remember("She moved.").await.unwrap() }
    });
    model.asked.acquire_many(2).await.unwrap().forget();
    assert!(model.last_message().contains("Dr Weiss"), "both are shown");
    assert!(memory.forget(&stored[1].to_string(), ForgetReach::Version, &Scope::new()).await.unwrap());
    model.open(2);
    let result = remembering.await.unwrap();
    let reasons: Vec<&str> = result.evolutions.iter().map(|evolution| evolution.reason.as_str()).collect();
    assert_eq!(reasons, ["she left Paris"], "{:?}", result.warnings);
    let kept = memory.evolutions(&stored[0].to_string(), &Scope::new()).await.unwrap();
    assert!(kept.iter().all(|evolution| !evolution.reason.contains("Weiss")), "{kept:?}");
}
