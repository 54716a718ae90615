//! Bodies of requests: what OpenAI's API and vLLM take, and which of it we do.

use std::collections::BTreeMap;

use ajatus_inference::{ChatMessage, ChatRole, GenerateRequest, Sampling};
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::error::CoreError;

/// A JSON body; an unknown field is refused by name.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = CoreError;

    async fn from_request(request: Request, state: &S) -> Result<Self, CoreError> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if !kind.is_some_and(|kind| kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))) {
            return Err(CoreError::not_json());
        }
        let bytes = axum::body::Bytes::from_request(request, state).await.map_err(|error| match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => CoreError::too_large(),
            _ => CoreError::invalid(None, "the body did not come whole"),
        })?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            let message = error.to_string();
            let field = message.split('`').nth(1).filter(|_| message.starts_with("unknown field") || message.starts_with("missing field"));
            let field = field.map(str::to_owned);
            CoreError::invalid(field.as_deref(), format!("the body cannot be read: {message}"))
        })
    }
}

/// `POST /v1/chat/completions`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Completion {
    pub(super) model: String,
    messages: Vec<Message>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    #[serde(default)]
    max_tokens: Option<usize>,
    #[serde(default)]
    max_completion_tokens: Option<usize>,
    #[serde(default)]
    temperature: Option<f64>,
    #[serde(default)]
    top_p: Option<f64>,
    #[serde(default)]
    top_k: Option<i64>,
    #[serde(default)]
    repetition_penalty: Option<f32>,
    #[serde(default)]
    seed: Option<i64>,
    #[serde(default)]
    stop: Option<OneOrMany>,
    #[serde(default)]
    response_format: Option<Format>,
    #[serde(default)]
    n: Option<u32>,
    #[serde(default)]
    frequency_penalty: Option<f64>,
    #[serde(default)]
    presence_penalty: Option<f64>,
    #[serde(default)]
    logprobs: Option<bool>,
    #[serde(default)]
    top_logprobs: Option<u32>,
    #[serde(default)]
    logit_bias: Option<BTreeMap<String, f64>>,
    #[serde(default)]
    tools: Option<Vec<Value>>,
    #[serde(default)]
    tool_choice: Option<Value>,
    // These say who asks and how it is billed; they change no answer.
    #[serde(default, rename = "user")]
    _user: Option<String>,
    #[serde(default, rename = "metadata")]
    _metadata: Option<Value>,
    #[serde(default, rename = "store")]
    _store: Option<bool>,
    #[serde(default, rename = "service_tier")]
    _service_tier: Option<String>,
    #[serde(default, rename = "parallel_tool_calls")]
    _parallel_tool_calls: Option<bool>,
    #[serde(default, rename = "safety_identifier")]
    _safety_identifier: Option<String>,
    #[serde(default, rename = "prompt_cache_key")]
    _prompt_cache_key: Option<String>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
    #[serde(default, rename = "include_obfuscation")]
    _include_obfuscation: Option<bool>,
    #[serde(default, rename = "continuous_usage_stats")]
    _continuous_usage_stats: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub(super) fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Format {
    Text,
    JsonObject,
    JsonSchema { json_schema: Schema },
}

#[derive(Deserialize)]
struct Schema {
    schema: Value,
}

/// One message.
#[derive(Deserialize)]
pub(super) struct Message {
    role: String,
    #[serde(default)]
    content: Option<Content>,
    #[serde(default)]
    tool_calls: Option<Vec<Value>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    r#type: String,
    #[serde(default)]
    text: Option<String>,
}

/// What a completion asks for.
pub(super) struct Asked {
    pub(super) request: GenerateRequest,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
}

impl Completion {
    /// Checks it; `context` is what there is where no number of tokens is named, `draw` the seed where none is.
    pub(super) fn into_asked(self, context: usize, draw: u64) -> Result<Asked, CoreError> {
        self.refuse_what_is_not_done()?;
        let max_tokens = self.max_completion_tokens.or(self.max_tokens).unwrap_or(context);
        if max_tokens == 0 {
            return Err(CoreError::invalid(Some("max_tokens"), "`max_tokens` must be at least 1"));
        }
        let stop = self.stop.map(OneOrMany::into_vec).unwrap_or_default();
        if stop.len() > 16 || stop.iter().any(String::is_empty) {
            return Err(CoreError::invalid(Some("stop"), "`stop` takes up to 16 texts, none of them empty"));
        }
        let messages = self.messages.into_iter().enumerate().map(|(at, message)| message.into_chat(at)).collect::<Result<Vec<_>, _>>()?;
        if messages.is_empty() {
            return Err(CoreError::invalid(Some("messages"), "`messages` is empty; there must be something to answer"));
        }
        let sampling = Sampling {
            temperature: within("temperature", self.temperature, 1.0, 0.0, 2.0)?,
            top_p: within("top_p", self.top_p, 1.0, f64::MIN_POSITIVE, 1.0)?,
            top_k: match self.top_k {
                None | Some(-1 | 0) => None,
                Some(k) => Some(usize::try_from(k).map_err(|_| CoreError::invalid(Some("top_k"), format!("`top_k` is {k}, but must be -1 or more")))?),
            },
            repetition_penalty: within("repetition_penalty", self.repetition_penalty, 1.0, 0.1, 10.0)?,
            seed: self.seed.map_or(draw, i64::cast_unsigned),
            schema: match self.response_format {
                None | Some(Format::Text) => None,
                Some(Format::JsonObject) => Some(json!({"type": "object"})),
                Some(Format::JsonSchema { json_schema }) => Some(json_schema.schema),
            },
        };
        Ok(Asked {
            request: GenerateRequest { messages, max_tokens, stop, sampling },
            stream: self.stream.unwrap_or(false),
            include_usage: self.stream_options.unwrap_or_default().include_usage,
        })
    }

