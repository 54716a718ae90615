//! `ajatus core serve`: the models over HTTP, until Ctrl-C or SIGTERM. No log, no database, no data folder.

use std::net::SocketAddr;
use std::time::Instant;

use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;
use crate::exit::Exit;
use crate::output::Out;
use crate::stack::{Needs, Stack};

/// Loads the models, says where they answer, and waits.
pub(crate) async fn serve(mut config: Config, listen: Option<SocketAddr>, out: &Out) -> anyhow::Result<Exit> {
    if let Some(listen) = listen {
        config.core.listen = listen;
    }
    let clock = Instant::now();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let opening = Stack::open(config, Needs::generator().with_embedder(), out);
    let stack = tokio::select! {
        opened = opening => opened?,
        _ = interrupt.recv() => return Ok(Exit::Interrupted),
        _ = terminate.recv() => return Ok(Exit::Interrupted),
    };
    let served = match stack.serve_core().await {
        Ok(served) => served,
        Err(error) => {
            Stack::close(stack.into()).await?;
            return Err(error);
        }
    };
    announce(&stack, served.address(), clock, out).await?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    out.note("stopping; a second Ctrl-C ends at once").await;
    let orderly = async move {
        served.stop().await;
        Stack::close(stack.into()).await
    };
    tokio::select! {
        closed = orderly => closed.map(|()| Exit::Done),
        _ = interrupt.recv() => Ok(Exit::Interrupted),
    }
}

async fn announce(stack: &Stack, address: SocketAddr, clock: Instant, out: &Out) -> anyhow::Result<()> {
    let (chat, embedding) = (&stack.config.models.chat.name, &stack.config.models.embedding.name);
    let (asked, seconds) = (stack.backends(), clock.elapsed().as_secs_f64());
    if out.json() {
        let models = serde_json::json!({"chat": chat, "embedding": embedding});
        return out.document(&serde_json::json!({"ready": true, "address": format!("http://{address}"), "models": models, "backends": asked, "seconds": seconds})).await;
    }
    out.line(format!("AjatusCore answers on http://{address}/v1  (chat: {chat}; embeddings: {embedding})")).await;
    out.line(format!("backends in order: {}; ready in {seconds:.1} s; Ctrl-C stops it", asked.join(", "))).await;
    Ok(())
}
