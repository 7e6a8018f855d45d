//! What runs by itself: how often a service is asked, what an outage costs, what closing gives up.

use std::{
    future::IntoFuture,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use umi_core::{
    Completion, Embedder, EmbeddingSpace, Error, ErrorKind, ForgetReach, Job, ListOptions, ManualClock, Memory,
    MemoryBuilder, RecallOptions, RememberOptions, RememberRequest, Result, Scope, SimEmbedder, StorageBackend, Turn,
    Usage, Wait,
};

use crate::support::{
    GatedEmbedder, Model, RemoteEmbedder, fact, facts, memory_and_clock_with, message, minutes, relations, said, user,
    year,
};

fn durable() -> RememberOptions {
    RememberOptions::default().with_wait(Wait::Durable)
}

fn good() -> String {
    facts(&[said(1, "Ana", None, "Ana likes tea")])
}

fn refused(kind: ErrorKind, status: u16) -> Error {
    Error::new(kind, "no").with_provider("test").with_response(Some(status), None, None)
}

fn failing(error: Error) -> Model {
    Model::from_fn(move |_| Err(error.clone()))
}

async fn pending(memory: &Memory) -> Vec<Job> {
    memory.pending(&Scope::new()).await.unwrap()
}

async fn fact_count(memory: &Memory) -> usize {
    memory.list(&ListOptions::default(), &Scope::new()).await.unwrap().len()
}

/// Lets what waits for the clock begin, and waits for it.
async fn settle(memory: &Memory) {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    memory.flush().await.unwrap();
}

#[tokio::test]
async fn a_job_is_tried_once_by_itself_however_many_come_behind_it() {
    for error in [refused(ErrorKind::Authentication, 401), refused(ErrorKind::Provider, 503).with_retryable(true)] {
        let model = failing(error);
        let memory = model.memory().await;
        for number in 0..20 {
            memory.remember(format!("text {number}")).options(durable()).await.unwrap();
            memory.flush().await.unwrap();
        }
        assert_eq!(model.steps().len(), 20);
        memory.retry_pending().await.unwrap();
        assert!((21..=28).contains(&model.steps().len()), "those that are asked at once, and then no more");
    }
}

#[tokio::test]
async fn a_failed_embedding_is_tried_once_by_itself_too() {
    let down = RemoteEmbedder::new(true);
    let builder = MemoryBuilder::new().storage(StorageBackend::in_memory()).embedder(Arc::new(down.clone()));
    let memory = builder.clock(Arc::new(ManualClock::new(year(2026)))).build().await.unwrap();
    for number in 0..5 {
        memory.remember(format!("text {number}")).options(durable()).await.unwrap();
        memory.flush().await.unwrap();
    }
    assert_eq!(down.calls.load(Ordering::Acquire), 5);
    assert_eq!(pending(&memory).await.len(), 5);
}

#[tokio::test]
async fn texts_behind_one_that_met_an_outage_of_the_embedder_are_put_off_untried() {
    // More than one run embeds at once.
    const COUNT: usize = 100;
    let down = RemoteEmbedder::new(true);
    let clock = ManualClock::new(year(2026));
    let builder = MemoryBuilder::new().storage(StorageBackend::in_memory()).embedder(Arc::new(down.clone()));
    let memory = builder.clock(Arc::new(clock.clone())).build().await.unwrap();
    let calls = || down.calls.load(Ordering::Acquire);
    let requests = (0..COUNT).map(|number| {
        let request = RememberRequest::from(format!("text {number}"));
        request.with_scope(Scope::new().with_session(number.to_string()).unwrap()).with_options(durable())
    });
    memory.remember_many(requests, |_| ()).await.unwrap();
    for _ in 0..5 {
        memory.flush().await.unwrap();
    }
    assert_eq!(calls(), 2, "one batch and its first text");
    let jobs = pending(&memory).await;
    let noted: Vec<_> = jobs.iter().map(|job| (job.attempts, job.last_error.is_some())).collect();
    let untried = vec![(0, false); COUNT - 1];
    assert_eq!((noted[0], &noted[1..]), ((1, true), untried.as_slice()), "who was not tried has not failed");
    // A call that waits is told of all of its own, and puts them off alike.
    let results = memory.remember_many(["one", "two", "three"].map(RememberRequest::from), |_| ()).await.unwrap();
    assert!(results.iter().all(|result| result.warnings.len() == 1 && result.warnings[0].step == "embed"));
    let own: Vec<u32> = pending(&memory).await[COUNT..].iter().map(|job| job.attempts).collect();
    memory.flush().await.unwrap();
    assert_eq!((own, calls()), (vec![1, 0, 0], 4));
    down.is_down.store(false, Ordering::Release);
    clock.advance(minutes(1)).unwrap();
    settle(&memory).await;
    assert!(pending(&memory).await.is_empty());
}

#[tokio::test]
async fn a_fact_that_cannot_be_embedded_does_not_put_its_neighbours_off() {
    for wait in [Wait::Extracted, Wait::Durable] {
        let answer = [said(1, "Ana", None, "Ana likes tea"), said(1, "Bo", None, "Bo feels bad")];
        let model = Model::new([facts(&answer)]);
        let embedder = GatedEmbedder::new();
        embedder.open();
        let memory = model.builder().embedder(Arc::new(embedder.clone())).build().await.unwrap();
        let options = RememberOptions::default().with_wait(wait);
        memory.remember("Ana likes tea, Bo does not").options(options).await.unwrap();
        // Nobody asks for it: the words, both facts, and these again, together and each by itself.
        embedder.asked.acquire_many(5).await.unwrap().forget();
        memory.flush().await.unwrap();
        let found = memory.list(&ListOptions::default(), &Scope::new()).await.unwrap();
        let bad = found.iter().find(|fact| fact.name == "Bo").unwrap();
        let left: Vec<_> = pending(&memory).await.iter().map(|job| (job.owner.id, job.attempts)).collect();
        assert_eq!((found.len(), left), (2, vec![(bad.id, 1)]));
    }
}

#[tokio::test]
async fn a_failure_that_passes_is_tried_again_after_a_while_that_grows() {
    let model = failing(Error::new(ErrorKind::ProviderTimeout, "late").with_retryable(true));
    let (memory, clock) = memory_and_clock_with(&model).await;
    memory.remember("Ana likes tea").await.unwrap();
    model.asked.acquire().await.unwrap().forget();
    let mut before = 1;
    for (wait, asked) in [(29, 1), (1, 2), (59, 2), (1, 3), (119, 3), (1, 4)] {
        clock.advance(Duration::from_secs(wait)).unwrap();
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        if asked > before {
            // Nobody asks for it.
            model.asked.acquire().await.unwrap().forget();
        }
        before = asked;
        memory.flush().await.unwrap();
        assert_eq!(model.steps().len(), asked, "after {wait} s more");
    }
    model.now_answers(|_| Ok(Completion::new(good())));
    clock.advance(minutes(4)).unwrap();
    settle(&memory).await;
    assert_eq!((fact_count(&memory).await, pending(&memory).await.len()), (1, 0));
}

#[tokio::test]
async fn what_a_cancelled_run_took_again_is_still_tried_by_itself() {
    let late = Error::new(ErrorKind::ProviderTimeout, "late").with_retryable(true);
    for error in [late, refused(ErrorKind::Authentication, 401)] {
        let model = failing(error).gated(1);
        let (memory, clock) = memory_and_clock_with(&model).await;
        memory.remember("Ana likes tea").await.unwrap();
        model.asked.acquire().await.unwrap().forget();
        let mut retrying = Box::pin(memory.retry_pending());
        tokio::select! {
            _ = &mut retrying => panic!("it did not wait for the model"),
            asked = model.asked.acquire() => asked.unwrap().forget(),
        }
        drop(retrying);
        model.now_answers(|_| Ok(Completion::new(good())));
        model.open(9);
        memory.flush().await.unwrap();
        assert_eq!(model.steps().len(), 2, "not at once");
        clock.advance(minutes(1)).unwrap();
        settle(&memory).await;
        assert_eq!((fact_count(&memory).await, pending(&memory).await.len()), (1, 0));
    }
}

#[tokio::test]
async fn a_failure_that_stays_is_tried_again_by_who_asks_or_opens_alone() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(year(2026));
    let open = async |model: &Model| {
        let storage = StorageBackend::sqlite(folder.path());
        model.builder().storage(storage).clock(Arc::new(clock.clone())).build().await.unwrap()
    };
    let model = failing(refused(ErrorKind::Authentication, 401));
    let memory = open(&model).await;
    memory.remember("Ana likes tea").await.unwrap();
    clock.advance(minutes(600)).unwrap();
    settle(&memory).await;
    assert_eq!(model.steps().len(), 1);
    assert_eq!(memory.retry_pending().await.unwrap(), 0);
    assert_eq!(model.steps().len(), 2);
    memory.close().await.unwrap();
    let better = Model::new([good()]);
    let memory = open(&better).await;
    memory.flush().await.unwrap();
    assert_eq!((fact_count(&memory).await, pending(&memory).await.len()), (1, 0));
}

