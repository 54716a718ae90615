//! A pass of texts through the network, over any instruction set.

use super::attention::{Attention, Space};
use super::weights::{Linear, Norm, Weights};
use crate::kernels::product::{COLUMNS, Out, Panels, Product, Rows};
use crate::kernels::set::{Set, Work};
use crate::kernels::{math, room};

/// What a pass needs beside the weights; kept from pass to pass, because fresh memory costs more than the arithmetic in it.
#[derive(Default)]
pub(crate) struct Scratch {
    hidden: Vec<f32>,
    change: Vec<f32>,
    /// The hidden rows as a product reads them; the rows behind attention.
    cells: Vec<u32>,
    qkv: Vec<u32>,
    context: Vec<u32>,
    inner: Vec<u32>,
    space: Space,
}

/// Vectors of texts, given as tokens: the mean over the tokens, made length 1.
///
/// # Errors
/// A token that the model does not have, a text that is longer than its positions, or one without a token.
pub(super) fn embed<S: Set>(set: S, weights: &Weights, texts: &[&[u32]], scratch: &mut Scratch) -> Result<Vec<Vec<f32>>, String> {
    if texts.iter().any(|text| text.is_empty()) {
        return Err("a text has no tokens, not even those that open and close it; does the tokenizer belong to this model?".to_owned());
    }
    let rows: usize = texts.iter().map(|text| text.len()).sum();
    let (width, narrow, inner) = (weights.width, weights.width / S::PER_CELL, weights.inner / S::PER_CELL);
    // The parts are borrowed apart, so that a product can read one and write another.
    let Scratch { hidden, change, cells, qkv, context, inner: up, space } = scratch;
    let hidden = room(hidden, rows * width);
    let change = room(change, rows * width);
    let cells = room(cells, rows * narrow);
    let qkv = room(qkv, rows * 3 * narrow);
    let context = room(context, rows * narrow);
    let up = room(up, rows * inner);
    look_up(weights, texts, hidden)?;
    set.run(Settle { hidden, change: None, norm: &weights.norm, epsilon: weights.epsilon, cells });
    for layer in &weights.layers {
        linear(set, rows, cells, &layer.qkv, Out::Cells { to: qkv, stride: 3 * narrow, gelu: false });
        let mut from = 0;
        for text in texts {
            let (tokens, heads) = (text.len(), weights.heads);
            set.run(Attention { tokens, heads, width, qkv: &qkv[from * 3 * narrow..], context: &mut context[from * narrow..], space });
            from += tokens;
        }
        linear(set, rows, context, &layer.output, Out::Sums { to: change, stride: width });
        set.run(Settle { hidden, change: Some(change), norm: &layer.output_norm, epsilon: weights.epsilon, cells });
        linear(set, rows, cells, &layer.up, Out::Cells { to: up, stride: inner, gelu: true });
        linear(set, rows, up, &layer.down, Out::Sums { to: change, stride: width });
        set.run(Settle { hidden, change: Some(change), norm: &layer.down_norm, epsilon: weights.epsilon, cells });
    }
    let mut from = 0;
    let mut vectors = Vec::with_capacity(texts.len());
    for text in texts {
        vectors.push(pool(&hidden[from * width..(from + text.len()) * width], width));
        from += text.len();
    }
    Ok(vectors)
}

/// Sums of the three embeddings of each token.
fn look_up(weights: &Weights, texts: &[&[u32]], hidden: &mut [f32]) -> Result<(), String> {
    let width = weights.width;
    let mut rows = hidden.chunks_exact_mut(width);
    for text in texts {
        for (at, token) in text.iter().enumerate() {
            let word = weights.words.get(*token as usize * width..).and_then(|rest| rest.get(..width));
            let word = word.ok_or_else(|| format!("token {token} is not one of this model's; does the tokenizer belong to it?"))?;
            let position = weights.positions.get(at * width..(at + 1) * width);
            let position = position.ok_or_else(|| format!("a text has {} tokens, more than the model has positions", text.len()))?;
            let row = rows.next().expect("a row for every token");
            for (((value, word), position), segment) in row.iter_mut().zip(word).zip(position).zip(&weights.segment) {
                *value = word + segment + position;
            }
        }
    }
    Ok(())
}

fn linear<S: Set>(set: S, rows: usize, input: &[u32], layer: &Linear, out: Out<'_>) {
    let depth = layer.inputs / S::PER_CELL;
    let left = Rows { cells: input, stride: depth, count: rows };
    let right = Panels { cells: &layer.panels, depth, count: layer.bias.len() / COLUMNS };
    set.run(Product { left, right, bias: Some(&layer.bias), out });
}

/// Adds a layer's change and normalises.
struct Settle<'a> {
    hidden: &'a mut [f32],
    change: Option<&'a [f32]>,
    norm: &'a Norm,
    epsilon: f32,
    /// The result once more, as the next product reads it.
    cells: &'a mut [u32],
}

impl Work for Settle<'_> {
    type Done = ();

    #[inline(always)]
    fn work<S: Set>(self, _: S) {
        let Self { hidden, change, norm, epsilon, cells } = self;
        let width = norm.weight.len();
        for (at, (row, cells)) in hidden.chunks_exact_mut(width).zip(cells.chunks_exact_mut(width / S::PER_CELL)).enumerate() {
            if let Some(change) = change {
                for (value, change) in row.iter_mut().zip(&change[at * width..][..width]) {
                    *value += change;
                }
            }
            math::normalise(row, &norm.weight, &norm.bias, epsilon);
            S::narrow(row, cells);
        }
    }
}

/// Mean over the tokens, then length 1: the mean strategy of Reimers and Gurevych (2019), section 3.
fn pool(rows: &[f32], width: usize) -> Vec<f32> {
    let mut vector = vec![0.0_f32; width];
    for row in rows.chunks_exact(width) {
        for (sum, value) in vector.iter_mut().zip(row) {
            *sum += value;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "tokens of a text")]
    let share = 1.0 / ((rows.len() / width).max(1) as f32);
    vector.iter_mut().for_each(|value| *value *= share);
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    vector.iter_mut().for_each(|value| *value /= length);
    vector
}
