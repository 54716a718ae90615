//! Joins on equal keys: pairs, and the rows of a side that have or lack a partner.
//!
//! Keeps: both sides' rows by key. A change costs the rows of its key on the other side.

use super::Rows;
use super::frame::{Changes, Ordered, in_order};
use crate::keep::{Entries, Keep, Parts, put_bag, put_bytes, put_int, put_uint};
use crate::row::{Bag, Kind, Pile, Row, Table, Weave, Writer, hash, offset};

/// What a join gives, each kind of row made by its weave over four sources: the key, the left rest, the right rest, and a key of
/// nulls. What a row lacks is null.
#[derive(Clone, Debug, Default)]
pub struct JoinEmit {
    /// For each pair with equal keys.
    pub pairs: Option<Weave>,
    /// For each left row without a partner.
    pub left_alone: Option<Weave>,
    /// For each left row with a partner.
    pub left_matched: Option<Weave>,
    /// For each right row without a partner.
    pub right_alone: Option<Weave>,
}

/// The shape of both inputs.
#[derive(Clone, Debug)]
pub struct JoinShape {
    /// Columns of the key, the first of both inputs.
    pub key: Vec<Kind>,
    /// Further columns of the left.
    pub left: Vec<Kind>,
    /// Further columns of the right.
    pub right: Vec<Kind>,
}

#[derive(Default)]
struct Sides {
    left: Bag,
    right: Bag,
}

/// A key that changed in this turn: what it had before, and its changes.
struct Touched {
    key: Row,
    had_left: bool,
    had_right: bool,
    left: Vec<(Row, i64)>,
    right: Vec<(Row, i64)>,
}

