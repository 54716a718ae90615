//! What a command says, apart from where it is said: the same command prints to a terminal, or over the control socket
//! of a running `ajatus up` to another process's terminal.
//!
//! Holds always: pieces arrive in order; standard output carries results only, standard error everything else.
//! Not promised: that every progress piece is shown (a slow reader sees fewer).

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::exit::Exit;

/// One thing said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Piece {
    /// To standard output, as it is (no line end is added).
    Out(String),
    /// A line to standard error.
    Note(String),
    /// How far a long command is.
    Progress {
        /// What is being done.
        label: String,
        /// Units done.
        done: u64,
        /// Units in all.
        total: u64,
    },
    /// The end; nothing follows.
    Exit(Exit),
}

/// Where a command says things.
#[derive(Clone)]
pub(crate) struct Out {
    pieces: mpsc::Sender<Piece>,
    json: bool,
}

impl Out {
    /// A bounded channel of pieces: the writer waits for a slow reader.
    pub(crate) fn channel(json: bool) -> (Self, mpsc::Receiver<Piece>) {
        let (pieces, receiver) = mpsc::channel(256);
        (Self { pieces, json }, receiver)
    }

    /// Whether results must be JSON.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// Prints text to standard output, without a line end.
    pub(crate) async fn text(&self, text: impl Into<String>) {
        self.send(Piece::Out(text.into())).await;
    }

    /// Prints a line to standard output.
    pub(crate) async fn line(&self, line: impl AsRef<str>) {
        self.send(Piece::Out(format!("{}\n", line.as_ref()))).await;
    }

    /// Prints one JSON document on a line of its own.
    pub(crate) async fn document(&self, value: &impl Serialize) -> anyhow::Result<()> {
        let line = serde_json::to_string(value)?;
        self.line(line).await;
        Ok(())
    }

    /// Says something on standard error.
    pub(crate) async fn note(&self, line: impl Into<String>) {
        self.send(Piece::Note(line.into())).await;
    }

    /// Says how far the command is; dropped when the reader is behind.
    pub(crate) fn progress(&self, label: &str, done: u64, total: u64) {
        // A full channel means the reader is busy showing older progress: losing this one loses nothing.
        drop(self.pieces.try_send(Piece::Progress { label: label.to_owned(), done, total }));
    }

    /// Ends.
    pub(crate) async fn exit(&self, exit: Exit) {
        self.send(Piece::Exit(exit)).await;
    }

    async fn send(&self, piece: Piece) {
        // The reader is gone (its terminal was closed): the command goes on to its next safe stop.
        drop(self.pieces.send(piece).await);
    }
}

/// Prints pieces to this process's terminal.
pub(crate) struct Printer {
    bar: Option<ProgressBar>,
    terminal: bool,
    said_percent: u64,
    json: bool,
}

impl Printer {
    /// A printer for this process's standard streams.
    pub(crate) fn new(json: bool) -> Self {
        Self { bar: None, terminal: std::io::stderr().is_terminal(), said_percent: 0, json }
    }

    /// Prints one piece; answers with the exit when it was the last.
    pub(crate) fn print(&mut self, piece: Piece) -> std::io::Result<Option<Exit>> {
        match piece {
            Piece::Out(text) => {
                self.finish_bar();
                let mut out = std::io::stdout().lock();
                out.write_all(text.as_bytes())?;
                out.flush()?;
            }
            Piece::Note(line) => match &self.bar {
                Some(bar) => bar.println(line),
                None => writeln!(std::io::stderr().lock(), "{line}")?,
            },
            Piece::Progress { label, done, total } => self.progress(&label, done, total)?,
            Piece::Exit(exit) => {
                self.finish_bar();
                return Ok(Some(exit));
            }
        }
        Ok(None)
    }

    fn progress(&mut self, label: &str, done: u64, total: u64) -> std::io::Result<()> {
        if self.terminal && !self.json {
            let bar = self.bar.get_or_insert_with(|| {
                let bar = ProgressBar::new(total);
                bar.set_style(
                    ProgressStyle::with_template("{msg:22} {bar:32} {pos}/{len}  {per_sec}  {eta} left")
                        .unwrap_or_else(|_| ProgressStyle::default_bar()),
                );
                bar.enable_steady_tick(Duration::from_millis(200));
                bar
            });
            bar.set_message(label.to_owned());
            bar.set_length(total);
            bar.set_position(done);
            return Ok(());
        }
        // Not a terminal: a line each tenth of the way, or machine-readable lines.
        let percent = if total == 0 { 100 } else { done.saturating_mul(100) / total };
        if percent / 10 != self.said_percent / 10 || done == total {
            self.said_percent = percent;
            let mut err = std::io::stderr().lock();
            if self.json {
                let line = serde_json::json!({ "progress": { "label": label, "done": done, "total": total } });
                writeln!(err, "{line}")?;
            } else {
                writeln!(err, "{label}: {done} of {total} ({percent} %)")?;
            }
        }
        Ok(())
    }

    fn finish_bar(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
