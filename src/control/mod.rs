//! The control socket: how a command reaches a running `ajatus up`.
//!
//! The embedded log and the private database belong to one process, so a second process cannot open them. It sends its
//! command line instead, and prints what comes back.
//!
//! Wire: one JSON line with a [`Request`], then JSON lines of [`crate::output::Piece`] until the exit.
//! Holds always: the socket lies in the data folder with mode 0600, so whoever may use it may read the data anyway.
//! Not promised: that another version of the program is understood (it is refused with both versions named).
//! After a crash: the socket file stays; the next `up` replaces it after taking the folder's lock.

mod client;
mod lock;
mod server;

use serde::{Deserialize, Serialize};

pub(crate) use client::connect;
pub(crate) use lock::DataLock;
pub(crate) use server::serve;

use crate::cli::Command;

/// File name of the socket inside the data folder.
const SOCKET: &str = "ajatus.sock";

/// Longest request line, bytes.
const REQUEST_LIMIT_BYTES: u64 = 1 << 20;

/// What a client sends.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    /// The client's version.
    version: String,
    /// Whether results must be JSON.
    json: bool,
    /// What to do.
    command: Command,
}
