//! On a model of a few hundred weights; `tests/test_local_embedder.py` compares a real one with the original.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

const WORDS: [&str; 9] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "cat", "dog", "sleep", "##s", "."];
const SIZE: usize = 8;
const WIDE: usize = 12;
const POSITIONS: usize = 16;

/// A whole folder in a temporary one.
struct Saved {
    parent: TempDir,
}

impl Saved {
    fn new() -> Self {
        let saved = Self { parent: TempDir::new().unwrap() };
        fs::create_dir_all(saved.path("1_Pooling")).unwrap();
        saved.write("config.json", &config());
        saved.write("tokenizer.json", &tokenizer());
        saved.write("modules.json", &modules());
        saved.write(
            "1_Pooling/config.json",
            &json!({"word_embedding_dimension": SIZE, "pooling_mode_mean_tokens": true}),
        );
        saved.write("sentence_bert_config.json", &json!({"max_seq_length": 12, "do_lower_case": false}));
        fs::write(saved.path("model.safetensors"), safetensors(&tensors())).unwrap();
        saved
    }

    fn path(&self, file: &str) -> PathBuf {
        self.parent.path().join("tiny").join(file)
    }

    fn write(&self, file: &str, value: &Value) {
        fs::write(self.path(file), value.to_string()).unwrap();
    }

    /// Sets one key of a file of JSON, or removes it.
    fn set(&self, file: &str, key: &str, value: Option<Value>) {
        let mut whole: Value = serde_json::from_slice(&fs::read(self.path(file)).unwrap()).unwrap();
        match value {
            Some(value) => whole[key] = value,
            None => drop(whole.as_object_mut().unwrap().remove(key)),
        }
        self.write(file, &whole);
    }

    fn open(&self) -> Result<LocalEmbedder> {
        LocalEmbedder::open(self.path(""))
    }
}

fn config() -> Value {
    json!({
        "model_type": "bert", "vocab_size": WORDS.len(), "hidden_size": SIZE, "num_hidden_layers": 1,
        "num_attention_heads": 2, "intermediate_size": WIDE, "max_position_embeddings": POSITIONS,
        "type_vocab_size": 2, "layer_norm_eps": 1e-12, "hidden_act": "gelu",
    })
}

fn tokenizer() -> Value {
    let vocabulary: Value = WORDS.iter().enumerate().map(|(id, word)| ((*word).to_owned(), json!(id))).collect();
    let special = |id: usize| {
        json!({"id": id, "content": WORDS[id], "special": true, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false})
    };
    json!({
        "version": "1.0", "truncation": null, "padding": {"strategy": {"Fixed": 10}, "direction": "Right",
        "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"},
        "added_tokens": [special(0), special(1), special(2), special(3)],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                       "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "decoder": null,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": vocabulary},
    })
}

fn modules() -> Value {
    let module = |path: &str, kind: &str| json!({"path": path, "type": format!("sentence_transformers.models.{kind}")});
    json!([module("", "Transformer"), module("1_Pooling", "Pooling"), module("2_Normalize", "Normalize")])
}

fn tensors() -> Vec<(String, Vec<usize>)> {
    let mut tensors = Vec::new();
    let mut add = |name: &str, shape: &[usize]| tensors.push((name.to_owned(), shape.to_vec()));
    add("embeddings.word_embeddings.weight", &[WORDS.len(), SIZE]);
    add("embeddings.position_embeddings.weight", &[POSITIONS, SIZE]);
    add("embeddings.token_type_embeddings.weight", &[2, SIZE]);
    let layer = |part: &str| format!("encoder.layer.0.{part}");
    for name in ["embeddings".to_owned(), layer("attention.output"), layer("output")] {
        add(&format!("{name}.LayerNorm.weight"), &[SIZE]);
        add(&format!("{name}.LayerNorm.bias"), &[SIZE]);
    }
    for (part, from, to) in [
        ("attention.self.query", SIZE, SIZE),
        ("attention.self.key", SIZE, SIZE),
        ("attention.self.value", SIZE, SIZE),
        ("attention.output.dense", SIZE, SIZE),
        ("intermediate.dense", SIZE, WIDE),
        ("output.dense", WIDE, SIZE),
    ] {
        add(&layer(&format!("{part}.weight")), &[to, from]);
        add(&layer(&format!("{part}.bias")), &[to]);
    }
    tensors
}

/// A file of float tensors, filled with a wave.
fn safetensors(tensors: &[(String, Vec<usize>)]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for (name, shape) in tensors {
        let start = data.len();
        for _ in 0..shape.iter().product::<usize>() {
            data.extend((data.len() as f32 * 0.37).sin().to_le_bytes());
        }
        header.insert(name.clone(), json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]}));
    }
    let header = Value::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn is_near(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5)
}

