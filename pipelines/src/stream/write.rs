//! What `generate` and `extract` ask of a model, and what they take for an answer.
//!
//! Holds always: an extraction is a JSON object of the model's schema, or an error; a model that misses is told so and asked again, at
//! most [`ATTEMPTS`] times in all; the answer is the same whatever else is in the batch.
//! Not promised: that two machines write the same; the memo keeps what was written first.

use std::time::Duration;

use ajatus_inference::structured::{self, MissError, Structured};
use ajatus_inference::{ChatMessage, ChatRole, GenerateEvent, GenerateRequest, Generator, InferenceError, Sampling};
use ajatus_sql::script::{Task, Writing};
use futures::StreamExt as _;
use minijinja::{Environment, context};
use serde_json::Value;
use tokio::time::Instant;

/// Calls for one extraction at most.
const ATTEMPTS: usize = 3;
/// Answers of one batch that are under way at the same time.
const AT_ONCE: usize = 4;
/// Version of the words that stand around an extraction (`ajatus_inference::structured`); another one makes other answers.
const WORDS: &str = "extract.v1";

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NoAnswer {
    /// `model.schema`, `model.timeout`, …
    pub(super) code: &'static str,
    /// What happened.
    pub(super) message: String,
    /// Whether the same question would get the same again, so that this is recorded.
    pub(super) lasting: bool,
}

impl NoAnswer {
    /// Of an error of a model.
    pub(super) fn of(error: &InferenceError) -> Self {
        let (code, lasting) = match error {
            InferenceError::Input { .. } => ("model.refused", true),
            InferenceError::Timeout { .. } => ("model.timeout", false),
            _ => ("model.failed", false),
        };
        Self { code, message: error.to_string(), lasting }
    }

    /// Of a batch that took too long.
    pub(super) fn late(limit: Duration) -> Self {
        Self::of(&InferenceError::Timeout { limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX) })
    }

    /// As the dataflow has it.
    pub(super) fn reason(&self) -> String {
        format!("{}: {}", self.code, self.message)
    }
}

/// How a model is asked to write.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    prompt: Option<String>,
    schema: Option<Value>,
    max_tokens: usize,
    sampling: Sampling,
}

impl Writer {
    /// Of a model's task; `None` if it writes nothing.
    pub(super) fn of(task: &Task) -> Option<Self> {
        let (writing, schema): (&Writing, Option<&Value>) = match task {
            Task::Embedding { .. } => return None,
            Task::Generation(writing) => (writing, None),
            Task::Extraction { writing, schema } => (writing, Some(schema)),
        };
        let usual = Sampling { temperature: writing.temperature, ..Sampling::default() };
        // The signs of JSON are meant to come again and again.
        let sampling = if schema.is_some() { Sampling { repetition_penalty: 1.0, ..usual } } else { usual };
        Some(Self { prompt: writing.prompt.clone(), schema: schema.cloned(), max_tokens: writing.max_tokens, sampling })
    }

    /// Everything but the model and the text that an answer depends on.
    pub(super) fn identity(&self) -> String {
        serde_json::json!({
            "prompt": self.prompt, "schema": self.schema, "words": self.schema.is_some().then_some(WORDS),
            "max_tokens": self.max_tokens, "sampling": self.sampling,
        })
        .to_string()
    }

    /// Asks about each text, some at a time; what is not answered at the deadline is an error.
    pub(super) async fn ask(&self, model: &dyn Generator, texts: &[String], limit: Duration) -> Vec<Result<String, NoAnswer>> {
        let deadline = Instant::now() + limit;
        let asked = texts.iter().map(|text| async move {
            tokio::time::timeout_at(deadline, self.one(model, text)).await.unwrap_or_else(|_| Err(NoAnswer::late(limit)))
        });
        futures::stream::iter(asked).buffered(AT_ONCE).collect().await
    }

    async fn one(&self, model: &dyn Generator, text: &str) -> Result<String, NoAnswer> {
        let messages = self.messages(text)?;
        let Some(schema) = &self.schema else {
            return self.say(model, messages).await;
        };
        let asked = Structured { schema: schema.clone(), max_tokens: self.max_tokens, sampling: self.sampling.clone(), attempts: ATTEMPTS };
        match structured::ask(model, messages, &asked).await {
            Ok(fitting) => Ok(fitting.document.to_string()),
            Err(MissError::Model(error)) => Err(NoAnswer::of(&error)),
            Err(miss) => Err(NoAnswer { code: "model.schema", message: miss.to_string(), lasting: true }),
        }
    }

    fn messages(&self, text: &str) -> Result<Vec<ChatMessage>, NoAnswer> {
        let content = match &self.prompt {
            None => text.to_owned(),
            Some(prompt) => Environment::new()
                .render_str(prompt, context! { input => text })
                .map_err(|error| NoAnswer { code: "model.refused", message: format!("the prompt cannot be filled: {error}"), lasting: true })?,
        };
        let system = self.schema.as_ref().map(structured::instruction);
        Ok(system.into_iter().chain([ChatMessage { role: ChatRole::User, content }]).collect())
    }

    /// One generation, whole.
    async fn say(&self, model: &dyn Generator, messages: Vec<ChatMessage>) -> Result<String, NoAnswer> {
        let request = GenerateRequest { messages, max_tokens: self.max_tokens, stop: Vec::new(), sampling: self.sampling.clone() };
        let mut events = model.generate(request).await.map_err(|error| NoAnswer::of(&error))?;
        let mut said = String::new();
        while let Some(event) = events.next().await {
            match event.map_err(|error| NoAnswer::of(&error))? {
                GenerateEvent::Text(more) => said.push_str(&more),
                GenerateEvent::Done { .. } => return Ok(said.trim().to_owned()),
            }
        }
        Err(NoAnswer { code: "model.failed", message: "the model's answer broke off".to_owned(), lasting: false })
    }
}
