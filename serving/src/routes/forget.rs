//! Forgetting to the last byte, editing a turn, deleting the account.

use ajatus_events::{Body, ConversationId, Interaction, InteractionId, InteractionKey, Receipt, Role, topic};
use ajatus_kafka::{Record, partition_for_user, wire};
use ajatus_memory::forget::{ForgetReceipt, Scope};
use ajatus_memory::index::PIPELINE;
use ajatus_memory::keys::Purpose;
use ajatus_memory::postgres::Memory;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::after::catch_up;
use super::conversations::{cursor, limit, parse_cursor};
use super::messages::Written;
use crate::auth::Who;
use crate::body::{Json, Path, Query};
use crate::forget::{ForgetRequest, Preview};
use crate::problem::Problem;
use crate::reply::MAX_MESSAGE;
use crate::server::App;

/// What is to be forgotten.
#[derive(Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum ForgetScope {
    /// One turn.
    Turn {
        /// Which.
        id: Uuid,
    },
    /// A conversation, its name included.
    Conversation {
        /// Which.
        id: Uuid,
    },
    /// What was said from one instant to before another.
    Range {
        /// From.
        from: DateTime<Utc>,
        /// To before.
        to: DateTime<Utc>,
    },
    /// Turns that hold all of these words, in any form of theirs.
    Topic {
        /// The words; 20 at most.
        words: String,
    },
    /// These turns; 10,000 at most.
    Ids {
        /// Which.
        ids: Vec<Uuid>,
    },
    /// No turn that is there: only what edits have replaced, and what was forgotten before, leaves the disk.
    Replaced {},
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewForgetting {
    scope: ForgetScope,
    /// Also the companion's answers that were given what is forgotten. Default false.
    #[serde(default)]
    with_answers: bool,
    /// Only say what would be forgotten. Default false.
    #[serde(default)]
    preview: bool,
    /// The hash of the preview that was looked at: nothing is forgotten if it is something else by now. A topic needs it.
    #[serde(default)]
    seen: Option<String>,
}

/// What was forgotten, signed: `signature` is over `statement`.
#[derive(Serialize, ToSchema)]
pub(crate) struct Forgetting {
    /// Whose, what, when, how many turns, what went where, what was not reached.
    #[schema(value_type = Object)]
    statement: serde_json::Value,
    /// Nonces of the sealed texts that are gone, as hex: only in the answer to the request itself. Search your files for them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    witnesses: Vec<String>,
    /// Ed25519, base64url.
    public_key: String,
    /// Base64url.
    signature: String,
}

/// A page of receipts, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct ForgettingPage {
    items: Vec<Forgetting>,
    /// Give it as `cursor` for the next page; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ForgettingQuery {
    /// Where the page ended.
    cursor: Option<String>,
    /// Items, 1 to 100. Default 20.
    limit: Option<u32>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Goodbye {
    /// The account's password: what goes does not come back.
    password: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EditedMessage {
    /// What it says now; 8,000 characters at most.
    text: String,
}

impl From<ForgetScope> for Scope {
    fn from(scope: ForgetScope) -> Self {
        match scope {
            ForgetScope::Turn { id } => Self::Turn { id: InteractionId(id) },
            ForgetScope::Conversation { id } => Self::Conversation { id: ConversationId(id) },
            ForgetScope::Range { from, to } => Self::Range { from, to },
            ForgetScope::Topic { words } => Self::Topic { words },
            ForgetScope::Ids { ids } => Self::Ids { ids: ids.into_iter().map(InteractionId).collect() },
            ForgetScope::Replaced {} => Self::Replaced {},
        }
    }
}

impl Forgetting {
    fn of(receipt: ForgetReceipt) -> Result<Self, Problem> {
        Ok(Self {
            statement: serde_json::to_value(&receipt.statement).map_err(|error| Problem::internal(&error))?,
            witnesses: receipt.witnesses.iter().map(ToString::to_string).collect(),
            public_key: receipt.public_key,
            signature: receipt.signature,
        })
    }
}

/// Forgets turns: off the log, out of every view, off the disk; answers with a signed receipt. Takes some seconds; goes on when the
/// connection is lost. With `preview` it says what would go.
#[utoipa::path(post, path = "/v1/forgettings", tag = "forgetting", security(("access_token" = [])), request_body = NewForgetting, responses(
    (status = 200, description = "what would be forgotten", body = Preview), (status = 201, description = "what was forgotten", body = Forgetting),
    (status = 409, description = "it is not what was seen any more", body = Problem), (status = 422, body = Problem),
    (status = 428, description = "a topic is looked at first", body = Problem),
    (status = 429, description = "another forgetting of the user is under way", body = Problem), (status = 503, body = Problem)))]
