//! `POST /v1/embeddings`.

use std::sync::Arc;

use ajatus_inference::{Embedder, Party, TextTokens};
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::App;
use super::error::CoreError;
use super::wire::{Body, Embeddings, Encoding, Input};

/// Texts of a request at most, as in OpenAI's API.
const MOST: usize = 2_048;
/// From so many texts on, a request is work that may wait for those with a single one.
const BULK: usize = 17;

pub(super) async fn create_embeddings(State(app): State<App>, headers: HeaderMap, Body(asked): Body<Embeddings>) -> Result<Json<Value>, CoreError> {
    let texts = match asked.input {
        Input::Texts(texts) => texts.into_vec(),
        Input::Tokens(tokens) => {
            let reason = format!("`input` has {} items that are no texts; numbers of tokens mean nothing here, send the text", tokens.len());
            return Err(CoreError::invalid(Some("input"), reason));
        }
    };
    if texts.is_empty() || texts.len() > MOST {
        return Err(CoreError::invalid(Some("input"), format!("`input` has {} texts, but must have 1 to {MOST}", texts.len())));
    }
    let served = if texts.len() < BULK { &app.parts.embedding } else { &app.parts.bulk };
    let Some(served) = served.as_ref().filter(|served| served.name == asked.model) else {
        return Err(CoreError::no_such_model(&asked.model, &app.names()));
    };
    let embedder = served.for_request(&headers)?;
    let (dimension, limit) = (embedder.dimension(), embedder.max_tokens());
    if let Some(wanted) = asked.dimensions.filter(|wanted| *wanted != dimension) {
        return Err(CoreError::invalid(Some("dimensions"), format!("`dimensions` is {wanted}, but this model's vectors have {dimension}")));
    }
    if let Some(wanted) = asked.truncate_prompt_tokens.filter(|wanted| *wanted != -1 && usize::try_from(*wanted).is_ok_and(|wanted| wanted < limit)) {
        let reason = format!("`truncate_prompt_tokens` is {wanted}, but this model cuts at {limit} tokens; cut the texts yourself");
        return Err(CoreError::invalid(Some("truncate_prompt_tokens"), reason));
    }
    let party = Party(asked.user.map_or(0, |user| {
        let hash = blake3::hash(user.as_bytes());
        u128::from_le_bytes(hash.as_bytes()[..16].try_into().expect("half of 32 bytes"))
    }));
    let measured = measure(Arc::clone(embedder), texts.clone()).await?;
    let vectors = embedder.embed_for(texts.into_iter().map(|text| (party, text)).collect()).await?;
    let mut data = Vec::with_capacity(vectors.len());
    for (at, vector) in vectors.into_iter().enumerate() {
        let mut item = json!({"object": "embedding", "index": at, "embedding": encode(&vector?, asked.encoding_format)});
        if measured.as_ref().is_some_and(|measured| measured[at].truncated()) {
            item["truncated"] = json!(true);
        }
        data.push(item);
    }
    let tokens: usize = measured.iter().flatten().map(|tokens| tokens.read).sum();
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    Ok(Json(json!({"object": "list", "data": data, "model": served.name, "usage": usage})))
}

/// Counts off the reactor: a long text takes a while.
async fn measure(embedder: Arc<dyn Embedder>, texts: Vec<String>) -> Result<Option<Vec<TextTokens>>, CoreError> {
    tokio::task::spawn_blocking(move || embedder.measure(&texts)).await.map_err(|error| CoreError::internal(&error))
}

fn encode(vector: &[f32], encoding: Encoding) -> Value {
    match encoding {
        Encoding::Float => json!(vector),
        Encoding::Base64 => json!(STANDARD.encode(vector.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())),
    }
}
