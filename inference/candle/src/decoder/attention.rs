//! Attention of one sequence's new tokens, by one head of keys and values and the heads of queries that it serves.

use std::cell::RefCell;

use super::panels::Panelled;
use super::shape::{Shape, Turns};
use crate::kernels::math::{self, LANES};
use crate::kernels::product::{COLUMNS, Out, Panels, Product, Rows, Written};
use crate::kernels::room;
use crate::kernels::set::{IntegerWork, Integers, Work as _};

/// Rows that are taken from scores to means before the next: their scores stay in the nearest caches. Whole tiles of every set.
const BLOCK: usize = 48;

/// What attention needs for itself; a thread keeps its own.
#[derive(Default)]
struct Space {
    head: Vec<f32>,
    queries: Vec<u32>,
    scores: Vec<f32>,
    shares: Vec<u32>,
}

thread_local! {
    static SPACE: RefCell<Space> = RefCell::default();
}

pub(super) struct Attention<'a, K> {
    pub(super) shape: &'a Shape,
    pub(super) turns: &'a Turns,
    pub(super) queries: Panelled<'a>,
    pub(super) keys: Panelled<'a>,
    pub(super) values: Panelled<'a>,
    /// The first of the sequence's rows, and how many there are.
    pub(super) rows: (usize, usize),
    /// Where the first of them stands.
    pub(super) position: usize,
    /// Which head of keys and values.
    pub(super) head: usize,
    /// The sequence's room.
    pub(super) capacity: usize,
    /// This head's part of the cache.
    pub(super) kept_keys: &'a mut [K],
    pub(super) kept_values: &'a mut [K],
    /// The result: `[rows, queries' heads of this head, wide]`.
    pub(super) out: &'a mut [f32],
}

impl<K: Written> IntegerWork for Attention<'_, K> {
    type Done = ();

    #[inline(always)]
    fn work<S: Integers>(self, set: S) {
        // Taken out, and not borrowed in a closure: what runs in one is not compiled for the set.
        let mut space = SPACE.take();
        self.within(set, &mut space);
        SPACE.set(space);
    }
}

impl<K: Written> Attention<'_, K> {
    #[inline(always)]
    fn within<S: Integers>(mut self, set: S, space: &mut Space) {
        let (width, wide) = (self.shape.head, self.shape.wide());
        let group = self.shape.heads / self.shape.kv_heads;
        let (first, tokens) = self.rows;
        let head = room(&mut space.head, wide);
        head.fill(0.0);
        self.keep(head);
        let queries = room(&mut space.queries, tokens * group * wide);
        for (at, cells) in queries.chunks_exact_mut(wide).enumerate() {
            let (token, number) = (at / group, self.head * group + at % group);
            self.queries.row(first + token, number * width, &mut head[..width]);
            self.turns.turn(&mut head[..width], self.position + token);
            S::narrow(head, cells);
        }
        #[expect(clippy::cast_precision_loss, reason = "a head's width")]
        let scale = 1.0 / (width as f32).sqrt();
        let rows = tokens * group;
        for from in (0..rows).step_by(BLOCK) {
            let count = BLOCK.min(rows - from);
            // What the last of these rows sees; those before it see less, and weigh the rest by nothing.
            let seen = self.position + (from + count - 1) / group + 1;
            let panels = seen.div_ceil(COLUMNS);
            let across = panels * COLUMNS;
            let scores = room(&mut space.scores, count * across);
            let shares = room(&mut space.shares, count * across);
            let left = Rows { cells: &queries[from * wide..], stride: wide, count };
            let right = Panels { cells: &*self.kept_keys, depth: wide, count: panels };
            Product { left, right, bias: None, out: Out::Sums { to: scores, stride: across } }.work(set);
            for (at, (scores, shares)) in scores.chunks_exact_mut(across).zip(shares.chunks_exact_mut(across)).enumerate() {
                let end = self.position + (from + at) / group + 1;
                let begin = self.shape.window.map_or(0, |window| end.saturating_sub(window));
                let whole = end.next_multiple_of(LANES);
                scores[end..whole].fill(f32::NEG_INFINITY);
                math::softmax(&mut scores[begin..whole], scale);
                scores[..begin].fill(0.0);
                scores[end..].fill(0.0);
                S::narrow(scores, shares);
            }
            let left = Rows { cells: shares, stride: across, count };
            for panel in 0..wide / COLUMNS {
                let right = Panels { cells: &self.kept_values[panel * self.capacity * COLUMNS..][..seen * COLUMNS], depth: seen, count: 1 };
                let to = &mut self.out[from * wide + panel * COLUMNS..];
                Product { left, right, bias: None, out: Out::Sums { to, stride: wide } }.work(set);
            }
        }
    }

    /// Puts the new tokens' keys and values into the cache.
    #[inline(always)]
    fn keep(&mut self, head: &mut [f32]) {
        let (width, wide) = (self.shape.head, self.shape.wide());
        let (first, tokens) = self.rows;
        for token in 0..tokens {
            let position = self.position + token;
            self.keys.row(first + token, self.head * width, &mut head[..width]);
            self.turns.turn(&mut head[..width], position);
            let column = &mut self.kept_keys[position / COLUMNS * wide * COLUMNS + position % COLUMNS..];
            for (cell, value) in column.iter_mut().step_by(COLUMNS).zip(&*head).take(width) {
                *cell = K::of(*value);
            }
            self.values.row(first + token, self.head * width, &mut head[..width]);
            for (panel, values) in head.chunks_exact(COLUMNS).enumerate() {
                let line = &mut self.kept_values[(panel * self.capacity + position) * COLUMNS..][..COLUMNS];
                for (cell, value) in line.iter_mut().zip(values) {
                    *cell = K::of(*value);
                }
            }
        }
    }
}
