//! The ports to models: [`Embedder`] and [`Generator`].
//!
//! Operations: embed a batch of texts; generate text as a stream of events.
//! Guarantees: one result per input, in the order of the inputs; one bad input fails alone; a dropped stream or future
//! cancels the work at the device; the same model, text and device give the same embedding whatever else is in the batch
//! (to 1e-5 in every component).
//! Not guaranteed: equal generated text across machines or versions.
//! Failure: [`InferenceError`], one variant per thing a caller does differently.

use std::pin::Pin;
use std::time::Duration;

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
    /// The backend broke; another backend may answer, and so may this one with other input.
    #[error("the model's backend failed: {reason}")]
    Backend {
        /// What it said.
        reason: String,
    },
    /// Nobody answers there; another backend may answer, or this one later.
    #[error("nobody answers at {address}: {reason}; start the server there, or mend its url in ajatus.toml")]
    Unreachable {
        /// Whose address.
        address: String,
        /// What the connection said.
        reason: String,
    },
    /// The server is there and wants fewer requests; another backend may answer, or this one later.
    #[error("the server at {address} takes no more requests now{}", again(retry_after))]
    Throttled {
        /// Whose address.
        address: String,
        /// When to come again, if it said so.
        retry_after: Option<Duration>,
    },
    /// The server refuses us, whatever we ask: a wrong key, a wrong address, a model that it does not have.
    #[error("the server at {address} refuses: {reason}")]
    Refused {
        /// Whose address.
        address: String,
        /// What it said, and what to do.
        reason: String,
    },
    /// The server's answer is not what its interface says; is it the right kind of server?
    #[error("the server at {address} answered what cannot be understood: {reason}; is this the right kind of server?")]
    Garbled {
        /// Whose address.
        address: String,
        /// What was wrong.
        reason: String,
    },
    /// An answer ended in its middle. Trying again may help, from the start.
    #[error("the answer broke off: {reason}; ask again")]
    BrokenOff {
        /// What happened.
        reason: String,
    },
}

fn again(retry_after: &Option<Duration>) -> String {
    retry_after.map_or_else(String::new, |pause| format!("; it asks to come again in {} s", pause.as_secs_f64().ceil()))
}

impl InferenceError {
    /// Whether the same may succeed later without anybody changing what is asked.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        !matches!(self, Self::Input { .. } | Self::Model { .. })
    }

    /// Whether asking with fewer inputs may succeed.
    #[must_use]
    pub fn may_be_the_inputs_fault(&self) -> bool {
        matches!(self, Self::Input { .. } | Self::Backend { .. })
    }

    /// Whether another backend may answer what this one did not.
    #[must_use]
    pub fn another_may_answer(&self) -> bool {
        !matches!(self, Self::Input { .. })
    }

    /// Whether it counts against the backend. A full queue of ours does not, nor does a bad input.
    #[must_use]
    pub fn blames_the_backend(&self) -> bool {
        !matches!(self, Self::Input { .. } | Self::Overloaded { .. })
    }

    /// The kind in a word, as metrics name it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Input { .. } => "input",
            Self::Model { .. } => "model",
            Self::Overloaded { .. } => "overloaded",
            Self::Timeout { .. } => "timeout",
            Self::Backend { .. } => "backend",
            Self::Unreachable { .. } => "unreachable",
            Self::Throttled { .. } => "throttled",
            Self::Refused { .. } => "refused",
            Self::Garbled { .. } => "garbled",
            Self::BrokenOff { .. } => "broken_off",
        }
    }
}

/// Whose turn in a queue an input takes: a user, or a piece of work. It says nothing about who may see what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Party(pub u128);

/// Tokens of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextTokens {
    /// All of them.
    pub all: usize,
    /// Those that the model reads; the rest is cut.
    pub read: usize,
}

impl TextTokens {
    /// Whether something is cut.
    #[must_use]
    pub fn truncated(self) -> bool {
        self.all > self.read
    }
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

    /// As [`Self::embed`], with the party of each text, so that a queue lets parties take turns. Default: there is no queue.
    ///
    /// # Errors
    /// As [`Self::embed`].
    async fn embed_for(&self, texts: Vec<(Party, String)>) -> Result<Vec<Result<Embedding, InferenceError>>, InferenceError> {
        self.embed(texts.into_iter().map(|(_, text)| text).collect()).await
    }

    /// Tokens of a text that the model reads at most; the rest is cut. Default: not known, so no bound.
    fn max_tokens(&self) -> usize {
        usize::MAX
    }

    /// Counts the tokens of texts. Default: `None`, the model cannot say without embedding them.
    fn measure(&self, _texts: &[String]) -> Option<Vec<TextTokens>> {
        None
    }
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
    /// Keep so many of the most probable tokens. Default: all.
    pub top_k: Option<usize>,
    /// Divide the logits of tokens already seen by this. Default 1.1, 1 is off.
    pub repetition_penalty: f32,
    /// Seed of the draw; the same seed, model and machine give the same text. Default 42.
    pub seed: u64,
    /// Only tokens that keep the answer within this JSON schema. Default: free text. See [`Generator::structured`].
    pub schema: Option<serde_json::Value>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.2, top_p: 0.9, top_k: None, repetition_penalty: 1.1, seed: 42, schema: None }
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

/// A generation, and which model answers it.
pub struct Started {
    /// The one that answers.
    pub model: ModelIdentity,
    /// What it says.
    pub events: GenerateStream,
}

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

    /// As [`Self::generate`], and says which model answers: not always [`Self::model`] where several stand in for each other.
    ///
    /// # Errors
    /// As [`Self::generate`].
    async fn start(&self, request: GenerateRequest) -> Result<Started, InferenceError> {
        let events = self.generate(request).await?;
        Ok(Started { model: self.model().clone(), events })
    }

    /// Whether it can hold an answer to [`Sampling::schema`]; one that cannot refuses such a request. Default: it cannot.
    fn structured(&self) -> bool {
        false
    }
}
