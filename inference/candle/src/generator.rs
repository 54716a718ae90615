//! Chat: one model, one thread of its own, several answers at once.

use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};

use ajatus_inference::{ChatMessage, GenerateRequest, GenerateStream, Generator, InferenceError, ModelIdentity};
use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::device::Device;
use crate::files::{broken, identify, pool, threads};
use crate::load::{Loaded, Wish, files, load};
use crate::schedule::{self, Asked, Limits};
use crate::words::Words;

/// Requests waiting at most.
const QUEUE: usize = 32;
/// Answers at once, where nobody says otherwise.
const SEQUENCES: usize = 8;
/// Bytes of their keys and values, where nobody says otherwise.
const CACHE_BYTES: usize = 2 << 30;

/// Which model and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GeneratorConfig {
    /// A GGUF file, a folder with one, or a folder with safetensors.
    pub path: PathBuf,
    /// Name people use.
    pub name: String,
    /// First 16 hex digits of the weights' BLAKE3 hash, the adapter's included; another file is refused. Default: not checked.
    pub weights: Option<String>,
    /// A folder with a LoRA adapter as peft writes it, added to a base of safetensors. Default none.
    pub adapter: Option<PathBuf>,
    /// Threads. Default: one per core.
    pub threads: Option<usize>,
    /// Tokens of prompt and answer together at most. Default: what the model's file says, at most 8,192.
    pub context_tokens: Option<usize>,
    /// Answers at once; more wait. Default 8.
    pub sequences: Option<usize>,
    /// Bytes of keys and values that these keep at most; one answer is begun whatever it needs. Default 2 GiB.
    pub cache_bytes: Option<usize>,
    /// Where it is computed. On a GPU by candle, one answer after the other. Default: the processor.
    pub device: Device,
    /// By candle on the processor too, one answer after the other: the reference. Default false.
    pub reference: bool,
}

/// A chat model in this process.
pub struct CandleGenerator {
    identity: ModelIdentity,
    words: Arc<Words>,
    jobs: Option<SyncSender<Asked>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl CandleGenerator {
    /// Loads a model. Blocks: call it off the reactor.
    ///
    /// # Errors
    /// [`InferenceError::Model`] naming the file: missing, damaged, another architecture, another hash.
    #[expect(clippy::needless_pass_by_value, reason = "a configuration is given away")]
    pub fn load(config: GeneratorConfig) -> Result<Self, InferenceError> {
        let weights = files(&config.path)?;
        let identity = identify(&config.name, &weights, config.adapter.as_deref(), config.weights.as_deref())?;
        let Loaded { decoder, tokenizer, template, ends, context, adds_special } = load(&weights, config.adapter.as_deref(), Wish { context: config.context_tokens, device: config.device, reference: config.reference })?;
        let vocabulary = decoder.shape().vocabulary;
        let words = Arc::new(Words { tokenizer, template, ends, adds_special, context, vocabulary, grammar: OnceLock::new() });
        let pool = pool("chat", threads(config.threads))?;
        let limits = Limits { sequences: config.sequences.unwrap_or(SEQUENCES).clamp(1, decoder.sequences()), bytes: config.cache_bytes.unwrap_or(CACHE_BYTES) };
        let (jobs, inbox) = sync_channel(QUEUE);
        let shared = Arc::clone(&words);
        let thread = std::thread::Builder::new().name("chat model".to_owned()).spawn(move || pool.install(move || schedule::run(&decoder, &shared, limits, &inbox)));
        Ok(Self { identity, words, jobs: Some(jobs), thread: Some(thread.map_err(broken)?) })
    }

    /// The model's scores of every next token after each of `tokens`: a row of one number per word of its vocabulary for each, not normalised. With
    /// them a validator checks an answer that somebody else claims, token by token.
    ///
    /// # Errors
    /// [`InferenceError::Input`] for no tokens, more than the context holds, or a token that the model does not have;
    /// [`InferenceError::Overloaded`] if too many wait.
    pub async fn logits(&self, tokens: &[u32]) -> Result<Vec<Vec<f32>>, InferenceError> {
        if tokens.is_empty() || tokens.len() > self.words.context {
            return Err(InferenceError::Input { reason: format!("{} tokens cannot be scored; 1 to {} can", tokens.len(), self.words.context) });
        }
        let (told, hearing) = tokio::sync::oneshot::channel();
        self.ask(Asked::Scores { tokens: tokens.to_vec(), told })?;
        hearing.await.map_err(|_| broken("the chat model's thread has ended"))?
    }

    fn ask(&self, asked: Asked) -> Result<(), InferenceError> {
        let jobs = self.jobs.as_ref().ok_or_else(|| broken("the model was closed"))?;
        jobs.try_send(asked).map_err(|error| match error {
            TrySendError::Full(_) => InferenceError::Overloaded { waiting: QUEUE, limit: QUEUE },
            TrySendError::Disconnected(_) => broken("the chat model's thread has ended"),
        })
    }
}

impl Drop for CandleGenerator {
    fn drop(&mut self) {
        // The thread ends when nobody can send; an answer it is at ends when its caller has left, or is finished.
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

#[async_trait]
impl Generator for CandleGenerator {
    fn model(&self) -> &ModelIdentity {
        &self.identity
    }

    fn context_tokens(&self) -> usize {
        self.words.context
    }

    async fn count_tokens(&self, messages: &[ChatMessage]) -> Result<usize, InferenceError> {
        self.words.prompt(messages).map(|tokens| tokens.len())
    }

    async fn generate(&self, request: GenerateRequest) -> Result<GenerateStream, InferenceError> {
        let tokens = self.words.prompt(&request.messages)?;
        if tokens.len() >= self.words.context {
            return Err(InferenceError::Input {
                reason: format!("the prompt has {} tokens, but the context holds {} with the answer", tokens.len(), self.words.context),
            });
        }
        if tokens.is_empty() {
            return Err(InferenceError::Input { reason: "the prompt is empty".to_owned() });
        }
        let guide = match request.sampling.schema.clone() {
            None => None,
            Some(schema) => {
                let words = Arc::clone(&self.words);
                // A large schema takes a while, and the first one the whole vocabulary.
                let guide = tokio::task::spawn_blocking(move || words.guide(&schema)).await.map_err(broken)??;
                Some(Box::new(guide))
            }
        };
        let (events, stream) = mpsc::unbounded_channel();
        self.ask(Asked::Answer { tokens, request, guide, events })?;
        Ok(Box::pin(UnboundedReceiverStream::new(stream)))
    }

    fn structured(&self) -> bool {
        true
    }
}
