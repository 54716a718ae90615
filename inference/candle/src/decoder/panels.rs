//! Results of products, panel by panel, read row by row.

use crate::kernels::product::COLUMNS;

/// `[panels, rows, COLUMNS]`: threads write panels apart, and rows are read across.
#[derive(Clone, Copy)]
pub(super) struct Panelled<'a> {
    pub(super) values: &'a [f32],
    pub(super) rows: usize,
}

impl Panelled<'_> {
    /// Runs of neighbouring numbers of a row, from a column on.
    #[inline(always)]
    pub(super) fn runs(&self, row: usize, from: usize, count: usize) -> impl Iterator<Item = &[f32]> {
        let mut at = from;
        std::iter::from_fn(move || {
            let run = (COLUMNS - at % COLUMNS).min(from + count - at);
            let begin = (at / COLUMNS * self.rows + row) * COLUMNS + at % COLUMNS;
            at += run;
            (run > 0).then(|| &self.values[begin..begin + run])
        })
    }

    /// Copies numbers of a row, from a column on.
    #[inline(always)]
    pub(super) fn row(&self, row: usize, from: usize, to: &mut [f32]) {
        let mut rest = &mut *to;
        for run in self.runs(row, from, rest.len()) {
            let (part, after) = rest.split_at_mut(run.len());
            part.copy_from_slice(run);
            rest = after;
        }
    }

    /// Adds a row to another.
    #[inline(always)]
    pub(super) fn add(&self, row: usize, to: &mut [f32]) {
        let mut rest = &mut *to;
        for run in self.runs(row, 0, rest.len()) {
            let (part, after) = rest.split_at_mut(run.len());
            for (value, change) in part.iter_mut().zip(run) {
                *value += change;
            }
            rest = after;
        }
    }
}
