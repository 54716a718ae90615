//! `distinct`: each row once, however often it is there.

use super::Rows;
use super::frame::{Changes, in_order};
use crate::row::{Row, Table};

/// Keeps each row that is there at least once, once.
///
/// Keeps: every different row with its count. A retraction of the last copy retracts the row.
#[must_use]
pub fn distinct(rows: Rows<'_>) -> Rows<'_> {
    let mut counts: Table<i64> = Table::default();
    let mut touched: Vec<(Row, bool)> = Vec::new();
    let mut seen: Table<()> = Table::default();
    let (rows, _) = in_order("Distinct", vec![(rows, Box::new(Row::route))], move |inputs, changes: &mut Changes| {
        for (row, diff) in inputs[0].drain(..) {
            let count = counts.entry(row.bytes(), || 0);
            let before = *count > 0;
            *count += diff as i64;
            if seen.get(row.bytes()).is_none() {
                seen.entry(row.bytes(), || ());
                touched.push((row, before));
            }
        }
        for (row, before) in touched.drain(..) {
            seen.remove(row.bytes());
            let count = counts.get(row.bytes()).copied().unwrap_or_default();
            if count == 0 {
                counts.remove(row.bytes());
            }
            match (before, count > 0) {
                (false, true) => changes.row(row, 1),
                (true, false) => changes.row(row, -1),
                _ => {}
            }
        }
    });
    rows
}
