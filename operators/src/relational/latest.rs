//! From a changelog of rows to a table: the last row of each key.

use super::Rows;
use super::frame::{Changes, in_order};
use crate::row::{Cell, Kind, Row, Table, hash, offset};

/// Keeps the row with the greatest sequence number of each key.
///
/// In: rows of `[key…, sequence: UInt64, live: Bool, value…]` with the key in the first `keys` columns of `kinds`, each `+1`. Out:
/// `[key…, value…]` of the latest record of each key, unless that record is not `live`, which forgets the key. Records of
/// one key may come in any order within a time; at a later time, an older sequence number than the one held is passed over.
///
/// Keeps: the latest row of every key, and of a forgotten key its sequence number.
#[must_use]
pub fn latest<'scope>(records: Rows<'scope>, kinds: Vec<Kind>, keys: usize) -> Rows<'scope> {
    let key_kinds = kinds[..keys].to_vec();
    let route_kinds = key_kinds.clone();
    let route = move |row: &Row| hash(&row.bytes()[..offset(&route_kinds, keys, row.bytes())]);
    let mut table: Table<(u64, Option<Row>)> = Table::default();
    let mut touched: Vec<(Row, Option<Row>)> = Vec::new();
    let mut seen: Table<()> = Table::default();
    let (rows, _) = in_order("Latest", vec![(records, Box::new(route))], move |inputs, changes: &mut Changes| {
        for (record, diff) in inputs[0].drain(..) {
            debug_assert!(diff > 0, "a changelog only asserts");
            let bytes = record.bytes();
            let key = &bytes[..offset(&key_kinds, keys, bytes)];
            let mut reader = crate::row::Reader::over(&bytes[key.len()..]);
            let Cell::UInt(sequence) = reader.cell(&Kind::UInt64) else { continue };
            let live = reader.cell(&Kind::Bool) == Cell::Bool(true);
            let value = live.then(|| {
                let mut row = key.to_vec();
                row.extend_from_slice(reader.rest());
                Row::from_bytes(&row)
            });
            let held = table.entry(key, || (0, None));
            if seen.get(key).is_none() {
                seen.entry(key, || ());
                touched.push((Row::from_bytes(key), held.1.clone()));
            }
            if sequence >= held.0 {
                *held = (sequence, value);
            }
        }
        for (key, before) in touched.drain(..) {
            seen.remove(key.bytes());
            let now = table.get(key.bytes()).and_then(|held| held.1.clone());
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
    });
    rows
}
