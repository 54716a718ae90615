//! AjatusServer: sign in, talk, look into the memory; over HTTP, on one port.
//!
//! - [`follow`]: keeps the index up to date from the log.
//! - [`recall`]: finds the turns a question is about.
//! - [`reply`]: a reply as a job that outlives its connection.
//! - [`core`]: the models alone, as OpenAI's API has it.
//! - [`edits`]: what users change of their profile.
//! - [`forget`]: forgetting, to the last byte, with a receipt.
//! - [`rekey`]: replaces a user's data key.
//! - [`auth`]: passwords, access tokens, refresh tokens.
//!
//! Holds always: yes is said to a message only when it is durable on the log; a user sees only what is theirs; every error is a
//! problem document; no text of a user is logged.
//! Not promised: that a reply in the making survives the process (what was said does).
//! After a crash: clients ask again; messages said yes to are on the log.

pub mod auth;
mod body;
mod clock;
mod connections;
pub mod core;
pub mod edits;
pub mod follow;
pub mod forget;
mod numbers;
mod problem;
pub mod recall;
pub mod rekey;
pub mod reply;
mod request;
mod routes;
mod server;

pub use clock::{Clock, SystemClock};
pub use numbers::Numbers;
pub use problem::Problem;
pub use server::{Parts, Probe, Running, ServeConfig, ServeError, Services, openapi, serve};