#[tokio::test]
async fn an_outage_ends_a_run_and_leaves_what_is_behind_it_as_it_was() {
    // More than one run takes at once, each of a session of its own.
    const COUNT: usize = 300;
    let model = failing(refused(ErrorKind::Authentication, 401));
    let (memory, clock) = memory_and_clock_with(&model).await;
    let requests = (0..COUNT).map(|number| {
        let scope = Scope::new().with_session(number.to_string()).unwrap();
        RememberRequest::from("Ana likes tea").with_scope(scope).with_options(durable())
    });
    memory.remember_many(requests, |_| ()).await.unwrap();
    memory.flush().await.unwrap();
    let first = model.steps().len();
    assert!(first <= 3 * 8, "{first} requests of {COUNT} jobs in three runs");
    let jobs = pending(&memory).await;
    assert_eq!(jobs.len(), COUNT);
    assert!(jobs.iter().all(|job| job.attempts == 0), "it is not the text's fault");
    assert_eq!(jobs.iter().filter(|job| job.last_error.is_some()).count(), first);
    assert_eq!(memory.retry_pending().await.unwrap(), 0);
    assert!(model.steps().len() - first <= 8);
    // What was not tried because a service passes is tried when that may have passed.
    model.now_answers(|_| Err(Error::new(ErrorKind::ProviderTimeout, "late").with_retryable(true)));
    memory.retry_pending().await.unwrap();
    model.now_answers(|_| Ok(Completion::new(facts(&[]))));
    clock.advance(minutes(1)).unwrap();
    settle(&memory).await;
    let left = pending(&memory).await.len();
    assert!(left < COUNT - 200, "{left} of {COUNT} are left");
    memory.retry_pending().await.unwrap();
    assert!(pending(&memory).await.is_empty());
}

