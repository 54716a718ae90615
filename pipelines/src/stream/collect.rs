//! The side of a run that takes what the dataflow says: sinks, dead letters, snapshots.
//!
//! Holds always: epochs reach the sinks in order and whole; a snapshot has the sinks with its epoch applied and none after it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use ajatus_operators::Told;
use ajatus_operators::relational::FAULT;
use ajatus_operators::row::{Cell, Row};

use super::config::{Counters, Progress};
use super::crash::{self, Point};
use super::engine::News;
use super::error::StreamError;
use super::feed::Fed;
use super::meter::{Depth, Meter};
use super::replay::{Callers, write_letters};
use super::sink::{Delta, Sink, consolidated};
use super::snapshot::{Draft, Offsets, Snapshots};

/// How far the sinks are that remember it, by name.
pub(super) fn progress(sinks: &[Sink], applied: &[Option<u64>]) -> BTreeMap<String, u64> {
    let known = sinks.iter().zip(applied).filter_map(|(sink, applied)| Some((sink.name()?.to_owned(), (*applied)?)));
    known.collect()
}

/// What waits until its epoch is complete.
pub(super) struct Queued {
    epoch: u64,
    snapshot: bool,
}

/// The side that takes what closes.
pub(super) struct Collector<'run> {
    pub(super) sinks: &'run mut [Sink],
    /// Per sink: what it had when the run began.
    pub(super) applied: Vec<Option<u64>>,
    /// Changes of epochs that are not complete: per epoch, per output.
    pub(super) waiting: BTreeMap<u64, BTreeMap<usize, Delta>>,
    /// Per worker and output: every epoch below is complete.
    pub(super) reached: Vec<Vec<Option<u64>>>,
    pub(super) strict: Vec<String>,
    pub(super) dead_letters: BTreeMap<Row, isize>,
    /// Where they are written, and whether they have changed since.
    pub(super) letters: Option<PathBuf>,
    pub(super) letters_changed: bool,
    pub(super) ledger: String,
    pub(super) callers: Callers,
    /// Names of the sinks.
    pub(super) names: Vec<String>,
    pub(super) meter: Meter,
    pub(super) depth: Arc<Depth>,
    /// Epochs up to here were minted by earlier runs; what they give is not counted again.
    pub(super) replayed: u64,
    /// Where letters are replayed from, and how long the file was.
    pub(super) replays: (Option<PathBuf>, u64),
    pub(super) changes: u64,
    pub(super) drafts: Drafts,
}

/// The part of a snapshot that holds the dead letters.
pub(super) const LETTERS: &str = "dead letters";

/// Snapshots being made, one at a time. One that fails is given up with a warning: the run does without.
pub(super) struct Drafts {
    pub(super) snapshots: Option<Snapshots>,
    pub(super) workers: usize,
    /// Threads of all processes.
    pub(super) peers: usize,
    pub(super) busy: Arc<AtomicBool>,
    pub(super) oldest: Arc<AtomicU64>,
    pub(super) draft: Option<Draft>,
    pub(super) begun: Instant,
}

impl Drafts {
    fn begin(&mut self, epoch: u64, offsets: Offsets) {
        let Some(snapshots) = &self.snapshots else { return };
        self.begun = Instant::now();
        let draft = snapshots.draft(epoch, offsets, self.workers, self.peers);
        self.draft = self.or_without(draft);
    }

    fn take(&mut self, worker: usize, told: Told) {
        let Some(mut draft) = self.draft.take() else { return };
        let taken = draft.take(worker, told).map(|()| draft);
        self.draft = self.or_without(taken);
        self.finish();
    }

    /// Gives up the snapshot of an epoch, if it is the one being made.
    fn lost(&mut self, epoch: u64, reason: String) {
        if self.draft.take_if(|draft| draft.epoch() == epoch).is_some() {
            self.or_without::<()>(Err(StreamError::Cluster { reason }));
        }
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
    pub(super) fn run(
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
                Ok(News::Stored { epoch, worker, file }) => {
                    self.hear(fed, &mut queue);
                    if let Some(draft) = &mut self.drafts.draft {
                        draft.stored(epoch, worker, file);
                    }
                    self.drafts.finish();
                }
                Ok(News::Lost { epoch, reason }) => {
                    self.hear(fed, &mut queue);
                    self.drafts.lost(epoch, reason);
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
                self.meter.progress(&progress, &self.depth);
                self.watch_replays(counters);
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
                Fed::Snapshot(epoch, offsets, begun) => {
                    self.drafts.begin(epoch, offsets);
                    begun.send(()).ok();
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
        self.settle()?;
        let letters: Box<dyn Iterator<Item = (&Row, isize)>> = Box::new(self.dead_letters.iter().map(|(row, count)| (row, *count)));
        let held = self.sinks.iter().filter_map(Sink::held).chain([(LETTERS.to_owned(), letters)]);
        let applied = self.sinks.iter().map(Sink::applied).collect::<Result<Vec<_>, _>>()?;
        let taken = draft.sinks(progress(self.sinks, &applied), held).map(|()| draft);
        self.drafts.draft = self.drafts.or_without(taken);
        self.drafts.finish();
        Ok(false)
    }

    /// Has every sink bring in what waits there.
    pub(super) fn settle(&mut self) -> Result<(), StreamError> {
        self.sinks.iter_mut().try_for_each(Sink::settle)
    }

    /// Wakes the reader if letters were replayed since.
    fn watch_replays(&mut self, counters: &Counters) {
        let length = self.replays.0.as_ref().and_then(|path| std::fs::metadata(path).ok()).map_or(0, |found| found.len());
        if length != self.replays.1 {
            self.replays.1 = length;
            counters.replayed.notify_one();
        }
    }

    /// Makes visible what was applied: files are written, and dead letters can be read.
    pub(super) fn show(&mut self) -> Result<(), StreamError> {
        for sink in self.sinks.iter_mut() {
            sink.flush()?;
        }
        if let Some(path) = self.letters.as_ref().filter(|_| self.letters_changed) {
            write_letters(path, &self.dead_letters, &self.ledger, &self.callers)?;
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
            if diff > 0
                && epoch > self.replayed
                && let (Cell::Text(step), Cell::Text(code)) = (&cells[0], &cells[1])
            {
                self.meter.refused(step, code, diff);
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
            if self.applied[output].map_or(epoch > self.replayed, |_| !history) {
                self.meter.written(&self.names[output], delta.len());
            }
            sink.apply(epoch, delta, history)?;
            if let Some(rows) = sink.rows_held() {
                self.meter.held(&self.names[output], rows as f64);
            }
            crash::point(Point::BetweenSinks);
        }
        Ok(())
    }
}
