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
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use umi_core::{
    Completion, CompletionRequest, Embedder, EmbeddingSpace, Entity, EntityType, Error, ErrorKind, LanguageModel,
    ManualClock, Memory, MemoryBuilder, MessagePart, Result, Scope, SimEmbedder, StorageBackend, Timestamp, Usage,
    Uuid,
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

type Answer = Box<dyn FnMut(&CompletionRequest) -> Result<Completion> + Send>;

/// A language model that answers with a function, keeps what it was asked, and may wait for a permit before it answers.
#[derive(Clone)]
pub(crate) struct Model {
    answer: Arc<Mutex<Answer>>,
    pub requests: Arc<Mutex<Vec<CompletionRequest>>>,
    gate: Option<Arc<Semaphore>>,
    /// A permit for every request that began.
    pub asked: Arc<Semaphore>,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").finish_non_exhaustive()
    }
}

impl Model {
    pub(crate) fn from_fn(answer: impl FnMut(&CompletionRequest) -> Result<Completion> + Send + 'static) -> Self {
        let answer: Answer = Box::new(answer);
        let asked = Arc::new(Semaphore::new(0));
        Self { answer: Arc::new(Mutex::new(answer)), requests: Arc::default(), gate: None, asked }
    }

    /// Answers with these texts, in order, and fails beyond them.
    pub(crate) fn new<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Self {
        let texts: Vec<String> = texts.into_iter().map(Into::into).collect();
        let mut texts = texts.into_iter();
        Self::from_fn(move |_| match texts.next() {
            Some(text) => Ok(Completion::new(text).with_usage(Usage::new(100, 10, 1))),
            None => Err(Error::new(ErrorKind::Provider, "it was asked once more than was expected")),
        })
    }

    /// The same, with permits for this many answers.
    pub(crate) fn gated(self, permits: usize) -> Self {
        Self { gate: Some(Arc::new(Semaphore::new(permits))), ..self }
    }

    pub(crate) fn open(&self, permits: usize) {
        self.gate.as_ref().unwrap().add_permits(permits);
    }

    /// Whether a request waits for a permit: then it gets one.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.open(1);
        self.gate.as_ref().unwrap().available_permits() == 0
    }

    /// Answers differently from now on.
    pub(crate) fn now_answers(&self, answer: impl FnMut(&CompletionRequest) -> Result<Completion> + Send + 'static) {
        *self.answer.lock() = Box::new(answer);
    }

    /// The names of the schemas that it was asked for, in order.
    pub(crate) fn steps(&self) -> Vec<String> {
        self.requests.lock().iter().map(|request| request.answer.as_ref().unwrap().name.clone()).collect()
    }

    /// The last message of the last request.
    pub(crate) fn last_message(&self) -> String {
        message(self.requests.lock().last().unwrap())
    }

    pub(crate) fn builder(&self) -> MemoryBuilder {
        let clock = ManualClock::new(year(2026));
        MemoryBuilder::new()
            .storage(StorageBackend::in_memory())
            .clock(Arc::new(clock))
            .language_model(Arc::new(self.clone()))
    }

    pub(crate) async fn memory(&self) -> Memory {
        self.builder().build().await.unwrap()
    }
}

#[async_trait]
impl LanguageModel for Model {
    fn name(&self) -> &'static str {
        "test:model"
    }

    async fn complete(&self, request: &CompletionRequest) -> Result<Completion> {
        self.requests.lock().push(request.clone());
        self.asked.add_permits(1);
        if let Some(gate) = &self.gate {
            gate.acquire().await.unwrap().forget();
        }
        (self.answer.lock())(request)
    }
}

/// The words of a request's last message.
pub(crate) fn message(request: &CompletionRequest) -> String {
    match request.messages.last().unwrap().parts.as_slice() {
        [MessagePart::Text(text)] => text.clone(),
        other => panic!("{other:?}"),
    }
}

/// A fact as a model gives it.
pub(crate) fn said(turn: usize, name: &str, attribute: Option<&str>, content: &str) -> Value {
    json!({
        "turn": turn, "type": "person", "name": name, "attribute": attribute, "content": content, "confidence": 0.9,
        "event_time": null,
    })
}

pub(crate) fn facts(facts: &[Value]) -> String {
    json!({ "facts": facts }).to_string()
}

/// A relation as a model gives it.
pub(crate) fn relation(new: usize, old: &str, evolution_type: &str) -> Value {
    json!({"new": new, "old": old, "type": evolution_type, "reason": "because", "confidence": 0.9})
}

pub(crate) fn relations(relations: &[Value]) -> String {
    json!({ "relations": relations }).to_string()
}

/// A memory with a model, and its clock.
pub(crate) async fn memory_and_clock_with(model: &Model) -> (Memory, ManualClock) {
    let clock = ManualClock::new(year(2026));
    (model.builder().clock(Arc::new(clock.clone())).build().await.unwrap(), clock)
}

pub(crate) async fn memory_with(model: Arc<dyn LanguageModel>) -> Memory {
    let builder = MemoryBuilder::new().storage(StorageBackend::in_memory()).language_model(model);
    builder.embedder(Arc::new(SimEmbedder::new(1))).build().await.unwrap()
}
