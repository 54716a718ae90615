//! The profile: see it, ask why and why not, see how it was, change it.

use ajatus_events::{InteractionId, ProfileEdit, ProfileOp};
use ajatus_memory::profile::{self, AsOf, HeldFact, NotAPoint, Profile, Said, View};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::after::{catch_up, wait};
use crate::auth::Who;
use crate::body::{Json, Path, Query};
use crate::edits::{append_edit, take_back};
use crate::problem::Problem;
use crate::server::App;

/// Half-lives that are taken, days.
const HALF_LIVES: std::ops::RangeInclusive<f64> = 0.01..=100_000.0;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProfileQuery {
    /// A receipt: wait until that write is in, or say how far it is (202).
    after: Option<String>,
    /// An epoch or a time (RFC 3339): the profile as it was then, without what was forgotten since.
    as_of: Option<String>,
    /// `true`: what is no longer so, too. Default false.
    history: Option<bool>,
    /// Facts of this attribute only.
    attribute: Option<String>,
    /// Facts about this person only: `self`, or a name.
    about: Option<String>,
    /// Days after which an interest counts half. Default 30.
    half_life_days: Option<f64>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct WhyNotQuery {
    /// Words that one would expect among the values.
    value: String,
    /// The attribute they would be of.
    attribute: Option<String>,
}

/// Where a fact was said.
#[derive(Serialize, ToSchema)]
pub(crate) struct FactSource {
    /// The turn, or the edit.
    turn: String,
    said_at: DateTime<Utc>,
    /// 0 to 100.
    confidence: u8,
    /// Rule or prompt that found it; `user.correct` for an edit.
    rule: String,
    /// Version of the rules, or the model.
    version: String,
    /// The words that say it, where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    words: Option<String>,
    /// The whole turn, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

/// What ended a fact, or made it doubtful.
#[derive(Serialize, ToSchema)]
pub(crate) struct FactCause {
    /// `superseded`, `ended`, `denied`, `corrected`, or the attribute that changed.
    why: String,
    at: DateTime<Utc>,
    /// The value that took its place.
    value: Option<String>,
    /// The turn or edit that says so.
    turn: String,
}

/// One fact.
#[derive(Serialize, ToSchema)]
pub(crate) struct Fact {
    id: String,
    about: String,
    attribute: String,
    value: String,
    /// `current`, `upcoming`, `stale`, `past`, `superseded`, `corrected` or `forgotten`.
    state: String,
    /// 0 to 100.
    confidence: u8,
    valid_from: Option<DateTime<Utc>>,
    valid_to: Option<DateTime<Utc>>,
    pinned: bool,
    muted: bool,
    ended_by: Option<FactCause>,
    stale_because: Option<FactCause>,
    /// The epoch that wrote it.
    epoch: u64,
    sources: Vec<FactSource>,
}

/// Something that comes up again and again.
#[derive(Serialize, ToSchema)]
pub(crate) struct Interest {
    topic: String,
    /// Mentions, each halved for every half-life since.
    weight: f64,
    mentions: u64,
    days: u64,
    last: DateTime<Utc>,
}

/// How and when the user writes: counts of their turns.
#[derive(Serialize, ToSchema)]
pub(crate) struct Habits {
    turns: u64,
    words_per_turn: f64,
    questions: u64,
    exclamations: u64,
    emoji: u64,
    languages: Languages,
    /// Turns by hour of the day, UTC, from midnight.
    hours: Vec<u64>,
    /// Turns by day of the week, from Monday.
    weekdays: Vec<u64>,
}

/// Turns by language.
#[derive(Serialize, ToSchema)]
pub(crate) struct Languages {
    finnish: u64,
    english: u64,
    other: u64,
}

/// A remembered turn that answers were given.
#[derive(Serialize, ToSchema)]
pub(crate) struct Use {
    turn: Uuid,
    times: u64,
    last: DateTime<Utc>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct ProfileDocument {
    /// Every change up to this epoch is in.
    epoch: u64,
    facts: Vec<Fact>,
    /// People that facts are about, besides the user.
    people: Vec<String>,
    /// Strongest first, 50 at most.
    interests: Vec<Interest>,
    habits: Option<Habits>,
    /// Most used first, 50 at most.
    most_used: Vec<Use>,
}

/// Why something is not in the profile.
#[derive(Serialize, ToSchema)]
pub(crate) struct WhyNot {
    /// What it is after all.
    current: Vec<Fact>,
    /// What it was, and what ended it.
    dropped: Vec<Fact>,
    /// Turns that hold the words and said no such fact, newest first, 20 at most.
    unread: Vec<Unread>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Unread {
    turn: Uuid,
    said_at: DateTime<Utc>,
    text: String,
}

/// A change of the profile.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewEdit {
    /// `correct`: it was never so; `pin`: keep it in sight; `mute`: do not use it in answers; `forget`: leave it out, however often it is said.
    #[schema(value_type = String)]
    op: ProfileOp,
    attribute: String,
    /// Default `self`.
    about: Option<String>,
    /// The value; absent: whatever it is.
    value: Option<String>,
    /// What is right, of a correction.
    instead: Option<String>,
}

/// A change that stands.
#[derive(Serialize, ToSchema)]
pub(crate) struct Edit {
    id: Uuid,
    #[schema(value_type = String)]
    op: ProfileOp,
    attribute: String,
    about: String,
    value: Option<String>,
    instead: Option<String>,
    made_at: DateTime<Utc>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct EditPage {
    /// Oldest first.
    items: Vec<Edit>,
}

/// A change on the log.
#[derive(Serialize, ToSchema)]
pub(crate) struct WrittenEdit {
    id: Uuid,
    /// Give it as `after` to read what you wrote.
    receipt: String,
}

fn at(us: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(us).unwrap_or_default()
}

fn cause(cause: profile::Cause) -> FactCause {
    FactCause { why: cause.why, at: at(cause.at_us), value: cause.value, turn: cause.turn }
}

impl From<HeldFact> for Fact {
    fn from(held: HeldFact) -> Self {
        let entry = held.entry;
        let source = |source: profile::Source| FactSource {
            turn: source.turn,
            said_at: at(source.said_us),
            confidence: source.confidence,
            rule: source.rule,
            version: source.version,
            words: None,
            text: None,
        };
        Self {
            id: held.id,
            about: entry.about,
            attribute: entry.attribute,
            value: entry.value,
            state: held.state.as_str().to_owned(),
            confidence: entry.confidence,
            valid_from: entry.from_us.map(at),
            valid_to: entry.to_us.map(at),
            pinned: entry.flags.pinned,
            muted: entry.flags.muted,
            ended_by: entry.ended_by.map(cause),
            stale_because: entry.stale.map(cause),
            epoch: held.epoch,
            sources: entry.sources.into_iter().map(source).collect(),
        }
    }
}

impl From<Said> for FactSource {
    fn from(said: Said) -> Self {
        let source = said.source;
        Self {
            turn: source.turn,
            said_at: said.occurred_at,
            confidence: source.confidence,
            rule: source.rule,
            version: source.version,
            words: said.words,
            text: said.text,
        }
    }
}

impl From<profile::Habits> for Habits {
    fn from(held: profile::Habits) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "words and turns of one user")]
        let words_per_turn = held.words as f64 / held.turns.max(1) as f64;
        Self {
            turns: held.turns,
            words_per_turn,
            questions: held.questions,
            exclamations: held.exclamations,
            emoji: held.emoji,
            languages: Languages { finnish: held.finnish, english: held.english, other: held.turns.saturating_sub(held.finnish + held.english) },
            hours: held.hours.to_vec(),
            weekdays: held.weekdays.to_vec(),
        }
    }
}

fn view(app: &App, half_life_days: Option<f64>) -> Result<View, Problem> {
    let view = View::at(app.clock.now());
    match half_life_days {
        None => Ok(view),
        Some(days) if HALF_LIVES.contains(&days) => Ok(View { half_life_days: days, ..view }),
        Some(days) => Err(Problem::bad_request("invalid_query", format!("half_life_days is {days}, but it must be 0.01 to 100000"))),
    }
}

pub(super) fn as_of(text: &str) -> Result<AsOf, Problem> {
    text.parse().map_err(|error: NotAPoint| Problem::bad_request("invalid_query", format!("as_of: {error}")))
}

async fn current(app: &App, who: &Who) -> Result<Profile, Problem> {
    Ok(profile::read(&app.db, &app.keys, who.user, View::at(app.clock.now())).await?)
}

/// What is known of the user: facts, interests, habits, and which memories were of use.
#[utoipa::path(get, path = "/v1/profile", tag = "profile", security(("access_token" = [])), params(ProfileQuery),
    responses((status = 200, body = ProfileDocument), (status = 202, description = "the write of `after` is not in yet", body = super::after::Progress), (status = 400, body = Problem)))]
