//! `ajatus up`: everything on one local port, until Ctrl-C or SIGTERM.

use std::sync::Arc;
use std::time::Instant;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cli::UpArgs;
use crate::config::Config;
use crate::control;
use crate::exit::Exit;
use crate::output::Out;
use crate::stack::{Needs, Stack};

/// Starts everything, says where it answers, and waits.
pub(crate) async fn run(mut config: Config, args: &UpArgs, out: &Out) -> anyhow::Result<Exit> {
    if let Some(listen) = args.listen {
        config.http.listen = listen;
    }
    let clock = Instant::now();
    let _lock = control::DataLock::take(&config.data)?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let data = config.data.clone();
    // What happens while it starts is counted too.
    crate::stack::metrics();
    let opening = Stack::open(config, Needs::everything(), out);
    let stack = tokio::select! {
        opened = opening => Arc::new(opened?),
        _ = interrupt.recv() => return Ok(Exit::Interrupted),
        _ = terminate.recv() => return Ok(Exit::Interrupted),
    };
    let served = match stack.serve().await {
        Ok(served) => served,
        Err(error) => {
            Stack::close(stack).await?;
            return Err(error);
        }
    };
    let stop = CancellationToken::new();
    let mut controlling = JoinSet::new();
    let (socket, inside, ended) = (data, Arc::clone(&stack), stop.clone());
    controlling.spawn(async move { control::serve(&socket, inside, ended).await });
    announce(&stack, &served, clock, out).await?;

    let mut failure = None;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        error = stack.failed() => failure = Some(error),
        Some(ended) = controlling.join_next() => failure = ended.map_err(anyhow::Error::from).and_then(|ended| ended).err(),
    }
    out.note("stopping; a second Ctrl-C ends at once").await;
    stop.cancel();
    let orderly = async move {
        served.stop().await;
        while controlling.join_next().await.is_some() {}
        Stack::close(stack).await
    };
    let closed = tokio::select! {
        closed = orderly => closed,
        _ = interrupt.recv() => return Ok(Exit::Interrupted),
    };
    match failure {
        Some(error) => Err(error),
        None => closed.map(|()| Exit::Done),
    }
}

async fn announce(stack: &Stack, served: &ajatus_serving::Running, clock: Instant, out: &Out) -> anyhow::Result<()> {
    let address = served.address();
    let resident = crate::stack::resident_mib();
    if out.json() {
        return out
            .document(&serde_json::json!({
                "ready": true,
                "address": format!("http://{address}"),
                "data": stack.config.data,
                "seconds": clock.elapsed().as_secs_f64(),
                "resident_mib": resident,
            }))
            .await;
    }
    out.line(format!("Ajatuskumppani answers on http://{address}  (API: http://{address}/docs)")).await;
    out.line(format!(
        "data in {}; ready in {:.1} s, {} MiB resident; Ctrl-C stops everything",
        stack.config.data.display(),
        clock.elapsed().as_secs_f64(),
        resident.map_or_else(|| "?".to_owned(), |mib| mib.to_string())
    ))
    .await;
    Ok(())
}
