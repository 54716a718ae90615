//! Starts, watches and stops the pipeline.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ajatus_events::topic;
use ajatus_inference::Embedder;
use ajatus_kafka::{Log, LogError};
use ajatus_memory::index::PIPELINE;
use ajatus_memory::keys::KeyRing;
use ajatus_memory::postgres::{Postgres, StoreError};
use ajatus_sql::render::Models;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::apply::Sink;
use crate::companion::Job;
use crate::compact::Compactor;
use crate::feed::Feeder;
use crate::memo::{Memo, ThroughMemo, ToMemo};
use crate::status::{Meter, Status};
use crate::stream::{Built, Engine, Gathered, Mesh};

/// How the pipeline runs; how the model is called stands in `companion.sql`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeConfig {
    /// Dataflow threads. Default 1, at least 1.
    pub workers: usize,
    /// Epochs between the log and the views at most. Default 4, at least 1.
    pub max_epochs_ahead: usize,
    /// Records of one epoch at most. Default 512, at least 1.
    pub max_epoch_rows: usize,
    /// Changed rows after which the log is compacted. Default 20,000.
    pub compact_after: u64,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self { workers: 1, max_epochs_ahead: 4, max_epoch_rows: 512, compact_after: 20_000 }
    }
}

/// What the pipeline is made of.
#[derive(Clone)]
pub struct Parts {
    /// The log.
    pub log: Arc<dyn Log>,
    /// Views and books.
    pub db: Postgres,
    /// Keys.
    pub keys: KeyRing,
    /// The model that makes vectors.
    pub embedder: Arc<dyn Embedder>,
}

/// Why a pipeline could not start or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// The log cannot be read or written.
    #[error("the pipeline's log failed: {0}")]
    Log(#[from] LogError),
    /// The database cannot be used; [`StoreError::Fenced`] when another run took over.
    #[error("the pipeline's database failed: {0}")]
    Store(#[from] StoreError),
    /// The log was closed under it.
    #[error("the log was closed while the pipeline ran")]
    LogClosed,
    /// The topics do not fit together.
    #[error("topics {0:?} and {1:?} must have the same number of partitions; mend topics.toml")]
    Partitions(&'static str, &'static str),
    /// `companion.sql` is not what the program expects; the program was built wrong.
    #[error("companion.sql cannot be used: {0}")]
    Definition(String),
    /// The dataflow could not be started, or has ended.
    #[error("the dataflow failed: {0}")]
    Dataflow(String),
    /// A part ended by a panic.
    #[error("the pipeline's {0} ended unexpectedly")]
    Panic(&'static str),
    /// We were wrong.
    #[error("a bug in the pipeline: {0}")]
    Bug(&'static str),
}

impl PipelineError {
    /// Whether the same call may succeed later.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Store(error) => error.may_pass(),
            Self::Log(error) => matches!(error, LogError::Unreachable { .. } | LogError::DiskFull { .. } | LogError::Io { .. }),
            _ => false,
        }
    }
}

/// A running pipeline.
pub struct Running {
    status: watch::Receiver<Status>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    engine: Option<Arc<Mutex<Engine>>>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) memo: mpsc::UnboundedSender<ToMemo>,
}

