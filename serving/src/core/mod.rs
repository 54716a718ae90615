//! AjatusCore's own interface: the models over HTTP, as OpenAI's API has it, for other machines and for tools.
//!
//! Holds always: every error is in that API's envelope; a stream that broke never ends with `[DONE]`; a client who leaves ends the
//! work; what the interface cannot do is refused by name, never ignored. A request that another instance of ours passed on is
//! answered by a model in this process or not at all, so that two instances may stand in for each other without asking in circles.
//! Not promised: tools, several choices, log probabilities.
//! After a crash: clients ask again; nothing is kept.

mod chat;
mod embeddings;
mod error;
mod models;
mod wire;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ajatus_inference::backend::PASSED_ON;
use ajatus_inference::{Embedder, Generator};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use subtle::ConstantTimeEq as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

use crate::clock::Clock;
use crate::connections;
use crate::server::ServeError;
use error::CoreError;

/// Bytes of a request at most.
const MAX_BODY: usize = 16 << 20;

/// Where and to whom to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreConfig {
    /// Address; port 0 takes a free one. Default 127.0.0.1:7421.
    pub listen: SocketAddr,
    /// Key that clients must send (`authorization: Bearer …`). Default none, and then only this machine may ask.
    pub key: Option<String>,
}

impl Default for CoreConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 7421)), key: None }
    }
}

/// A model by the name that clients ask for.
pub struct Served<M: ?Sized> {
    /// The name.
    pub name: String,
    /// What answers: maybe a chain.
    pub model: Arc<M>,
    /// The model in this process, for what another instance passed on.
    pub local: Option<Arc<M>>,
}

impl<M: ?Sized> Clone for Served<M> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), model: Arc::clone(&self.model), local: self.local.clone() }
    }
}

/// What is served.
#[derive(Clone)]
pub struct CoreParts {
    /// Speaks.
    pub chat: Option<Served<dyn Generator>>,
    /// Makes vectors, for callers who wait for few.
    pub embedding: Option<Served<dyn Embedder>>,
    /// The same, for callers who send many at once.
    pub bulk: Option<Served<dyn Embedder>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The metrics page, Prometheus text.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

struct Core {
    parts: CoreParts,
    key: Option<String>,
    since: i64,
}

type App = Arc<Core>;

impl<M: ?Sized> Served<M> {
    /// What answers a request: for one that was passed on, only the model in this process.
    fn for_request(&self, headers: &HeaderMap) -> Result<&Arc<M>, CoreError> {
        if !headers.contains_key(PASSED_ON) {
            return Ok(&self.model);
        }
        self.local.as_ref().ok_or_else(|| CoreError::unavailable("another instance passed this on, and there is no model in this process; name this one's backend there"))
    }
}

/// A running server.
pub struct CoreRunning {
    address: SocketAddr,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl CoreRunning {
    /// Where it answers.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it; answers that are going on get a moment.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Listens and answers.
///
/// # Errors
/// [`ServeError::Listen`] if the address is taken; [`ServeError::Open`] if other machines could ask without a key.
pub async fn serve(config: CoreConfig, parts: CoreParts) -> Result<CoreRunning, ServeError> {
    if config.key.is_none() && !on_this_machine(config.listen.ip()) {
        return Err(ServeError::Open { address: config.listen });
    }
    let listen = |source| ServeError::Listen { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(connections::serve(listener, router(config.key, parts), stop.clone()));
    Ok(CoreRunning { address, stop, tasks })
}

fn on_this_machine(ip: IpAddr) -> bool {
    ip.is_loopback()
}

fn router(key: Option<String>, parts: CoreParts) -> Router {
    let since = parts.clock.now().timestamp();
    let app = Arc::new(Core { parts, key, since });
    Router::new()
        .route("/v1/chat/completions", post(chat::create_completion))
        .route("/v1/embeddings", post(embeddings::create_embeddings))
        .route("/v1/models", get(models::list_models))
        .route("/v1/models/{*model}", get(models::get_model))
        .route("/tokenize", post(models::tokenize))
        .route("/metrics", get(models::metrics))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), authorise))
        .route("/health", get(models::health))
        .fallback(async |method: Method, request: Request| CoreError::no_such_page(&method, request.uri().path()))
        .method_not_allowed_fallback(async || CoreError::wrong_method())
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(CatchPanicLayer::custom(|_| CoreError::internal(&"a handler panicked").into_response()))
        .layer(middleware::from_fn(count))
        .with_state(app)
}

/// Lets in who has the key.
async fn authorise(State(app): State<App>, request: Request, next: Next) -> Response {
    let Some(key) = &app.key else { return next.run(request).await };
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, key)| key.trim());
    match given {
        Some(given) if bool::from(given.as_bytes().ct_eq(key.as_bytes())) => next.run(request).await,
        Some(_) => CoreError::unauthorised("the key is not the one of this server").into_response(),
        None => CoreError::unauthorised("send the key of this server: `authorization: Bearer <key>`").into_response(),
    }
}

async fn count(request: Request, next: Next) -> Response {
    let route = match request.uri().path() {
        "/v1/chat/completions" => "chat",
        "/v1/embeddings" => "embeddings",
        "/tokenize" => "tokenize",
        _ => "other",
    };
    let response = next.run(request).await;
    metrics::counter!("core_requests_total", "route" => route, "status" => response.status().as_u16().to_string()).increment(1);
    response
}
