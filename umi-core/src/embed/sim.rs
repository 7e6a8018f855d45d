//! A simulated embedder: deterministic vectors in which texts that share words are near each other.

use async_trait::async_trait;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Embedder, EmbeddingSpace};
use crate::{
    blocking::{blocking, is_quick},
    error::Result,
    index::vector::normalise,
};

const DIMENSIONS: usize = 256;

/// An embedder for tests and simulations. A text's vector is the sum of one random direction a word, drawn from the
/// seed and the word alone: the more words two texts share, the nearer they are. Equal seeds give equal vectors on every
/// machine.
///
/// # Example
/// ```
/// use umi_core::{Embedder, SimEmbedder};
///
/// let embedder = SimEmbedder::new(7);
/// assert_eq!(embedder.space().model, "sim-7");
/// ```
#[derive(Clone, Debug)]
pub struct SimEmbedder {
    seed: u64,
    space: EmbeddingSpace,
}

impl SimEmbedder {
    /// An embedder of 256 dimensions whose vectors depend on `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed, space: EmbeddingSpace::new(format!("sim-{seed}"), DIMENSIONS, "") }
    }

    fn vectors(&self, texts: &[String]) -> Vec<Vec<f32>> {
        texts.iter().map(|text| self.vector(text)).collect()
    }

    fn vector(&self, text: &str) -> Vec<f32> {
        let mut vector = vec![0.0; DIMENSIONS];
        for word in text.to_lowercase().split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
            let mut bits = xxh3_64_with_seed(word.as_bytes(), self.seed);
            for (block, values) in vector.chunks_mut(64).enumerate() {
                bits = xxh3_64_with_seed(&bits.to_le_bytes(), block as u64);
                for (place, value) in values.iter_mut().enumerate() {
                    *value += if bits >> place & 1 == 1 { 1.0 } else { -1.0 };
                }
            }
        }
        normalise(&mut vector);
        vector
    }
}

#[async_trait]
impl Embedder for SimEmbedder {
    fn space(&self) -> &EmbeddingSpace {
        &self.space
    }

    fn is_in_process(&self) -> bool {
        true
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        if is_quick(texts) {
            return Ok(self.vectors(texts));
        }
        let (sim, texts) = (self.clone(), texts.to_vec());
        blocking(move || Ok(sim.vectors(&texts))).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cosine(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn texts_that_share_words_are_near() {
        let sim = SimEmbedder::new(1);
        let [cats, more_cats, trains] =
            ["the cat sleeps", "The CAT, sleeps!", "trains run late"].map(|text| sim.vector(text));
        assert!((cosine(&cats, &more_cats) - 1.0).abs() < 1e-5);
        assert!(cosine(&cats, &sim.vector("a cat sleeps")) > 0.5);
        assert!(cosine(&cats, &trains).abs() < 0.3);
    }

    #[test]
    fn a_seed_fixes_every_vector() {
        assert_eq!(SimEmbedder::new(1).vector("Ada"), SimEmbedder::new(1).vector("ada"));
        assert_ne!(SimEmbedder::new(1).vector("Ada"), SimEmbedder::new(2).vector("Ada"));
        let signs: Vec<bool> = SimEmbedder::new(1).vector("ada")[..8].iter().map(|value| *value > 0.0).collect();
        assert_eq!(
            signs,
            [true, false, true, true, true, false, true, false],
            "a stored vector must not change with a version"
        );
    }

    #[tokio::test]
    async fn a_large_batch_leaves_the_worker_and_is_embedded_alike() {
        let (sim, large) = (SimEmbedder::new(1), ["word ".repeat(4_000)]);
        assert!(futures::poll!(sim.embed(&["word".to_owned()])).is_ready());
        let mut embedding = sim.embed(&large);
        assert!(futures::poll!(&mut embedding).is_pending());
        assert_eq!(embedding.await.unwrap(), [sim.vector(&large[0])]);
    }

    #[test]
    fn a_text_without_words_has_no_direction() {
        assert!(SimEmbedder::new(1).vector(" …! ").iter().all(|value| *value == 0.0));
    }
}
