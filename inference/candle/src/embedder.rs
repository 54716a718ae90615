//! Sentence embeddings: BERT, mean over the tokens, length 1.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use ajatus_inference::{Embedder, Embedding, InferenceError, ModelIdentity, TextTokens};
use async_trait::async_trait;
use candle_core::DType;
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use serde::Deserialize;
use tokenizers::Tokenizer;

use crate::device::Device;
use crate::encoder::{Encoder, Kernel};
use crate::files::{broken, identify, read, refuse, safetensors, threads};
use crate::packed::Packed;
use crate::padded::Padded;

/// What computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// Our own encoder, without padding, where it can compute the model, by the fastest kernel that the precision allows; candle otherwise.
    #[default]
    Packed,
    /// Our own encoder by this kernel, whatever the precision says; refused where the processor does not have it or the model is none of ours.
    By(Kernel),
    /// candle: the reference.
    Candle,
}

/// The numbers that are multiplied; they are added up as `f32` always.
///
/// Vectors of either are vectors of one model: cosine at least 0.9999, no component off by more than 0.002. Only `f32` gives the same bits on
/// every processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// `bf16` where the processor multiplies it, `f32` otherwise.
    #[default]
    Auto,
    /// `f32`.
    F32,
    /// `bf16`; refused where the processor does not multiply it, or the model is not one that our own encoder computes.
    Bf16,
}

impl Precision {
    /// The fastest kernel here.
    fn kernel(self) -> Option<Kernel> {
        Kernel::ALL.into_iter().filter(|kernel| kernel.available()).find(|kernel| match self {
            Self::Auto => true,
            Self::F32 => kernel.exact(),
            Self::Bf16 => *kernel == Kernel::Bf16,
        })
    }
}

/// Which model and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbedderConfig {
    /// Folder with `config.json`, `tokenizer.json` and the weights.
    pub path: PathBuf,
    /// Name people use.
    pub name: String,
    /// First 16 hex digits of the weights' BLAKE3 hash; another file is refused. Default: not checked.
    pub weights: Option<String>,
    /// Threads. Default: one per core.
    pub threads: Option<usize>,
    /// What computes. Default: our own encoder.
    pub engine: Engine,
    /// The numbers that our own encoder multiplies. Default: the fastest that the processor has.
    pub precision: Precision,
    /// Where it is computed; on a GPU by candle, in `bf16` unless `f32` is asked for. Default: the processor.
    pub device: Device,
    /// Tokens of a batch of candle's, padding counted. Default 512.
    pub batch_tokens: usize,
    /// Tokens of a text at most; the rest is cut. Default: the model's own limit (`sentence_bert_config.json`), else 256.
    pub max_tokens: Option<usize>,
}

impl Default for EmbedderConfig {
    fn default() -> Self {
        Self { path: PathBuf::new(), name: String::new(), weights: None, threads: None, engine: Engine::Packed, precision: Precision::Auto, device: Device::Cpu, batch_tokens: 512, max_tokens: None }
    }
}

#[derive(Deserialize)]
struct Limits {
    max_seq_length: usize,
}

struct Model {
    network: Network,
    tokenizer: Tokenizer,
    /// The same without a limit, for whoever asks how long a text is.
    counter: OnceLock<Tokenizer>,
    max_tokens: usize,
    dimension: usize,
}

enum Network {
    Packed(Box<Packed>),
    Padded(Box<Padded>),
}

/// An embedding model in this process.
pub struct CandleEmbedder {
    identity: ModelIdentity,
    model: Arc<Model>,
}

impl CandleEmbedder {
    /// Loads a model. Blocks: call it off the reactor.
    ///
    /// # Errors
    /// [`InferenceError::Model`] naming the file: missing, damaged, another architecture, another hash.
    #[expect(clippy::needless_pass_by_value, reason = "a configuration is given away")]
    pub fn load(config: EmbedderConfig) -> Result<Self, InferenceError> {
        let path = |name: &str| config.path.join(name);
        let weights = safetensors(&config.path)?;
        let identity = identify(&config.name, &weights, None, config.weights.as_deref())?;
        let text = read(&path("config.json"))?;
        let raw: serde_json::Value = serde_json::from_str(&text).map_err(|error| refuse(&path("config.json"), error))?;
        let architecture = raw.get("model_type").and_then(|value| value.as_str()).unwrap_or("unknown");
        if architecture != "bert" {
            return Err(refuse(&path("config.json"), format!("the architecture is {architecture:?}, but an embedding model must be \"bert\"")));
        }
        let bert_config: Config = serde_json::from_value(raw).map_err(|error| refuse(&path("config.json"), error))?;
        let own_limit = std::fs::read_to_string(path("sentence_bert_config.json")).ok().and_then(|text| serde_json::from_str::<Limits>(&text).ok());
        let most = bert_config.max_position_embeddings;
        let max_tokens = config.max_tokens.or(own_limit.map(|limits| limits.max_seq_length)).unwrap_or(256).clamp(2, most);
        let mut tokenizer = Tokenizer::from_file(path("tokenizer.json")).map_err(|error| refuse(&path("tokenizer.json"), error))?;
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(Some(tokenizers::TruncationParams { max_length: max_tokens, ..Default::default() }))
            .map_err(|error| refuse(&path("tokenizer.json"), error))?;
        let device = config.device.open()?;
        let dtype = match (config.device, config.precision) {
            (Device::Cuda(_), Precision::Auto | Precision::Bf16) => DType::BF16,
            _ => DType::F32,
        };
        // SAFETY: the map is read while loading only; a file changed by others in that moment gives wrong numbers, no more.
        #[expect(unsafe_code, reason = "candle marks memory maps unsafe")]
        let variables = unsafe { VarBuilder::from_mmaped_safetensors(&weights, dtype, &device) };
        let variables = variables.map_err(|error| refuse(&config.path, format!("the weights cannot be read: {error}")))?;
        let count = threads(config.threads);
        let misfit = |error: candle_core::Error| refuse(&config.path, format!("the weights do not fit config.json: {error}"));
        let kernel = choose(&config, Encoder::fits(&bert_config))?;
        let network = if let Some(kernel) = kernel {
            let encoder = Encoder::load(&variables, &bert_config, kernel).map_err(misfit)?;
            tracing::info!(model = identity.id(), embedding.kernel = ?kernel, "embeddings by our own encoder");
            Network::Packed(Box::new(Packed::new(encoder, count)?))
        } else {
            let bert = BertModel::load(variables, &bert_config).map_err(misfit)?;
            tracing::info!(model = identity.id(), "embeddings by candle");
            Network::Padded(Box::new(Padded::new(bert, device, config.batch_tokens, count)?))
        };
        let model = Model {
            network,
            tokenizer,
            counter: OnceLock::new(),
            max_tokens,
            dimension: bert_config.hidden_size,
        };
        Ok(Self { identity, model: Arc::new(model) })
    }
}

