//! Around operators whose state cannot be written down (loops, differential's own arrangements): what goes in is remembered, and given to
//! them again by a run that resumes; what they then give up to the base has left already.
//!
//! Keeps: every different row that goes in, with its count.

use differential_dataflow::AsCollection as _;
use timely::dataflow::operators::vec::Filter as _;

use super::Rows;
use super::frame::{Changes, Ordered, in_order};
use crate::keep::{Entries, Keep, Parts, Vault, put_bytes, put_int};
use crate::row::{Row, Table};

/// Passes rows on and remembers them. A run that resumes gives all of them at the base, whether the vault shows or not.
#[must_use]
pub fn remembered<'scope>(rows: Rows<'scope>, keep: Keep) -> Rows<'scope> {
    in_order("Remember", vec![(rows, Box::new(Row::route))], keep, Remembered::default()).0
}

#[derive(Default)]
struct Remembered(Table<i64>);

impl Ordered for Remembered {
    const SHOWS_ALWAYS: bool = true;

    fn turn(&mut self, inputs: &mut [Vec<(Row, isize)>], changes: &mut Changes) {
        for (row, diff) in inputs[0].drain(..) {
            let count = self.0.entry(row.bytes(), || 0);
            *count += diff as i64;
            if *count == 0 {
                self.0.remove(row.bytes());
            }
            changes.row(row, diff);
        }
    }

    fn give(&mut self, entries: &mut Entries<'_>) {
        for (row, count) in self.0.iter() {
            entries.entry(row.route(), |out| {
                put_bytes(row.bytes(), out);
                put_int(*count, out);
            });
        }
    }

    fn take(&mut self, entry: &mut Parts<'_>) -> Option<i64> {
        let row = entry.bytes()?;
        let count = entry.int()?;
        *self.0.entry(row, || 0) += count;
        Some(count)
    }

    fn show(&mut self, changes: &mut Changes) {
        self.0.iter().for_each(|(row, count)| changes.row(row.clone(), *count as isize));
    }
}

/// Only what is new: where a run resumes and nothing is shown again, what is given up to the base has left already.
#[must_use]
pub fn after<'scope>(rows: Rows<'scope>, vault: &Vault) -> Rows<'scope> {
    match vault.base().filter(|_| !vault.shows()) {
        None => rows,
        Some(base) => rows.inner.filter(move |(_, time, _)| *time > base).as_collection(),
    }
}
