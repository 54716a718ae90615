//! The one envelope of errors: RFC 9457 problem documents. HTTP status is chosen here and nowhere else.

use ajatus_inference::InferenceError;
use ajatus_kafka::LogError;
use ajatus_memory::index::IndexError;
use ajatus_memory::keys::KeyError;
use ajatus_memory::postgres::StoreError;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::auth::PasswordError;
use crate::forget::ForgetError;
use crate::request::current_id;

/// What went wrong, for a program (`code`) and for a person (`detail`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Page about this kind of problem.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub kind: Box<str>,
    /// The kind in a few words.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What happened here, and what to do.
    pub detail: String,
    /// Stable code to match on.
    pub code: String,
    /// Seconds after which trying again makes sense.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u32>,
    /// Id of the request, as in the header `x-request-id`: name it when you ask for help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub request_id: Option<Box<str>>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("/docs/problems#{code}").into(),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            code: code.to_owned(),
            retry_after: None,
            request_id: current_id(),
        }
    }

    pub(crate) fn bad_request(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    pub(crate) fn invalid(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    pub(crate) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    }

    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("there is no such {what}, or it is not yours"))
    }

    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        Self { retry_after: Some(2), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail) }
    }

    /// Something of ours; the cause is logged, the client is told no more than that.
    pub(crate) fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, request.id = current_id(), "a request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "something went wrong on our side; the log of the server says what")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.retry_after;
        let mut response = (status, axum::Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict { what } => Self::new(StatusCode::CONFLICT, "conflict", format!("{what} exists already")),
            error if error.may_pass() => {
                tracing::warn!(%error, "the database did not answer");
                Self::unavailable("the database does not answer; try again in a moment")
            }
            error => Self::internal(&error),
        }
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Destroyed { .. } => Self::new(StatusCode::GONE, "forgotten", "this account was forgotten"),
            KeyError::Store(error) => error.into(),
            error => Self::internal(&error),
        }
    }
}

impl From<PasswordError> for Problem {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Refused(reason) => Self::invalid("invalid_password", reason),
            PasswordError::Busy => Self::unavailable("too many people sign in just now; try again in a moment"),
            PasswordError::Failed(_) => Self::internal(&error),
        }
    }
}

impl From<LogError> for Problem {
    fn from(error: LogError) -> Self {
        match error {
            LogError::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", error.to_string()),
            LogError::DiskFull { .. } => {
                tracing::error!(%error, "a message could not be written");
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", "the disk is full, so the message was not taken; free some space and send it again")
            }
            LogError::Unreachable { .. } | LogError::Io { .. } => {
                tracing::error!(%error, "a message could not be written");
                Self::unavailable("the log does not take messages now, so this one was not taken; send it again in a moment")
            }
            error => Self::internal(&error),
        }
    }
}

impl From<InferenceError> for Problem {
    fn from(error: InferenceError) -> Self {
        match error {
            error if error.may_pass() => {
                tracing::warn!(%error, "the model did not answer");
                Self::unavailable("the model does not answer now; try again in a moment")
            }
            InferenceError::Input { reason } => Self::invalid("model_refused", reason),
            error => Self::internal(&error),
        }
    }
}

impl From<IndexError> for Problem {
    fn from(error: IndexError) -> Self {
        match error {
            IndexError::Store(error) => error.into(),
            error => Self::internal(&error),
        }
    }
}

impl From<ForgetError> for Problem {
    fn from(error: ForgetError) -> Self {
        match error {
            ForgetError::Scope(error) => Self::invalid("invalid_scope", error.to_string()),
            error @ ForgetError::Unseen { .. } => Self::new(StatusCode::PRECONDITION_REQUIRED, "preview_first", format!("{error} as `seen`")),
            error @ ForgetError::Changed => Self::new(StatusCode::CONFLICT, "preview_changed", error.to_string()),
            error @ ForgetError::Busy => Self { retry_after: Some(5), ..Self::new(StatusCode::TOO_MANY_REQUESTS, "forgetting_already", error.to_string()) },
            ForgetError::NoAccount(_) => Self::not_found("account"),
            error @ (ForgetError::Late(_) | ForgetError::Ended(_)) => {
                tracing::warn!(%error, "a forgetting is not done yet");
                Self::unavailable("what is to be forgotten is noted, but the views are behind; ask again to finish")
            }
            ForgetError::Log(error) => error.into(),
            ForgetError::Store(error) => error.into(),
            ForgetError::Key(error) => error.into(),
        }
    }
}
