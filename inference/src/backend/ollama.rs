//! Ollama: chat and embeddings.
//!
//! Its context is set with every request: left to itself the server takes a small one and drops the beginning of a longer prompt
//! without a word.

use std::sync::OnceLock;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::http::{Server, in_envelope};
use super::talk::{Read, Said, events};
use super::vector::in_order;
use super::vllm::{estimate, seed};
use crate::chain::Probe;
use crate::port::{
    ChatMessage, Embedder, Embedding, FinishReason, GenerateRequest, GenerateStream, Generator, InferenceError, ModelIdentity,
};

/// Which model of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OllamaConfig {
    /// Name as `ollama list` shows it; without a tag it is `:latest`.
    pub model: String,
    /// Tokens of prompt and answer at most. Default 4,096; more costs the server memory.
    pub context_tokens: usize,
}

impl OllamaConfig {
    /// A model with the defaults.
    #[must_use]
    pub fn new(model: &str) -> Self {
        Self { model: model.to_owned(), context_tokens: 4_096 }
    }
}

struct Model {
    server: Server,
    config: OllamaConfig,
    unknown: ModelIdentity,
    known: OnceLock<ModelIdentity>,
}

#[derive(Deserialize)]
struct Tags {
    models: Vec<Tag>,
}

#[derive(Deserialize)]
struct Tag {
    name: String,
    #[serde(default)]
    digest: String,
}

impl Model {
    fn new(server: Server, config: OllamaConfig) -> Self {
        let unknown = ModelIdentity { name: config.model.clone(), weights: "unverified".to_owned() };
        Self { server, config, unknown, known: OnceLock::new() }
    }

    fn identity(&self) -> &ModelIdentity {
        self.known.get().unwrap_or(&self.unknown)
    }

    /// Finds the model among those that were pulled; its digest stands for the weights.
    async fn look(&self) -> Result<ModelIdentity, InferenceError> {
        let tags: Tags = self.server.get("/api/tags").await?;
        let name = &self.config.model;
        let latest = format!("{name}:latest");
        let found = tags.models.iter().find(|tag| tag.name == *name || tag.name == latest);
        let Some(tag) = found else {
            return Err(self.server.refused(format!("it has no model {name}; run `ollama pull {name}` there")));
        };
        let weights: String = tag.digest.trim_start_matches("sha256:").chars().take(16).collect();
        let weights = if weights.is_empty() { self.unknown.weights.clone() } else { weights };
        Ok(ModelIdentity { name: name.clone(), weights })
    }

    async fn known(&self) -> Result<&ModelIdentity, InferenceError> {
        if self.known.get().is_none() {
            let found = self.look().await?;
            // Another caller may have been first, with the same.
            self.known.set(found).ok();
        }
        Ok(self.identity())
    }

    async fn probe(&self) -> Result<(), InferenceError> {
        self.server.ping("/api/version").await?;
        let now = self.look().await?;
        let known = self.known.get_or_init(|| now.clone());
        if *known != now {
            return Err(self.server.refused(format!("it has {} now, but had {} before; restart this program to change models", now.id(), known.id())));
        }
        Ok(())
    }
}

/// Chat with Ollama.
pub struct OllamaGenerator {
    model: Model,
}

impl OllamaGenerator {
    /// Takes a server; nothing is sent yet.
    #[must_use]
    pub fn new(server: Server, config: OllamaConfig) -> Self {
        Self { model: Model::new(server, config) }
    }

    fn body(&self, request: &GenerateRequest) -> Value {
        let sampling = &request.sampling;
        let mut options = Map::new();
        let mut put = |key: &str, value: Value| drop(options.insert(key.to_owned(), value));
        put("num_ctx", json!(self.model.config.context_tokens));
        put("num_predict", json!(request.max_tokens));
        put("temperature", json!(sampling.temperature));
        put("top_p", json!(sampling.top_p));
        // All tokens: its own default keeps 40.
        put("top_k", json!(sampling.top_k.unwrap_or(0)));
        put("repeat_penalty", json!(sampling.repetition_penalty));
        put("seed", json!(seed(sampling.seed)));
        if !request.stop.is_empty() {
            put("stop", json!(request.stop));
        }
        let mut body = json!({"model": self.model.config.model, "messages": request.messages, "stream": true, "options": options});
        if let Some(schema) = &sampling.schema {
            body["format"] = schema.clone();
        }
        body
    }
}

#[async_trait]
impl Generator for OllamaGenerator {
    fn model(&self) -> &ModelIdentity {
        self.model.identity()
    }

    fn context_tokens(&self) -> usize {
        self.model.config.context_tokens
    }

