//! vLLM, and every server of its interface (the one that `ajatus core serve` is, llama.cpp's, SGLang's): chat and embeddings.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::http::{Server, in_envelope};
use super::lines::Events;
use super::talk::{Read, Said, events};
use super::vector::in_order;
use crate::chain::Probe;
use crate::port::{
    ChatMessage, Embedder, Embedding, FinishReason, GenerateRequest, GenerateStream, Generator, InferenceError, ModelIdentity,
};

/// Context where nobody names one.
const CONTEXT: usize = 4_096;

/// Which model of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VllmConfig {
    /// Name as the server lists it. Default: the first it lists for this task.
    pub model: Option<String>,
    /// What stands for the weights in the model's identity where the server does not say. Default: `unverified`.
    pub weights: Option<String>,
    /// Tokens of prompt and answer at most. Default: what the server says, else 4,096.
    pub context_tokens: Option<usize>,
}

/// What the server says about the model.
struct Known {
    identity: ModelIdentity,
    context: Option<usize>,
    structured: bool,
}

struct Model {
    server: Server,
    config: VllmConfig,
    /// Used until the server was asked.
    unknown: ModelIdentity,
    known: OnceLock<Known>,
    embeds: bool,
}

#[derive(Deserialize)]
struct Listed {
    id: String,
    #[serde(default)]
    max_model_len: Option<usize>,
    /// Ours say so.
    #[serde(default)]
    weights: Option<String>,
    /// Ours say so: `chat` or `embedding`.
    #[serde(default)]
    task: Option<String>,
    /// Ours say so: whether answers can be held to a schema. vLLM always can.
    #[serde(default = "can")]
    structured: bool,
}

fn can() -> bool {
    true
}

#[derive(Deserialize)]
struct List {
    data: Vec<Listed>,
}

impl Model {
    fn new(server: Server, config: VllmConfig, embeds: bool) -> Self {
        let name = config.model.clone().unwrap_or_else(|| "vllm".to_owned());
        let unknown = ModelIdentity { name, weights: config.weights.clone().unwrap_or_else(|| "unverified".to_owned()) };
        Self { server, config, unknown, known: OnceLock::new(), embeds }
    }

    fn identity(&self) -> &ModelIdentity {
        self.known.get().map_or(&self.unknown, |known| &known.identity)
    }

    /// Asks which models there are, and finds ours among them.
    async fn look(&self) -> Result<Known, InferenceError> {
        let list: List = self.server.get("/v1/models").await?;
        let task = if self.embeds { "embedding" } else { "chat" };
        let fits = |model: &Listed| model.task.as_deref().is_none_or(|named| named == task);
        let found = match &self.config.model {
            Some(name) => list.data.iter().find(|model| model.id == *name),
            None => list.data.iter().find(|model| fits(model)),
        };
        let Some(model) = found else {
            let names: Vec<&str> = list.data.iter().map(|model| model.id.as_str()).collect();
            let wanted = self.config.model.as_deref().unwrap_or("a model for this task");
            return Err(self.server.refused(format!("it does not serve {wanted}, but {names:?}; mend the model's name in ajatus.toml, or start the server with it")));
        };
        if let (Some(wanted), Some(served)) = (&self.config.weights, &model.weights)
            && wanted != served
        {
            return Err(self.server.refused(format!("it serves {} with the weights {served}, but {wanted} are configured", model.id)));
        }
        let weights = model.weights.clone().unwrap_or_else(|| self.unknown.weights.clone());
        Ok(Known { identity: ModelIdentity { name: model.id.clone(), weights }, context: model.max_model_len, structured: model.structured })
    }

    async fn known(&self) -> Result<&Known, InferenceError> {
        if self.known.get().is_none() {
            let found = self.look().await?;
            // Another caller may have been first, with the same.
            self.known.set(found).ok();
        }
        self.known.get().ok_or_else(|| self.server.garbled("no model"))
    }

