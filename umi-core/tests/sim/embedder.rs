//! An embedder that fails, hangs or answers nonsense when the plan says so.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Notify;
use umi_core::{Embedder, EmbeddingSpace, Error, ErrorKind, Result};

use crate::{dice::Dice, plan::Mood};

/// A text that a picky embedder refuses says this.
pub(crate) const CURSED: &str = "cursed";

/// Few, because a run compares many vectors and its build is not optimised.
const DIMENSIONS: usize = 16;

/// Vectors of the words of a text, under the plan's control.
#[derive(Clone, Debug)]
pub(crate) struct MoodyEmbedder {
    space: Arc<EmbeddingSpace>,
    is_in_process: bool,
    mood: Arc<Mutex<Mood>>,
    hung: Arc<Notify>,
}

impl MoodyEmbedder {
    pub(crate) fn new(is_in_process: bool) -> Self {
        let space = Arc::new(EmbeddingSpace::new("moody", DIMENSIONS, ""));
        Self { space, is_in_process, mood: Arc::default(), hung: Arc::default() }
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

/// Texts that share words are near each other.
fn vectors(texts: &[String]) -> Vec<Vec<f32>> {
    let one = |text: &String| {
        let mut vector = vec![0.0; DIMENSIONS];
        for word in text.split_whitespace() {
            let seed = word.bytes().fold(0, |hash: u64, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
            let bits = Dice::of(seed, 0).next();
            for (place, value) in vector.iter_mut().enumerate() {
                *value += if bits >> place & 1 == 1 { 1.0 } else { -1.0 };
            }
        }
        vector
    };
    texts.iter().map(one).collect()
}

#[async_trait]
impl Embedder for MoodyEmbedder {
    fn space(&self) -> &EmbeddingSpace {
        &self.space
    }

    fn is_in_process(&self) -> bool {
        self.is_in_process
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        let mood = *self.mood.lock();
        match mood {
            Mood::Down => Err(failure("the service is down").with_retryable(true)),
            Mood::Picky if texts.iter().any(|text| text.contains(CURSED)) => Err(failure("a text is refused")),
            Mood::Well | Mood::Picky => Ok(vectors(texts)),
            Mood::Short => Ok(vec![vec![1.0; 3]; texts.len()]),
            Mood::Few => Ok(Vec::new()),
            Mood::Infinite => Ok(vec![vec![f32::INFINITY; DIMENSIONS]; texts.len()]),
            Mood::Hangs => {
                self.hung.notify_one();
                std::future::pending().await
            }
        }
    }
}