    fn refuse_what_is_not_done(&self) -> Result<(), CoreError> {
        let refuse = |wrong: bool, param: &str, instead: &str| if wrong { Err(CoreError::unsupported(param, instead)) } else { Ok(()) };
        refuse(self.n.is_some_and(|n| n != 1), "n", "ask once for each choice")?;
        refuse(self.frequency_penalty.is_some_and(|value| value != 0.0), "frequency_penalty", "use `repetition_penalty`")?;
        refuse(self.presence_penalty.is_some_and(|value| value != 0.0), "presence_penalty", "use `repetition_penalty`")?;
        refuse(self.logprobs == Some(true) || self.top_logprobs.is_some_and(|count| count > 0), "logprobs", "leave it out")?;
        refuse(self.logit_bias.as_ref().is_some_and(|bias| !bias.is_empty()), "logit_bias", "leave it out")?;
        refuse(self.tools.as_ref().is_some_and(|tools| !tools.is_empty()), "tools", "describe them in the prompt, and ask for JSON")?;
        let choice = self.tool_choice.as_ref().and_then(Value::as_str);
        refuse(self.tool_choice.is_some() && !matches!(choice, Some("none" | "auto")), "tool_choice", "leave it out")
    }
}

fn within<N: PartialOrd + std::fmt::Display + Copy>(param: &str, given: Option<N>, default: N, low: N, high: N) -> Result<N, CoreError> {
    match given {
        None => Ok(default),
        Some(value) if value >= low && value <= high => Ok(value),
        Some(value) => Err(CoreError::invalid(Some(param), format!("`{param}` is {value}, but must lie between {low} and {high}"))),
    }
}

impl Message {
    pub(super) fn into_chat(self, at: usize) -> Result<ChatMessage, CoreError> {
        let param = format!("messages[{at}]");
        let refuse = |reason: String| CoreError::invalid(Some(&param), reason);
        if self.tool_calls.is_some_and(|calls| !calls.is_empty()) {
            return Err(CoreError::unsupported(&format!("{param}.tool_calls"), "say in words what the tool said"));
        }
        let role = match self.role.as_str() {
            "system" | "developer" => ChatRole::System,
            "user" => ChatRole::User,
            "assistant" => ChatRole::Assistant,
            other => return Err(refuse(format!("the role {other:?} is not known here; `system`, `user` and `assistant` are"))),
        };
        let content = match self.content {
            Some(Content::Text(text)) => text,
            Some(Content::Parts(parts)) => {
                let texts = parts.into_iter().map(|part| match part {
                    Part { r#type, text: Some(text) } if r#type == "text" => Ok(text),
                    part => Err(refuse(format!("a part of the type {:?} cannot be read; only text is", part.r#type))),
                });
                texts.collect::<Result<Vec<_>, _>>()?.concat()
            }
            None => return Err(refuse("a message has no content".to_owned())),
        };
        Ok(ChatMessage { role, content })
    }
}

/// `POST /v1/embeddings`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Embeddings {
    pub(super) model: String,
    pub(super) input: Input,
    #[serde(default)]
    pub(super) encoding_format: Encoding,
    #[serde(default)]
    pub(super) dimensions: Option<usize>,
    #[serde(default)]
    pub(super) truncate_prompt_tokens: Option<i64>,
    #[serde(default)]
    pub(super) user: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Input {
    Texts(OneOrMany),
    /// Numbers of tokens, which belong to a tokenizer that the client cannot know we have.
    Tokens(Vec<Value>),
}

#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Encoding {
    #[default]
    Float,
    Base64,
}

/// `POST /tokenize`, as vLLM has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tokenize {
    pub(super) model: String,
    pub(super) messages: Vec<Message>,
    #[serde(default, rename = "add_generation_prompt")]
    _add_generation_prompt: Option<bool>,
}
