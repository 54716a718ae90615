//! Names of the topics. Their settings stand in `kafka/topics.toml`.

/// Turns; upsert by `user/interaction`, null forgets.
pub const INTERACTIONS: &str = "interactions";
/// The memo; upsert by [`crate::AnswerKey`].
pub const MODEL_ANSWERS: &str = "model-answers";
/// Changes of the `memories` view, same partitions as [`INTERACTIONS`].
pub const MEMORY_CHANGES: &str = "memory-changes";
/// What could not be used.
pub const DEAD_LETTERS: &str = "dead-letters";
