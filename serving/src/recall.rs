//! Finds the turns a question is about.

use std::sync::Arc;

use ajatus_events::UserId;
use ajatus_inference::{Embedder, InferenceError, Party};
use ajatus_memory::index::{Index, IndexError, SearchResult};
use ajatus_memory::retrieve::SearchOptions;

/// Why nothing could be found.
#[derive(Debug, thiserror::Error)]
pub enum RecallError {
    /// The index could not answer.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The question could not be embedded.
    #[error("the question could not be embedded: {0}")]
    Embed(#[from] InferenceError),
}

/// The index and the model that embeds questions for it.
#[derive(Clone)]
pub struct Recall {
    index: Arc<Index>,
    embedder: Arc<dyn Embedder>,
}

impl Recall {
    /// Puts the two together.
    #[must_use]
    pub fn new(index: Arc<Index>, embedder: Arc<dyn Embedder>) -> Self {
        Self { index, embedder }
    }

    /// The index.
    #[must_use]
    pub fn index(&self) -> &Arc<Index> {
        &self.index
    }

    /// The user's turns, best first.
    ///
    /// # Errors
    /// [`RecallError`]; trying again may help.
    pub async fn search(&self, user: UserId, question: &str, options: &SearchOptions) -> Result<SearchResult, RecallError> {
        let query = self.index.prepare(user, question).await?;
        let mut answers = self.embedder.embed_for(vec![(Party(user.0.as_u128()), query.dense_text().to_owned())]).await?;
        let vector = answers.pop().unwrap_or_else(|| Err(InferenceError::Backend { reason: "no answer".to_owned() }))?;
        Ok(self.index.search(&query, &vector, options).await?)
    }
}
