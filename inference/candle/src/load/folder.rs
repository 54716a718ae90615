//! A folder as transformers writes it: `config.json`, `tokenizer.json`, `tokenizer_config.json`, safetensors.

use std::collections::HashSet;
use std::path::Path;

use ajatus_inference::InferenceError;
use ajatus_inference::template::ChatTemplate;
use candle_core::safetensors::MmapedSafetensors;
use candle_core::{DType, Tensor};
use candle_nn::VarBuilder;
use half::{bf16, f16};
use serde::Deserialize;
use serde_json::Value as Json;
use tokenizers::Tokenizer;

use super::{Loaded, Wish};
use crate::adapter::Adapted;
use crate::decoder::{Decoder, Matrix, Name, Network, Origin, Rope, Scaling, Shape};
use crate::files::{read, refuse};

pub(super) fn load(folder: &Path, weights: &[std::path::PathBuf], adapter: Option<&Path>, wish: Wish) -> Result<Loaded, InferenceError> {
    let path = folder.join("config.json");
    let config: Config = serde_json::from_str(&read(&path)?).map_err(|error| refuse(&path, error))?;
    let shape = config.shape().map_err(|reason| refuse(&path, reason))?;
    let context = super::context(shape.context, wish.context);
    // SAFETY: the map is read while loading only; a file changed by others in that moment gives wrong numbers, no more.
    #[expect(unsafe_code, reason = "candle marks memory maps unsafe")]
    let mapped = unsafe { MmapedSafetensors::multi(weights) };
    let mapped = mapped.map_err(|error| refuse(folder, format!("the weights cannot be read: {error}")))?;
    let names: HashSet<String> = mapped.tensors().into_iter().map(|(name, _)| name).collect();
    if let Some(left) = config.left(&names) {
        return Err(refuse(folder, format!("{left} is no part of the networks that are computed here; serve this model by vLLM")));
    }
    let base = match adapter {
        Some(adapter) => Adapted::open(mapped, adapter)?,
        None => Adapted::plain(mapped),
    };
    let tokenizer_path = folder.join("tokenizer.json");
    let tokenizer = Tokenizer::from_file(&tokenizer_path).map_err(|error| refuse(&tokenizer_path, error))?;
    let template = template(folder)?;
    if let Some(device) = wish.candle()? {
        // In `f32` on a processor, in `bf16` on a GPU.
        let variables = VarBuilder::from_backend(Box::new(base), if device.is_cpu() { DType::F32 } else { DType::BF16 }, device.clone());
        let (tied, mistral) = (config.tie_word_embeddings, config.model_type == "mistral");
        let network = if mistral { Network::mistral(&shape, tied, variables) } else { Network::llama(&shape, tied, variables) };
        let network = network.map_err(|error| refuse(folder, format!("the weights do not fit config.json: {error}")))?;
        let decoder = Decoder::by_candle(network, device, Shape { context, ..shape });
        return Ok(Loaded { decoder, tokenizer, template, ends: config.ends(), context, adds_special: false });
    }
    let mut origin = Folder { base, names, tied: config.tie_word_embeddings };
    let decoder = Decoder::load(shape, context, &mut origin).map_err(|reason| refuse(folder, format!("the weights do not fit config.json: {reason}")))?;
    Ok(Loaded { decoder, tokenizer, template, ends: config.ends(), context, adds_special: false })
}

/// The chat template: of the tokenizer's configuration, or beside it, as transformers 5 writes it.
fn template(folder: &Path) -> Result<ChatTemplate, InferenceError> {
    let path = folder.join("tokenizer_config.json");
    let settings: Json = serde_json::from_str(&read(&path)?).map_err(|error| refuse(&path, error))?;
    let beside = folder.join("chat_template.jinja");
    let named = |templates: &Vec<Json>| {
        let named = |name: &str| templates.iter().find(|template| template.get("name").and_then(Json::as_str) == Some(name));
        named("default").or(templates.first()).and_then(|template| template.get("template")?.as_str().map(str::to_owned))
    };
    let source = match settings.get("chat_template") {
        Some(Json::String(text)) => Some(text.clone()),
        Some(Json::Array(templates)) => named(templates),
        _ if beside.is_file() => Some(read(&beside)?),
        _ => None,
    };
    let source = source.ok_or_else(|| refuse(&path, "it holds no chat_template, and there is no chat_template.jinja beside it, so it is no chat model"))?;
    let token = |name: &str| match settings.get(name) {
        Some(Json::String(text)) => text.clone(),
        Some(Json::Object(fields)) => fields.get("content").and_then(Json::as_str).unwrap_or_default().to_owned(),
        _ => String::new(),
    };
    ChatTemplate::new(source, token("bos_token"), token("eos_token"))
}

