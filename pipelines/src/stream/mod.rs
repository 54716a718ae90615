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
mod crash;
mod decode;
mod elsewhere;
mod engine;
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

pub use ask::{Answer, ask, window};
pub use cases::{Verdict, test};
pub use cluster::Cluster;
pub use crash::{POINTS, die_at};
// What the companion's own pipeline runs on too.
pub(crate) use decode::Payload;
pub(crate) use engine::{Built, Closed, Engine, Mesh};
pub(crate) use gather::{Changes, Gathered};
pub use ledger::{Book, Ledger, Minted};
pub use models::{Backend, Backends};
pub use repair::{Repaired, repair};
pub use replay::{Fate, Letter, PARTITION as REPLAYS, letters, replay};
pub use run::{Backfill, Progress, Report, RunConfig, RunParts, run};
pub(crate) use sink::{Delta, consolidated};
pub use snapshot::{Snapshot, snapshots};

use ajatus_kafka::LogError;
use ajatus_memory::postgres::StoreError;

/// Why a run cannot begin, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// Something the file asks for is not there in this kind of run.
    #[error("{what}; {hint}")]
    Unsupported {
        /// What.
        what: String,
        /// What to do.
        hint: String,
    },
    /// Another process runs on the folder.
    #[error("another run holds {folder:?}; stop it, or give this one a folder of its own with --state")]
    Locked {
        /// The folder.
        folder: String,
    },
    /// A file is not what was written there.
    #[error("{path} cannot be used: {reason}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// What the ledger names is gone from a source.
    #[error("{place:?} was read up to {wanted}, but it ends or begins at {first}: records are gone; nothing was skipped")]
    Gap {
        /// The source.
        place: String,
        /// What was wanted.
        wanted: u64,
        /// What there is.
        first: u64,
    },
    /// A record that `bad_data = 'fail'` does not let pass.
    #[error("a record of {step} is refused: {message} (bad_data = 'fail')")]
    BadData {
        /// The step.
        step: String,
        /// Why.
        message: String,
    },
    /// A sink cannot take what the query gives.
    #[error("sink {sink:?}: {reason}")]
    Sink {
        /// The sink.
        sink: String,
        /// Why.
        reason: String,
    },
    /// The log cannot be read or written.
    #[error("the log failed: {0}")]
    Log(#[from] LogError),
    /// The database cannot be used.
    #[error("the database failed: {0}")]
    Store(#[from] StoreError),
    /// The dataflow could not be started or has ended.
    #[error("the dataflow failed: {0}")]
    Dataflow(String),
    /// The processes of a cluster do not find together, or one is gone.
    #[error("the cluster failed: {reason}")]
    Cluster {
        /// Why.
        reason: String,
    },
    /// The file system.
    #[error("{path} cannot be read or written: {source}")]
    Io {
        /// Which file.
        path: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}
