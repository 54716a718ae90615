//! BERT without padding: all tokens of a batch stand in one matrix, attention is per text, weights are packed once.
//!
//! | file | what it does |
//! |---|---|
//! | `attention.rs` | scores, softmax and means of one text |
//! | `weights.rs` | reading, checking and packing |
//! | `pass.rs` | one pass |
//!
//! Holds always: a text's vector has the same bits whatever else is in the batch and however many threads there are. With `f32` it has the
//! same bits by every instruction set, and equals candle's within 1e-5 in every component; with `bf16` its cosine with candle's is at
//! least 0.9999. Not promised: the same bits from `bf16` and `f32`; other models than BERT with absolute positions, GELU by the error function, and widths that
//! fill whole panels (those are left to candle).
//!
//! One thread per batch: the products are small, and threads that meet after each of them wait more than they work.

mod attention;
mod pass;
#[cfg(test)]
mod tests;
mod weights;

use candle_nn::VarBuilder;
use candle_transformers::models::bert::{Config, HiddenAct, PositionEmbeddingType};

pub(crate) use pass::Scratch;
use weights::Weights;

use crate::kernels::product::COLUMNS;
pub use crate::kernels::set::Kernel;
use crate::kernels::set::{Portable, Set};
#[cfg(target_arch = "x86_64")]
use crate::kernels::set::{Avx2, Avx512, Bf16};

/// The network.
pub(crate) struct Encoder {
    network: Box<dyn Embeds>,
}

/// A network on one instruction set.
trait Embeds: Send + Sync {
    fn embed(&self, texts: &[&[u32]], scratch: &mut Scratch) -> Result<Vec<Vec<f32>>, String>;
}

struct On<S> {
    set: S,
    weights: Weights,
}

impl<S: Set> Embeds for On<S> {
    fn embed(&self, texts: &[&[u32]], scratch: &mut Scratch) -> Result<Vec<Vec<f32>>, String> {
        pass::embed(self.set, &self.weights, texts, scratch)
    }
}

impl Encoder {
    /// Whether a model is one that this encoder computes.
    pub(crate) fn fits(config: &Config) -> bool {
        let whole = |width: usize| width.is_multiple_of(COLUMNS);
        let head = config.hidden_size.checked_div(config.num_attention_heads).unwrap_or(0);
        matches!(config.hidden_act, HiddenAct::Gelu)
            && matches!(config.position_embedding_type, PositionEmbeddingType::Absolute)
            && config.hidden_size == head * config.num_attention_heads
            && head > 0
            && whole(head)
            && whole(config.intermediate_size)
    }

    /// Packs the weights for a kernel.
    ///
    /// # Errors
    /// A kernel that this processor does not have; a tensor that is missing, has another shape, or holds what is no number.
    pub(crate) fn load(variables: &VarBuilder<'_>, config: &Config, kernel: Kernel) -> candle_core::Result<Self> {
        fn on<S: Set>(variables: &VarBuilder<'_>, config: &Config) -> candle_core::Result<Encoder> {
            let Some(set) = S::detect() else { candle_core::bail!("this processor does not have the instructions of that kernel") };
            Ok(Encoder { network: Box::new(On { set, weights: Weights::load::<S>(variables, config)? }) })
        }
        match kernel {
            #[cfg(target_arch = "x86_64")]
            Kernel::Bf16 => on::<Bf16>(variables, config),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => on::<Avx512>(variables, config),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => on::<Avx2>(variables, config),
            #[cfg(not(target_arch = "x86_64"))]
            Kernel::Bf16 | Kernel::Avx512 | Kernel::Avx2 => candle_core::bail!("this processor does not have the instructions of that kernel"),
            Kernel::Portable => on::<Portable>(variables, config),
        }
    }

    /// Vectors of texts, given as tokens: the mean over the tokens, made length 1.
    ///
    /// # Errors
    /// A token that the model does not have, or a text that is longer than its positions.
    pub(crate) fn embed(&self, texts: &[&[u32]], scratch: &mut Scratch) -> Result<Vec<Vec<f32>>, String> {
        self.network.embed(texts, scratch)
    }
}
