//! Jobs: who holds them, what a cancelled call or a crash leaves, what a failure costs its neighbours.

use std::{
    fmt::Write,
    future::IntoFuture,
    sync::{Arc, atomic::Ordering},
};

use parking_lot::Mutex;
use tracing::{Event, Metadata, Subscriber, field, span};
use umi_core::{
    Clock, ErrorKind, FactChange, ManualClock, Memory, MemoryBuilder, RecallOptions, RememberOptions, RememberRequest,
    Scope, SimEmbedder, StorageBackend, Timestamp, Wait,
};

use crate::support::{GatedEmbedder, RemoteEmbedder, fact, minutes, year};

fn durable() -> RememberOptions {
    RememberOptions::default().with_wait(Wait::Durable)
}

async fn waiting(memory: &Memory) -> usize {
    memory.pending(&Scope::new()).await.unwrap().len()
}

/// A store in `folder` with one job for each text, which nobody holds.
async fn left_over(folder: &std::path::Path, texts: &[&str]) {
    let down = RemoteEmbedder::new(true);
    let builder = MemoryBuilder::new().storage(StorageBackend::sqlite(folder)).embedder(Arc::new(down.clone()));
    let memory = builder.build().await.unwrap();
    memory.remember_many(texts.iter().map(|text| RememberRequest::from(*text)), |_| ()).await.unwrap();
    assert!(down.is_down.load(Ordering::Acquire) && waiting(&memory).await == texts.len());
    memory.close().await.unwrap();
}

#[tokio::test]
async fn a_call_holds_its_own_job_while_it_embeds() {
    let embedder = GatedEmbedder::new();
    let memory = embedder.memory(StorageBackend::in_memory()).await;
    let mut remembering = memory.remember("kept").into_future();
    embedder.until_asked(&mut remembering).await;
    assert_eq!((waiting(&memory).await, memory.retry_pending().await.unwrap()), (1, 0));
    embedder.open();
    assert!(remembering.await.unwrap().warnings.is_empty());
    assert_eq!((waiting(&memory).await, &*embedder.calls.lock()), (0, &vec![1]), "embedded once");
}

#[tokio::test]
async fn a_cancelled_call_leaves_its_job_to_the_next_run() {
    let embedder = GatedEmbedder::new();
    let memory = embedder.memory(StorageBackend::in_memory()).await;
    let mut remembering = memory.remember("kept").into_future();
    embedder.until_asked(&mut remembering).await;
    drop(remembering);
    let scope = Scope::new();
    let mut adding = Box::pin(memory.add_entity(fact("Ana", None, "likes tea", None), &scope));
    embedder.until_asked(&mut adding).await;
    drop(adding);
    assert_eq!(waiting(&memory).await, 2);
    embedder.open();
    assert_eq!(memory.retry_pending().await.unwrap(), 2);
}

#[tokio::test]
async fn a_cancelled_run_lets_go_of_what_it_held() {
    let embedder = GatedEmbedder::new();
    let memory = embedder.memory(StorageBackend::in_memory()).await;
    let mut remembering = Box::pin(memory.remember_many(["one", "two"].map(RememberRequest::from), |_| ()));
    embedder.until_asked(&mut remembering).await;
    drop(remembering);
    for _ in 0..3 {
        let mut retrying = Box::pin(memory.retry_pending());
        embedder.until_asked(&mut retrying).await;
    }
    embedder.open();
    assert_eq!(memory.retry_pending().await.unwrap(), 2);
    assert_eq!(*embedder.calls.lock(), [2; 5]);
}

/// A clock that goes with the timers of a paused runtime.
#[derive(Debug)]
pub(crate) struct TimerClock(pub tokio::time::Instant);

