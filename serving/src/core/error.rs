//! Errors in the envelope of OpenAI's API. The HTTP status of this interface is chosen here and nowhere else.

use ajatus_inference::InferenceError;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// What went wrong.
#[derive(Clone, Debug)]
pub(super) struct CoreError {
    status: StatusCode,
    kind: &'static str,
    code: Option<&'static str>,
    param: Option<String>,
    message: String,
    retry_after: Option<u64>,
}

impl CoreError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, code: None, param: None, message: message.into(), retry_after: None }
    }

    /// A request that is wrong; `param` names the field.
    pub(super) fn invalid(param: Option<&str>, message: impl Into<String>) -> Self {
        Self { param: param.map(str::to_owned), ..Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message) }
    }

    /// A field that asks for what is not done here.
    pub(super) fn unsupported(param: &str, instead: &str) -> Self {
        let message = format!("`{param}` is not supported here; {instead}");
        Self { code: Some("unsupported_parameter"), ..Self::invalid(Some(param), message) }
    }

    pub(super) fn no_such_model(asked: &str, served: &[&str]) -> Self {
        let message = format!("the model `{asked}` does not exist here; served: {}", served.join(", "));
        Self { status: StatusCode::NOT_FOUND, code: Some("model_not_found"), ..Self::invalid(Some("model"), message) }
    }

    pub(super) fn no_such_page(method: &Method, path: &str) -> Self {
        let shown: String = path.chars().take(100).collect();
        Self { status: StatusCode::NOT_FOUND, ..Self::invalid(None, format!("there is no {method} {shown}; GET /v1/models says what is served")) }
    }

    pub(super) fn wrong_method() -> Self {
        Self { status: StatusCode::METHOD_NOT_ALLOWED, ..Self::invalid(None, "this page does not take that method") }
    }

    pub(super) fn not_json() -> Self {
        Self { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, ..Self::invalid(None, "the body must be JSON; set `content-type: application/json`") }
    }

    pub(super) fn too_large() -> Self {
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, ..Self::invalid(None, "the body is larger than 16 MiB") }
    }

    pub(super) fn unauthorised(message: &str) -> Self {
        Self { code: Some("invalid_api_key"), ..Self::new(StatusCode::UNAUTHORIZED, "invalid_request_error", message) }
    }

    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self { retry_after: Some(1), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message) }
    }

    /// Something of ours; the cause is logged.
    pub(super) fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "a request for a model failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "something went wrong on our side; the log of the server says what")
    }

    /// The document, as it also stands in the middle of a stream.
    pub(super) fn body(&self) -> Value {
        json!({"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}})
    }
}

impl From<InferenceError> for CoreError {
    fn from(error: InferenceError) -> Self {
        let message = error.to_string();
        match error {
            InferenceError::Input { .. } => Self::invalid(None, message),
            InferenceError::Overloaded { .. } | InferenceError::Throttled { retry_after: None, .. } => {
                Self { retry_after: Some(1), code: Some("rate_limit_exceeded"), ..Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message) }
            }
            InferenceError::Throttled { retry_after: Some(pause), .. } => Self {
                retry_after: Some(pause.as_secs().max(1)),
                code: Some("rate_limit_exceeded"),
                ..Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message)
            },
            InferenceError::Timeout { .. } => Self::new(StatusCode::GATEWAY_TIMEOUT, "server_error", message),
            error => {
                tracing::warn!(%error, "the model did not answer");
                Self::unavailable(message)
            }
        }
    }
}

impl IntoResponse for CoreError {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.body())).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
