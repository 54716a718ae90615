//! Bytes that sort rows as `order by` asks.

use serde::{Deserialize, Serialize};

use super::kind::offset;
use super::{Kind, Row, Writer};

/// One column of an `order by`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SortColumn {
    /// Which.
    pub column: usize,
    /// Largest first.
    pub descending: bool,
    /// Nulls before everything else.
    pub nulls_first: bool,
}

/// Makes the bytes that sort a row.
#[derive(Clone, Debug)]
pub struct SortKey {
    kinds: Vec<Kind>,
    columns: Vec<SortColumn>,
}

impl SortKey {
    /// For rows of `kinds`.
    #[must_use]
    pub fn new(kinds: Vec<Kind>, columns: Vec<SortColumn>) -> Self {
        Self { kinds, columns }
    }

    /// Writes the key of a row behind what is in `out`.
    pub fn put(&self, row: &Row, out: &mut Writer) {
        let bytes = row.bytes();
        for sort in &self.columns {
            let start = offset(&self.kinds, sort.column, bytes);
            let value = &bytes[start..start + self.kinds[sort.column].width(&bytes[start..])];
            if value[0] == 0 {
                out.0.push(if sort.nulls_first { 0 } else { u8::MAX });
                continue;
            }
            // No marker is 0 or 255, upright or flipped.
            if sort.descending {
                out.0.extend(value.iter().map(|byte| !byte));
            } else {
                out.0.extend_from_slice(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_both_ways_with_nulls_at_either_end() {
        let kinds = vec![Kind::Text];
        let mut writer = Writer::new();
        let mut rows: Vec<Row> = Vec::new();
        for value in [Some("b"), None, Some(""), Some("ab"), Some("a")] {
            match value {
                Some(value) => writer.text(value),
                None => writer.null(),
            }
            rows.push(writer.finish());
        }
        for (descending, nulls_first, expected) in [
            (false, true, [None, Some(""), Some("a"), Some("ab"), Some("b")]),
            (false, false, [Some(""), Some("a"), Some("ab"), Some("b"), None]),
            (true, true, [None, Some("b"), Some("ab"), Some("a"), Some("")]),
            (true, false, [Some("b"), Some("ab"), Some("a"), Some(""), None]),
        ] {
            let key = SortKey::new(kinds.clone(), vec![SortColumn { column: 0, descending, nulls_first }]);
            rows.sort_by_cached_key(|row| { let mut out = Writer::new(); key.put(row, &mut out); out.0 });
            let got: Vec<_> = rows.iter().map(|row| match row.reader().cell(&kinds[0]) {
                crate::row::Cell::Text(text) => Some(text.into_owned()),
                _ => None,
            }).collect();
            assert_eq!(got, expected.map(|text| text.map(str::to_owned)), "{descending} {nulls_first}");
        }
    }
}