pub(crate) async fn create_forgetting(State(app): State<App>, who: Who, Json(wanted): Json<NewForgetting>) -> Result<Response, Problem> {
    let request = ForgetRequest { scope: wanted.scope.into(), with_answers: wanted.with_answers, seen: wanted.seen };
    if wanted.preview {
        return Ok(axum::Json(app.forgetter.preview(who.user, &request).await?).into_response());
    }
    let receipt = std::sync::Arc::clone(&app.forgetter).forget_through(who.user, request).await?;
    Ok((StatusCode::CREATED, axum::Json(Forgetting::of(receipt)?)).into_response())
}

/// Receipts of what was forgotten, newest first, without their witnesses.
#[utoipa::path(get, path = "/v1/forgettings", tag = "forgetting", security(("access_token" = [])), params(ForgettingQuery),
    responses((status = 200, body = ForgettingPage), (status = 400, body = Problem)))]
pub(crate) async fn list_forgettings(State(app): State<App>, who: Who, Query(query): Query<ForgettingQuery>) -> Result<axum::Json<ForgettingPage>, Problem> {
    let limit = limit(query.limit, 20)?;
    let after = query.cursor.as_deref().map(parse_cursor::<Uuid>).transpose()?;
    let held = app.db.forgettings(who.user, after, limit).await?;
    let full = held.len() == limit as usize;
    let next_cursor = held.last().filter(|_| full).map(|last| cursor(last.statement.finished_at, &last.statement.id.to_string()));
    let items = held.into_iter().map(Forgetting::of).collect::<Result<_, _>>()?;
    Ok(axum::Json(ForgettingPage { items, next_cursor }))
}

/// One receipt, without its witnesses.
#[utoipa::path(get, path = "/v1/forgettings/{id}", tag = "forgetting", security(("access_token" = [])), params(("id" = Uuid, Path)),
    responses((status = 200, body = Forgetting), (status = 404, body = Problem)))]
pub(crate) async fn get_forgetting(State(app): State<App>, who: Who, Path(id): Path<Uuid>) -> Result<axum::Json<Forgetting>, Problem> {
    let held = app.db.forgetting(who.user, id).await?.ok_or_else(|| Problem::not_found("forgetting"))?;
    Forgetting::of(held).map(axum::Json)
}