pub(crate) async fn get_profile(State(app): State<App>, who: Who, Query(query): Query<ProfileQuery>) -> Result<Response, Problem> {
    let view = view(&app, query.half_life_days)?;
    let past = query.as_of.as_deref().map(as_of).transpose()?;
    if let Some(progress) = wait(&app, who.user, query.after.as_deref()).await? {
        return Ok(progress);
    }
    let held = match past {
        Some(past) => past.profile(&app.db, &app.keys, who.user, view).await?,
        None => profile::read(&app.db, &app.keys, who.user, view).await?,
    };
    let history = query.history.unwrap_or(false);
    let wanted = |fact: &HeldFact| {
        (history || fact.shown())
            && query.attribute.as_ref().is_none_or(|attribute| *attribute == fact.entry.attribute)
            && query.about.as_ref().is_none_or(|about| about.to_lowercase() == fact.entry.about.to_lowercase())
    };
    let mut people: Vec<String> = held.facts.iter().map(|fact| fact.entry.about.clone()).filter(|about| about != "self").collect();
    people.sort();
    people.dedup();
    let interest = |held: profile::Interest| Interest { topic: held.topic, weight: held.weight, mentions: held.mentions, days: held.days, last: held.last };
    let document = ProfileDocument {
        epoch: held.epoch,
        facts: held.facts.into_iter().filter(wanted).map(Fact::from).collect(),
        people,
        interests: held.interests.into_iter().take(50).map(interest).collect(),
        habits: held.habits.map(Habits::from),
        most_used: held.uses.into_iter().take(50).map(|held| Use { turn: held.turn.0, times: held.times, last: held.last }).collect(),
    };
    Ok(axum::Json(document).into_response())
}

