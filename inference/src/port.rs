//! The ports to models: [`Embedder`] and [`Generator`].
//!
//! Operations: embed a batch of texts; generate text as a stream of events.
//! Guarantees: one result per input, in the order of the inputs; one bad input fails alone; a dropped stream or future
//! cancels the work at the device; the same model, text and device give the same embedding whatever else is in the batch
//! (to 1e-5 in every component).
//! Not guaranteed: equal generated text across machines or versions.
//! Failure: [`InferenceError`], one variant per thing a caller does differently.

use std::pin::Pin;

use async_trait::async_trait;
use futures::Stream;
use serde::{Deserialize, Serialize};

/// A model and the exact weights.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ModelIdentity {
    /// Name people use, e.g. `all-MiniLM-L6-v2`.
    pub name: String,
    /// First 16 hex digits of the BLAKE3 hash of the weights file(s).
    pub weights: String,
}

impl ModelIdentity {
    /// `name@weights`, as it stands in memo keys and beside vectors.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}@{}", self.name, self.weights)
    }
}

/// One text's vector: length 1, `[dimension]`.
pub type Embedding = Vec<f32>;

/// Why a model could not answer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InferenceError {
    /// The input cannot be answered whatever is tried, e.g. it is longer than the context; do not retry.
    #[error("the model refuses the input: {reason}")]
    Input {
        /// What is wrong with it and what would be accepted.
        reason: String,
    },
    /// The model's files cannot be used (missing, wrong hash, unknown architecture, truncated, NaN); mend the
    /// configuration.
    #[error("the model in {path:?} cannot be loaded: {reason}")]
    Model {
        /// File or folder.
        path: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// More requests are waiting than the queue holds; try again later.
    #[error("{waiting} requests are waiting, the queue holds {limit}")]
    Overloaded {
        /// Requests waiting.
        waiting: usize,
        /// The queue's capacity.
        limit: usize,
    },
    /// The deadline passed; trying again may help.
    #[error("no answer within {limit_ms} ms")]
    Timeout {
        /// The deadline.
        limit_ms: u64,
    },
    /// The backend broke or is gone; another backend may answer.
    #[error("the model's backend failed: {reason}")]
    Backend {
        /// What it said.
        reason: String,
    },
}

/// Makes vectors of texts.
#[async_trait]
pub trait Embedder: Send + Sync + 'static {
    /// Which model answers.
    fn model(&self) -> &ModelIdentity;

    /// Components of a vector.
    fn dimension(&self) -> usize;

    /// Embeds the texts: one result each, in order. Texts past the model's length are truncated (counted in the metric
    /// `inference_truncated_total`); empty text is embedded as the model embeds it.
    ///
    /// # Errors
    /// The outer error fails the whole call ([`InferenceError::Overloaded`], [`InferenceError::Backend`],
    /// [`InferenceError::Timeout`]); an inner one fails its own text.
    async fn embed(&self, texts: Vec<String>) -> Result<Vec<Result<Embedding, InferenceError>>, InferenceError>;
}

/// Who speaks in a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChatRole {
    /// Instructions.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// One message of a prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Who speaks.
    pub role: ChatRole,
    /// The words.
    pub content: String,
}

/// How the next token is chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sampling {
    /// 0 is greedy. Default 0.2, 0 to 2.
    pub temperature: f64,
    /// Keep the smallest set of tokens with this much probability. Default 0.9, above 0 to 1.
    pub top_p: f64,
    /// Divide the logits of tokens already seen by this. Default 1.1, 1 is off.
    pub repetition_penalty: f32,
    /// Seed of the draw; the same seed, model and machine give the same text. Default 42.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.2, top_p: 0.9, repetition_penalty: 1.1, seed: 42 }
    }
}

/// What to generate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GenerateRequest {
    /// The conversation; rendered by the model's own chat template.
    pub messages: Vec<ChatMessage>,
    /// Most tokens to generate.
    pub max_tokens: usize,
    /// Generation ends before any of these texts; they are not part of the answer.
    pub stop: Vec<String>,
    /// How tokens are chosen.
    pub sampling: Sampling,
}

/// Why generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended, or a stop text came.
    Stop,
    /// `max_tokens` or the context was used up.
    Length,
}

/// What a generation says as it goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GenerateEvent {
    /// More text: whole characters only, never part of a stop text.
    Text(String),
    /// The end, exactly once, last.
    Done {
        /// Why.
        reason: FinishReason,
        /// Tokens of the rendered prompt.
        prompt_tokens: usize,
        /// Tokens generated.
        completion_tokens: usize,
    },
}

/// Events of one generation; dropping it stops the work at the device before its next token.
pub type GenerateStream = Pin<Box<dyn Stream<Item = Result<GenerateEvent, InferenceError>> + Send>>;

/// Generates text.
#[async_trait]
pub trait Generator: Send + Sync + 'static {
    /// Which model answers.
    fn model(&self) -> &ModelIdentity;

    /// Most tokens of prompt and answer together.
    fn context_tokens(&self) -> usize;

    /// Counts the tokens of a prompt as the model will see it, template included.
    ///
    /// # Errors
    /// [`InferenceError::Input`] if the template refuses the messages.
    async fn count_tokens(&self, messages: &[ChatMessage]) -> Result<usize, InferenceError>;

    /// Starts a generation.
    ///
    /// # Errors
    /// [`InferenceError::Input`] if the prompt does not fit the context with at least one token to spare;
    /// [`InferenceError::Overloaded`].
    async fn generate(&self, request: GenerateRequest) -> Result<GenerateStream, InferenceError>;
}
