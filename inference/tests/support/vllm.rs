//! A strict fake of vLLM's routes: unknown fields, values out of bounds, a wrong model or key are refused as vLLM refuses them.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Live, in_pieces, says, vector};

pub const MODEL: &str = "mistralai/Mistral-7B-Instruct-v0.3";
pub const EMBEDDING: &str = "sentence-transformers/all-MiniLM-L6-v2";
pub const CONTEXT: usize = 2_000;

type Vectors = Arc<dyn Fn(&str) -> Vec<f32> + Send + Sync>;

#[derive(Clone)]
pub struct Fake {
    pub key: Option<&'static str>,
    pub live: Live,
    pub vectors: Vectors,
}

impl Default for Fake {
    fn default() -> Self {
        Self { key: None, live: Live::default(), vectors: Arc::new(vector) }
    }
}

impl Fake {
    pub fn router(self) -> Router {
        Router::new()
            .route("/health", get(async || StatusCode::OK))
            .route("/v1/models", get(models))
            .route("/tokenize", post(tokenize))
            .route("/v1/chat/completions", post(chat))
            .route("/v1/embeddings", post(embeddings))
            .layer(axum::extract::DefaultBodyLimit::max(8 << 20))
            .with_state(self)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    role: String,
    content: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    include_usage: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Format {
    r#type: String,
    json_schema: Schema,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Schema {
    name: String,
    schema: Value,
    #[serde(default)]
    strict: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Chat {
    model: String,
    messages: Vec<Message>,
    stream: bool,
    stream_options: Options,
    max_tokens: usize,
    temperature: f64,
    top_p: f64,
    #[serde(default)]
    top_k: Option<i64>,
    #[serde(default)]
    repetition_penalty: Option<f64>,
    seed: i64,
    #[serde(default)]
    stop: Vec<String>,
    #[serde(default)]
    response_format: Option<Format>,
}

fn refuse(status: StatusCode, message: impl Into<String>) -> Response {
    let body = json!({"error": {"message": message.into(), "type": "BadRequestError", "param": null, "code": status.as_u16()}});
    (status, Json(body)).into_response()
}

#[expect(clippy::result_large_err, reason = "a test's server")]
fn authorised(fake: &Fake, headers: &HeaderMap) -> Result<(), Response> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match fake.key {
        Some(key) if given != Some(&format!("Bearer {key}")) => Err((StatusCode::UNAUTHORIZED, Json(json!({"error": "Unauthorized"}))).into_response()),
        _ => Ok(()),
    }
}

#[expect(clippy::result_large_err, reason = "a test's server")]
fn parse<T: DeserializeOwned>(fake: &Fake, headers: &HeaderMap, body: &Bytes) -> Result<T, Response> {
    authorised(fake, headers)?;
    if headers.get(header::CONTENT_TYPE).is_none_or(|kind| kind != "application/json") {
        return Err(refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported Media Type: Only 'application/json' is allowed"));
    }
    serde_json::from_slice(body).map_err(|error| refuse(StatusCode::BAD_REQUEST, error.to_string()))
}

async fn models(State(fake): State<Fake>, headers: HeaderMap) -> Response {
    if let Err(refused) = authorised(&fake, &headers) {
        return refused;
    }
    let card = |id: &str| json!({"id": id, "object": "model", "created": 1, "owned_by": "vllm", "root": id, "parent": null, "max_model_len": CONTEXT});
    Json(json!({"object": "list", "data": [card(MODEL), card(EMBEDDING)]})).into_response()
}

fn tokens(messages: &[Message]) -> usize {
    messages.iter().map(|message| message.content.split_whitespace().count() + 4).sum::<usize>() + 1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tokenize {
    model: String,
    messages: Vec<Message>,
    add_generation_prompt: bool,
}

async fn tokenize(State(fake): State<Fake>, headers: HeaderMap, body: Bytes) -> Response {
    match parse::<Tokenize>(&fake, &headers, &body) {
        Ok(asked) if asked.model == MODEL && asked.add_generation_prompt => {
            Json(json!({"count": tokens(&asked.messages), "max_model_len": CONTEXT, "tokens": [], "token_strs": null})).into_response()
        }
        Ok(_) => refuse(StatusCode::NOT_FOUND, "The model does not exist."),
        Err(refused) => refused,
    }
}

fn wrong(asked: &Chat) -> Option<String> {
    let prompt = tokens(&asked.messages);
    let odd = asked.messages.iter().find(|message| !["system", "user", "assistant"].contains(&message.role.as_str()));
    match () {
        () if odd.is_some() => Some("Unexpected role".to_owned()),
        () if !(0.0..=2.0).contains(&asked.temperature) => Some("temperature must be in [0, 2]".to_owned()),
        () if !(asked.top_p > 0.0 && asked.top_p <= 1.0) => Some("top_p must be in (0, 1]".to_owned()),
        () if asked.top_k.is_some_and(|k| k < -1 || k == 0) => Some("top_k must be -1 (disable), or at least 1".to_owned()),
        () if asked.repetition_penalty.is_some_and(|penalty| penalty <= 0.0) => Some("repetition_penalty must be greater than zero".to_owned()),
        () if asked.max_tokens < 1 => Some("max_tokens must be at least 1".to_owned()),
        () if asked.seed < 0 => Some("seed".to_owned()),
        () if prompt + asked.max_tokens > CONTEXT => Some(format!(
            "This model's maximum context length is {CONTEXT} tokens. However, you requested {} tokens ({prompt} in the messages, {} in the completion).",
            prompt + asked.max_tokens, asked.max_tokens
        )),
        () => None,
    }
}

async fn chat(State(fake): State<Fake>, headers: HeaderMap, body: Bytes) -> Response {
    let asked: Chat = match parse(&fake, &headers, &body) {
        Ok(asked) => asked,
        Err(refused) => return refused,
    };
    if asked.model != MODEL {
        return refuse(StatusCode::NOT_FOUND, format!("The model `{}` does not exist.", asked.model));
    }
    if let Some(reason) = wrong(&asked) {
        return refuse(StatusCode::BAD_REQUEST, reason);
    }
    assert!(asked.stream && asked.stream_options.include_usage);
    let question = asked.messages.last().map(|message| message.content.clone()).unwrap_or_default();
    let (said, reason) = match &asked.response_format {
        Some(format) => {
            assert!(format.r#type == "json_schema" && !format.json_schema.name.is_empty() && format.json_schema.strict);
            let fields = format.json_schema.schema["required"].as_array().expect("fields");
            let answer: serde_json::Map<String, Value> = fields.iter().map(|field| (field.as_str().expect("a name").to_owned(), json!("Äiti"))).collect();
            (json!(answer).to_string().chars().map(String::from).collect(), "stop")
        }
        None => says(&question, asked.max_tokens, &asked.stop),
    };
    let usage = json!({"prompt_tokens": tokens(&asked.messages), "completion_tokens": said.len(), "total_tokens": tokens(&asked.messages) + said.len()});
    let event = |choices: Value, usage: Value| {
        let chunk = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL, "choices": choices, "usage": usage});
        format!("data: {chunk}\n\n")
    };
    let choice = |delta: Value, reason: Value| json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason}]);
    let mut frames = vec![event(choice(json!({"role": "assistant", "content": ""}), Value::Null), Value::Null)];
    let last = said.len().saturating_sub(1);
    for (at, text) in said.into_iter().enumerate() {
        frames.push(event(choice(json!({"content": text}), if at == last { json!(reason) } else { Value::Null }), Value::Null));
    }
    frames.push(event(json!([]), usage));
    frames.push("data: [DONE]\n\n".to_owned());
    ([(header::CONTENT_TYPE, "text/event-stream; charset=utf-8")], in_pieces(&question, frames, fake.live.begin())).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Embed {
    model: String,
    input: Vec<String>,
    encoding_format: String,
    #[serde(default)]
    truncate_prompt_tokens: Option<i64>,
}

async fn embeddings(State(fake): State<Fake>, headers: HeaderMap, body: Bytes) -> Response {
    let asked: Embed = match parse(&fake, &headers, &body) {
        Ok(asked) => asked,
        Err(refused) => return refused,
    };
    if asked.model != EMBEDDING {
        return refuse(StatusCode::NOT_FOUND, format!("The model `{}` does not exist.", asked.model));
    }
    assert_eq!(asked.encoding_format, "float");
    let most = asked.truncate_prompt_tokens.and_then(|most| usize::try_from(most).ok()).unwrap_or(CONTEXT);
    let mut data = Vec::new();
    for (at, text) in asked.input.iter().enumerate() {
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.len() > most && asked.truncate_prompt_tokens.is_none() {
            return refuse(StatusCode::BAD_REQUEST, format!("This model's maximum context length is {CONTEXT} tokens."));
        }
        let cut = if words.len() > most { words[..most].join(" ") } else { text.clone() };
        data.push(json!({"index": at, "object": "embedding", "embedding": (fake.vectors)(&cut)}));
    }
    // Any order is allowed: the index says whose it is.
    data.reverse();
    Json(json!({"id": "embd-1", "object": "list", "created": 1, "model": EMBEDDING, "data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1, "completion_tokens": 0, "prompt_tokens_details": null}})).into_response()
}
