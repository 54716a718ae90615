//! The weights of a chat model behind one face: GGUF (Llama family), or safetensors (Llama, Mistral).

use std::fs::File;
use std::path::{Path, PathBuf};

use ajatus_inference::InferenceError;
use ajatus_inference::template::ChatTemplate;
use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::safetensors::MmapedSafetensors;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;
use candle_transformers::models::quantized_llama::ModelWeights;
use candle_transformers::models::{llama, mistral};
use serde_json::Value as Json;
use tokenizers::Tokenizer;

use crate::adapter::Adapted;
use crate::files::{read, refuse, safetensors};

/// The network.
pub(crate) enum Network {
    Quantised(Box<ModelWeights>),
    Mistral(Box<mistral::Model>),
    Llama { model: Box<llama::Llama>, config: llama::Config, cache: llama::Cache },
}

/// A chat model, loaded.
pub(crate) struct Loaded {
    pub(crate) network: Network,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) template: ChatTemplate,
    /// Tokens that end an answer.
    pub(crate) ends: Vec<u32>,
    /// Tokens of prompt and answer together at most.
    pub(crate) context: usize,
    /// Whether the tokenizer adds the first token itself; a template that writes it must not get it twice.
    pub(crate) adds_special: bool,
}

impl Network {
    /// Logits of the token after `tokens`, which stand at `position`.
    pub(crate) fn forward(&mut self, tokens: &[u32], position: usize) -> candle_core::Result<Tensor> {
        let input = Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0)?;
        let logits = match self {
            Self::Quantised(model) => model.forward(&input, position)?,
            Self::Mistral(model) => model.forward(&input, position)?,
            Self::Llama { model, cache, .. } => model.forward(&input, position, cache)?,
        };
        logits.flatten_all()?.to_dtype(DType::F32)
    }

    /// Tokens of a prompt that may be taken in at once; candle's plain Llama masks only what stands at position 0.
    pub(crate) fn run_length(&self) -> usize {
        match self {
            Self::Quantised(_) | Self::Mistral(_) => 128,
            Self::Llama { .. } => usize::MAX,
        }
    }

    /// Forgets the conversation.
    pub(crate) fn clear(&mut self) -> candle_core::Result<()> {
        match self {
            Self::Quantised(model) => model.clear_kv_cache(),
            Self::Mistral(model) => model.clear_kv_cache(),
            Self::Llama { config, cache, .. } => *cache = llama::Cache::new(true, DType::F32, config, &Device::Cpu)?,
        }
        Ok(())
    }
}

/// The files that hold the weights.
pub(crate) fn files(path: &Path) -> Result<Vec<PathBuf>, InferenceError> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut found: Vec<PathBuf> = std::fs::read_dir(path)
        .map_err(|error| refuse(path, format!("{error}; run `tools/setup`, or mend the model's path in ajatus.toml")))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|file| file.extension().is_some_and(|extension| extension == "gguf"))
        .collect();
    found.sort();
    match found.len() {
        0 => safetensors(path),
        1 => Ok(found),
        _ => Err(refuse(path, "there are several GGUF files; name one of them in ajatus.toml")),
    }
}

/// Loads from a GGUF file, or from a folder with safetensors, these with an adapter if there is one.
pub(crate) fn load(files: &[PathBuf], adapter: Option<&Path>) -> Result<Loaded, InferenceError> {
    match (files, adapter) {
        ([file], Some(adapter)) if quantised(file) => {
            Err(refuse(adapter, "an adapter is added to the safetensors of its base, not to a GGUF file; name the base's folder, or merge the two first (tools/lora/merge.py)"))
        }
        ([file], None) if quantised(file) => gguf(file),
        ([first, ..], _) => folder(first.parent().unwrap_or_else(|| Path::new(".")), files, adapter),
        ([], _) => Err(refuse(Path::new("."), "there are no weights")),
    }
}

fn quantised(file: &Path) -> bool {
    file.extension().is_none_or(|extension| extension != "safetensors")
}

fn gguf(path: &Path) -> Result<Loaded, InferenceError> {
    let mut file = File::open(path).map_err(|error| refuse(path, error))?;
    let content = Content::read(&mut file).map_err(|error| refuse(path, format!("it is no GGUF file, or a damaged one: {error}")))?;
    let text = |key: &str| content.metadata.get(key).and_then(|value| value.to_string().ok()).cloned();
    let number = |key: &str| content.metadata.get(key).and_then(unsigned);
    let architecture = text("general.architecture").unwrap_or_else(|| "unknown".to_owned());
    if architecture != "llama" {
        return Err(refuse(path, format!("the architecture is {architecture:?}, but a chat model must be of the llama family (Mistral is)")));
    }
    let source = text("tokenizer.chat_template").ok_or_else(|| refuse(path, "it holds no chat template, so it is no chat model"))?;
    let mut tokenizer = crate::tokenizer::from_gguf(path, &content)?;
    tokenizer.with_padding(None);
    let special = |key: &str| number(key).and_then(|id| tokenizer.id_to_token(id)).unwrap_or_default();
    let template = ChatTemplate::new(source, special("tokenizer.ggml.bos_token_id"), special("tokenizer.ggml.eos_token_id"))?;
    let ends: Vec<u32> = ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"].iter().filter_map(|key| number(key)).collect();
    // candle lays out positions for 4,096 tokens and no more.
    let context = number("llama.context_length").map_or(2_048, |tokens| tokens as usize).min(4_096);
    let network = ModelWeights::from_gguf(content, &mut file, &Device::Cpu)
        .map_err(|error| refuse(path, format!("the weights cannot be read; is the file cut short? ({error})")))?;
    Ok(Loaded { network: Network::Quantised(Box::new(network)), tokenizer, template, ends, context, adds_special: false })
}

