//! Facts by a language model: what it is asked, what is recorded, how little it is called.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::{Barrier, Semaphore};
use umi_core::{
    Completion, CompletionRequest, EvolutionType, FactChange, LanguageModel, ListOptions, Memory, MemoryBuilder,
    MemoryConfig, RECALLED_SOURCE, RememberOptions, RememberRequest, Result, Scope, SimLanguageModel, TokenPrices,
    Turn, Usage, Wait,
};

use crate::support::{Model, fact, facts, message, relation, relations, said, time, user};

async fn contents(memory: &Memory, scope: &Scope) -> Vec<String> {
    memory.list(&ListOptions::default(), scope).await.unwrap().into_iter().map(|fact| fact.content).collect()
}

#[tokio::test]
async fn facts_take_the_place_of_the_note() {
    let model = Model::new([facts(&[
        said(1, "Ana", Some("home"), "Ana lives in Rome"),
        said(1, "Ana", None, "Ana likes tea"),
    ])]);
    let memory = model.memory().await;
    let result = memory.remember("I live in Rome and like tea").name("Ana").user("ana").unwrap().await.unwrap();
    assert!(result.warnings.is_empty(), "{:?}", result.warnings);
    assert_eq!((result.entity_count(), result.usage), (2, Usage::new(100, 10, 1)));
    let home = &result.entities[0];
    assert_eq!((home.attribute.as_deref(), home.confidence), (Some("home"), 0.9));
    assert_eq!((home.episode_id, home.valid_from), (Some(result.episode_ids[0]), time("2026-01-01T00:00:00Z")));
    let found = memory.recall("Where does Ana live?").user("ana").unwrap().await.unwrap();
    assert!(found.iter().any(|hit| hit.entity.id == home.id));
    assert_eq!(memory.count(&user("ana")).await.unwrap(), 3);
    assert!(memory.pending(&user("ana")).await.unwrap().is_empty());
    assert!(memory.check().await.unwrap().problems.is_empty());
}

#[tokio::test]
async fn a_second_call_is_made_only_where_there_is_something_to_decide() {
    let model = Model::new([
        facts(&[said(1, "Ana", Some("employer"), "Ana works at Acme")]),
        facts(&[said(1, "Ana", Some("Employer"), "Ana works at Globex")]),
        facts(&[said(1, "Ana", Some("employer"), "Ana works at Globex")]),
        facts(&[]),
        facts(&[said(1, "Ana", None, "Ana likes her new job")]),
        relations(&[]),
    ]);
    let (memory, clock) = crate::support::memory_and_clock_with(&model).await;
    for (text, steps) in [("at Acme", 1), ("at Globex", 2), ("still there", 3), ("hello", 4), ("I like it", 6)] {
        clock.advance(crate::support::minutes(1)).unwrap();
        let result = memory.remember(text).await.unwrap();
        assert!(result.warnings.is_empty(), "{:?}", result.warnings);
        assert_eq!(model.steps().len(), steps, "{text}");
        assert_eq!(result.has_evolutions(), text == "at Globex");
        assert_eq!(result.entity_count(), 1, "a fact, or the note where nothing was found");
    }
    assert_eq!(model.steps()[4..], ["facts", "relations"]);
    assert_eq!(contents(&memory, &Scope::new()).await, ["Ana works at Globex", "Ana likes her new job"]);
}

