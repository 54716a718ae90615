//! Sentence embeddings: BERT, mean over the tokens, length 1.
//!
//! Texts are cut into batches of like length, so that little is padding; one text alone gets all threads, many batches get a
//! thread each (twice the rate of all threads on one batch).

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use ajatus_inference::{Embedder, Embedding, InferenceError, ModelIdentity, TextTokens};
use async_trait::async_trait;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use serde::Deserialize;
use tokenizers::Tokenizer;

use crate::files::{broken, identify, pool, read, refuse, safetensors, threads};

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
    /// Tokens of a batch, padding counted. Default 512.
    pub batch_tokens: usize,
    /// Tokens of a text at most; the rest is cut. Default: the model's own limit (`sentence_bert_config.json`), else 256.
    pub max_tokens: Option<usize>,
}

impl Default for EmbedderConfig {
    fn default() -> Self {
        Self { path: PathBuf::new(), name: String::new(), weights: None, threads: None, batch_tokens: 512, max_tokens: None }
    }
}

#[derive(Deserialize)]
struct Limits {
    max_seq_length: usize,
}

struct Model {
    bert: BertModel,
    tokenizer: Tokenizer,
    /// The same without a limit, for whoever asks how long a text is.
    counter: OnceLock<Tokenizer>,
    max_tokens: usize,
    batch_tokens: usize,
    dimension: usize,
    /// All threads on one batch, for a caller who waits for one text.
    together: rayon::ThreadPool,
    /// A batch each, for many.
    apart: Vec<rayon::ThreadPool>,
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
        let identity = identify(&config.name, &weights, config.weights.as_deref())?;
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
        let device = Device::Cpu;
        // SAFETY: the map is read while loading only; a file changed by others in that moment gives wrong numbers, no more.
        #[expect(unsafe_code, reason = "candle marks memory maps unsafe")]
        let variables = unsafe { VarBuilder::from_mmaped_safetensors(&weights, DType::F32, &device) };
        let variables = variables.map_err(|error| refuse(&config.path, format!("the weights cannot be read: {error}")))?;
        let bert = BertModel::load(variables, &bert_config).map_err(|error| refuse(&config.path, format!("the weights do not fit config.json: {error}")))?;
        let count = threads(config.threads);
        let model = Model {
            bert,
            tokenizer,
            counter: OnceLock::new(),
            max_tokens,
            batch_tokens: config.batch_tokens.max(1),
            dimension: bert_config.hidden_size,
            together: pool("embed", count)?,
            apart: (0..count).map(|_| pool("embed apart", 1)).collect::<Result<_, _>>()?,
        };
        Ok(Self { identity, model: Arc::new(model) })
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
        rows.sort_by_key(|(_, ids)| ids.len());
        let batches = self.batches(rows);
        let done: Vec<Result<Vec<(usize, Embedding)>, InferenceError>> = if let [only] = batches.as_slice() {
            vec![self.together.install(|| self.batch(only))]
        } else {
            let lanes = self.apart.len();
            let shares: Vec<Vec<&Vec<(usize, Vec<u32>)>>> =
                (0..lanes).map(|lane| batches.iter().skip(lane).step_by(lanes).collect()).collect();
            std::thread::scope(|scope| {
                let running: Vec<_> = shares
                    .into_iter()
                    .zip(&self.apart)
                    .map(|(share, lane)| scope.spawn(move || lane.install(|| share.into_iter().map(|batch| self.batch(batch)).collect::<Vec<_>>())))
                    .collect();
                running.into_iter().flat_map(|lane| lane.join().unwrap_or_else(|_| vec![Err(broken("the embedding model panicked"))])).collect()
            })
        };
        for batch in done {
            for (at, vector) in batch? {
                answers[at] = Some(Ok(vector));
            }
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

    /// Neighbours in length together, each batch within the budget, at least one text.
    fn batches(&self, rows: Vec<(usize, Vec<u32>)>) -> Vec<Vec<(usize, Vec<u32>)>> {
        let mut batches: Vec<Vec<(usize, Vec<u32>)>> = Vec::new();
        for row in rows {
            match batches.last_mut() {
                Some(batch) if (batch.len() + 1) * row.1.len() <= self.batch_tokens => batch.push(row),
                _ => batches.push(vec![row]),
            }
        }
        batches
    }

    fn batch(&self, rows: &[(usize, Vec<u32>)]) -> Result<Vec<(usize, Embedding)>, InferenceError> {
        let long = rows.iter().map(|(_, ids)| ids.len()).max().unwrap_or(0);
        let (mut ids, mut mask) = (Vec::with_capacity(rows.len() * long), Vec::with_capacity(rows.len() * long));
        for (_, row) in rows {
            ids.extend(row.iter().copied().chain(std::iter::repeat_n(0, long - row.len())));
            mask.extend(std::iter::repeat_n(1_u32, row.len()).chain(std::iter::repeat_n(0, long - row.len())));
        }
        let vectors = self.forward(ids, mask, (rows.len(), long)).map_err(broken)?;
        Ok(rows.iter().map(|(at, _)| *at).zip(vectors).collect())
    }

    /// Mean over the tokens that are not padding, then length 1: the mean strategy of Reimers and Gurevych (2019), section 3.
    fn forward(&self, ids: Vec<u32>, mask: Vec<u32>, shape: (usize, usize)) -> candle_core::Result<Vec<Embedding>> {
        let device = Device::Cpu;
        let ids = Tensor::from_vec(ids, shape, &device)?;
        let mask = Tensor::from_vec(mask, shape, &device)?;
        let hidden = self.bert.forward(&ids, &ids.zeros_like()?, Some(&mask))?;
        let mask = mask.to_dtype(DType::F32)?.unsqueeze(2)?;
        let mean = hidden.broadcast_mul(&mask)?.sum(1)?.broadcast_div(&mask.sum(1)?)?;
        let unit = mean.broadcast_div(&mean.sqr()?.sum_keepdim(1)?.sqrt()?)?;
        unit.to_vec2::<f32>()
    }
}
