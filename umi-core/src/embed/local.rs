//! A sentence-transformers model from a folder, computed on the processor.

use std::{cmp::Reverse, fmt, path::Path, sync::Arc};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use rayon::{ThreadPool, ThreadPoolBuilder};
use tokenizers::Tokenizer;
use xxhash_rust::xxh3::xxh3_64;

use self::{
    bert::{Bert, Padded, Weights},
    folder::{Folder, Pooling},
};
use super::{Embedder, EmbeddingSpace};
use crate::{
    blocking::blocking,
    error::{Error, ErrorKind, Result},
    index::vector::normalise,
};

mod bert;
mod folder;
#[cfg(test)]
mod tests;

/// The most tokens of a batch, filling included: some 50 MB of intermediate values in a small model.
const BATCH_TOKENS: usize = 2048;

/// An embedder that computes a sentence-transformers model from a folder, on the processor and without a network.
///
/// The folder holds `config.json`, `tokenizer.json` and `model.safetensors`, and where they are there `modules.json`,
/// `1_Pooling/config.json`, `sentence_bert_config.json` and `config_sentence_transformers.json` are heeded. The encoder
/// is a BERT (`all-MiniLM-L6-v2`, the `bge`, `e5` and `gte` models of that form, and
/// `paraphrase-multilingual-MiniLM-L12-v2`), the pooling the mean, the maximum or the first token. Texts are cut to the
/// tokens that the model reads. Vectors have length 1, and a text has the same one in every batch.
///
/// The name of its space is that of the folder, the digest that of the weights: move a folder, but keep its name.
/// Needs the cargo feature `candle`.
///
/// # Example
/// ```no_run
/// # fn main() -> umi_core::Result<()> {
/// use umi_core::{Embedder, LocalEmbedder};
///
/// let embedder = LocalEmbedder::open("models/all-MiniLM-L6-v2")?;
/// assert_eq!(embedder.space().dimensions, 384);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct LocalEmbedder {
    space: EmbeddingSpace,
    model: Arc<Model>,
}

impl LocalEmbedder {
    /// Reads a model from its folder. Blocks while it reads, a tenth of a second for a small model.
    ///
    /// # Errors
    /// `InvalidInput` that names the file and what of it is missing, malformed or not supported.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = Folder::read(folder.as_ref())?;
        let digest = format!("{:016x}", xxh3_64(&folder.weights));
        let space = EmbeddingSpace::new(folder.name, folder.config.hidden_size, digest);
        let wrong = |problem: String| folder::wrong(&folder.weights_path, problem);
        let weights = Weights::new(folder.weights).map_err(wrong)?;
        let model = Model {
            bert: Bert::new(&folder.config, &weights).map_err(wrong)?,
            tokenizer: folder.tokenizer,
            pooling: folder.pooling,
            is_lowered: folder.is_lowered,
            prompt: folder.prompt,
            dimensions: folder.config.hidden_size,
        };
        Ok(Self { space, model: Arc::new(model) })
    }
}

impl fmt::Debug for LocalEmbedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalEmbedder").field("space", &self.space).finish_non_exhaustive()
    }
}

#[async_trait]
impl Embedder for LocalEmbedder {
    fn space(&self) -> &EmbeddingSpace {
        &self.space
    }

    fn is_in_process(&self) -> bool {
        true
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        let failed = |problem: String| {
            let model: String = self.space.model.chars().take(64).collect();
            Error::new(ErrorKind::Embedding, format!("model `{model}` cannot embed: {problem}"))
        };
        let mut vectors = vec![vec![0.0; self.space.dimensions]; texts.len()];
        let (model, texts) = (Arc::clone(&self.model), texts.to_vec());
        let tokens = blocking(move || Ok(model.tokens(&texts))).await?.map_err(failed)?;
        let tokens = Arc::new(tokens);
        // a task for each batch, so that nobody computes on for a caller who is gone
        for batch in batches(&tokens) {
            let (model, tokens, members) = (Arc::clone(&self.model), Arc::clone(&tokens), batch.clone());
            let computed = blocking(move || Ok(model.embed(&tokens, &members))).await?.map_err(failed)?;
            for (index, vector) in batch.into_iter().zip(computed) {
                vectors[index] = vector;
            }
        }
        Ok(vectors)
    }
}

/// The tokens of a text: their ids and their segments.
struct Tokens {
    ids: Vec<u32>,
    types: Vec<u32>,
}

