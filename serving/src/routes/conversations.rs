//! Conversations.

use ajatus_events::ConversationId;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Datelike as _, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::auth::Who;
use crate::body::{Json, Path, Query};
use crate::problem::Problem;
use crate::server::App;

/// Characters of a title at most.
const MAX_TITLE: usize = 200;
/// Items of a page at most.
pub(super) const MAX_PAGE: u32 = 100;

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NewConversation {
    /// Its name.
    title: Option<String>,
}

/// One thread of talk.
#[derive(Serialize, ToSchema)]
pub(crate) struct Conversation {
    id: Uuid,
    title: Option<String>,
    created_at: DateTime<Utc>,
    /// When something was last said in it.
    updated_at: DateTime<Utc>,
    /// Turns in the memory.
    turns: u64,
}

/// A page of conversations.
#[derive(Serialize, ToSchema)]
pub(crate) struct ConversationPage {
    items: Vec<Conversation>,
    /// Give it as `cursor` for the next page; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageQuery {
    /// Where the page before ended.
    cursor: Option<String>,
    /// Items, 1 to 100. Default 30.
    limit: Option<u32>,
}

impl From<ajatus_memory::postgres::Conversation> for Conversation {
    fn from(held: ajatus_memory::postgres::Conversation) -> Self {
        Self { id: held.id.0, title: held.title, created_at: held.created_at, updated_at: held.updated_at, turns: held.turns }
    }
}

fn checked(title: Option<String>) -> Result<Option<String>, Problem> {
    let title = title.map(|title| title.trim().to_owned()).filter(|title| !title.is_empty());
    match &title {
        Some(title) if title.chars().count() > MAX_TITLE => {
            Err(Problem::invalid("long_title", format!("the title may have {MAX_TITLE} characters at most")))
        }
        _ => Ok(title),
    }
}

pub(super) fn limit(wanted: Option<u32>, usual: u32) -> Result<u32, Problem> {
    match wanted {
        None => Ok(usual),
        Some(limit @ 1..=MAX_PAGE) => Ok(limit),
        Some(limit) => Err(Problem::bad_request("invalid_query", format!("limit is {limit}, but it must be 1 to {MAX_PAGE}"))),
    }
}

/// A cursor: opaque to clients.
pub(super) fn cursor(at: DateTime<Utc>, rest: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{} {rest}", at.timestamp_micros()))
}

pub(super) fn parse_cursor<T: std::str::FromStr>(text: &str) -> Result<(DateTime<Utc>, T), Problem> {
    let parsed = || {
        let plain = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let (at, rest) = plain.split_once(' ')?;
        let at = DateTime::from_timestamp_micros(at.parse().ok()?)?;
        // Times that the database can hold.
        (1..=9_999).contains(&at.year()).then_some((at, rest.parse().ok()?))
    };
    parsed().ok_or_else(|| Problem::bad_request("invalid_query", "the cursor is not one of ours"))
}

/// Opens a conversation.
#[utoipa::path(post, path = "/v1/conversations", tag = "conversations", security(("access_token" = [])), request_body = NewConversation,
    responses((status = 201, body = Conversation), (status = 401, body = Problem)))]
pub(crate) async fn create_conversation(
    State(app): State<App>,
    who: Who,
    Json(wanted): Json<NewConversation>,
) -> Result<(StatusCode, axum::Json<Conversation>), Problem> {
    let title = checked(wanted.title)?;
    let made = app.db.create_conversation(&app.keys, who.user, title.as_deref()).await?;
    Ok((StatusCode::CREATED, axum::Json(made.into())))
}

/// The user's conversations, newest first.
#[utoipa::path(get, path = "/v1/conversations", tag = "conversations", security(("access_token" = [])), params(PageQuery),
    responses((status = 200, body = ConversationPage), (status = 401, body = Problem)))]
pub(crate) async fn list_conversations(State(app): State<App>, who: Who, Query(query): Query<PageQuery>) -> Result<axum::Json<ConversationPage>, Problem> {
    let limit = limit(query.limit, 30)?;
    let after = query.cursor.as_deref().map(parse_cursor::<ConversationId>).transpose()?;
    let held = app.db.list_conversations(&app.keys, who.user, after, limit).await?;
    let full = held.len() == limit as usize;
    let next_cursor = held.last().filter(|_| full).map(|last| cursor(last.created_at, &last.id.to_string()));
    Ok(axum::Json(ConversationPage { items: held.into_iter().map(Conversation::from).collect(), next_cursor }))
}

/// One conversation.
#[utoipa::path(get, path = "/v1/conversations/{id}", tag = "conversations", security(("access_token" = [])), params(("id" = Uuid, Path)),
    responses((status = 200, body = Conversation), (status = 404, body = Problem)))]
pub(crate) async fn get_conversation(State(app): State<App>, who: Who, Path(id): Path<Uuid>) -> Result<axum::Json<Conversation>, Problem> {
    let held = app.db.conversation(&app.keys, who.user, ConversationId(id)).await?;
    held.map(|held| axum::Json(held.into())).ok_or_else(|| Problem::not_found("conversation"))
}

/// Names a conversation anew.
#[utoipa::path(patch, path = "/v1/conversations/{id}", tag = "conversations", security(("access_token" = [])), params(("id" = Uuid, Path)),
    request_body = NewConversation, responses((status = 200, body = Conversation), (status = 404, body = Problem)))]
pub(crate) async fn update_conversation(
    State(app): State<App>,
    who: Who,
    Path(id): Path<Uuid>,
    Json(wanted): Json<NewConversation>,
) -> Result<axum::Json<Conversation>, Problem> {
    let title = checked(wanted.title)?;
    if !app.db.rename_conversation(&app.keys, who.user, ConversationId(id), title.as_deref()).await? {
        return Err(Problem::not_found("conversation"));
    }
    get_conversation(State(app), who, Path(id)).await
}
