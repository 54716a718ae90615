//! Composes SQL pipelines, the companion's own first: `companion.sql`, run with epochs, memo and sink of its own.
//!
//! Holds always: an epoch is on the ledger before the dataflow sees it; an answer is on the log before an epoch that used it is
//! applied; an epoch's rows, positions and outbox change in one transaction; the views are those of a recompute from scratch.
//! Not promised: a bound on lag (a model that is down stops the line, and nothing is skipped); any order between users.
//! After a crash: the next start fences the old run, feeds what is applied as one time without touching the views, then the
//! minted epochs with their own times, then what is new. Answers come from the memo, so no model is asked twice.

mod abort;
mod apply;
mod ask;
mod companion;
mod compact;
mod feed;
mod histories;
mod memo;
mod runtime;
mod settle;
mod status;
pub mod stream;
mod survey;
mod training;
mod turn;

pub use abort::abort_on_worker_panic;
pub use histories::{HistoriesConfig, HistoriesReport, run_histories};
pub use runtime::{Parts, PipelineError, Running, RuntimeConfig, start};
pub use settle::{SettleError, Settler};
pub use status::{Busy, Status};
pub use survey::{MemoGroup, MemoSurvey};
pub use training::{TrainingConversation, TrainingFileError, TrainingMessage, write_parquet, write_training_parquet};
