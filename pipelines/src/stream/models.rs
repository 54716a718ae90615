//! Model calls of a run: batched, answered from the memo, recorded before they are used.
//!
//! Holds always: the first recorded answer of (model with its weights, task, prompt, schema, sampling, input) is the answer, over
//! restarts; a batch that takes longer than the model's `timeout` gives errors for the rows that are not answered then.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ajatus_inference::{Embedder, Generator, ModelIdentity};
use ajatus_operators::row::{Cell, Kind, Row, Writer as RowWriter};
use ajatus_operators::{Answer, Calls, Job};
use ajatus_sql::plan::{Call, Node};
use ajatus_sql::render::{Dispatch, Models, Release};
use ajatus_sql::script::{Model, Script, Statement, Task};
use tokio::runtime::Handle;

use super::answers::{Memo, key};
use super::crash::{self, Point};
use super::error::StreamError;
use super::write::{NoAnswer, Writer};

/// Rows of one batch of a model that writes at most: an answer takes as long as thousands of vectors.
const WRITTEN_ROWS: usize = 8;

/// The file of a run folder that says which weights the models had.
const WEIGHTS: &str = "models.json";

/// Who answers for a model.
#[derive(Clone)]
pub enum Backend {
    /// Vectors.
    Embedder(Arc<dyn Embedder>),
    /// Texts, and documents of a schema.
    Generator(Arc<dyn Generator>),
}

/// Models by the name that the file gives them.
pub type Backends = BTreeMap<String, Backend>;

impl Backend {
    fn model(&self) -> &ModelIdentity {
        match self {
            Self::Embedder(embedder) => embedder.model(),
            Self::Generator(generator) => generator.model(),
        }
    }
}

/// Who answers model calls in a run.
pub(crate) struct RunModels {
    shared: Arc<Shared>,
}

struct Shared {
    asked: BTreeMap<String, Arc<Asked>>,
    memo: Mutex<Memo>,
    handle: Handle,
}

/// A model of the file, and who answers for it.
struct Asked {
    model: Model,
    backend: Option<Backend>,
    writer: Option<Writer>,
    /// All that an answer depends on but its input.
    identity: String,
}

impl Asked {
    /// `weights` are meant where no backend is connected.
    fn new(model: Model, backend: Option<Backend>, weights: Option<String>) -> Self {
        let writer = Writer::of(&model.task);
        let weights = backend.as_ref().map(|backend| backend.model().id()).or(weights).unwrap_or_default();
        let words = writer.as_ref().map(Writer::identity).unwrap_or_default();
        let identity = serde_json::json!([task(&model), weights, words]).to_string();
        Self { model, backend, writer, identity }
    }
}

fn task(model: &Model) -> &'static str {
    match model.task {
        Task::Embedding { .. } => "embed",
        Task::Generation(_) => "generate",
        Task::Extraction { .. } => "extract",
    }
}

impl RunModels {
    /// Opens the memo of a run folder; without a folder, answers are remembered while the run lasts.
    pub(crate) fn open(folder: Option<&Path>, script: &Script, backends: Backends, handle: Handle) -> Result<Self, StreamError> {
        Self::open_one_of(folder, 0, script, backends, handle)
    }