#[tokio::test]
async fn a_vector_has_length_one_and_is_the_same_in_every_batch() {
    let embedder = Saved::new().open().unwrap();
    assert_eq!((embedder.space().model.as_str(), embedder.space().dimensions), ("tiny", SIZE));
    assert_eq!(embedder.space().digest.len(), 16);
    assert!(embedder.is_in_process());
    let all = texts(&["cats sleep.", "", "dog", "dogs sleep. cats sleep. dog dog dog", "🐈", "cat cat cat cat"]);
    let together = embedder.embed(&all).await.unwrap();
    for (text, vector) in all.iter().zip(&together) {
        let alone = embedder.embed(std::slice::from_ref(text)).await.unwrap();
        assert!(is_near(&alone[0], vector), "{text:?}: {alone:?} alone, {vector:?} in the batch");
        assert!((vector.iter().map(|value| value * value).sum::<f32>() - 1.0).abs() < 1e-5, "{text:?}");
    }
    assert!(!is_near(&together[0], &together[2]));
    assert!(embedder.embed(&[]).await.unwrap().is_empty());
}

/// The real model, where the environment names its folder; `tests/test_local_embedder.py` finds it by itself.
#[tokio::test]
async fn vectors_are_those_of_the_original() {
    #[derive(serde::Deserialize)]
    struct Fixtures {
        texts: Vec<String>,
        vectors: Vec<Vec<f32>>,
    }
    let Some(folder) = std::env::var_os("UMI_MODEL_FOLDER") else { return };
    let fixtures: Fixtures =
        serde_json::from_str(include_str!("../../../../tests/fixtures/local_embedder.json")).unwrap();
    let vectors = LocalEmbedder::open(folder).unwrap().embed(&fixtures.texts).await.unwrap();
    for ((text, ours), theirs) in fixtures.texts.iter().zip(&vectors).zip(&fixtures.vectors) {
        let farthest = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(farthest < 1e-4, "{text:?} is {farthest} off");
    }
}

#[tokio::test]
async fn a_text_is_cut_to_what_the_model_reads() {
    let embedder = Saved::new().open().unwrap();
    let vectors = embedder.embed(&texts(&[&"cat ".repeat(10), &"cat ".repeat(500), &"cat ".repeat(9)])).await.unwrap();
    assert!(is_near(&vectors[0], &vectors[1]));
    assert!(!is_near(&vectors[0], &vectors[2]));
}

#[tokio::test]
async fn prompts_and_lower_case_are_heeded() {
    let saved = Saved::new();
    let plain = saved.open().unwrap().embed(&texts(&["cat dog", "dog"])).await.unwrap();
    saved.write("config_sentence_transformers.json", &json!({"prompts": {"q": "cat "}, "default_prompt_name": "q"}));
    let prompted = saved.open().unwrap().embed(&texts(&["dog"])).await.unwrap();
    assert!(is_near(&prompted[0], &plain[0]));
    saved.write("config_sentence_transformers.json", &json!({"prompts": {}, "default_prompt_name": null}));
    saved.set("tokenizer.json", "normalizer", Some(Value::Null));
    saved.set("sentence_bert_config.json", "do_lower_case", Some(json!(true)));
    let lowered = saved.open().unwrap().embed(&texts(&["DOG"])).await.unwrap();
    assert!(is_near(&lowered[0], &plain[1]));
}

#[tokio::test]
async fn a_folder_may_lack_what_has_defaults() {
    let saved = Saved::new();
    let whole = saved.open().unwrap().embed(&texts(&["cats"])).await.unwrap();
    fs::remove_file(saved.path("modules.json")).unwrap();
    fs::remove_file(saved.path("sentence_bert_config.json")).unwrap();
    fs::remove_dir_all(saved.path("1_Pooling")).unwrap();
    let tensors: Vec<_> = tensors().into_iter().map(|(name, shape)| (format!("bert.{name}"), shape)).collect();
    fs::write(saved.path("model.safetensors"), safetensors(&tensors)).unwrap();
    let bare = saved.open().unwrap().embed(&texts(&["cats"])).await.unwrap();
    assert!(is_near(&whole[0], &bare[0]));
}

