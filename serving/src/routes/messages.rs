//! Messages of a conversation: post one and hear the reply, read them, forget one.

use std::convert::Infallible;
use std::time::Duration;

use ajatus_events::{ConversationId, InteractionId, Role, SourceRef};
use ajatus_memory::postgres::Memory;
use axum::extract::State;
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use futures::{Stream, StreamExt as _};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::after::catch_up;
use super::conversations::{cursor, limit, parse_cursor};
use crate::auth::Who;
use crate::body::{Json, Path, Query};
use crate::edits::take_back;
use crate::problem::Problem;
use crate::reply::{Frame, FrameBody, Frames};
use crate::request::current_id;
use crate::server::App;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMessage {
    /// What the user says; 8,000 characters at most.
    text: String,
}

/// One turn.
#[derive(Serialize, ToSchema)]
pub(crate) struct Message {
    pub(super) id: Uuid,
    pub(super) conversation_id: Uuid,
    /// `user`, `assistant`, or `other` in imported conversations.
    #[schema(value_type = String)]
    pub(super) role: Role,
    pub(super) speaker: Option<String>,
    pub(super) text: String,
    pub(super) caption: Option<String>,
    pub(super) occurred_at: DateTime<Utc>,
    /// Where an imported turn stood.
    #[schema(value_type = Option<Object>)]
    pub(super) source: Option<SourceRef>,
}

/// A page of turns, the newest last.
#[derive(Serialize, ToSchema)]
pub(crate) struct MessagePage {
    items: Vec<Message>,
    /// Give it as `cursor` for the page before; absent at the beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// Longest wait for a whole reply; it goes on after.
const WHOLE: Duration = Duration::from_secs(110);

/// A whole reply, for clients that do not stream.
#[derive(Serialize, ToSchema)]
pub(crate) struct WholeReply {
    reply_id: Uuid,
    /// The answer as a message; none if it ended before its first word.
    message_id: Option<Uuid>,
    text: String,
    /// Of the answer, or of the message if there is none: give it as `after` to see what it changed.
    receipt: String,
    /// `stop`, `length`, `stopped` or `timeout`.
    finish_reason: String,
    memories: Vec<crate::reply::UsedMemory>,
}

/// Where a write stands.
#[derive(Serialize, ToSchema)]
pub(crate) struct Written {
    /// Give it as `after` to read what you wrote.
    pub(super) receipt: String,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct TurnQuery {
    /// Where the page ended.
    cursor: Option<String>,
    /// Items, 1 to 100. Default 50.
    limit: Option<u32>,
}

impl From<Memory> for Message {
    fn from(memory: Memory) -> Self {
        Self {
            id: memory.id.0,
            conversation_id: memory.conversation_id.0,
            role: memory.role,
            speaker: memory.body.speaker,
            text: memory.body.text,
            caption: memory.body.caption,
            occurred_at: memory.occurred_at,
            source: memory.body.source,
        }
    }
}

/// Says something; answers with the reply's frames as server-sent events, or whole with `accept: application/json`.
///
/// The reply goes on when the connection is lost: read on at `/v1/replies/{id}/frames`.
#[utoipa::path(post, path = "/v1/conversations/{id}/messages", tag = "messages", security(("access_token" = [])), params(("id" = Uuid, Path)),
    request_body = NewMessage, responses(
        (status = 200, description = "frames `{id, seq, type, …}`: accepted, memories, token…, done or error", content_type = "text/event-stream", body = Frame),
        (status = 201, description = "the whole reply", content_type = "application/json", body = WholeReply),
        (status = 404, body = Problem), (status = 422, body = Problem),
        (status = 429, description = "too many replies to this user are in the making", body = Problem), (status = 503, body = Problem)))]
pub(crate) async fn create_message(
    State(app): State<App>,
    who: Who,
    Path(id): Path<Uuid>,
    headers: HeaderMap,
    Json(message): Json<NewMessage>,
) -> Result<Response, Problem> {
    let conversation = ConversationId(id);
    if app.db.conversation(&app.keys, who.user, conversation).await?.is_none() {
        return Err(Problem::not_found("conversation"));
    }
    let frames = app.replier.start(who.user, conversation, message.text).await?;
    if wants_whole(&headers) {
        return whole(frames).await.map(|reply| (StatusCode::CREATED, axum::Json(reply)).into_response());
    }
    Ok(events(frames).into_response())
}

