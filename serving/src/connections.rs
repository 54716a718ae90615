//! Connections: accepted up to a bound, each in a task that is joined at the end.
//!
//! Holds always: a client that does not finish a request's head in time is dropped; at the end, open requests get a moment and
//! then nothing is left running.
//! Not promised: which of the waiting clients is let in next when the bound is reached.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// Connections at once; more wait in the operating system's queue.
const AT_ONCE: usize = 1_024;
/// Longest time for a request's head, from the connection's start or the answer before.
const HEAD: Duration = Duration::from_secs(30);
/// Longest wait for open requests at the end.
const DRAIN: Duration = Duration::from_secs(5);

/// Accepts and answers until `stop`, then lets open requests end.
pub(crate) async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = async {
                let permit = Arc::clone(&room).acquire_owned().await.expect("never closed");
                (listener.accept().await, permit)
            } => accepted,
        };
        while open.try_join_next().is_some() {}
        match accepted {
            (Ok((stream, _)), permit) => {
                let (router, stop) = (router.clone(), stop.clone());
                open.spawn(async move {
                    answer(stream, router, stop).await;
                    drop(permit);
                });
            }
            // Out of file descriptors, most likely: others must end first.
            (Err(error), _) => {
                tracing::warn!(%error, "a connection could not be accepted; trying again");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    let drained = async { while open.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!(open = open.len(), "connections that did not end in time were closed");
        open.shutdown().await;
    }
}

async fn answer(stream: TcpStream, router: Router, stop: CancellationToken) {
    // Words of a reply go out one by one.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the connection stays with delays");
    }
    let asked = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&asked);
    let service = TowerToHyperService::new(router.map_request(move |request: hyper::Request<hyper::body::Incoming>| {
        noted.store(true, Ordering::Relaxed);
        request.map(Body::new)
    }));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            // Browsers open connections ahead and say nothing on them: there is nothing to wait for.
            if !asked.load(Ordering::Relaxed) {
                return;
            }
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke off");
    }
}
