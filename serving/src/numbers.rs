//! `/metrics` alone, for a program that has numbers and nothing else to serve.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::connections;
use crate::server::ServeError;

/// A running server of `/metrics`.
pub struct Numbers {
    address: SocketAddr,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Numbers {
    /// Listens and answers `GET /metrics` with what `render` gives at that moment, as Prometheus text; there is no sign-in, so the
    /// address should be one that only this machine reaches.
    ///
    /// # Errors
    /// [`ServeError::Listen`] if the address is taken.
    pub async fn serve(address: SocketAddr, render: Arc<dyn Fn() -> String + Send + Sync>) -> Result<Self, ServeError> {
        let listen = |source| ServeError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let answer = move || {
            let text = render();
            async move { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text) }
        };
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(connections::serve(listener, Router::new().route("/metrics", get(answer)), stop.clone()));
        Ok(Self { address, stop, tasks })
    }

    /// Where it answers.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it; open requests get a moment.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}
