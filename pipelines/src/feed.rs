//! Feeds the dataflow: what is applied as one time, what was minted with its own times, then what is new.
//!
//! Holds always: an epoch's offsets are on the ledger before a row of it is fed, so the same offsets get the same epoch again;
//! at most `max_epochs_ahead` epochs are between here and the views.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ajatus_events::{InteractionKey, topic};
use ajatus_kafka::{Log, LogError};
use ajatus_memory::keys::{KeyError, KeyRing};
use ajatus_memory::postgres::{LedgerRow, OffsetRange, OutboxRow, PipelineState, Postgres, StoreError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::companion::Job;
use crate::memo::ToMemo;
use crate::runtime::PipelineError;
use crate::status::Meter;
use crate::stream::{Engine, Payload};
use crate::turn::{Decoded, Said, decode};

/// What the sink must know of an epoch besides its changes.
pub(crate) struct Fed {
    pub(crate) epoch: u64,
    pub(crate) previous: u64,
    pub(crate) positions: Vec<(u32, u64)>,
    /// Keys whose last record of the epoch is a tombstone: deleted whatever the dataflow says, because a broker may have
    /// compacted away what they delete before this run read it.
    pub(crate) tombstones: Vec<InteractionKey>,
    pub(crate) dead_letters: Vec<OutboxRow>,
    pub(crate) records: u64,
    pub(crate) reset: bool,
    /// Freed when the epoch is in the views.
    pub(crate) permit: OwnedSemaphorePermit,
}

/// Where the feeder stands and what it needs.
pub(crate) struct Feeder {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) db: Postgres,
    pub(crate) keys: KeyRing,
    pub(crate) meter: Meter,
    pub(crate) job: Arc<Job>,
    pub(crate) engine: Arc<Mutex<Engine>>,
    pub(crate) memo: mpsc::UnboundedSender<ToMemo>,
    pub(crate) fed: mpsc::Sender<Fed>,
    pub(crate) ahead: Arc<Semaphore>,
    pub(crate) stop: CancellationToken,
    pub(crate) pipeline: String,
    pub(crate) generation: i64,
    pub(crate) max_epoch_rows: usize,
    pub(crate) next: BTreeMap<u32, u64>,
    pub(crate) last: u64,
}

/// What a read gave, and what could not be used.
#[derive(Default)]
struct Batch {
    said: Vec<Said>,
    dead_letters: Vec<OutboxRow>,
    records: u64,
}

