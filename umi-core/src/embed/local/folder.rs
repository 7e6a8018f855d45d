//! A folder as sentence-transformers saves it: which files are there, what they say, and whether it can be computed.

use std::{
    collections::BTreeMap,
    fmt::Display,
    io,
    path::{Component, Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use tokenizers::{PostProcessor, Tokenizer, TruncationParams};

use crate::error::{Error, Result};

/// The most dimensions, layers or rows of a table that are taken for meant.
const SIZE_MAX: usize = 1 << 24;

/// How the vectors of tokens become one of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pooling {
    Mean,
    Max,
    /// That of the first token.
    First,
}

/// The function between the two linear maps of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) enum Activation {
    #[default]
    #[serde(rename = "gelu")]
    Gelu,
    #[serde(rename = "gelu_new", alias = "gelu_pytorch_tanh")]
    GeluNew,
    #[serde(rename = "relu")]
    Relu,
}

/// What `config.json` says, by its own names.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct BertConfig {
    pub(super) vocab_size: usize,
    pub(super) hidden_size: usize,
    pub(super) num_hidden_layers: usize,
    pub(super) num_attention_heads: usize,
    pub(super) intermediate_size: usize,
    pub(super) max_position_embeddings: usize,
    #[serde(default = "type_vocab_size")]
    pub(super) type_vocab_size: usize,
    #[serde(default = "layer_norm_eps")]
    pub(super) layer_norm_eps: f64,
    #[serde(default)]
    pub(super) hidden_act: Activation,
    #[serde(default)]
    position_embedding_type: Option<String>,
}

fn type_vocab_size() -> usize {
    2
}

fn layer_norm_eps() -> f64 {
    1e-12
}

/// The architecture alone, so that another one is told as such and not by a key that it lacks.
#[derive(Deserialize)]
struct Architecture {
    model_type: Option<String>,
}

#[derive(Deserialize)]
struct ModuleEntry {
    #[serde(default)]
    path: String,
    r#type: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SentenceConfig {
    max_seq_length: Option<usize>,
    do_lower_case: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PromptConfig {
    prompts: BTreeMap<String, String>,
    default_prompt_name: Option<String>,
}

/// What a folder holds, read and checked. The weights are bytes still.
pub(super) struct Folder {
    /// Its last name.
    pub(super) name: String,
    pub(super) config: BertConfig,
    pub(super) tokenizer: Tokenizer,
    pub(super) pooling: Pooling,
    /// Whether texts are made lower case before the tokenizer sees them.
    pub(super) is_lowered: bool,
    /// What stands before every text.
    pub(super) prompt: String,
    pub(super) weights: Vec<u8>,
    /// Where the weights are.
    pub(super) weights_path: PathBuf,
}

impl Folder {
    /// Reads a folder.
    ///
    /// # Errors
    /// `InvalidInput` that names the file and what is missing, malformed or not supported.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let root = path.canonicalize().map_err(|error| unreadable(path, error))?;
        if !root.is_dir() {
            return Err(wrong(path, "is no folder"));
        }
        let (transformer, pooling) = modules(&root)?;
        let config = config(&transformer.join("config.json"))?;
        let sentence: SentenceConfig = read_json(&transformer.join("sentence_bert_config.json"))?.unwrap_or_default();
        let tokens_max = sentence.max_seq_length.unwrap_or(usize::MAX).min(config.max_position_embeddings);
        let tokenizer = tokenizer(&transformer.join("tokenizer.json"), &config, tokens_max)?;
        let prompt = prompt(&root.join("config_sentence_transformers.json"))?;
        let pooling = match pooling {
            Some(folder) => read_pooling(&folder.join("config.json"), &config, &prompt)?,
            None => Pooling::Mean,
        };
        let weights_path = transformer.join("model.safetensors");
        let weights = require(&weights_path)?;
        let name = root.file_name().unwrap_or(root.as_os_str()).to_string_lossy().into_owned();
        let is_lowered = sentence.do_lower_case;
        Ok(Self { name, config, tokenizer, pooling, is_lowered, prompt, weights, weights_path })
    }
}

/// An error about a file of the folder: `problem` goes on after its name.
pub(super) fn wrong(path: &Path, problem: impl Display) -> Error {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    Error::invalid_input(format!("`{}` {problem}", cut(&name)))
        .with_file(None, path.to_string_lossy())
        .with_hint("a model is a folder as sentence-transformers saves it, with a BERT encoder in `model.safetensors`")
}

/// The start of a text that a file told.
fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}

fn unreadable(path: &Path, error: io::Error) -> Error {
    let problem = match error.kind() {
        io::ErrorKind::NotFound => "is not there".to_owned(),
        kind => format!("cannot be read: {kind}"),
    };
    wrong(path, problem).with_file(error.raw_os_error(), path.to_string_lossy()).with_source(error)
}

fn require(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| unreadable(path, error))
}

/// A file that may be missing, as JSON.
fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(path, error)),
        Ok(bytes) => parse(path, &bytes).map(Some),
    }
}

fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| wrong(path, format!("is malformed: {error}")).with_source(error))
}

