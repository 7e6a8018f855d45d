//! What the themes share: memories with a clock in hand, and embedders that misbehave.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
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
}

impl RemoteEmbedder {
    pub(crate) fn new(is_down: bool) -> Self {
        Self { inner: Arc::new(SimEmbedder::new(1)), is_down: Arc::new(AtomicBool::new(is_down)) }
    }
}

#[async_trait]
impl Embedder for RemoteEmbedder {
    fn space(&self) -> &EmbeddingSpace {
        self.inner.space()
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        if self.is_down.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Embedding, "the service is down").with_retryable(true));
        }
        self.inner.embed(texts).await
    }
}