    /// Whether it lives and has our model: the same one as when it was asked first.
    async fn probe(&self) -> Result<(), InferenceError> {
        match self.server.ping("/health").await {
            // Servers of this interface need not have that page.
            Ok(()) | Err(InferenceError::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
        let now = self.look().await?;
        let known = self.known.get_or_init(|| Known { identity: now.identity.clone(), context: now.context, structured: now.structured });
        if known.identity != now.identity {
            return Err(self.server.refused(format!("it serves {} now, but served {} before; restart this program to change models", now.identity.id(), known.identity.id())));
        }
        Ok(())
    }
}

/// Chat over this interface.
pub struct VllmGenerator {
    model: Model,
    /// The server does not count tokens for us.
    uncounted: AtomicBool,
}

impl VllmGenerator {
    /// Takes a server; nothing is sent yet.
    #[must_use]
    pub fn new(server: Server, config: VllmConfig) -> Self {
        Self { model: Model::new(server, config, false), uncounted: AtomicBool::new(false) }
    }

    fn body(name: &str, request: &GenerateRequest) -> Value {
        let sampling = &request.sampling;
        let mut body = Map::new();
        let mut put = |key: &str, value: Value| drop(body.insert(key.to_owned(), value));
        put("model", json!(name));
        put("messages", json!(request.messages));
        put("stream", json!(true));
        put("stream_options", json!({"include_usage": true}));
        put("max_tokens", json!(request.max_tokens));
        put("temperature", json!(sampling.temperature));
        put("top_p", json!(sampling.top_p));
        // A signed number there.
        put("seed", json!(seed(sampling.seed)));
        if let Some(top_k) = sampling.top_k {
            put("top_k", json!(top_k));
        }
        if (sampling.repetition_penalty - 1.0).abs() > f32::EPSILON {
            put("repetition_penalty", json!(sampling.repetition_penalty));
        }
        if !request.stop.is_empty() {
            put("stop", json!(request.stop));
        }
        if let Some(schema) = &sampling.schema {
            put("response_format", json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": true}}));
        }
        Value::Object(body)
    }
}

#[async_trait]
impl Generator for VllmGenerator {
    fn model(&self) -> &ModelIdentity {
        self.model.identity()
    }

    fn context_tokens(&self) -> usize {
        let served = self.model.known.get().and_then(|known| known.context);
        match (self.model.config.context_tokens, served) {
            (Some(configured), Some(served)) => configured.min(served),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => CONTEXT,
        }
    }

    async fn count_tokens(&self, messages: &[ChatMessage]) -> Result<usize, InferenceError> {
        if !self.uncounted.load(Ordering::Relaxed) {
            match self.counted(messages).await {
                Ok(count) => return Ok(count),
                Err(InferenceError::Refused { .. }) => self.uncounted.store(true, Ordering::Relaxed),
                Err(error) => return Err(error),
            }
        }
        Ok(estimate(messages))
    }

    async fn generate(&self, mut request: GenerateRequest) -> Result<GenerateStream, InferenceError> {
        let name = &self.model.known().await?.identity.name;
        let context = self.context_tokens();
        // The server refuses a request for more tokens than are left; what we are asked for is as many as there are.
        if estimate(&request.messages) + request.max_tokens > context {
            let prompt = self.count_tokens(&request.messages).await?;
            if prompt >= context {
                let reason = format!("the prompt has {prompt} tokens, but the context holds {context} with the answer");
                return Err(InferenceError::Input { reason });
            }
            request.max_tokens = request.max_tokens.min(context - prompt);
        }
        let server = &self.model.server;
        let response = server.stream("/v1/chat/completions", &Self::body(name, &request)).await?;
        Ok(events(server.clone(), response, Reader::default()))
    }

    fn structured(&self) -> bool {
        self.model.known.get().is_none_or(|known| known.structured)
    }
}

#[async_trait]
impl Probe for VllmGenerator {
    async fn probe(&self) -> Result<(), InferenceError> {
        self.model.probe().await
    }
}

impl VllmGenerator {
    /// Tokens of a prompt, as the server counts them: vLLM tokenises messages, llama.cpp under the same address a text that another page made of them.
    async fn counted(&self, messages: &[ChatMessage]) -> Result<usize, InferenceError> {
        #[derive(Deserialize)]
        struct Counted {
            count: Option<usize>,
            tokens: Option<Vec<serde::de::IgnoredAny>>,
        }
        #[derive(Deserialize)]
        struct Rendered {
            prompt: String,
        }
        let server = &self.model.server;
        let name = &self.model.known().await?.identity.name;
        let body = json!({"model": name, "messages": messages, "add_generation_prompt": true});
        let found: Counted = server.post("/tokenize", &body, server.patience.probe).await?;
        if let Some(count) = found.count {
            return Ok(count);
        }
        let garbled = || server.garbled("/tokenize gives neither a count nor tokens");
        found.tokens.ok_or_else(garbled)?;
        let rendered: Rendered = server.post("/apply-template", &body, server.patience.probe).await?;
        let body = json!({"content": rendered.prompt, "add_special": true, "parse_special": true});
        let found: Counted = server.post("/tokenize", &body, server.patience.probe).await?;
        Ok(found.tokens.ok_or_else(garbled)?.len())
    }
}

/// A seed as servers take it, in 31 bits: llama.cpp, Ollama's engine too, reads 32 and takes all ones for "any".
pub(super) fn seed(seed: u64) -> u64 {
    const MOST: u64 = (1 << 31) - 1;
    if seed <= MOST { seed } else { (seed ^ (seed >> 31) ^ (seed >> 62)) & MOST }
}

/// Tokens of a prompt where nobody counts them: on the high side, so that what fits by it fits.
pub(super) fn estimate(messages: &[ChatMessage]) -> usize {
    messages.iter().map(|message| message.content.len() / 3 + 8).sum::<usize>() + 8
}

/// Reads the events of a chat completion.
#[derive(Default)]
struct Reader(Events);

#[derive(Deserialize)]
struct Chunk {
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Delta,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Delta {
    #[serde(default)]
    content: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
struct Usage {
    prompt_tokens: usize,
    #[serde(default)]
    completion_tokens: usize,
}

impl Read for Reader {
    fn line(&mut self, line: &str, server: &Server) -> Result<Option<Said>, InferenceError> {
        let Some(data) = self.0.line(line) else { return Ok(None) };
        if data.trim() == "[DONE]" {
            return Ok(Some(Said { last: true, ..Said::default() }));
        }
        let value: Value = serde_json::from_str(&data).map_err(|error| server.garbled(format!("an event of its stream is no JSON: {error}")))?;
        if value.get("error").is_some_and(|error| !error.is_null()) || value.get("object").is_some_and(|object| object == "error") {
            let said = in_envelope(&value).unwrap_or_else(|| "an error without a message".to_owned());
            return Err(InferenceError::BrokenOff { reason: format!("{} says: {said}", server.address()) });
        }
        let chunk: Chunk = serde_json::from_value(value).map_err(|error| server.garbled(format!("an event of its stream is no part of an answer: {error}")))?;
        let usage = chunk.usage.map(|usage| (usage.prompt_tokens, usage.completion_tokens));
        let Some(choice) = chunk.choices.into_iter().next() else { return Ok(Some(Said { usage, ..Said::default() })) };
        let reason = choice.finish_reason.as_deref().map(|reason| finish(reason, server)).transpose()?;
        Ok(Some(Said { text: choice.delta.content.unwrap_or_default(), reason, usage, last: false }))
    }

    fn takes_rest(&self) -> bool {
        false
    }
}

fn finish(reason: &str, server: &Server) -> Result<FinishReason, InferenceError> {
    match reason {
        "stop" => Ok(FinishReason::Stop),
        "length" => Ok(FinishReason::Length),
        other => Err(InferenceError::BrokenOff { reason: format!("{} ended it with {other:?}", server.address()) }),
    }
}

/// Embeddings over this interface.
pub struct VllmEmbedder {
    model: Model,
    dimension: usize,
    max_tokens: usize,
}

impl VllmEmbedder {
    /// Takes a server; nothing is sent yet. `dimension` is what its vectors must have; of a text it reads `max_tokens` at most.
    #[must_use]
    pub fn new(server: Server, config: VllmConfig, dimension: usize, max_tokens: usize) -> Self {
        Self { model: Model::new(server, config, true), dimension, max_tokens }
    }
}

#[derive(Deserialize)]
struct Vectors {
    data: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    index: usize,
    embedding: Embedding,
}

#[async_trait]
impl Embedder for VllmEmbedder {
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
        let name = &self.model.known().await?.identity.name;
        let server = &self.model.server;
        let mut body = json!({"model": name, "input": texts, "encoding_format": "float"});
        if self.max_tokens < usize::MAX {
            // Without it a long text is refused.
            body["truncate_prompt_tokens"] = json!(self.max_tokens);
        }
        let answer: Vectors = server.post("/v1/embeddings", &body, server.patience.answer).await?;
        let found = answer.data.into_iter().map(|vector| (vector.index, vector.embedding)).collect();
        in_order(found, texts.len(), self.dimension).map_err(|reason| server.garbled(reason))
    }
}

#[async_trait]
impl Probe for VllmEmbedder {
    async fn probe(&self) -> Result<(), InferenceError> {
        self.model.probe().await
    }
}
