//! A pass of tokens of several sequences through the network, over any instruction set.

use rayon::iter::{IndexedParallelIterator as _, IntoParallelIterator as _, ParallelIterator as _};

use super::attention::Attention;
use super::cache::{Cache, Layer as Kept};
use super::input::{Input, InputRows, Reads};
use super::matrix::Matrix;
use super::panels::Panelled;
use super::weights::Weights;
use crate::kernels::product::COLUMNS;
use crate::kernels::set::{IntegerWork, Integers};
use crate::kernels::{math, room};

/// Which scores a sequence wants of its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// None: more of the prompt follows.
    None,
    /// Those after the last.
    Last,
    /// Those after each.
    All,
}

/// The next tokens of a sequence.
pub(crate) struct Part<'a> {
    pub(crate) tokens: &'a [u32],
    pub(crate) cache: &'a mut Cache,
    pub(crate) wanted: Wanted,
}

/// What a pass needs beside the weights; kept from pass to pass.
#[derive(Default)]
pub(crate) struct Scratch {
    hidden: Vec<f32>,
    input: Input,
    /// Results of the products that share an input.
    out: Vec<f32>,
    context: Vec<f32>,
    logits: Vec<f32>,
}

/// Rows below which a step over rows is not worth a second thread.
const FEW: usize = 16;

/// Shares of rows: as many as threads, but for few rows one.
fn share(rows: usize) -> usize {
    if rows < FEW { rows.max(1) } else { rows.div_ceil(rayon::current_num_threads()) }
}

/// Scores of the next token, after each of the tokens for which they are wanted, in order: rows of as many numbers as the vocabulary has words.
///
/// # Errors
/// A token that the model does not have, or more tokens than a cache has room for. No cache has changed then.
pub(super) fn pass<S: Integers>(set: S, weights: &Weights, parts: &mut [Part<'_>], scratch: &mut Scratch) -> Result<Vec<Vec<f32>>, String> {
    let shape = &weights.shape;
    let rows: usize = parts.iter().map(|part| part.tokens.len()).sum();
    for part in parts.iter() {
        fits(part, shape.vocabulary, weights.positions)?;
    }
    if rows == 0 {
        return Ok(Vec::new());
    }
    let Scratch { hidden, input, out, context, logits } = scratch;
    let hidden = room(hidden, rows * shape.width);
    for (row, token) in hidden.chunks_exact_mut(shape.width).zip(parts.iter().flat_map(|part| part.tokens)) {
        weights.words.output(*token as usize, row);
    }
    let context = room(context, rows * shape.heads * shape.wide());
    let places = places(parts);
    for (number, layer) in weights.layers.iter().enumerate() {
        if number == 0 {
            settle(set, weights, hidden, None, &layer.attention_norm, layer.attention_reads(), input);
        }
        let [queries, keys, values] = multiply(set, [&layer.query, &layer.key, &layer.value], input, rows, out);
        attend(set, weights, parts, number, (queries, keys, values), context);
        gather(set, weights, context, &places, layer.output.reads(), input);
        let [change] = multiply(set, [&layer.output], input, rows, out);
        settle(set, weights, hidden, Some(change), &layer.inner_norm, layer.gate.reads().or(layer.up.reads()), input);
        let [gates, ups] = multiply(set, [&layer.gate, &layer.up], input, rows, out);
        activate(set, weights, (gates, ups), layer.down.reads(), input);
        let [change] = multiply(set, [&layer.down], input, rows, out);
        let (norm, reads) = match weights.layers.get(number + 1) {
            Some(next) => (&next.attention_norm, next.attention_reads()),
            // What comes after the last layer is wanted of a few rows only.
            None => (&weights.norm, Reads::default()),
        };
        settle(set, weights, hidden, Some(change), norm, reads, input);
    }
    Ok(scores(set, weights, parts, hidden, input, logits))
}

/// Refuses tokens that the model does not have, and more than there is room for.
pub(super) fn fits(part: &Part<'_>, vocabulary: usize, positions: usize) -> Result<(), String> {
    if let Some(token) = part.tokens.iter().find(|token| **token as usize >= vocabulary) {
        return Err(format!("token {token} is not one of this model's {vocabulary}; does the tokenizer belong to it?"));
    }
    if part.cache.length() + part.tokens.len() > part.cache.capacity().min(positions) {
        return Err(format!("{} tokens after {} are more than there is room for", part.tokens.len(), part.cache.length()));
    }
    Ok(())
}

/// Does work on all threads, each piece by one of them.
fn each<S: Integers, W: IntegerWork<Done = ()> + Send>(set: S, pieces: Vec<W>) {
    if pieces.len() < 2 || rayon::current_num_threads() == 1 {
        pieces.into_iter().for_each(|piece| set.run_integers(piece));
    } else {
        pieces.into_par_iter().with_max_len(1).for_each(|piece| set.run_integers(piece));
    }
}

/// Normalises the rows whose scores are wanted, and multiplies them with the vocabulary.
fn scores<S: Integers>(set: S, weights: &Weights, parts: &mut [Part<'_>], hidden: &mut [f32], input: &mut Input, logits: &mut Vec<f32>) -> Vec<Vec<f32>> {
    let width = weights.shape.width;
    let (mut wanted, mut first) = (0, 0);
    for part in parts {
        let count = part.tokens.len();
        part.cache.grow(count);
        let from = match part.wanted {
            Wanted::None => count,
            Wanted::Last => count.saturating_sub(1),
            Wanted::All => 0,
        };
        hidden.copy_within((first + from) * width..(first + count) * width, wanted * width);
        wanted += count - from;
        first += count;
    }
    if wanted == 0 {
        return Vec::new();
    }
    let matrix = weights.scores.as_ref().unwrap_or(&weights.words);
    settle(set, weights, &mut hidden[..wanted * width], None, &weights.norm, matrix.reads(), input);
    let [found] = multiply(set, [matrix], input, wanted, logits);
    (0..wanted)
        .map(|row| {
            let mut scores = vec![0.0; weights.shape.vocabulary];
            found.row(row, 0, &mut scores);
            scores
        })
        .collect()
}

/// Products of one input with several matrices, their panels shared among the threads.
fn multiply<'a, S: Integers, const N: usize>(set: S, matrices: [&Matrix; N], input: &Input, rows: usize, out: &'a mut Vec<f32>) -> [Panelled<'a>; N] {
    /// Shares of the work for each thread: those who are done early take more.
    const SHARES: usize = 3;
    struct Share<'a> {
        matrix: &'a Matrix,
        input: &'a Input,
        rows: usize,
        panels: std::ops::Range<usize>,
        out: &'a mut [f32],
    }
    impl IntegerWork for Share<'_> {
        type Done = ();

        #[inline(always)]
        fn work<S: Integers>(self, set: S) {
            self.matrix.multiply(set, self.input, self.rows, self.panels, self.out);
        }
    }
    let panels: usize = matrices.iter().map(|matrix| matrix.panels()).sum();
    let out = room(out, panels * rows * COLUMNS);
    let threads = rayon::current_num_threads();
    let most = if threads == 1 { panels } else { panels.div_ceil(threads * SHARES) };
    let mut jobs = Vec::new();
    let mut rest = &mut *out;
    for matrix in matrices {
        for from in (0..matrix.panels()).step_by(most) {
            let to = (from + most).min(matrix.panels());
            let (part, after) = rest.split_at_mut((to - from) * rows * COLUMNS);
            jobs.push(Share { matrix, input, rows, panels: from..to, out: part });
            rest = after;
        }
    }
    each(set, jobs);
    let out = &*out;
    let mut from = 0;
    matrices.map(|matrix| {
        let count = matrix.panels() * rows * COLUMNS;
        from += count;
        Panelled { values: &out[from - count..from], rows }
    })
}

