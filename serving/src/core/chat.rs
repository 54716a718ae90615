//! `POST /v1/chat/completions`.

use std::convert::Infallible;

use ajatus_inference::{FinishReason, GenerateEvent, GenerateStream, InferenceError, Started};
use axum::body::Body as Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;
use serde_json::{Value, json};
use uuid::Uuid;

use super::App;
use super::error::CoreError;
use super::wire::{Body, Completion};

/// What stands in every chunk of an answer.
struct Head {
    id: String,
    created: i64,
    model: String,
}

pub(super) async fn create_completion(State(app): State<App>, headers: HeaderMap, Body(completion): Body<Completion>) -> Result<Response, CoreError> {
    let Some(served) = app.parts.chat.as_ref().filter(|served| served.name == completion.model) else {
        return Err(CoreError::no_such_model(&completion.model, &app.names()));
    };
    let generator = served.for_request(&headers)?;
    let asked = completion.into_asked(generator.context_tokens(), draw()?)?;
    let Started { model, events } = generator.start(asked.request).await?;
    let head = Head { id: format!("chatcmpl-{}", Uuid::now_v7().simple()), created: app.parts.clock.now().timestamp(), model: model.name };
    if asked.stream {
        return Ok(stream(head, events, asked.include_usage));
    }
    whole(head, events).await
}

/// A seed for a caller who wants none.
fn draw() -> Result<u64, CoreError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| CoreError::internal(&error))?;
    Ok(u64::from_le_bytes(bytes))
}

fn word(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
    }
}

fn usage(prompt: usize, completion: usize) -> Value {
    json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion})
}

/// The answer in one piece; a client who leaves drops it.
async fn whole(head: Head, mut events: GenerateStream) -> Result<Response, CoreError> {
    let mut text = String::new();
    while let Some(event) = events.next().await {
        match event? {
            GenerateEvent::Text(more) => text.push_str(&more),
            GenerateEvent::Done { reason, prompt_tokens, completion_tokens } => {
                let message = json!({"role": "assistant", "content": text, "refusal": null});
                let body = json!({
                    "id": head.id,
                    "object": "chat.completion",
                    "created": head.created,
                    "model": head.model,
                    "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": word(reason)}],
                    "usage": usage(prompt_tokens, completion_tokens),
                });
                return Ok(axum::Json(body).into_response());
            }
        }
    }
    Err(cut().into())
}

fn cut() -> InferenceError {
    InferenceError::BrokenOff { reason: "the model stopped in the middle".to_owned() }
}

/// The answer word by word. After an error nothing comes, least of all `[DONE]`.
fn stream(head: Head, events: GenerateStream, include_usage: bool) -> Response {
    let first = frame(&head.chunk(json!([choice(json!({"role": "assistant", "content": ""}), None)]), include_usage.then_some(Value::Null)));
    let begun = futures::stream::iter([Ok::<_, Infallible>(first)]);
    let rest = futures::stream::unfold((head, Some(events)), move |(head, events)| async move {
        let mut events = events?;
        let null = include_usage.then_some(Value::Null);
        let (frames, more) = match events.next().await {
            Some(Ok(GenerateEvent::Text(text))) => (frame(&head.chunk(json!([choice(json!({"content": text}), None)]), null)), Some(events)),
            Some(Ok(GenerateEvent::Done { reason, prompt_tokens, completion_tokens })) => {
                let mut frames = frame(&head.chunk(json!([choice(json!({}), Some(word(reason)))]), null));
                if include_usage {
                    frames.push_str(&frame(&head.chunk(json!([]), Some(usage(prompt_tokens, completion_tokens)))));
                }
                frames.push_str("data: [DONE]\n\n");
                (frames, None)
            }
            Some(Err(error)) => (frame(&CoreError::from(error).body()), None),
            None => (frame(&CoreError::from(cut()).body()), None),
        };
        Some((Ok(frames), (head, more)))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, Bytes::from_stream(begun.chain(rest))).into_response()
}

fn frame(document: &Value) -> String {
    format!("data: {document}\n\n")
}

#[expect(clippy::needless_pass_by_value, reason = "made where it is given away")]
fn choice(delta: Value, reason: Option<&str>) -> Value {
    json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason})
}

impl Head {
    /// Where usage is asked for, every chunk has the field: null but in the last.
    fn chunk(&self, choices: Value, usage: Option<Value>) -> Value {
        let mut chunk = json!({"id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model, "choices": choices});
        if let Some(usage) = usage {
            chunk["usage"] = usage;
        }
        chunk
    }
}
