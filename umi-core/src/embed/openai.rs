//! [`OpenAIEmbedder`]: the embeddings of OpenAI and of any compatible server.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use serde_json::json;

use super::{Embedder, EmbeddingSpace};
use crate::{
    error::{Error, ErrorKind, Result},
    llm::{
        OPENAI_EMBEDDING_MODEL,
        http::{HttpOptions, Reply, Service},
        openai::BASE_URL,
    },
    world::{Clock, Ids},
};

/// The texts of one request, unless it is told.
const BATCH_SIZE: usize = 100;
/// The most texts of one request.
const MAX_BATCH_SIZE: usize = 2_048;
/// The bytes of texts of one request; a text that is larger goes alone. OpenAI takes 300,000 tokens a request, and no
/// text has more tokens than bytes.
const BATCH_BYTES: usize = 256 * 1024;
/// The most dimensions of a vector.
const MAX_DIMENSIONS: usize = 65_536;

/// What models give where nothing else is asked for.
const NATIVE_DIMENSIONS: [(&str, usize); 3] =
    [("text-embedding-3-small", 1_536), ("text-embedding-3-large", 3_072), ("text-embedding-ada-002", 1_536)];

/// Embeddings of OpenAI, or of a compatible server.
///
/// Texts go in batches, several at once, and come back in order. A text without a word is not sent: it has a vector of
/// zeros, which is no direction, and costs its neighbours nothing.
///
/// # Example
/// ```
/// use umi_core::{Embedder, OpenAIEmbedder};
/// let embedder = OpenAIEmbedder::new("sk-…")?;
/// assert_eq!((embedder.space().model.as_str(), embedder.space().dimensions), ("text-embedding-3-small", 1_536));
/// # Ok::<(), umi_core::Error>(())
/// ```
pub struct OpenAIEmbedder {
    service: Service,
    space: EmbeddingSpace,
    /// Asked for, and not what the model is known to have by itself.
    dimensions: Option<usize>,
    /// Whether the server has refused to be asked for dimensions.
    is_undimensioned: AtomicBool,
    batch_size: usize,
}

impl fmt::Debug for OpenAIEmbedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAIEmbedder")
            .field("space", &self.space)
            .field("base_url", &self.base_url())
            .finish_non_exhaustive()
    }
}

impl OpenAIEmbedder {
    /// A client of the default model at OpenAI.
    ///
    /// # Errors
    /// `InvalidInput` when the key is empty or cannot be sent.
    pub fn new(api_key: &str) -> Result<Self> {
        Self::connect(api_key, None, None, None, HttpOptions::default())
    }

    /// A client of a model with vectors of so many dimensions, at this base URL (with `/v1`) and within these limits.
    /// Without dimensions a model has those of its own, which are known of OpenAI's.
    ///
    /// # Errors
    /// `InvalidInput` when the key is empty or cannot be sent, when the URL is not one of HTTP, and when the model's
    /// own dimensions are not known.
    ///
    /// # Example
    /// ```
    /// use umi_core::{Embedder, HttpOptions, OpenAIEmbedder};
    /// let base_url = Some("http://localhost:8000/v1");
    /// let embedder = OpenAIEmbedder::connect("sk-…", Some("bge-m3"), Some(1_024), base_url, HttpOptions::default())?;
    /// assert_eq!(embedder.space().dimensions, 1_024);
    /// # Ok::<(), umi_core::Error>(())
    /// ```
    pub fn connect(
        api_key: &str,
        model: Option<&str>,
        dimensions: Option<usize>,
        base_url: Option<&str>,
        options: HttpOptions,
    ) -> Result<Self> {
        let model = model.unwrap_or(OPENAI_EMBEDDING_MODEL);
        let native = NATIVE_DIMENSIONS.iter().find(|(name, _)| *name == model).map(|(_, native)| *native);
        let Some(space_dimensions) = dimensions.or(native) else {
            let shown: String = model.chars().take(64).collect();
            return Err(Error::invalid_input(format!("the dimensions of the model `{shown}` are not known"))
                .with_hint("say them: `dimensions=`"));
        };
        if !(1..=MAX_DIMENSIONS).contains(&space_dimensions) {
            let message = format!("dimensions is `{space_dimensions}`, it must lie between 1 and {MAX_DIMENSIONS}");
            return Err(Error::invalid_input(message).with_sizes(MAX_DIMENSIONS, space_dimensions));
        }
        let service =
            Service::new("openai", base_url.unwrap_or(BASE_URL), ("authorization", "Bearer "), api_key, options)?;
        Ok(Self {
            service,
            space: EmbeddingSpace::new(model, space_dimensions, ""),
            dimensions: dimensions.filter(|asked| native != Some(*asked)),
            is_undimensioned: AtomicBool::new(false),
            batch_size: BATCH_SIZE,
        })
    }

    /// Sends so many texts at once, 1 to 2,048; 100 by default.
    ///
    /// # Errors
    /// `InvalidInput` beyond that.
    pub fn with_batch_size(self, batch_size: usize) -> Result<Self> {
        if !(1..=MAX_BATCH_SIZE).contains(&batch_size) {
            let message = format!("batch_size is `{batch_size}`, it must lie between 1 and {MAX_BATCH_SIZE}");
            return Err(Error::invalid_input(message).with_sizes(MAX_BATCH_SIZE, batch_size));
        }
        Ok(Self { batch_size, ..self })
    }