/// Whether the client takes JSON and no event stream.
fn wants_whole(headers: &HeaderMap) -> bool {
    let accepts = |kind: &str| {
        let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
        values.filter_map(|item| item.split(';').next()).any(|item| item.trim().eq_ignore_ascii_case(kind))
    };
    accepts("application/json") && !accepts("text/event-stream")
}

async fn whole(mut frames: Frames) -> Result<WholeReply, Problem> {
    let reply_id = frames.id();
    let (mut text, mut memories, mut taken) = (String::new(), Vec::new(), String::new());
    let until = tokio::time::Instant::now() + WHOLE;
    while let Ok(Some(frame)) = tokio::time::timeout_at(until, frames.next()).await {
        match frame.body {
            FrameBody::Token { text: more } => text.push_str(&more),
            FrameBody::Memories { used } => memories = used,
            FrameBody::Accepted { receipt, .. } => taken = receipt.to_string(),
            // The client must not say it twice.
            FrameBody::Error { problem } => {
                let detail = format!("the message was taken (receipt {taken}), but there is no reply: {}", problem.detail);
                return Err(Problem { detail, request_id: current_id(), ..problem });
            }
            FrameBody::Done { message_id, receipt, finish_reason, .. } => {
                let receipt = receipt.map_or(taken, |receipt| receipt.to_string());
                return Ok(WholeReply { reply_id, message_id, text, receipt, finish_reason, memories });
            }
        }
    }
    let detail = format!("the message was taken (receipt {taken}) and the reply goes on; read it at /v1/replies/{reply_id}/frames");
    Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", detail))
}

/// Frames as server-sent events: `id` is the frame's number, so that a browser asks on from there by itself.
pub(super) fn events(frames: Frames) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = frames.map(|frame| {
        let data = serde_json::to_string(&frame).unwrap_or_default();
        Ok(Event::default().id(frame.seq.to_string()).event(frame.body.name()).data(data))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
}

/// Turns of a conversation, the newest page first.
#[utoipa::path(get, path = "/v1/conversations/{id}/messages", tag = "messages", security(("access_token" = [])),
    params(("id" = Uuid, Path), TurnQuery), responses((status = 200, body = MessagePage), (status = 404, body = Problem)))]
pub(crate) async fn list_messages(
    State(app): State<App>,
    who: Who,
    Path(id): Path<Uuid>,
    Query(query): Query<TurnQuery>,
) -> Result<axum::Json<MessagePage>, Problem> {
    let conversation = ConversationId(id);
    if app.db.conversation(&app.keys, who.user, conversation).await?.is_none() {
        return Err(Problem::not_found("conversation"));
    }
    let limit = limit(query.limit, 50)?;
    // As far as the database counts.
    let before = query.cursor.as_deref().map(parse_cursor::<i32>).transpose()?;
    let before = before.and_then(|(at, position)| Some((at, u32::try_from(position).ok()?)));
    let held = app.db.memories_of_conversation(&app.keys, who.user, conversation, before, limit).await?;
    let full = held.len() == limit as usize;
    let next_cursor = held.first().filter(|_| full).map(|first| cursor(first.occurred_at, &first.position.to_string()));
    Ok(axum::Json(MessagePage { items: held.into_iter().map(Message::from).collect(), next_cursor }))
}

/// Forgets a message: its record, its memory, its vector and its place in the counts.
#[utoipa::path(delete, path = "/v1/conversations/{id}/messages/{message_id}", tag = "messages", security(("access_token" = [])),
    params(("id" = Uuid, Path), ("message_id" = Uuid, Path)), responses((status = 202, body = Written), (status = 404, body = Problem)))]
pub(crate) async fn delete_message(
    State(app): State<App>,
    who: Who,
    Path((conversation, message)): Path<(Uuid, Uuid)>,
) -> Result<(StatusCode, axum::Json<Written>), Problem> {
    let id = InteractionId(message);
    let is_there = async || {
        let held = app.db.memories_by_id(&app.keys, who.user, &[id]).await?;
        Ok::<bool, Problem>(held.iter().any(|memory| memory.conversation_id.0 == conversation))
    };
    if !is_there().await? {
        // It may have been said just now.
        catch_up(&app, who.user).await?;
        if !is_there().await? {
            return Err(Problem::not_found("message"));
        }
    }
    let receipt = take_back(&app.log, &app.keys, who.user, id).await?;
    app.replier.forget(who.user, id);
    Ok((StatusCode::ACCEPTED, axum::Json(Written { receipt: receipt.to_string() })))
}
