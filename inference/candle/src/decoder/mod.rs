//! The network of chat models of the Llama family (Mistral among them): tokens of several sequences in one pass, each with its own keys and values.
//!
//! | file | what it does |
//! |---|---|
//! | `shape.rs` | sizes, and where tokens stand (rotary embedding) |
//! | `blocks.rs` | forms of GGUF |
//! | `matrix.rs` | weights in the form in which the file has them, in panels |
//! | `input.rs`, `panels.rs` | what products read and write |
//! | `cache.rs`, `attention.rs` | keys and values of a sequence, and attention over them |
//! | `weights.rs` | reading and checking |
//! | `pass.rs` | one pass |
//! | `by_candle.rs` | the same by candle, on a GPU |
//!
//! Holds always: the scores of a sequence have the same bits whatever else is in the pass, however its tokens are cut into passes, by every
//! instruction set and with any number of threads. Weights that are not quantised are multiplied as they are, in f32; those that are, by integers,
//! with the rows rounded to signed bytes by blocks of 32 as llama.cpp does it. A pass that is refused has changed nothing.
//!
//! Not promised: the bits of other engines, candle's on a GPU among them.

mod attention;
mod blocks;
mod by_candle;
mod cache;
mod input;
mod matrix;
mod panels;
mod pass;
mod shape;
#[cfg(test)]
mod tests;
mod weights;

use by_candle::ByCandle;
pub(crate) use by_candle::Network;
pub(crate) use cache::Cache;
pub(crate) use matrix::Matrix;
pub(crate) use pass::{Part, Scratch, Wanted};
pub(crate) use shape::{Rope, Scaling, Shape};
pub(crate) use weights::{Name, Origin};
use weights::Weights;

use crate::kernels::set::{Integers, Portable, Set as _};
#[cfg(target_arch = "x86_64")]
use crate::kernels::set::{Avx2, Vnni};

/// The network.
pub(crate) struct Decoder {
    network: Box<dyn Decodes>,
    shape: Shape,
}

/// A network on one instruction set.
trait Decodes: Send + Sync {
    fn pass(&self, parts: &mut [Part<'_>], scratch: &mut Scratch) -> Result<Vec<Vec<f32>>, String>;

    /// Sequences that there may be at once.
    fn sequences(&self) -> usize {
        usize::MAX
    }
}

struct On<S> {
    set: S,
    weights: Weights,
}

impl<S: Integers> Decodes for On<S> {
    fn pass(&self, parts: &mut [Part<'_>], scratch: &mut Scratch) -> Result<Vec<Vec<f32>>, String> {
        pass::pass(self.set, &self.weights, parts, scratch)
    }
}

impl Decoder {
    /// Loads the weights, for at most so many positions, and for the best instructions that this processor has.
    ///
    /// # Errors
    /// A tensor that is missing, has another shape, or holds what is no number.
    pub(crate) fn load(shape: Shape, positions: usize, origin: &mut dyn Origin) -> Result<Self, String> {
        let weights = Weights::load(shape.clone(), positions, origin)?;
        Ok(Self { network: on(weights), shape })
    }

    /// One of candle's networks, on a device.
    pub(crate) fn by_candle(network: Network, device: candle_core::Device, shape: Shape) -> Self {
        Self { network: Box::new(ByCandle::new(network, device, shape.clone())), shape }
    }

    /// The same, but that one of its passes panics: the first has number 0.
    #[cfg(test)]
    pub(crate) fn that_panics_at(self, pass: usize) -> Self {
        struct Panics(Box<dyn Decodes>, usize, std::sync::atomic::AtomicUsize);
        impl Decodes for Panics {
            fn pass(&self, parts: &mut [Part<'_>], scratch: &mut Scratch) -> Result<Vec<Vec<f32>>, String> {
                assert_ne!(self.2.fetch_add(1, std::sync::atomic::Ordering::Relaxed), self.1, "as was wanted");
                self.0.pass(parts, scratch)
            }
        }
        Self { network: Box::new(Panics(self.network, pass, std::sync::atomic::AtomicUsize::new(0))), shape: self.shape }
    }

    /// Sequences that there may be at once.
    pub(crate) fn sequences(&self) -> usize {
        self.network.sequences()
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Scores of the next token after each of the tokens for which a part wants them, in order: rows of as many numbers as the vocabulary has words,
    /// not normalised. Called within the thread pool that it may use.
    ///
    /// # Errors
    /// A token that the model does not have, or more tokens than a cache has room for; nothing has changed then.
    pub(crate) fn pass(&self, parts: &mut [Part<'_>], scratch: &mut Scratch) -> Result<Vec<Vec<f32>>, String> {
        self.network.pass(parts, scratch)
    }
}

fn on(weights: Weights) -> Box<dyn Decodes> {
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(set) = Vnni::detect() {
            return Box::new(On { set, weights });
        }
        if let Some(set) = Avx2::detect() {
            return Box::new(On { set, weights });
        }
    }
    Box::new(On { set: Portable, weights })
}