#[tokio::test]
async fn a_model_decides_about_candidates_by_their_ids() {
    let model = Model::new([facts(&[said(1, "Leo", None, "Leo eats no meat")])]);
    let (memory, clock) = crate::support::memory_and_clock_with(&model).await;
    let old = memory.remember("no meat for Leo").await.unwrap().entities.remove(0);
    clock.advance(crate::support::minutes(1)).unwrap();
    let id = old.id.to_string();
    let answers = [
        facts(&[said(1, "Leo", None, "Leo eats meat again"), said(1, "Leo", None, "Leo is tall")]),
        relations(&[relation(1, &id, "update"), relation(2, "01960000-0000-7000-8000-000000000009", "update")]),
    ];
    let mut answers = answers.into_iter();
    model.now_answers(move |_| Ok(Completion::new(answers.next().unwrap())));
    let result = memory.remember("Leo is tall, and eats meat again").await.unwrap();
    let shown = model.last_message();
    assert!(shown.contains(&format!("<stored id=\"{id}\" type=\"person\" name=\"Leo\"")), "{shown}");
    assert!(shown.contains("<new number=\"2\""), "{shown}");
    assert_eq!((result.warnings.len(), result.warnings[0].step), (1, "evolve"), "{:?}", result.warnings);
    assert!(result.warnings[0].error.message().contains("unknown id"));
    assert_eq!((result.evolutions.len(), result.evolutions[0].evolution_type), (1, EvolutionType::Update));
    assert_eq!(result.evolutions[0].source_id, id);
    assert_eq!(contents(&memory, &Scope::new()).await, ["Leo eats meat again", "Leo is tall"]);
    assert_eq!(memory.evolutions(&id, &Scope::new()).await.unwrap(), result.evolutions);
    assert!(memory.get(&id, &Scope::new()).await.unwrap().unwrap().valid_to.is_some());
    assert!(memory.check().await.unwrap().problems.is_empty());
}

#[tokio::test]
async fn a_conversation_is_read_as_a_whole_and_each_fact_belongs_to_its_turn() {
    let model = Model::new([facts(&[
        said(2, "Mia", Some("home"), "Mia lives in Graz"),
        said(1, "Mia", None, "Mia is Bo's sister"),
    ])]);
    let memory = model.memory().await;
    let mut turns = vec![Turn::new("My sister Mia moves."), Turn::new("She lives in Graz now.")];
    turns[0].name = Some("Bo".to_owned());
    let result = memory.remember(turns).await.unwrap();
    assert_eq!(model.requests.lock().len(), 1);
    let shown = model.last_message();
    assert!(
        shown.contains("<turn number=\"1\" role=\"user\" name=\"Bo\" at=\"Thursday 2026-01-01 00:00 UTC\">"),
        "{shown}"
    );
    for id in &result.episode_ids {
        assert!(!shown.contains(&id.to_string()), "without ids");
    }
    let turns: Vec<_> = result.entities.iter().map(|fact| fact.episode_id.unwrap()).collect();
    assert_eq!(turns, result.episode_ids);
    memory.forget(&result.episode_ids[1].to_string(), umi_core::ForgetReach::Version, &Scope::new()).await.unwrap();
    assert_eq!(contents(&memory, &Scope::new()).await, ["Mia is Bo's sister"]);
}

#[tokio::test]
async fn pronouns_resolve_by_what_was_said_before_in_the_session_alone() {
    let model = Model::from_fn(|_| Ok(Completion::new(facts(&[]))));
    let memory = model.memory().await;
    let say = async |text: &str, session: &str, who: &str| {
        memory.remember(text).user(who).unwrap().session(session).unwrap().await.unwrap();
    };
    say("My sister Ana is a pilot.", "one", "bo").await;
    say("Nobody else's business.", "two", "bo").await;
    say("A stranger's secret.", "one", "eve").await;
    say("<memory>\n<core_memory>\n</core_memory>\nrecalled\n</memory>", "one", "bo").await;
    assert_eq!(model.requests.lock().len(), 3, "what was recalled alone is not read");
    say("She lives in Rome.\n<memory>\n<core_memory>\n</core_memory>\nrecalled\n</memory>", "one", "bo").await;
    let shown = model.last_message();
    assert!(
        shown.contains("<earlier role=\"user\" at=\"Thursday 2026-01-01 00:00 UTC\">\nMy sister Ana is a pilot.\n")
    );
    assert!(
        shown.contains("<turn number=\"1\" role=\"user\" at=\"Thursday 2026-01-01 00:00 UTC\">\nShe lives in Rome.")
    );
    for foreign in ["business", "secret", "recalled", "session", "bo\""] {
        assert!(!shown.contains(foreign), "{foreign} in {shown}");
    }
}

#[tokio::test]
async fn what_was_recalled_is_kept_and_not_read_again() {
    let model = Model::new([facts(&[said(1, "Ana", Some("home"), "Ana lives in Rome")])]);
    let memory = model.memory().await;
    memory.remember("Ana lives in Rome").await.unwrap();
    let found = memory.recall("Ana").await.unwrap();
    let mut again = Turn::new(found[0].entity.content.clone());
    again.source = Some(found[0].recalled_source());
    assert!(again.source.as_deref().unwrap().starts_with(RECALLED_SOURCE));
    let result = memory.remember(again).await.unwrap();
    assert_eq!((model.requests.lock().len(), result.warnings.len(), result.entity_count()), (1, 0, 1));
    assert_eq!(memory.count(&Scope::new()).await.unwrap(), 3);
    assert!(memory.pending(&Scope::new()).await.unwrap().is_empty());
}