#[tokio::test]
async fn a_service_that_is_not_there_is_not_the_texts_fault() {
    for status in [301, 404] {
        let model = failing(Error::new(ErrorKind::Provider, "late").with_retryable(true));
        let memory = model.memory().await;
        memory.remember(["one", "two", "three"].map(Turn::new).to_vec()).await.unwrap();
        model.now_answers(move |_| Err(refused(ErrorKind::Provider, status)));
        assert_eq!(memory.retry_pending().await.unwrap(), 0);
        assert_eq!(model.steps().len(), 2, "the conversation is not taken apart");
        let attempts: Vec<u32> = pending(&memory).await.iter().map(|job| job.attempts).collect();
        assert_eq!(attempts, [1; 3], "of the first time");
    }
}

#[tokio::test]
async fn a_conversation_that_is_taken_apart_fails_once_for_each_turn() {
    let model = failing(Error::new(ErrorKind::ContextOverflow, "too much"));
    let memory = model.memory().await;
    memory.remember(["one", "two"].map(Turn::new).to_vec()).await.unwrap();
    assert_eq!(memory.retry_pending().await.unwrap(), 0);
    assert_eq!(model.steps().len(), 1 + 1 + 2);
    let attempts: Vec<u32> = pending(&memory).await.iter().map(|job| job.attempts).collect();
    assert_eq!(attempts, [2; 2]);
}

#[tokio::test]
async fn closing_stops_the_requests_and_the_next_opening_makes_them() {
    let folder = tempfile::tempdir().unwrap();
    let open = async |model: &Model| model.builder().storage(StorageBackend::sqlite(folder.path())).build().await;
    let hangs = Model::new([good()]).gated(0);
    let memory = open(&hangs).await.unwrap();
    memory.remember("Ana likes tea").options(durable()).await.unwrap();
    hangs.asked.acquire().await.unwrap().forget();
    memory.close().await.unwrap();
    assert!(!hangs.is_waited_for(), "the request is dropped");
    let model = Model::new([good()]).gated(0);
    let memory = open(&model).await.unwrap();
    assert_eq!(pending(&memory).await[0].attempts, 0, "being stopped is no failure");
    model.open(1);
    memory.flush().await.unwrap();
    assert_eq!((fact_count(&memory).await, pending(&memory).await.len(), model.steps().len()), (1, 0, 1));
}

