//! Health, metrics, and the key of the access tokens.

use std::collections::BTreeMap;
use std::time::Duration;

use ajatus_events::topic;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::server::App;

/// Longest wait for a part to say that it works.
const PATIENCE: Duration = Duration::from_secs(2);

/// Parts and whether they work.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    ready: bool,
    /// `ok`, or what is wrong.
    parts: BTreeMap<String, String>,
}

/// The process answers.
#[utoipa::path(get, path = "/health/live", tag = "system", responses((status = 200, description = "alive", body = String)))]
pub(crate) async fn live() -> &'static str {
    "alive"
}

/// Every part works.
#[utoipa::path(get, path = "/health/ready", tag = "system", responses((status = 200, body = Health), (status = 503, body = Health)))]
pub(crate) async fn ready(State(app): State<App>) -> Response {
    let mut parts = BTreeMap::new();
    let (postgres, log) = tokio::join!(within(app.db.ping()), within(app.log.end_offset(topic::INTERACTIONS, 0)));
    parts.insert("postgres".to_owned(), postgres);
    parts.insert("log".to_owned(), log);
    for (part, state) in (app.probe)() {
        parts.insert(part.to_owned(), state.err().unwrap_or_else(|| "ok".to_owned()));
    }
    let ready = parts.values().all(|state| state == "ok");
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(Health { ready, parts })).into_response()
}

/// `ok`, or what is wrong.
async fn within<T, E: std::fmt::Display>(asked: impl Future<Output = Result<T, E>>) -> String {
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(_)) => "ok".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
    }
}

/// Prometheus text.
#[utoipa::path(get, path = "/metrics", tag = "system", responses((status = 200, content_type = "text/plain", body = String)))]
pub(crate) async fn metrics(State(app): State<App>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], (app.metrics)()).into_response()
}

/// Public key of the access tokens.
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "system", responses((status = 200, description = "JWKS", body = Object)))]
pub(crate) async fn jwks(State(app): State<App>) -> axum::Json<serde_json::Value> {
    axum::Json(app.tokens.jwks())
}
