//! An embedder that fails, hangs or answers nonsense when the plan says so.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Notify;
use umi_core::{Embedder, EmbeddingSpace, Error, ErrorKind, Result, SimEmbedder};

use crate::plan::Mood;

/// A text that a picky embedder refuses says this.
pub(crate) const CURSED: &str = "cursed";

/// Simulated vectors, under the plan's control.
#[derive(Clone, Debug)]
pub(crate) struct MoodyEmbedder {
    inner: Arc<SimEmbedder>,
    is_in_process: bool,
    mood: Arc<Mutex<Mood>>,
    hung: Arc<Notify>,
}

impl MoodyEmbedder {
    pub(crate) fn new(is_in_process: bool) -> Self {
        Self { inner: Arc::new(SimEmbedder::new(1)), is_in_process, mood: Arc::default(), hung: Arc::default() }
    }

    pub(crate) fn set(&self, mood: Mood) {
        *self.mood.lock() = mood;
    }

    /// Waits until a call hangs.
    pub(crate) async fn hangs(&self) {
        self.hung.notified().await;
    }
}

fn failure(message: &str) -> Error {
    Error::new(ErrorKind::Embedding, message)
}

#[async_trait]
impl Embedder for MoodyEmbedder {
    fn space(&self) -> &EmbeddingSpace {
        self.inner.space()
    }

    fn is_in_process(&self) -> bool {
        self.is_in_process
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        let mood = *self.mood.lock();
        match mood {
            Mood::Well => self.inner.embed(texts).await,
            Mood::Down => Err(failure("the service is down").with_retryable(true)),
            Mood::Picky if texts.iter().any(|text| text.contains(CURSED)) => Err(failure("a text is refused")),
            Mood::Picky => self.inner.embed(texts).await,
            Mood::Short => Ok(vec![vec![1.0; 3]; texts.len()]),
            Mood::Few => Ok(Vec::new()),
            Mood::Infinite => Ok(vec![vec![f32::INFINITY; self.inner.space().dimensions]; texts.len()]),
            Mood::Hangs => {
                self.hung.notify_one();
                std::future::pending().await
            }
        }
    }
}
