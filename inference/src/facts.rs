//! Facts from a model: the prompt `facts.v1`, its schema, and what of the answer is kept.
//!
//! Holds always: a fact that is kept names the prompt and the model with the hash of its weights; its value stands in the text, or it is
//! little believed ([`ajatus_facts::ground()`]). Rules find facts without a model: [`ajatus_facts::read`].

use ajatus_facts::{Fact, ground};
use minijinja::{Environment, context};
use serde_json::Value;

use crate::port::{ChatMessage, ChatRole, Generator, InferenceError, Sampling};
use crate::structured::{MissError, Structured, ask, instruction};

/// The prompt's template; it reads `input`, the text.
pub const TEMPLATE: &str = include_str!("../prompts/facts.v1.jinja");
/// The schema that answers fit.
pub const SCHEMA: &str = include_str!("../prompts/facts.v1.schema.json");
/// The prompt's name and version, as facts carry it.
pub const PROMPT: &str = "facts.v1";

/// Calls for one text at most.
const ATTEMPTS: usize = 3;
/// Tokens of one answer at most: sixteen facts are about as many.
const MAX_TOKENS: usize = 512;

/// Reads facts with a model.
#[derive(Debug)]
pub struct FactsPrompt {
    environment: Environment<'static>,
    asked: Structured,
    identity: String,
}

impl FactsPrompt {
    /// The prompt this program comes with.
    #[must_use]
    pub fn built_in() -> Self {
        let mut environment = Environment::new();
        environment.add_template(PROMPT, TEMPLATE).expect("the file in the repository is checked by a test");
        let schema: Value = serde_json::from_str(SCHEMA).expect("the file in the repository is checked by a test");
        let hash = blake3::hash(format!("{TEMPLATE}\n{SCHEMA}").as_bytes()).to_hex();
        // Greedy, and the signs of JSON are meant to come again and again.
        let sampling = Sampling { temperature: 0.0, repetition_penalty: 1.0, ..Sampling::default() };
        Self {
            environment,
            asked: Structured { schema, max_tokens: MAX_TOKENS, sampling, attempts: ATTEMPTS },
            identity: format!("{PROMPT}@{}", hash.chars().take(16).collect::<String>()),
        }
    }

    /// Name, version and hash: which prompt an answer came from.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The messages that ask about a text.
    ///
    /// # Errors
    /// [`InferenceError::Input`] if the template cannot be filled, which is our bug.
    pub fn messages(&self, text: &str) -> Result<Vec<ChatMessage>, InferenceError> {
        let wrong = |error: minijinja::Error| InferenceError::Input { reason: error.to_string() };
        let content = self.environment.get_template(PROMPT).and_then(|template| template.render(context! { input => text })).map_err(wrong)?;
        Ok(vec![instruction(&self.asked.schema), ChatMessage { role: ChatRole::User, content: content.trim().to_owned() }])
    }

    /// The facts that `model` finds in a text said at `said_at_us`, microseconds since 1970, held against the text.
    ///
    /// # Errors
    /// [`MissError::Misfit`] if its answers do not fit the schema, [`MissError::Model`] if it does not answer.
    pub async fn read(&self, model: &dyn Generator, text: &str, said_at_us: i64) -> Result<Vec<Fact>, MissError> {
        let fitting = ask(model, self.messages(text)?, &self.asked).await?;
        let facts = ground(&fitting.document.to_string(), text, said_at_us, PROMPT, &fitting.model.id());
        facts.map_err(|error| MissError::Misfit { reason: error.to_string(), attempts: fitting.attempts })
    }
}

#[cfg(test)]
mod tests {
    use ajatus_facts::{Attribute, schema};

    use super::*;

    #[test]
    fn the_prompt_shows_answers_that_fit_its_schema_and_asks_about_the_text() {
        let prompt = FactsPrompt::built_in();
        schema::check(&prompt.asked.schema).expect("a schema that answers are held to");
        let messages = prompt.messages("I live in <Turku> & \"Oulu\".").expect("filled");
        assert!(messages[1].content.ends_with("Text: I live in <Turku> & \"Oulu\"."), "{}", messages[1].content);
        let shown: Vec<&str> = messages[1].content.lines().filter(|line| line.starts_with('{')).collect();
        assert_eq!(shown.len(), 4);
        for line in shown {
            let answer: Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(schema::misfit(&prompt.asked.schema, &answer), None, "{line}");
        }
        assert!(prompt.identity().starts_with("facts.v1@"));
    }

    #[test]
    fn the_schema_names_the_attributes_that_facts_have() {
        let schema: Value = serde_json::from_str(SCHEMA).expect("JSON");
        let named = schema.pointer("/properties/facts/items/properties/attribute/enum").and_then(Value::as_array).expect("a list");
        let known: Vec<&str> = Attribute::ALL.iter().map(|attribute| attribute.as_str()).collect();
        assert_eq!(named.iter().filter_map(Value::as_str).collect::<Vec<_>>(), known);
    }
}
