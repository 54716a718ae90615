//! Keys and values of a sequence, laid out as attention multiplies them.

use super::shape::Shape;
use crate::kernels::product::{COLUMNS, Half};

/// What a sequence's tokens have left behind in every layer. Its room is taken once; pages of it that nobody wrote to cost nothing.
///
/// In 16 bits beside quantised weights, where rounding is coarser anyway; in `f32` beside others.
pub(crate) struct Cache {
    layers: Vec<Layer>,
    length: usize,
    capacity: usize,
}

/// Keys: per head, panels of [`COLUMNS`] positions, `[heads, capacity / COLUMNS, wide, COLUMNS]`. Values: per head, panels of [`COLUMNS`] components,
/// `[heads, wide / COLUMNS, capacity, COLUMNS]`.
pub(super) enum Layer {
    Full { keys: Vec<u32>, values: Vec<u32> },
    Half { keys: Vec<Half>, values: Vec<Half> },
}

impl Cache {
    /// Room for `tokens`.
    pub(crate) fn new(shape: &Shape, tokens: usize) -> Self {
        let capacity = tokens.next_multiple_of(COLUMNS);
        let count = shape.kv_heads * capacity * shape.wide();
        let layer = || if shape.rounded { Layer::Half { keys: vec![0; count], values: vec![0; count] } } else { Layer::Full { keys: vec![0; count], values: vec![0; count] } };
        let layers = (0..shape.layers).map(|_| layer()).collect();
        Self { layers, length: 0, capacity }
    }

    /// Bytes of a cache for so many tokens.
    pub(crate) fn size(shape: &Shape, tokens: usize) -> usize {
        2 * if shape.rounded { 2 } else { 4 } * shape.layers * shape.kv_heads * shape.wide() * tokens.next_multiple_of(COLUMNS)
    }

    /// Tokens taken in.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// Tokens that it holds at most.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn layer(&mut self, at: usize) -> &mut Layer {
        &mut self.layers[at]
    }

    pub(super) fn grow(&mut self, tokens: usize) {
        self.length += tokens;
    }
}
