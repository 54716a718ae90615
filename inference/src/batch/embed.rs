//! The batcher before an embedding model.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::{BatchConfig, Batcher, Class, Device};
use crate::clock::{Clock, SystemClock};
use crate::port::{Embedder, Embedding, InferenceError, ModelIdentity, Party, TextTokens};

/// Bytes of a text that make about one token.
const BYTES_PER_TOKEN: usize = 4;

struct Texts(Arc<dyn Embedder>);

#[async_trait]
impl Device for Texts {
    type Input = String;
    type Answer = Embedding;

    fn tokens(&self, text: &String) -> usize {
        (text.len() / BYTES_PER_TOKEN + 2).min(self.0.max_tokens())
    }

    async fn answer(&self, batch: Vec<String>) -> Result<Vec<Result<Embedding, InferenceError>>, InferenceError> {
        self.0.embed(batch).await
    }
}

/// One embedding model, many callers; ask through [`BatchedEmbedder::handle`].
pub struct BatchedEmbedder {
    batcher: Arc<Batcher<Texts>>,
    handles: AtomicU64,
}

impl BatchedEmbedder {
    /// Starts the batcher before a model. Must be called within a runtime.
    #[must_use]
    pub fn new(embedder: Arc<dyn Embedder>, config: BatchConfig) -> Arc<Self> {
        Self::with_clock(embedder, config, Arc::new(SystemClock::start()))
    }

    /// The same with a clock of the caller's.
    #[must_use]
    pub fn with_clock(embedder: Arc<dyn Embedder>, config: BatchConfig, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { batcher: Arc::new(Batcher::new(Texts(embedder), config, clock)), handles: AtomicU64::new(0) })
    }

    /// A caller's end; each handle is one party where the caller names none.
    #[must_use]
    pub fn handle(&self, class: Class) -> Arc<dyn Embedder> {
        self.handle_within(class, None)
    }

    /// The same; each call has so long, the wait in the queue included.
    #[must_use]
    pub fn handle_within(&self, class: Class, within: Option<Duration>) -> Arc<dyn Embedder> {
        let party = Party(u128::from(self.handles.fetch_add(1, Ordering::Relaxed)));
        Arc::new(Handle { batcher: Arc::clone(&self.batcher), class, party, within })
    }

    /// Ends the batcher; waiting and later calls are refused.
    pub async fn close(&self) {
        self.batcher.close().await;
    }
}

impl Drop for BatchedEmbedder {
    fn drop(&mut self) {
        self.batcher.shared.close();
    }
}

struct Handle {
    batcher: Arc<Batcher<Texts>>,
    class: Class,
    party: Party,
    within: Option<Duration>,
}

impl Handle {
    fn model_behind(&self) -> &dyn Embedder {
        &*self.batcher.device().0
    }
}

#[async_trait]
impl Embedder for Handle {
    fn model(&self) -> &ModelIdentity {
        self.model_behind().model()
    }

    fn dimension(&self) -> usize {
        self.model_behind().dimension()
    }

    fn max_tokens(&self) -> usize {
        self.model_behind().max_tokens()
    }

    fn measure(&self, texts: &[String]) -> Option<Vec<TextTokens>> {
        self.model_behind().measure(texts)
    }

    async fn embed(&self, texts: Vec<String>) -> Result<Vec<Result<Embedding, InferenceError>>, InferenceError> {
        self.embed_for(texts.into_iter().map(|text| (self.party, text)).collect()).await
    }

    async fn embed_for(&self, texts: Vec<(Party, String)>) -> Result<Vec<Result<Embedding, InferenceError>>, InferenceError> {
        self.batcher.ask(self.class, self.within, texts).await
    }
}
