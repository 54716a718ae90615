//! What changes an index, and what that did.

/// One change, as the stream of changes tells it.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// The memory is there with this vector.
    Upsert {
        /// The memory.
        id: u128,
        /// When it was so.
        epoch: u64,
        /// Of length 1 (or 0).
        vector: Vec<f32>,
    },
    /// The memory is gone.
    Remove {
        /// The memory.
        id: u128,
        /// Since when.
        epoch: u64,
    },
}

impl Change {
    pub(crate) fn key(&self) -> (u128, u64) {
        match self {
            Self::Upsert { id, epoch, .. } | Self::Remove { id, epoch } => (*id, *epoch),
        }
    }
}

/// What [`crate::LargeIndex::apply`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Memories that are there now, new or changed.
    pub upserted: usize,
    /// Memories that were there and are gone.
    pub removed: usize,
    /// Changes that were older than what is held, or the same.
    pub ignored: usize,
}
