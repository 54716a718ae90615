//! The small built-in page, until the app replaces it: three files, nothing from elsewhere.

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

/// What the page may load: its own two files, nothing inline, nothing from elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind), (header::CONTENT_SECURITY_POLICY, POLICY)], text)
}

pub(super) fn routes() -> Router {
    Router::new()
        .route("/", get(async || file("text/html; charset=utf-8", include_str!("../page/index.html"))))
        .route("/page.css", get(async || file("text/css; charset=utf-8", include_str!("../page/page.css"))))
        .route("/page.js", get(async || file("text/javascript; charset=utf-8", include_str!("../page/page.js"))))
        .route("/docs/problems", get(async || file("text/html; charset=utf-8", include_str!("../page/problems.html"))))
}
