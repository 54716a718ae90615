//! Sessions: sign in, refresh, sign out.

use ajatus_memory::postgres::Rotation;
use axum::extract::State;
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::auth::{LIFETIME_SECONDS, RefreshToken, Who, unseal_successor};
use crate::body::{Json, JsonOrDefault};
use crate::problem::Problem;
use crate::server::App;

/// Days a refresh token may lie unused.
const IDLE_DAYS: i64 = 30;
const COOKIE_NAME: &str = "ajatus_refresh";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Transport {
    /// A cookie that scripts cannot read; for browsers.
    #[default]
    Cookie,
    /// In the answer's body; for programs that can keep a secret.
    Body,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignIn {
    login: String,
    password: String,
    /// Where the refresh token travels. Default `cookie`.
    #[serde(default)]
    transport: Transport,
    /// What the device is called in the list of sessions.
    #[serde(default)]
    device: Option<String>,
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Refresh {
    /// The refresh token; absent: the cookie.
    refresh_token: Option<String>,
}

/// Tokens of a session.
#[derive(Serialize, ToSchema)]
pub(crate) struct SignedIn {
    /// Send it as `authorization: Bearer …`.
    access_token: String,
    /// Seconds it is good for.
    expires_in: i64,
    /// Only with `transport: body`.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    session_id: Uuid,
}

/// One signed-in device.
#[derive(Serialize, ToSchema)]
pub(crate) struct Session {
    id: Uuid,
    device: String,
    created_at: DateTime<Utc>,
    last_used_at: DateTime<Utc>,
    /// Whether it is the one that asks.
    current: bool,
}

/// Signs in. An unknown login and a wrong password answer alike.
#[utoipa::path(post, path = "/v1/sessions", tag = "sessions", request_body = SignIn, responses(
    (status = 201, body = SignedIn), (status = 401, body = Problem), (status = 429, description = "too many wrong passwords", body = Problem)))]
pub(crate) async fn create_session(State(app): State<App>, Json(wanted): Json<SignIn>) -> Result<Response, Problem> {
    let now = app.clock.now();
    let login = wanted.login.trim().to_lowercase();
    let brake = app.keys.blind("login brake", &login);
    if let Err(seconds) = app.limiter.admit(brake, now) {
        let detail = format!("too many wrong passwords for this login; try again in {seconds} s");
        return Err(Problem { retry_after: Some(seconds), ..Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", detail) });
    }
    let account = app.db.account_by_login(&app.keys, &login).await?;
    let hash = account.as_ref().and_then(|account| account.password_hash.clone());
    let right = app.passwords.verify(wanted.password, hash).await?;
    let Some(account) = account.filter(|_| right) else {
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "wrong_login", "the login or the password is wrong"));
    };
    app.limiter.right(&brake);
    let device: String = wanted.device.as_deref().unwrap_or("unnamed").chars().filter(|letter| !letter.is_control()).take(100).collect();
    let token = RefreshToken::random();
    let session = app.db.start_session(account.id, &device, &token.hash(), now).await?;
    signed_in(&app, StatusCode::CREATED, account.id, session, &token, wanted.transport)
}

/// Exchanges the refresh token for new tokens. A token exchanged before ends its session, except within 10 s, when it answers
/// with the same successor.
#[utoipa::path(post, path = "/v1/sessions/refresh", tag = "sessions", request_body(content = inline(Option<Refresh>)), responses(
    (status = 200, body = SignedIn), (status = 401, body = Problem)))]
pub(crate) async fn refresh_session(State(app): State<App>, headers: HeaderMap, body: JsonOrDefault<Refresh>) -> Result<Response, Problem> {
    let given = body.0.refresh_token;
    let transport = if given.is_some() { Transport::Body } else { Transport::Cookie };
    let refuse = || Problem::unauthorized("the refresh token is not valid any more; sign in again");
    let token = given.or_else(|| cookie(&headers)).and_then(|text| RefreshToken::parse(&text)).ok_or_else(refuse)?;
    let next = RefreshToken::random();
    let sealed = token.seal_successor(&next);
    let rotation = app.db.rotate(&token.hash(), &next.hash(), &sealed, app.clock.now(), TimeDelta::days(IDLE_DAYS)).await?;
    match rotation {
        Rotation::Rotated { user, session } => signed_in(&app, StatusCode::OK, user, session, &next, transport),
        Rotation::Grace { user, session, successor } => {
            let next = unseal_successor(&token, &successor).ok_or_else(refuse)?;
            signed_in(&app, StatusCode::OK, user, session, &next, transport)
        }
        Rotation::Reused { user } => {
            tracing::warn!(user.id = %user, "a refresh token was used twice; its session was ended");
            Err(refuse())
        }
        Rotation::Unknown => Err(refuse()),
    }
}

/// Signs out: the session's tokens are refused from now on.
#[utoipa::path(delete, path = "/v1/sessions/current", tag = "sessions", security(("access_token" = [])), responses(
    (status = 204, description = "signed out"), (status = 401, body = Problem)))]
pub(crate) async fn delete_session(State(app): State<App>, who: Who) -> Result<Response, Problem> {
    app.db.revoke_session(who.user, who.session, app.clock.now()).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().insert(SET_COOKIE, cookie_header(&app, "", 0)?);
    Ok(response)
}

/// The user's signed-in devices, last used first.
#[utoipa::path(get, path = "/v1/sessions", tag = "sessions", security(("access_token" = [])), responses(
    (status = 200, body = Vec<Session>), (status = 401, body = Problem)))]
pub(crate) async fn list_sessions(State(app): State<App>, who: Who) -> Result<axum::Json<Vec<Session>>, Problem> {
    let sessions = app.db.sessions(who.user).await?;
    let shown = |session: ajatus_memory::postgres::Session| Session {
        id: session.id,
        device: session.device,
        created_at: session.created_at,
        last_used_at: session.last_used_at,
        current: session.id == who.session,
    };
    Ok(axum::Json(sessions.into_iter().map(shown).collect()))
}

fn signed_in(
    app: &App,
    status: StatusCode,
    user: ajatus_events::UserId,
    session: Uuid,
    refresh: &RefreshToken,
    transport: Transport,
) -> Result<Response, Problem> {
    let access_token = app.tokens.issue(user, session, app.clock.now()).map_err(|error| Problem::internal(&error))?;
    let body = SignedIn {
        access_token,
        expires_in: LIFETIME_SECONDS,
        refresh_token: (transport == Transport::Body).then(|| refresh.text()),
        session_id: session,
    };
    let mut response = (status, axum::Json(body)).into_response();
    if transport == Transport::Cookie {
        response.headers_mut().insert(SET_COOKIE, cookie_header(app, &refresh.text(), IDLE_DAYS * 86_400)?);
    }
    Ok(response)
}

fn cookie_header(app: &App, value: &str, seconds: i64) -> Result<HeaderValue, Problem> {
    let secure = if app.config.secure_cookies { "; Secure" } else { "" };
    let text = format!("{COOKIE_NAME}={value}; Path=/v1/sessions; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    HeaderValue::from_str(&text).map_err(|error| Problem::internal(&error))
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    let pairs = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
    pairs.filter_map(|pair| pair.trim().split_once('=')).find(|(name, _)| *name == COOKIE_NAME).map(|(_, value)| value.to_owned())
}
