//! Embedders: text to vectors.

use std::fmt;

use async_trait::async_trait;

use crate::error::Result;

/// What makes two vectors comparable: the model, its dimensions and whether vectors have length 1.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EmbeddingSpace {
    /// The model's name.
    pub model: String,
    /// The number of dimensions.
    pub dimensions: usize,
    /// A digest of the model's weights or of what else tells two models of one name apart.
    pub digest: String,
}

impl EmbeddingSpace {
    /// Names a space.
    pub fn new(model: impl Into<String>, dimensions: usize, digest: impl Into<String>) -> Self {
        Self { model: model.into(), dimensions, digest: digest.into() }
    }
}

impl fmt::Display for EmbeddingSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} dimensions", self.model, self.dimensions)?;
        if !self.digest.is_empty() {
            write!(f, ", digest {}", self.digest)?;
        }
        f.write_str(")")
    }
}

/// Turns texts into vectors of one embedding space.
#[async_trait]
pub trait Embedder: Send + Sync + fmt::Debug {
    /// The space of the vectors. The same for the life of the embedder.
    fn space(&self) -> &EmbeddingSpace;

    /// Whether it computes here and at once, so that a write can wait for it inside one transaction's preparation.
    fn is_in_process(&self) -> bool {
        false
    }

    /// One vector a text, in order, each of the space's dimensions. The engine normalises them to length 1; a vector
    /// of zeros means that the text has no direction (an empty one, say).
    ///
    /// # Errors
    /// `Embedding` or `Provider` when it fails as a whole.
    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>>;
}
