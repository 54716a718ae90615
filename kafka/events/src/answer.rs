//! Model answers: what a model said the first time is what it said. The memo of DESIGN section 5.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Sealed, UserId};

/// Key of the `model-answers` topic: `user/model/prompt/input`.
///
/// The answer belongs to one user, so that forgetting the user forgets it and one user's answer never reaches
/// another. `input` is keyed by the user's key: equal texts of two users have unequal keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AnswerKey {
    /// Whose text was asked about; decides the partition.
    pub user_id: UserId,
    /// Model and version: name and the first 16 hex digits of the weights' hash, e.g. `all-MiniLM-L6-v2@53aa5117`.
    pub model: String,
    /// Hash of the prompt template and its settings, hex; `-` for an embedding.
    pub prompt: String,
    /// Keyed hash of the input, 32 bytes in hex.
    pub input: String,
}

impl fmt::Display for AnswerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.user_id, self.model, self.prompt, self.input)
    }
}

impl FromStr for AnswerKey {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split('/').collect();
        let [user, model, prompt, input] = parts.as_slice() else {
            return Err(format!("answer key has {} parts, but it must have 4", parts.len()));
        };
        Ok(Self {
            user_id: user.parse().map_err(|error| format!("user id {user:?}: {error}"))?,
            model: (*model).to_owned(),
            prompt: (*prompt).to_owned(),
            input: (*input).to_owned(),
        })
    }
}

/// Value of the `model-answers` topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelAnswer {
    /// The answer, sealed under the user's key with [`ModelAnswer::aad`]: little-endian `f32`s for an embedding,
    /// UTF-8 for text.
    pub answer: Sealed,
}

impl ModelAnswer {
    /// Additional authenticated data of an answer.
    #[must_use]
    pub fn aad(key: &AnswerKey) -> Vec<u8> {
        format!("1/model-answers/answer/{key}").into_bytes()
    }
}