struct Model {
    tokenizer: Tokenizer,
    bert: Bert,
    pooling: Pooling,
    is_lowered: bool,
    prompt: String,
    dimensions: usize,
}

impl Model {
    fn tokens(&self, texts: &[String]) -> Result<Vec<Tokens>, String> {
        let of_text = |text: &String| {
            let mut text = format!("{}{text}", self.prompt);
            if self.is_lowered {
                text = text.to_lowercase();
            }
            let encoding = self.tokenizer.encode_fast(text, true).map_err(|error| error.to_string())?;
            Ok(Tokens { ids: encoding.get_ids().to_vec(), types: encoding.get_type_ids().to_vec() })
        };
        texts.iter().map(of_text).collect()
    }

    /// The vectors of some of the texts.
    fn embed(&self, tokens: &[Tokens], members: &[usize]) -> Result<Vec<Vec<f32>>, String> {
        let lengths: Vec<usize> = members.iter().map(|&index| tokens[index].ids.len()).collect();
        let width = lengths.iter().copied().max().unwrap_or_default();
        let fill = |of: fn(&Tokens) -> &[u32]| -> Vec<u32> {
            let row = |&index: &usize| {
                let row = of(&tokens[index]);
                row.iter().copied().chain(std::iter::repeat_n(0, width - row.len()))
            };
            members.iter().flat_map(row).collect()
        };
        let padded = Padded { ids: fill(|tokens| &tokens.ids), types: fill(|tokens| &tokens.types), lengths, width };
        let threads = threads()?;
        let states = threads.pool.install(|| self.bert.forward(&padded)?.flatten_all()?.to_vec1::<f32>());
        let states = states.map_err(|error| bert::line(&error))?;
        let rows = states.chunks_exact(width * self.dimensions).zip(&padded.lengths);
        Ok(rows.map(|(row, &length)| self.pooling.pool(&row[..length * self.dimensions], self.dimensions)).collect())
    }
}

impl Pooling {
    /// One vector of length 1 of those of tokens, one after the other.
    fn pool(self, states: &[f32], dimensions: usize) -> Vec<f32> {
        let mut states = states.chunks_exact(dimensions);
        let mut vector = states.next().unwrap_or_default().to_vec();
        let take: fn(&mut f32, f32) = match self {
            Self::Mean => |sum, value| *sum += value, // its length is 1 soon, so that nothing need be divided
            Self::Max => |most, value| *most = most.max(value),
            Self::First => |_, _| (),
        };
        for state in states {
            vector.iter_mut().zip(state).for_each(|(value, &other)| take(value, other));
        }
        normalise(&mut vector);
        vector
    }
}

/// Which texts are computed together: those of about one length, the longest first. A text without tokens is in none.
fn batches(tokens: &[Tokens]) -> Vec<Vec<usize>> {
    let length = |index: usize| tokens[index].ids.len();
    let mut order: Vec<usize> = (0..tokens.len()).filter(|&index| length(index) > 0).collect();
    order.sort_by_key(|&index| Reverse(length(index)));
    let mut batches: Vec<Vec<usize>> = Vec::new();
    for index in order {
        match batches.last_mut() {
            Some(batch)
                if (batch.len() + 1) * length(batch[0]) <= BATCH_TOKENS && length(index) * 2 >= length(batch[0]) =>
            {
                batch.push(index);
            }
            _ => batches.push(vec![index]),
        }
    }
    batches
}

/// The threads that a process computes on.
struct Threads {
    process: u32,
    pool: ThreadPool,
}

static THREADS: ArcSwapOption<Threads> = ArcSwapOption::const_empty();

/// The threads of this process, as many as it may use processors. Not rayon's own, which a forked child would wait for
/// and does not have.
fn threads() -> Result<Arc<Threads>, String> {
    let process = std::process::id();
    if let Some(threads) = THREADS.load_full().filter(|threads| threads.process == process) {
        return Ok(threads);
    }
    let pool = ThreadPoolBuilder::new().thread_name(|number| format!("umi-embed-{number}")).build();
    let threads = Arc::new(Threads { process, pool: pool.map_err(|error| error.to_string())? });
    let before = THREADS.swap(Some(Arc::clone(&threads)));
    // the parent's threads are not here, and nobody can end them
    std::mem::forget(before.filter(|before| before.process != process));
    Ok(threads)
}
