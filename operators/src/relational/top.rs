//! The first rows of each group in an order: `order by … limit`, and `row_number() … <= n`.
//!
//! Keeps: all rows of every group, in order. A change costs the logarithm of the group and the rows shown.

use super::Rows;
use super::frame::{Changes, Ordered, in_order};
use crate::keep::{Entries, Keep, Parts, put_bag, put_bytes};
use crate::row::{Bag, Kind, Row, SortColumn, SortKey, Table, Writer, hash, offset};

/// Which rows are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopShape {
    /// Columns of the input.
    pub kinds: Vec<Kind>,
    /// Its first so many columns are the group.
    pub keys: usize,
    /// The order; ties are broken by the bytes of the row, so that the result is one.
    pub order: Vec<SortColumn>,
    /// Rows passed over.
    pub skip: usize,
    /// Rows shown after those.
    pub fetch: usize,
    /// A last column with the row's number from 1, a `UInt64`.
    pub numbered: bool,
}

/// Keeps, of each group, the rows `skip + 1` to `skip + fetch` in order.
///
/// In: rows of `shape.kinds`. Out: the same columns, and the number if asked for; equal rows count one by one.
#[must_use]
pub fn top<'scope>(rows: Rows<'scope>, shape: TopShape, keep: Keep) -> Rows<'scope> {
    let (kinds, keys) = (shape.kinds.clone(), shape.keys);
    let route = move |row: &Row| hash(&row.bytes()[..offset(&kinds, keys, row.bytes())]);
    let sort = SortKey::new(shape.kinds.clone(), shape.order.clone());
    let operator = Top { shape, sort, groups: Table::default(), writer: Writer::new() };
    in_order("Top", vec![(rows, Box::new(route))], keep, operator).0
}

struct Top {
    shape: TopShape,
    sort: SortKey,
    /// By group: sort key and row.
    groups: Table<Bag>,
    writer: Writer,
}

impl Ordered for Top {
    fn turn(&mut self, inputs: &mut [Vec<(Row, isize)>], changes: &mut Changes) {
        let mut touched: Vec<(Row, Vec<(Row, i64)>)> = Vec::new();
        let mut seen: Table<()> = Table::default();
        let Self { shape, sort, groups, writer } = self;
        for (row, diff) in inputs[0].drain(..) {
            let key = &row.bytes()[..offset(&shape.kinds, shape.keys, row.bytes())];
            let group = groups.entry(key, Bag::default);
            if seen.get(key).is_none() {
                seen.entry(key, || ());
                touched.push((Row::from_bytes(key), shown(group, shape, writer)));
            }
            let mut order = Writer::new();
            sort.put(&row, &mut order);
            writer.clear();
            writer.bytes(order.written());
            writer.encoded(row.bytes());
            group.add(&writer.finish(), diff as i64);
        }
        for (key, before) in touched {
            let now = groups.get(key.bytes()).map(|group| shown(group, shape, writer)).unwrap_or_default();
            if groups.get(key.bytes()).is_some_and(Bag::is_empty) {
                groups.remove(key.bytes());
            }
            let mut difference: std::collections::BTreeMap<Row, i64> = std::collections::BTreeMap::new();
            for (row, count) in now {
                *difference.entry(row).or_default() += count;
            }
            for (row, count) in before {
                *difference.entry(row).or_default() -= count;
            }
            for (row, count) in difference {
                if count != 0 {
                    changes.row(row, count as isize);
                }
            }
        }
    }

    fn give(&mut self, entries: &mut Entries<'_>) {
        for (key, group) in self.groups.iter() {
            entries.entry(key.route(), |out| {
                put_bytes(key.bytes(), out);
                put_bag(group, out);
            });
        }
    }

    fn take(&mut self, entry: &mut Parts<'_>) -> Option<i64> {
        let key = entry.bytes()?;
        let group = entry.bag()?;
        let rows = group.total();
        self.groups.entry(key, || group);
        Some(rows)
    }

    fn show(&mut self, changes: &mut Changes) {
        for (_, group) in self.groups.iter() {
            for (row, count) in shown(group, &self.shape, &mut self.writer) {
                changes.row(row, count as isize);
            }
        }
    }
}

/// The rows that a group shows, with how often.
fn shown(group: &Bag, shape: &TopShape, writer: &mut Writer) -> Vec<(Row, i64)> {
    let (from, to) = (shape.skip as i64, (shape.skip.saturating_add(shape.fetch)) as i64);
    let mut passed = 0;
    let mut rows = Vec::new();
    for (held, count) in group.iter() {
        if passed >= to {
            break;
        }
        let (first, last) = (passed.max(from), (passed + count).min(to));
        passed += count.max(0);
        if first >= last {
            continue;
        }
        let bytes = &held.bytes()[Kind::Bytes.width(held.bytes())..];
        if shape.numbered {
            for number in first..last {
                writer.clear();
                writer.encoded(bytes);
                writer.uint64(number as u64 + 1);
                rows.push((writer.finish(), 1));
            }
        } else {
            rows.push((Row::from_bytes(bytes), last - first));
        }
    }
    rows
}
