//! Finds the turns a question is about.

use std::sync::Arc;

use ajatus_events::UserId;
use ajatus_inference::{Embedder, InferenceError, Party};
use ajatus_memory::index::{Index, IndexError, SearchResult};
use ajatus_memory::profile::AsOf;
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

    /// The user's turns, best first. Where the model cannot be asked, by words alone: the evidence then has no cosine.
    ///
    /// # Errors
    /// [`RecallError`]; trying again may help.
    pub async fn search(&self, user: UserId, question: &str, options: &SearchOptions) -> Result<SearchResult, RecallError> {
        let query = self.index.prepare(user, question).await?;
        let vector = self.vector(user, query.dense_text()).await?;
        Ok(self.index.search(&query, &vector, options).await?)
    }

    /// The same over the turns as they were, without what was forgotten since.
    ///
    /// # Errors
    /// As [`Recall::search`].
    pub async fn search_past(&self, user: UserId, question: &str, as_of: AsOf, options: &SearchOptions) -> Result<SearchResult, RecallError> {
        let mut past = self.index.past(user, as_of).await?;
        let query = past.prepare(question);
        let vector = self.vector(user, query.dense_text()).await?;
        Ok(past.search(&query, &vector, options)?)
    }

    async fn vector(&self, user: UserId, text: &str) -> Result<Vec<f32>, RecallError> {
        let answered = self.embedder.embed_for(vec![(Party(user.0.as_u128()), text.to_owned())]).await;
        let one = answered.and_then(|mut answers| answers.pop().unwrap_or_else(|| Err(InferenceError::Backend { reason: "no answer".to_owned() })));
        match one {
            Ok(vector) => Ok(vector),
            Err(error) if error.may_pass() => {
                tracing::warn!(%error, "a question could not be embedded; it is searched by words alone");
                metrics::counter!("recall_without_model_total").increment(1);
                Ok(Vec::new())
            }
            Err(error) => Err(error.into()),
        }
    }
}