/// The folders of the encoder and, where `modules.json` names one, of the pooling.
fn modules(root: &Path) -> Result<(PathBuf, Option<PathBuf>)> {
    let path = root.join("modules.json");
    let Some(modules) = read_json::<Vec<ModuleEntry>>(&path)? else {
        // a folder without it is an encoder alone, which sentence-transformers takes with the mean
        let pooling = root.join("1_Pooling");
        return Ok((root.to_owned(), pooling.is_dir().then_some(pooling)));
    };
    let mut folders = Vec::new();
    for (place, module) in modules.iter().enumerate() {
        let kind = module.r#type.rsplit('.').next().unwrap_or_default();
        if !matches!((place, kind), (0, "Transformer") | (1, "Pooling") | (2.., "Normalize")) {
            let problem = format!("has module `{}` in place {place}, which is not supported", cut(&module.r#type));
            return Err(wrong(&path, problem));
        }
        if !Path::new(&module.path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Err(wrong(&path, format!("names `{}`, which is outside of the folder", cut(&module.path))));
        }
        folders.push(root.join(&module.path));
    }
    let mut folders = folders.into_iter();
    match (folders.next(), folders.next()) {
        (Some(transformer), Some(pooling)) => Ok((transformer, Some(pooling))),
        _ => Err(wrong(&path, "names no pooling of an encoder")),
    }
}

fn config(path: &Path) -> Result<BertConfig> {
    let bytes = require(path)?;
    match parse::<Architecture>(path, &bytes)?.model_type {
        Some(kind) if kind == "bert" => {}
        Some(kind) => {
            return Err(wrong(path, format!("is of architecture `{}`, only `bert` is supported", cut(&kind))));
        }
        None => return Err(wrong(path, "has no `model_type`")),
    }
    let config: BertConfig = parse(path, &bytes)?;
    for (name, size) in [
        ("vocab_size", config.vocab_size),
        ("hidden_size", config.hidden_size),
        ("num_hidden_layers", config.num_hidden_layers),
        ("num_attention_heads", config.num_attention_heads),
        ("intermediate_size", config.intermediate_size),
        ("max_position_embeddings", config.max_position_embeddings),
        ("type_vocab_size", config.type_vocab_size),
    ] {
        if !(1..=SIZE_MAX).contains(&size) {
            return Err(wrong(path, format!("has `{name}` of `{size}`, it must lie between 1 and {SIZE_MAX}")));
        }
    }
    if !config.hidden_size.is_multiple_of(config.num_attention_heads) {
        let (size, heads) = (config.hidden_size, config.num_attention_heads);
        return Err(wrong(path, format!("has `hidden_size` of `{size}`, which {heads} heads cannot share")));
    }
    if !(config.layer_norm_eps.is_finite() && config.layer_norm_eps > 0.0) {
        return Err(wrong(path, format!("has `layer_norm_eps` of `{}`, it must be above 0", config.layer_norm_eps)));
    }
    if let Some(kind) = config.position_embedding_type.as_deref().filter(|&kind| kind != "absolute") {
        return Err(wrong(path, format!("has `position_embedding_type` of `{}`, which is not supported", cut(kind))));
    }
    Ok(config)
}

fn tokenizer(path: &Path, config: &BertConfig, tokens_max: usize) -> Result<Tokenizer> {
    let bytes = require(path)?;
    let malformed = |error: tokenizers::Error| wrong(path, format!("is malformed: {}", cut(&error.to_string())));
    let mut tokenizer = Tokenizer::from_bytes(&bytes).map_err(malformed)?;
    if let Some(id) = tokenizer.get_vocab(true).into_values().max().filter(|&id| id as usize >= config.vocab_size) {
        let size = config.vocab_size;
        return Err(wrong(path, format!("has a token `{id}`, the model's vocabulary ends before `{size}`")));
    }
    let added = tokenizer.get_post_processor().map_or(0, |processor| processor.added_tokens(false));
    if tokens_max <= added {
        let problem = format!("adds {added} tokens to a text, and the model reads {tokens_max}");
        return Err(wrong(path, problem));
    }
    // what the file says of lengths is of its training
    let truncation = TruncationParams { max_length: tokens_max, ..TruncationParams::default() };
    tokenizer.with_truncation(Some(truncation)).map_err(malformed)?;
    tokenizer.with_padding(None);
    Ok(tokenizer)
}

fn prompt(path: &Path) -> Result<String> {
    let config: PromptConfig = read_json(path)?.unwrap_or_default();
    let Some(name) = config.default_prompt_name else { return Ok(String::new()) };
    let prompt = config.prompts.get(&name).cloned();
    prompt.ok_or_else(|| wrong(path, format!("has no prompt `{}`, its default", cut(&name))))
}

fn read_pooling(path: &Path, config: &BertConfig, prompt: &str) -> Result<Pooling> {
    let told: serde_json::Map<String, Value> = parse(path, &require(path)?)?;
    for name in ["word_embedding_dimension", "embedding_dimension"] {
        if let Some(size) = told.get(name).filter(|size| size.as_u64() != Some(config.hidden_size as u64)) {
            let problem = format!("has `{name}` of `{}`, the model has {}", cut(&size.to_string()), config.hidden_size);
            return Err(wrong(path, problem));
        }
    }
    if !prompt.is_empty() && told.get("include_prompt") == Some(&Value::Bool(false)) {
        return Err(wrong(path, "leaves the prompt out of the pooling, which is not supported"));
    }
    let mut modes = Vec::new();
    for (name, value) in &told {
        match (name.strip_prefix("pooling_mode"), value) {
            (Some(""), Value::String(mode)) => modes.push(mode.as_str()),
            (Some(""), Value::Null) | (Some(_), Value::Bool(false)) | (None, _) => {}
            (Some(mode), Value::Bool(true)) => modes.push(mode.trim_start_matches('_')),
            (Some(_), value) => {
                return Err(wrong(path, format!("has `{}` of `{}`", cut(name), cut(&value.to_string()))));
            }
        }
    }
    match modes.as_slice() {
        ["mean" | "mean_tokens"] => Ok(Pooling::Mean),
        ["max" | "max_tokens"] => Ok(Pooling::Max),
        ["cls" | "cls_token"] => Ok(Pooling::First),
        [] => Err(wrong(path, "names no pooling")),
        modes => Err(wrong(path, format!("asks for pooling `{}`, which is not supported", cut(&modes.join(" and "))))),
    }
}