/// Joins two inputs whose first columns are the key.
///
/// In: rows of `[key…, left…]` and `[key…, right…]`. Keys are compared as bytes, so null equals null: the caller leaves rows out
/// whose key must not match. Out: what `emit` asks for.
#[must_use]
pub fn join<'scope>(left: Rows<'scope>, right: Rows<'scope>, shape: &JoinShape, emit: JoinEmit, keep: Keep) -> Rows<'scope> {
    let route = |kinds: Vec<Kind>| Box::new(move |row: &Row| hash(&row.bytes()[..offset(&kinds, kinds.len(), row.bytes())]));
    let inputs: Vec<(Rows<'scope>, super::frame::Route)> = vec![(left, route(shape.key.clone())), (right, route(shape.key.clone()))];
    let key_kinds = shape.key.clone();
    let [no_key, no_left, no_right] = [&shape.key, &shape.left, &shape.right].map(|kinds| nulls(kinds.len()));
    let one_sided = emit.left_alone.is_some() || emit.left_matched.is_some() || emit.right_alone.is_some();
    if !one_sided && let Some(pairs) = emit.pairs {
        let operator = JoinPairs { sides: Table::default(), key_kinds, no_key, pairs, writer: Writer::new() };
        return in_order("JoinPairs", inputs, keep, operator).0;
    }
    let operator = Join { sides: Table::default(), key_kinds, no_key, no_left, no_right, emit, one_sided, writer: Writer::new() };
    in_order("Join", inputs, keep, operator).0
}

struct Join {
    sides: Table<Sides>,
    key_kinds: Vec<Kind>,
    no_key: Row,
    no_left: Row,
    no_right: Row,
    emit: JoinEmit,
    /// Whether anybody asks for rows of one side.
    one_sided: bool,
    writer: Writer,
}

impl Ordered for Join {
    fn turn(&mut self, inputs: &mut [Vec<(Row, isize)>], changes: &mut Changes) {
        let Self { sides, key_kinds, no_key, no_left, no_right, emit, one_sided, writer } = self;
        let one_sided = *one_sided;
        let mut touched: Vec<Touched> = Vec::new();
        let mut places: Table<usize> = Table::default();
        for (port, input) in inputs.iter_mut().enumerate() {
            for (row, diff) in input.drain(..) {
                let bytes = row.bytes();
                let (key, rest) = bytes.split_at(offset(key_kinds, key_kinds.len(), bytes));
                let rest = Row::from_bytes(rest);
                let held = sides.entry(key, Sides::default);
                if one_sided {
                    let (had_left, had_right) = (!held.left.is_empty(), !held.right.is_empty());
                    let place = *places.entry(key, || {
                        touched.push(Touched { key: Row::from_bytes(key), had_left, had_right, left: Vec::new(), right: Vec::new() });
                        touched.len() - 1
                    });
                    let changed = &mut touched[place];
                    if port == 0 { &mut changed.left } else { &mut changed.right }.push((rest.clone(), diff as i64));
                }
                if let Some(pairs) = &emit.pairs {
                    let key = Row::from_bytes(key);
                    // The left's changes meet the right as it was, the right's meet the left as it is: each pair once.
                    let partners = if port == 0 { &held.right } else { &held.left };
                    partners.for_each(|partner, count| {
                        let sources = if port == 0 { [&key, &rest, partner, no_key] } else { [&key, partner, &rest, no_key] };
                        changes.row(pairs.make(&sources, writer), diff * count as isize);
                    });
                }
                let side = if port == 0 { &mut held.left } else { &mut held.right };
                side.add(&rest, diff as i64);
                if !one_sided && held.left.is_empty() && held.right.is_empty() {
                    sides.remove(key);
                }
            }
        }
        for changed in touched {
            let Some(now) = sides.get(changed.key.bytes()) else { continue };
            let (has_left, has_right) = (!now.left.is_empty(), !now.right.is_empty());
            let mut give_as = |weave: &Option<Weave>, left: &Row, right: &Row, count: i64| {
                if let Some(weave) = weave {
                    changes.row(weave.make(&[&changed.key, left, right, no_key], writer), count as isize);
                }
            };
            let mut give = |weave: &Option<Weave>, rest: &Row, count: i64| give_as(weave, rest, no_right, count);
            let was = if changed.had_right { &emit.left_matched } else { &emit.left_alone };
            let is = if has_right { &emit.left_matched } else { &emit.left_alone };
            if changed.had_right == has_right {
                changed.left.iter().for_each(|(rest, count)| give(is, rest, *count));
            } else {
                // What was there before is what is there now less what has changed.
                now.left.for_each(|rest, count| give(was, rest, -count));
                changed.left.iter().for_each(|(rest, count)| give(was, rest, *count));
                now.left.for_each(|rest, count| give(is, rest, count));
            }
            let mut alone = |rest: &Row, count: i64| give_as(&emit.right_alone, no_left, rest, count);
            match (changed.had_left, has_left) {
                (false, false) => changed.right.iter().for_each(|(rest, count)| alone(rest, *count)),
                (false, true) => {
                    now.right.for_each(|rest, count| alone(rest, -count));
                    changed.right.iter().for_each(|(rest, count)| alone(rest, *count));
                }
                (true, false) => now.right.for_each(|rest, count| alone(rest, count)),
                (true, true) => {}
            }
            if !has_left && !has_right {
                sides.remove(changed.key.bytes());
            }
        }
    }

    fn give(&mut self, entries: &mut Entries<'_>) {
        for (key, sides) in self.sides.iter() {
            entries.entry(key.route(), |out| {
                put_bytes(key.bytes(), out);
                put_bag(&sides.left, out);
                put_bag(&sides.right, out);
            });
        }
    }

    fn take(&mut self, entry: &mut Parts<'_>) -> Option<i64> {
        let key = entry.bytes()?;
        let sides = Sides { left: entry.bag()?, right: entry.bag()? };
        let rows = sides.left.total() + sides.right.total();
        self.sides.entry(key, || sides);
        Some(rows)
    }

    fn show(&mut self, changes: &mut Changes) {
        let Self { no_key, no_left, no_right, emit, writer, .. } = self;
        for (key, sides) in self.sides.iter() {
            let alone = if sides.right.is_empty() { &emit.left_alone } else { &emit.left_matched };
            sides.left.for_each(|left, lefts| {
                if let Some(weave) = alone {
                    changes.row(weave.make(&[key, left, no_right, no_key], writer), lefts as isize);
                }
                let Some(pairs) = &emit.pairs else { return };
                sides.right.for_each(|right, rights| changes.row(pairs.make(&[key, left, right, no_key], writer), (lefts * rights) as isize));
            });
            if sides.left.is_empty()
                && let Some(weave) = &emit.right_alone
            {
                sides.right.for_each(|right, rights| changes.row(weave.make(&[key, no_left, right, no_key], writer), rights as isize));
            }
        }
    }
}

/// Only the pairs: nobody asks whether a side is empty, so its rows need no order.
struct JoinPairs {
    sides: Table<[Pile; 2]>,
    key_kinds: Vec<Kind>,
    no_key: Row,
    pairs: Weave,
    writer: Writer,
}

impl Ordered for JoinPairs {
    fn turn(&mut self, inputs: &mut [Vec<(Row, isize)>], changes: &mut Changes) {
        let Self { sides, key_kinds, no_key, pairs, writer } = self;
        for (port, input) in inputs.iter_mut().enumerate() {
            for (row, diff) in input.drain(..) {
                let bytes = row.bytes();
                let (key, rest) = bytes.split_at(offset(key_kinds, key_kinds.len(), bytes));
                let rest = Row::from_bytes(rest);
                let held = sides.entry(key, Default::default);
                let whole = Row::from_bytes(key);
                // The left's changes meet the right as it was, the right's meet the left as it is: each pair once.
                held[1 - port].for_each(|partner, count| {
                    let sources = if port == 0 { [&whole, &rest, partner, no_key] } else { [&whole, partner, &rest, no_key] };
                    changes.row(pairs.make(&sources, writer), diff * count as isize);
                });
                held[port].add(rest, diff as i64);
                if diff < 0 && held[port].is_empty() && held[1 - port].is_empty() {
                    sides.remove(key);
                }
            }
        }
    }

    fn give(&mut self, entries: &mut Entries<'_>) {
        for (key, sides) in self.sides.iter_mut() {
            entries.entry(key.route(), |out| {
                put_bytes(key.bytes(), out);
                for side in sides {
                    let rows = side.summed();
                    put_uint(rows.len() as u64, out);
                    for (row, count) in rows {
                        put_bytes(row.bytes(), out);
                        put_int(*count, out);
                    }
                }
            });
        }
    }

    fn take(&mut self, entry: &mut Parts<'_>) -> Option<i64> {
        let held = self.sides.entry(entry.bytes()?, Default::default);
        let mut rows = 0;
        for side in held {
            for _ in 0..entry.uint()? {
                let (row, count) = (entry.row()?, entry.int()?);
                rows += count;
                side.add(row, count);
            }
        }
        Some(rows)
    }

    fn show(&mut self, changes: &mut Changes) {
        let Self { sides, no_key, pairs, writer, .. } = self;
        for (key, [lefts, rights]) in sides.iter() {
            lefts.for_each(|left, count| {
                rights.for_each(|right, others| changes.row(pairs.make(&[key, left, right, no_key], writer), (count * others) as isize));
            });
        }
    }
}

/// A row of so many nulls.
pub(crate) fn nulls(columns: usize) -> Row {
    Row::from_bytes(&vec![0; columns])
}