/// The kernel of our own encoder, or none where candle computes; `fits` says whether the model is one of ours.
///
/// # Errors
/// [`InferenceError::Model`] if what is asked for cannot be had here.
fn choose(config: &EmbedderConfig, fits: bool) -> Result<Option<Kernel>, InferenceError> {
    let foreign = |what: &str| Err(refuse(&config.path, format!("{what} is asked for, but this model is not one that our own encoder computes (BERT, GELU, whole panels); set precision to \"auto\"")));
    let missing = |kernel: Kernel| Err(refuse(&config.path, format!("{kernel:?} is asked for, but this processor does not have its instructions; set precision to \"auto\" or \"f32\"")));
    match (config.engine, config.precision) {
        (Engine::Candle, _) => Ok(None),
        _ if config.device != Device::Cpu => Ok(None),
        (Engine::By(kernel), _) if !fits => foreign(&format!("{kernel:?}")),
        (Engine::By(kernel), _) if !kernel.available() => missing(kernel),
        (Engine::By(kernel), _) => Ok(Some(kernel)),
        (Engine::Packed, Precision::Bf16) if !fits => foreign("bf16"),
        (Engine::Packed, _) if !fits => Ok(None),
        (Engine::Packed, precision) => precision.kernel().map_or_else(|| missing(Kernel::Bf16), |kernel| Ok(Some(kernel))),
    }
}

#[async_trait]
impl Embedder for CandleEmbedder {
    fn model(&self) -> &ModelIdentity {
        &self.identity
    }

    fn dimension(&self) -> usize {
        self.model.dimension
    }

    fn max_tokens(&self) -> usize {
        self.model.max_tokens
    }

    fn measure(&self, texts: &[String]) -> Option<Vec<TextTokens>> {
        texts.iter().map(|text| self.model.measure(text)).collect()
    }

    async fn embed(&self, texts: Vec<String>) -> Result<Vec<Result<Embedding, InferenceError>>, InferenceError> {
        let model = Arc::clone(&self.model);
        tokio::task::spawn_blocking(move || model.embed(&texts)).await.map_err(|_| broken("the embedding model panicked"))?
    }
}

impl Model {
    fn embed(&self, texts: &[String]) -> Result<Vec<Result<Embedding, InferenceError>>, InferenceError> {
        let mut rows: Vec<(usize, Vec<u32>)> = Vec::with_capacity(texts.len());
        let mut answers: Vec<Option<Result<Embedding, InferenceError>>> = vec![None; texts.len()];
        for (at, text) in texts.iter().enumerate() {
            match self.tokenizer.encode(text.as_str(), true) {
                Ok(encoding) => {
                    if !encoding.get_overflowing().is_empty() {
                        metrics::counter!("inference_truncated_total").increment(1);
                    }
                    rows.push((at, encoding.get_ids().to_vec()));
                }
                Err(error) => answers[at] = Some(Err(InferenceError::Input { reason: error.to_string() })),
            }
        }
        let vectors = match &self.network {
            Network::Packed(packed) => packed.embed(&rows)?,
            Network::Padded(padded) => padded.embed(rows)?,
        };
        for (at, vector) in vectors {
            // Only broken weights or a broken processor do this; what is not finite must not come near a distance.
            let whole = vector.iter().all(|value| value.is_finite());
            answers[at] = Some(if whole { Ok(vector) } else { Err(broken("the model's vector holds a value that is not finite")) });
        }
        Ok(answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(broken("a text was lost")))).collect())
    }

    fn measure(&self, text: &str) -> Option<TextTokens> {
        let counter = self.counter.get_or_init(|| {
            let mut counter = self.tokenizer.clone();
            // Taking a limit away cannot fail.
            counter.with_truncation(None).ok();
            counter
        });
        let all = counter.encode_fast(text, true).ok()?.len();
        Some(TextTokens { all, read: all.min(self.max_tokens) })
    }
}
