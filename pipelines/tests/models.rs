//! Models in a run: what is asked, what is taken for an answer, what becomes of errors, and what is never asked again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use ajatus_inference::{ChatRole, FinishReason, GenerateEvent, GenerateRequest, GenerateStream, Generator, InferenceError, ModelIdentity};
use ajatus_pipelines::stream::{Backend, Backends, Report, RunConfig, RunParts, run};
use ajatus_sql::diagnostic::Source;
use ajatus_sql::pipeline::Pipeline;
use async_trait::async_trait;
use serde_json::{Value, json};

/// What the scripted model does with a request.
enum Reply {
    Says(&'static str),
    Fails(InferenceError),
    /// Nothing, for ever.
    Hangs,
}

/// A model that answers by a rule: of the request, and how often it was asked with these last words.
struct Scripted {
    identity: ModelIdentity,
    rule: fn(&GenerateRequest, usize) -> Reply,
    asked: Mutex<Vec<GenerateRequest>>,
}

impl Scripted {
    fn new(weights: &str, rule: fn(&GenerateRequest, usize) -> Reply) -> Arc<Self> {
        let identity = ModelIdentity { name: "scripted".to_owned(), weights: weights.to_owned() };
        Arc::new(Self { identity, rule, asked: Mutex::default() })
    }

    fn asked(&self) -> Vec<GenerateRequest> {
        std::mem::take(&mut self.asked.lock().expect("a lock"))
    }
}

#[async_trait]
impl Generator for Scripted {
    fn model(&self) -> &ModelIdentity {
        &self.identity
    }

    fn context_tokens(&self) -> usize {
        1_000
    }

    async fn count_tokens(&self, messages: &[ajatus_inference::ChatMessage]) -> Result<usize, InferenceError> {
        Ok(messages.iter().map(|message| message.content.split_whitespace().count()).sum())
    }