    /// As [`RunModels::open`], for one of several processes: each writes a file of its own, and knows what all have written before.
    pub(crate) fn open_one_of(folder: Option<&Path>, process: usize, script: &Script, mut backends: Backends, handle: Handle) -> Result<Self, StreamError> {
        let models = script.statements.iter().filter_map(|statement| if let Statement::Model(model) = statement { Some(model) } else { None });
        let asked: BTreeMap<String, Arc<Asked>> =
            models.map(|model| (model.name.clone(), Arc::new(Asked::new(model.clone(), backends.remove(&model.name), None)))).collect();
        // For whoever reads the memo without loading a model.
        if let Some(folder) = folder.filter(|_| process == 0 && !asked.is_empty()) {
            let weights: BTreeMap<&str, String> =
                asked.iter().filter_map(|(name, asked)| Some((name.as_str(), asked.backend.as_ref()?.model().id()))).collect();
            let path = folder.join(WEIGHTS);
            let text = serde_json::to_vec(&weights).expect("names are JSON");
            std::fs::write(&path, text).map_err(|source| StreamError::Io { path: path.display().to_string(), source })?;
        }
        let memo = match folder.filter(|_| !asked.is_empty()) {
            Some(folder) => Memo::open(folder, process)?,
            None => Memo::default(),
        };
        Ok(Self { shared: Arc::new(Shared { asked, memo: Mutex::new(memo), handle }) })
    }

    /// Answers from the memo of a run folder alone, of the models that the last run had: nothing is asked and nothing is written.
    pub(crate) fn reading(folder: Option<&Path>, script: &Script, handle: Handle) -> Result<Self, StreamError> {
        let text = folder.and_then(|folder| std::fs::read(folder.join(WEIGHTS)).ok());
        let mut weights: BTreeMap<String, String> = text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        let models = script.statements.iter().filter_map(|statement| if let Statement::Model(model) = statement { Some(model) } else { None });
        let asked = models.map(|model| (model.name.clone(), Arc::new(Asked::new(model.clone(), None, weights.remove(&model.name))))).collect();
        let mut memo = Memo::default();
        if let Some(folder) = folder {
            memo.read(folder)?;
        }
        Ok(Self { shared: Arc::new(Shared { asked, memo: Mutex::new(memo), handle }) })
    }

    /// One for another thread; all share the memo.
    pub(crate) fn another(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl Models for RunModels {
    fn calls(&self, step: &Node, call: &Call) -> Calls<Dispatch, Release> {
        let shared = Arc::clone(&self.shared);
        let asked = shared.asked.get(&call.model).cloned();
        let (max_batch, max_in_flight) = asked.as_ref().map_or((256, 2), |asked| {
            let most = if asked.writer.is_some() { WRITTEN_ROWS } else { usize::MAX };
            (asked.model.max_batch_rows.min(most), asked.model.max_in_flight)
        });
        let (name, label) = (call.model.clone(), step.label());
        Calls {
            max_batch,
            max_in_flight,
            dispatch: Box::new(move |job: Job<Row, Row>| {
                let Some(asked) = asked.clone() else {
                    let nobody = Err(format!("model.failed: the file has no model {name:?}"));
                    let answers = vec![nobody; job.requests.len()];
                    return job.answer(answers);
                };
                let (shared, label) = (Arc::clone(&shared), label.clone());
                // A blocking thread of the runtime: it syncs a file, and ends with its batch, which the dataflow waits for.
                let handle = shared.handle.clone();
                handle.spawn_blocking(move || shared.answer(&asked, &label, job));
            }),
            release: Box::new(|_, _| {}),
        }
    }
}

impl Shared {
    fn answer(&self, asked: &Asked, label: &str, job: Job<Row, Row>) {
        let clock = std::time::Instant::now();
        let keys: Vec<_> = job.requests.iter().map(|request| key(&asked.identity, request)).collect();
        let mut answers: Vec<Option<Answer<Row>>> = {
            let memo = self.memo.lock().unwrap_or_else(PoisonError::into_inner);
            keys.iter().map(|key| memo.get(key)).collect()
        };
        let open: Vec<usize> = (0..answers.len()).filter(|at| answers[*at].is_none()).collect();
        metrics::counter!("memo_hits_total", "step" => label.to_owned()).increment((answers.len() - open.len()) as u64);
        let count = open.len();
        if count > 0 {
            let fresh = self.ask(asked, open.iter().map(|at| &job.requests[*at]));
            let (lasting, given): (Vec<bool>, Vec<Answer<Row>>) = fresh
                .into_iter()
                .map(|answer| match answer {
                    Ok(row) => (true, Ok(row)),
                    Err(none) => (none.lasting, Err(none.reason())),
                })
                .unzip();
            let kept: Vec<_> = open.iter().zip(&given).zip(&lasting).filter(|(_, lasting)| **lasting).map(|((at, answer), _)| (keys[*at], answer)).collect();
            crash::point(Point::Answered);
            let recorded = self.memo.lock().unwrap_or_else(PoisonError::into_inner).record(&kept);
            crash::point(Point::Recorded);
            for (at, answer) in open.into_iter().zip(given) {
                answers[at] = Some(match &recorded {
                    Ok(()) => answer,
                    Err(error) => Err(format!("model.failed: its answer could not be recorded: {error}")),
                });
            }
            metrics::histogram!("pipeline_batch_rows", "step" => label.to_owned()).record(count as f64);
            metrics::histogram!("pipeline_batch_seconds", "step" => label.to_owned()).record(clock.elapsed().as_secs_f64());
        }
        job.answer(answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err("model.failed: no answer".to_owned()))).collect());
    }