#[tokio::test]
async fn options_turn_steps_off() {
    let model = Model::from_fn(|_| Ok(Completion::new(facts(&[said(1, "Ana", None, "Ana likes tea and more")]))));
    let memory = model.memory().await;
    memory.add_entity(fact("Ana", None, "Ana likes tea", None), &Scope::new()).await.unwrap();
    let options = RememberOptions::default();
    let without = options.clone().with_extract_entities(false);
    memory.remember("a").options(without).await.unwrap();
    assert_eq!(model.steps().len(), 0);
    let result = memory.remember("b").options(options.with_detect_evolutions(false)).await.unwrap();
    assert_eq!((model.steps(), result.entity_count()), (vec!["facts".to_owned()], 1));
}

#[tokio::test]
async fn durable_returns_at_once_and_flush_waits() {
    let model = Model::new([facts(&[said(1, "Ana", None, "Ana likes tea")])]).gated(0);
    let memory = model.memory().await;
    let options = RememberOptions::default().with_wait(Wait::Durable);
    let result = memory.remember("Ana likes tea").options(options).await.unwrap();
    assert_eq!(result.entities[0].id, result.episode_ids[0], "the note");
    assert_eq!(memory.pending(&Scope::new()).await.unwrap()[0].kind, umi_core::JobKind::Extract);
    model.open(1);
    memory.flush().await.unwrap();
    assert_eq!(contents(&memory, &Scope::new()).await, ["Ana likes tea"]);
    assert!(memory.pending(&Scope::new()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_tenant_is_never_compared_with_another() {
    let model = Model::from_fn(|_| Ok(Completion::new(facts(&[said(1, "Ana", None, "Ana likes green tea")]))));
    let memory = model.memory().await;
    memory.add_entity(fact("Ana", None, "Ana likes tea", None), &user("eve")).await.unwrap();
    memory.add_entity(fact("Ana", None, "Ana likes tea", None), &Scope::new()).await.unwrap();
    memory.remember("tea").user("bo").unwrap().await.unwrap();
    assert_eq!(model.steps(), ["facts"], "nothing of this user to compare with");
}

#[tokio::test]
async fn a_neighbour_of_another_subject_is_a_candidate_and_a_stranger_is_not() {
    let backend = "The billing backend stores invoices in Postgres";
    let model = Model::new([
        facts(&[said(1, "billing", None, "The billing backend stores invoices in SQLite now")]),
        relations(&[]),
    ]);
    let memory = model.memory().await;
    memory.add_entity(fact("Invoices", None, backend, None), &Scope::new()).await.unwrap();
    memory.add_entity(fact("Mia", None, "Mia plays the violin", None), &Scope::new()).await.unwrap();
    memory.remember("We moved the invoices of billing to SQLite").await.unwrap();
    let shown = model.last_message();
    assert!(shown.contains(backend) && !shown.contains("violin"), "{shown}");
}

#[tokio::test]
async fn a_forgotten_turn_takes_its_decisions_with_it() {
    let model = Model::new([facts(&[said(1, "Leo", None, "Leo eats no meat")])]);
    let (memory, clock) = crate::support::memory_and_clock_with(&model).await;
    let old = memory.remember("no meat").await.unwrap().entities.remove(0).id.to_string();
    clock.advance(crate::support::minutes(1)).unwrap();
    let mut answers =
        [facts(&[said(1, "Leo", None, "Leo eats everything")]), relations(&[relation(1, &old, "contradict")])]
            .into_iter();
    model.now_answers(move |_| Ok(Completion::new(answers.next().unwrap())));
    let result = memory.remember("everything").await.unwrap();
    assert_eq!(contents(&memory, &Scope::new()).await, ["Leo eats everything"]);
    memory.forget(&result.episode_ids[0].to_string(), umi_core::ForgetReach::Version, &Scope::new()).await.unwrap();
    assert_eq!(contents(&memory, &Scope::new()).await, ["Leo eats no meat"]);
    assert!(memory.evolutions(&old, &Scope::new()).await.unwrap().is_empty());
    assert!(memory.check().await.unwrap().problems.is_empty());
}

#[tokio::test]
async fn usage_is_summed_by_step_and_costs_what_the_prices_say() {
    let model = Model::new([
        facts(&[said(1, "Ana", None, "Ana likes tea")]),
        facts(&[said(1, "Ana", None, "Ana likes coffee")]),
        relations(&[]),
    ]);
    let config = MemoryConfig::default().with_token_prices(TokenPrices::new(10.0, 100.0).unwrap());
    let memory = model.builder().config(config).build().await.unwrap();
    assert_eq!(memory.remember("tea").await.unwrap().usage, Usage::new(100, 10, 1));
    assert_eq!(memory.remember("coffee").await.unwrap().usage, Usage::new(200, 20, 2));
    let usage = memory.stats().await.unwrap().usage;
    assert_eq!((usage.extract, usage.evolve), (Usage::new(200, 20, 2), Usage::new(100, 10, 1)));
    assert_eq!((usage.total(), usage.cost), (Usage::new(300, 30, 3), Some(0.006)));
}

#[tokio::test]
async fn what_moved_meanwhile_is_decided_again() {
    let model =
        Model::new([facts(&[said(1, "Ana", None, "Ana drinks only tea")]), relations(&[]), relations(&[])]).gated(1);
    let memory = model.memory().await;
    memory.add_entity(fact("Ana", None, "Ana likes tea", None), &Scope::new()).await.unwrap();
    let remembering = tokio::spawn({
        let memory = memory.clone();
        async move { memory.remember("only tea").await.unwrap() }
    });
    model.asked.acquire_many(2).await.unwrap().forget();
    // While the model decides, somebody adds what it has not seen.
    let new = memory.add_entity(fact("Ana", None, "Ana loves coffee", None), &Scope::new()).await.unwrap();
    model.open(2);
    let result = remembering.await.unwrap();
    assert!(result.warnings.is_empty(), "{:?}", result.warnings);
    assert_eq!(model.steps(), ["facts", "relations", "relations"]);
    assert!(model.last_message().contains(&new.entities[0].id.to_string()));
    assert_eq!(contents(&memory, &Scope::new()).await.len(), 3);
}

#[tokio::test]
async fn what_moves_for_ever_is_recorded_with_the_relations_that_hold_and_says_so() {
    let model = Model::from_fn(|_| Ok(Completion::new(facts(&[said(1, "Ana", None, "Ana drinks only tea")])))).gated(1);
    let memory = model.memory().await;
    let old = memory.add_entity(fact("Ana", None, "Ana likes tea", None), &Scope::new()).await.unwrap();
    let old = old.entities[0].id.to_string();
    let remembering = tokio::spawn({
        let memory = memory.clone();
        async move { memory.remember("only tea").await.unwrap() }
    });
    model.asked.acquire().await.unwrap().forget();
    let relates_to = old.clone();
    model.now_answers(move |request| match request.answer.as_ref().unwrap().name.as_str() {
        "facts" => Ok(Completion::new(facts(&[said(1, "Ana", None, "Ana drinks only tea")]))),
        _ if message(request).contains(&relates_to) => {
            Ok(Completion::new(relations(&[relation(1, &relates_to, "extend")])))
        }
        _ => Ok(Completion::new(relations(&[]))),
    });
    for number in 0..3 {
        model.asked.acquire().await.unwrap().forget();
        let content = format!("Ana likes number {number}");
        memory.add_entity(fact("Ana", None, &content, None), &Scope::new()).await.unwrap();
        model.open(1);
    }
    let result = remembering.await.unwrap();
    assert_eq!((result.warnings.len(), result.warnings[0].step), (1, "evolve"), "{:?}", result.warnings);
    assert_eq!((model.steps().len(), result.entity_count()), (4, 1));
    assert_eq!((result.evolutions.len(), result.evolutions[0].source_id.as_str()), (1, old.as_str()));
    assert!(!model.last_message().contains(&old), "asked about what is new alone");
    assert!(memory.pending(&Scope::new()).await.unwrap().is_empty());
}

/// A model that answers only when as many requests are at it as it takes at once.
#[derive(Debug)]
struct Full {
    limit: Semaphore,
    all: Barrier,
}

#[async_trait::async_trait]
impl LanguageModel for Full {
    fn name(&self) -> &'static str {
        "test:full"
    }

    async fn complete(&self, request: &CompletionRequest) -> Result<Completion> {
        let _permit = self.limit.acquire().await.unwrap();
        self.all.wait().await;
        let text = message(request);
        let word = text.lines().rfind(|line| line.starts_with("word")).unwrap();
        Ok(Completion::new(facts(&[said(1, word, None, &format!("{word} is known"))])))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_remembers_keep_the_provider_full() {
    const LIMIT: usize = 8;
    let model = Full { limit: Semaphore::new(LIMIT), all: Barrier::new(LIMIT) };
    let memory = crate::support::memory_with(Arc::new(model)).await;
    let options = RememberOptions::default().with_detect_evolutions(false);
    // Were fewer than the limit at it at any time, the barrier would wait for ever.
    let remember = |number: usize| {
        let (memory, options) = (memory.clone(), options.clone());
        async move { memory.remember(format!("word{number}")).options(options).await.unwrap() }
    };
    let results = futures::future::join_all((0..64).map(remember)).await;
    for (number, result) in results.iter().enumerate() {
        assert_eq!(result.entities[0].content, format!("word{number} is known"));
    }
    // A batch is read several requests at a time too.
    let requests = (64..128).map(|number| RememberRequest::from(format!("word{number}")).with_options(options.clone()));
    let results = memory.remember_many(requests, |_| ()).await.unwrap();
    assert!(results.iter().all(|result| result.entities[0].episode_id == Some(result.episode_ids[0])));
    assert_eq!(memory.count(&Scope::new()).await.unwrap(), 256);
}

#[tokio::test]
async fn the_simulated_model_works_end_to_end_and_repeats_itself() {
    let run = async || {
        let model = Arc::new(SimLanguageModel::new(7));
        let memory = MemoryBuilder::sim(7).language_model(model).build().await.unwrap();
        let mut told = Vec::new();
        for text in [
            "Ana works at Acme. She likes green tea.",
            "Ana lives in Rome since 2025-05-04.",
            "Ana works at Globex now.",
            "Ana no longer likes green tea.",
            "Hello there!",
        ] {
            let result = memory.remember(text).session("s").unwrap().await.unwrap();
            assert!(result.warnings.is_empty(), "{:?}", result.warnings);
            told.push(format!("{result:?}"));
        }
        let options = umi_core::RecallOptions::default().with_deep_search(Some(true));
        told.push(format!("{:?}", memory.recall("Where does Ana work?").options(options).await.unwrap()));
        let kinds: BTreeMap<&str, usize> = told.iter().fold(BTreeMap::new(), |mut kinds, text| {
            for kind in ["Update", "Contradict"] {
                *kinds.entry(kind).or_default() += text.matches(&format!("evolution_type: {kind}")).count();
            }
            kinds
        });
        (told, kinds, contents(&memory, &Scope::new()).await)
    };
    let (told, kinds, facts) = run().await;
    assert!(kinds["Contradict"] >= 1, "{kinds:?}");
    assert!(!facts.contains(&"Ana likes green tea".to_owned()), "{facts:?}");
    assert!(
        facts.contains(&"Ana works at Globex now".to_owned())
            && facts.contains(&"Ana lives in Rome since 2025-05-04".to_owned()),
        "{facts:?}"
    );
    assert_eq!(run().await.0, told);
}

#[tokio::test]
async fn an_update_by_hand_takes_its_place_beside_what_a_model_found() {
    let model = Model::new([facts(&[said(1, "Ana", Some("home"), "Ana lives in Rome")])]);
    let (memory, clock) = crate::support::memory_and_clock_with(&model).await;
    let home = memory.remember("Rome").await.unwrap().entities.remove(0);
    clock.advance(crate::support::minutes(1)).unwrap();
    let change = FactChange { content: Some("Ana lives in Graz".to_owned()), ..FactChange::default() };
    memory.update(&home.id.to_string(), change, &Scope::new()).await.unwrap();
    assert_eq!(memory.history(&home.id.to_string(), &Scope::new()).await.unwrap().len(), 2);
}
