//! Answers that must fit a JSON schema, from any model.
//!
//! Holds always: what is given fits the schema; a model that misses is told in what, and asked again a bounded number of times; a miss
//! after that is an error that says what was wrong. A backend that can be held to a schema is; one that cannot is asked in the prompt,
//! and its answer is looked at all the same.
//! Not promised: that the answer is true.

use ajatus_facts::schema::misfit;
use futures::StreamExt as _;
use serde_json::Value;

use crate::port::{ChatMessage, ChatRole, FinishReason, GenerateEvent, GenerateRequest, Generator, InferenceError, ModelIdentity, Sampling};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Structured {
    /// The schema, in the part of the language that [`ajatus_facts::schema::check`] lets pass; an object.
    pub schema: Value,
    /// Most tokens of one answer.
    pub max_tokens: usize,
    /// How tokens are chosen; its own `schema` is not looked at.
    pub sampling: Sampling,
    /// Calls at most, the first among them; 0 counts as 1.
    pub attempts: usize,
}

/// An answer that fits.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitting {
    /// The document.
    pub document: Value,
    /// Which model gave it.
    pub model: ModelIdentity,
    /// Calls that it took.
    pub attempts: usize,
}

/// Why there is no answer that fits.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MissError {
    /// No answer fits; the same question would get the same again, so record it, or take a larger model.
    #[error("{reason}, after {attempts} attempts")]
    Misfit {
        /// What was wrong with the last one.
        reason: String,
        /// Calls made.
        attempts: usize,
    },
    /// The model did not answer.
    #[error(transparent)]
    Model(#[from] InferenceError),
}

/// The instruction that goes before a question, so that a model knows the schema even where it is not held to it.
#[must_use]
pub fn instruction(schema: &Value) -> ChatMessage {
    let content = format!("Answer with one JSON object and nothing else. It must fit this JSON schema:\n{schema}");
    ChatMessage { role: ChatRole::System, content }
}

/// Asks until an answer fits.
///
/// # Errors
/// [`MissError::Misfit`] if none of `asked.attempts` answers fits, [`MissError::Model`] if the model fails.
pub async fn ask(model: &dyn Generator, mut messages: Vec<ChatMessage>, asked: &Structured) -> Result<Fitting, MissError> {
    let schema = model.structured().then(|| asked.schema.clone());
    let attempts = asked.attempts.max(1);
    let mut missed = String::new();
    for attempt in 1..=attempts {
        let sampling = Sampling { schema: schema.clone(), ..asked.sampling.clone() };
        let request = GenerateRequest { messages: messages.clone(), max_tokens: asked.max_tokens, stop: Vec::new(), sampling };
        let (said, reason, model) = whole(model, request).await?;
        let found = document(&said).ok_or_else(|| no_object(reason));
        match found.and_then(|found| misfit(&asked.schema, &found).map_or(Ok(found), Err)) {
            Ok(document) => return Ok(Fitting { document, model, attempts: attempt }),
            Err(why) => missed = why,
        }
        messages.push(ChatMessage { role: ChatRole::Assistant, content: said });
        let content = format!("That is not it: {missed}. Answer again, with the JSON object alone.");
        messages.push(ChatMessage { role: ChatRole::User, content });
    }
    Err(MissError::Misfit { reason: missed, attempts })
}

/// One generation, whole, with who answered.
async fn whole(model: &dyn Generator, request: GenerateRequest) -> Result<(String, FinishReason, ModelIdentity), InferenceError> {
    let mut started = model.start(request).await?;
    let mut said = String::new();
    while let Some(event) = started.events.next().await {
        match event? {
            GenerateEvent::Text(more) => said.push_str(&more),
            GenerateEvent::Done { reason, .. } => return Ok((said.trim().to_owned(), reason, started.model)),
        }
    }
    Err(InferenceError::BrokenOff { reason: "its stream ended without an end".to_owned() })
}

fn no_object(reason: FinishReason) -> String {
    match reason {
        FinishReason::Stop => "it is no JSON object".to_owned(),
        FinishReason::Length => "it is no JSON object, and was cut at max_tokens".to_owned(),
    }
}

/// The JSON object in what a model said: all of it, or what stands between the first brace and the last.
fn document(said: &str) -> Option<Value> {
    let object = |text: &str| serde_json::from_str::<Value>(text).ok().filter(Value::is_object);
    object(said).or_else(|| object(said.get(said.find('{')?..=said.rfind('}')?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_object_in_what_is_said_around_it() {
        for said in [r#"{"a":1}"#, "Here it is:\n```json\n{\"a\":1}\n```\nDone.", "  {\"a\":1} "] {
            assert_eq!(document(said), Some(serde_json::json!({ "a": 1 })), "{said}");
        }
        for said in ["", "[1]", "no", "}{", "{\"a\":", "{a}"] {
            assert_eq!(document(said), None, "{said}");
        }
    }
}