    /// Waits between two tries by this clock, for times with random parts of these ids.
    #[must_use]
    pub fn with_world(self, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Self {
        Self { service: self.service.with_world(clock, ids), ..self }
    }

    /// The base URL, without a password or query that it may hold.
    pub fn base_url(&self) -> String {
        self.service.shown_url()
    }

    /// The limits of its calls.
    pub fn options(&self) -> &HttpOptions {
        self.service.options()
    }

    async fn request(&self, texts: Vec<&str>) -> Result<Vec<Vec<f32>>> {
        let mut body = json!({"model": self.space.model, "input": texts, "encoding_format": "float"});
        let is_asked = self.dimensions.is_some() && !self.is_undimensioned.load(Ordering::Relaxed);
        if is_asked {
            body["dimensions"] = self.dimensions.into();
        }
        let mut reply = self.service.post("embeddings", &body).await?;
        if is_asked && matches!(reply.status, 400 | 422) && reply.problem().names(&["dimension", "matryoshka"]) {
            if let Some(fields) = body.as_object_mut() {
                fields.remove("dimensions");
            }
            reply = self.service.post("embeddings", &body).await?;
            if reply.is_success() {
                self.is_undimensioned.store(true, Ordering::Relaxed);
            }
        }
        if !reply.is_success() {
            return Err(self.service.refused(&reply));
        }
        self.vectors(texts.len(), &reply)
    }

    /// The vectors of a reply, by their index: no order is promised.
    fn vectors(&self, texts: usize, reply: &Reply) -> Result<Vec<Vec<f32>>> {
        let wrong = |what: &str| self.service.misunderstood(reply, what);
        let answer: Answer = serde_json::from_slice(&reply.body)
            .map_err(|error| wrong("gave an answer that is no list of embeddings").with_source(error))?;
        let Some(data) = answer.data else {
            if reply.problem().status.is_some() {
                return Err(self.service.refused(reply));
            }
            return Err(wrong("gave an answer without embeddings"));
        };
        if data.len() != texts {
            return Err(wrong(&format!("gave {} embeddings for {texts} texts", data.len())));
        }
        let mut vectors = vec![Vec::new(); texts];
        for (place, item) in data.into_iter().enumerate() {
            let index = item.index.unwrap_or(place);
            match vectors.get_mut(index) {
                Some(vector) if vector.is_empty() && !item.embedding.is_empty() => *vector = item.embedding,
                _ => return Err(wrong(&format!("gave no embedding, or two, for the index {index}"))),
            }
        }
        Ok(vectors)
    }
}

#[async_trait]
impl Embedder for OpenAIEmbedder {
    fn space(&self) -> &EmbeddingSpace {
        &self.space
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        let spoken: Vec<(usize, &str)> = texts
            .iter()
            .enumerate()
            .filter(|(_, text)| !text.trim().is_empty())
            .map(|(place, text)| (place, text.as_str()))
            .collect();
        let batches = batches(&spoken, self.batch_size);
        let mut requests = Vec::with_capacity(batches.len());
        for batch in &batches {
            requests.push(self.request(batch.iter().map(|(_, text)| *text).collect()));
        }
        let at_once = self.service.options().max_concurrency();
        let answers: Vec<Vec<Vec<f32>>> = stream::iter(requests).buffered(at_once).try_collect().await?;
        let mut vectors = vec![vec![0.0; self.space.dimensions]; texts.len()];
        for (batch, answer) in batches.iter().zip(answers) {
            for ((place, _), vector) in batch.iter().zip(answer) {
                if vector.len() != self.space.dimensions {
                    let message = format!(
                        "embedder `{}` gave {} dimensions instead of {}",
                        self.space.model,
                        vector.len(),
                        self.space.dimensions
                    );
                    return Err(Error::new(ErrorKind::Embedding, message)
                        .with_hint("say what the model gives: `dimensions=`")
                        .with_sizes(self.space.dimensions, vector.len())
                        .with_provider(self.service.provider()));
                }
                vectors[*place] = vector;
            }
        }
        Ok(vectors)
    }
}

/// Cuts texts into batches that one request may hold.
fn batches<'a, 'b>(texts: &'a [(usize, &'b str)], count: usize) -> Vec<&'a [(usize, &'b str)]> {
    let (mut batches, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (place, (_, text)) in texts.iter().enumerate() {
        if place > start && (place - start >= count || bytes + text.len() > BATCH_BYTES) {
            batches.push(&texts[start..place]);
            (start, bytes) = (place, 0);
        }
        bytes += text.len();
    }
    if start < texts.len() {
        batches.push(&texts[start..]);
    }
    batches
}

#[derive(Deserialize)]
struct Answer {
    data: Option<Vec<Item>>,
}

#[derive(Deserialize)]
struct Item {
    index: Option<usize>,
    embedding: Vec<f32>,
}

#[cfg(test)]
mod tests;