    /// An estimate on the high side: the server counts only what it answers.
    async fn count_tokens(&self, messages: &[ChatMessage]) -> Result<usize, InferenceError> {
        Ok(estimate(messages))
    }

    async fn generate(&self, request: GenerateRequest) -> Result<GenerateStream, InferenceError> {
        // Four bytes a token is on the low side for a prompt in any language, so what is refused here would not have fitted.
        let least = request.messages.iter().map(|message| message.content.len() / 4).sum::<usize>();
        let context = self.model.config.context_tokens;
        if least >= context {
            return Err(InferenceError::Input { reason: format!("the prompt has about {least} tokens, but the context holds {context} with the answer") });
        }
        self.model.known().await?;
        let server = &self.model.server;
        let response = server.stream("/api/chat", &self.body(&request)).await?;
        Ok(events(server.clone(), response, Reader))
    }

    fn structured(&self) -> bool {
        true
    }
}

#[async_trait]
impl Probe for OllamaGenerator {
    async fn probe(&self) -> Result<(), InferenceError> {
        self.model.probe().await
    }
}

/// Reads one JSON document a line.
struct Reader;

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    message: Option<Message>,
    done: bool,
    #[serde(default)]
    done_reason: Option<String>,
    #[serde(default)]
    prompt_eval_count: usize,
    #[serde(default)]
    eval_count: usize,
}

#[derive(Deserialize)]
struct Message {
    content: String,
}

impl Read for Reader {
    fn line(&mut self, line: &str, server: &Server) -> Result<Option<Said>, InferenceError> {
        if line.trim().is_empty() {
            return Ok(None);
        }
        let value: Value = match serde_json::from_str(line) {
            Ok(value) => value,
            Err(error) if error.is_eof() => return Err(InferenceError::BrokenOff { reason: format!("the stream ended in its middle ({})", server.address()) }),
            Err(error) => return Err(server.garbled(format!("a line of its stream is no JSON: {error}"))),
        };
        if value.get("error").is_some() {
            let said = in_envelope(&value).unwrap_or_else(|| "an error without a message".to_owned());
            return Err(InferenceError::BrokenOff { reason: format!("{} says: {said}", server.address()) });
        }
        let chunk: Chunk = serde_json::from_value(value).map_err(|error| server.garbled(format!("a line of its stream is no part of an answer: {error}")))?;
        let text = chunk.message.map(|message| message.content).unwrap_or_default();
        if !chunk.done {
            return Ok(Some(Said { text, ..Said::default() }));
        }
        let reason = match chunk.done_reason.as_deref() {
            // Older servers do not say.
            Some("stop") | None => FinishReason::Stop,
            Some("length") => FinishReason::Length,
            Some(other) => return Err(InferenceError::BrokenOff { reason: format!("{} ended it with {other:?}", server.address()) }),
        };
        // The last line may hold text too: then it is the end only once that was passed on.
        Ok(Some(Said { last: text.is_empty(), text, reason: Some(reason), usage: Some((chunk.prompt_eval_count, chunk.eval_count)) }))
    }

    fn takes_rest(&self) -> bool {
        true
    }
}

/// Embeddings from Ollama.
pub struct OllamaEmbedder {
    model: Model,
    dimension: usize,
    max_tokens: usize,
}

impl OllamaEmbedder {
    /// Takes a server; nothing is sent yet. `dimension` is what its vectors must have; of a text it reads `max_tokens` at most.
    #[must_use]
    pub fn new(server: Server, config: OllamaConfig, dimension: usize, max_tokens: usize) -> Self {
        Self { model: Model::new(server, config), dimension, max_tokens }
    }
}

#[derive(Deserialize)]
struct Vectors {
    embeddings: Vec<Embedding>,
}

#[async_trait]
impl Embedder for OllamaEmbedder {
    fn model(&self) -> &ModelIdentity {
        self.model.identity()
    }

    fn dimension(&self) -> usize {
        self.dimension
    }

    fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    async fn embed(&self, texts: Vec<String>) -> Result<Vec<Result<Embedding, InferenceError>>, InferenceError> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        self.model.known().await?;
        let server = &self.model.server;
        let mut body = json!({"model": self.model.config.model, "input": texts, "truncate": true});
        if self.max_tokens < usize::MAX {
            body["options"] = json!({"num_ctx": self.max_tokens});
        }
        let answer: Vectors = server.post("/api/embed", &body, server.patience.answer).await?;
        let found = answer.embeddings.into_iter().enumerate().collect();
        in_order(found, texts.len(), self.dimension).map_err(|reason| server.garbled(reason))
    }
}

#[async_trait]
impl Probe for OllamaEmbedder {
    async fn probe(&self) -> Result<(), InferenceError> {
        self.model.probe().await
    }
}
