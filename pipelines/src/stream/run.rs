//! One run: reader, dataflow and sinks, from the ledger's state to the sources' end.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ajatus_kafka::Log;
use ajatus_memory::keys::KeyRing;
use ajatus_memory::postgres::Postgres;
use ajatus_operators::Told;
use ajatus_operators::relational::FAULT;
use ajatus_operators::row::{Cell, Row};
use ajatus_sql::pipeline::Pipeline;
use ajatus_sql::render::Models;
use ajatus_sql::script::{BadData, Table};
use serde::Serialize;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::StreamError;
use super::crash::{self, Point};
use super::engine::{Built, Engine, News};
use super::ledger::{Book, Ledger, Minted};
use super::models::{Embedders, RunModels};
use super::read::{Batch, Reader, wait};
use super::sink::{Delta, Outside, Sink, consolidated};
use super::snapshot::{Draft, Offsets, Snapshots};

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
    /// Time between two snapshots at least; one that took long waits ten times as long as it took. Default 30 s; zero: none.
    pub snapshot_every: Duration,
    /// Epochs between two snapshots, instead of a time. Default none.
    pub snapshot_epochs: Option<u64>,
    /// Reads a range first, at a bounded rate. Default none.
    pub backfill: Option<Backfill>,
}

/// A range that is read before what is live. What is not named begins at the beginning and ends where the source ends when the run begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backfill {
    /// `source -> partition -> first offset`.
    pub from: BTreeMap<String, BTreeMap<u32, u64>>,
    /// `source -> partition -> offset after the last`.
    pub to: BTreeMap<String, BTreeMap<u32, u64>>,
    /// Records a second at most, of all sources together.
    pub rows_per_second: Option<u32>,
    /// Ends there instead of going on with what is live.
    pub stop: bool,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self { name: "pipeline".to_owned(), workers: 1, epoch_rows: 10_000, max_epochs_ahead: 8, state: None, bounded: false, snapshot_every: Duration::from_secs(30), snapshot_epochs: None, backfill: None }
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
    pub embedders: Embedders,
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
    /// Whether a backfill is under way.
    pub backfilling: bool,
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
    /// The epoch of the snapshot that the run began from; 0 if it began from nothing.
    pub snapshot: u64,
    /// Epochs of earlier runs that were read again.
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
    backfilling: AtomicBool,
}

