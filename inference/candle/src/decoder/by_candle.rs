//! The same network by candle: on a GPU, where ours does not run; and the reference.
//!
//! candle's networks keep one sequence's keys and values in themselves; so there is one at a time.

use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Device, Tensor};
use candle_transformers::models::quantized_llama::ModelWeights;
use candle_transformers::models::{llama, mistral};

use super::pass::{Part, Scratch, Wanted};
use super::{Decodes, Shape};

/// One of candle's networks.
pub(crate) enum Network {
    Quantised(Box<ModelWeights>),
    Mistral(Box<mistral::Model>),
    Llama { model: Box<llama::Llama>, config: Box<llama::Config>, dtype: DType, cache: Box<llama::Cache> },
}

pub(super) struct ByCandle {
    network: Mutex<Network>,
    device: Device,
    shape: Shape,
}

impl Network {
    /// Scores after the last of the tokens, which stand at `position`.
    fn forward(&mut self, tokens: &[u32], position: usize, device: &Device) -> candle_core::Result<Vec<f32>> {
        let input = Tensor::new(tokens, device)?.unsqueeze(0)?;
        let scores = match self {
            Self::Quantised(model) => model.forward(&input, position)?,
            Self::Mistral(model) => model.forward(&input, position)?,
            Self::Llama { model, cache, .. } => model.forward(&input, position, cache)?,
        };
        scores.flatten_all()?.to_dtype(DType::F32)?.to_vec1()
    }

    /// Forgets the sequence.
    fn clear(&mut self, device: &Device) -> candle_core::Result<()> {
        match self {
            Self::Quantised(model) => model.clear_kv_cache(),
            Self::Mistral(model) => model.clear_kv_cache(),
            Self::Llama { config, dtype, cache, .. } => **cache = llama::Cache::new(true, *dtype, config, device)?,
        }
        Ok(())
    }
}

impl ByCandle {
    pub(super) fn new(network: Network, device: Device, shape: Shape) -> Self {
        Self { network: Mutex::new(network), device, shape }
    }

    fn part(&self, part: &mut Part<'_>) -> candle_core::Result<Vec<Vec<f32>>> {
        let mut network = self.network.lock().unwrap_or_else(PoisonError::into_inner);
        let mut position = part.cache.length();
        if position == 0 {
            network.clear(&self.device)?;
        }
        let mut scores = Vec::new();
        // candle gives the scores after the last token only, and its plain Llama sees a run of tokens rightly at the beginning only.
        let single = part.wanted == Wanted::All || (position > 0 && matches!(*network, Network::Llama { .. }));
        for run in part.tokens.chunks(if single { 1 } else { part.tokens.len() }) {
            let found = network.forward(run, position, &self.device)?;
            position += run.len();
            match part.wanted {
                Wanted::All => scores.push(found),
                Wanted::Last => scores = vec![found],
                Wanted::None => {}
            }
        }
        part.cache.grow(part.tokens.len());
        Ok(scores)
    }
}

impl Decodes for ByCandle {
    fn pass(&self, parts: &mut [Part<'_>], _: &mut Scratch) -> Result<Vec<Vec<f32>>, String> {
        let mut scores = Vec::new();
        let mut busy = parts.iter_mut().filter(|part| !part.tokens.is_empty());
        if let Some(part) = busy.next() {
            super::pass::fits(part, self.shape.vocabulary, self.shape.context)?;
            scores = self.part(part).map_err(|error| error.to_string())?;
        }
        if busy.next().is_some() {
            return Err("candle's networks take one sequence at a time".to_owned());
        }
        Ok(scores)
    }

    fn sequences(&self) -> usize {
        1
    }
}