/// What of `config.json` changes the numbers.
#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    hidden_act: Option<String>,
    max_position_embeddings: Option<usize>,
    rms_norm_eps: f32,
    rope_theta: Option<f32>,
    /// Until transformers 4; afterwards `rope_parameters`.
    rope_scaling: Option<Positions>,
    rope_parameters: Option<Positions>,
    sliding_window: Option<usize>,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    eos_token_id: Option<Json>,
}

#[derive(Deserialize)]
struct Positions {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f32>,
    factor: Option<f32>,
    low_freq_factor: Option<f32>,
    high_freq_factor: Option<f32>,
    original_max_position_embeddings: Option<usize>,
}

impl Config {
    fn shape(&self) -> Result<Shape, String> {
        if !["llama", "mistral"].contains(&self.model_type.as_str()) {
            return Err(format!("the architecture is {:?}, but a chat model must be \"llama\" or \"mistral\"", self.model_type));
        }
        if self.attention_bias || self.mlp_bias {
            return Err("its layers have biases, which are not computed here; serve this model by vLLM".to_owned());
        }
        if let Some(act) = self.hidden_act.as_deref().filter(|act| !["silu", "swish"].contains(act)) {
            return Err(format!("its activation is {act:?}, but \"silu\" is computed here"));
        }
        let heads = self.num_attention_heads;
        let head = self.head_dim.or_else(|| self.hidden_size.checked_div(heads)).ok_or("it has no heads")?;
        let positions = self.rope_parameters.as_ref().or(self.rope_scaling.as_ref());
        let base = self.rope_theta.or(positions.and_then(|positions| positions.rope_theta)).unwrap_or(10_000.0);
        let shape = Shape {
            layers: self.num_hidden_layers,
            width: self.hidden_size,
            inner: self.intermediate_size,
            heads,
            kv_heads: self.num_key_value_heads.unwrap_or(heads),
            head,
            vocabulary: self.vocab_size,
            epsilon: self.rms_norm_eps,
            window: self.sliding_window,
            context: self.max_position_embeddings.unwrap_or(2_048),
            rope: Rope { base, dimensions: head, paired: false, scaling: positions.map_or(Ok(Scaling::None), Positions::scaling)? },
            rounded: false,
        };
        shape.check()?;
        Ok(shape)
    }

    /// A tensor of which the network knows nothing.
    fn left<'a>(&self, names: &'a HashSet<String>) -> Option<&'a String> {
        let parts = [Name::AttentionNorm, Name::Query, Name::Key, Name::Value, Name::Output, Name::InnerNorm, Name::Gate, Name::Up, Name::Down];
        let layers = (0..self.num_hidden_layers).flat_map(|at| parts.map(|part| name(part(at))));
        let known: HashSet<String> = [Name::Words, Name::Scores, Name::Norm].map(name).into_iter().chain(layers).collect();
        // Some files keep frequencies that follow from the configuration.
        names.iter().filter(|name| !known.contains(*name) && !name.ends_with("rotary_emb.inv_freq")).min()
    }

    fn ends(&self) -> Vec<u32> {
        let id = |id: &Json| id.as_u64().and_then(|id| id.try_into().ok());
        match &self.eos_token_id {
            Some(Json::Array(ids)) => ids.iter().filter_map(id).collect(),
            Some(one) => id(one).into_iter().collect(),
            None => Vec::new(),
        }
    }
}