    /// Asks about the first column of each request; where it is null nothing is asked, and nothing is answered.
    fn ask<'row>(&self, asked: &Asked, requests: impl Iterator<Item = &'row Row>) -> Vec<Result<Row, NoAnswer>> {
        let texts: Vec<Option<String>> = requests
            .map(|request| match request.reader().cell(&Kind::Text) {
                Cell::Text(text) => Some(text.into_owned()),
                _ => None,
            })
            .collect();
        let known: Vec<String> = texts.iter().flatten().cloned().collect();
        let limit = asked.model.timeout;
        let mut answered = if known.is_empty() {
            Vec::new()
        } else {
            match (&asked.backend, &asked.writer) {
                (Some(Backend::Embedder(embedder)), None) => self.handle.block_on(vectors(embedder.as_ref(), known, limit)),
                (Some(Backend::Generator(generator)), Some(writer)) => {
                    let said = self.handle.block_on(writer.ask(generator.as_ref(), &known, limit));
                    let mut row = RowWriter::new();
                    let mut text = |said: String| {
                        row.text(&said);
                        row.finish()
                    };
                    said.into_iter().map(|said| said.map(&mut text)).collect()
                }
                _ => {
                    let message = format!("nobody is connected who does {}({}, …)", task(&asked.model), asked.model.name);
                    vec![Err(NoAnswer { code: "model.failed", message, lasting: false }); known.len()]
                }
            }
        }
        .into_iter();
        let mut nothing = RowWriter::new();
        texts
            .into_iter()
            .map(|text| match text {
                None => {
                    nothing.null();
                    Ok(nothing.finish())
                }
                Some(_) => answered.next().unwrap_or_else(|| {
                    Err(NoAnswer { code: "model.failed", message: "the model gave fewer answers than it was asked for".to_owned(), lasting: false })
                }),
            })
            .collect()
    }
}

/// The vectors of texts.
async fn vectors(embedder: &dyn Embedder, texts: Vec<String>, limit: Duration) -> Vec<Result<Row, NoAnswer>> {
    let count = texts.len();
    let embedded = match tokio::time::timeout(limit, embedder.embed(texts)).await {
        Ok(Ok(embedded)) => embedded,
        Ok(Err(error)) => return vec![Err(NoAnswer::of(&error)); count],
        Err(_) => return vec![Err(NoAnswer::late(limit)); count],
    };
    let mut row = RowWriter::new();
    embedded
        .into_iter()
        .map(|vector| {
            let vector = vector.map_err(|error| NoAnswer::of(&error))?;
            if !vector.iter().all(|component| component.is_finite()) {
                return Err(NoAnswer { code: "model.refused", message: "its vector holds a value that is not finite".to_owned(), lasting: true });
            }
            row.vector(vector);
            Ok(row.finish())
        })
        .collect()
}
