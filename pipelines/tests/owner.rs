//! A model's answer has an owner: equal texts of two owners are two requests, and of one owner one.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ajatus_inference::{Embedder, Embedding, InferenceError, ModelIdentity};
use ajatus_pipelines::stream::{Backend, Report, RunConfig, RunParts, run};
use ajatus_sql::diagnostic::{Diagnostics, Source};
use ajatus_sql::pipeline::Pipeline;
use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

/// Counts what it is asked.
struct Counting {
    model: ModelIdentity,
    asked: AtomicUsize,
    texts: Mutex<Vec<String>>,
}

#[async_trait]
impl Embedder for Counting {
    fn model(&self) -> &ModelIdentity {
        &self.model
    }

    fn dimension(&self) -> usize {
        2
    }

    async fn embed(&self, texts: Vec<String>) -> Result<Vec<Result<Embedding, InferenceError>>, InferenceError> {
        self.asked.fetch_add(texts.len(), Ordering::SeqCst);
        self.texts.lock().expect("a lock").extend(texts.iter().cloned());
        Ok(texts.iter().map(|_| Ok(vec![0.6, 0.8])).collect())
    }
}

const NOTES: &str = r#"{"id": 1, "who": "aino", "said": "hei"}
{"id": 2, "who": "aino", "said": "hei"}
{"id": 3, "who": "eino", "said": "hei"}
{"id": 4, "who": "eino", "said": "moi"}
{"id": 5, "said": "hei"}
{"id": 6, "who": "eino"}
"#;

fn planned(folder: &Path, call: &str) -> Pipeline {
    let sql = format!(
        "create table notes (id bigint not null, who text, said text) with (connector = 'file', type = 'source', path = 'notes.jsonl');
         create model m with (task = 'embedding', provider = 'candle', name = 'counting', dimensions = 2);
         create table vectors (id bigint primary key, vector vector(2)) with (connector = 'file', type = 'sink', path = 'vectors.jsonl');
         insert into vectors select id, {call} from notes;"
    );
    let source = Source::new("notes.sql", sql);
    let mut pipeline = Pipeline::check(source.clone()).unwrap_or_else(|found| panic!("{}", Diagnostics(found).render(&source)));
    pipeline.settle(folder, &std::collections::BTreeMap::new()).expect("no settings");
    pipeline
}

/// Runs over the notes; how often the model was asked, and the file that came of it.
fn asked(call: &str, workers: usize, runs: usize) -> (usize, String) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("notes.jsonl"), NOTES).expect("written");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let model = Arc::new(Counting { model: ModelIdentity { name: "counting".into(), weights: "0".into() }, asked: AtomicUsize::new(0), texts: Mutex::default() });
    for _ in 0..runs {
        let parts = RunParts {
            log: None,
            db: None,
            columnar: None,
            keys: None,
            backends: [("m".to_owned(), Backend::Embedder(Arc::clone(&model) as Arc<dyn Embedder>))].into(),
            handle: runtime.handle().clone(),
            print: Arc::new(|_| {}),
            stop: CancellationToken::new(),
        };
        let config = RunConfig { workers, epoch_rows: 2, state: Some(folder.path().join("state")), ..RunConfig::default() };
        let report: Report = run(Arc::new(planned(folder.path(), call)), &config, parts, &mut |_| {}).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(report.dead_letters, 0);
    }
    assert!(model.texts.lock().expect("a lock").iter().all(|text| text == "hei" || text == "moi"), "the owner is not sent");
    (model.asked.load(Ordering::SeqCst), std::fs::read_to_string(folder.path().join("vectors.jsonl")).expect("the sink's file"))
}

#[test]
fn equal_texts_of_two_owners_are_two_requests_and_of_one_owner_one() {
    let (shared, rows) = asked("embed(m, said)", 1, 1);
    assert_eq!((shared, rows.lines().count()), (2, 6), "hei and moi, whoever said them");
    for workers in [1, 2] {
        // Aino's hei, Eino's hei and moi, and the hei that is nobody's; a row without a text asks nothing.
        let (owned, owned_rows) = asked("embed(m, said, who)", workers, 1);
        assert_eq!(owned, 4, "{workers} workers");
        assert_eq!(owned_rows, rows, "the answers are those of the texts");
    }
}

#[test]
fn an_owners_answer_is_found_again_after_a_restart() {
    assert_eq!(asked("embed(m, said, who)", 1, 3).0, 4);
}

#[test]
fn an_owner_may_be_computed_and_a_fourth_argument_is_refused() {
    assert_eq!(asked("embed(m, said || '', lower(who))", 1, 1).0, 4);
    let source = Source::new(
        "a.sql",
        "create table t (a text) with (connector = 'memory', type = 'source');
         create model m with (task = 'embedding', provider = 'candle', name = 'x');
         create view v as select embed(m, a, a, a) as b from t;",
    );
    let found = Pipeline::check(source.clone()).expect_err("refused");
    assert!(Diagnostics(found.clone()).render(&source).contains("a.sql:3"), "{found:?}");
}
