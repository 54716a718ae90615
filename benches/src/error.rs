//! What can go wrong with a yardstick.

use std::path::{Path, PathBuf};

/// Why a bench has no figure to show.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum BenchError {
    /// The command line says nothing that can be done.
    #[error("{0}")]
    Usage(String),
    /// A file could not be read or written.
    #[error("{} could not be read or written", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line is not a row of the job.
    #[error("line {line} of {} is not a row of this job", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: u64,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A contender ended without a result.
    #[error("{contender} gave no result: {why}")]
    Contender {
        /// Its name.
        contender: String,
        /// How it ended, and the last it said.
        why: String,
    },
    /// Two results that must be equal are not.
    #[error("results differ: {0}")]
    Differ(String),
}

impl BenchError {
    /// Says of which file the system's error is.
    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        |source| Self::File { path: path.to_owned(), source }
    }
}