/// Attention of every part and head.
fn attend<S: Integers>(set: S, weights: &Weights, parts: &mut [Part<'_>], layer: usize, (queries, keys, values): (Panelled<'_>, Panelled<'_>, Panelled<'_>), context: &mut [f32]) {
    let shape = &weights.shape;
    let (wide, group) = (shape.wide(), shape.heads / shape.kv_heads);
    let (mut full, mut half) = (Vec::new(), Vec::new());
    let mut rest = context;
    let mut first = 0;
    for part in parts.iter_mut().filter(|part| !part.tokens.is_empty()) {
        let (tokens, position, capacity) = (part.tokens.len(), part.cache.length(), part.cache.capacity());
        let size = capacity * wide;
        macro_rules! heads {
            ($keys:ident, $values:ident, $jobs:ident) => {
                for (head, (kept_keys, kept_values)) in $keys.chunks_exact_mut(size).zip($values.chunks_exact_mut(size)).enumerate() {
                    let (out, after) = rest.split_at_mut(tokens * group * wide);
                    rest = after;
                    $jobs.push(Attention { shape, turns: &weights.turns, queries, keys, values, rows: (first, tokens), position, head, capacity, kept_keys, kept_values, out });
                }
            };
        }
        match part.cache.layer(layer) {
            Kept::Full { keys: kept_keys, values: kept_values } => heads!(kept_keys, kept_values, full),
            Kept::Half { keys: kept_keys, values: kept_values } => heads!(kept_keys, kept_values, half),
        }
        first += tokens;
    }
    each(set, full);
    each(set, half);
}

