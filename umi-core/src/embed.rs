//! Embedders: text to vectors.

use std::fmt;

use async_trait::async_trait;

use crate::{
    blocking::blocking_when_large,
    error::{Error, ErrorKind, Result},
    index::vector::{self, normalise},
};

pub(crate) mod cached;
#[cfg(feature = "candle")]
pub(crate) mod local;
pub(crate) mod openai;
pub(crate) mod sim;
pub(crate) mod static_table;
mod word_piece;

/// What makes two vectors comparable: the model, its dimensions and whether vectors have length 1.
///
/// # Example
/// ```
/// use umi_core::EmbeddingSpace;
/// let space = EmbeddingSpace::new("my-model", 384, "");
/// assert_eq!(space.to_string(), "my-model (384 dimensions)");
/// ```
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

    /// The error of a store whose vectors are of this space and an embedder of another one.
    pub(crate) fn mismatch(&self, embedder: &Self) -> Error {
        Error::new(
            ErrorKind::EmbeddingSpace,
            format!("the store's vectors are of `{self}`, the embedder's are of `{embedder}`"),
        )
        .with_hint("open the store with the embedder that it was written with, or with `reembed=True` and then call `reembed()`")
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
///
/// # Example
/// ```
/// use umi_core::{Embedder, EmbeddingSpace, Result, async_trait};
///
/// /// Counts the letters of a text.
/// #[derive(Debug)]
/// struct Letters(EmbeddingSpace);
///
/// #[async_trait]
/// impl Embedder for Letters {
///     fn space(&self) -> &EmbeddingSpace {
///         &self.0
///     }
///
///     async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
///         let count = |text: &String| {
///             let mut vector = vec![0.0; self.0.dimensions];
///             text.bytes().for_each(|letter| vector[usize::from(letter) % self.0.dimensions] += 1.0);
///             vector
///         };
///         Ok(texts.iter().map(count).collect())
///     }
/// }
///
/// # #[tokio::main(flavor = "multi_thread")] async fn main() -> Result<()> {
/// let letters = Letters(EmbeddingSpace::new("letters", 64, ""));
/// let memory = umi_core::MemoryBuilder::sim(7).embedder(std::sync::Arc::new(letters)).build().await?;
/// memory.remember("My sister Ana moved to Lisbon.").await?;
/// assert!(!memory.recall("Where does my sister live?").await?.is_empty());
/// # Ok(()) }
/// ```
#[async_trait]
pub trait Embedder: Send + Sync + fmt::Debug {
    /// The space of the vectors. The same for the life of the embedder.
    fn space(&self) -> &EmbeddingSpace;

    /// Whether it computes here and at once, so that a write can wait for it inside one transaction's preparation.
    fn is_in_process(&self) -> bool {
        false
    }

    /// How much of a text it can read, from 0 to 1: the weight that a cosine has in the absolute score of a question.
    fn legibility(&self, text: &str) -> f32 {
        let _ = text;
        1.0
    }

    /// One vector a text, in order, each of the space's dimensions. The engine normalises them to length 1; a vector
    /// of zeros means that the text has no direction (an empty one, say).
    ///
    /// # Errors
    /// `Embedding` or `Provider` when it fails as a whole.
    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>>;
}

/// Embeds texts and checks the answer: one vector a text, of the space's dimensions, finite. The vectors have length 1;
/// a text without direction has none.
///
/// # Errors
/// What the embedder gives, and `Embedding` when its answer does not fit its space or the texts.
pub(crate) async fn embed_checked(embedder: &dyn Embedder, texts: &[String]) -> Result<Vec<Option<Vec<f32>>>> {
    if texts.is_empty() {
        return Ok(Vec::new());
    }
    check(embedder.space(), texts.len(), embedder.embed(texts).await?)
}

/// As [`embed_checked`], in the bytes that the ledger keeps; a text without direction has zeros.
pub(crate) async fn embed_encoded(embedder: &dyn Embedder, texts: &[String]) -> Result<Vec<Vec<u8>>> {
    if texts.is_empty() {
        return Ok(Vec::new());
    }
    let vectors = embedder.embed(texts).await?;
    let (space, count) = (embedder.space().clone(), texts.len());
    let bytes = vectors.iter().map(|vector| size_of_val(vector.as_slice())).sum();
    blocking_when_large(bytes, move || {
        let checked = check(&space, count, vectors)?;
        Ok(checked.iter().map(|vector| vector::encode(vector.as_deref(), space.dimensions)).collect())
    })
    .await
}

/// Checks an embedder's answer to a number of texts: one vector a text, of the space's dimensions, finite.
///
/// # Errors
/// `Embedding` when the answer does not fit.
///
/// # Example
/// ```
/// use umi_core::{EmbeddingSpace, check_vectors};
/// let space = EmbeddingSpace::new("my-model", 2, "");
/// assert!(check_vectors(&space, 1, &[vec![0.6, 0.8]]).is_ok());
/// assert!(check_vectors(&space, 2, &[vec![0.6, 0.8]]).is_err());
/// ```
pub fn check_vectors(space: &EmbeddingSpace, texts: usize, vectors: &[Vec<f32>]) -> Result<()> {
    if vectors.len() != texts {
        return Err(
            bad_answer(space, &format!("{} vectors for {texts} texts", vectors.len())).with_sizes(texts, vectors.len())
        );
    }
    for (index, vector) in vectors.iter().enumerate() {
        if vector.len() != space.dimensions {
            let problem = format!("{} dimensions instead of {} for text {index}", vector.len(), space.dimensions);
            return Err(bad_answer(space, &problem).with_sizes(space.dimensions, vector.len()));
        }
        if let Some(place) = vector.iter().position(|value| !value.is_finite()) {
            return Err(bad_answer(space, &format!("`{}` at dimension {place} of text {index}", vector[place])));
        }
    }
    Ok(())
}

fn check(space: &EmbeddingSpace, texts: usize, vectors: Vec<Vec<f32>>) -> Result<Vec<Option<Vec<f32>>>> {
    check_vectors(space, texts, &vectors)?;
    Ok(vectors.into_iter().map(|mut vector| normalise(&mut vector).then_some(vector)).collect())
}

fn bad_answer(space: &EmbeddingSpace, problem: &str) -> Error {
    let model: String = space.model.chars().take(64).collect();
    Error::new(ErrorKind::Embedding, format!("embedder `{model}` gave {problem}"))
        .with_hint("an embedder gives one vector of finite numbers a text, in order, of its space's dimensions")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An embedder that answers the same whatever the texts are.
    #[derive(Debug)]
    struct Fixed(EmbeddingSpace, Vec<Vec<f32>>);

    #[async_trait]
    impl Embedder for Fixed {
        fn space(&self) -> &EmbeddingSpace {
            &self.0
        }

        async fn embed(&self, _: &[String]) -> Result<Vec<Vec<f32>>> {
            Ok(self.1.clone())
        }
    }

    async fn checked(answer: Vec<Vec<f32>>) -> Result<Vec<Option<Vec<f32>>>> {
        let embedder = Fixed(EmbeddingSpace::new("fixed", 2, ""), answer);
        embed_checked(&embedder, &["a".to_owned(), "b".to_owned()]).await
    }

    #[tokio::test]
    async fn vectors_are_normalised_and_zeros_are_none() {
        assert_eq!(checked(vec![vec![3.0, 4.0], vec![0.0, 0.0]]).await.unwrap(), [Some(vec![0.6, 0.8]), None]);
    }

    #[tokio::test]
    async fn the_largest_and_smallest_numbers_have_a_direction() {
        let vectors = checked(vec![vec![f32::MAX, f32::MAX], vec![1e-40, 0.0]]).await.unwrap();
        let [Some(large), Some(small)] = vectors.as_slice() else { panic!("{vectors:?}") };
        assert!((large[0] - 0.5_f32.sqrt()).abs() < 1e-6 && (small[0] - 1.0).abs() < 1e-3);
    }

    #[tokio::test]
    async fn answers_that_do_not_fit_are_refused() {
        for (answer, problem) in [
            (vec![vec![1.0, 0.0]], "1 vectors for 2 texts"),
            (vec![vec![1.0, 0.0], vec![1.0]], "1 dimensions instead of 2 for text 1"),
            (vec![vec![1.0, f32::NAN], vec![1.0, 0.0]], "`NaN` at dimension 1 of text 0"),
            (vec![vec![1.0, 0.0], vec![f32::INFINITY, 0.0]], "`inf` at dimension 0 of text 1"),
        ] {
            let error = checked(answer).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Embedding);
            assert_eq!(error.message(), format!("embedder `fixed` gave {problem}"));
        }
    }
}
