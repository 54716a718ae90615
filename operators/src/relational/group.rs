//! `group by`: counts and sums kept as numbers, whatever needs the values kept as ordered bags.
//!
//! Sums are exact: a 64-bit value is added as two halves of 32 bits, a 128-bit one as four, each into a 64-bit number, which
//! cannot overflow below 2^31 rows of a group. A sum that does not fit its type is a fault, not a wrong number.
//!
//! Keeps: per group its numbers (8 bytes each), and for `Min`, `Max`, `Distinct`, `List`, `First` and `Last` the group's
//! values. A change costs the numbers, and the logarithm of the values.

use smallvec::SmallVec;

use super::frame::{Changes, Ordered, in_order};
use super::{Rows, fault};
use crate::keep::{Entries, Keep, Parts, put_bag, put_bytes, put_int};
use crate::row::{Bag, Kind, Reader, Row, SortColumn, SortKey, Table, Writer, hash};

/// One number that is kept per group; the first is always [`Slot::Rows`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Rows.
    Rows,
    /// Rows with a value in the column.
    Present(usize),
    /// Rows with `true` in the column.
    True(usize),
    /// Sum of the column's `n`th 32 bits, the lowest first; the highest with its sign.
    Part(usize, u8),
}

/// What a group's row shows beside its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Aggregate {
    /// `count(*)`, or `count(column)`: values that are not null.
    Count(Option<usize>),
    /// `sum(column)` as a number of `output` kind; null without values.
    Sum {
        /// What is added.
        column: usize,
        /// `Int64`, `UInt64` or `Int128`.
        output: Kind,
        /// Largest magnitude, exclusive: ten to the decimal precision; 0 where the kind alone decides.
        limit: u128,
    },
    /// `avg(column)` of integers, a `Float64`; null without values.
    Mean(usize),
    /// `avg(column)` of decimals: the sum times `scale`, divided and cut.
    MeanDecimal {
        /// What is averaged.
        column: usize,
        /// Ten to the digits that the result has more.
        scale: i128,
        /// As in `Sum`.
        limit: u128,
    },
    /// `min(column)`.
    Min(usize),
    /// `max(column)`.
    Max(usize),
    /// `bool_and(column)`; null without values.
    All(usize),
    /// `bool_or(column)`; null without values.
    Any(usize),
    /// `count(distinct column)`.
    Distinct(usize),
    /// `array_agg(column order by …)`.
    List {
        /// What is listed.
        column: usize,
        /// In which order; ties by the value.
        order: Vec<SortColumn>,
        /// Each value once: `array_agg(distinct …)`; the order is then that of the value.
        distinct: bool,
        /// Without nulls.
        skip_nulls: bool,
        /// Only rows with `true` in this column.
        only: Option<usize>,
    },
    /// `string_agg(column, separator order by …)`; null without values.
    Text {
        /// What is joined.
        column: usize,
        /// What stands between.
        separator: String,
        /// In which order.
        order: Vec<SortColumn>,
    },
    /// `first_value(column order by …)`, or with `last` the last one.
    End {
        /// What is shown.
        column: usize,
        /// In which order.
        order: Vec<SortColumn>,
        /// The last instead.
        last: bool,
        /// Without nulls.
        skip_nulls: bool,
        /// Only rows with `true` in this column.
        only: Option<usize>,
    },
}

/// How rows are grouped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grouping {
    /// Columns of the input.
    pub kinds: Vec<Kind>,
    /// Which of them may be null.
    pub nullable: Vec<bool>,
    /// Its first so many columns are the key.
    pub keys: usize,
    /// What a group's row shows after the key.
    pub aggregates: Vec<Aggregate>,
}

/// How one aggregate is read from a group.
enum Reading {
    Count(usize),
    Sum { parts: SmallVec<[usize; 4]>, present: usize, output: Kind, limit: u128 },
    Mean { parts: SmallVec<[usize; 4]>, present: usize },
    MeanDecimal { parts: SmallVec<[usize; 4]>, present: usize, scale: i128, limit: u128 },
    All { trues: usize, present: usize },
    Any { trues: usize, present: usize },
    Least(usize),
    Greatest(usize),
    Distinct(usize),
    List { bag: usize, kind: Kind, distinct: bool },
    Text { bag: usize, separator: String },
    End { bag: usize, kind: Kind, last: bool },
}