#[test]
fn what_is_wrong_with_a_folder_is_said() {
    type Damage = fn(&Saved);
    let cases: [(Damage, &str); 27] = [
        (|it| fs::remove_dir_all(it.path("")).unwrap(), "`tiny` is not there"),
        (|it| fs::remove_file(it.path("config.json")).unwrap(), "`config.json` is not there"),
        (|it| fs::remove_file(it.path("tokenizer.json")).unwrap(), "`tokenizer.json` is not there"),
        (|it| fs::remove_file(it.path("model.safetensors")).unwrap(), "`model.safetensors` is not there"),
        (|it| fs::remove_file(it.path("1_Pooling/config.json")).unwrap(), "`config.json` is not there"),
        (|it| fs::write(it.path("config.json"), "{").unwrap(), "`config.json` is malformed: EOF while parsing"),
        (|it| fs::write(it.path("config.json"), "[]").unwrap(), "`config.json` is malformed"),
        (|it| it.set("config.json", "model_type", None), "`config.json` has no `model_type`"),
        (|it| it.set("config.json", "model_type", Some(json!("mpnet"))), "is of architecture `mpnet`"),
        (|it| it.set("config.json", "hidden_size", None), "`config.json` is malformed: missing field `hidden_size`"),
        (|it| it.set("config.json", "hidden_size", Some(json!(-1))), "`config.json` is malformed: invalid value"),
        (|it| it.set("config.json", "num_attention_heads", Some(json!(0))), "has `num_attention_heads` of `0`"),
        (|it| it.set("config.json", "num_attention_heads", Some(json!(3))), "which 3 heads cannot share"),
        (|it| it.set("config.json", "hidden_act", Some(json!("swish"))), "unknown variant `swish`"),
        (|it| it.set("config.json", "layer_norm_eps", Some(json!(0))), "has `layer_norm_eps` of `0`"),
        (|it| it.set("config.json", "position_embedding_type", Some(json!("relative_key"))), "of `relative_key`"),
        (|it| it.set("config.json", "vocab_size", Some(json!(5))), "`tokenizer.json` has a token `8`"),
        (
            |it| it.set("config.json", "intermediate_size", Some(json!(13))),
            "`model.safetensors` has a tensor `encoder.layer.0.intermediate.dense.weight` of shape [12, 8] where [13, 8] is due",
        ),
        (
            |it| it.set("config.json", "num_hidden_layers", Some(json!(2))),
            "`model.safetensors` has no tensor `encoder.layer.1.attention.self.query.weight`",
        ),
        (|it| it.set("tokenizer.json", "model", Some(json!({"type": "Words"}))), "`tokenizer.json` is malformed"),
        (|it| it.set("sentence_bert_config.json", "max_seq_length", Some(json!(2))), "adds 2 tokens to a text"),
        (|it| it.write("modules.json", &json!([])), "`modules.json` names no pooling"),
        (
            |it| it.write("modules.json", &json!([{"path": "", "type": "sentence_transformers.models.Dense"}])),
            "has module `sentence_transformers.models.Dense` in place 0, which is not supported",
        ),
        (
            |it| it.write("modules.json", &json!([{"path": "../x", "type": "models.Transformer"}])),
            "names `../x`, which is outside of the folder",
        ),
        (
            |it| it.write("1_Pooling/config.json", &json!({"pooling_mode_lasttoken": true})),
            "asks for pooling `lasttoken`, which is not supported",
        ),
        (|it| it.write("1_Pooling/config.json", &json!({"word_embedding_dimension": 7})), "of `7`, the model has 8"),
        (
            |it| it.write("config_sentence_transformers.json", &json!({"default_prompt_name": "query"})),
            "has no prompt `query`",
        ),
    ];
    for (damage, problem) in cases {
        let saved = Saved::new();
        damage(&saved);
        let error = saved.open().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.message().contains(problem), "{error} does not say {problem}");
    }
}

#[test]
fn a_cut_file_of_weights_is_refused() {
    let saved = Saved::new();
    let whole = fs::read(saved.path("model.safetensors")).unwrap();
    for length in (0..whole.len()).step_by(61) {
        fs::write(saved.path("model.safetensors"), &whole[..length]).unwrap();
        let error = saved.open().unwrap_err();
        assert!(error.message().starts_with("`model.safetensors` is no safetensors file"), "{length}: {error}");
    }
}

#[test]
fn weights_that_are_whole_numbers_are_refused() {
    let saved = Saved::new();
    let whole = fs::read(saved.path("model.safetensors")).unwrap();
    let text = |bytes: &[u8]| bytes.windows(3).position(|window| window == b"F32").unwrap();
    let mut quantised = whole.clone();
    quantised[text(&whole)] = b'I';
    fs::write(saved.path("model.safetensors"), quantised).unwrap();
    assert!(saved.open().unwrap_err().message().contains("no plain weights"));
}

#[test]
fn texts_of_about_one_length_are_computed_together() {
    let tokens = |length: &usize| Tokens { ids: vec![1; *length], types: vec![0; *length] };
    let of_lengths = |lengths: &[usize]| batches(&lengths.iter().map(tokens).collect::<Vec<_>>());
    assert_eq!(of_lengths(&[5, 200, 0, 6, 3]), [vec![1], vec![3, 0, 4]]);
    assert_eq!(of_lengths(&[256; 17]).iter().map(Vec::len).collect::<Vec<_>>(), [8, 8, 1]);
    assert!(of_lengths(&[]).is_empty());
}

#[test]
fn vectors_of_tokens_become_one() {
    let states = [3.0, 0.0, -3.0, 8.0];
    assert_eq!(Pooling::Mean.pool(&states, 2), [0.0, 1.0]);
    assert_eq!(Pooling::First.pool(&states, 2), [1.0, 0.0]);
    assert!(is_near(&Pooling::Max.pool(&states, 2), &[3.0 / 73.0_f32.sqrt(), 8.0 / 73.0_f32.sqrt()]));
}
