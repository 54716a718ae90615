//! An eye between the batcher and the model: how full the batches are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ajatus_inference::{Embedder, Embedding, InferenceError, ModelIdentity, TextTokens};
use async_trait::async_trait;

/// Batches that the model answered.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Batches {
    /// How many.
    pub(super) count: u64,
    /// Texts in them.
    pub(super) rows: u64,
    /// Tokens in them.
    pub(super) tokens: u64,
    /// Tokens that they would have if every text were padded to the longest of its batch.
    pub(super) padded: u64,
    /// Sum over the batches of how full each was: rows or tokens of what it may hold, whichever is more, at most 1.
    pub(super) fill: f64,
}

impl Batches {
    fn add(&mut self, lengths: &[u32], most_tokens: u32, most_rows: u32) {
        let tokens: u64 = lengths.iter().map(|length| u64::from(*length)).sum();
        let longest = lengths.iter().copied().max().unwrap_or(0);
        self.count += 1;
        self.rows += lengths.len() as u64;
        self.tokens += tokens;
        self.padded += u64::from(longest) * lengths.len() as u64;
        #[expect(clippy::cast_precision_loss, reason = "counts of one batch")]
        let (by_tokens, by_rows) = (tokens as f64 / f64::from(most_tokens), lengths.len() as f64 / f64::from(most_rows));
        self.fill += by_tokens.max(by_rows).min(1.0);
    }

    /// Share of the tokens that a model which pads would compute for nothing, 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "shown to three digits")]
    pub(super) fn padding(&self) -> f64 {
        if self.padded == 0 { 0.0 } else { 1.0 - self.tokens as f64 / self.padded as f64 }
    }

    /// Mean of how full the batches were, 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "shown to three digits")]
    pub(super) fn mean_fill(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.fill / self.count as f64 }
    }
}

/// Passes everything on to a model, and counts.
pub(super) struct Watched {
    model: Arc<dyn Embedder>,
    lengths: Arc<HashMap<String, u32>>,
    most_tokens: u32,
    most_rows: u32,
    seen: Mutex<Batches>,
}

impl Watched {
    /// Before `model`; `lengths` says how many tokens each text has.
    pub(super) fn new(model: Arc<dyn Embedder>, lengths: Arc<HashMap<String, u32>>, most_tokens: u32, most_rows: u32) -> Self {
        Self { model, lengths, most_tokens, most_rows, seen: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Batches> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was counted since the last time, and begins anew.
    pub(super) fn take(&self) -> Batches {
        std::mem::take(&mut *self.seen())
    }
}

#[async_trait]
impl Embedder for Watched {
    fn model(&self) -> &ModelIdentity {
        self.model.model()
    }

    fn dimension(&self) -> usize {
        self.model.dimension()
    }

    fn max_tokens(&self) -> usize {
        self.model.max_tokens()
    }

    fn measure(&self, texts: &[String]) -> Option<Vec<TextTokens>> {
        self.model.measure(texts)
    }

    async fn embed(&self, texts: Vec<String>) -> Result<Vec<Result<Embedding, InferenceError>>, InferenceError> {
        let lengths: Vec<u32> = texts.iter().map(|text| self.lengths.get(text).copied().unwrap_or(0)).collect();
        let answers = self.model.embed(texts).await?;
        self.seen().add(&lengths, self.most_tokens, self.most_rows);
        Ok(answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_padding_would_cost_and_how_full_batches_are() {
        let mut batches = Batches::default();
        batches.add(&[10, 20, 30], 100, 4);
        batches.add(&[25, 25], 100, 4);
        assert_eq!((batches.count, batches.rows, batches.tokens, batches.padded), (2, 5, 110, 90 + 50));
        assert!((batches.padding() - (1.0 - 110.0 / 140.0)).abs() < 1e-12);
        assert!((batches.mean_fill() - (0.75 + 0.5) / 2.0).abs() < 1e-12);
        assert_eq!((Batches::default().padding(), Batches::default().mean_fill()), (0.0, 0.0));
    }
}
