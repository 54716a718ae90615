//! From a changelog of rows to a table: the last row of each key.

use super::Rows;
use super::frame::{Changes, Ordered, in_order};
use crate::keep::{Entries, Keep, Parts, put_bytes, put_uint};
use crate::row::{Cell, Kind, Row, Table, hash, offset};

/// Keeps the row with the greatest sequence number of each key.
///
/// In: rows of `[key…, sequence: UInt64, live: Bool, value…]` with the key in the first `keys` columns of `kinds`, each `+1`. Out:
/// `[key…, value…]` of the latest record of each key, unless that record is not `live`, which forgets the key. Records of
/// one key may come in any order within a time; at a later time, an older sequence number than the one held is passed over.
///
/// Keeps: the latest row of every key, and of a forgotten key its sequence number.
#[must_use]
pub fn latest<'scope>(records: Rows<'scope>, kinds: Vec<Kind>, keys: usize, keep: Keep) -> Rows<'scope> {
    let kinds = kinds[..keys].to_vec();
    let route_kinds = kinds.clone();
    let route = move |row: &Row| hash(&row.bytes()[..offset(&route_kinds, keys, row.bytes())]);
    let operator = Latest { kinds, table: Table::default(), touched: Vec::new(), seen: Table::default() };
    in_order("Latest", vec![(records, Box::new(route))], keep, operator).0
}

struct Latest {
    /// Of the key.
    kinds: Vec<Kind>,
    table: Table<(u64, Option<Row>)>,
    touched: Vec<(Row, Option<Row>)>,
    seen: Table<()>,
}

impl Ordered for Latest {
    fn turn(&mut self, inputs: &mut [Vec<(Row, isize)>], changes: &mut Changes) {
        for (record, diff) in inputs[0].drain(..) {
            debug_assert!(diff > 0, "a changelog only asserts");
            let bytes = record.bytes();
            let key = &bytes[..offset(&self.kinds, self.kinds.len(), bytes)];
            let mut reader = crate::row::Reader::over(&bytes[key.len()..]);
            let Cell::UInt(sequence) = reader.cell(&Kind::UInt64) else { continue };
            let live = reader.cell(&Kind::Bool) == Cell::Bool(true);
            let value = live.then(|| {
                let mut row = key.to_vec();
                row.extend_from_slice(reader.rest());
                Row::from_bytes(&row)
            });
            let held = self.table.entry(key, || (0, None));
            if self.seen.get(key).is_none() {
                self.seen.entry(key, || ());
                self.touched.push((Row::from_bytes(key), held.1.clone()));
            }
            if sequence >= held.0 {
                *held = (sequence, value);
            }
        }
        for (key, before) in self.touched.drain(..) {
            self.seen.remove(key.bytes());
            let now = self.table.get(key.bytes()).and_then(|held| held.1.clone());
            if before == now {
                continue;
            }
            if let Some(row) = before {
                changes.row(row, -1);
            }
            if let Some(row) = now {
                changes.row(row, 1);
            }
        }
    }

    fn give(&mut self, entries: &mut Entries<'_>) {
        for (key, (sequence, row)) in self.table.iter() {
            entries.entry(key.route(), |out| {
                put_bytes(key.bytes(), out);
                put_uint(*sequence, out);
                put_uint(row.is_some().into(), out);
                if let Some(row) = row {
                    put_bytes(row.bytes(), out);
                }
            });
        }
    }

    fn take(&mut self, entry: &mut Parts<'_>) -> Option<i64> {
        let (key, sequence) = (entry.bytes()?, entry.uint()?);
        let row = if entry.uint()? == 1 { Some(entry.row()?) } else { None };
        let rows = row.is_some().into();
        *self.table.entry(key, || (0, None)) = (sequence, row);
        Some(rows)
    }

    fn show(&mut self, changes: &mut Changes) {
        self.table.iter().filter_map(|(_, held)| held.1.clone()).for_each(|row| changes.row(row, 1));
    }
}
