//! `distinct`: each row once, however often it is there.

use super::Rows;
use super::frame::{Changes, Ordered, in_order};
use crate::keep::{Entries, Keep, Parts, put_bytes, put_int};
use crate::row::{Row, Table, hash};

/// Keeps each row that is there at least once, once.
///
/// Keeps: every different row with its count. A retraction of the last copy retracts the row.
#[must_use]
pub fn distinct<'scope>(rows: Rows<'scope>, keep: Keep) -> Rows<'scope> {
    in_order("Distinct", vec![(rows, Box::new(Row::route))], keep, Distinct::default()).0
}

#[derive(Default)]
struct Distinct {
    counts: Table<i64>,
    touched: Vec<(Row, bool)>,
    seen: Table<()>,
}

impl Ordered for Distinct {
    fn turn(&mut self, inputs: &mut [Vec<(Row, isize)>], changes: &mut Changes) {
        for (row, diff) in inputs[0].drain(..) {
            let count = self.counts.entry(row.bytes(), || 0);
            let before = *count > 0;
            *count += diff as i64;
            if self.seen.get(row.bytes()).is_none() {
                self.seen.entry(row.bytes(), || ());
                self.touched.push((row, before));
            }
        }
        for (row, before) in self.touched.drain(..) {
            self.seen.remove(row.bytes());
            let count = self.counts.get(row.bytes()).copied().unwrap_or_default();
            if count == 0 {
                self.counts.remove(row.bytes());
            }
            match (before, count > 0) {
                (false, true) => changes.row(row, 1),
                (true, false) => changes.row(row, -1),
                _ => {}
            }
        }
    }

    fn give(&mut self, entries: &mut Entries<'_>) {
        for (row, count) in self.counts.iter() {
            entries.entry(row.route(), |out| {
                put_bytes(row.bytes(), out);
                put_int(*count, out);
            });
        }
    }

    fn take(&mut self, entry: &mut Parts<'_>) -> Option<i64> {
        let row = entry.bytes()?;
        debug_assert_eq!(hash(row), Row::from_bytes(row).route());
        *self.counts.entry(row, || 0) += entry.int()?;
        Some(1)
    }

    fn show(&mut self, changes: &mut Changes) {
        self.counts.iter().filter(|(_, count)| **count > 0).for_each(|(row, _)| changes.row(row.clone(), 1));
    }
}
