//! Composes operators into the pipeline that keeps the companion's views: epochs, memo, sink.
//!
//! Holds always: an epoch is on the ledger before the dataflow sees it; an answer is on the log before an epoch that used it is
//! applied; an epoch's rows, positions and outbox change in one transaction; the views are those of a recompute from scratch.
//! Not promised: a bound on lag (a model that is down stops the line, and nothing is skipped); any order between users.
//! After a crash: the next start fences the old run, feeds what is applied as one time without touching the views, then the
//! minted epochs with their own times, then what is new. Answers come from the memo, so no model is asked twice.

mod apply;
mod compact;
mod feed;
mod memo;
mod plan;
mod runtime;
mod status;
pub mod stream;
mod turn;
mod worker;

pub use runtime::{Parts, PipelineError, Running, RuntimeConfig, start};
pub use status::{Busy, Status};
pub use worker::abort_on_worker_panic;
