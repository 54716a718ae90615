//! Runs a pipeline that is a SQL file: over files to their end, over topics as they grow; the same file does both.
//!
//! The way of an epoch: the reader takes up to `epoch_rows` records of every source; the ledger says which offsets that was, on disk;
//! only then the dataflow is fed; when its frontier has passed, every sink takes the changes, and a place for the next epoch is
//! free.
//!
//! Holds always: what the sinks hold after an epoch is what a run over the same offsets in one batch gives; a restart reads the ledger
//! and makes the same epochs of the same offsets; at most `max_epochs_ahead` epochs are between the reader and the sinks.
//! Not promised: a bound on memory: the keyed state of a pipeline is in memory; `ajatus pipeline explain` says what each step
//! keeps.
//! After a crash: the ledger is whole but for a torn last line that was never fed; `sink` says what each kind of sink holds.

mod answers;
mod ask;
mod cases;
mod cluster;
mod collect;
mod columnar;
mod config;
mod crash;
mod decode;
mod elsewhere;
mod engine;
mod error;
mod feed;
mod gather;
mod interactions;
mod ledger;
mod meter;
mod models;
mod read;
mod repair;
mod replay;
mod run;
mod sink;
mod snapshot;
mod table;
mod write;

pub use answers::{RunMemo, run_memo};
pub use ask::{Answer, ask, window};
pub use columnar::{Columnar, ColumnarScan, ColumnarSpec, ColumnarTable, ColumnarVersion};
pub use cases::{Verdict, test};
pub use crash::{POINTS, die_at};
pub use config::{Backfill, Cluster, Progress, Report, RunConfig, RunParts};
pub use error::StreamError;
// What the companion's own pipeline runs on too.
pub(crate) use decode::Payload;
pub(crate) use engine::{Built, Closed, Engine, Mesh};
pub(crate) use gather::{Changes, Gathered};
pub use ledger::{Book, Ledger, Minted};
pub use models::{Backend, Backends};
pub use repair::{Repaired, repair};
pub use replay::{Fate, Letter, PARTITION as REPLAYS, letters, replay};
pub use run::run;
pub(crate) use sink::{Delta, consolidated};
pub use snapshot::{Snapshot, snapshots};
