//! The client's side of the control socket.

use std::path::Path;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::{Request, SOCKET};
use crate::cli::Command;
use crate::exit::{Ended, Exit};
use crate::output::{Piece, Printer};

/// A running `ajatus up` that answers.
pub(crate) struct Remote {
    stream: UnixStream,
}

/// Connects to the `ajatus up` of this data folder; `None` when none runs.
pub(crate) async fn connect(data: &Path) -> Option<Remote> {
    // Nobody listens, or there is no socket: either way there is no running server.
    UnixStream::connect(data.join(SOCKET)).await.ok().map(|stream| Remote { stream })
}

impl Remote {
    /// Runs a command there and prints what it says here.
    pub(crate) async fn run(self, command: Command, json: bool) -> anyhow::Result<Exit> {
        let request = Request { version: env!("CARGO_PKG_VERSION").to_owned(), json, command };
        let (reader, mut writer) = self.stream.into_split();
        let mut line = serde_json::to_vec(&request)?;
        line.push(b'\n');
        writer.write_all(&line).await?;
        let mut lines = BufReader::new(reader).lines();
        let mut printer = Printer::new(json);
        while let Some(line) = lines.next_line().await? {
            let piece: Piece = serde_json::from_str(&line)?;
            if let Some(exit) = printer.print(piece)? {
                return Ok(exit);
            }
        }
        Err(Ended::new(Exit::Unavailable, "`ajatus up` ended before the command did; what was acknowledged is kept, run the command again"))
    }
}
