//! What the themes share: memories with a clock in hand, and embedders that misbehave.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use umi_core::{
    Embedder, EmbeddingSpace, Entity, EntityType, Error, ErrorKind, ManualClock, Memory, MemoryBuilder, Result, Scope,
    SimEmbedder, StorageBackend, Timestamp, Uuid,
};

pub(crate) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The start of a year.
pub(crate) fn year(number: i16) -> Timestamp {
    time(&format!("{number}-01-01T00:00:00Z"))
}

pub(crate) fn user(name: &str) -> Scope {
    Scope::new().with_user(name).unwrap()
}

/// A memory without files whose clock stands at the start of 2026.
pub(crate) async fn memory_and_clock() -> (Memory, ManualClock) {
    let clock = ManualClock::new(year(2026));
    let builder = MemoryBuilder::new().storage(StorageBackend::in_memory()).clock(Arc::new(clock.clone()));
    (builder.build().await.unwrap(), clock)
}

pub(crate) async fn memory() -> Memory {
    memory_and_clock().await.0
}

pub(crate) fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

/// A fact about a person.
pub(crate) fn fact(name: &str, attribute: Option<&str>, content: &str, event_time: Option<Timestamp>) -> Entity {
    let mut entity = Entity::new(Uuid::nil(), year(2026), EntityType::Person, name, content).unwrap();
    entity.attribute = attribute.map(str::to_owned);
    entity.event_time = event_time;
    entity
}

/// A remote embedder that can be switched off.
#[derive(Clone, Debug)]
pub(crate) struct RemoteEmbedder {
    inner: Arc<SimEmbedder>,
    pub is_down: Arc<AtomicBool>,
    pub calls: Arc<AtomicUsize>,
}

impl RemoteEmbedder {
    pub(crate) fn new(is_down: bool) -> Self {
        Self {
            inner: Arc::new(SimEmbedder::new(1)),
            is_down: Arc::new(AtomicBool::new(is_down)),
            calls: Arc::default(),
        }
    }
}

#[async_trait]
impl Embedder for RemoteEmbedder {
    fn space(&self) -> &EmbeddingSpace {
        self.inner.space()
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        self.calls.fetch_add(1, Ordering::AcqRel);
        if self.is_down.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Embedding, "the service is down").with_retryable(true));
        }
        self.inner.embed(texts).await
    }
}

/// A remote embedder that tells when it is asked, answers when it may, and refuses texts that say `bad`.
#[derive(Clone, Debug)]
pub(crate) struct GatedEmbedder {
    inner: Arc<SimEmbedder>,
    /// How many calls may be answered.
    pub gate: Arc<Semaphore>,
    /// A permit for every call that began.
    pub asked: Arc<Semaphore>,
    /// The number of texts of every call.
    pub calls: Arc<Mutex<Vec<usize>>>,
}

impl GatedEmbedder {
    pub(crate) fn new() -> Self {
        Self {
            inner: Arc::new(SimEmbedder::new(1)),
            gate: Arc::new(Semaphore::new(0)),
            asked: Arc::new(Semaphore::new(0)),
            calls: Arc::default(),
        }
    }

    /// Lets all calls through from now on.
    pub(crate) fn open(&self) {
        self.gate.add_permits(1_000);
    }

    /// Drives a call until it asks for vectors.
    pub(crate) async fn until_asked<T>(&self, call: impl Future<Output = T> + Unpin) {
        tokio::select! {
            _ = call => panic!("it did not wait for its vectors"),
            asked = self.asked.acquire() => asked.unwrap().forget(),
        }
    }

    pub(crate) async fn memory(&self, storage: StorageBackend) -> Memory {
        MemoryBuilder::new().storage(storage).embedder(Arc::new(self.clone())).build().await.unwrap()
    }
}

#[async_trait]
impl Embedder for GatedEmbedder {
    fn space(&self) -> &EmbeddingSpace {
        self.inner.space()
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        self.calls.lock().push(texts.len());
        self.asked.add_permits(1);
        self.gate.acquire().await.unwrap().forget();
        if texts.iter().any(|text| text.contains("bad")) {
            return Err(Error::new(ErrorKind::Embedding, "a bad text, and the secret `s3cret`"));
        }
        self.inner.embed(texts).await
    }
}
