//! Vectors to begin an index with.

use crate::error::{FaissError, check};

/// One user's vectors with their ids and epochs, one after the other.
#[derive(Clone, Debug)]
pub struct Rows {
    dimension: usize,
    pub(crate) keys: Vec<(u128, u64)>,
    pub(crate) vectors: Vec<f32>,
}

impl Rows {
    /// None yet, of `dimension` components each.
    #[must_use]
    pub fn new(dimension: usize) -> Self {
        Self { dimension, keys: Vec::new(), vectors: Vec::new() }
    }

    /// Adds one. Of several with the same id the newest epoch counts, of those the first.
    ///
    /// # Errors
    /// [`FaissError::Dimension`], [`FaissError::NotFinite`], [`FaissError::NotUnit`]; nothing is added then.
    pub fn push(&mut self, id: u128, epoch: u64, vector: &[f32]) -> Result<(), FaissError> {
        check(vector, self.dimension)?;
        self.keys.push((id, epoch));
        self.vectors.extend_from_slice(vector);
        Ok(())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// None.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Components of each.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    pub(crate) fn vector(&self, row: usize) -> &[f32] {
        &self.vectors[row * self.dimension..(row + 1) * self.dimension]
    }
}
