//! A strict fake of Ollama's routes: unknown fields and models are refused (the real server ignores unknown fields; a fake that
//! did so would hide that we misspell one).

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Live, in_pieces, says, vector};

pub const MODEL: &str = "mistral";
pub const EMBEDDING: &str = "all-minilm:l6-v2";

#[derive(Clone)]
pub struct Fake {
    pub live: Live,
    pub vectors: Arc<dyn Fn(&str) -> Vec<f32> + Send + Sync>,
}

impl Default for Fake {
    fn default() -> Self {
        Self { live: Live::default(), vectors: Arc::new(vector) }
    }
}

impl Fake {
    pub fn router(self) -> Router {
        Router::new()
            .route("/api/version", get(async || Json(json!({"version": "0.12.6"}))))
            .route("/api/tags", get(tags))
            .route("/api/chat", post(chat))
            .route("/api/embed", post(embed))
            .layer(axum::extract::DefaultBodyLimit::max(8 << 20))
            .with_state(self)
    }
}

async fn tags() -> Json<Value> {
    let model = |name: &str, digest: &str| {
        json!({"name": name, "model": name, "modified_at": "2026-11-01T00:00:00Z", "size": 1, "digest": digest,
            "details": {"parent_model": "", "format": "gguf", "family": "llama", "families": ["llama"], "parameter_size": "7B", "quantization_level": "Q4_0"}})
    };
    Json(json!({"models": [model("mistral:latest", "6577803aa9a036369e481d648a2baebb381ebc6e897f2bb9a766a2aa7bfbc1cf"), model(EMBEDDING, "1b226e2802db")]}))
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
    num_ctx: usize,
    num_predict: i64,
    temperature: f64,
    top_p: f64,
    top_k: i64,
    repeat_penalty: f64,
    seed: i64,
    #[serde(default)]
    stop: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Chat {
    model: String,
    messages: Vec<Message>,
    stream: bool,
    options: Options,
    #[serde(default)]
    format: Option<Value>,
}

fn refuse(status: StatusCode, message: impl Into<String>) -> Response {
    (status, Json(json!({"error": message.into()}))).into_response()
}

async fn chat(State(fake): State<Fake>, body: Bytes) -> Response {
    let asked: Chat = match serde_json::from_slice(&body) {
        Ok(asked) => asked,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, error.to_string()),
    };
    if asked.model != MODEL {
        return refuse(StatusCode::NOT_FOUND, format!("model '{}' not found", asked.model));
    }
    let options = &asked.options;
    let bounds = options.num_ctx >= 16 && options.num_predict > 0 && options.top_k >= 0 && options.seed >= 0;
    let sampling = (0.0..=2.0).contains(&options.temperature) && options.top_p > 0.0 && options.top_p <= 1.0 && options.repeat_penalty > 0.0;
    if !bounds || !sampling {
        return refuse(StatusCode::BAD_REQUEST, "an option is out of bounds");
    }
    assert!(asked.stream && asked.messages.iter().all(|message| ["system", "user", "assistant"].contains(&message.role.as_str())));
    let question = asked.messages.last().map(|message| message.content.clone()).unwrap_or_default();
    let (said, reason) = match &asked.format {
        Some(schema) => {
            let fields = schema["required"].as_array().expect("a schema with fields");
            let answer: serde_json::Map<String, Value> = fields.iter().map(|field| (field.as_str().expect("a name").to_owned(), json!("Äiti"))).collect();
            (json!(answer).to_string().chars().map(String::from).collect(), "stop")
        }
        None => says(&question, usize::try_from(options.num_predict).expect("positive"), &options.stop),
    };
    let line = |value: Value| format!("{value}\n");
    let head = json!({"model": MODEL, "created_at": "2026-11-25T00:00:00Z"});
    let with = |more: Value| {
        let mut whole = head.clone();
        for (key, value) in more.as_object().expect("an object") {
            whole[key] = value.clone();
        }
        whole
    };
    let count = said.len();
    let mut frames: Vec<String> = said.into_iter().map(|text| line(with(json!({"message": {"role": "assistant", "content": text}, "done": false})))).collect();
    frames.push(line(with(json!({
        "message": {"role": "assistant", "content": ""}, "done": true, "done_reason": reason, "total_duration": 1, "load_duration": 1,
        "prompt_eval_count": question.split_whitespace().count() + 5, "prompt_eval_duration": 1, "eval_count": count, "eval_duration": 1
    }))));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], in_pieces(&question, frames, fake.live.begin())).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EmbedOptions {
    num_ctx: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Embed {
    model: String,
    input: Vec<String>,
    truncate: bool,
    #[serde(default)]
    options: Option<EmbedOptions>,
}

async fn embed(State(fake): State<Fake>, body: Bytes) -> Response {
    let asked: Embed = match serde_json::from_slice(&body) {
        Ok(asked) => asked,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, error.to_string()),
    };
    if asked.model != EMBEDDING {
        return refuse(StatusCode::NOT_FOUND, format!("model '{}' not found", asked.model));
    }
    assert!(asked.truncate);
    let most = asked.options.map_or(256, |options| options.num_ctx);
    let cut = |text: &str| match text.split_whitespace().nth(most) {
        Some(_) => text.split_whitespace().take(most).collect::<Vec<_>>().join(" "),
        None => text.to_owned(),
    };
    let embeddings: Vec<Vec<f32>> = asked.input.iter().map(|text| (fake.vectors)(&cut(text))).collect();
    Json(json!({"model": EMBEDDING, "embeddings": embeddings, "total_duration": 1, "load_duration": 1, "prompt_eval_count": 1})).into_response()
}
