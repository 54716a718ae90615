//! The memory: search it, look at one turn, count.

use std::collections::BTreeMap;

use ajatus_events::InteractionId;
use ajatus_memory::retrieve::{Hit, SearchOptions};
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::after::{Progress, wait};
use super::conversations::limit;
use super::messages::Message;
use crate::auth::Who;
use crate::body::{Path, Query};
use crate::problem::Problem;
use crate::recall::RecallError;
use crate::server::App;

/// Characters of a question at most.
const MAX_QUESTION: usize = 2_000;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct SearchQuery {
    /// The question, in plain words.
    q: String,
    /// Turns wanted, 1 to 100. Default 10.
    limit: Option<u32>,
    /// A receipt: wait until that write is in, or say how far it is (202).
    after: Option<String>,
    /// Say what spoke for each turn. Default false.
    explain: Option<bool>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct AfterQuery {
    /// A receipt: wait until that write is in, or say how far it is (202).
    after: Option<String>,
}

/// A turn found.
#[derive(Serialize, ToSchema)]
pub(crate) struct Found {
    #[serde(flatten)]
    message: Message,
    score: f32,
    /// What spoke for it, if asked.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    signals: BTreeMap<String, f32>,
}

/// What the answer stands for.
#[derive(Serialize, ToSchema)]
pub(crate) struct AsOf {
    /// Every change up to this epoch was seen.
    epoch: u64,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct FoundPage {
    as_of: AsOf,
    /// Best first.
    items: Vec<Found>,
}

/// Counts of the user's turns.
#[derive(Serialize, ToSchema)]
pub(crate) struct Activity {
    as_of: AsOf,
    turns: u64,
    user_turns: u64,
    assistant_turns: u64,
    other_turns: u64,
    first_at: Option<DateTime<Utc>>,
    last_at: Option<DateTime<Utc>>,
}

impl From<Hit> for Found {
    fn from(hit: Hit) -> Self {
        Self {
            message: (*hit.memory).clone().into(),
            score: hit.score,
            signals: hit.signals.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        }
    }
}

/// Finds turns in the user's own memory, with where each was said.
#[utoipa::path(get, path = "/v1/memories/search", tag = "memories", security(("access_token" = [])), params(SearchQuery), responses(
    (status = 200, body = FoundPage), (status = 202, description = "the write of `after` is not in yet", body = Progress), (status = 400, body = Problem)))]
pub(crate) async fn search_memories(State(app): State<App>, who: Who, Query(query): Query<SearchQuery>) -> Result<Response, Problem> {
    let characters = query.q.chars().count();
    if query.q.trim().is_empty() || characters > MAX_QUESTION {
        return Err(Problem::bad_request("invalid_query", format!("q must have 1 to {MAX_QUESTION} characters")));
    }
    let limit = limit(query.limit, 10)? as usize;
    if let Some(progress) = wait(&app, who.user, query.after.as_deref()).await? {
        return Ok(progress);
    }
    let options = SearchOptions { limit, explain: query.explain.unwrap_or(false), ..SearchOptions::default() };
    let found = app.recall.search(who.user, &query.q, &options).await.map_err(|error| match error {
        RecallError::Index(error) => Problem::from(error),
        RecallError::Embed(error) => Problem::from(error),
    })?;
    let page = FoundPage { as_of: AsOf { epoch: found.epoch }, items: found.hits.into_iter().map(Found::from).collect() };
    Ok(axum::Json(page).into_response())
}

/// One remembered turn.
#[utoipa::path(get, path = "/v1/memories/{id}", tag = "memories", security(("access_token" = [])), params(("id" = Uuid, Path)),
    responses((status = 200, body = Message), (status = 404, body = Problem)))]
pub(crate) async fn get_memory(State(app): State<App>, who: Who, Path(id): Path<Uuid>) -> Result<axum::Json<Message>, Problem> {
    let held = app.db.memories_by_id(&app.keys, who.user, &[InteractionId(id)]).await?;
    held.into_iter().next().map(|memory| axum::Json(memory.into())).ok_or_else(|| Problem::not_found("memory"))
}

/// How much was said, by whom, since when.
#[utoipa::path(get, path = "/v1/profile/activity", tag = "profile", security(("access_token" = [])), params(AfterQuery),
    responses((status = 200, body = Activity), (status = 202, body = Progress)))]
pub(crate) async fn get_activity(State(app): State<App>, who: Who, Query(query): Query<AfterQuery>) -> Result<Response, Problem> {
    if let Some(progress) = wait(&app, who.user, query.after.as_deref()).await? {
        return Ok(progress);
    }
    let epoch = app.recall.index().frontier().borrow().epoch;
    let activity = match app.db.activity(who.user).await? {
        Some(held) => Activity {
            as_of: AsOf { epoch: epoch.max(held.epoch) },
            turns: held.turns,
            user_turns: held.user_turns,
            assistant_turns: held.assistant_turns,
            other_turns: held.other_turns,
            first_at: Some(held.first_at),
            last_at: Some(held.last_at),
        },
        None => Activity { as_of: AsOf { epoch }, turns: 0, user_turns: 0, assistant_turns: 0, other_turns: 0, first_at: None, last_at: None },
    };
    Ok(axum::Json(activity).into_response())
}