#[tokio::test]
async fn flush_does_what_a_cancelled_call_left() {
    let model = Model::new([good(), good()]).gated(0);
    let memory = model.memory().await;
    let mut remembering = memory.remember("Ana likes tea").into_future();
    tokio::select! {
        _ = &mut remembering => panic!("it did not wait for the model"),
        asked = model.asked.acquire() => asked.unwrap().forget(),
    }
    drop(remembering);
    model.open(2);
    memory.flush().await.unwrap();
    assert_eq!((fact_count(&memory).await, pending(&memory).await.len()), (1, 0));
}

/// An embedder of this process that takes two minutes for the first texts.
#[derive(Debug)]
struct Slow {
    inner: SimEmbedder,
    clock: ManualClock,
    has_begun: AtomicBool,
}

#[async_trait]
impl Embedder for Slow {
    fn space(&self) -> &EmbeddingSpace {
        self.inner.space()
    }

    fn is_in_process(&self) -> bool {
        true
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        if !self.has_begun.swap(true, Ordering::AcqRel) {
            self.clock.advance(minutes(2))?;
        }
        self.inner.embed(texts).await
    }
}

#[tokio::test]
async fn a_call_holds_its_jobs_however_long_its_embedder_took() {
    let model = Model::new([good()]).gated(0);
    let clock = ManualClock::new(year(2026));
    let slow = Slow { inner: SimEmbedder::new(1), clock: clock.clone(), has_begun: AtomicBool::new(false) };
    let memory = model.builder().clock(Arc::new(clock)).embedder(Arc::new(slow)).build().await.unwrap();
    let mut remembering = memory.remember("Ana likes tea").into_future();
    tokio::select! {
        _ = &mut remembering => panic!("it did not wait for the model"),
        asked = model.asked.acquire() => asked.unwrap().forget(),
    }
    tokio::select! {
        finished = memory.retry_pending() => assert_eq!(finished.unwrap(), 0),
        _ = model.asked.acquire() => panic!("another run asks the model for what the call holds"),
    }
    model.open(1);
    let result = remembering.await.unwrap();
    assert!(result.warnings.is_empty(), "{:?}", result.warnings);
    assert_eq!((result.entities[0].name.as_str(), model.steps().len()), ("Ana", 1));
}

#[tokio::test]
async fn a_call_whose_job_another_run_has_taken_says_why_it_has_no_facts() {
    let model = Model::new([good(), good()]).gated(0);
    let (memory, clock) = memory_and_clock_with(&model).await;
    let mut remembering = memory.remember("Ana likes tea").into_future();
    tokio::select! {
        _ = &mut remembering => panic!("it did not wait for the model"),
        asked = model.asked.acquire() => asked.unwrap().forget(),
    }
    // Nobody drives the call, so that nothing renews its lease.
    clock.advance(minutes(2)).unwrap();
    model.open(2);
    assert_eq!(memory.retry_pending().await.unwrap(), 1);
    let result = remembering.await.unwrap();
    let [warning] = result.warnings.as_slice() else { panic!("{:?}", result.warnings) };
    assert!(warning.step == "extract" && warning.job_id.is_some(), "{warning:?}");
    assert!(warning.error.message().contains("another run"), "{warning:?}");
    assert_eq!((fact_count(&memory).await, pending(&memory).await.len()), (1, 0));
}

/// Answers with a fact of every turn, and no more of them than fit.
fn short_of_tokens(most: usize) -> Model {
    Model::from_fn(move |request| -> Result<Completion> {
        let shown = message(request);
        let words = shown.split("<turn ").skip(1).map(|turn| turn.lines().nth(1).unwrap());
        let all: Vec<_> = (1..).zip(words).map(|(turn, word)| said(turn, word, None, word)).collect();
        let text = facts(&all[..all.len().min(most)]);
        Ok(Completion::new(text).with_usage(Usage::new(100, 10, 1)).with_cut(all.len() > most))
    })
}

#[tokio::test]
async fn an_answer_that_is_cut_is_asked_for_with_half_of_the_turns() {
    let model = short_of_tokens(2);
    let memory = model.memory().await;
    let turns: Vec<Turn> = (0..7).map(|number| Turn::new(format!("word{number}"))).collect();
    let result = memory.remember(turns).await.unwrap();
    assert!(result.warnings.is_empty(), "{:?}", result.warnings);
    let owners: Vec<_> = result.entities.iter().map(|entity| entity.episode_id.unwrap()).collect();
    assert_eq!(owners, result.episode_ids, "each fact belongs to its turn");
    // 7 are cut to 3 and 4, those to 1, 2, 2 and 2.
    let shown: Vec<usize> =
        model.requests.lock().iter().map(|request| message(request).matches("<turn ").count()).collect();
    assert_eq!(shown, [7, 3, 1, 2, 4, 2, 2]);
    assert_eq!(result.usage, Usage::new(700, 70, 7), "all of them are paid for");
    let last = message(model.requests.lock().last().unwrap());
    assert!(last.contains("<earlier") && last.contains("word4") && last.contains("word6"), "{last}");
}