/// What the sink side is told, in order.
enum Fed {
    /// An epoch was fed.
    Epoch(u64),
    /// A snapshot is made of an epoch that was fed: how far it had read.
    Snapshot(u64, Offsets),
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
    let (mut ledger, book) = match &config.state {
        Some(folder) => {
            let (ledger, book) = Ledger::open(folder, &pipeline.hash)?;
            (Some(ledger), book)
        }
        None => (None, Book::default()),
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
    let models = RunModels::open(config.state.as_deref(), &pipeline.script, parts.embedders.clone(), parts.handle.clone())?;
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
    // Everything that every remembering sink has is fed as one time, unless a snapshot has it.
    let mut applied = sinks.iter().map(Sink::applied).collect::<Result<Vec<_>, _>>()?;
    let snapshots = config.state.as_ref().map(|state| Snapshots::of(state, &pipeline.hash, &outside.ledger));
    let mut loaded = snapshots.as_ref().and_then(|snapshots| snapshots.newest(book.last(), &progress(&sinks, &applied)));
    if loaded.is_none() && book.base > 0 {
        return Err(StreamError::Unsupported {
            what: format!("the ledger begins after epoch {}, and there is no snapshot that can be read and that every sink has", book.base),
            hint: "give the run another folder with --state, and its tables another name: it begins anew".to_owned(),
        });
    }
    let mut dead_letters = BTreeMap::new();
    if let Some(loaded) = &mut loaded {
        // What a sink was not told of up to the snapshot held nothing for it.
        applied.iter_mut().flatten().for_each(|applied| *applied = loaded.epoch.max(*applied));
        for (output, sink) in pipeline.outputs.iter().zip(&mut sinks) {
            sink.resume(loaded.sink(&output.table.name));
        }
        dead_letters.extend(loaded.sink(LETTERS));
    }
    let everywhere = applied.iter().flatten().min().copied();
    let shares = loaded.as_mut().map(|loaded| loaded.shares(workers, false)).transpose()?;
    let engine = Engine::start(workers, Arc::new(built), closed_sender, shares)?;
    let start = loaded.map_or_else(Start::default, |loaded| Start { epoch: loaded.epoch, offsets: loaded.offsets });
    let replayed = book.last().saturating_sub(start.epoch);
    let base = everywhere.unwrap_or_else(|| book.last()).min(book.last());
    let busy = Arc::new(AtomicBool::new(false));
    let saving = Saving {
        on: snapshots.is_some(),
        every: config.snapshot_every,
        epochs: config.snapshot_epochs,
        busy: Arc::clone(&busy),
        oldest: Arc::default(),
        begun: Instant::now(),
        last: start.epoch,
    };
    let oldest = Arc::clone(&saving.oldest);
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
        saving,
        backfill: config.backfill.clone(),
    };
    let total: u64 = feeder.readers.iter().map(|(_, reader)| reader.size()).sum();
    let feeding = std::thread::Builder::new()
        .name("pipeline-reader".to_owned())
        .spawn({
            let start = start.clone();
            move || feeder.run(ledger.as_mut(), &book, &start, base)
        })
        .map_err(|source| StreamError::Io { path: "a thread".to_owned(), source })?;
    let mut collector = Collector {
        sinks: &mut sinks,
        applied,
        waiting: BTreeMap::new(),
        reached: vec![vec![Some(0); pipeline.outputs.len() + 1]; workers],
        strict,
        dead_letters,
        letters: config.state.as_ref().map(|folder| folder.join("dead-letters.jsonl")),
        letters_changed: true,
        changes: 0,
        drafts: Drafts { snapshots, workers, busy, oldest, draft: None, begun: Instant::now() },
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
        snapshot: start.epoch,
        replayed,
        dead_letters: dead_letters.values().map(|count| count.unsigned_abs() as u64).sum(),
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// How far the sinks are that remember it, by name.
fn progress(sinks: &[Sink], applied: &[Option<u64>]) -> BTreeMap<String, u64> {
    let known = sinks.iter().zip(applied).filter_map(|(sink, applied)| Some((sink.name()?.to_owned(), (*applied)?)));
    known.collect()
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
    saving: Saving,
    backfill: Option<Backfill>,
}

/// Where a run begins: what a snapshot has.
#[derive(Clone, Debug, Default)]
struct Start {
    epoch: u64,
    offsets: Offsets,
}

/// When snapshots are made.
struct Saving {
    on: bool,
    every: Duration,
    epochs: Option<u64>,
    /// One is being made.
    busy: Arc<AtomicBool>,
    /// The epoch of the oldest one that is kept.
    oldest: Arc<AtomicU64>,
    begun: Instant,
    last: u64,
}

impl Saving {
    fn due(&self, epoch: u64) -> bool {
        if !self.on || self.busy.load(Ordering::SeqCst) {
            return false;
        }
        match self.epochs {
            Some(epochs) => epoch.saturating_sub(self.last) >= epochs.max(1),
            None => !self.every.is_zero() && self.begun.elapsed() >= self.every,
        }
    }
}

impl Feeder {
    /// Feeds what was minted before and is in no snapshot, then what is new; returns the last epoch.
    fn run(mut self, mut ledger: Option<&mut Ledger>, book: &Book, start: &Start, base: u64) -> Result<u64, StreamError> {
        let mut last = start.epoch;
        let rows: Vec<&Minted> = book.minted.iter().filter(|row| row.epoch > start.epoch).collect();
        let (old, rest) = rows.split_at(rows.partition_point(|row| row.epoch <= base));
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
        let mut offsets = start.offsets.clone();
        for row in rows {
            last = row.epoch;
            row.reach(&mut offsets);
        }
        self.begin_backfill(&mut offsets)?;
        for (name, reader) in &mut self.readers {
            reader.seek(offsets.get(name).unwrap_or(&BTreeMap::new()))?;
        }
        let mut paced = Instant::now();
        let mut measured = Instant::now();
        while !self.stop.is_cancelled() {
            let mut batches: Vec<(usize, Batch)> = Vec::new();
            let mut ranges: BTreeMap<String, BTreeMap<u32, (u64, u64)>> = BTreeMap::new();
            let rate = self.backfill.as_ref().and_then(|backfill| backfill.rows_per_second);
            let epoch_rows = rate.map_or(self.epoch_rows, |rate| self.epoch_rows.min(rate.div_ceil(10) as usize).max(1));
            for (source, (name, reader)) in self.readers.iter_mut().enumerate() {
                let mut left = epoch_rows;
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
            if batches.is_empty() && self.backfill.is_some() {
                // All of the range is read: what comes now is live.
                let backfill = self.backfill.take().unwrap_or_default();
                self.counters.backfilling.store(false, Ordering::SeqCst);
                tracing::info!(epoch = last, offsets = ?offsets, "the backfill is done");
                if backfill.stop {
                    break;
                }
                self.readers.iter_mut().for_each(|(_, reader)| reader.until(None));
                continue;
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
            crash::point(Point::Read);
            let minted = match &mut ledger {
                Some(ledger) => ledger.mint(ranges)?,
                None => Minted { epoch: last + 1, ranges },
            };
            let epoch = minted.epoch;
            minted.reach(&mut offsets);
            last = epoch;
            crash::point(Point::Minted);
            self.counters.minted.store(epoch, Ordering::SeqCst);
            if !self.place(epoch) {
                break;
            }
            let records: u64 = batches.iter().map(|(_, batch)| batch.records).sum();
            for (source, batch) in batches {
                self.counters.rows.fetch_add(batch.records, Ordering::Relaxed);
                if self.readers[source].1.bounded() {
                    self.counters.read.fetch_add(batch.to - batch.from, Ordering::Relaxed);
                }
                self.engine.records(epoch, source, batch.payload)?;
                crash::point(Point::Fed);
            }
            if self.saving.due(epoch) {
                self.save(epoch, &offsets)?;
            }
            self.engine.close(epoch)?;
            crash::point(Point::Closed);
            self.pace(records, &mut paced);
            if let Some(ledger) = &mut ledger {
                ledger.shorten(self.saving.oldest.load(Ordering::SeqCst))?;
            }
        }
        // A stream that is stopped goes on from here, however long it has run.
        let endless = !self.bounded && self.readers.iter().any(|(_, reader)| !reader.bounded());
        if endless && self.saving.on && last > self.saving.last && !self.saving.busy.load(Ordering::SeqCst) {
            self.save(last, &offsets)?;
        }
        Ok(last)
    }

    /// Names the range that is read first: what an earlier run has read of it is not read again.
    fn begin_backfill(&mut self, offsets: &mut Offsets) -> Result<(), StreamError> {
        let Some(backfill) = &self.backfill else { return Ok(()) };
        let wrong = |what: String, hint: String| StreamError::Unsupported { what, hint };
        let sources: Vec<&str> = self.readers.iter().map(|(name, _)| name.as_str()).collect();
        if let Some(other) = backfill.from.keys().chain(backfill.to.keys()).find(|name| !sources.contains(&name.as_str())) {
            return Err(wrong(format!("the backfill names source {other:?}"), format!("the file reads {}", sources.join(", "))));
        }
        for (name, reader) in &mut self.readers {
            let bounds = reader.bounds()?;
            let (from, to) = (backfill.from.get(name), backfill.to.get(name));
            let named = [from, to].into_iter().flatten().flat_map(BTreeMap::keys);
            if let Some(other) = named.copied().find(|partition| !bounds.contains_key(partition)) {
                return Err(wrong(format!("the backfill names partition {other} of {name:?}"), format!("it has {} partitions", bounds.len())));
            }
            let at = offsets.entry(name.clone()).or_default();
            let mut until = BTreeMap::new();
            for (partition, (start, end)) in bounds {
                let first = from.and_then(|from| from.get(&partition)).copied().unwrap_or(start);
                if first < start && !at.contains_key(&partition) {
                    return Err(StreamError::Gap { place: name.clone(), wanted: first, first: start });
                }
                at.entry(partition).or_insert(first);
                until.insert(partition, to.and_then(|to| to.get(&partition)).copied().unwrap_or(end));
            }
            reader.until(Some(&until));
        }
        self.counters.backfilling.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// Waits so that a backfill reads no faster than it may. What was slow is not made up for by more than a second.
    fn pace(&self, records: u64, paced: &mut Instant) {
        let Some(rate) = self.backfill.as_ref().and_then(|backfill| backfill.rows_per_second) else { return };
        let now = Instant::now();
        *paced = (*paced).max(now.checked_sub(Duration::from_secs(1)).unwrap_or(now)) + Duration::from_secs_f64(records as f64 / f64::from(rate.max(1)));
        let pause = paced.saturating_duration_since(now);
        self.handle.block_on(async {
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        });
    }

    /// Asks for a snapshot of an epoch after which nothing was fed.
    fn save(&mut self, epoch: u64, offsets: &Offsets) -> Result<(), StreamError> {
        self.saving.busy.store(true, Ordering::SeqCst);
        (self.saving.last, self.saving.begun) = (epoch, Instant::now());
        // The sinks hear of it before any thread can give its part.
        if self.fed.send(Fed::Snapshot(epoch, offsets.clone())).is_ok() {
            self.engine.save(epoch)?;
        }
        Ok(())
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
        self.places.send(()).is_ok() && self.fed.send(Fed::Epoch(epoch)).is_ok()
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

/// What waits until its epoch is complete.
struct Queued {
    epoch: u64,
    snapshot: bool,
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
    changes: u64,
    drafts: Drafts,
}

/// The part of a snapshot that holds the dead letters.
const LETTERS: &str = "dead letters";

/// Snapshots being made, one at a time. One that fails is given up with a warning: the run does without.
struct Drafts {
    snapshots: Option<Snapshots>,
    workers: usize,
    busy: Arc<AtomicBool>,
    oldest: Arc<AtomicU64>,
    draft: Option<Draft>,
    begun: Instant,
}

impl Drafts {
    fn begin(&mut self, epoch: u64, offsets: Offsets) {
        let Some(snapshots) = &self.snapshots else { return };
        self.begun = Instant::now();
        let draft = snapshots.draft(epoch, offsets, self.workers);
        self.draft = self.or_without(draft);
    }

    fn take(&mut self, worker: usize, told: Told) {
        let Some(mut draft) = self.draft.take() else { return };
        let taken = draft.take(worker, told).map(|()| draft);
        self.draft = self.or_without(taken);
        self.finish();
    }

    fn finish(&mut self) {
        let Some(draft) = self.draft.take_if(|draft| draft.whole()) else { return };
        let finished = draft.finish();
        if let Some(manifest) = self.or_without(finished) {
            metrics::histogram!("pipeline_snapshot_seconds").record(self.begun.elapsed().as_secs_f64());
            tracing::info!(epoch = manifest.epoch, duration_ms = self.begun.elapsed().as_millis() as u64, "a snapshot was made");
            let kept = self.snapshots.as_ref().and_then(|snapshots| snapshots.list().first().map(|oldest| oldest.epoch));
            self.oldest.store(kept.unwrap_or_default(), Ordering::SeqCst);
            self.busy.store(false, Ordering::SeqCst);
        }
    }

    fn or_without<T>(&self, made: Result<T, StreamError>) -> Option<T> {
        made.inspect_err(|error| {
            tracing::warn!(%error, "a snapshot could not be made; the next one is tried in its turn");
            self.busy.store(false, Ordering::SeqCst);
        })
        .ok()
    }
}

impl Collector<'_> {
    fn run(
        &mut self,
        closed: &Receiver<News>,
        fed: &Receiver<Fed>,
        freed: &Receiver<()>,
        counters: &Counters,
        total: u64,
        tell: &mut dyn FnMut(&Progress),
    ) -> Result<(), StreamError> {
        let mut queue: VecDeque<Queued> = VecDeque::new();
        let (mut told, mut shown) = (Instant::now(), Instant::now());
        let mut epoch = 0;
        loop {
            match closed.recv_timeout(Duration::from_millis(250)) {
                Ok(News::Closed(news)) => {
                    for (output, time, changes) in news.changes {
                        self.waiting.entry(time).or_default().entry(output).or_default().extend(changes);
                    }
                    self.reached[news.worker] = news.frontiers;
                }
                Ok(News::Kept { worker, told }) => {
                    // What was fed before is heard before.
                    self.hear(fed, &mut queue);
                    self.drafts.take(worker, told);
                }
                // Nothing new: time to show what there is.
                Err(RecvTimeoutError::Timeout) => {}
                // The last worker has ended.
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.hear(fed, &mut queue);
            while queue.front().is_some_and(|front| self.complete(front.epoch)) {
                let Some(front) = queue.pop_front() else { break };
                epoch = front.epoch;
                if self.take(front)? {
                    // Frees a place; the reader may have ended.
                    freed.try_recv().ok();
                }
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
                    backfilling: counters.backfilling.load(Ordering::Relaxed),
                };
                metrics::gauge!("pipeline_epoch_lag").set(progress.epochs_ahead as f64);
                tell(&progress);
            }
        }
        self.hear(fed, &mut queue);
        for front in queue {
            if !self.complete(front.epoch) {
                return Err(StreamError::Dataflow("it ended before it was through".to_owned()));
            }
            self.take(front)?;
        }
        Ok(())
    }

    /// Takes in what the reader has told. A snapshot is begun at once: the threads give their parts when they like.
    fn hear(&mut self, fed: &Receiver<Fed>, queue: &mut VecDeque<Queued>) {
        while let Ok(next) = fed.try_recv() {
            queue.push_back(match next {
                Fed::Epoch(epoch) => Queued { epoch, snapshot: false },
                Fed::Snapshot(epoch, offsets) => {
                    self.drafts.begin(epoch, offsets);
                    Queued { epoch, snapshot: true }
                }
            });
        }
    }

    /// Applies an epoch, or gives what the sinks hold; whether it was an epoch.
    fn take(&mut self, queued: Queued) -> Result<bool, StreamError> {
        if !queued.snapshot {
            crash::point(Point::Through);
            self.apply(queued.epoch)?;
            crash::point(Point::Applied);
            return Ok(true);
        }
        let Some(mut draft) = self.drafts.draft.take() else { return Ok(false) };
        let letters: Box<dyn Iterator<Item = (&Row, isize)>> = Box::new(self.dead_letters.iter().map(|(row, count)| (row, *count)));
        let held = self.sinks.iter().filter_map(Sink::held).chain([(LETTERS.to_owned(), letters)]);
        let applied = self.sinks.iter().map(Sink::applied).collect::<Result<Vec<_>, _>>()?;
        let taken = draft.sinks(progress(self.sinks, &applied), held).map(|()| draft);
        self.drafts.draft = self.drafts.or_without(taken);
        self.drafts.finish();
        Ok(false)
    }

    /// Makes visible what was applied: files are written, and dead letters can be read.
    fn show(&mut self) -> Result<(), StreamError> {
        for sink in self.sinks.iter_mut() {
            sink.flush()?;
        }
        if let Some(path) = self.letters.as_ref().filter(|_| self.letters_changed) {
            write_letters(path, &self.dead_letters)?;
            self.letters_changed = false;
        }
        Ok(())
    }

    fn complete(&self, epoch: u64) -> bool {
        self.reached.iter().flatten().all(|frontier| frontier.is_none_or(|frontier| epoch < frontier))
    }

    fn apply(&mut self, epoch: u64) -> Result<(), StreamError> {
        // Rows that are always there were said before the first epoch.
        let later = self.waiting.split_off(&(epoch + 1));
        let mut changes: BTreeMap<usize, Delta> = BTreeMap::new();
        for (output, delta) in std::mem::replace(&mut self.waiting, later).into_values().flatten() {
            match changes.entry(output) {
                Entry::Vacant(place) => drop(place.insert(delta)),
                Entry::Occupied(mut held) => held.get_mut().extend(delta),
            }
        }
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
            let history = self.applied[output].is_some_and(|applied| applied >= epoch);
            sink.apply(epoch, delta, history)?;
            crash::point(Point::BetweenSinks);
        }
        Ok(())
    }
}

/// The dead letters of a run folder: one JSON document a line.
fn write_letters(path: &std::path::Path, letters: &BTreeMap<Row, isize>) -> Result<(), StreamError> {
    let io = |source| StreamError::Io { path: path.display().to_string(), source };
    let mut text = String::new();
    for (row, count) in letters {
        let cells: Vec<String> = row
            .cells(&FAULT)
            .into_iter()
            .map(|cell| match cell {
                Cell::Text(text) => text.into_owned(),
                Cell::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                _ => String::new(),
            })
            .collect();
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
