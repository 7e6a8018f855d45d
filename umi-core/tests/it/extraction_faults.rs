//! What a language model does wrong, and what it costs: never the words, and nothing twice.

use std::{future::IntoFuture, sync::Arc};

use umi_core::{
    Completion, Error, ErrorKind, ForgetReach, JobKind, ListOptions, Memory, MemoryBuilder, RememberOptions, Scope,
    StorageBackend, Turn, Usage, Wait,
};

use crate::{
    jobs::TimerClock,
    support::{Model, RemoteEmbedder, fact, facts, message, minutes, relations, said},
};

const BAD_ANSWERS: [&str; 6] =
    ["", "I am sorry, I cannot do that.", "{\"facts\" oops", "{\"items\": []}", "[[[[", "null"];

fn good() -> String {
    facts(&[said(1, "Ana", None, "Ana likes tea")])
}

async fn facts_of(memory: &Memory) -> usize {
    memory.list(&ListOptions::default(), &Scope::new()).await.unwrap().len()
}

async fn waiting(memory: &Memory) -> usize {
    memory.pending(&Scope::new()).await.unwrap().len()
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_asked_for_once_more() {
    for bad in BAD_ANSWERS {
        let model = Model::new([bad.to_owned(), good()]);
        let memory = model.memory().await;
        let result = memory.remember("Ana likes tea").await.unwrap();
        assert!(result.warnings.is_empty(), "{bad}: {:?}", result.warnings);
        assert_eq!((result.entity_count(), result.usage), (1, Usage::new(200, 20, 2)));
        let requests = model.requests.lock();
        assert_eq!(message(&requests[0]), message(&requests[1]), "the last message is the data alone");
        let reason = requests[1].system.strip_prefix(requests[0].system.as_str()).unwrap();
        assert!(reason.contains("could not be used: the answer "), "{reason}");
    }
}

#[tokio::test]
async fn an_answer_that_stays_bad_leaves_the_words_and_a_job() {
    for bad in BAD_ANSWERS {
        let model = Model::new([bad, bad]);
        let memory = model.memory().await;
        let result = memory.remember("Ana likes tea").await.unwrap();
        let [warning] = result.warnings.as_slice() else { panic!("{:?}", result.warnings) };
        assert_eq!((warning.step, warning.error.kind()), ("extract", ErrorKind::InvalidResponse));
        assert_eq!(result.entities[0].content, "Ana likes tea", "the note form");
        let pending = memory.pending(&Scope::new()).await.unwrap();
        let [job] = pending.as_slice() else { panic!("{pending:?}") };
        assert_eq!((Some(job.id), job.kind, job.attempts), (warning.job_id, JobKind::Extract, 1));
        assert_eq!(job.episode_id, Some(result.episode_ids[0]));
        assert_eq!(memory.recall("tea").await.unwrap()[0].entity.id, result.episode_ids[0]);
        model.now_answers(|_| Ok(Completion::new(good())));
        assert_eq!((memory.retry_pending().await.unwrap(), memory.retry_pending().await.unwrap()), (1, 0));
        assert_eq!((facts_of(&memory).await, waiting(&memory).await), (1, 0));
    }
}

#[tokio::test]
async fn every_kind_of_failure_is_told_as_it_is() {
    for kind in [
        ErrorKind::RateLimit,
        ErrorKind::Authentication,
        ErrorKind::ProviderTimeout,
        ErrorKind::ContextOverflow,
        ErrorKind::InvalidResponse,
        ErrorKind::Provider,
    ] {
        let model = Model::from_fn(move |_| Err(Error::new(kind, "it failed").with_provider("test")));
        let memory = model.memory().await;
        let result = memory.remember("Ana likes tea").await.unwrap();
        let [warning] = result.warnings.as_slice() else { panic!("{:?}", result.warnings) };
        // What is no answer, an empty one say, is asked for once more.
        let requests = if kind == ErrorKind::InvalidResponse { 2 } else { 1 };
        assert_eq!((warning.step, warning.error.kind(), model.steps().len()), ("extract", kind, requests));
        assert_eq!(warning.error.details().provider.as_deref(), Some("test"));
        assert_eq!(memory.episodes(10, 0, &Scope::new()).await.unwrap().len(), 1);
        assert_eq!(memory.pending(&Scope::new()).await.unwrap()[0].last_error.as_deref(), Some("it failed"));
    }
}

#[tokio::test]
async fn fences_prose_and_bad_items_cost_little() {
    let answer = format!(
        "Of course!\n```json\n{{\"facts\": [{}, {{\"name\": \"Bo\"}}, 7,],}}\n```\nAnything else?",
        said(1, "Ana", None, "Ana likes tea")
    );
    let model = Model::new([answer]);
    let memory = model.memory().await;
    let result = memory.remember("Ana likes tea").await.unwrap();
    assert_eq!((result.entity_count(), result.entities[0].name.as_str()), (1, "Ana"));
    assert_eq!(result.warnings.len(), 2);
    for warning in &result.warnings {
        assert_eq!((warning.step, warning.error.kind(), warning.job_id), ("extract", ErrorKind::InvalidResponse, None));
    }
    assert_eq!(waiting(&memory).await, 0);
}

#[tokio::test]
async fn a_decision_that_fails_records_nothing_and_later_all_of_it_once() {
    let model = Model::new([good(), "no".to_owned(), "no".to_owned(), good(), relations(&[])]);
    let memory = model.memory().await;
    memory.add_entity(fact("Ana", None, "Ana likes green tea", None), &Scope::new()).await.unwrap();
    let result = memory.remember("Ana likes tea").await.unwrap();
    let [warning] = result.warnings.as_slice() else { panic!("{:?}", result.warnings) };
    assert_eq!((warning.step, warning.error.kind()), ("evolve", ErrorKind::InvalidResponse));
    assert!(warning.job_id.is_some());
    assert_eq!((result.entity_count(), facts_of(&memory).await, waiting(&memory).await), (1, 1, 1));
    assert_eq!(memory.retry_pending().await.unwrap(), 1);
    assert_eq!((facts_of(&memory).await, waiting(&memory).await), (2, 0));
    assert_eq!(model.steps(), ["facts", "relations", "relations", "facts", "relations"]);
}

#[tokio::test]
async fn a_cancelled_call_leaves_the_words_and_its_job() {
    let model = Model::new([good(), good()]).gated(0);
    let memory = model.memory().await;
    let mut remembering = memory.remember("Ana likes tea").into_future();
    tokio::select! {
        _ = &mut remembering => panic!("it did not wait for the model"),
        asked = model.asked.acquire() => asked.unwrap().forget(),
    }
    assert_eq!(memory.retry_pending().await.unwrap(), 0, "the call holds its job");
    drop(remembering);
    assert_eq!((memory.episodes(10, 0, &Scope::new()).await.unwrap().len(), waiting(&memory).await), (1, 1));
    model.open(2);
    assert_eq!(memory.retry_pending().await.unwrap(), 1);
    assert_eq!((facts_of(&memory).await, waiting(&memory).await), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_a_crash_left_half_done_is_done_once_when_its_lease_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let began = tokio::time::Instant::now();
    let open = async |model: &Model| {
        let builder = in_folder(folder.path()).clock(Arc::new(TimerClock(began)));
        builder.language_model(Arc::new(model.clone())).build().await.unwrap()
    };
    let stuck = Model::new([good()]).gated(1);
    let crashed = open(&stuck).await;
    crashed.add_entity(fact("Ana", None, "Ana likes green tea", None), &Scope::new()).await.unwrap();
    let mut remembering = crashed.remember("Ana likes tea").into_future();
    tokio::select! {
        _ = &mut remembering => panic!("it did not wait for the decision"),
        asked = stuck.asked.acquire_many(2) => asked.unwrap().forget(),
    }
    // Nothing lets go of the job and nothing renews its lease, as in a process that was killed.
    std::mem::forget(remembering);
    let model = Model::new([good(), relations(&[])]);
    let memory = open(&model).await;
    model.asked.acquire().await.unwrap().forget();
    assert!(began.elapsed() >= minutes(1), "not while it was held");
    memory.flush().await.unwrap();
    assert_eq!((facts_of(&memory).await, waiting(&memory).await), (2, 0));
}

fn in_folder(folder: &std::path::Path) -> MemoryBuilder {
    MemoryBuilder::new().storage(StorageBackend::sqlite(folder))
}

#[tokio::test]
async fn what_an_outage_left_is_read_on_opening_by_one_who_has_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let down = Model::from_fn(|_| Err(Error::new(ErrorKind::Provider, "down").with_retryable(true)));
    let memory = in_folder(folder.path()).language_model(Arc::new(down)).build().await.unwrap();
    let turns: Vec<Turn> = ["Ana is here.", "She likes tea."].map(Turn::new).to_vec();
    memory.remember(turns).await.unwrap();
    memory.remember("Bo is here too").user("bo").unwrap().await.unwrap();
    memory.close().await.unwrap();

    let without = in_folder(folder.path()).build().await.unwrap();
    without.flush().await.unwrap();
    assert_eq!((without.retry_pending().await.unwrap(), waiting(&without).await), (0, 2));
    assert_eq!(without.pending(&Scope::new()).await.unwrap()[0].attempts, 1, "not tried without a model");
    without.close().await.unwrap();

    let model = Model::from_fn(|request| {
        let turn = if message(request).contains("number=\"2\"") { 2 } else { 1 };
        Ok(Completion::new(facts(&[said(turn, "Ana", None, "Ana likes tea")])))
    });
    let memory = in_folder(folder.path()).language_model(Arc::new(model.clone())).build().await.unwrap();
    memory.flush().await.unwrap();
    assert_eq!((facts_of(&memory).await, waiting(&memory).await), (1, 0));
    assert_eq!(model.steps(), ["facts", "facts"], "the conversation as a whole, and the other user's text");
    assert!(memory.check().await.unwrap().problems.is_empty());
}

#[tokio::test]
async fn a_bad_text_fails_alone_when_it_is_tried_again() {
    let model = Model::from_fn(|_| Err(Error::new(ErrorKind::Provider, "down").with_retryable(true)));
    let memory = model.memory().await;
    let turns: Vec<Turn> = ["one", "bad", "three"].map(Turn::new).to_vec();
    memory.remember(turns).await.unwrap();
    model.now_answers(|request| {
        let shown = message(request);
        let is_read = shown.split("<turn ").skip(1).any(|turn| turn.contains(">\nbad\n"));
        if is_read { Err(Error::new(ErrorKind::ContextOverflow, "too much")) } else { Ok(Completion::new(good())) }
    });
    assert_eq!(memory.retry_pending().await.unwrap(), 2);
    let left = memory.pending(&Scope::new()).await.unwrap();
    assert_eq!((left.len(), left[0].last_error.as_deref()), (1, Some("too much")));
}

#[tokio::test]
async fn an_outage_is_not_asked_for_every_text() {
    let model = Model::from_fn(|_| Err(Error::new(ErrorKind::RateLimit, "busy").with_retryable(true)));
    let memory = MemoryBuilder::sim(1).language_model(Arc::new(model.clone())).build().await.unwrap();
    let durable = RememberOptions::default().with_wait(Wait::Durable);
    for name in ["a", "b", "c"] {
        memory.remember("x").user(name).unwrap().options(durable.clone()).await.unwrap();
        memory.flush().await.unwrap();
    }
    let before = model.steps().len();
    assert_eq!(memory.retry_pending().await.unwrap(), 0);
    assert_eq!(model.steps().len(), before + 1);
}

#[tokio::test]
async fn an_episode_that_is_forgotten_meanwhile_leaves_no_fact() {
    let model =
        Model::new([facts(&[said(1, "Ana", None, "Ana likes tea"), said(2, "Bo", None, "Bo likes Ana")])]).gated(0);
    let memory = model.memory().await;
    let remembering = tokio::spawn({
        let memory = memory.clone();
        async move { memory.remember(["Ana likes tea", "Bo likes Ana"].map(Turn::new).to_vec()).await.unwrap() }
    });
    model.asked.acquire().await.unwrap().forget();
    let first = memory.episodes(1, 0, &Scope::new()).await.unwrap().remove(0);
    assert!(memory.forget(&first.id.to_string(), ForgetReach::Version, &Scope::new()).await.unwrap());
    model.now_answers(|request| {
        let turns = message(request).matches("<turn ").count();
        let all = [said(1, "Ana", None, "Ana likes tea"), said(2, "Bo", None, "Bo likes Ana")];
        Ok(Completion::new(if turns == 2 { facts(&all) } else { facts(&[said(1, "Bo", None, "Bo likes somebody")]) }))
    });
    model.open(2);
    let result = remembering.await.unwrap();
    assert!(result.warnings.is_empty(), "{:?}", result.warnings);
    let left = memory.list(&ListOptions::default(), &Scope::new()).await.unwrap();
    assert_eq!(left.iter().map(|fact| fact.content.as_str()).collect::<Vec<_>>(), ["Bo likes somebody"]);
    assert_eq!(waiting(&memory).await, 0);
}

#[tokio::test]
async fn facts_whose_embedder_is_down_are_kept_and_embedded_later() {
    let embedder = RemoteEmbedder::new(true);
    let model = Model::new([good()]);
    let memory = model.builder().embedder(Arc::new(embedder.clone())).build().await.unwrap();
    let result = memory.remember("Ana likes tea").await.unwrap();
    let steps: Vec<&str> = result.warnings.iter().map(|warning| warning.step).collect();
    assert_eq!((steps, result.entities[0].name.as_str()), (vec!["embed", "embed"], "Ana"));
    assert_eq!(waiting(&memory).await, 2);
    embedder.is_down.store(false, std::sync::atomic::Ordering::Release);
    assert_eq!(memory.retry_pending().await.unwrap(), 2);
    assert!(memory.check().await.unwrap().problems.is_empty());
}

#[tokio::test]
async fn a_repeated_key_reads_nothing_twice() {
    let model = Model::new([good()]);
    let memory = model.memory().await;
    let first = memory.remember("Ana likes tea").key("k").await.unwrap();
    let again = memory.remember("Ana likes tea").key("k").await.unwrap();
    assert_eq!((first.episode_ids, facts_of(&memory).await), (again.episode_ids, 1));
    assert_eq!(model.steps().len(), 1);
}
