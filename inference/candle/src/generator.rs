//! Chat: one model, one thread of its own, answers one after the other.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use ajatus_inference::{
    ChatMessage, FinishReason, GenerateEvent, GenerateRequest, GenerateStream, Generator, InferenceError, ModelIdentity,
};
use async_trait::async_trait;
use candle_core::Tensor;
use tokenizers::Tokenizer;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::files::{broken, identify, pool, threads};
use crate::sample::Sampler;
use crate::stream::{Grown, TextStream};
use crate::weights::{Loaded, Network, files, load};

/// Requests waiting at most.
const QUEUE: usize = 32;

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
}

struct Job {
    tokens: Vec<u32>,
    request: GenerateRequest,
    events: mpsc::Sender<Result<GenerateEvent, InferenceError>>,
}

/// What the model's thread is asked for.
enum Asked {
    Answer(Job),
    /// Logits after each of these tokens.
    Scores(Vec<u32>, tokio::sync::oneshot::Sender<Result<Vec<Vec<f32>>, InferenceError>>),
}

/// What rendering and counting need, shared with the model's thread.
struct Words {
    tokenizer: Tokenizer,
    template: ajatus_inference::template::ChatTemplate,
    ends: Vec<u32>,
    adds_special: bool,
    context: usize,
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
        let Loaded { network, tokenizer, template, ends, context, adds_special } = load(&weights, config.adapter.as_deref())?;
        let context = config.context_tokens.map_or(context, |wanted| wanted.clamp(context.min(16), context));
        let words = Arc::new(Words { tokenizer, template, ends, adds_special, context });
        let pool = pool("chat", threads(config.threads))?;
        let (jobs, inbox) = sync_channel(QUEUE);
        let shared = Arc::clone(&words);
        let thread = std::thread::Builder::new().name("chat model".to_owned()).spawn(move || run(network, &shared, &pool, &inbox));
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
        self.ask(Asked::Scores(tokens.to_vec(), told))?;
        hearing.await.map_err(|_| broken("the chat model's thread has ended"))?
    }

    fn ask(&self, asked: Asked) -> Result<(), InferenceError> {
        let jobs = self.jobs.as_ref().ok_or_else(|| broken("the model was closed"))?;
        jobs.try_send(asked).map_err(|error| match error {
            TrySendError::Full(_) => InferenceError::Overloaded { waiting: QUEUE, limit: QUEUE },
            TrySendError::Disconnected(_) => broken("the chat model's thread has ended"),
        })
    }

    fn tokens(words: &Words, messages: &[ChatMessage]) -> Result<Vec<u32>, InferenceError> {
        let text = words.template.render(messages)?;
        let encoding = words.tokenizer.encode(text, words.adds_special).map_err(|error| InferenceError::Input { reason: error.to_string() })?;
        Ok(encoding.get_ids().to_vec())
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
        Self::tokens(&self.words, messages).map(|tokens| tokens.len())
    }

    async fn generate(&self, request: GenerateRequest) -> Result<GenerateStream, InferenceError> {
        if request.sampling.schema.is_some() {
            return Err(InferenceError::Input { reason: "a model in this process cannot be held to a JSON schema; ask for it in the prompt, or use vLLM or Ollama".to_owned() });
        }
        let tokens = Self::tokens(&self.words, &request.messages)?;
        if tokens.len() >= self.words.context {
            return Err(InferenceError::Input {
                reason: format!("the prompt has {} tokens, but the context holds {} with the answer", tokens.len(), self.words.context),
            });
        }
        let (events, stream) = mpsc::channel(64);
        self.ask(Asked::Answer(Job { tokens, request, events }))?;
        Ok(Box::pin(ReceiverStream::new(stream)))
    }
}

