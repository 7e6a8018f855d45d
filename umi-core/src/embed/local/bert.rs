//! BERT's encoder: tokens to one vector a token.

use candle_core::{D, DType, Device, Module, Tensor, safetensors::BufferedSafetensors};
use candle_nn::{LayerNorm, Linear, ops::softmax_last_dim};

use super::folder::{Activation, BertConfig};

/// The tensors of a `model.safetensors`, checked against the shapes that `config.json` tells.
pub(super) struct Weights {
    file: BufferedSafetensors,
    prefix: &'static str,
}

impl Weights {
    /// Reads the file's header.
    ///
    /// # Errors
    /// What is wrong with the file, in words that go on after its name.
    pub(super) fn new(bytes: Vec<u8>) -> Result<Self, String> {
        let file =
            BufferedSafetensors::new(bytes).map_err(|error| format!("is no safetensors file: {}", line(&error)))?;
        // a model that was trained with a head has its encoder one level down
        let prefix = if file.get("bert.embeddings.word_embeddings.weight").is_ok() { "bert." } else { "" };
        Ok(Self { file, prefix })
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, String> {
        let name = format!("{}{name}", self.prefix);
        if self.file.get(&name).is_err() {
            return Err(format!("has no tensor `{name}`"));
        }
        let unreadable = |error| format!("has a tensor `{name}` that cannot be read: {}", line(&error));
        let tensor = self.file.load(&name, &Device::Cpu).map_err(unreadable)?;
        if tensor.dims() != shape {
            return Err(format!("has a tensor `{name}` of shape {:?} where {shape:?} is due", tensor.dims()));
        }
        if !tensor.dtype().is_float() {
            return Err(format!("has a tensor `{name}` of `{}`, which are no plain weights", tensor.dtype().as_str()));
        }
        tensor.to_dtype(DType::F32).map_err(unreadable)
    }

    fn linear(&self, name: &str, from: usize, to: usize) -> Result<Linear, String> {
        let weight = self.tensor(&format!("{name}.weight"), &[to, from])?;
        Ok(Linear::new(weight, Some(self.tensor(&format!("{name}.bias"), &[to])?)))
    }

    fn norm(&self, name: &str, config: &BertConfig) -> Result<LayerNorm, String> {
        let size = [config.hidden_size];
        let weight = self.tensor(&format!("{name}.LayerNorm.weight"), &size)?;
        Ok(LayerNorm::new(weight, self.tensor(&format!("{name}.LayerNorm.bias"), &size)?, config.layer_norm_eps))
    }
}

/// The first line of an error: candle adds its backtrace behind it.
pub(super) fn line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// Tokens of several texts, filled up on the right to one length.
pub(super) struct Padded {
    /// The ids of the tokens, row by row.
    pub(super) ids: Vec<u32>,
    /// The segments of the tokens, row by row.
    pub(super) types: Vec<u32>,
    /// The number of tokens of each text, none of them 0.
    pub(super) lengths: Vec<usize>,
    /// The length of a row.
    pub(super) width: usize,
}

/// The encoder.
pub(super) struct Bert {
    words: Tensor,
    positions: Tensor,
    types: Tensor,
    norm: LayerNorm,
    layers: Vec<Layer>,
}

impl Bert {
    /// Takes the encoder's tensors.
    ///
    /// # Errors
    /// What is wrong with the file, in words that go on after its name.
    pub(super) fn new(config: &BertConfig, weights: &Weights) -> Result<Self, String> {
        let table = |name: &str, rows: usize| {
            weights.tensor(&format!("embeddings.{name}_embeddings.weight"), &[rows, config.hidden_size])
        };
        Ok(Self {
            words: table("word", config.vocab_size)?,
            positions: table("position", config.max_position_embeddings)?,
            types: table("token_type", config.type_vocab_size)?,
            norm: weights.norm("embeddings", config)?,
            layers: (0..config.num_hidden_layers)
                .map(|number| Layer::new(config, weights, &format!("encoder.layer.{number}")))
                .collect::<Result<_, _>>()?,
        })
    }

