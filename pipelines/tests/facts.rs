//! `pipelines/facts.sql`'s steps over rows that come and go: after every epoch what is kept is what a batch over the living rows gives.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use ajatus_facts::{ground, read};
use ajatus_inference::facts::{PROMPT, SCHEMA, TEMPLATE};
use ajatus_inference::{ChatMessage, FinishReason, GenerateEvent, GenerateRequest, GenerateStream, Generator, InferenceError, ModelIdentity};
use ajatus_pipelines::stream::{Backend, Backends, Report, RunConfig, RunParts, run};
use ajatus_sql::diagnostic::Source;
use ajatus_sql::pipeline::Pipeline;
use async_trait::async_trait;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

/// What is said, with and without facts, in both languages.
const TEXTS: [&str; 12] = [
    "I live in Helsinki and I like tea.",
    "I moved from Turku to Oulu in 2019.",
    "Asun Tampereella ja olen töissä Nokialla.",
    "En pidä enää kahvista, mutta pidän teestä.",
    "My daughter Ella is 5 and we have a cat named Mustikka.",
    "Menen huomenna hammaslääkäriin.",
    "I have a dentist appointment next Friday.",
    "Do I live in Paris?",
    "My friend says \"I live in Paris\".",
    "Jos asuisin Pariisissa, olisin iloinen.",
    "",
    "Hello there, how are you doing on this fine day?",
];

/// Reads every text as a home in a town and a liking: some of it is there, some is not.
struct Reader {
    identity: ModelIdentity,
    asked: Mutex<usize>,
}

const ANSWER: &str = r#"{"facts":[{"attribute":"home","value":"Helsinki"},{"attribute":"likes","value":"tea","confidence":60},{"attribute":"plan","value":"hammaslääkäriin","when":"huomenna"}]}"#;

#[async_trait]
impl Generator for Reader {
    fn model(&self) -> &ModelIdentity {
        &self.identity
    }

    fn context_tokens(&self) -> usize {
        8_192
    }

    async fn count_tokens(&self, messages: &[ChatMessage]) -> Result<usize, InferenceError> {
        Ok(messages.len())
    }

    async fn generate(&self, request: GenerateRequest) -> Result<GenerateStream, InferenceError> {
        assert!(request.messages[1].content.starts_with("List what the speaker says"), "{}", request.messages[1].content);
        *self.asked.lock().expect("a lock") += 1;
        let done = GenerateEvent::Done { reason: FinishReason::Stop, prompt_tokens: 1, completion_tokens: 1 };
        Ok(Box::pin(futures::stream::iter([Ok(GenerateEvent::Text(ANSWER.to_owned())), Ok(done)])))
    }
}

/// The committed file with a signed source and a file as its sink: turns come and go by a sign.
fn pipeline(folder: &Path) -> Arc<Pipeline> {
    let committed = std::fs::read_to_string("facts.sql").expect("the file of the platform");
    let begin = committed.find("create table interactions").expect("its source");
    let views = committed.find("create view said").expect("its views");
    let end = committed.find("-- test:").expect("its tests");
    let part = |from, to| committed.get(from..to).expect("whole letters");
    let sql = format!(
        "{}create table interactions (user_id text not null, id text not null, role text not null, occurred_at timestamp not null, text text not null, sign bigint not null)\n\
         with (connector = 'file', type = 'source', path = 'in.jsonl', changelog = 'signed', diff_column = 'sign');\n{}{}",
        part(0, begin),
        part(begin, views).split_once(";\n").expect("its sink").1.replace("connector = 'stdout'", "connector = 'file', path = 'out.jsonl'"),
        part(views, end),
    );
    let settings = BTreeMap::from([("FACTS_PROMPT".to_owned(), TEMPLATE.to_owned()), ("FACTS_SCHEMA".to_owned(), SCHEMA.to_owned())]);
    let source = Source::new("facts.sql", sql).with_settings(settings.clone());
    let mut pipeline = Pipeline::check(source).unwrap_or_else(|errors| panic!("{errors:?}"));
    pipeline.settle(folder, &settings).expect("settled");
    Arc::new(pipeline)
}

