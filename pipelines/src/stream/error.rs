//! Why a run cannot begin, or ended.

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
