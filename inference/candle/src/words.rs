//! A model's words: conversations to tokens, and schemas over its vocabulary.

use std::sync::OnceLock;

use ajatus_inference::template::ChatTemplate;
use ajatus_inference::{ChatMessage, InferenceError};
use tokenizers::Tokenizer;

use crate::files::broken;
use crate::guide::{Grammar, Guide};

/// What rendering and counting need, shared with the model's thread.
pub(crate) struct Words {
    pub(crate) tokenizer: Tokenizer,
    pub(crate) template: ChatTemplate,
    /// Tokens that end an answer.
    pub(crate) ends: Vec<u32>,
    pub(crate) adds_special: bool,
    /// Tokens of prompt and answer together at most.
    pub(crate) context: usize,
    pub(crate) vocabulary: usize,
    /// Made when the first schema is asked for.
    pub(crate) grammar: OnceLock<Result<Grammar, InferenceError>>,
}

impl Words {
    /// Begins an answer within a schema. The first one takes a while.
    ///
    /// # Errors
    /// [`InferenceError::Input`] for a schema that cannot be kept.
    pub(crate) fn guide(&self, schema: &serde_json::Value) -> Result<Guide, InferenceError> {
        let grammar = self.grammar.get_or_init(|| {
            let end = self.ends.first().ok_or_else(|| broken("the model's files do not say which token ends an answer, so it cannot be held to a schema"))?;
            Grammar::new(&self.tokenizer, self.vocabulary, *end)
        });
        grammar.as_ref().map_err(Clone::clone)?.begin(schema)
    }

    /// A conversation's tokens, up to where the model answers.
    ///
    /// # Errors
    /// [`InferenceError::Input`] if the template refuses the messages.
    pub(crate) fn prompt(&self, messages: &[ChatMessage]) -> Result<Vec<u32>, InferenceError> {
        let text = self.template.render(messages)?;
        let encoding = self.tokenizer.encode(text, self.adds_special).map_err(|error| InferenceError::Input { reason: error.to_string() })?;
        Ok(encoding.get_ids().to_vec())
    }
}