impl Positions {
    fn scaling(&self) -> Result<Scaling, String> {
        let needed = |value: Option<f32>, name: &str| value.filter(|value| *value > 0.0).ok_or_else(|| format!("its scaling of positions has no {name}"));
        match self.rope_type.as_deref().unwrap_or("default") {
            "default" => Ok(Scaling::None),
            "linear" => Ok(Scaling::Linear(needed(self.factor, "factor")?)),
            "llama3" => {
                #[expect(clippy::cast_precision_loss, reason = "a context is far below 2^24")]
                let original = needed(self.original_max_position_embeddings.map(|tokens| tokens as f32), "original_max_position_embeddings")?;
                let (low, high) = (needed(self.low_freq_factor, "low_freq_factor")?, needed(self.high_freq_factor, "high_freq_factor")?);
                Ok(Scaling::Llama3 { factor: needed(self.factor, "factor")?, low, high, original })
            }
            other => Err(format!("its positions are scaled by {other:?}, which is not computed here; serve this model by vLLM")),
        }
    }
}

/// A tensor's name in the files.
pub(crate) fn name(name: Name) -> String {
    let (at, part) = match name {
        Name::Words => return "model.embed_tokens.weight".to_owned(),
        Name::Scores => return "lm_head.weight".to_owned(),
        Name::Norm => return "model.norm.weight".to_owned(),
        Name::AttentionNorm(at) => (at, "input_layernorm"),
        Name::Query(at) => (at, "self_attn.q_proj"),
        Name::Key(at) => (at, "self_attn.k_proj"),
        Name::Value(at) => (at, "self_attn.v_proj"),
        Name::Output(at) => (at, "self_attn.o_proj"),
        Name::InnerNorm(at) => (at, "post_attention_layernorm"),
        Name::Gate(at) => (at, "mlp.gate_proj"),
        Name::Up(at) => (at, "mlp.up_proj"),
        Name::Down(at) => (at, "mlp.down_proj"),
    };
    format!("model.layers.{at}.{part}.weight")
}

struct Folder {
    base: Adapted,
    names: HashSet<String>,
    tied: bool,
}

impl Folder {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, String> {
        if !self.names.contains(name) {
            return Err(format!("{name} is missing"));
        }
        let tensor = self.base.tensor(name).map_err(|error| format!("{name}: {error}"))?;
        if tensor.dims() == shape { Ok(tensor) } else { Err(format!("{name} is {:?}, not {shape:?}", tensor.dims())) }
    }
}

impl Origin for Folder {
    fn has(&self, wanted: Name) -> bool {
        // A vocabulary that is not tied and not there is missed by its name.
        if wanted == Name::Scores { !self.tied } else { self.names.contains(&name(wanted)) }
    }

    fn matrix(&mut self, wanted: Name, outputs: usize, inputs: usize) -> Result<Matrix, String> {
        let name = name(wanted);
        let tensor = self.tensor(&name, &[outputs, inputs])?;
        let read = |error: candle_core::Error| error.to_string();
        let flat = tensor.flatten_all().map_err(|error| format!("{name}: {error}"))?;
        // In the form in which they are stored: wider ones would hold no more.
        let matrix = match flat.dtype() {
            DType::BF16 => flat.to_vec1::<bf16>().map_err(read).and_then(|values| Matrix::from_bf16(&values, outputs, inputs)),
            DType::F16 => flat.to_vec1::<f16>().map_err(read).and_then(|values| Matrix::from_f16(&values, outputs, inputs)),
            _ => flat.to_dtype(DType::F32).and_then(|flat| flat.to_vec1::<f32>()).map_err(read).and_then(|values| Matrix::from_f32(&values, outputs, inputs)),
        };
        matrix.map_err(|reason| format!("{name}: {reason}"))
    }

    fn row(&mut self, wanted: Name, count: usize) -> Result<Vec<f32>, String> {
        let name = name(wanted);
        let tensor = self.tensor(&name, &[count])?;
        let values = tensor.to_dtype(DType::F32).and_then(|row| row.to_vec1::<f32>()).map_err(|error| format!("{name}: {error}"))?;
        if values.iter().all(|value| value.is_finite()) { Ok(values) } else { Err(format!("{name} holds what is no number: a damaged file")) }
    }
}
