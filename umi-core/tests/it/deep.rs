//! Deep recall: rewrites of a question, searched at once and fused.

use umi_core::{Completion, Error, ErrorKind, Kind, MemoryConfig, RecallOptions, RememberOptions, Scope, Usage};

use crate::support::{Model, fact, memory, year};

fn deep() -> RecallOptions {
    RecallOptions::default().with_deep_search(Some(true)).with_limit(3).unwrap()
}

fn rewrites(texts: &[&str], past: bool) -> String {
    serde_json::json!({"rewrites": texts, "past": past}).to_string()
}

/// A memory of plain texts.
async fn filled(model: &Model, texts: &[&str]) -> umi_core::Memory {
    let memory = model.memory().await;
    let options = RememberOptions::default().with_extract_entities(false);
    for text in texts {
        memory.remember(*text).options(options.clone()).await.unwrap();
    }
    memory
}

#[tokio::test]
async fn rewrites_find_what_the_question_does_not() {
    let model = Model::new([rewrites(&["Zugspitze climb", "violin lessons"], false)]);
    let texts = ["We climbed the Zugspitze in May", "Violin lessons are on Mondays", "The cat sleeps", "Bread is dear"];
    let memory = filled(&model, &texts).await;
    let found = memory.recall("hobbies").options(deep()).await.unwrap();
    assert!(found.warnings.is_empty() && found.usage == Usage::new(100, 10, 1));
    let contents: Vec<&str> = found.iter().map(|hit| hit.entity.content.as_str()).collect();
    assert!(contents[..3].contains(&texts[0]) && contents[..3].contains(&texts[1]), "{contents:?}");
    assert!(found.iter().all(|hit| (0.0..=1.0).contains(&hit.score)) && found.len() == 3);
    assert_eq!(memory.stats().await.unwrap().usage.expand.requests, 1);
    assert!(model.last_message().contains("<question asked=\"Thursday 2026-01-01 00:00 UTC\">\nhobbies\n</question>"));
}

#[tokio::test]
async fn without_a_model_it_is_refused_and_says_so() {
    let memory = memory().await;
    let refused = memory.recall("x").options(deep()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    assert!(refused.to_string().contains("no language model"), "{refused}");
}

#[tokio::test]
async fn the_configuration_decides_where_a_call_says_nothing() {
    let model = Model::from_fn(|_| Ok(Completion::new(rewrites(&[], false))));
    let config = MemoryConfig::default().with_deep_search(true);
    let memory = model.builder().config(config).build().await.unwrap();
    memory.recall("x").await.unwrap();
    memory.recall("x").options(RecallOptions::default().with_deep_search(Some(false))).await.unwrap();
    memory.recall(" ").await.unwrap();
    assert_eq!(model.steps(), ["rewrites"]);
}

#[tokio::test]
async fn a_model_that_fails_costs_the_rewrites_alone() {
    let model = Model::from_fn(|_| Err(Error::new(ErrorKind::RateLimit, "busy").with_retryable(true)));
    let memory = filled(&model, &["Ana lives in Rome"]).await;
    let found = memory.recall("Where does Ana live?").options(deep()).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found.warnings[0].step, found.warnings[0].error.kind()), ("expand", ErrorKind::RateLimit));
    model.now_answers(|_| Ok(Completion::new("I would rather not.")));
    let found = memory.recall("Where does Ana live?").options(deep()).await.unwrap();
    assert_eq!((found.len(), found.warnings[0].error.kind()), (1, ErrorKind::InvalidResponse));
    assert_eq!(model.steps().len(), 3, "asked once more where the answer cannot be read");
}

#[tokio::test]
async fn a_question_about_the_past_finds_closed_versions() {
    let model = Model::from_fn(|_| Ok(Completion::new(rewrites(&["Ana works at"], true))));
    let memory = model.memory().await;
    for (content, from) in [("Ana works at Acme", 2020), ("Ana works at Globex", 2024)] {
        memory.add_entity(fact("Ana", Some("employer"), content, Some(year(from))), &Scope::new()).await.unwrap();
    }
    let question = "Where did Ana work before Globex?";
    let facts = || RecallOptions::default().with_include([Kind::Fact]).unwrap();
    let contents = async |options: RecallOptions| -> Vec<String> {
        let found = memory.recall(question).options(options).await.unwrap();
        found.into_iter().map(|hit| hit.entity.content).collect()
    };
    assert_eq!(contents(facts()).await, ["Ana works at Globex"]);
    assert!(contents(facts().with_deep_search(Some(true))).await.contains(&"Ana works at Acme".to_owned()));
    assert_eq!(contents(facts().with_as_of(year(2022))).await, ["Ana works at Acme"]);
    // A time that is named is kept to.
    let deep_then = facts().with_deep_search(Some(true)).with_as_of(year(2022));
    assert_eq!(contents(deep_then).await, ["Ana works at Acme"]);
    let range = facts().with_deep_search(Some(true)).with_time_range(year(2021), year(2022)).unwrap();
    assert_eq!(contents(range).await, ["Ana works at Acme"]);
}

#[tokio::test]
async fn a_question_about_the_past_finds_nothing_that_is_only_planned() {
    let model = Model::from_fn(|_| Ok(Completion::new(rewrites(&["Ana works at"], true))));
    let memory = model.memory().await;
    for (content, from) in [("Ana works at Acme", 2020), ("Ana works at Globex", 2024), ("Ana works at Hooli", 2030)] {
        memory.add_entity(fact("Ana", Some("employer"), content, Some(year(from))), &Scope::new()).await.unwrap();
    }
    let options = deep().with_include([Kind::Fact]).unwrap();
    let found = memory.recall("Where did Ana work before?").options(options).await.unwrap();
    let mut contents: Vec<&str> = found.iter().map(|hit| hit.entity.content.as_str()).collect();
    contents.sort_unstable();
    assert_eq!(contents, ["Ana works at Acme", "Ana works at Globex"]);
}