    /// The last layer's vectors: rows of texts, rows of tokens, values.
    ///
    /// # Errors
    /// When an id has no row in a table.
    pub(super) fn forward(&self, tokens: &Padded) -> candle_core::Result<Tensor> {
        let (count, width) = (tokens.lengths.len(), tokens.width);
        let rows = |table: &Tensor, ids: &[u32]| {
            let rows = table.index_select(&Tensor::new(ids, &Device::Cpu)?, 0)?;
            rows.reshape((count, width, ()))
        };
        let mut states = (rows(&self.words, &tokens.ids)? + rows(&self.types, &tokens.types)?)?
            .broadcast_add(&self.positions.narrow(0, 0, width)?)?;
        states = self.norm.forward(&states)?;
        let mask = mask(tokens)?;
        for layer in &self.layers {
            states = layer.forward(&states, mask.as_ref())?;
        }
        Ok(states)
    }
}

/// What keeps a token from attending to the filling: added to the scores. None where there is no filling.
fn mask(tokens: &Padded) -> candle_core::Result<Option<Tensor>> {
    let (count, width) = (tokens.lengths.len(), tokens.width);
    if tokens.lengths.iter().all(|&length| length == width) {
        return Ok(None);
    }
    let row = |&length: &usize| (0..width).map(move |place| if place < length { 0.0 } else { f32::NEG_INFINITY });
    let mask: Vec<f32> = tokens.lengths.iter().flat_map(row).collect();
    Tensor::from_vec(mask, (count, 1, 1, width), &Device::Cpu).map(Some)
}

/// One layer: attention, then two linear maps on each token by itself.
struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attended: Linear,
    attended_norm: LayerNorm,
    widened: Linear,
    activation: Activation,
    narrowed: Linear,
    narrowed_norm: LayerNorm,
    heads: usize,
}

impl Layer {
    fn new(config: &BertConfig, weights: &Weights, name: &str) -> Result<Self, String> {
        let (size, wide) = (config.hidden_size, config.intermediate_size);
        let square = |part: &str| weights.linear(&format!("{name}.attention.{part}"), size, size);
        Ok(Self {
            query: square("self.query")?,
            key: square("self.key")?,
            value: square("self.value")?,
            attended: square("output.dense")?,
            attended_norm: weights.norm(&format!("{name}.attention.output"), config)?,
            widened: weights.linear(&format!("{name}.intermediate.dense"), size, wide)?,
            activation: config.hidden_act,
            narrowed: weights.linear(&format!("{name}.output.dense"), wide, size)?,
            narrowed_norm: weights.norm(&format!("{name}.output"), config)?,
            heads: config.num_attention_heads,
        })
    }

    fn forward(&self, states: &Tensor, mask: Option<&Tensor>) -> candle_core::Result<Tensor> {
        let attended = self.attended.forward(&self.attend(states, mask)?)?;
        let states = self.attended_norm.forward(&(attended + states)?)?;
        let wide = self.widened.forward(&states)?;
        let wide = match self.activation {
            Activation::Gelu => wide.gelu_erf(),
            Activation::GeluNew => wide.gelu(),
            Activation::Relu => wide.relu(),
        }?;
        self.narrowed_norm.forward(&(self.narrowed.forward(&wide)? + states)?)
    }

    fn attend(&self, states: &Tensor, mask: Option<&Tensor>) -> candle_core::Result<Tensor> {
        let (count, width, size) = states.dims3()?;
        let head = size / self.heads;
        let by_head = |linear: &Linear| {
            linear.forward(states)?.reshape((count, width, self.heads, head))?.transpose(1, 2)?.contiguous()
        };
        let query = (by_head(&self.query)? / (head as f64).sqrt())?;
        let mut scores = query.matmul(&by_head(&self.key)?.transpose(D::Minus2, D::Minus1)?)?;
        if let Some(mask) = mask {
            scores = scores.broadcast_add(mask)?;
        }
        let mixed = softmax_last_dim(&scores)?.matmul(&by_head(&self.value)?)?;
        mixed.transpose(1, 2)?.reshape((count, width, size))
    }
}
