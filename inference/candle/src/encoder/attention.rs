//! Attention within one text, head by head: scores, softmax, and the mean of the values, by the same tiles as the layers.

use crate::kernels::math::{self, LANES};
use crate::kernels::product::{COLUMNS, Out, Panels, Product, Rows};
use crate::kernels::room;
use crate::kernels::set::{Set, Work};

/// Rows of a head that are taken from scores to means before the next: their scores stay in the nearest caches. Whole tiles of every set.
const BLOCK: usize = 48;

/// What attention needs for itself, kept from text to text.
#[derive(Default)]
pub(super) struct Space {
    keys: Vec<u32>,
    values: Vec<u32>,
    scores: Vec<f32>,
    shares: Vec<u32>,
}

/// Attention of one text.
pub(super) struct Attention<'a> {
    pub(super) tokens: usize,
    pub(super) heads: usize,
    /// Numbers of a token's row.
    pub(super) width: usize,
    /// Queries, keys and values side by side: a row of `3 * width` numbers in cells for each token.
    pub(super) qkv: &'a [u32],
    /// The result: a row of `width` numbers in cells for each token.
    pub(super) context: &'a mut [u32],
    pub(super) space: &'a mut Space,
}

impl Work for Attention<'_> {
    type Done = ();

    #[inline(always)]
    fn work<S: Set>(self, set: S) {
        let Self { tokens, heads, width, qkv, context, space } = self;
        if tokens == 0 {
            return;
        }
        let head = width / heads;
        // In cells from here on.
        let (row, part, deep) = (3 * width / S::PER_CELL, width / S::PER_CELL, head / S::PER_CELL);
        let panels = tokens.div_ceil(COLUMNS);
        let pairs = tokens.div_ceil(S::PER_CELL);
        let across = panels * COLUMNS;
        let whole = tokens.next_multiple_of(LANES);
        let keys = room(&mut space.keys, panels * deep * COLUMNS);
        let values = room(&mut space.values, pairs * head);
        let scores = room(&mut space.scores, BLOCK * across);
        let shares = room(&mut space.shares, BLOCK * across / S::PER_CELL);
        #[expect(clippy::cast_precision_loss, reason = "a head's width")]
        let scale = 1.0 / (head as f32).sqrt();
        for at in (0..heads).map(|head| head * deep) {
            for (panel, lines) in keys.chunks_exact_mut(deep * COLUMNS).enumerate() {
                for column in 0..COLUMNS {
                    // Columns after the last token are there to fill the panel; nobody reads their scores.
                    let token = (panel * COLUMNS + column).min(tokens - 1);
                    let key = &qkv[token * row + part + at..][..deep];
                    for (line, cell) in lines.chunks_exact_mut(COLUMNS).zip(key) {
                        line[column] = *cell;
                    }
                }
            }
            pack_values::<S>(tokens, &qkv[2 * part + at..], (row, deep), values, head);
            for from in (0..tokens).step_by(BLOCK) {
                let count = BLOCK.min(tokens - from);
                let left = Rows { cells: &qkv[from * row + at..], stride: row, count };
                let right = Panels { cells: keys, depth: deep, count: panels };
                set.run(Product { left, right, bias: None, out: Out::Sums { to: scores, stride: across } });
                let narrow = across / S::PER_CELL;
                for (scores, shares) in scores.chunks_exact_mut(across).zip(shares.chunks_exact_mut(narrow)).take(count) {
                    // What fills the last vector weighs nothing.
                    scores[tokens..whole].fill(f32::NEG_INFINITY);
                    math::softmax(&mut scores[..whole], scale);
                    S::narrow(&scores[..whole], shares);
                }
                let left = Rows { cells: shares, stride: narrow, count };
                let right = Panels { cells: values, depth: pairs, count: head / COLUMNS };
                let to = &mut context[from * part + at..];
                set.run(Product { left, right, bias: None, out: Out::Cells { to, stride: part, gelu: false } });
            }
        }
    }
}

/// Puts a head's values into panels whose rows are tokens (or pairs of them).
#[inline(always)]
fn pack_values<S: Set>(tokens: usize, from: &[u32], (row, deep): (usize, usize), values: &mut [u32], head: usize) {
    /// The partner of the last token, where there is none: it weighs nothing, but it must be a number.
    const NOTHING: [u32; COLUMNS] = [0; COLUMNS];
    let narrow = COLUMNS / S::PER_CELL;
    let depth = tokens.div_ceil(S::PER_CELL);
    for (panel, lines) in values.chunks_exact_mut(depth * COLUMNS).enumerate().take(head / COLUMNS) {
        let cells = |token: usize| if token < tokens { &from[token * row + panel * narrow..][..narrow] } else { &NOTHING[..narrow] };
        for (at, line) in lines.chunks_exact_mut(COLUMNS).enumerate() {
            let token = at * S::PER_CELL;
            S::join([cells(token), cells(token + S::PER_CELL - 1)], line);
        }
    }
    debug_assert!(deep * S::PER_CELL == head, "a head is whole cells");
}
