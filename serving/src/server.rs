//! The server: its parts, its layers, its start and its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ajatus_kafka::Log;
use ajatus_memory::keys::KeyRing;
use ajatus_memory::postgres::Postgres;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate as _};
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::set_header::SetResponseHeaderLayer;

use crate::auth::{Limiter, Passwords, Tokens};
use crate::clock::Clock;
use crate::connections;
use crate::forget::Forgetter;
use crate::problem::Problem;
use crate::recall::Recall;
use crate::reply::Replier;
use crate::request::{REQUEST_ID, observe, refuse_odd_ids};
use crate::routes;

/// Bytes of a request at most.
const MAX_BODY: usize = 256 * 1024;

/// Where and how to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeConfig {
    /// Address; port 0 takes a free one. Default 127.0.0.1:7420.
    pub listen: SocketAddr,
    /// Longest wait of a read for `after`. Default 2 s.
    pub after_wait: Duration,
    /// Cookies over HTTPS only. Default false: the default address is loopback over HTTP.
    pub secure_cookies: bool,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 7420)), after_wait: Duration::from_secs(2), secure_cookies: false }
    }
}

/// Says of each part whether it works, or why not.
pub type Probe = Arc<dyn Fn() -> Vec<(&'static str, Result<(), String>)> + Send + Sync>;

/// What the server is made of.
#[derive(Clone)]
pub struct Parts {
    /// The log.
    pub log: Arc<dyn Log>,
    /// Views, accounts, sessions.
    pub db: Postgres,
    /// Keys.
    pub keys: KeyRing,
    /// Finds memories.
    pub recall: Recall,
    /// Makes replies.
    pub replier: Replier,
    /// Forgets.
    pub forgetter: Arc<Forgetter>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Parts that only the caller knows of, for readiness.
    pub probe: Probe,
    /// The metrics page, Prometheus text.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

/// What handlers see.
pub struct Services {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) db: Postgres,
    pub(crate) keys: KeyRing,
    pub(crate) recall: Recall,
    pub(crate) replier: Replier,
    pub(crate) forgetter: Arc<Forgetter>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) probe: Probe,
    pub(crate) metrics: Arc<dyn Fn() -> String + Send + Sync>,
    pub(crate) tokens: Tokens,
    pub(crate) passwords: Arc<Passwords>,
    pub(crate) limiter: Limiter,
    pub(crate) config: ServeConfig,
}

pub(crate) type App = Arc<Services>;

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Somebody else listens there.
    #[error("{address} cannot be listened on: {source}; is another program (or another `ajatus up`) there? `--listen 127.0.0.1:0` takes a free port")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Other machines could ask without a key.
    #[error("{address} can be reached from other machines, so a key is needed: set CORE_API_KEY, or listen on 127.0.0.1")]
    Open {
        /// The address.
        address: SocketAddr,
    },
    /// The signing key cannot be made.
    #[error("the key of the access tokens cannot be used: {0}")]
    Key(String),
}

/// A running server.
pub struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    replier: Replier,
}

impl Running {
    /// Where it answers.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it: no new connections; replies in the making are stopped, and what they said by then is kept; open requests get a
    /// moment.
    pub async fn stop(mut self) {
        self.stop.cancel();
        self.replier.close().await;
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Listens and answers.
///
/// # Errors
/// [`ServeError::Listen`] if the address is taken.
pub async fn serve(config: ServeConfig, parts: Parts) -> Result<Running, ServeError> {
    let listen = |source| ServeError::Listen { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let replier = parts.replier.clone();
    let router = router(config, parts)?;
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(connections::serve(listener, router, stop.clone()));
    Ok(Running { address, stop, tasks, replier })
}

/// The router with its layers; what tests call without a socket.
pub(crate) fn router(config: ServeConfig, parts: Parts) -> Result<Router, ServeError> {
    let tokens = Tokens::new(&parts.keys).map_err(ServeError::Key)?;
    let app = Arc::new(Services {
        log: parts.log,
        db: parts.db,
        keys: parts.keys,
        recall: parts.recall,
        replier: parts.replier,
        forgetter: parts.forgetter,
        clock: parts.clock,
        probe: parts.probe,
        metrics: parts.metrics,
        tokens,
        passwords: Passwords::new(),
        limiter: Limiter::default(),
        config,
    });
    let fixed = |name: HeaderName, value: &'static str| SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value));
    Ok(routes::all(app)
        .fallback(async || Problem::not_found("page"))
        .method_not_allowed_fallback(async || Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this page does not take that method"))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(CatchPanicLayer::custom(|_| axum::response::IntoResponse::into_response(Problem::internal(&"a handler panicked"))))
        .layer(middleware::from_fn(observe))
        .layer(CompressionLayer::new().compress_when(DefaultPredicate::new().and(NotForContentType::SSE)))
        .layer(fixed(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(fixed(header::REFERRER_POLICY, "no-referrer"))
        .layer(fixed(header::X_FRAME_OPTIONS, "DENY"))
        .layer(fixed(
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ))
        .layer(fixed(header::CACHE_CONTROL, "no-store"))
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(SetRequestIdLayer::new(REQUEST_ID, MakeRequestUuid))
        .layer(middleware::from_fn(refuse_odd_ids)))
}

/// The OpenAPI document.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    routes::document()
}
