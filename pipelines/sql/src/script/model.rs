//! `create model`: what a model is for, who runs it, and how its rows are batched.

use std::time::Duration;

use serde_json::Value;

use super::cursor::Cursor;
use super::options::Scope;
use super::settings::{Settings, fill, read, settle};
use crate::diagnostic::{Code, Diagnostic, Span};

/// A model that queries call.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Its name in queries.
    pub name: String,
    /// The whole statement.
    pub span: Span,
    /// The name in the statement.
    pub name_span: Span,
    /// What it is for.
    pub task: Task,
    /// Who runs it.
    pub provider: Provider,
    /// The name by which the provider knows it (option `name`).
    pub checkpoint: String,
    /// The directory of its weights; the platform's if none.
    pub path: Option<String>,
    /// The provider's address; the platform's if none.
    pub url: Option<String>,
    /// Tokens in one batch at most.
    pub max_batch_tokens: usize,
    /// Rows in one batch at most.
    pub max_batch_rows: usize,
    /// How long a row waits for its batch to fill.
    pub max_delay: Duration,
    /// Batches under way at the same time.
    pub max_in_flight: usize,
    /// How long a batch may take before its rows become errors.
    pub timeout: Duration,
}

/// What a model is for.
#[derive(Clone, Debug, PartialEq)]
pub enum Task {
    /// Text to a vector: `embed`.
    Embedding {
        /// Components of a vector.
        dimensions: usize,
    },
    /// Text to text: `generate`.
    Generation(Writing),
    /// Text to a JSON object: `extract`.
    Extraction {
        /// How it writes.
        writing: Writing,
        /// The JSON schema of the object.
        schema: Value,
    },
}

/// How a model writes.
#[derive(Clone, Debug, PartialEq)]
pub struct Writing {
    /// From 0, which takes the likeliest word each time, to 2.
    pub temperature: f64,
    /// Tokens of one answer at most.
    pub max_tokens: usize,
    /// A template around the input; the input alone if none.
    pub prompt: Option<String>,
}

/// Who runs a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Provider {
    /// The platform itself.
    Candle,
    /// A vLLM server.
    Vllm,
    /// An Ollama server.
    Ollama,
}

/// Reads what follows `create model`.
pub(super) fn parse(cursor: &mut Cursor<'_>, errors: &mut Vec<Diagnostic>) -> Result<Option<Model>, Diagnostic> {
    let before = errors.len();
    let name = cursor.name("a model's name")?;
    cursor.expect("with")?;
    let mut given = read(cursor)?;
    cursor.finish()?;
    // A model decides types and answers, so its options are settled before anything is planned.
    fill(&mut given, &cursor.source().settings, errors);
    let settings = settle(Scope::Model, given, &name, errors);
    if errors.len() > before {
        return Ok(None);
    }
    let checkpoint = match settings.text("name") {
        Some(checkpoint) => checkpoint,
        None if settings.text("path").is_some() => name.text.clone(),
        None => {
            let found = Diagnostic::new(Code::MissingOption, format!("\"{}\" needs the option \"name\"", name.text));
            errors.push(found.at(name.span).hint("add name = …, by which the provider knows the model"));
            String::new()
        }
    };
    let model = Model {
        span: cursor.whole(),
        name: name.text,
        name_span: name.span,
        task: task(&settings, errors),
        provider: match settings.choice("provider") {
            "vllm" => Provider::Vllm,
            "ollama" => Provider::Ollama,
            _ => Provider::Candle,
        },
        checkpoint,
        path: settings.text("path"),
        url: settings.text("url"),
        max_batch_tokens: settings.count("max_batch_tokens"),
        max_batch_rows: settings.count("max_batch_rows"),
        max_delay: settings.time("max_delay"),
        max_in_flight: settings.count("max_in_flight"),
        timeout: settings.time("timeout"),
    };
    Ok((errors.len() == before).then_some(model))
}

fn task(settings: &Settings, errors: &mut Vec<Diagnostic>) -> Task {
    let writing = Writing {
        temperature: settings.number("temperature"),
        max_tokens: settings.count("max_tokens"),
        prompt: prompt(settings, errors),
    };
    match settings.choice("task") {
        "embedding" => Task::Embedding { dimensions: settings.count("dimensions") },
        "extraction" => Task::Extraction { writing, schema: schema(settings, errors) },
        _ => Task::Generation(writing),
    }
}

/// Reads a template that reads nothing but the input.
fn prompt(settings: &Settings, errors: &mut Vec<Diagnostic>) -> Option<String> {
    let text = settings.text("prompt")?;
    let environment = minijinja::Environment::new();
    let found = match environment.template_from_str(&text) {
        Err(error) => Some(format!("the prompt does not parse: {error}")),
        Ok(template) => {
            let mut read: Vec<String> = template.undeclared_variables(false).into_iter().filter(|name| name != "input").collect();
            read.sort();
            match read.first() {
                Some(name) => Some(format!("the prompt reads {name:?}, which is not there")),
                None if template.undeclared_variables(false).is_empty() => Some("the prompt does not read the input".to_owned()),
                None => None,
            }
        }
    };
    if let Some(message) = found {
        let hint = "write {{ input }} where the text of the call belongs, such as 'In one sentence: {{ input }}'";
        errors.push(Diagnostic::new(Code::BadPrompt, message).at(settings.span("prompt")).hint(hint));
    }
    Some(text)
}

/// Reads a JSON schema that describes an object.
fn schema(settings: &Settings, errors: &mut Vec<Diagnostic>) -> Value {
    let text = settings.text("schema").unwrap_or_default();
    let (message, schema) = match serde_json::from_str::<Value>(&text) {
        Err(error) => (format!("the schema is not JSON: {error}"), Value::Null),
        Ok(schema) => {
            let object = schema.get("type").and_then(Value::as_str) == Some("object");
            if !object || !schema.get("properties").is_some_and(Value::is_object) {
                ("the schema does not describe an object with properties".to_owned(), schema)
            } else if let Err(message) = crate::schema::check(&schema) {
                (message, schema)
            } else {
                return schema;
            }
        }
    };
    let hint = r#"write it as {"type": "object", "properties": {"mood": {"type": "string"}}, "required": ["mood"]}"#;
    errors.push(Diagnostic::new(Code::BadSchema, message).at(settings.span("schema")).hint(hint));
    schema
}
