//! The encoder on threads: shares of a few texts, one thread each.

use std::sync::{Mutex, PoisonError};

use ajatus_inference::{Embedding, InferenceError};
use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};

use crate::encoder::{Encoder, Scratch};
use crate::files::{broken, pool};

/// Tokens of a share at most: enough for full tiles, little enough for the second cache.
const MOST: usize = 240;
/// Tokens of a share at least, if there are so many: less leaves tiles half empty.
const LEAST: usize = 48;

pub(crate) struct Packed {
    encoder: Encoder,
    threads: rayon::ThreadPool,
    scratch: Mutex<Vec<Scratch>>,
}

impl Packed {
    pub(crate) fn new(encoder: Encoder, threads: usize) -> Result<Self, InferenceError> {
        Ok(Self { encoder, threads: pool("embed", threads)?, scratch: Mutex::default() })
    }

    pub(crate) fn embed(&self, rows: &[(usize, Vec<u32>)]) -> Result<Vec<(usize, Embedding)>, InferenceError> {
        let shares = self.shares(rows);
        let done: Vec<Result<Vec<(usize, Embedding)>, InferenceError>> = match shares.as_slice() {
            [only] => vec![self.share(only)],
            many => self.threads.install(|| many.par_iter().map(|share| self.share(share)).collect()),
        };
        let mut vectors = Vec::with_capacity(rows.len());
        for share in done {
            vectors.extend(share?);
        }
        Ok(vectors)
    }

    /// Neighbours together, as many shares as there are threads or more.
    fn shares<'a>(&self, rows: &'a [(usize, Vec<u32>)]) -> Vec<&'a [(usize, Vec<u32>)]> {
        let all: usize = rows.iter().map(|(_, ids)| ids.len()).sum();
        let budget = all.div_ceil(self.threads.current_num_threads()).clamp(LEAST, MOST);
        let (mut shares, mut from, mut tokens) = (Vec::new(), 0, 0);
        for (at, (_, ids)) in rows.iter().enumerate() {
            if at > from && tokens + ids.len() > budget {
                shares.push(&rows[from..at]);
                (from, tokens) = (at, 0);
            }
            tokens += ids.len();
        }
        if from < rows.len() {
            shares.push(&rows[from..]);
        }
        shares
    }

    fn share(&self, rows: &[(usize, Vec<u32>)]) -> Result<Vec<(usize, Embedding)>, InferenceError> {
        let lock = || self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        let mut scratch = lock().pop().unwrap_or_default();
        let texts: Vec<&[u32]> = rows.iter().map(|(_, ids)| ids.as_slice()).collect();
        let vectors = self.encoder.embed(&texts, &mut scratch).map_err(broken)?;
        lock().push(scratch);
        Ok(rows.iter().map(|(at, _)| *at).zip(vectors).collect())
    }
}
