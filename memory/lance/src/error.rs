//! What can go wrong with a dataset.

use std::path::Path;

/// Why a dataset cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LanceError {
    /// There is no dataset.
    #[error("there is no dataset in {path:?}")]
    Missing {
        /// Its folder.
        path: String,
    },
    /// The folder holds something that is not the writer's to change.
    #[error("{path:?} cannot be written: {reason}")]
    Foreign {
        /// The folder.
        path: String,
        /// Whose it is, and what to do.
        reason: String,
    },
    /// Another writer has taken the dataset over; this one commits nothing more.
    #[error("{path:?} is written by another run now")]
    Fenced {
        /// The folder.
        path: String,
    },
    /// The asked version is not there, or no longer.
    #[error("{path:?} has no {what}; the newest version is {newest}")]
    Version {
        /// The folder.
        path: String,
        /// What was asked for.
        what: String,
        /// The newest version.
        newest: u64,
    },
    /// The dataset's columns are not the asked ones.
    #[error("the dataset in {path:?} {reason}")]
    Schema {
        /// The folder.
        path: String,
        /// What differs.
        reason: String,
    },
    /// A memory cannot be a row; nothing was written.
    #[error("memory {id} cannot be kept: {reason}")]
    Row {
        /// The memory.
        id: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file is missing or damaged, or the disk failed.
    #[error("the dataset in {path:?} cannot be used: {reason}")]
    Broken {
        /// The folder.
        path: String,
        /// What the library said.
        reason: String,
    },
}

impl LanceError {
    pub(crate) fn broken(path: &Path, error: impl std::fmt::Display) -> Self {
        // The library's messages carry the place in its own source behind the first line.
        let reason = error.to_string();
        Self::Broken { path: path.display().to_string(), reason: reason.lines().next().unwrap_or_default().to_owned() }
    }
}
