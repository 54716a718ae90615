//! What is served, whether it lives, and how many tokens a prompt has.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::error::CoreError;
use super::wire::{Body, Message, Tokenize};
use super::{App, Core};

impl Core {
    /// Names that a request may have.
    pub(super) fn names(&self) -> Vec<&str> {
        let chat = self.parts.chat.iter().map(|served| served.name.as_str());
        chat.chain(self.parts.embedding.iter().map(|served| served.name.as_str())).collect()
    }

    fn cards(&self, headers: &HeaderMap) -> Vec<Value> {
        let card = |name: &str, task: &str, weights: &str, length: Option<usize>| {
            json!({
                "id": name, "object": "model", "created": self.since, "owned_by": "ajatus", "root": name, "parent": null,
                "max_model_len": length, "weights": weights, "task": task,
            })
        };
        let mut cards = Vec::new();
        if let Some(served) = &self.parts.chat
            && let Ok(model) = served.for_request(headers)
        {
            let mut card = card(&served.name, "chat", &model.model().weights, Some(model.context_tokens()));
            card["structured"] = json!(model.structured());
            cards.push(card);
        }
        if let Some(served) = &self.parts.embedding
            && let Ok(model) = served.for_request(headers)
        {
            cards.push(card(&served.name, "embedding", &model.model().weights, Some(model.max_tokens()).filter(|most| *most < usize::MAX)));
        }
        cards
    }
}

pub(super) async fn list_models(State(app): State<App>, headers: HeaderMap) -> Json<Value> {
    Json(json!({"object": "list", "data": app.cards(&headers)}))
}

pub(super) async fn get_model(State(app): State<App>, Path(name): Path<String>, headers: HeaderMap) -> Result<Json<Value>, CoreError> {
    let found = app.cards(&headers).into_iter().find(|card| card["id"] == name.as_str());
    found.map(Json).ok_or_else(|| CoreError::no_such_model(&name, &app.names()))
}

pub(super) async fn tokenize(State(app): State<App>, headers: HeaderMap, Body(asked): Body<Tokenize>) -> Result<Json<Value>, CoreError> {
    let Some(served) = app.parts.chat.as_ref().filter(|served| served.name == asked.model) else {
        return Err(CoreError::no_such_model(&asked.model, &app.names()));
    };
    let model = served.for_request(&headers)?;
    let messages = asked.messages.into_iter().enumerate().map(|(at, message): (usize, Message)| message.into_chat(at)).collect::<Result<Vec<_>, _>>()?;
    let count = model.count_tokens(&messages).await?;
    Ok(Json(json!({"count": count, "max_model_len": model.context_tokens()})))
}

pub(super) async fn metrics(State(app): State<App>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], (app.parts.metrics)()).into_response()
}

pub(super) async fn health() -> &'static str {
    "ok"
}