/// Why a fact is in the profile: every source, with its words.
#[utoipa::path(get, path = "/v1/profile/facts/{id}", tag = "profile", security(("access_token" = [])), params(("id" = String, Path)),
    responses((status = 200, body = Fact), (status = 404, body = Problem)))]
pub(crate) async fn get_fact(State(app): State<App>, who: Who, Path(id): Path<String>) -> Result<axum::Json<Fact>, Problem> {
    let held = current(&app, &who).await?.facts.into_iter().find(|fact| fact.id == id).ok_or_else(|| Problem::not_found("fact"))?;
    let said = profile::why(&app.db, &app.keys, who.user, &held).await?;
    Ok(axum::Json(Fact { sources: said.into_iter().map(FactSource::from).collect(), ..Fact::from(held) }))
}

/// Why a value is not in the profile: what ended it, or which turns hold the words and say no such fact.
#[utoipa::path(get, path = "/v1/profile/why-not", tag = "profile", security(("access_token" = [])), params(WhyNotQuery),
    responses((status = 200, body = WhyNot), (status = 400, body = Problem)))]
pub(crate) async fn get_why_not(State(app): State<App>, who: Who, Query(query): Query<WhyNotQuery>) -> Result<axum::Json<WhyNot>, Problem> {
    if query.value.trim().is_empty() || query.value.chars().count() > 300 {
        return Err(Problem::bad_request("invalid_query", "value must have 1 to 300 characters"));
    }
    let held = current(&app, &who).await?;
    let found = profile::why_not(&app.db, &app.keys, who.user, &held, &query.value, query.attribute.as_deref()).await?;
    let facts = |held: Vec<HeldFact>| held.into_iter().map(Fact::from).collect();
    let unread = found.unread.into_iter().map(|(turn, said_at, text)| Unread { turn: turn.0, said_at, text }).collect();
    Ok(axum::Json(WhyNot { current: facts(found.current), dropped: facts(found.dropped), unread }))
}

/// Changes the profile. The change is a record of its own; taking it back undoes it.
#[utoipa::path(post, path = "/v1/profile/edits", tag = "profile", security(("access_token" = [])), request_body = NewEdit,
    responses((status = 202, body = WrittenEdit), (status = 422, body = Problem)))]
pub(crate) async fn create_edit(State(app): State<App>, who: Who, Json(wanted): Json<NewEdit>) -> Result<(StatusCode, axum::Json<WrittenEdit>), Problem> {
    let about = wanted.about.unwrap_or_else(|| "self".to_owned());
    let edit = ProfileEdit { op: wanted.op, attribute: wanted.attribute, about, value: wanted.value, instead: wanted.instead };
    let (id, receipt) = append_edit(&app.log, &app.keys, who.user, edit, app.clock.now()).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(WrittenEdit { id: id.0, receipt: receipt.to_string() })))
}

/// The changes that stand.
#[utoipa::path(get, path = "/v1/profile/edits", tag = "profile", security(("access_token" = [])), responses((status = 200, body = EditPage)))]
pub(crate) async fn list_edits(State(app): State<App>, who: Who) -> Result<axum::Json<EditPage>, Problem> {
    let held = app.db.profile_edits(&app.keys, who.user).await?;
    let items = held.into_iter().map(|held| Edit {
        id: held.id.0,
        op: held.edit.op,
        attribute: held.edit.attribute,
        about: held.edit.about,
        value: held.edit.value,
        instead: held.edit.instead,
        made_at: held.occurred_at,
    });
    Ok(axum::Json(EditPage { items: items.collect() }))
}

/// Takes a change back.
#[utoipa::path(delete, path = "/v1/profile/edits/{id}", tag = "profile", security(("access_token" = [])), params(("id" = Uuid, Path)),
    responses((status = 202, body = WrittenEdit), (status = 404, body = Problem)))]
pub(crate) async fn delete_edit(State(app): State<App>, who: Who, Path(id): Path<Uuid>) -> Result<(StatusCode, axum::Json<WrittenEdit>), Problem> {
    let is_there = async || Ok::<bool, Problem>(app.db.profile_edits(&app.keys, who.user).await?.iter().any(|edit| edit.id.0 == id));
    if !is_there().await? {
        // It may have been made just now.
        catch_up(&app, who.user).await?;
        if !is_there().await? {
            return Err(Problem::not_found("edit"));
        }
    }
    let receipt = take_back(&app.log, &app.keys, who.user, InteractionId(id)).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(WrittenEdit { id, receipt: receipt.to_string() })))
}
