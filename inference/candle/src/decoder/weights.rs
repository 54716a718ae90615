//! The network's weights, checked and packed.

use super::input::Reads;
use super::matrix::Matrix;
use super::shape::{Shape, Turns};

/// A block of attention and what follows it.
pub(super) struct Layer {
    pub(super) attention_norm: Vec<f32>,
    pub(super) query: Matrix,
    pub(super) key: Matrix,
    pub(super) value: Matrix,
    pub(super) output: Matrix,
    pub(super) inner_norm: Vec<f32>,
    pub(super) gate: Matrix,
    pub(super) up: Matrix,
    pub(super) down: Matrix,
}

impl Layer {
    /// What its first products read.
    pub(super) fn attention_reads(&self) -> Reads {
        self.query.reads().or(self.key.reads()).or(self.value.reads())
    }
}

/// All of them.
pub(super) struct Weights {
    pub(super) shape: Shape,
    pub(super) turns: Turns,
    /// Positions that `turns` has.
    pub(super) positions: usize,
    pub(super) words: Matrix,
    /// The vocabulary's scores; none is the words themselves.
    pub(super) scores: Option<Matrix>,
    pub(super) norm: Vec<f32>,
    pub(super) layers: Vec<Layer>,
}

/// A linear layer or normalisation, by its place in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Name {
    Words,
    Scores,
    Norm,
    AttentionNorm(usize),
    Query(usize),
    Key(usize),
    Value(usize),
    Output(usize),
    InnerNorm(usize),
    Gate(usize),
    Up(usize),
    Down(usize),
}

/// Where weights come from: a GGUF file, or safetensors.
pub(crate) trait Origin {
    /// Whether there is such a tensor.
    fn has(&self, name: Name) -> bool;

    /// A matrix of `[outputs, inputs]`.
    ///
    /// # Errors
    /// What is wrong with it, with its name in the file.
    fn matrix(&mut self, name: Name, outputs: usize, inputs: usize) -> Result<Matrix, String>;

    /// A row of numbers.
    ///
    /// # Errors
    /// As [`Self::matrix`].
    fn row(&mut self, name: Name, count: usize) -> Result<Vec<f32>, String>;
}

impl Weights {
    pub(super) fn load(shape: Shape, positions: usize, origin: &mut dyn Origin) -> Result<Self, String> {
        let (width, inner, queries, keys) = (shape.width, shape.inner, shape.heads * shape.head, shape.kv_heads * shape.head);
        let words = origin.matrix(Name::Words, shape.vocabulary, width)?;
        let scores = if origin.has(Name::Scores) { Some(origin.matrix(Name::Scores, shape.vocabulary, width)?) } else { None };
        let layer = |at: usize| -> Result<Layer, String> {
            Ok(Layer {
                attention_norm: origin.row(Name::AttentionNorm(at), width)?,
                query: origin.matrix(Name::Query(at), queries, width)?,
                key: origin.matrix(Name::Key(at), keys, width)?,
                value: origin.matrix(Name::Value(at), keys, width)?,
                output: origin.matrix(Name::Output(at), width, queries)?,
                inner_norm: origin.row(Name::InnerNorm(at), width)?,
                gate: origin.matrix(Name::Gate(at), inner, width)?,
                up: origin.matrix(Name::Up(at), inner, width)?,
                down: origin.matrix(Name::Down(at), width, inner)?,
            })
        };
        let layers = (0..shape.layers).map(layer).collect::<Result<_, _>>()?;
        let norm = origin.row(Name::Norm, width)?;
        let turns = Turns::new(&shape.rope, positions);
        Ok(Self { shape, turns, positions, words, scores, norm, layers })
    }
}
