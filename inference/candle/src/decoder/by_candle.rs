//! The same network by candle: on a GPU, where ours does not run; and the reference.
//!
//! candle's networks keep one sequence's keys and values in themselves; so there is one at a time.

use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::quantized_llama::ModelWeights;
use candle_transformers::models::{llama, mistral};

use super::pass::{Part, Scratch, Wanted};
use super::{Decodes, Scaling, Shape};

/// One of candle's networks.
pub(crate) enum Network {
    Quantised(Box<ModelWeights>),
    Mistral(Box<mistral::Model>),
    Llama { model: Box<llama::Llama>, config: Box<llama::Config>, dtype: DType, cache: Box<llama::Cache> },
}

pub(super) struct ByCandle {
    network: Mutex<Network>,
    device: Device,
    shape: Shape,
}

impl Network {
    /// A plain Llama, in the numbers of the variables. `tied`: the vocabulary's scores are its words.
    pub(crate) fn llama(shape: &Shape, tied: bool, variables: VarBuilder<'_>) -> candle_core::Result<Self> {
        let scaling = match shape.rope.scaling {
            Scaling::None => None,
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it was a whole number")]
            Scaling::Llama3 { factor, low, high, original } => Some(llama::Llama3RopeConfig {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_max_position_embeddings: original as usize,
                rope_type: llama::Llama3RopeType::Llama3,
            }),
            Scaling::Linear(_) | Scaling::Each(_) => candle_core::bail!("its positions are scaled as our own network computes it, and candle's does not"),
        };
        if shape.window.is_some() || shape.head * shape.heads != shape.width {
            candle_core::bail!("its attention is computed by our own network, and not by candle's Llama");
        }
        let config = llama::Config {
            hidden_size: shape.width,
            intermediate_size: shape.inner,
            vocab_size: shape.vocabulary,
            num_hidden_layers: shape.layers,
            num_attention_heads: shape.heads,
            num_key_value_heads: shape.kv_heads,
            use_flash_attn: false,
            rms_norm_eps: f64::from(shape.epsilon),
            rope_theta: shape.rope.base,
            bos_token_id: None,
            eos_token_id: None,
            rope_scaling: scaling,
            max_position_embeddings: shape.context,
            tie_word_embeddings: tied,
        };
        let dtype = variables.dtype();
        let cache = Box::new(llama::Cache::new(true, dtype, &config, variables.device())?);
        Ok(Self::Llama { model: Box::new(llama::Llama::load(variables, &config)?), config: Box::new(config), dtype, cache })
    }

    /// A Mistral, in the numbers of the variables.
    pub(crate) fn mistral(shape: &Shape, tied: bool, variables: VarBuilder<'_>) -> candle_core::Result<Self> {
        if shape.rope.scaling != Scaling::None || tied {
            candle_core::bail!("its positions or its vocabulary are computed by our own network, and not by candle's Mistral");
        }
        let config = mistral::Config {
            vocab_size: shape.vocabulary,
            hidden_size: shape.width,
            intermediate_size: shape.inner,
            num_hidden_layers: shape.layers,
            num_attention_heads: shape.heads,
            head_dim: Some(shape.head),
            num_key_value_heads: shape.kv_heads,
            hidden_act: candle_nn::Activation::Silu,
            max_position_embeddings: shape.context,
            rms_norm_eps: f64::from(shape.epsilon),
            rope_theta: f64::from(shape.rope.base),
            // candle's does not count the token itself; transformers' and llama.cpp's does.
            sliding_window: shape.window.map(|window| window - 1),
            use_flash_attn: false,
        };
        Ok(Self::Mistral(Box::new(mistral::Model::new(&config, variables)?)))
    }

    /// What a GGUF file has that candle's network for it would leave out.
    pub(crate) fn quantised_lacks(shape: &Shape) -> Option<&'static str> {
        match shape {
            _ if shape.rope.scaling != Scaling::None => Some("scaled positions"),
            _ if shape.window.is_some_and(|window| window < shape.context) => Some("a window of attention"),
            _ if shape.head * shape.heads != shape.width => Some("heads of another width"),
            _ => None,
        }
    }

    /// Scores after the last of the tokens, which stand at `position`.
    fn forward(&mut self, tokens: &[u32], position: usize, device: &Device) -> candle_core::Result<Vec<f32>> {
        let input = Tensor::new(tokens, device)?.unsqueeze(0)?;
        let scores = match self {
            Self::Quantised(model) => model.forward(&input, position)?,
            Self::Mistral(model) => model.forward(&input, position)?,
            Self::Llama { model, cache, .. } => model.forward(&input, position, cache)?,
        };
        scores.flatten_all()?.to_dtype(DType::F32)?.to_vec1()
    }

    /// Forgets the sequence.
    fn clear(&mut self, device: &Device) -> candle_core::Result<()> {
        match self {
            Self::Quantised(model) => model.clear_kv_cache(),
            Self::Mistral(model) => model.clear_kv_cache(),
            Self::Llama { config, dtype, cache, .. } => **cache = llama::Cache::new(true, *dtype, config, device)?,
        }
        Ok(())
    }
}

impl ByCandle {
    pub(super) fn new(network: Network, device: Device, shape: Shape) -> Self {
        Self { network: Mutex::new(network), device, shape }
    }

    fn part(&self, part: &mut Part<'_>) -> candle_core::Result<Vec<Vec<f32>>> {
        let mut network = self.network.lock().unwrap_or_else(PoisonError::into_inner);
        let mut position = part.cache.length();
        if position == 0 {
            network.clear(&self.device)?;
        }
        let mut scores = Vec::new();
        // candle gives the scores after the last token only, and its plain Llama sees a run of tokens rightly at the beginning only.
        let single = part.wanted == Wanted::All || (position > 0 && matches!(*network, Network::Llama { .. }));
        for run in part.tokens.chunks(if single { 1 } else { part.tokens.len() }) {
            let found = network.forward(run, position, &self.device)?;
            position += run.len();
            match part.wanted {
                Wanted::All => scores.push(found),
                Wanted::Last => scores = vec![found],
                Wanted::None => {}
            }
        }
        part.cache.grow(part.tokens.len());
        Ok(scores)
    }
}

impl Decodes for ByCandle {
    fn pass(&self, parts: &mut [Part<'_>], _: &mut Scratch) -> Result<Vec<Vec<f32>>, String> {
        let mut scores = Vec::new();
        let mut busy = parts.iter_mut().filter(|part| !part.tokens.is_empty());
        if let Some(part) = busy.next() {
            super::pass::fits(part, self.shape.vocabulary, self.shape.context)?;
            scores = self.part(part).map_err(|error| error.to_string())?;
        }
        if busy.next().is_some() {
            return Err("candle's networks take one sequence at a time".to_owned());
        }
        Ok(scores)
    }

    fn sequences(&self) -> usize {
        1
    }
}