/// What goes into one bag.
struct Collect {
    column: usize,
    /// Sorts before the value; `None` where the value itself sorts.
    order: Option<SortKey>,
    skip_nulls: bool,
    only: Option<usize>,
}

/// A grouping, worked out.
struct Plan {
    grouping: Grouping,
    slots: Vec<Slot>,
    /// Per column that a slot reads, in order: the column and its slots.
    reads: Vec<(usize, Vec<(usize, Slot)>)>,
    collects: Vec<Collect>,
    readings: Vec<Reading>,
}

type Numbers = SmallVec<[i64; 4]>;

struct Group {
    numbers: Numbers,
    bags: Option<Box<[Bag]>>,
    /// The last turn it was touched in.
    touched: u64,
}

/// Keeps one row per group of rows: the key, then the aggregates.
///
/// In: rows of `grouping.kinds`. Out: the key's columns and one column an aggregate. A group without rows has no row; with
/// `keys == 0` that holds for the one group too, so the caller adds the row over nothing. Faults: `sum.overflow`.
#[must_use]
pub fn group<'scope>(rows: Rows<'scope>, step: &str, grouping: Grouping, keep: Keep) -> (Rows<'scope>, Rows<'scope>) {
    let plan = Plan::new(grouping);
    let keys = plan.grouping.keys;
    let kinds = plan.grouping.kinds.clone();
    let route = move |row: &Row| hash(prefix(row, &kinds, keys));
    let operator = Groups { plan, step: step.to_owned(), groups: Table::default(), turn: 0, touched: Vec::new(), writer: Writer::new() };
    in_order("Group", vec![(rows, Box::new(route))], keep, operator)
}

struct Groups {
    plan: Plan,
    step: String,
    groups: Table<Group>,
    turn: u64,
    /// Groups of this turn, with what they showed before it.
    touched: Vec<(Row, Option<Result<Row, Row>>)>,
    writer: Writer,
}

impl Ordered for Groups {
    fn turn(&mut self, inputs: &mut [Vec<(Row, isize)>], changes: &mut Changes) {
        let Self { plan, step, groups, turn, touched, writer } = self;
        *turn += 1;
        for (row, diff) in inputs[0].drain(..) {
            let key = prefix(&row, &plan.grouping.kinds, plan.grouping.keys);
            let group = groups.entry(key, || plan.empty());
            if group.touched != *turn {
                group.touched = *turn;
                touched.push((Row::from_bytes(key), plan.show(key, group, step, writer)));
            }
            plan.add(group, &row, diff as i64, writer);
        }
        for (key, before) in touched.drain(..) {
            let Some(group) = groups.get(key.bytes()) else { continue };
            let now = plan.show(key.bytes(), group, step, writer);
            if now.is_none() && group.numbers.iter().all(|number| *number == 0) {
                groups.remove(key.bytes());
            }
            if before == now {
                continue;
            }
            for (shown, diff) in [(before, -1), (now, 1)] {
                give(shown, diff, changes);
            }
        }
    }

    fn give(&mut self, entries: &mut Entries<'_>) {
        for (key, group) in self.groups.iter() {
            entries.entry(key.route(), |out| {
                put_bytes(key.bytes(), out);
                group.numbers.iter().for_each(|number| put_int(*number, out));
                group.bags.iter().flatten().for_each(|bag| put_bag(bag, out));
            });
        }
    }

    fn take(&mut self, entry: &mut Parts<'_>) -> Option<i64> {
        let key = entry.bytes()?;
        let group = self.groups.entry(key, || self.plan.empty());
        for number in &mut group.numbers {
            *number = entry.int()?;
        }
        for bag in group.bags.iter_mut().flatten() {
            *bag = entry.bag()?;
        }
        Some((group.numbers[0] > 0).into())
    }

    fn show(&mut self, changes: &mut Changes) {
        for (key, group) in self.groups.iter() {
            give(self.plan.show(key.bytes(), group, &self.step, &mut self.writer), 1, changes);
        }
    }
}

