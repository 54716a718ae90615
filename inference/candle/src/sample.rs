//! The next token.

use ajatus_inference::Sampling;
use candle_core::Tensor;
use candle_transformers::generation::{LogitsProcessor, Sampling as Draw};
use candle_transformers::utils::apply_repeat_penalty;

/// Tokens back that count as repeated.
const WINDOW: usize = 64;

/// Draws tokens: seeded, so that the same seed, model and machine give the same text.
pub(crate) struct Sampler {
    processor: LogitsProcessor,
    penalty: f32,
}

impl Sampler {
    pub(crate) fn new(sampling: &Sampling) -> Self {
        let draw = if sampling.temperature <= 0.0 {
            Draw::ArgMax
        } else {
            let (p, temperature) = (sampling.top_p.clamp(0.01, 1.0), sampling.temperature);
            match sampling.top_k {
                Some(k) => Draw::TopKThenTopP { k: k.max(1), p, temperature },
                None => Draw::TopP { p, temperature },
            }
        };
        Self { processor: LogitsProcessor::from_sampling(sampling.seed, draw), penalty: sampling.repetition_penalty }
    }

    /// Only what was generated counts as repeated: a fact of the prompt is meant to be said.
    pub(crate) fn next(&mut self, logits: &Tensor, generated: &[u32]) -> candle_core::Result<u32> {
        if (self.penalty - 1.0).abs() < f32::EPSILON || generated.is_empty() {
            return self.processor.sample(logits);
        }
        let from = generated.len().saturating_sub(WINDOW);
        let penalised = apply_repeat_penalty(logits, self.penalty, &generated[from..])?;
        self.processor.sample(&penalised)
    }
}
