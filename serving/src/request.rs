//! What every request gets: an id that its errors name, a deadline, and its place in the metrics.

use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::problem::Problem;

/// Longest time until an answer begins.
const DEADLINE: Duration = Duration::from_secs(120);
/// Characters of an id that is taken over from the client.
const MAX_ID: usize = 64;

/// Header of the id.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

tokio::task_local! {
    static CURRENT: Option<Box<str>>;
}

/// Id of the request that is being answered.
pub(crate) fn current_id() -> Option<Box<str>> {
    CURRENT.try_with(Clone::clone).ok().flatten()
}

/// Drops ids that are not short and plain: they go into logs and answers.
pub(crate) async fn refuse_odd_ids(mut request: Request, next: Next) -> Response {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte);
    let odd = request.headers().get(&REQUEST_ID).is_some_and(|id| id.is_empty() || id.len() > MAX_ID || !id.as_bytes().iter().all(plain));
    if odd {
        request.headers_mut().remove(&REQUEST_ID);
    }
    next.run(request).await
}

/// Answers within the deadline, names the request to its errors, and counts it.
pub(crate) async fn observe(request: Request, next: Next) -> Response {
    let id = request.headers().get(&REQUEST_ID).and_then(|id| id.to_str().ok()).map(Box::from);
    let route = request.extensions().get::<MatchedPath>().map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let method = known(request.method());
    let begun = Instant::now();
    let answered = CURRENT.scope(id, async {
        match tokio::time::timeout(DEADLINE, next.run(request)).await {
            Ok(response) => response,
            Err(_) => Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", format!("no answer within {} s; try again", DEADLINE.as_secs())).into_response(),
        }
    });
    let response = answered.await;
    let status = response.status().as_u16().to_string();
    metrics::counter!("http_requests_total", "route" => route.clone(), "method" => method, "status" => status).increment(1);
    metrics::histogram!("http_request_seconds", "route" => route, "method" => method).record(begun.elapsed().as_secs_f64());
    response
}

/// The method as a label: clients may make up methods, and labels must stay few.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