/// What a group shows, as a change.
fn give(shown: Option<Result<Row, Row>>, diff: isize, changes: &mut Changes) {
    match shown {
        Some(Ok(row)) => changes.row(row, diff),
        Some(Err(row)) => changes.fault(row, diff),
        None => {}
    }
}

#[inline]
fn prefix<'row>(row: &'row Row, kinds: &[Kind], keys: usize) -> &'row [u8] {
    let bytes = row.bytes();
    if keys == kinds.len() {
        return bytes;
    }
    &bytes[..crate::row::offset(kinds, keys, bytes)]
}

/// Parts of 32 bits that a sum of the kind takes.
fn parts(kind: &Kind) -> u8 {
    match kind {
        Kind::Int64 | Kind::UInt64 => 2,
        Kind::Int128 => 4,
        _ => 1,
    }
}

impl Plan {
    fn new(grouping: Grouping) -> Self {
        let mut slots = vec![Slot::Rows];
        let mut collects: Vec<Collect> = Vec::new();
        let mut readings = Vec::new();
        for aggregate in &grouping.aggregates {
            let mut slot = |want: Slot| {
                slots.iter().position(|held| *held == want).unwrap_or_else(|| {
                    slots.push(want);
                    slots.len() - 1
                })
            };
            // Where nothing is null, the rows are the values.
            let present = |column: usize| if grouping.nullable[column] { Slot::Present(column) } else { Slot::Rows };
            let mut sums = |column: usize| (0..parts(&grouping.kinds[column])).map(|part| slot(Slot::Part(column, part))).collect();
            let mut collect = |column: usize, order: &[SortColumn], skip_nulls, only: Option<usize>| {
                let order = (!order.is_empty()).then(|| SortKey::new(grouping.kinds.clone(), order.to_vec()));
                // The values of one column serve min, max and distinct at once.
                if order.is_none()
                    && let Some(at) = collects.iter().position(|held| held.column == column && held.order.is_none() && held.skip_nulls == skip_nulls)
                {
                    return at;
                }
                collects.push(Collect { column, order, skip_nulls, only });
                collects.len() - 1
            };
            readings.push(match aggregate {
                Aggregate::Count(None) => Reading::Count(0),
                Aggregate::Count(Some(column)) => Reading::Count(slot(present(*column))),
                Aggregate::Sum { column, output, limit } => {
                    Reading::Sum { parts: sums(*column), present: slot(present(*column)), output: output.clone(), limit: *limit }
                }
                Aggregate::Mean(column) => Reading::Mean { parts: sums(*column), present: slot(present(*column)) },
                Aggregate::MeanDecimal { column, scale, limit } => {
                    Reading::MeanDecimal { parts: sums(*column), present: slot(present(*column)), scale: *scale, limit: *limit }
                }
                Aggregate::All(column) => Reading::All { trues: slot(Slot::True(*column)), present: slot(present(*column)) },
                Aggregate::Any(column) => Reading::Any { trues: slot(Slot::True(*column)), present: slot(present(*column)) },
                Aggregate::Min(column) => Reading::Least(collect(*column, &[], true, None)),
                Aggregate::Max(column) => Reading::Greatest(collect(*column, &[], true, None)),
                Aggregate::Distinct(column) => Reading::Distinct(collect(*column, &[], true, None)),
                Aggregate::List { column, order, distinct, skip_nulls, only } => Reading::List {
                    bag: collect(*column, order, *skip_nulls, *only),
                    kind: grouping.kinds[*column].clone(),
                    distinct: *distinct,
                },
                Aggregate::Text { column, separator, order } => {
                    Reading::Text { bag: collect(*column, order, true, None), separator: separator.clone() }
                }
                Aggregate::End { column, order, last, skip_nulls, only } => {
                    Reading::End { bag: collect(*column, order, *skip_nulls, *only), kind: grouping.kinds[*column].clone(), last: *last }
                }
            });
        }
        let mut reads: Vec<(usize, Vec<(usize, Slot)>)> = Vec::new();
        for (at, slot) in slots.iter().enumerate() {
            let (Slot::Present(column) | Slot::True(column) | Slot::Part(column, _)) = slot else { continue };
            match reads.iter_mut().find(|read| read.0 == *column) {
                Some(read) => read.1.push((at, *slot)),
                None => reads.push((*column, vec![(at, *slot)])),
            }
        }
        reads.sort_unstable_by_key(|read| read.0);
        Self { grouping, slots, reads, collects, readings }
    }

