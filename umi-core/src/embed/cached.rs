//! [`CachedEmbedder`]: the vectors of the texts that a remote embedder saw last.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::{Embedder, EmbeddingSpace, check_vectors};
use crate::error::Result;

/// What an entry takes beside its vector, in bytes.
const ENTRY_BYTES: usize = 128;

/// An embedder that asks another one only for texts whose vectors it has not: a question that is asked again, and what
/// a write that failed had embedded already.
///
/// It keeps no text: the key of a vector is a hash of 128 bits with a random seed that never leaves the process. Two
/// texts of one key do not come up by chance, and who does not know the seed has no way to look for them; the hash is
/// not a cryptographic one.
pub(crate) struct CachedEmbedder {
    inner: Arc<dyn Embedder>,
    seed: u64,
    bytes: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    vectors: HashMap<u128, (u64, Vec<f32>)>,
    /// The keys by the time of their last use.
    uses: BTreeMap<u64, u128>,
    time: u64,
    bytes: usize,
}

impl Kept {
    fn get(&mut self, key: u128) -> Option<Vec<f32>> {
        self.time += 1;
        let (used, vector) = self.vectors.get_mut(&key)?;
        self.uses.remove(used);
        *used = self.time;
        self.uses.insert(self.time, key);
        Some(vector.clone())
    }

    fn put(&mut self, key: u128, vector: &[f32], limit: usize) {
        let bytes = size_of_val(vector) + ENTRY_BYTES;
        if bytes > limit || self.vectors.contains_key(&key) {
            return;
        }
        self.time += 1;
        self.vectors.insert(key, (self.time, vector.to_vec()));
        self.uses.insert(self.time, key);
        self.bytes += bytes;
        while self.bytes > limit
            && let Some((_, oldest)) = self.uses.pop_first()
            && let Some((_, vector)) = self.vectors.remove(&oldest)
        {
            self.bytes -= size_of_val(vector.as_slice()) + ENTRY_BYTES;
        }
    }
}

impl fmt::Debug for CachedEmbedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl CachedEmbedder {
    /// Keeps the vectors of an embedder, up to a number of bytes, with the seed of their keys.
    pub(crate) fn new(inner: Arc<dyn Embedder>, seed: u64, bytes: usize) -> Self {
        Self { inner, seed, bytes, kept: Mutex::default() }
    }
}

#[async_trait]
impl Embedder for CachedEmbedder {
    fn space(&self) -> &EmbeddingSpace {
        self.inner.space()
    }

    fn is_in_process(&self) -> bool {
        self.inner.is_in_process()
    }

    fn legibility(&self, text: &str) -> f32 {
        self.inner.legibility(text)
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        let keys: Vec<u128> = texts.iter().map(|text| xxh3_128_with_seed(text.as_bytes(), self.seed)).collect();
        let mut known: HashMap<u128, Vec<f32>> = HashMap::new();
        let (mut missing, mut missing_keys) = (Vec::new(), Vec::new());
        {
            let mut kept = self.kept.lock();
            for (key, text) in keys.iter().zip(texts) {
                if known.contains_key(key) {
                    continue;
                }
                // A place for what is missing, so that a text that comes twice is asked for once.
                let vector = kept.get(*key).unwrap_or_else(|| {
                    missing.push(text.clone());
                    missing_keys.push(*key);
                    Vec::new()
                });
                known.insert(*key, vector);
            }
        }
        if !missing.is_empty() {
            let vectors = self.inner.embed(&missing).await?;
            check_vectors(self.space(), missing.len(), &vectors)?;
            let mut kept = self.kept.lock();
            for (key, vector) in missing_keys.into_iter().zip(vectors) {
                kept.put(key, &vector, self.bytes);
                known.insert(key, vector);
            }
        }
        Ok(keys.iter().map(|key| known.get(key).cloned().unwrap_or_default()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives the length of a text, and counts what it is asked.
    #[derive(Debug)]
    struct Counting(EmbeddingSpace, Mutex<Vec<String>>);

    #[async_trait]
    impl Embedder for Counting {
        fn space(&self) -> &EmbeddingSpace {
            &self.0
        }

        async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
            self.1.lock().extend_from_slice(texts);
            Ok(texts.iter().map(|text| vec![text.len() as f32]).collect())
        }
    }

    fn texts(of: &[&str]) -> Vec<String> {
        of.iter().map(|text| (*text).to_owned()).collect()
    }

    #[tokio::test]
    async fn a_text_is_asked_for_once() {
        let inner = Arc::new(Counting(EmbeddingSpace::new("counting", 1, ""), Mutex::default()));
        let cached = CachedEmbedder::new(inner.clone(), 1, 1024 * 1024);
        assert_eq!(cached.embed(&texts(&["a", "bb", "a"])).await.unwrap(), [[1.0], [2.0], [1.0]]);
        assert_eq!(cached.embed(&texts(&["ccc", "bb"])).await.unwrap(), [[3.0], [2.0]]);
        assert_eq!(*inner.1.lock(), ["a", "bb", "ccc"]);
    }

    #[tokio::test]
    async fn an_answer_that_does_not_fit_is_not_kept() {
        let inner = Arc::new(Counting(EmbeddingSpace::new("counting", 2, ""), Mutex::default()));
        let cached = CachedEmbedder::new(inner.clone(), 1, 1024 * 1024);
        assert!(cached.embed(&texts(&["a"])).await.is_err());
        assert!(cached.embed(&texts(&["a"])).await.is_err());
        assert_eq!(inner.1.lock().len(), 2);
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let mut kept = Kept::default();
        let limit = 3 * (ENTRY_BYTES + 4);
        for key in 1..=3 {
            kept.put(key, &[1.0], limit);
        }
        assert!(kept.get(1).is_some());
        kept.put(4, &[1.0], limit);
        assert!(kept.get(2).is_none() && kept.get(1).is_some() && kept.get(3).is_some() && kept.get(4).is_some());
        assert_eq!((kept.bytes, kept.uses.len()), (limit, 3));
        kept.put(5, &[0.0; 1_000], limit);
        assert!(kept.get(5).is_none(), "what is larger than all of it is not kept");
    }
}