fn run(mut network: Network, words: &Words, pool: &rayon::ThreadPool, inbox: &Receiver<Asked>) {
    while let Ok(asked) = inbox.recv() {
        let job = match asked {
            Asked::Answer(job) => job,
            Asked::Scores(tokens, told) => {
                // One who left hears nothing.
                let found = pool.install(|| scores(&mut network, &tokens, || told.is_closed()));
                told.send(found).ok();
                continue;
            }
        };
        if job.events.is_closed() {
            continue;
        }
        let clock = std::time::Instant::now();
        let ended = pool.install(|| answer(&mut network, words, &job));
        metrics::histogram!("inference_generate_seconds").record(clock.elapsed().as_secs_f64());
        // A caller who left hears nothing.
        if let Some(last) = ended.unwrap_or_else(|error| Some(Err(error))) {
            job.events.blocking_send(last).ok();
        }
    }
}

/// Scores that are numbers: weights that hold none give none, and the word drawn of these would be no answer.
fn sound(logits: Tensor) -> Result<Tensor, InferenceError> {
    let sum: f32 = logits.sum_all().and_then(|sum| sum.to_scalar()).map_err(broken)?;
    if sum.is_finite() { Ok(logits) } else { Err(broken("its scores are no numbers; are the weights damaged, or made for another configuration?")) }
}

fn scores(network: &mut Network, tokens: &[u32], left: impl Fn() -> bool) -> Result<Vec<Vec<f32>>, InferenceError> {
    network.clear().map_err(broken)?;
    let mut scores: Vec<Vec<f32>> = Vec::with_capacity(tokens.len());
    // A token at a time: the networks give the scores after the last one only.
    for (position, token) in tokens.iter().enumerate() {
        if left() {
            return Err(broken("the caller has left"));
        }
        if scores.first().is_some_and(|row| *token as usize >= row.len()) {
            return Err(InferenceError::Input { reason: format!("token {token} is not one of this model's") });
        }
        let found = network.forward(&[*token], position);
        // Of the first token it is not known before whether the model has it.
        let found = found.map_err(|error| if position == 0 { InferenceError::Input { reason: format!("they cannot be scored: {error}") } } else { broken(error) })?;
        scores.push(sound(found)?.to_vec1().map_err(broken)?);
    }
    Ok(scores)
}

type Event = Result<GenerateEvent, InferenceError>;

/// Generates one answer; the last event, or none if the caller left.
fn answer(network: &mut Network, words: &Words, job: &Job) -> Result<Option<Event>, InferenceError> {
    network.clear().map_err(broken)?;
    let mut position = 0;
    let mut logits = None;
    // In runs, so that a caller who left is noticed before the whole prompt is read.
    for run in job.tokens.chunks(network.run_length()) {
        if job.events.is_closed() {
            return Ok(None);
        }
        logits = Some(sound(network.forward(run, position).map_err(broken)?)?);
        position += run.len();
    }
    let mut logits = logits.ok_or_else(|| InferenceError::Input { reason: "the prompt is empty".to_owned() })?;
    let mut sampler = Sampler::new(&job.request.sampling);
    let mut text = TextStream::new(&words.tokenizer, &job.request.stop);
    let most = job.request.max_tokens.min(words.context - job.tokens.len());
    let mut reason = FinishReason::Length;
    while text.tokens().len() < most {
        let token = sampler.next(&logits, text.tokens()).map_err(broken)?;
        if words.ends.contains(&token) {
            reason = FinishReason::Stop;
            break;
        }
        let (grown, stopped) = match text.push(token).map_err(broken)? {
            Grown::Text(grown) => (grown, false),
            Grown::Stopped(grown) => (grown, true),
        };
        if !grown.is_empty() && job.events.blocking_send(Ok(GenerateEvent::Text(grown))).is_err() {
            return Ok(None);
        }
        if stopped {
            reason = FinishReason::Stop;
            break;
        }
        if job.events.is_closed() {
            return Ok(None);
        }
        if text.tokens().len() < most {
            logits = sound(network.forward(&[token], position).map_err(broken)?)?;
            position += 1;
        }
    }
    let completion_tokens = text.tokens().len();
    let rest = text.finish();
    if !rest.is_empty() && job.events.blocking_send(Ok(GenerateEvent::Text(rest))).is_err() {
        return Ok(None);
    }
    Ok(Some(Ok(GenerateEvent::Done { reason, prompt_tokens: job.tokens.len(), completion_tokens })))
}