/// Forgets the account: the key first, then every turn, row, session and the login. The name is free again.
#[utoipa::path(delete, path = "/v1/me", tag = "accounts", security(("access_token" = [])), request_body = Goodbye, responses(
    (status = 200, description = "what was forgotten; nobody is signed in any more", body = Forgetting),
    (status = 403, description = "the password is wrong", body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
pub(crate) async fn delete_me(State(app): State<App>, who: Who, Json(goodbye): Json<Goodbye>) -> Result<axum::Json<Forgetting>, Problem> {
    let account = app.db.account(&app.keys, who.user).await?.ok_or_else(|| Problem::not_found("account"))?;
    let brake = app.keys.blind("login brake", &account.login);
    if let Err(seconds) = app.limiter.admit(brake, app.clock.now()) {
        let detail = format!("too many wrong passwords for this login; try again in {seconds} s");
        return Err(Problem { retry_after: Some(seconds), ..Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", detail) });
    }
    if !app.passwords.verify(goodbye.password, account.password_hash).await? {
        return Err(Problem::new(StatusCode::FORBIDDEN, "wrong_password", "the password is wrong; nothing was forgotten"));
    }
    app.limiter.right(&brake);
    let request = ForgetRequest { scope: Scope::Account {}, with_answers: false, seen: None };
    let receipt = std::sync::Arc::clone(&app.forgetter).forget_through(who.user, request).await?;
    Forgetting::of(receipt).map(axum::Json)
}

/// Says a turn anew: same id, same place, other words; everything derived follows. The old words leave the disk with the next forgetting
/// (`replaced` asks for no more than that).
#[utoipa::path(put, path = "/v1/conversations/{id}/messages/{message_id}", tag = "messages", security(("access_token" = [])),
    params(("id" = Uuid, Path), ("message_id" = Uuid, Path)), request_body = EditedMessage, responses(
        (status = 202, body = Written), (status = 404, body = Problem), (status = 409, description = "an answer of the companion is not edited", body = Problem),
        (status = 422, body = Problem)))]
pub(crate) async fn update_message(
    State(app): State<App>,
    who: Who,
    Path((conversation, message)): Path<(Uuid, Uuid)>,
    Json(edited): Json<EditedMessage>,
) -> Result<(StatusCode, axum::Json<Written>), Problem> {
    let characters = edited.text.chars().count();
    if edited.text.trim().is_empty() {
        return Err(Problem::invalid("empty_message", "the message is empty; delete it instead"));
    }
    if characters > MAX_MESSAGE {
        return Err(Problem::invalid("long_message", format!("the message has {characters} characters, but {MAX_MESSAGE} are taken at most")));
    }
    let id = InteractionId(message);
    let partition = partition_for_user(who.user, app.log.partitions(topic::INTERACTIONS)?);
    let (_, positions) = app.db.positions(PIPELINE).await?;
    let seen = positions.iter().find(|(at, _)| *at == partition).map_or(0, |(_, next)| *next);
    let find = async || {
        let held = app.db.memories_by_id(&app.keys, who.user, &[id]).await?;
        Ok::<Option<Memory>, Problem>(held.into_iter().find(|memory| memory.conversation_id.0 == conversation))
    };
    // It may have been said just now.
    let found = match find().await? {
        Some(found) => Some(found),
        None => {
            catch_up(&app, who.user).await?;
            find().await?
        }
    };
    let held = found.ok_or_else(|| Problem::not_found("message"))?;
    if held.role == Role::Assistant {
        return Err(Problem::new(StatusCode::CONFLICT, "not_yours_to_edit", "the companion said this; forget it instead"));
    }
    // Nobody else appends meanwhile, so a turn that is forgotten in this moment stays forgotten.
    let alone = app.keys.alone().await;
    if is_forgotten(&app, partition, &InteractionKey { user_id: who.user, id }, seen).await? || find().await?.is_none() {
        return Err(Problem::not_found("message"));
    }
    let receipt = said_anew(&app, partition, held, edited.text).await?;
    drop(alone);
    app.replier.forget(who.user, id);
    Ok((StatusCode::ACCEPTED, axum::Json(Written { receipt: receipt.to_string() })))
}

/// Whether the last record of a turn from an offset on is a tombstone.
async fn is_forgotten(app: &App, partition: u32, key: &InteractionKey, mut from: u64) -> Result<bool, Problem> {
    let (name, mut forgotten) = (key.to_string().into_bytes(), false);
    let end = app.log.end_offset(topic::INTERACTIONS, partition).await?;
    while from < end {
        let chunk = app.log.read(topic::INTERACTIONS, partition, from, 1_000).await?;
        if chunk.next == from {
            break;
        }
        from = chunk.next;
        forgotten = chunk.entries.iter().rfind(|entry| entry.key == name).map_or(forgotten, |last| last.value.is_none());
    }
    Ok(forgotten)
}

/// The caller is alone with the log.
async fn said_anew(app: &App, partition: u32, held: Memory, text: String) -> Result<Receipt, Problem> {
    let (user, id) = (held.user_id, held.id);
    let key = app.keys.user(user).await?;
    let body = Body { text, ..held.body };
    let plain = serde_json::to_vec(&body).map_err(|error| Problem::internal(&error))?;
    let interaction = Interaction {
        id,
        user_id: user,
        conversation_id: held.conversation_id,
        session: held.session,
        position: held.position,
        role: held.role,
        occurred_at: held.occurred_at,
        body: key.seal(Purpose::Messages, &Interaction::aad(user, id), &plain),
    };
    let value = wire::encode(&interaction).map_err(|error| Problem::internal(&error))?;
    let record = Record { key: InteractionKey { user_id: user, id }.to_string().into_bytes(), value: Some(value) };
    let offsets = app.log.append(topic::INTERACTIONS, partition, vec![record]).await?;
    let offset = offsets.first().copied().ok_or_else(|| Problem::internal(&"the log gave no offset"))?;
    Ok(Receipt { topic: topic::INTERACTIONS.to_owned(), partition, offset })
}