    async fn generate(&self, request: GenerateRequest) -> Result<GenerateStream, InferenceError> {
        let before = request.messages.iter().filter(|message| message.role == ChatRole::Assistant).count();
        let reply = (self.rule)(&request, before);
        self.asked.lock().expect("a lock").push(request);
        match reply {
            Reply::Says(text) => {
                let (first, second) = text.split_at_checked(text.len() / 2).unwrap_or((text, ""));
                let done = GenerateEvent::Done { reason: FinishReason::Stop, prompt_tokens: 1, completion_tokens: 2 };
                let parts = [GenerateEvent::Text(first.to_owned()), GenerateEvent::Text(second.to_owned()), done];
                Ok(Box::pin(futures::stream::iter(parts.map(Ok))))
            }
            Reply::Fails(error) => Err(error),
            Reply::Hangs => Ok(Box::pin(futures::stream::pending())),
        }
    }
}

const SCHEMA: &str = r#"{"type": "object", "properties": {"mood": {"type": "string", "enum": ["good", "bad"]}}, "required": ["mood"]}"#;

/// A pipeline over `in.jsonl` into `out.jsonl` with one model.
fn file(folder: &Path, options: &str, call: &str) -> Arc<Pipeline> {
    let sql = format!(
        "create table notes (id bigint not null, text text) with (connector = 'file', type = 'source', path = 'in.jsonl');\n\
         create model m with (provider = 'candle', name = 'scripted', {options});\n\
         create table answers (id bigint primary key, answer text) with (connector = 'file', type = 'sink', path = 'out.jsonl');\n\
         insert into answers select id, {call} from notes;\n"
    );
    let mut pipeline = Pipeline::check(Source::new("models.sql", sql)).unwrap_or_else(|errors| panic!("{errors:?}"));
    pipeline.settle(folder, &BTreeMap::new()).expect("settled");
    Arc::new(pipeline)
}

fn feed(folder: &Path, texts: &[Option<&str>]) {
    let lines: String = texts.iter().enumerate().map(|(at, text)| json!({ "id": at, "text": text }).to_string() + "\n").collect();
    std::fs::write(folder.join("in.jsonl"), lines).expect("a file");
}

/// Runs it; the answers by id, and the dead letters.
fn ran(folder: &Path, pipeline: &Arc<Pipeline>, model: &Arc<Scripted>) -> (Report, Vec<(i64, Value)>, Vec<Value>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let parts = RunParts {
        log: None,
        db: None,
        columnar: None,
        keys: None,
        backends: Backends::from([("m".to_owned(), Backend::Generator(Arc::clone(model) as Arc<dyn Generator>))]),
        handle: runtime.handle().clone(),
        print: Arc::new(|_| {}),
        stop: tokio_util::sync::CancellationToken::new(),
    };
    let config = RunConfig { state: Some(folder.join("state")), ..RunConfig::default() };
    let report = run(Arc::clone(pipeline), &config, parts, &mut |_| {}).expect("it runs");
    let read = |name: &str| {
        let text = std::fs::read_to_string(folder.join(name)).expect("a file");
        text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")).collect::<Vec<_>>()
    };
    let rows = read("out.jsonl").into_iter().map(|row| (row["id"].as_i64().expect("an id"), row["answer"].clone())).collect();
    (report, rows, read("state/dead-letters.jsonl"))
}

fn last(request: &GenerateRequest) -> &str {
    &request.messages.last().expect("a message").content
}

#[test]
fn the_prompt_the_temperature_and_the_length_reach_the_model_and_its_words_the_row() {
    let folder = tempfile::tempdir().expect("a folder");
    feed(folder.path(), &[Some("yö"), None, Some("yö")]);
    let pipeline = file(folder.path(), "task = 'generation', prompt = 'In one word: {{ input }}!', temperature = 0.5, max_tokens = 7", "generate(m, text)");
    let model = Scripted::new("w1", |_, _| Reply::Says(" night \n"));
    let (report, rows, letters) = ran(folder.path(), &pipeline, &model);
    assert_eq!((report.dead_letters, letters.len()), (0, 0));
    assert_eq!(rows, [(0, json!("night")), (1, Value::Null), (2, json!("night"))]);
    let asked = model.asked();
    assert_eq!(asked.len(), 1, "equal texts are asked once, a missing text not at all");
    assert_eq!((last(&asked[0]), asked[0].max_tokens, asked[0].sampling.temperature), ("In one word: yö!", 7, 0.5));
}

#[test]
fn a_second_run_asks_no_model_and_what_changes_the_answer_asks_again() {
    let folder = tempfile::tempdir().expect("a folder");
    feed(folder.path(), &[Some("a"), Some("b")]);
    let rule: fn(&GenerateRequest, usize) -> Reply = |request, _| Reply::Says(if last(request).contains('a') { "A" } else { "B" });
    let options = |prompt: &str, rest: &str| format!("task = 'generation', prompt = '{prompt}', {rest}");
    let first = Scripted::new("w1", rule);
    let pipeline = file(folder.path(), &options("{{ input }}.", "max_tokens = 9"), "generate(m, text)");
    let (_, rows, _) = ran(folder.path(), &pipeline, &first);
    assert_eq!(first.asked().len(), 2);
    let again = Scripted::new("w1", |_, _| Reply::Says("another"));
    assert_eq!(ran(folder.path(), &pipeline, &again).1, rows);
    assert_eq!(again.asked().len(), 0, "the memo answers");
    // Other weights, another prompt, other settings: other questions.
    let weights = Scripted::new("w2", rule);
    ran(folder.path(), &pipeline, &weights);
    assert_eq!(weights.asked().len(), 2);
    for options in [options("{{ input }}?", "max_tokens = 9"), options("{{ input }}.", "max_tokens = 10"), options("{{ input }}.", "max_tokens = 9, temperature = 1")] {
        let model = Scripted::new("w1", rule);
        ran(folder.path(), &file(folder.path(), &options, "generate(m, text)"), &model);
        assert_eq!(model.asked().len(), 2, "{options}");
    }
    // What only decides how it is asked asks nothing again.
    let model = Scripted::new("w1", rule);
    ran(folder.path(), &file(folder.path(), &options("{{ input }}.", "max_tokens = 9, max_batch_rows = 1, timeout = '5 s'"), "generate(m, text)"), &model);
    assert_eq!(model.asked().len(), 0);
}

#[test]
fn an_extraction_fits_its_schema_is_asked_again_where_it_does_not_and_is_given_up_after_three() {
    let folder = tempfile::tempdir().expect("a folder");
    feed(folder.path(), &[Some("valid"), Some("then valid"), Some("never"), Some("wrapped")]);
    let pipeline = file(folder.path(), &format!("task = 'extraction', schema = $${SCHEMA}$$"), "extract(m, text)");
    let rule: fn(&GenerateRequest, usize) -> Reply = |request, before| {
        Reply::Says(match (request.messages[1].content.as_str(), before) {
            ("valid", _) | ("then valid", 1) => r#"{"mood":"good"}"#,
            ("then valid", 0) => r#"{"mood":"fine"}"#,
            ("wrapped", _) => "Here:\n```json\n{\"mood\": \"bad\", \"why\": 1}\n```",
            _ => "I would rather not.",
        })
    };
    let model = Scripted::new("w1", rule);
    let (report, rows, letters) = ran(folder.path(), &pipeline, &model);
    assert_eq!(rows, [(0, json!(r#"{"mood":"good"}"#)), (1, json!(r#"{"mood":"good"}"#)), (3, json!(r#"{"mood":"bad","why":1}"#))]);
    assert_eq!(report.dead_letters, 1);
    assert_eq!((&letters[0]["code"], &letters[0]["message"]), (&json!("model.schema"), &json!("it is no JSON object, after 3 attempts")));
    let payload: Value = serde_json::from_str(letters[0]["payload"].as_str().expect("a payload")).expect("the row");
    assert_eq!((&payload["id"], &payload["text"]), (&json!(2), &json!("never")));
    let asked = model.asked();
    assert_eq!(asked.len(), 1 + 2 + 3 + 1);
    assert!(asked.iter().all(|request| request.messages[0].role == ChatRole::System && request.messages[0].content.contains(r#""enum":["good","bad"]"#)));
    let told = asked.iter().find(|request| request.messages[1].content == "then valid" && request.messages.len() == 4).expect("a second attempt");
    assert!(last(told).contains(r#"the answer.mood must be one of "good", "bad""#), "{}", last(told));
    // Given up is an answer too: it is not asked again.
    let again = Scripted::new("w1", rule);
    let (report, same, _) = ran(folder.path(), &pipeline, &again);
    assert_eq!((report.dead_letters, same, again.asked().len()), (1, rows, 0));
}

#[test]
fn a_batch_that_takes_too_long_and_a_broken_model_are_letters_and_asked_again_by_the_next_run() {
    let folder = tempfile::tempdir().expect("a folder");
    feed(folder.path(), &[Some("good"), Some("hangs"), Some("breaks"), Some("too long")]);
    let pipeline = file(folder.path(), "task = 'generation', timeout = '2 s'", "generate(m, text)");
    let model = Scripted::new("w1", |request, _| match last(request) {
        "hangs" => Reply::Hangs,
        "breaks" => Reply::Fails(InferenceError::Backend { reason: "out of memory".to_owned() }),
        "too long" => Reply::Fails(InferenceError::Input { reason: "the prompt has 9000 tokens".to_owned() }),
        _ => Reply::Says("fine"),
    });
    let (_, rows, letters) = ran(folder.path(), &pipeline, &model);
    assert_eq!(rows, [(0, json!("fine"))]);
    let mut said: Vec<(&str, &str)> = letters.iter().map(|letter| (letter["code"].as_str().expect("a code"), letter["message"].as_str().expect("a message"))).collect();
    said.sort_unstable();
    assert_eq!(
        said,
        [
            ("model.failed", "the model's backend failed: out of memory"),
            ("model.refused", "the model refuses the input: the prompt has 9000 tokens"),
            ("model.timeout", "no answer within 2000 ms"),
        ]
    );
    let mended = Scripted::new("w1", |_, _| Reply::Says("mended"));
    let (report, rows, _) = ran(folder.path(), &pipeline, &mended);
    assert_eq!(rows, [(0, json!("fine")), (1, json!("mended")), (2, json!("mended"))]);
    let mut asked: Vec<String> = mended.asked().iter().map(|request| last(request).to_owned()).collect();
    asked.sort_unstable();
    assert_eq!((asked, report.dead_letters), (vec!["breaks".to_owned(), "hangs".to_owned()], 1), "what the model refuses stays refused");
}
