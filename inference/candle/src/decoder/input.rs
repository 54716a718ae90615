//! Rows on their way into products, in the forms that matrices read.

use crate::kernels::quantised::{Rounded, RoundedRows};
use crate::kernels::room;

/// What matrices read of an input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reads {
    pub(super) cells: bool,
    pub(super) rounded: bool,
}

impl Reads {
    /// What any of two read.
    pub(super) fn or(self, other: Self) -> Self {
        Self { cells: self.cells || other.cells, rounded: self.rounded || other.rounded }
    }
}

/// Rows of a left-hand side.
#[derive(Default)]
pub(super) struct Input {
    /// `f32` numbers by their bits; of matrices that are not quantised.
    pub(super) cells: Vec<u32>,
    /// Of those that are.
    pub(super) rounded: Rounded,
}

/// Some rows of an input, to be written.
pub(super) struct InputRows<'a> {
    cells: Option<&'a mut [u32]>,
    rounded: Option<RoundedRows<'a>>,
}

impl Input {
    /// Room for `rows` of `width` numbers, in shares of `share` rows.
    pub(super) fn shares(&mut self, rows: usize, width: usize, share: usize, reads: Reads) -> Vec<InputRows<'_>> {
        let count = rows.div_ceil(share);
        let mut shares: Vec<InputRows<'_>> = (0..count).map(|_| InputRows { cells: None, rounded: None }).collect();
        if reads.cells {
            for (rows, cells) in shares.iter_mut().zip(room(&mut self.cells, rows * width).chunks_mut(share * width)) {
                rows.cells = Some(cells);
            }
        }
        if reads.rounded {
            self.rounded.reserve(rows, width);
            for (rows, rounded) in shares.iter_mut().zip(self.rounded.shares(share)) {
                rows.rounded = Some(rounded);
            }
        }
        shares
    }
}

impl InputRows<'_> {
    /// Whether anybody reads them.
    pub(super) fn wanted(&self) -> bool {
        self.cells.is_some() || self.rounded.is_some()
    }

    /// Writes a row. Called within a set's `run_integers`.
    #[inline(always)]
    pub(super) fn put(&mut self, at: usize, row: &[f32]) {
        if let Some(cells) = &mut self.cells {
            for (cell, value) in cells[at * row.len()..].iter_mut().zip(row) {
                *cell = value.to_bits();
            }
        }
        if let Some(rounded) = &mut self.rounded {
            rounded.put(at, row);
        }
    }
}