/// Takes the pipeline over and runs it until it is stopped.
///
/// # Errors
/// [`PipelineError`] when the log or the database cannot be used.
pub async fn start(config: RuntimeConfig, parts: Parts) -> Result<Running, PipelineError> {
    let Parts { log, db, keys, embedder } = parts;
    for other in [topic::MODEL_ANSWERS, topic::MEMORY_CHANGES] {
        if log.partitions(topic::INTERACTIONS)? != log.partitions(other)? {
            return Err(PipelineError::Partitions(topic::INTERACTIONS, other));
        }
    }
    let model = Arc::clone(&embedder);
    let job = Arc::new(tokio::task::spawn_blocking(move || Job::plan(&*model)).await.map_err(|_| PipelineError::Panic("planner"))??);
    let state = db.open_pipeline(PIPELINE, &job.plan_hash).await?;
    let meter = Meter::default();
    let memo = Memo::load(Arc::clone(&log), keys.clone(), Arc::clone(&embedder), meter.clone(), state.progress).await?;

    let applied: BTreeMap<u32, u64> = state.positions.iter().copied().collect();
    let (status, watched) = watch::channel(Status {
        epoch: state.progress,
        minted: state.minted.max(state.progress),
        applied: applied.clone(),
        caught_up: state.pending.is_empty() && !state.plan_changed,
        ..Status::default()
    });
    // Unbounded because a worker may not wait; bounded all the same by `max_epochs_ahead` and `max_in_flight`.
    let (to_memo, memo_inbox) = mpsc::unbounded_channel();
    let (closed_sender, closed) = mpsc::unbounded_channel();
    let (fed_sender, fed) = mpsc::channel(config.max_epochs_ahead.max(1));
    let threads = config.workers.max(1);
    let through_memo = ThroughMemo::new(&job.pipeline.script, to_memo.clone());
    let built = Built {
        depth: Arc::default(),
        pipeline: Arc::clone(&job.pipeline),
        sources: vec![job.source.clone()],
        models: Arc::new(move || Box::new(through_memo.clone()) as Box<dyn Models>),
        outputs: job.pipeline.outputs.iter().map(|output| Arc::clone(&output.planned.node)).collect(),
    };
    let started = tokio::task::spawn_blocking(move || Engine::start(&Mesh::here(threads), Arc::new(built), closed_sender, None)).await;
    let mut engine = started.map_err(|_| PipelineError::Panic("dataflow"))?.map_err(|error| PipelineError::Dataflow(error.to_string()))?;
    // The memo ends before the dataflow does, and what it has not answered is asked again by the next start.
    engine.abandon_when_dropped();
    let engine = Arc::new(Mutex::new(engine));

    let stop = CancellationToken::new();
    let feeder = Feeder {
        log: Arc::clone(&log),
        db: db.clone(),
        keys: keys.clone(),
        meter: meter.clone(),
        job: Arc::clone(&job),
        engine: Arc::clone(&engine),
        memo: to_memo.clone(),
        fed: fed_sender,
        ahead: Arc::new(Semaphore::new(config.max_epochs_ahead.max(1))),
        stop: stop.clone(),
        pipeline: PIPELINE.to_owned(),
        generation: state.generation,
        max_epoch_rows: config.max_epoch_rows.max(1),
        next: applied.clone(),
        last: state.minted.max(state.progress).min(state.pending.last().map_or(state.progress, |row| row.epoch)),
    };
    let (running_log, running_memo) = (Arc::clone(&log), to_memo.clone());
    let sink = Sink {
        compactor: Compactor::new(Arc::clone(&log), config.compact_after, applied),
        log,
        db,
        keys,
        meter,
        memo: to_memo,
        status: status.clone(),
        pipeline: PIPELINE.to_owned(),
        gathered: Gathered::new(threads, job.outputs()),
        job,
        generation: state.generation,
        applied: state.progress,
        counts: None,
        profile_repair: crate::apply::Profiles::default(),
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(memo.run(memo_inbox));
    tasks.spawn(watched_task("feeder", feeder.run(state), status.clone(), stop.clone()));
    let sink = watched_task("sink", sink.run(closed, fed), status, stop.clone());
    let sink_stop = stop.clone();
    // Stopped between two of its steps; an epoch it was applying is committed or not, and the ledger knows.
    tasks.spawn(async move {
        tokio::select! {
            biased;
            () = sink_stop.cancelled() => {}
            () = sink => {}
        }
    });
    Ok(Running { status: watched, stop, tasks, engine: Some(engine), log: running_log, memo: running_memo })
}

/// Runs a part; when it fails, says so in the status and stops the others.
async fn watched_task(
    part: &'static str,
    work: impl Future<Output = Result<(), PipelineError>>,
    status: watch::Sender<Status>,
    stop: CancellationToken,
) {
    if let Err(error) = work.await {
        tracing::error!(%error, part, "the pipeline ended");
        status.send_modify(|status| {
            status.failure.get_or_insert(error.to_string());
        });
        stop.cancel();
    }
}

impl Running {
    /// How far it is, now and at every change.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Waits until it has failed, and says why; never returns while it runs.
    pub async fn failed(&self) -> String {
        let mut status = self.status.clone();
        let failed = status.wait_for(|status| status.failure.is_some()).await.map(|status| status.failure.clone().unwrap_or_default());
        failed.unwrap_or_else(|_| PipelineError::Panic("tasks").to_string())
    }

    /// Stops it. What was minted and not applied is applied by the next start.
    ///
    /// # Errors
    /// Why it had failed before, if it had.
    pub async fn stop(mut self) -> Result<(), PipelineError> {
        self.stop.cancel();
        // The feeder's share of the engine goes with its task.
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
        if let Some(engine) = self.engine.take() {
            // It waits for its threads.
            tokio::task::spawn_blocking(move || drop(engine)).await.map_err(|_| PipelineError::Panic("dataflow"))?;
        }
        Ok(())
    }
}