#[tokio::test]
async fn one_turn_whose_answer_is_cut_costs_what_is_behind_the_end_and_a_warning() {
    let model = Model::from_fn(|_| Ok(Completion::new(good()).with_cut(true)));
    let memory = model.memory().await;
    let result = memory.remember("Ana likes tea, and so on").await.unwrap();
    assert_eq!((result.entity_count(), result.warnings.len(), model.steps().len()), (1, 1, 1));
    assert!(result.warnings[0].error.message().contains("limit of tokens"), "{:?}", result.warnings);
    assert!(pending(&memory).await.is_empty());
}

#[tokio::test]
async fn every_answer_that_was_counted_is_in_the_usage() {
    let refusal = Error::new(ErrorKind::InvalidResponse, "it refused").with_usage(Usage::new(50, 5, 1));
    let mut answers = vec![
        Ok(Completion::new(good()).with_usage(Usage::new(100, 10, 1))),
        Ok(Completion::new("no").with_usage(Usage::new(200, 20, 1))),
        Err(refusal.clone()),
        Err(refusal.clone()),
        Err(refusal),
    ]
    .into_iter();
    let model = Model::from_fn(move |_| answers.next().unwrap());
    let memory = model.memory().await;
    memory.add_entity(fact("Ana", None, "Ana likes green tea", None), &Scope::new()).await.unwrap();
    let result = memory.remember("Ana likes tea").await.unwrap();
    assert_eq!((result.warnings[0].step, result.usage), ("evolve", Usage::new(350, 35, 3)));
    assert_eq!(memory.stats().await.unwrap().usage.total(), result.usage);
    let deep = RecallOptions::default().with_deep_search(Some(true));
    let found = memory.recall("tea").options(deep.clone()).await.unwrap();
    assert_eq!((found.warnings[0].step, found.usage), ("expand", Usage::new(100, 10, 2)));
    model.now_answers(|_| Ok(Completion::new("no").with_usage(Usage::new(7, 1, 1))));
    memory.context().query("tea").options(deep).await.unwrap();
    assert_eq!(memory.stats().await.unwrap().usage.expand, Usage::new(114, 12, 4), "context gives a text alone");
}

#[tokio::test]
async fn what_a_cancelled_call_was_answered_is_counted() {
    let model = Model::new([good(), relations(&[])]).gated(1);
    let memory = model.memory().await;
    memory.add_entity(fact("Ana", None, "Ana likes green tea", None), &Scope::new()).await.unwrap();
    let mut remembering = memory.remember("Ana likes tea").into_future();
    tokio::select! {
        _ = &mut remembering => panic!("it did not wait for the decision"),
        asked = model.asked.acquire_many(2) => asked.unwrap().forget(),
    }
    drop(remembering);
    assert_eq!(memory.stats().await.unwrap().usage.total(), Usage::new(100, 10, 1));
}

#[tokio::test]
async fn what_is_forgotten_while_it_is_read_is_in_no_result() {
    let model = Model::new([good(), good()]).gated(0);
    // One request after the other.
    let memory = MemoryBuilder::sim(1).language_model(Arc::new(model.clone())).build().await.unwrap();
    let remembering = tokio::spawn({
        let memory = memory.clone();
        let requests = ["first", "second"].map(RememberRequest::from);
        async move { memory.remember_many(requests, |_| ()).await.unwrap() }
    });
    model.asked.acquire().await.unwrap().forget();
    model.open(1);
    model.asked.acquire().await.unwrap().forget();
    // The facts of the first are stored by now, and those of the second are being found.
    assert_eq!(fact_count(&memory).await, 1);
    for episode in memory.episodes(9, 0, &Scope::new()).await.unwrap() {
        assert!(memory.forget(&episode.id.to_string(), ForgetReach::Version, &Scope::new()).await.unwrap());
    }
    model.open(1);
    for result in remembering.await.unwrap() {
        assert!(result.entities.is_empty() && result.evolutions.is_empty(), "{result:?}");
        assert_eq!((result.episode_ids.len(), result.warnings.len()), (1, 0));
    }
    assert_eq!((fact_count(&memory).await, memory.count(&user("nobody")).await.unwrap()), (0, 0));
}