impl Feeder {
    /// Feeds until stopped.
    ///
    /// # Errors
    /// What cannot pass by trying again.
    pub(crate) async fn run(mut self, state: PipelineState) -> Result<(), PipelineError> {
        let stop = self.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => Ok(()),
            ended = self.feed(state) => ended,
        }
    }

    async fn feed(&mut self, state: PipelineState) -> Result<(), PipelineError> {
        let mut pending = state.pending;
        if state.plan_changed && state.progress > 0 {
            tracing::info!("the plan has changed; the views are made anew");
            if pending.is_empty() {
                pending.push(self.mint(Vec::new()).await?);
            }
        } else if state.progress > 0 {
            // The state as applied, at the time it was applied; the sink lets nothing of it out.
            let batch = self.read_ranges(&self.history(&state.positions)).await?;
            self.dataflow(state.progress, batch.said)?;
        }
        let mut previous = state.progress;
        for (at, row) in pending.into_iter().enumerate() {
            let reset = state.plan_changed && at == 0;
            let mut ranges = row.ranges.clone();
            if reset {
                ranges.splice(0..0, self.history(&state.positions));
            }
            let permit = self.permit().await;
            let batch = self.read_ranges(&ranges).await?;
            for range in &row.ranges {
                self.next.insert(range.partition, range.to);
            }
            self.last = row.epoch;
            self.send(row, previous, batch, reset, permit).await?;
            previous = self.last;
        }
        self.memo.send(ToMemo::CaughtUp(self.last)).ok();
        self.follow(previous).await
    }

    /// Everything below the applied positions.
    fn history(&self, positions: &[(u32, u64)]) -> Vec<OffsetRange> {
        let range = |(partition, to): &(u32, u64)| OffsetRange { topic: topic::INTERACTIONS.to_owned(), partition: *partition, from: 0, to: *to };
        positions.iter().map(range).collect()
    }

    /// Feeds what is appended, as it is appended; what comes while the views are busy makes one larger epoch.
    async fn follow(&mut self, mut previous: u64) -> Result<(), PipelineError> {
        let mut appended = self.log.appended(topic::INTERACTIONS)?;
        loop {
            let permit = self.permit().await;
            appended.borrow_and_update();
            let clock = Instant::now();
            let (ranges, batch) = self.read_new().await?;
            if ranges.is_empty() {
                drop(permit);
                if appended.changed().await.is_err() {
                    return Err(PipelineError::LogClosed);
                }
                continue;
            }
            self.meter.add("read", clock);
            let clock = Instant::now();
            let row = self.mint(ranges).await?;
            self.meter.add("ledger", clock);
            for range in &row.ranges {
                self.next.insert(range.partition, range.to);
            }
            self.last = row.epoch;
            self.send(row, previous, batch, false, permit).await?;
            previous = self.last;
        }
    }

    async fn permit(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.ahead).acquire_owned().await.expect("the semaphore is never closed")
    }

    /// Writes the next epoch to the ledger; goes on trying while the trouble may pass.
    async fn mint(&self, ranges: Vec<OffsetRange>) -> Result<LedgerRow, PipelineError> {
        let row = LedgerRow { epoch: self.last + 1, ranges };
        let mut pause = Duration::from_millis(50);
        loop {
            match self.db.mint_epoch(&self.pipeline, &self.job.plan_hash, self.generation, self.last, &row).await {
                Ok(()) => return Ok(row),
                Err(error) if error.may_pass() => tracing::warn!(%error, "an epoch could not be minted yet; trying again"),
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }

    async fn send(&self, row: LedgerRow, previous: u64, batch: Batch, reset: bool, permit: OwnedSemaphorePermit) -> Result<(), PipelineError> {
        let mut last: BTreeMap<InteractionKey, (u64, bool)> = BTreeMap::new();
        for (key, offset, value) in &batch.said {
            let held = last.entry(*key).or_insert((*offset, value.is_none()));
            if *offset >= held.0 {
                *held = (*offset, value.is_none());
            }
        }
        let fed = Fed {
            epoch: row.epoch,
            previous,
            positions: row.ranges.iter().map(|range| (range.partition, range.to)).collect(),
            tombstones: last.into_iter().filter(|(_, (_, tombstone))| *tombstone).map(|(key, _)| key).collect(),
            dead_letters: batch.dead_letters,
            records: batch.records,
            reset,
            permit,
        };
        // The sink hears of the epoch before the dataflow does; it only fails when the sink has ended, which ends us too.
        self.fed.send(fed).await.ok();
        self.dataflow(row.epoch, batch.said)
    }

    /// Gives the dataflow an epoch, whole. A thread takes what it is given between two steps, so this waits for a step at most.
    fn dataflow(&self, epoch: u64, said: Vec<Said>) -> Result<(), PipelineError> {
        let rows = self.job.rows(said);
        let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        let fed = if rows.is_empty() { Ok(()) } else { engine.records(epoch, 0, Payload::Rows(rows)) };
        fed.and_then(|()| engine.close(epoch)).map_err(|error| PipelineError::Dataflow(error.to_string()))
    }

    /// Whatever is new, up to `max_epoch_rows` records, fairly over partitions.
    async fn read_new(&self) -> Result<(Vec<OffsetRange>, Batch), PipelineError> {
        let partitions: BTreeSet<u32> = (0..self.log.partitions(topic::INTERACTIONS)?).collect();
        let share = (self.max_epoch_rows / partitions.len().max(1)).max(1);
        let (mut ranges, mut batch) = (Vec::new(), Batch::default());
        for partition in partitions {
            let from = self.next.get(&partition).copied().unwrap_or(0);
            let from = from.max(if from == 0 { self.log.start_offset(topic::INTERACTIONS, partition).await? } else { 0 });
            let chunk = self.log.read(topic::INTERACTIONS, partition, from, share).await?;
            if chunk.next > from {
                ranges.push(OffsetRange { topic: topic::INTERACTIONS.to_owned(), partition, from, to: chunk.next });
            }
            self.take(partition, chunk.entries, &mut batch).await?;
        }
        Ok((ranges, batch))
    }

    async fn read_ranges(&self, ranges: &[OffsetRange]) -> Result<Batch, PipelineError> {
        let mut batch = Batch::default();
        for range in ranges {
            let mut from = range.from.max(self.log.start_offset(&range.topic, range.partition).await?);
            while from < range.to {
                let chunk = self.log.read(&range.topic, range.partition, from, 5_000).await?;
                if chunk.next == from {
                    return Err(LogError::Gap { topic: range.topic.clone(), partition: range.partition, wanted: range.to, first: from }.into());
                }
                let inside = chunk.entries.into_iter().filter(|entry| entry.offset < range.to).collect();
                self.take(range.partition, inside, &mut batch).await?;
                from = chunk.next;
            }
        }
        Ok(batch)
    }

    async fn take(&self, partition: u32, entries: Vec<ajatus_kafka::Entry>, batch: &mut Batch) -> Result<(), PipelineError> {
        for entry in entries {
            batch.records += 1;
            let mut pause = Duration::from_millis(50);
            let decoded = loop {
                match decode(&self.keys, partition, entry.clone()).await {
                    Ok(decoded) => break decoded,
                    Err(KeyError::Store(error)) if error.may_pass() => {
                        tracing::warn!(%error, "a key could not be looked up yet; trying again");
                    }
                    Err(KeyError::Store(error)) => return Err(error.into()),
                    Err(error) => return Err(StoreError::from(error).into()),
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            };
            match decoded {
                Decoded::Said(said) => batch.said.push(*said),
                Decoded::Refused(letter) => batch.dead_letters.push(letter),
            }
        }
        Ok(())
    }
}
