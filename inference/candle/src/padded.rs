//! BERT by candle: the reference for the encoder, and what computes the models that it does not, and on a GPU.
//!
//! Texts are cut into batches of like length, so that little is padding; one text alone gets all threads, many batches get a
//! thread each (twice the rate of all threads on one batch).

use ajatus_inference::{Embedding, InferenceError};
use candle_core::{DType, Device, Tensor};
use candle_transformers::models::bert::BertModel;

use crate::files::{broken, pool};

/// A row's place among the texts, and its tokens.
type Row = (usize, Vec<u32>);

pub(crate) struct Padded {
    bert: BertModel,
    device: Device,
    batch_tokens: usize,
    /// All threads on one batch, for a caller who waits for one text.
    together: rayon::ThreadPool,
    /// A batch each, for many.
    apart: Vec<rayon::ThreadPool>,
}

impl Padded {
    pub(crate) fn new(bert: BertModel, device: Device, batch_tokens: usize, threads: usize) -> Result<Self, InferenceError> {
        Ok(Self {
            bert,
            device,
            batch_tokens: batch_tokens.max(1),
            together: pool("embed", threads)?,
            apart: (0..threads).map(|_| pool("embed apart", 1)).collect::<Result<_, _>>()?,
        })
    }

    pub(crate) fn embed(&self, mut rows: Vec<Row>) -> Result<Vec<(usize, Embedding)>, InferenceError> {
        rows.sort_by_key(|(_, ids)| ids.len());
        let batches = self.batches(rows);
        let done: Vec<Result<Vec<(usize, Embedding)>, InferenceError>> = if let [only] = batches.as_slice() {
            vec![self.together.install(|| self.batch(only))]
        } else {
            let lanes = self.apart.len();
            let shares: Vec<Vec<&Vec<Row>>> = (0..lanes).map(|lane| batches.iter().skip(lane).step_by(lanes).collect()).collect();
            std::thread::scope(|scope| {
                let running: Vec<_> = shares
                    .into_iter()
                    .zip(&self.apart)
                    .map(|(share, lane)| scope.spawn(move || lane.install(|| share.into_iter().map(|batch| self.batch(batch)).collect::<Vec<_>>())))
                    .collect();
                running.into_iter().flat_map(|lane| lane.join().unwrap_or_else(|_| vec![Err(broken("the embedding model panicked"))])).collect()
            })
        };
        let mut vectors = Vec::new();
        for batch in done {
            vectors.extend(batch?);
        }
        Ok(vectors)
    }

    /// Neighbours in length together, each batch within the budget, at least one text.
    fn batches(&self, rows: Vec<Row>) -> Vec<Vec<Row>> {
        let mut batches: Vec<Vec<Row>> = Vec::new();
        for row in rows {
            match batches.last_mut() {
                Some(batch) if (batch.len() + 1) * row.1.len() <= self.batch_tokens => batch.push(row),
                _ => batches.push(vec![row]),
            }
        }
        batches
    }

    fn batch(&self, rows: &[Row]) -> Result<Vec<(usize, Embedding)>, InferenceError> {
        let long = rows.iter().map(|(_, ids)| ids.len()).max().unwrap_or(0);
        let (mut ids, mut mask) = (Vec::with_capacity(rows.len() * long), Vec::with_capacity(rows.len() * long));
        for (_, row) in rows {
            ids.extend(row.iter().copied().chain(std::iter::repeat_n(0, long - row.len())));
            mask.extend(std::iter::repeat_n(1_u32, row.len()).chain(std::iter::repeat_n(0, long - row.len())));
        }
        let vectors = self.forward(ids, mask, (rows.len(), long)).map_err(broken)?;
        Ok(rows.iter().map(|(at, _)| *at).zip(vectors).collect())
    }

    /// Mean over the tokens that are not padding, then length 1: the mean strategy of Reimers and Gurevych (2019), section 3.
    fn forward(&self, ids: Vec<u32>, mask: Vec<u32>, shape: (usize, usize)) -> candle_core::Result<Vec<Embedding>> {
        let ids = Tensor::from_vec(ids, shape, &self.device)?;
        let mask = Tensor::from_vec(mask, shape, &self.device)?;
        let hidden = self.bert.forward(&ids, &ids.zeros_like()?, Some(&mask))?.to_dtype(DType::F32)?;
        let mask = mask.to_dtype(DType::F32)?.unsqueeze(2)?;
        let mean = hidden.broadcast_mul(&mask)?.sum(1)?.broadcast_div(&mask.sum(1)?)?;
        let unit = mean.broadcast_div(&mean.sqr()?.sum_keepdim(1)?.sqrt()?)?;
        unit.to_vec2::<f32>()
    }
}
