//! Many callers, one device: dynamic batches.
//!
//! A batch leaves as soon as the device is free: waiting on purpose gains nothing on a CPU, whose rate is flat from some 128
//! tokens up, and what comes while it is busy fills the next batch anyway. Interactive callers go before batch callers; within
//! a class, callers take turns; within a batch, texts of like length stand together (the backend sees them sorted).
//!
//! Holds always: each caller gets its own answers in its own order; a text that breaks its batch is asked again alone, and only
//! its own caller hears of it; the queue is bounded.
//! Not promised: that two texts of one call are in one batch.
//! After a crash: waiting calls are gone; callers ask again.

mod queue;

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;

use crate::port::{Embedder, Embedding, InferenceError, ModelIdentity};
use queue::{Item, Queue};

/// Who goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Somebody waits for the answer.
    Interactive,
    /// It may take a while.
    Batch,
}

/// Sizes of batches and of the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchConfig {
    /// Tokens of a batch at most, about (4 bytes count as one). Default 16,384.
    pub max_batch_tokens: usize,
    /// Texts of a batch at most. Default 64: small enough that an interactive caller need not wait long for the device.
    pub max_batch_rows: usize,
    /// Batches at the device at once. Default 1.
    pub max_in_flight: usize,
    /// Texts waiting at most; a call that does not fit is refused. Default 8,192.
    pub queue_capacity: usize,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self { max_batch_tokens: 16_384, max_batch_rows: 64, max_in_flight: 1, queue_capacity: 8_192 }
    }
}

struct Shared {
    embedder: Arc<dyn Embedder>,
    config: BatchConfig,
    queue: Mutex<Queue>,
    news: Notify,
}

/// The batcher; ask through [`BatchedEmbedder::handle`].
pub struct BatchedEmbedder {
    shared: Arc<Shared>,
    tasks: Mutex<Option<JoinSet<()>>>,
}

impl BatchedEmbedder {
    /// Starts the batcher before a model. Must be called within a runtime.
    #[must_use]
    pub fn new(embedder: Arc<dyn Embedder>, config: BatchConfig) -> Arc<Self> {
        let shared = Arc::new(Shared { embedder, config, queue: Mutex::default(), news: Notify::new() });
        let mut tasks = JoinSet::new();
        for _ in 0..shared.config.max_in_flight.max(1) {
            tasks.spawn(work(Arc::clone(&shared)));
        }
        Arc::new(Self { shared, tasks: Mutex::new(Some(tasks)) })
    }

    /// A caller's end; each handle is one party when callers take turns.
    #[must_use]
    pub fn handle(&self, class: Class) -> Arc<dyn Embedder> {
        let party = self.shared.lock().party();
        Arc::new(Handle { shared: Arc::clone(&self.shared), class, party })
    }

    /// Ends the batcher; waiting and later calls are refused.
    pub async fn close(&self) {
        self.shared.lock().close();
        self.shared.news.notify_waiters();
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut tasks) = tasks {
            while tasks.join_next().await.is_some() {}
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Handle {
    shared: Arc<Shared>,
    class: Class,
    party: u64,
}

#[async_trait]
impl Embedder for Handle {
    fn model(&self) -> &ModelIdentity {
        self.shared.embedder.model()
    }

    fn dimension(&self) -> usize {
        self.shared.embedder.dimension()
    }

    async fn embed(&self, texts: Vec<String>) -> Result<Vec<Result<Embedding, InferenceError>>, InferenceError> {
        let mut waiting = Vec::with_capacity(texts.len());
        {
            let mut queue = self.shared.lock();
            queue.check(texts.len(), self.shared.config.queue_capacity)?;
            for text in texts {
                let (reply, answer) = oneshot::channel();
                queue.push(self.class, self.party, Item { text, reply });
                waiting.push(answer);
            }
        }
        self.shared.news.notify_waiters();
        let mut answers = Vec::with_capacity(waiting.len());
        for answer in waiting {
            answers.push(answer.await.map_err(|_| closed())?);
        }
        Ok(answers)
    }
}

fn closed() -> InferenceError {
    InferenceError::Backend { reason: "the batcher was closed".to_owned() }
}

async fn work(shared: Arc<Shared>) {
    loop {
        let news = shared.news.notified();
        tokio::pin!(news);
        news.as_mut().enable();
        let batch = {
            let mut queue = shared.lock();
            if queue.is_closed() {
                return;
            }
            queue.take(&shared.config)
        };
        if batch.is_empty() {
            news.await;
            continue;
        }
        answer(&*shared.embedder, batch).await;
    }
}

/// Asks for a batch; if the batch breaks, asks for each text alone, so that one bad text spoils nobody else's.
async fn answer(embedder: &dyn Embedder, mut batch: Vec<Item>) {
    batch.sort_by_key(|item| item.text.len());
    #[expect(clippy::cast_precision_loss, reason = "a metric")]
    metrics::histogram!("inference_batch_rows").record(batch.len() as f64);
    let clock = std::time::Instant::now();
    let texts = batch.iter().map(|item| item.text.clone()).collect();
    let answered = embedder.embed(texts).await;
    metrics::histogram!("inference_batch_seconds").record(clock.elapsed().as_secs_f64());
    match answered {
        Ok(answers) if answers.len() == batch.len() => {
            for (item, answer) in batch.into_iter().zip(answers) {
                // The caller may have left.
                item.reply.send(answer).ok();
            }
        }
        Err(InferenceError::Input { .. } | InferenceError::Backend { .. }) if batch.len() > 1 => {
            for item in batch {
                let alone = embedder.embed(vec![item.text]).await.and_then(|answers| answers.into_iter().next().unwrap_or_else(|| Err(lost())));
                item.reply.send(alone).ok();
            }
        }
        Ok(_) => fail(batch, &lost()),
        Err(error) => fail(batch, &error),
    }
}

fn fail(batch: Vec<Item>, error: &InferenceError) {
    for item in batch {
        item.reply.send(Err(error.clone())).ok();
    }
}

fn lost() -> InferenceError {
    InferenceError::Backend { reason: "the model gave another number of answers than it was asked for".to_owned() }
}
