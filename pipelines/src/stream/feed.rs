//! The side of a run that reads its sources, mints epochs and feeds the dataflow.
//!
//! Holds always: an epoch is on the ledger before a record of it is fed; nothing after an epoch that a snapshot is asked for is fed before
//! every thread has heard of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, SyncSender, channel};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::cluster::Followers;
use super::config::{Backfill, Counters};
use super::crash::{self, Point};
use super::decode::Payload;
use super::engine::Engine;
use super::error::StreamError;
use super::ledger::{Book, Ledger, Minted};
use super::meter::Meter;
use super::read::{Batch, Reader, wait};
use super::replay::{self, Replays};
use super::snapshot::Offsets;

/// What the sink side is told, in order.
pub(super) enum Fed {
    /// An epoch was fed.
    Epoch(u64),
    /// A snapshot is made of an epoch that was fed: how far it had read, and who waits until its folder is there.
    Snapshot(u64, Offsets, Sender<()>),
}

/// The side that reads and feeds.
pub(super) struct Feeder {
    pub(super) engine: Engine,
    /// The other processes of a cluster.
    pub(super) followers: Option<Followers>,
    /// Dead letters that are read again.
    pub(super) replays: Replays,
    pub(super) meter: Meter,
    pub(super) readers: Vec<(String, Reader)>,
    pub(super) epoch_rows: usize,
    pub(super) bounded: bool,
    pub(super) places: SyncSender<()>,
    pub(super) fed: Sender<Fed>,
    pub(super) counters: Arc<Counters>,
    pub(super) stop: CancellationToken,
    pub(super) handle: Handle,
    pub(super) saving: Saving,
    pub(super) backfill: Option<Backfill>,
}

/// Where a run begins: what a snapshot has.
#[derive(Clone, Debug, Default)]
pub(super) struct Start {
    pub(super) epoch: u64,
    pub(super) offsets: Offsets,
}

/// When snapshots are made.
pub(super) struct Saving {
    pub(super) on: bool,
    pub(super) every: Duration,
    pub(super) epochs: Option<u64>,
    /// One is being made.
    pub(super) busy: Arc<AtomicBool>,
    /// The epoch of the oldest one that is kept.
    pub(super) oldest: Arc<AtomicU64>,
    pub(super) begun: Instant,
    pub(super) last: u64,
}

impl Saving {
    fn due(&self, epoch: u64) -> bool {
        if !self.on || self.busy.load(Ordering::SeqCst) {
            return false;
        }
        match self.epochs {
            Some(epochs) => epoch.saturating_sub(self.last) >= epochs.max(1),
            None => self.begun.elapsed() >= self.every,
        }
    }
}

impl Feeder {
    /// Feeds what was minted before and is in no snapshot, then what is new; returns the last epoch.
    pub(super) fn run(mut self, mut ledger: Option<&mut Ledger>, book: &Book, start: &Start, base: u64) -> Result<u64, StreamError> {
        let mut last = start.epoch;
        let rows: Vec<&Minted> = book.minted.iter().filter(|row| row.epoch > start.epoch).collect();
        let (old, rest) = rows.split_at(rows.partition_point(|row| row.epoch <= base));
        if !old.is_empty() && self.place(base) {
            for row in old {
                self.again(row, base)?;
            }
            self.close(base)?;
        }
        for row in rest {
            if !self.place(row.epoch) {
                return Ok(last);
            }
            self.again(row, row.epoch)?;
            self.close(row.epoch)?;
        }
        let mut offsets = start.offsets.clone();
        for row in rows {
            last = row.epoch;
            row.reach(&mut offsets);
        }
        self.begin_backfill(&mut offsets)?;
        self.replays.seek(&offsets);
        for (name, reader) in &mut self.readers {
            // Replays are no partition that a reader knows of.
            let partitions = offsets.get(name).into_iter().flatten().filter(|(partition, _)| **partition != replay::PARTITION);
            reader.seek(&partitions.map(|(partition, next)| (*partition, *next)).collect())?;
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
                if let Some(batch) = self.replays.read(name, epoch_rows, reader.header())? {
                    ranges.entry(name.clone()).or_default().insert(batch.partition, (batch.from, batch.to));
                    batches.push((source, batch));
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
                wait(&mut self.readers, &self.handle, &self.stop, &self.counters.replayed);
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
                self.meter.read(&self.readers[source].0, batch.records);
                if self.readers[source].1.bounded() && batch.partition != replay::PARTITION {
                    self.counters.read.fetch_add(batch.to - batch.from, Ordering::Relaxed);
                }
                match (&mut self.followers, batch.payload) {
                    (Some(followers), Payload::Elsewhere) => {
                        let (name, reader) = &self.readers[source];
                        followers.read(reader.process_of(batch.partition), epoch, name, batch.partition, batch.from, batch.to)?;
                    }
                    (_, payload) => self.engine.records(epoch, source, payload)?,
                }
                crash::point(Point::Fed);
            }
            if self.saving.due(epoch) {
                self.save(epoch, &offsets)?;
            }
            self.close(epoch)?;
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
        if let Some(followers) = &mut self.followers {
            followers.end()?;
        }
        // The threads end when the engine is dropped; until the dataflow is through, the other processes stay connected.
        let Self { engine, followers, .. } = self;
        drop(engine);
        drop(followers);
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
        let (begun, beginning) = channel();
        if self.fed.send(Fed::Snapshot(epoch, offsets.clone(), begun)).is_ok() {
            self.engine.save(epoch)?;
            if let Some(followers) = &mut self.followers {
                // They write into the folder themselves. It only fails when the sinks are gone.
                beginning.recv().ok();
                followers.save(epoch)?;
            }
        }
        Ok(())
    }

    /// Ends an epoch, here and in the other processes.
    fn close(&mut self, epoch: u64) -> Result<(), StreamError> {
        if let Some(followers) = &mut self.followers {
            followers.close(epoch)?;
        }
        self.engine.close(epoch)
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
                if *partition == replay::PARTITION {
                    self.engine.records(epoch, source, self.replays.again(name, *from, *to, reader.header())?)?;
                    continue;
                }
                if let (Some(followers), process @ 1..) = (&mut self.followers, reader.process_of(*partition)) {
                    followers.read(process, epoch, name, *partition, *from, *to)?;
                    continue;
                }
                let engine = &mut self.engine;
                reader.again(*partition, *from, *to, &mut |payload| engine.records(epoch, source, payload))?;
            }
        }
        Ok(())
    }
}
