//! What can go wrong with a large index.

use std::path::Path;

/// Why an index could not be made, changed, asked, saved or loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FaissError {
    /// The vector's length is not the index's dimension; embed again, do not pad.
    #[error("vector has {got} components, but the index holds {want}")]
    Dimension {
        /// Components given.
        got: usize,
        /// Components the index holds.
        want: usize,
    },
    /// A component is NaN or infinite; one such vector spoils every product.
    #[error("vector component {at} is not finite")]
    NotFinite {
        /// Position of the first such component.
        at: usize,
    },
    /// The vector has another length than 1 (or 0): products would not compare.
    #[error("vector has length {length}, but 1 is needed")]
    NotUnit {
        /// Its length.
        length: f32,
    },
    /// Too few vectors to find centres with; an exact scan serves them better.
    #[error("{got} vectors are too few to train with, at least {want} are needed")]
    TooFew {
        /// Vectors given.
        got: usize,
        /// Vectors needed.
        want: usize,
    },
    /// The filter was made by another index, or before this one was trained again.
    #[error("the filter belongs to another index")]
    Filter,
    /// Users would go up and down at once.
    #[error("users go up at {up} vectors and down at {down}, which is not below")]
    Policy {
        /// Where they go up.
        up: usize,
        /// Where they go down.
        down: usize,
    },
    /// A tag is not 1 to 64 letters, digits, `_` and `-`.
    #[error("tag {tag:?} is not made of letters, digits, _ and - alone")]
    Tag {
        /// The tag.
        tag: String,
    },
    /// Nothing was saved under that name.
    #[error("there is no index in {path:?}")]
    Missing {
        /// The file that is not there.
        path: String,
    },
    /// A file is cut, changed, or another's; make the index anew.
    #[error("{path:?} is damaged: {reason}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The disk failed.
    #[error("{path:?} cannot be read or written")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The library refused, e.g. for want of memory.
    #[error("the library refused: {reason}")]
    Library {
        /// What it said.
        reason: String,
    },
}

impl From<faiss::error::Error> for FaissError {
    fn from(error: faiss::error::Error) -> Self {
        Self::Library { reason: error.to_string() }
    }
}

impl FaissError {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        let path = path.display().to_string();
        if source.kind() == std::io::ErrorKind::NotFound { Self::Missing { path } } else { Self::Io { path, source } }
    }

    pub(crate) fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged { path: path.display().to_string(), reason: reason.into() }
    }
}

/// Checks a vector: its dimension, its components, its length.
pub(crate) fn check(vector: &[f32], dimension: usize) -> Result<(), FaissError> {
    if vector.len() != dimension {
        return Err(FaissError::Dimension { got: vector.len(), want: dimension });
    }
    if let Some(at) = vector.iter().position(|component| !component.is_finite()) {
        return Err(FaissError::NotFinite { at });
    }
    let length = vector.iter().map(|component| component * component).sum::<f32>().sqrt();
    // Half precision on the way here costs about 0.001. The vector of an empty text is all zeros.
    if length != 0.0 && (length - 1.0).abs() > 0.01 { Err(FaissError::NotUnit { length }) } else { Ok(()) }
}