    fn empty(&self) -> Group {
        let bags = (!self.collects.is_empty()).then(|| self.collects.iter().map(|_| Bag::default()).collect());
        Group { numbers: SmallVec::from_elem(0, self.slots.len()), bags, touched: 0 }
    }

    #[inline]
    fn add(&self, group: &mut Group, row: &Row, diff: i64, writer: &mut Writer) {
        group.numbers[0] += diff;
        let kinds = &self.grouping.kinds;
        let mut reader = row.reader();
        let mut at = 0;
        for (column, slots) in &self.reads {
            while at < *column {
                reader.skip(&kinds[at]);
                at += 1;
            }
            at += 1;
            if !reader.present() {
                continue;
            }
            if kinds[*column] == Kind::Int64 {
                let value = reader.int64();
                for (slot, what) in slots {
                    group.numbers[*slot] += diff * match what {
                        Slot::Part(_, 0) => value & 0xffff_ffff,
                        Slot::Part(..) => value >> 32,
                        Slot::Rows | Slot::Present(_) | Slot::True(_) => 1,
                    };
                }
                continue;
            }
            let value = whole(&mut reader, &kinds[*column]);
            for (slot, what) in slots {
                group.numbers[*slot] += diff * match what {
                    Slot::Rows | Slot::Present(_) => 1,
                    Slot::True(_) => i64::from(value == Some(1)),
                    Slot::Part(_, part) => value.map_or(0, |value| part_of(value, *part, &kinds[*column])),
                };
            }
        }
        let Some(bags) = &mut group.bags else { return };
        for (collect, bag) in self.collects.iter().zip(bags) {
            if collect.only.is_some_and(|only| row.cells(kinds)[only] != crate::row::Cell::Bool(true)) {
                continue;
            }
            let kind = &kinds[collect.column];
            let start = crate::row::offset(kinds, collect.column, row.bytes());
            let value = &row.bytes()[start..start + kind.width(&row.bytes()[start..])];
            if collect.skip_nulls && value[0] == 0 {
                continue;
            }
            match &collect.order {
                None => bag.add(&Row::from_bytes(value), diff),
                Some(order) => {
                    // The sort key as one escaped value, so that what follows can be found again.
                    let mut key = Writer::new();
                    order.put(row, &mut key);
                    writer.clear();
                    writer.bytes(key.written());
                    writer.encoded(value);
                    bag.add(&writer.finish(), diff);
                }
            }
        }
    }

    /// The group's row, or its fault; `None` if it has no rows.
    fn show(&self, key: &[u8], group: &Group, step: &str, out: &mut Writer) -> Option<Result<Row, Row>> {
        if group.numbers[0] <= 0 {
            return None;
        }
        out.clear();
        out.encoded(key);
        for reading in &self.readings {
            if let Err(message) = read(reading, &group.numbers, group.bags.as_deref().unwrap_or_default(), out) {
                return Some(Err(fault(step, "sum.overflow", &message, "", key, out)));
            }
        }
        Some(Ok(out.finish()))
    }
}

/// The integer behind a marker, if the kind is one; truth is 0 or 1. Passes over the value.
#[inline]
fn whole(reader: &mut Reader<'_>, kind: &Kind) -> Option<i128> {
    Some(match kind {
        Kind::Bool => reader.bool().into(),
        Kind::Int8 => reader.int8().into(),
        Kind::Int16 => reader.int16().into(),
        Kind::Int32 => reader.int32().into(),
        Kind::Int64 => reader.int64().into(),
        Kind::Int128 => reader.int128(),
        Kind::UInt8 => reader.uint8().into(),
        Kind::UInt16 => reader.uint16().into(),
        Kind::UInt32 => reader.uint32().into(),
        Kind::UInt64 => reader.uint64().into(),
        other => {
            reader.pass(other);
            return None;
        }
    })
}

