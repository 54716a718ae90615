//! The memory: search it, look at one turn, count.

use std::collections::BTreeMap;

use ajatus_events::InteractionId;
use ajatus_memory::retrieve::{Hit, SearchOptions, Signals, TimeUse, UnknownSignal};
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
    /// Signals to use, or with a minus each, to leave out, with commas between: `-hop,-date`. Default all.
    signals: Option<String>,
    /// What a time in the question does: `ignore`, `prefer` or `only`. Default `prefer`.
    time: Option<String>,
    /// How much a turn loses for each better one of its session, 0 to 1. Default 0.4 where several things are asked for, else 0.
    diversity: Option<f32>,
    /// Tokens of all turns together at most, at four characters each. Default no bound.
    token_budget: Option<u32>,
    /// Return nothing below this much evidence, 0 to 1. Default 0.
    min_evidence: Option<f32>,
    /// An epoch or a time (RFC 3339): the turns as they were then, without what was forgotten since.
    as_of: Option<String>,
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
    /// Whether the memory is likely to hold an answer.
    confident: bool,
    evidence: Evidence,
    /// Best first.
    items: Vec<Found>,
}

/// How sure it is that an answer is there.
#[derive(Serialize, ToSchema)]
pub(crate) struct Evidence {
    /// Largest cosine of a turn and the question; absent when words alone were compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    cosine: Option<f32>,
    /// Largest share of the question's words that a turn and its neighbours hold.
    coverage: f32,
    /// Both together, 0 to 1.
    total: f32,
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
    let options = options(&app, &query, limit)?;
    let searched = match query.as_of.as_deref().map(super::profile::as_of).transpose()? {
        Some(past) => app.recall.search_past(who.user, &query.q, past, &options).await,
        None => app.recall.search(who.user, &query.q, &options).await,
    };
    let found = searched.map_err(|error| match error {
        RecallError::Index(error) => Problem::from(error),
        RecallError::Embed(error) => Problem::from(error),
    })?;
    let evidence = Evidence { cosine: found.evidence.cosine, coverage: found.evidence.coverage, total: found.evidence.total };
    let page = FoundPage { as_of: AsOf { epoch: found.epoch }, confident: found.confident, evidence, items: found.hits.into_iter().map(Found::from).collect() };
    Ok(axum::Json(page).into_response())
}

fn options(app: &App, query: &SearchQuery, limit: usize) -> Result<SearchOptions, Problem> {
    let refuse = |what: String| Problem::bad_request("invalid_query", what);
    let share = |name: &str, value: Option<f32>| match value {
        Some(value) if !(0.0..=1.0).contains(&value) => Err(refuse(format!("{name} is {value}, but it must be 0 to 1"))),
        other => Ok(other),
    };
    Ok(SearchOptions {
        limit,
        explain: query.explain.unwrap_or(false),
        signals: query.signals.as_deref().map_or(Ok(Signals::ALL), str::parse).map_err(|error: UnknownSignal| refuse(error.to_string()))?,
        time: match query.time.as_deref() {
            None | Some("prefer") => TimeUse::Prefer,
            Some("ignore") => TimeUse::Ignore,
            Some("only") => TimeUse::Only,
            Some(other) => return Err(refuse(format!("time is {other:?}, but it must be ignore, prefer or only"))),
        },
        now: Some(app.clock.now()),
        diversity: share("diversity", query.diversity)?,
        token_budget: query.token_budget.map(|tokens| tokens as usize),
        min_score: share("min_evidence", query.min_evidence)?.unwrap_or(0.0),
    })
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