impl Clock for TimerClock {
    fn now(&self) -> Timestamp {
        year(2026) + self.0.elapsed()
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_crash_held_is_started_when_its_lease_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let began = tokio::time::Instant::now();
    let open = async |embedder: &GatedEmbedder| {
        let storage = StorageBackend::sqlite(folder.path());
        let builder = MemoryBuilder::new().storage(storage).clock(Arc::new(TimerClock(began)));
        builder.embedder(Arc::new(embedder.clone())).build().await.unwrap()
    };
    let stuck = GatedEmbedder::new();
    let crashed = open(&stuck).await;
    let mut remembering = crashed.remember("kept").into_future();
    stuck.until_asked(&mut remembering).await;
    // Nothing lets go of the job and nothing renews its lease, as in a process that was killed.
    std::mem::forget(remembering);
    let embedder = GatedEmbedder::new();
    embedder.open();
    let memory = open(&embedder).await;
    embedder.asked.acquire().await.unwrap().forget();
    assert!(began.elapsed() >= minutes(1), "not while it was held");
    memory.flush().await.unwrap();
    assert_eq!(waiting(&memory).await, 0);
}

#[tokio::test]
async fn a_batch_is_one_call_and_a_bad_text_fails_alone() {
    let folder = tempfile::tempdir().unwrap();
    left_over(folder.path(), &["one", "two", "bad", "four"]).await;
    let embedder = GatedEmbedder::new();
    embedder.open();
    let memory = embedder.memory(StorageBackend::sqlite(folder.path())).await;
    memory.flush().await.unwrap();
    assert_eq!(*embedder.calls.lock(), [4, 1, 1, 1, 1]);
    let left = memory.pending(&Scope::new()).await.unwrap();
    assert_eq!((left.len(), left[0].attempts), (1, 1), "it was not tried before");
    assert!(left[0].last_error.as_deref().unwrap().contains("a bad text"));
    assert_eq!(memory.retry_pending().await.unwrap(), 0);
    assert_eq!(memory.pending(&Scope::new()).await.unwrap()[0].attempts, 2);
}

#[tokio::test]
async fn what_is_embedded_later_keeps_its_place_among_turns_of_one_time() {
    let embedder = RemoteEmbedder::new(true);
    let clock = Arc::new(ManualClock::new(year(2026)));
    let builder = MemoryBuilder::new().storage(StorageBackend::in_memory()).embedder(Arc::new(embedder.clone()));
    let memory = builder.clock(clock).build().await.unwrap();
    memory.remember("first").await.unwrap();
    embedder.is_down.store(false, Ordering::Release);
    memory.remember("second").await.unwrap();
    assert_eq!(memory.retry_pending().await.unwrap(), 1);
    let turns = memory.episodes(10, 0, &Scope::new()).await.unwrap();
    let texts: Vec<&str> = turns.iter().map(|turn| turn.text.as_str()).collect();
    assert_eq!(texts, ["first", "second"]);
    let latest = memory.context().await.unwrap();
    assert!(latest.find("first") < latest.find("second"), "{latest}");
}

#[tokio::test]
async fn an_outage_is_not_asked_again_for_every_text() {
    let folder = tempfile::tempdir().unwrap();
    left_over(folder.path(), &["one", "two", "three"]).await;
    let down = RemoteEmbedder::new(true);
    let storage = StorageBackend::sqlite(folder.path());
    let memory = MemoryBuilder::new().storage(storage).embedder(Arc::new(down.clone())).build().await.unwrap();
    memory.flush().await.unwrap();
    let attempts: Vec<u32> = memory.pending(&Scope::new()).await.unwrap().iter().map(|job| job.attempts).collect();
    assert_eq!((attempts, down.calls.load(Ordering::Acquire)), (vec![2, 0, 0], 2), "the batch and one text");
}

#[tokio::test]
async fn what_is_remembered_before_reembed_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    left_over(folder.path(), &["first"]).await;
    let builder = MemoryBuilder::new().storage(StorageBackend::sqlite(folder.path())).reembed(true);
    let memory = builder.embedder(Arc::new(SimEmbedder::new(2))).build().await.unwrap();
    let said = memory.remember("a walk in the garden").await.unwrap();
    let known = memory.add_entity(fact("Ana", None, "likes tea", None), &Scope::new()).await.unwrap();
    for warnings in [&said.warnings, &known.warnings] {
        assert_eq!((warnings.len(), warnings[0].step, warnings[0].job_id), (1, "embed", None));
        assert_eq!(warnings[0].error.kind(), ErrorKind::EmbeddingSpace);
        assert!(warnings[0].error.hint().unwrap().contains("reembed()"));
    }
    let change = FactChange { content: Some("likes coffee".to_owned()), ..FactChange::default() };
    memory.update(&known.entities[0].id.to_string(), change, &Scope::new()).await.unwrap();
    memory.remember("said in passing").options(durable()).await.unwrap();
    memory.flush().await.unwrap();
    assert_eq!(waiting(&memory).await, 1, "only the one from before");
    assert_eq!(memory.pending(&Scope::new()).await.unwrap()[0].attempts, 1, "which was not tried in the other space");
    assert_eq!(memory.retry_pending().await.unwrap_err().kind(), ErrorKind::EmbeddingSpace);

    assert_eq!(memory.reembed(None).await.unwrap(), 5);
    assert_eq!(waiting(&memory).await, 0);
    let vectors_only = RecallOptions::default().with_search(true, false).unwrap();
    let found = memory.recall("a walk in the garden").options(vectors_only).await.unwrap();
    assert_eq!(found[0].entity.id, said.episode_ids[0]);
    assert!(memory.remember("with a vector at once").await.unwrap().warnings.is_empty());
}

/// Keeps every event as its fields in one line.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = String::new();
        event.record(&mut |field: &field::Field, value: &dyn std::fmt::Debug| {
            write!(line, "{field}={value:?} ").unwrap();
        });
        self.0.lock().push(line);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[tokio::test]
async fn an_update_that_is_not_embedded_is_logged_without_the_embedders_words() {
    let log = Log::default();
    let _logging = tracing::subscriber::set_default(log.clone());
    let embedder = GatedEmbedder::new();
    embedder.open();
    let memory = embedder.memory(StorageBackend::in_memory()).await;
    let known = memory.add_entity(fact("Ana", None, "likes tea", None), &Scope::new()).await.unwrap();
    let change = FactChange { content: Some("bad".to_owned()), ..FactChange::default() };
    memory.update(&known.entities[0].id.to_string(), change, &Scope::new()).await.unwrap();
    let job = memory.pending(&Scope::new()).await.unwrap()[0].id;
    memory.recall("a bad question").await.unwrap();
    memory.remember_many(["bad", "worse"].map(RememberRequest::from), |_| ()).await.unwrap();
    let lines = log.0.lock().clone();
    let of_update = |line: &&String| line.contains("an updated fact") && line.contains(&job.to_string());
    assert!(lines.iter().find(of_update).unwrap().contains("kind=Embedding"), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("s3cret")), "{lines:?}");
}
