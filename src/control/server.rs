//! The server's side of the control socket.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{REQUEST_LIMIT_BYTES, Request, SOCKET};
use crate::cli::Command;
use crate::command;
use crate::exit::{Ended, Exit};
use crate::output::{Out, Piece};
use crate::stack::Stack;

/// Commands that run at the same time at most; more wait.
const CONCURRENT: usize = 16;

/// Answers on the socket until `stop` is cancelled. The caller holds the folder's lock, so an old socket file is nobody's.
pub(crate) async fn serve(data: &Path, stack: Arc<Stack>, stop: CancellationToken) -> anyhow::Result<()> {
    let path = data.join(SOCKET);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Ended::new(Exit::Unavailable, format!("{} cannot be replaced: {error}", path.display())));
        }
        _ => {}
    }
    let listener = UnixListener::bind(&path)
        .map_err(|error| Ended::new(Exit::Unavailable, format!("{} cannot be made: {error}", path.display())))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = running.join_next(), if !running.is_empty() => {}
            accepted = listener.accept(), if running.len() < CONCURRENT => {
                let (stream, _) = accepted?;
                let stack = Arc::clone(&stack);
                running.spawn(async move {
                    if let Err(error) = answer(stream, stack).await {
                        tracing::debug!(error = format!("{error:#}"), "control connection ended early");
                    }
                });
            }
        }
    }
    running.shutdown().await;
    drop(std::fs::remove_file(&path));
    Ok(())
}

async fn answer(stream: UnixStream, stack: Arc<Stack>) -> anyhow::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader.take(REQUEST_LIMIT_BYTES));
    let mut line = String::new();
    reader.read_line(&mut line).await?;
    let parsed = parse(&line);
    let (out, mut pieces) = Out::channel(parsed.as_ref().is_ok_and(|request| request.json));
    let work = async move {
        let ended = match parsed {
            Ok(request) => command::run_inside(&stack, request.command, &out).await,
            Err(error) => Err(error),
        };
        let exit = match ended {
            Ok(exit) => exit,
            Err(error) => {
                command::say_error(&error, &out).await;
                crate::exit::of(&error)
            }
        };
        out.exit(exit).await;
    };
    let forward = async {
        while let Some(piece) = pieces.recv().await {
            let mut line = serde_json::to_vec(&piece)?;
            line.push(b'\n');
            writer.write_all(&line).await?;
            if matches!(piece, Piece::Exit(_)) {
                break;
            }
        }
        anyhow::Ok(())
    };
    // The client hangs up: the command is dropped at its next wait, which every command survives.
    let mut rest = [0_u8; 1];
    let hung_up = async {
        while reader.read(&mut rest).await.is_ok_and(|read| read > 0) {}
    };
    tokio::select! {
        (_, forwarded) = async { tokio::join!(work, forward) } => forwarded,
        () = hung_up => Ok(()),
    }
}

fn parse(line: &str) -> anyhow::Result<Request> {
    let refused = |what: String| Ended::new(Exit::Usage, what);
    let version: serde_json::Value =
        serde_json::from_str(line).map_err(|error| refused(format!("the request is not a line of JSON: {error}")))?;
    let theirs = version.get("version").and_then(serde_json::Value::as_str).unwrap_or("unknown");
    if theirs != env!("CARGO_PKG_VERSION") {
        return Err(refused(format!(
            "`ajatus up` is version {}, this command is version {theirs}; restart `ajatus up`",
            env!("CARGO_PKG_VERSION")
        )));
    }
    let request: Request =
        serde_json::from_value(version).map_err(|error| refused(format!("the request is not understood: {error}")))?;
    if matches!(request.command, Command::Up(_)) {
        return Err(Ended::new(Exit::Unavailable, "`ajatus up` is running already on this data folder"));
    }
    Ok(request)
}
