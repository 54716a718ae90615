//! Random histories against a batch oracle: `ajatus eval histories`.
//!
//! Every history is a user of its own. Turns are said, edited, forgotten, said late, sent twice and out of order; homes change, and with them
//! what depends on them; profiles are corrected. After every epoch the state that the companion's own dataflow keeps (memories with their
//! vectors, counts, profile, edits) is compared with one made from scratch of what is alive, exactly; words of what is gone are searched for
//! in it; and the model's calls are counted.
//!
//! Holds always: one seed gives one run. The dataflow is the real one, without log and database: their part is tested where they are.

mod make;
mod state;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ajatus_inference::{Embedder, Embedding, InferenceError, ModelIdentity};
use ajatus_operators::Calls;
use ajatus_operators::row::{Cell, Kind, Row, Writer};
use ajatus_sql::plan::{Call, Node};
use ajatus_sql::render::{Dispatch, Models, Release};
use async_trait::async_trait;
use serde::Serialize;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::companion::Job;
use crate::runtime::PipelineError;
use crate::stream::{Built, Closed, Engine, Gathered, Mesh, Payload};
use make::History;
use state::State;

/// Components of the vectors that stand in for a model's.
const DIMENSION: usize = 4;
/// Histories of one dataflow at a time.
const BLOCK: u64 = 500;

/// How many histories, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoriesConfig {
    /// Histories.
    pub histories: u64,
    /// Records of each.
    pub records: usize,
    /// Epochs that they come in.
    pub epochs: u64,
    /// Seed.
    pub seed: u64,
    /// Threads of the dataflow.
    pub workers: usize,
}