#[inline]
fn part_of(value: i128, part: u8, kind: &Kind) -> i64 {
    let shifted = value >> (32 * u32::from(part));
    if part + 1 == parts(kind) {
        // The highest part keeps the sign; it is at most 33 bits of a `UInt64`, 32 of the others.
        shifted as i64
    } else {
        (shifted & 0xffff_ffff) as i64
    }
}

#[inline]
fn total(parts: &[usize], numbers: &[i64]) -> i128 {
    parts.iter().rev().fold(0_i128, |total, part| (total << 32) + i128::from(numbers[*part]))
}

fn fits(value: i128, limit: u128) -> Result<i128, String> {
    if limit > 0 && value.unsigned_abs() >= limit {
        return Err(format!("the sum {value} has more digits than its type"));
    }
    Ok(value)
}

fn read(reading: &Reading, numbers: &[i64], bags: &[Bag], out: &mut Writer) -> Result<(), String> {
    match reading {
        Reading::Count(slot) => out.int64(numbers[*slot]),
        Reading::Sum { present, .. } | Reading::Mean { present, .. } | Reading::MeanDecimal { present, .. } if numbers[*present] == 0 => out.null(),
        Reading::Sum { parts, output, limit, .. } => {
            let sum = fits(total(parts, numbers), *limit)?;
            match output {
                Kind::Int128 => out.int128(sum),
                Kind::UInt64 => out.uint64(u64::try_from(sum).map_err(|_| format!("the sum {sum} does not fit an unsigned 64-bit integer"))?),
                _ => out.int64(i64::try_from(sum).map_err(|_| format!("the sum {sum} does not fit a 64-bit integer"))?),
            }
        }
        Reading::Mean { parts, present } => out.float64(total(parts, numbers) as f64 / numbers[*present] as f64),
        Reading::MeanDecimal { parts, present, scale, limit } => {
            let scaled = total(parts, numbers).checked_mul(*scale).ok_or_else(|| "the sum of an average has more digits than its type".to_owned())?;
            out.int128(fits(scaled / i128::from(numbers[*present]), *limit)?);
        }
        Reading::All { present, .. } | Reading::Any { present, .. } if numbers[*present] == 0 => out.null(),
        Reading::All { trues, present } => out.bool(numbers[*trues] == numbers[*present]),
        Reading::Any { trues, .. } => out.bool(numbers[*trues] > 0),
        Reading::Least(bag) => out.encoded_or_null(bags[*bag].first().map(Row::bytes)),
        Reading::Greatest(bag) => out.encoded_or_null(bags[*bag].last().map(Row::bytes)),
        Reading::Distinct(bag) => out.int64(bags[*bag].distinct() as i64),
        Reading::List { bag, kind, distinct } => {
            if bags[*bag].is_empty() {
                out.null();
                return Ok(());
            }
            out.begin();
            for (value, count) in bags[*bag].iter() {
                for _ in 0..if *distinct { 1 } else { count.max(0) } {
                    out.element();
                    out.encoded(value_of(value, kind));
                }
            }
            out.end();
        }
        Reading::Text { bag, separator } => {
            let mut text = String::new();
            let mut any = false;
            for (value, count) in bags[*bag].iter() {
                let raw = value_of(value, &Kind::Text);
                let mut reader = Reader::over(raw);
                reader.present();
                let bytes = reader.bytes();
                let part = String::from_utf8_lossy(&bytes);
                for _ in 0..count.max(0) {
                    if any {
                        text.push_str(separator);
                    }
                    any = true;
                    text.push_str(&part);
                }
            }
            if any { out.text(&text) } else { out.null() }
        }
        Reading::End { bag, kind, last } => {
            let end = if *last { bags[*bag].last() } else { bags[*bag].first() };
            out.encoded_or_null(end.map(|value| value_of(value, kind)));
        }
    }
    Ok(())
}

/// The value of a bag's row, behind its sort key.
fn value_of<'row>(row: &'row Row, kind: &Kind) -> &'row [u8] {
    let bytes = row.bytes();
    let key = Kind::Bytes.width(bytes);
    debug_assert_eq!(bytes.len(), key + kind.width(&bytes[key..]));
    &bytes[key..]
}

