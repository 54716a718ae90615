//! Extractors that refuse with problem documents.

use std::time::Duration;

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// Longest time for a body.
const LONGEST: Duration = Duration::from_secs(10);

/// A JSON body.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let read = tokio::time::timeout(LONGEST, axum::Json::<T>::from_request(request, state)).await;
        let read = read.map_err(|_| Problem::new(StatusCode::REQUEST_TIMEOUT, "slow_body", format!("the body did not come within {} s", LONGEST.as_secs())))?;
        match read {
            Ok(axum::Json(value)) => Ok(Self(value)),
            Err(error) => Err(match &error {
                JsonRejection::JsonDataError(_) => Problem::invalid("invalid_body", error.body_text()),
                JsonRejection::MissingJsonContentType(_) => {
                    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", "the body must be JSON; set `content-type: application/json`")
                }
                JsonRejection::BytesRejection(_) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the body is larger than 256 KiB")
                }
                _ => Problem::bad_request("malformed_body", error.body_text()),
            }),
        }
    }
}

/// A JSON body, or the default where there is none.
pub(crate) struct JsonOrDefault<T>(pub(crate) T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for JsonOrDefault<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !request.headers().contains_key(CONTENT_TYPE) {
            return Ok(Self(T::default()));
        }
        Json::from_request(request, state).await.map(|Json(value)| Self(value))
    }
}

/// Query parameters.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let extracted: Result<axum::extract::Query<T>, QueryRejection> = axum::extract::Query::from_request_parts(parts, state).await;
        extracted.map(|axum::extract::Query(value)| Self(value)).map_err(|error| Problem::bad_request("invalid_query", error.body_text()))
    }
}

/// Path parameters.
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let extracted: Result<axum::extract::Path<T>, PathRejection> = axum::extract::Path::from_request_parts(parts, state).await;
        extracted.map(|axum::extract::Path(value)| Self(value)).map_err(|error| Problem::bad_request("invalid_path", error.body_text()))
    }
}