impl Default for HistoriesConfig {
    fn default() -> Self {
        Self { histories: 100_000, records: 20, epochs: 6, seed: 1, workers: 2 }
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct HistoriesReport {
    /// Histories run.
    pub histories: u64,
    /// Records fed.
    pub records: u64,
    /// States compared: one per history and epoch.
    pub compared: u64,
    /// States that differed from the oracle's.
    pub differences: u64,
    /// Words of forgotten or edited turns that were still in some state.
    pub residue: u64,
    /// States in which a fact that depends on a changed one was, or was not, stale against the expectation.
    pub cascade_errors: u64,
    /// Facts expected to be stale.
    pub stale: u64,
    /// Older facts that were current again because the newer one went.
    pub restored: u64,
    /// Histories whose end depended on the order in which they came.
    pub order_errors: u64,
    /// Texts that the model was asked for.
    pub model_calls: u64,
    /// Epochs that took records back and said nothing new.
    pub retractions: u64,
    /// Texts that the model was asked for in those.
    pub retraction_calls: u64,
    /// Seconds.
    pub seconds: f64,
    /// The first difference, for people.
    pub first: Option<String>,
}

impl HistoriesReport {
    /// Whether nothing was wrong.
    #[must_use]
    pub fn sound(&self) -> bool {
        self.differences + self.residue + self.cascade_errors + self.order_errors + self.retraction_calls == 0
    }
}

/// Runs them. Blocks; `progress` hears how many are done.
///
/// # Errors
/// [`PipelineError`] if the dataflow cannot be started or ends.
pub fn run_histories(config: HistoriesConfig, mut progress: impl FnMut(u64)) -> Result<HistoriesReport, PipelineError> {
    let clock = Instant::now();
    let mut report = HistoriesReport::default();
    let job = Arc::new(Job::plan(&Hashed)?);
    let mut first = 0;
    while first < config.histories {
        let count = BLOCK.min(config.histories - first);
        block(&job, config, first, count, &mut report)?;
        first += count;
        progress(first);
    }
    report.histories = config.histories;
    report.seconds = clock.elapsed().as_secs_f64();
    Ok(report)
}

fn block(job: &Arc<Job>, config: HistoriesConfig, first: u64, count: u64, report: &mut HistoriesReport) -> Result<(), PipelineError> {
    let failed = |error: crate::stream::StreamError| PipelineError::Dataflow(error.to_string());
    let asked = Arc::new(AtomicU64::new(0));
    let models = Asks(Arc::clone(&asked));
    let built = Built {
        depth: Arc::default(),
        pipeline: Arc::clone(&job.pipeline),
        sources: vec![job.source.clone()],
        models: Arc::new(move || Box::new(models.clone()) as Box<dyn Models>),
        outputs: job.pipeline.outputs.iter().map(|output| Arc::clone(&output.planned.node)).collect(),
    };
    let (sender, mut closed) = unbounded_channel();
    let workers = config.workers.max(1);
    let mut engine = Engine::start(&Mesh::here(workers), Arc::new(built), sender, None).map_err(failed)?;
    let mut gathered = Gathered::new(workers, job.outputs());
    // Every history comes a second time, to another user, in another order.
    let mut histories: Vec<History> = (first..first + count).flat_map(|number| History::pair(config, number)).collect();
    let mut state = State::default();
    let mut offset = 0;
    // The last epochs only take back: one of a part, one of the rest.
    for epoch in 1..=config.epochs + 2 {
        let before = asked.load(Ordering::SeqCst);
        let retraction = epoch > config.epochs;
        let mut said = Vec::new();
        for history in &mut histories {
            history.epoch(epoch, config.epochs, &mut |key, turn| {
                said.push((key, offset, turn));
                offset += 1;
            });
        }
        report.records += said.len() as u64;
        engine.records(epoch, 0, Payload::Rows(job.rows(said))).map_err(failed)?;
        engine.close(epoch).map_err(failed)?;
        wait(&mut closed, &mut gathered, epoch)?;
        state.apply(job, gathered.take(epoch))?;
        if retraction {
            report.retractions += 1;
            report.retraction_calls += asked.load(Ordering::SeqCst) - before;
        }
        for history in &histories {
            compare(history, &state, epoch, report);
        }
        if epoch == config.epochs {
            order(&histories, &state, report);
        }
    }
    report.model_calls += asked.load(Ordering::SeqCst);
    if state.rows() > 0 {
        report.residue += state.rows() as u64;
        report.first.get_or_insert_with(|| format!("{} rows are left when everything was taken back", state.rows()));
    }
    Ok(())
}

fn wait(closed: &mut UnboundedReceiver<Closed>, gathered: &mut Gathered, epoch: u64) -> Result<(), PipelineError> {
    while !gathered.complete(epoch) {
        let news = closed.blocking_recv().ok_or_else(|| PipelineError::Dataflow("a worker has ended".to_owned()))?;
        gathered.hear(news);
    }
    Ok(())
}

fn compare(history: &History, state: &State, epoch: u64, report: &mut HistoriesReport) {
    report.compared += 1;
    let (kept, should) = (state.of(history.user), history.oracle());
    if kept != should {
        report.differences += 1;
        report.first.get_or_insert_with(|| {
            let (extra, missing): (Vec<_>, Vec<_>) = (kept.difference(&should).collect(), should.difference(&kept).collect());
            format!("history {} after epoch {epoch}: kept but not in the oracle {extra:?}, in the oracle but not kept {missing:?}", history.number)
        });
    }
    let residue = history.gone().filter(|word| kept.iter().any(|row| row.contains(word.as_str()))).count() as u64;
    if residue > 0 {
        report.residue += residue;
        report.first.get_or_insert_with(|| format!("history {} after epoch {epoch}: words of what is gone are still there", history.number));
    }
    let cascade = history.cascade(&kept);
    report.stale += cascade.stale;
    report.restored += cascade.restored;
    if let Some(wrong) = cascade.wrong {
        report.cascade_errors += 1;
        report.first.get_or_insert_with(|| format!("history {} after epoch {epoch}: {wrong}", history.number));
    }
}

/// The two tellings of a history end in the same state, but for whose it is.
fn order(histories: &[History], state: &State, report: &mut HistoriesReport) {
    for pair in histories.chunks(2) {
        let [one, other] = pair else { continue };
        let told = |history: &History| -> BTreeSet<String> { state.of(history.user).into_iter().collect() };
        if told(one) != told(other) {
            report.order_errors += 1;
            report.first.get_or_insert_with(|| format!("history {} ends differently when it comes in another order", one.number));
        }
    }
}

/// Stands in for the model where the job is planned.
struct Hashed;

#[async_trait]
impl Embedder for Hashed {
    fn model(&self) -> &ModelIdentity {
        static MODEL: std::sync::LazyLock<ModelIdentity> = std::sync::LazyLock::new(|| ModelIdentity { name: "hash".into(), weights: "0".into() });
        &MODEL
    }

    fn dimension(&self) -> usize {
        DIMENSION
    }

    async fn embed(&self, texts: Vec<String>) -> Result<Vec<Result<Embedding, InferenceError>>, InferenceError> {
        Ok(texts.iter().map(|text| Ok(vector(text))).collect())
    }
}

/// A vector that only the text decides.
fn vector(text: &str) -> Vec<f32> {
    blake3::hash(text.as_bytes()).as_bytes().iter().take(DIMENSION).map(|byte| f32::from(*byte) / 256.0).collect()
}

/// Answers at once, and counts.
#[derive(Clone)]
struct Asks(Arc<AtomicU64>);

impl Models for Asks {
    fn calls(&self, _step: &Node, _call: &Call) -> Calls<Dispatch, Release> {
        let asked = Arc::clone(&self.0);
        Calls {
            max_batch: 256,
            max_in_flight: 2,
            dispatch: Box::new(move |job: ajatus_operators::Job<Row, Row>| {
                asked.fetch_add(job.requests.len() as u64, Ordering::SeqCst);
                let answers = job.requests.iter().map(|request| {
                    let cells = request.cells(&[Kind::Text, Kind::Text]);
                    let mut out = Writer::new();
                    out.vector(vector(if let Cell::Text(text) = &cells[0] { text } else { "" }));
                    Ok(out.finish())
                });
                let answers = answers.collect();
                job.answer(answers);
            }),
            release: Box::new(|_, _| {}),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A history after two epochs, and a state that holds just what it should.
    fn kept() -> (History, State) {
        let config = HistoriesConfig { histories: 1, records: 40, epochs: 2, seed: 3, workers: 1 };
        let [mut history, _] = History::pair(config, 0);
        (1..=2).for_each(|epoch| history.epoch(epoch, 2, &mut |_, _| {}));
        let rows = history.oracle();
        let user = history.user;
        (history, State::holding(user, rows))
    }

    fn compared(history: &History, state: &State) -> HistoriesReport {
        let mut report = HistoriesReport::default();
        compare(history, state, 2, &mut report);
        report
    }

    #[test]
    fn a_row_too_few_a_row_too_many_and_a_word_of_what_is_gone_are_seen() {
        let (history, state) = kept();
        assert!(compared(&history, &state).sound());
        let rows = state.of(history.user);
        let less = State::holding(history.user, rows.iter().skip(1).cloned().collect());
        assert_eq!(compared(&history, &less).differences, 1);
        let gone = history.gone().next().expect("something was taken back or said anew").clone();
        let more = State::holding(history.user, rows.iter().cloned().chain([format!("profile use {gone}")]).collect());
        let found = compared(&history, &more);
        assert!(found.differences == 1 && found.residue == 1 && !found.sound(), "{found:?}");
    }
}
