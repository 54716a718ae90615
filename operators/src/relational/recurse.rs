//! Recursion: rows that follow from rows, round by round, up to a cap.
//!
//! With `base` the rows of round 0 and `step` what follows from the rows of a round, the result is what the rounds 0 to `rounds` give.
//! `step` must be linear: what follows from two bags together is what follows from each, put together. Then, at each time, the sum of the
//! rounds up to `i` is `held(base + step(the sum up to i - 1))`, which differential dataflow keeps over pairs (time, round): an insertion
//! or a withdrawal costs what follows from it, and no more.
//!
//! Holds always: nothing is cut silently. A row of the round after the last is given as `beyond`, a row with more copies than
//! [`COPIES`] as `crowded`; both are taken back when they no longer hold. The result does not depend on the order of arrival, on earlier
//! times or on the number of workers; a cycle of rows that only hold one another up falls with what held it up.
//!
//! Keeps: every row of the result with the rounds in which it changed, and both sides of each [`meet`] likewise.

use differential_dataflow::{AsCollection as _, VecCollection};
use differential_dataflow::operators::iterate::VecVariable;
use timely::dataflow::operators::vec::Filter as _;
use timely::dataflow::scope::Iterative;
use timely::order::Product;

use super::Rows;
use crate::row::{Kind, Row, Weave, Writer, offset};

/// A time inside of a recursion: when, and in which round.
pub type Round = Product<u64, u64>;

/// The scope inside of a recursion.
pub type Inner<'inner> = Iterative<'inner, u64, u64>;

/// Copies of one row above which `union all` counts no further: a bag of paths grows like a power of the rounds, and a count that does
/// not fit would be wrong.
pub const COPIES: isize = 1 << 31;

/// What is repeated, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Recursion {
    /// Whether copies count (`union all`); otherwise a row is there once, in its first round (`union`).
    pub copies: bool,
    /// Rounds after the first rows, at most.
    pub rounds: u64,
}

/// What a recursion gives.
pub struct Repeated<'scope> {
    /// The rows of all rounds.
    pub rows: Rows<'scope>,
    /// Rows that only the round after the last gives: they are not in `rows`.
    pub beyond: Rows<'scope>,
    /// Rows with more than [`COPIES`] copies, each once: in `rows` they have that many.
    pub crowded: Rows<'scope>,
    /// What `step` could not compute.
    pub faults: Rows<'scope>,
}

/// Repeats `step`, which is given the rows of the rounds so far and gives what follows from them, and what it could not compute.
///
/// With copies, `step` sees each round's own rows by linearity; without, rows of earlier rounds do not come again.
#[must_use]
pub fn recurse<'scope, F>(base: Rows<'scope>, recursion: Recursion, step: F) -> Repeated<'scope>
where
    F: for<'inner> FnOnce(Inner<'inner>, Rows<'inner, Round>) -> (Rows<'inner, Round>, Option<Rows<'inner, Round>>),
{
    let Recursion { copies, rounds } = recursion;
    let outer = base.scope();
    outer.scoped::<Round, _, _>("Recursion", move |inner| {
        let (variable, before) = VecVariable::new(inner, Product::new(0, 1));
        let (after, faults) = step(inner, before);
        let held = hold(base.enter(inner).concat(after), copies);
        let rows = held.clone().flat_map(|(row, crowded)| (!crowded).then_some(row));
        // A change of the last round goes round once more: whether anything follows from it must be said.
        variable.set(up_to(rows.clone(), rounds));
        let faults = match faults {
            Some(faults) => faults.leave(outer),
            None => rows.clone().filter(|_| false).leave(outer),
        };
        Repeated {
            rows: up_to(rows.clone(), rounds).leave(outer),
            beyond: rows.inner.filter(move |update| update.1.inner > rounds).as_collection().leave(outer),
            crowded: held.flat_map(|(row, crowded)| crowded.then_some(row)).leave(outer),
            faults,
        }
    })
}

/// Changes of the rounds up to the last.
fn up_to<'inner>(rows: Rows<'inner, Round>, rounds: u64) -> Rows<'inner, Round> {
    rows.inner.filter(move |update| update.1.inner <= rounds).as_collection()
}

/// Each row as often as it counts, and whether that was too often.
fn hold<'inner>(rows: Rows<'inner, Round>, copies: bool) -> VecCollection<'inner, Round, (Row, bool), isize> {
    rows.map(|row| (row, ())).reduce_named("Recursion: rows", move |_row, counts, output| {
        let count = counts[0].1;
        if count > 0 {
            output.push((false, if copies { count.min(COPIES) } else { 1 }));
        }
        if copies && count > COPIES {
            output.push((true, 1));
        }
    })
}

/// Rows that do not change with the rounds, of `[key…, rest…]`, and what is made of a match: woven from the key, the left rest, the right
/// rest, and a key of nulls.
pub type Partner<'inner> = (Rows<'inner, Round>, Weave);

/// How the rows of a recursion and their partners are split.
#[derive(Clone, Debug)]
pub struct Split {
    /// Kinds of the key, the first columns of both.
    pub key: Vec<Kind>,
    /// Further columns of a partner.
    pub rest: usize,
    /// Whether the recursion is the left side.
    pub left: bool,
}

/// Joins rows of `[key…, rest…]`: with each of the `pairs` that has the same key, and, for `alone`, each row that has no partner there,
/// whose rest is then null. The partners of `alone` are keys and nothing else, each there once.
#[must_use]
pub fn meet<'inner>(rows: Rows<'inner, Round>, split: Split, pairs: Option<Partner<'inner>>, alone: Option<Partner<'inner>>) -> Rows<'inner, Round> {
    let Split { key, rest, left } = split;
    let cut = |kinds: Vec<Kind>| {
        move |row: Row| {
            let bytes = row.bytes();
            let (key, rest) = bytes.split_at(offset(&kinds, kinds.len(), bytes));
            (Row::from_bytes(key), Row::from_bytes(rest))
        }
    };
    let (no_key, no_rest) = (super::join::nulls(key.len()), super::join::nulls(rest));
    let weaver = |weave: Weave| {
        let (mut writer, no_key) = (Writer::new(), no_key.clone());
        move |key: &Row, row: &Row, partner: &Row| {
            let sources = if left { [key, row, partner, &no_key] } else { [key, partner, row, &no_key] };
            weave.make(&sources, &mut writer)
        }
    };
    let rows = rows.map(cut(key.clone()));
    let arranged = rows.clone().arrange_by_key_named("Recursion: rows by key");
    let mut all = Vec::new();
    if let Some((partners, weave)) = pairs {
        let partners = partners.map(cut(key.clone())).arrange_by_key_named("Recursion: partners");
        let mut weave = weaver(weave);
        all.push(arranged.clone().join_core(partners, move |key, row, partner| Some(weave(key, row, partner))));
    }
    if let Some((partners, weave)) = alone {
        let partners = partners.map(cut(key)).arrange_by_key_named("Recursion: keys");
        let (mut as_matched, mut as_alone) = (weaver(weave.clone()), weaver(weave));
        let (nobody, nobody_too) = (no_rest.clone(), no_rest);
        let matched = arranged.join_core(partners, move |key, row, _| Some(as_matched(key, row, &nobody)));
        all.push(rows.map(move |(key, row)| as_alone(&key, &row, &nobody_too)));
        all.push(matched.negate());
    }
    let mut all = all.into_iter();
    let first = all.next().expect("a join gives something");
    first.concatenate(all)
}
