//! One run: reader, dataflow and sinks, from the ledger's state to the sources' end.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ajatus_kafka::Log;
use ajatus_memory::keys::KeyRing;
use ajatus_memory::postgres::Postgres;
use ajatus_operators::relational::FAULT;
use ajatus_operators::row::{Cell, Row};
use ajatus_sql::pipeline::Pipeline;
use ajatus_sql::plan::Step;
use ajatus_sql::record::json_line;
use ajatus_sql::render::Models;
use ajatus_sql::script::{BadData, Table};
use arrow::datatypes::DataType;
use serde::Serialize;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::StreamError;
use super::engine::{Built, Closed, Engine};
use super::ledger::{Ledger, Minted};
use super::models::{Backends, RunModels};
use super::read::{Batch, Reader, wait};
use super::sink::{Delta, Outside, Sink, consolidated};

/// How a pipeline runs.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// The pipeline's name, which tables in Postgres remember. Default `pipeline`.
    pub name: String,
    /// Dataflow threads. Default 1, at least 1.
    pub workers: usize,
    /// Records of one epoch per source at most. Default 10,000, at least 1.
    pub epoch_rows: usize,
    /// Epochs between the reader and the sinks at most. Default 8, at least 1.
    pub max_epochs_ahead: usize,
    /// Folder of the ledger and the memo; `None` keeps nothing: a run over files can be run again from the start.
    pub state: Option<PathBuf>,
    /// Ends when topics are read to where they end now, instead of waiting for more.
    pub bounded: bool,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self { name: "pipeline".to_owned(), workers: 1, epoch_rows: 10_000, max_epochs_ahead: 8, state: None, bounded: false }
    }
}

/// What a run may use of the outside world.
#[derive(Clone)]
pub struct RunParts {
    /// The platform's log.
    pub log: Option<Arc<dyn Log>>,
    /// The platform's database.
    pub db: Option<Postgres>,
    /// The keys of what is sealed.
    pub keys: Option<KeyRing>,
    /// Models by the name in the file.
    pub backends: Backends,
    /// Where asynchronous parts run.
    pub handle: Handle,
    /// Takes the lines of `stdout` sinks.
    pub print: Arc<dyn Fn(String) + Send + Sync>,
    /// Cancelled from outside: the run ends between two epochs.
    pub stop: CancellationToken,
}

/// How far a run is, told now and then.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Progress {
    /// Records fed.
    pub rows: u64,
    /// Changes that sinks took.
    pub changes: u64,
    /// The last epoch that is in the sinks.
    pub epoch: u64,
    /// Epochs fed and not yet in the sinks.
    pub epochs_ahead: u64,
    /// Bytes and rows of bounded sources read, and in all.
    pub read: (u64, u64),
    /// Records in topics behind the ones read.
    pub lag: u64,
    /// Rows in dead letters.
    pub dead_letters: u64,
}

/// What a run did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Records that were new; those of replayed epochs are not counted.
    pub rows: u64,
    /// Changes that sinks took.
    pub changes: u64,
    /// The last epoch.
    pub epochs: u64,
    /// Epochs that an earlier run had minted.
    pub replayed: u64,
    /// Rows in dead letters at the end.
    pub dead_letters: u64,
    /// Wall-clock time.
    pub seconds: f64,
}

/// Counters that both sides of a run move.
#[derive(Default)]
struct Counters {
    rows: AtomicU64,
    read: AtomicU64,
    lag: AtomicU64,
    minted: AtomicU64,
}

/// What the sink side is told of an epoch, in order.
struct Fed {
    epoch: u64,
}