fn ran(folder: &Path, pipeline: &Arc<Pipeline>, model: &Arc<Reader>) -> Report {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let parts = RunParts {
        log: None,
        db: None,
        columnar: None,
        keys: None,
        backends: Backends::from([("reader".to_owned(), Backend::Generator(Arc::clone(model) as Arc<dyn Generator>))]),
        handle: runtime.handle().clone(),
        print: Arc::new(|_| {}),
        stop: tokio_util::sync::CancellationToken::new(),
    };
    let config = RunConfig { state: Some(folder.join("state")), workers: 2, ..RunConfig::default() };
    run(Arc::clone(pipeline), &config, parts, &mut |_| {}).expect("it runs")
}

type Turn = (String, String, i64, &'static str);

/// Every fact of the living turns, computed here: source, turn, attribute, value, from, rule.
fn batch(turns: &BTreeSet<Turn>) -> Vec<String> {
    let mut all = Vec::new();
    for (_, id, at_us, text) in turns {
        let asked = text.chars().count() >= 20;
        let model = if asked { ground(ANSWER, text, *at_us, PROMPT, "reader").expect("the form") } else { Vec::new() };
        for (source, fact) in read(text, *at_us).into_iter().map(|fact| ("rules", fact)).chain(model.into_iter().map(|fact| ("model", fact))) {
            let from = fact.valid_from_us.and_then(chrono::DateTime::from_timestamp_micros).map(|at| at.date_naive().to_string());
            all.push(format!("{source} {id} {} {} {} {} {from:?} {}..{} {} {}", fact.attribute, fact.value, fact.about, fact.polarity.as_str(), fact.start, fact.end, fact.rule, fact.version));
        }
    }
    all.sort();
    all
}

fn kept(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("out.jsonl")).expect("the sink");
    let mut all: Vec<String> = text
        .lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line).expect("JSON");
            let word = |name: &str| row[name].as_str().expect(name).to_owned();
            let from = row["valid_from"].as_str().map(|from| from.chars().take(10).collect::<String>());
            let [source, turn, attribute, value, about, polarity, rule, version] = ["source", "turn", "attribute", "value", "about", "polarity", "rule", "version"].map(word);
            format!("{source} {turn} {attribute} {value} {about} {polarity} {from:?} {}..{} {rule} {version}", row["span_start"], row["span_end"])
        })
        .collect();
    all.sort();
    all
}

#[test]
fn rules_and_a_model_side_by_side_hold_what_the_living_turns_say_after_every_epoch() {
    let mut random = StdRng::seed_from_u64(3);
    let model = Arc::new(Reader { identity: ModelIdentity { name: "reader".into(), weights: "1".into() }, asked: Mutex::default() });
    let mut shown = 0;
    for _ in 0..6 {
        let folder = tempfile::tempdir().expect("a folder");
        let pipeline = pipeline(folder.path());
        let mut living: BTreeSet<Turn> = BTreeSet::new();
        let mut said = String::new();
        for epoch in 0..4 {
            let mut line = |turn: &Turn, sign: i64| {
                let at = chrono::DateTime::from_timestamp_micros(turn.2).expect("a time");
                said.push_str(&json!({ "user_id": turn.0, "id": turn.1, "role": "user", "occurred_at": at, "text": turn.3, "sign": sign }).to_string());
                said.push('\n');
            };
            for change in 0..random.random_range(1..14) {
                let gone = living.iter().nth(random.random_range(0..living.len().max(1))).filter(|_| random.random_bool(0.45)).cloned();
                if let Some(turn) = gone {
                    living.remove(&turn);
                    line(&turn, -1);
                } else {
                    let user = ["aino", "eino"].choose(&mut random).expect("a user");
                    let at_us = 1_772_625_600_000_000 + random.random_range(0..400_i64) * 86_400_000_000;
                    let turn = ((*user).to_owned(), format!("{epoch}-{change}"), at_us, *TEXTS.choose(&mut random).expect("a text"));
                    line(&turn, 1);
                    living.insert(turn);
                }
            }
            if epoch == 3 {
                living.iter().for_each(|turn| line(turn, -1));
                living.clear();
            }
            std::fs::write(folder.path().join("in.jsonl"), &said).expect("a file");
            let report = ran(folder.path(), &pipeline, &model);
            assert_eq!(report.dead_letters, 0);
            assert_eq!(kept(folder.path()), batch(&living), "{said}");
            shown += batch(&living).len();
        }
    }
    assert!(shown > 30, "{shown} facts: the histories show nothing");
    assert!(*model.asked.lock().expect("a lock") > 0);
}