fn unsigned(value: &Value) -> Option<u32> {
    value.to_u32().ok().or_else(|| value.to_u64().ok().and_then(|wide| wide.try_into().ok())).or_else(|| value.to_i32().ok().and_then(|signed| signed.try_into().ok()))
}

fn folder(folder: &Path, weights: &[PathBuf], adapter: Option<&Path>) -> Result<Loaded, InferenceError> {
    let json = |name: &str| -> Result<Json, InferenceError> {
        serde_json::from_str(&read(&folder.join(name))?).map_err(|error| refuse(&folder.join(name), error))
    };
    let config = json("config.json")?;
    let path = folder.join("config.json");
    let context = config.get("max_position_embeddings").and_then(Json::as_u64).unwrap_or(2_048);
    let context = usize::try_from(context).unwrap_or(usize::MAX).min(8_192);
    let ends = match config.get("eos_token_id") {
        Some(Json::Array(ids)) => ids.iter().filter_map(Json::as_u64).filter_map(|id| id.try_into().ok()).collect(),
        Some(id) => id.as_u64().and_then(|id| id.try_into().ok()).into_iter().collect(),
        None => Vec::new(),
    };
    let device = Device::Cpu;
    // SAFETY: the map is read while loading only; a file changed by others in that moment gives wrong numbers, no more.
    #[expect(unsafe_code, reason = "candle marks memory maps unsafe")]
    let mapped = unsafe { MmapedSafetensors::multi(weights) };
    let mapped = mapped.map_err(|error| refuse(folder, format!("the weights cannot be read: {error}")))?;
    let variables: Box<dyn SimpleBackend> = match adapter {
        Some(adapter) => Box::new(Adapted::open(mapped, adapter)?),
        None => Box::new(mapped),
    };
    let variables = VarBuilder::from_backend(variables, DType::F32, device.clone());
    let misfit = |error: candle_core::Error| refuse(folder, format!("the weights do not fit config.json: {error}"));
    let network = match config.get("model_type").and_then(Json::as_str).unwrap_or("unknown") {
        "mistral" => {
            let mut own = config.clone();
            if let Some(fields) = own.as_object_mut() {
                // The field is null where there is none.
                if fields.get("head_dim").is_some_and(Json::is_null) {
                    fields.remove("head_dim");
                }
            }
            let parsed: mistral::Config = serde_json::from_value(own).map_err(|error| refuse(&path, error))?;
            Network::Mistral(Box::new(mistral::Model::new(&parsed, variables).map_err(misfit)?))
        }
        "llama" => {
            let parsed: llama::LlamaConfig = serde_json::from_value(config.clone()).map_err(|error| refuse(&path, error))?;
            let parsed = parsed.into_config(false);
            let cache = llama::Cache::new(true, DType::F32, &parsed, &device).map_err(misfit)?;
            Network::Llama { model: Box::new(llama::Llama::load(variables, &parsed).map_err(misfit)?), config: parsed, cache }
        }
        other => return Err(refuse(&path, format!("the architecture is {other:?}, but a chat model must be \"llama\" or \"mistral\""))),
    };
    let tokenizer_path = folder.join("tokenizer.json");
    let tokenizer = Tokenizer::from_file(&tokenizer_path).map_err(|error| refuse(&tokenizer_path, error))?;
    let settings = json("tokenizer_config.json")?;
    let source = settings.get("chat_template").and_then(Json::as_str).map(str::to_owned);
    let source = source.ok_or_else(|| refuse(&folder.join("tokenizer_config.json"), "it holds no chat_template, so it is no chat model"))?;
    let token = |name: &str| match settings.get(name) {
        Some(Json::String(text)) => text.clone(),
        Some(Json::Object(fields)) => fields.get("content").and_then(Json::as_str).unwrap_or_default().to_owned(),
        _ => String::new(),
    };
    let template = ChatTemplate::new(source, token("bos_token"), token("eos_token"))?;
    Ok(Loaded { network, tokenizer, template, ends, context, adds_special: false })
}
