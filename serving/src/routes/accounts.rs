//! Accounts: sign up, who am I, and may my turns train a model.

use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::auth::Who;
use crate::body::Json;
use crate::problem::Problem;
use crate::server::App;

/// Characters of a login at most.
const MAX_LOGIN: usize = 200;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAccount {
    /// Name or mail address; case does not matter.
    login: String,
    /// 8 characters at least, 256 bytes at most.
    password: String,
}

/// A person who may sign in.
#[derive(Serialize, ToSchema)]
pub(crate) struct Account {
    id: Uuid,
    login: String,
    created_at: DateTime<Utc>,
    /// Since when this person's turns may train a model; null: they may not.
    training_consent_at: Option<DateTime<Utc>>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrainingConsent {
    /// Whether this person's turns may train a model.
    given: bool,
}

impl From<ajatus_memory::postgres::Account> for Account {
    fn from(account: ajatus_memory::postgres::Account) -> Self {
        Self { id: account.id.0, login: account.login, created_at: account.created_at, training_consent_at: account.training_consent_at }
    }
}

/// Signs up.
#[utoipa::path(post, path = "/v1/accounts", tag = "accounts", request_body = NewAccount, responses(
    (status = 201, body = Account), (status = 409, description = "the login is taken", body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn create_account(
    State(app): State<App>,
    Json(wanted): Json<NewAccount>,
) -> Result<(StatusCode, axum::Json<Account>), Problem> {
    let login = wanted.login.trim();
    let length = login.chars().count();
    if length == 0 || length > MAX_LOGIN || login.chars().any(char::is_control) {
        return Err(Problem::invalid("invalid_login", format!("the login must have 1 to {MAX_LOGIN} printable characters")));
    }
    let hash = app.passwords.hash(wanted.password).await?;
    let account = app.db.create_account(&app.keys, login, Some(&hash)).await?;
    Ok((StatusCode::CREATED, axum::Json(account.into())))
}

/// Who is signed in.
#[utoipa::path(get, path = "/v1/me", tag = "accounts", security(("access_token" = [])), responses(
    (status = 200, body = Account), (status = 401, body = Problem)))]
pub(crate) async fn get_me(State(app): State<App>, who: Who) -> Result<axum::Json<Account>, Problem> {
    let account = app.db.account(&app.keys, who.user).await?.ok_or_else(|| Problem::not_found("account"))?;
    Ok(axum::Json(account.into()))
}

/// Allows that one's turns train a model, or no longer. Sets that were taken before are not called back.
#[utoipa::path(put, path = "/v1/me/training-consent", tag = "accounts", security(("access_token" = [])), request_body = TrainingConsent, responses(
    (status = 200, body = Account), (status = 401, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn update_training_consent(
    State(app): State<App>,
    who: Who,
    Json(wanted): Json<TrainingConsent>,
) -> Result<axum::Json<Account>, Problem> {
    app.db.set_training_consent(who.user, wanted.given).await?;
    get_me(State(app), who).await
}