/// Runs a pipeline; blocks until its sources end, `stop` is cancelled, or something fails. `tell` hears how far it is.
///
/// # Errors
/// [`StreamError`]. What was applied stays; the next run goes on from the ledger.
pub fn run(pipeline: Arc<Pipeline>, config: &RunConfig, parts: RunParts, tell: &mut dyn FnMut(&Progress)) -> Result<Report, StreamError> {
    let started = Instant::now();
    let mut sources: Vec<(Table, Vec<usize>)> = Vec::new();
    let mut readers: Vec<(String, Reader)> = Vec::new();
    for (name, columns) in pipeline.required() {
        let Some(table) = pipeline.table(&name) else { continue };
        readers.push((name, Reader::open(table, &columns, parts.log.as_ref(), parts.keys.as_ref(), &parts.handle)?));
        sources.push((table.clone(), columns));
    }
    let (mut ledger, before) = match &config.state {
        Some(folder) => {
            let (ledger, before) = Ledger::open(folder, &pipeline.hash)?;
            (Some(ledger), before)
        }
        None => (None, Vec::new()),
    };
    let outside = Outside {
        log: parts.log.clone(),
        db: parts.db.clone(),
        handle: parts.handle.clone(),
        print: Arc::clone(&parts.print),
        pipeline: config.name.clone(),
        ledger: ledger.as_ref().map_or_else(|| uuid::Uuid::now_v7().to_string(), Ledger::id),
        state: config.state.clone(),
    };
    let mut sinks = pipeline.outputs.iter().map(|output| Sink::open(output, &outside)).collect::<Result<Vec<_>, _>>()?;
    let models = RunModels::open(config.state.as_deref(), &pipeline.script, parts.backends.clone(), parts.handle.clone())?;
    let models = Mutex::new(models);
    let built = Built {
        pipeline: Arc::clone(&pipeline),
        outputs: pipeline.outputs.iter().map(|output| Arc::clone(&output.planned.node)).collect(),
        sources,
        models: Arc::new(move || Box::new(models.lock().unwrap_or_else(PoisonError::into_inner).another()) as Box<dyn Models>),
    };
    let strict: Vec<String> =
        built.sources.iter().filter(|(table, _)| table.bad_data == BadData::Fail).map(|(table, _)| format!("source {}", table.name)).collect();
    let (closed_sender, closed) = channel();
    let workers = config.workers.max(1);
    let engine = Engine::start(workers, Arc::new(built), closed_sender)?;
    // Everything that every remembering sink has is fed as one time.
    let applied = sinks.iter().map(Sink::applied).collect::<Result<Vec<_>, _>>()?;
    let replayed = before.len() as u64;
    let base = applied.iter().flatten().min().copied().unwrap_or(replayed).min(replayed);
    let (places, freed) = sync_channel(config.max_epochs_ahead.max(1));
    let (fed_sender, fed) = channel();
    let counters = Arc::new(Counters::default());
    let feeder = Feeder {
        engine,
        readers,
        epoch_rows: config.epoch_rows.max(1),
        bounded: config.bounded,
        places,
        fed: fed_sender,
        counters: Arc::clone(&counters),
        stop: parts.stop.clone(),
        handle: parts.handle.clone(),
    };
    let total: u64 = feeder.readers.iter().map(|(_, reader)| reader.size()).sum();
    let feeding = std::thread::Builder::new()
        .name("pipeline-reader".to_owned())
        .spawn(move || feeder.run(ledger.as_mut(), &before, base))
        .map_err(|source| StreamError::Io { path: "a thread".to_owned(), source })?;
    let mut collector = Collector {
        sinks: &mut sinks,
        applied,
        waiting: BTreeMap::new(),
        reached: vec![vec![Some(0); pipeline.outputs.len() + 1]; workers],
        strict,
        dead_letters: BTreeMap::new(),
        letters: config.state.as_ref().map(|folder| folder.join("dead-letters.jsonl")),
        letters_changed: true,
        callers: callers(&pipeline),
        changes: 0,
    };
    let collected = collector.run(&closed, &fed, &freed, &counters, total, tell);
    if collected.is_err() {
        parts.stop.cancel();
    }
    drop((closed, freed));
    let last = feeding.join().map_err(|_| StreamError::Dataflow("the reader ended unexpectedly".to_owned()))?;
    collected?;
    let last = last?;
    collector.show()?;
    let (changes, dead_letters) = (collector.changes, collector.dead_letters);
    Ok(Report {
        rows: counters.rows.load(Ordering::SeqCst),
        changes,
        epochs: last,
        replayed,
        dead_letters: dead_letters.values().map(|count| count.unsigned_abs() as u64).sum(),
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// The side that reads and feeds.
struct Feeder {
    engine: Engine,
    readers: Vec<(String, Reader)>,
    epoch_rows: usize,
    bounded: bool,
    places: SyncSender<()>,
    fed: Sender<Fed>,
    counters: Arc<Counters>,
    stop: CancellationToken,
    handle: Handle,
}

impl Feeder {
    /// Feeds what was minted before, then what is new; returns the last epoch.
    fn run(mut self, mut ledger: Option<&mut Ledger>, before: &[Minted], base: u64) -> Result<u64, StreamError> {
        let mut last = 0;
        let (old, rest) = before.split_at(usize::try_from(base).unwrap_or(usize::MAX).min(before.len()));
        if !old.is_empty() && self.place(base) {
            for row in old {
                self.again(row, base)?;
            }
            self.engine.close(base)?;
        }
        for row in rest {
            if !self.place(row.epoch) {
                return Ok(last);
            }
            self.again(row, row.epoch)?;
            self.engine.close(row.epoch)?;
        }
        let mut offsets: BTreeMap<String, BTreeMap<u32, u64>> = BTreeMap::new();
        for row in before {
            last = row.epoch;
            for (source, partitions) in &row.ranges {
                offsets.entry(source.clone()).or_default().extend(partitions.iter().map(|(partition, (_, to))| (*partition, *to)));
            }
        }
        for (name, reader) in &mut self.readers {
            reader.seek(offsets.get(name).unwrap_or(&BTreeMap::new()))?;
        }
        let mut measured = Instant::now();
        while !self.stop.is_cancelled() {
            let mut batches: Vec<(usize, Batch)> = Vec::new();
            let mut ranges: BTreeMap<String, BTreeMap<u32, (u64, u64)>> = BTreeMap::new();
            for (source, (name, reader)) in self.readers.iter_mut().enumerate() {
                let mut left = self.epoch_rows;
                while left > 0 {
                    let read = reader.read(left)?;
                    if read.is_empty() {
                        break;
                    }
                    for batch in read {
                        let count = usize::try_from(batch.records).unwrap_or(usize::MAX);
                        left = left.saturating_sub(count.max(1));
                        let range = ranges.entry(name.clone()).or_default().entry(batch.partition).or_insert((batch.from, batch.to));
                        range.1 = batch.to;
                        batches.push((source, batch));
                    }
                }
            }
            if batches.is_empty() {
                if self.readers.iter().all(|(_, reader)| reader.bounded()) || self.bounded {
                    break;
                }
                self.counters.lag.store(0, Ordering::SeqCst);
                wait(&mut self.readers, &self.handle, &self.stop);
                continue;
            }
            // A broker is asked over the network: not for every epoch.
            if measured.elapsed() > Duration::from_secs(1) {
                measured = Instant::now();
                self.measure_lag()?;
            }
            let epoch = match &mut ledger {
                Some(ledger) => ledger.mint(ranges)?.epoch,
                None => last + 1,
            };
            last = epoch;
            self.counters.minted.store(epoch, Ordering::SeqCst);
            if !self.place(epoch) {
                break;
            }
            for (source, batch) in batches {
                self.counters.rows.fetch_add(batch.records, Ordering::Relaxed);
                if self.readers[source].1.bounded() {
                    self.counters.read.fetch_add(batch.to - batch.from, Ordering::Relaxed);
                }
                self.engine.records(epoch, source, batch.payload)?;
            }
            self.engine.close(epoch)?;
        }
        Ok(last)
    }

    /// Counts the records behind the ones read.
    fn measure_lag(&self) -> Result<(), StreamError> {
        let mut lag = 0;
        for (_, reader) in &self.readers {
            if let Reader::Topic(topic) = reader {
                lag += topic.lag()?;
            }
        }
        self.counters.lag.store(lag, Ordering::SeqCst);
        Ok(())
    }

    /// Waits for a place between reader and sinks, and tells the sinks of the epoch; `false` if they are gone.
    fn place(&self, epoch: u64) -> bool {
        self.places.send(()).is_ok() && self.fed.send(Fed { epoch }).is_ok()
    }

    /// Reads an epoch's offsets again and feeds them at `epoch`.
    fn again(&mut self, row: &Minted, epoch: u64) -> Result<(), StreamError> {
        for (source, (name, reader)) in self.readers.iter_mut().enumerate() {
            let Some(partitions) = row.ranges.get(name) else { continue };
            for (partition, (from, to)) in partitions {
                let engine = &mut self.engine;
                reader.again(*partition, *from, *to, &mut |payload| engine.records(epoch, source, payload))?;
            }
        }
        Ok(())
    }
}

/// The side that takes what closes.
struct Collector<'run> {
    sinks: &'run mut [Sink],
    /// Per sink: what it had when the run began.
    applied: Vec<Option<u64>>,
    /// Changes of epochs that are not complete: per epoch, per output.
    waiting: BTreeMap<u64, BTreeMap<usize, Delta>>,
    /// Per worker and output: every epoch below is complete.
    reached: Vec<Vec<Option<u64>>>,
    strict: Vec<String>,
    dead_letters: BTreeMap<Row, isize>,
    /// Where they are written, and whether they have changed since.
    letters: Option<PathBuf>,
    letters_changed: bool,
    callers: Callers,
    changes: u64,
}

impl Collector<'_> {
    fn run(
        &mut self,
        closed: &Receiver<Closed>,
        fed: &Receiver<Fed>,
        freed: &Receiver<()>,
        counters: &Counters,
        total: u64,
        tell: &mut dyn FnMut(&Progress),
    ) -> Result<(), StreamError> {
        let mut queue: std::collections::VecDeque<Fed> = std::collections::VecDeque::new();
        let (mut told, mut shown) = (Instant::now(), Instant::now());
        let mut epoch = 0;
        loop {
            match closed.recv_timeout(Duration::from_millis(250)) {
                Ok(news) => {
                    for (output, time, changes) in news.changes {
                        self.waiting.entry(time).or_default().entry(output).or_default().extend(changes);
                    }
                    self.reached[news.worker] = news.frontiers;
                }
                // Nothing new: time to show what there is.
                Err(RecvTimeoutError::Timeout) => {}
                // The last worker has ended.
                Err(RecvTimeoutError::Disconnected) => break,
            }
            while let Ok(next) = fed.try_recv() {
                queue.push_back(next);
            }
            while queue.front().is_some_and(|front| self.complete(front.epoch)) {
                let Some(front) = queue.pop_front() else { break };
                epoch = front.epoch;
                self.apply(&front)?;
                // Frees a place; the reader may have ended.
                freed.try_recv().ok();
            }
            // A stream never ends: about once a second, what was applied is made visible.
            if shown.elapsed() > Duration::from_secs(1) {
                shown = Instant::now();
                self.show()?;
            }
            if told.elapsed() > Duration::from_millis(200) {
                told = Instant::now();
                let progress = Progress {
                    rows: counters.rows.load(Ordering::Relaxed),
                    changes: self.changes,
                    epoch,
                    epochs_ahead: counters.minted.load(Ordering::Relaxed).saturating_sub(epoch),
                    read: (counters.read.load(Ordering::Relaxed), total),
                    lag: counters.lag.load(Ordering::Relaxed),
                    dead_letters: self.dead_letters.len() as u64,
                };
                metrics::gauge!("pipeline_epoch_lag").set(progress.epochs_ahead as f64);
                tell(&progress);
            }
        }
        while let Ok(next) = fed.try_recv() {
            queue.push_back(next);
        }
        for front in queue {
            if !self.complete(front.epoch) {
                return Err(StreamError::Dataflow("it ended before it was through".to_owned()));
            }
            self.apply(&front)?;
        }
        Ok(())
    }

    /// Makes visible what was applied: files are written, and dead letters can be read.
    fn show(&mut self) -> Result<(), StreamError> {
        for sink in self.sinks.iter_mut() {
            sink.flush()?;
        }
        if let Some(path) = self.letters.as_ref().filter(|_| self.letters_changed) {
            write_letters(path, &self.dead_letters, &self.callers)?;
            self.letters_changed = false;
        }
        Ok(())
    }

    fn complete(&self, epoch: u64) -> bool {
        self.reached.iter().flatten().all(|frontier| frontier.is_none_or(|frontier| epoch < frontier))
    }

    fn apply(&mut self, fed: &Fed) -> Result<(), StreamError> {
        let mut changes = self.waiting.remove(&fed.epoch).unwrap_or_default();
        let faults = consolidated(changes.remove(&self.sinks.len()).unwrap_or_default());
        for (row, diff) in faults {
            let cells = row.cells(&FAULT);
            if let (Cell::Text(step), Cell::Text(message)) = (&cells[0], &cells[2])
                && diff > 0
                && self.strict.iter().any(|strict| strict == step)
            {
                return Err(StreamError::BadData { step: step.to_string(), message: message.to_string() });
            }
            self.letters_changed = true;
            let count = self.dead_letters.entry(row).or_default();
            *count += diff;
        }
        self.dead_letters.retain(|_, count| *count != 0);
        for (output, sink) in self.sinks.iter_mut().enumerate() {
            let Some(delta) = changes.remove(&output) else { continue };
            self.changes += delta.len() as u64;
            // A sink that remembers nothing takes everything, also what it had once.
            let history = self.applied[output].is_some_and(|applied| applied >= fed.epoch);
            sink.apply(fed.epoch, delta, history)?;
        }
        Ok(())
    }
}

/// Per step that calls a model: names and types of the rows that come in, which are what caused its faults.
type Callers = BTreeMap<String, (Vec<String>, Vec<DataType>)>;

fn callers(pipeline: &Pipeline) -> Callers {
    let mut all = Callers::new();
    let mut seen = std::collections::BTreeSet::new();
    for node in pipeline.nodes() {
        node.walk(&mut seen, &mut |node| {
            if let Step::Infer { input, .. } = &node.step {
                all.insert(node.label(), (input.names.clone(), input.types.clone()));
            }
        });
    }
    all
}

/// The dead letters of a run folder: one JSON document a line.
fn write_letters(path: &std::path::Path, letters: &BTreeMap<Row, isize>, callers: &Callers) -> Result<(), StreamError> {
    let io = |source| StreamError::Io { path: path.display().to_string(), source };
    let mut text = String::new();
    for (row, count) in letters {
        let mut cells: Vec<String> = row
            .cells(&FAULT)
            .into_iter()
            .map(|cell| match cell {
                Cell::Text(text) => text.into_owned(),
                Cell::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                _ => String::new(),
            })
            .collect();
        if let (Some((names, types)), Cell::Bytes(cause)) = (callers.get(&cells[0]), &row.cells(&FAULT)[4]) {
            cells[4] = json_line(&Row::from_bytes(cause), names, types);
        }
        let letter = serde_json::json!({
            "step": cells[0], "code": cells[1], "message": cells[2], "origin": cells[3], "payload": cells[4], "attempt": 1, "count": count,
        });
        text.push_str(&letter.to_string());
        text.push('\n');
    }
    let beside = path.with_extension("jsonl.new");
    std::fs::write(&beside, text).map_err(io)?;
    std::fs::rename(&beside, path).map_err(io)
}
