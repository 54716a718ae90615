//! Replies in the making: read on after a lost connection, stop.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use super::messages::events;
use crate::auth::Who;
use crate::body::{Path, Query};
use crate::problem::Problem;
use crate::reply::Frame;
use crate::server::App;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct FrameQuery {
    /// Number of the last frame seen; absent: from the first. `last-event-id` does the same.
    after: Option<u64>,
}

/// Frames of a reply, from where the client lost them.
#[utoipa::path(get, path = "/v1/replies/{id}/frames", tag = "replies", security(("access_token" = [])), params(("id" = Uuid, Path), FrameQuery),
    responses((status = 200, content_type = "text/event-stream", body = Frame), (status = 404, body = Problem)))]
pub(crate) async fn list_frames(
    State(app): State<App>,
    who: Who,
    Path(id): Path<Uuid>,
    Query(query): Query<FrameQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()).and_then(|value| value.parse::<u64>().ok());
    let from = query.after.or(last).map_or(0, |seen| seen.saturating_add(1));
    let frames = app.replier.frames(who.user, id, from).ok_or_else(|| Problem::not_found("reply"))?;
    Ok(events(frames).into_response())
}

/// Stops a reply; what was said so far is kept.
#[utoipa::path(post, path = "/v1/replies/{id}/stop", tag = "replies", security(("access_token" = [])), params(("id" = Uuid, Path)),
    responses((status = 202, description = "it stops before its next word"), (status = 404, body = Problem)))]
pub(crate) async fn stop_reply(State(app): State<App>, who: Who, Path(id): Path<Uuid>) -> Result<StatusCode, Problem> {
    if app.replier.stop(who.user, id) { Ok(StatusCode::ACCEPTED) } else { Err(Problem::not_found("reply")) }
}