/// Adds a change and normalises: root mean square, Zhang and Sennrich (2019).
fn settle<S: Integers>(set: S, weights: &Weights, hidden: &mut [f32], change: Option<Panelled<'_>>, norm: &[f32], reads: Reads, input: &mut Input) {
    struct Settle<'a> {
        hidden: &'a mut [f32],
        change: Option<Panelled<'a>>,
        first: usize,
        norm: &'a [f32],
        epsilon: f32,
        input: InputRows<'a>,
    }
    impl IntegerWork for Settle<'_> {
        type Done = ();

        #[inline(always)]
        fn work<S: Integers>(mut self, _: S) {
            let mut normed = vec![0.0; self.norm.len()];
            for (at, row) in self.hidden.chunks_exact_mut(self.norm.len()).enumerate() {
                if let Some(change) = self.change {
                    change.add(self.first + at, row);
                }
                if self.input.wanted() {
                    math::normalise_square(row, self.norm, self.epsilon, &mut normed);
                    self.input.put(at, &normed);
                }
            }
        }
    }
    let (width, epsilon) = (weights.shape.width, weights.shape.epsilon);
    let rows = hidden.len() / width;
    let mut shares = hidden.chunks_mut(share(rows) * width);
    let pieces = inputs(input, (rows, width), reads, |first, _, input| Settle { hidden: shares.next().unwrap_or_default(), change, first, norm, epsilon, input });
    each(set, pieces);
}

/// Pieces of work that each write some rows of an input: the first of them, and how many.
fn inputs<'a, W>(input: &'a mut Input, (rows, width): (usize, usize), reads: Reads, mut piece: impl FnMut(usize, usize, InputRows<'a>) -> W) -> Vec<W> {
    let share = share(rows);
    let shares = input.shares(rows, width, share, reads).into_iter().enumerate();
    shares.map(|(at, input)| piece(at * share, share.min(rows - at * share), input)).collect()
}

/// Of each row, the first row of its part and how many there are.
fn places(parts: &[Part<'_>]) -> Vec<(usize, usize)> {
    let mut first = 0;
    let mut places = Vec::new();
    for part in parts {
        places.extend(std::iter::repeat_n((first, part.tokens.len()), part.tokens.len()));
        first += part.tokens.len();
    }
    places
}

/// Puts what the heads found side by side.
fn gather<S: Integers>(set: S, weights: &Weights, context: &[f32], places: &[(usize, usize)], reads: Reads, input: &mut Input) {
    struct Gather<'a> {
        context: &'a [f32],
        places: &'a [(usize, usize)],
        weights: &'a Weights,
        first: usize,
        count: usize,
        input: InputRows<'a>,
    }
    impl IntegerWork for Gather<'_> {
        type Done = ();

        #[inline(always)]
        fn work<S: Integers>(mut self, _: S) {
            let shape = &self.weights.shape;
            let (wide, group) = (shape.wide(), shape.heads / shape.kv_heads);
            let mut row = vec![0.0; shape.heads * shape.head];
            for at in 0..self.count {
                let (first, tokens) = self.places[self.first + at];
                let token = self.first + at - first;
                for (head, part) in row.chunks_exact_mut(shape.head).enumerate() {
                    let from = (first * shape.heads + (head / group * tokens + token) * group + head % group) * wide;
                    part.copy_from_slice(&self.context[from..from + shape.head]);
                }
                self.input.put(at, &row);
            }
        }
    }
    let width = weights.shape.heads * weights.shape.head;
    each(set, inputs(input, (places.len(), width), reads, |first, count, input| Gather { context, places, weights, first, count, input }));
}

/// The feed-forward part's activation, `silu(gate) * up`: Shazeer (2020), "GLU variants", SwiGLU.
fn activate<S: Integers>(set: S, weights: &Weights, (gates, ups): (Panelled<'_>, Panelled<'_>), reads: Reads, input: &mut Input) {
    struct Activate<'a> {
        gates: Panelled<'a>,
        ups: Panelled<'a>,
        width: usize,
        first: usize,
        count: usize,
        input: InputRows<'a>,
    }
    impl IntegerWork for Activate<'_> {
        type Done = ();

        #[inline(always)]
        fn work<S: Integers>(mut self, _: S) {
            let mut row = vec![0.0; self.width];
            for at in 0..self.count {
                let runs = self.gates.runs(self.first + at, 0, self.width).zip(self.ups.runs(self.first + at, 0, self.width));
                for (part, (gates, ups)) in row.chunks_mut(COLUMNS).zip(runs) {
                    for ((value, gate), up) in part.iter_mut().zip(gates).zip(ups) {
                        *value = math::silu(*gate) * up;
                    }
                }
                self.input.put(at, &row);
            }
        }
    }
    let width = weights.shape.inner;
    each(set, inputs(input, (gates.rows, width), reads, |first, count, input| Activate { gates, ups, width, first, count, input }));
}
