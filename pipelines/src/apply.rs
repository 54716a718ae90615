//! Applies closed epochs to the views, in order, and sends their changes on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ajatus_events::{ChangeRecord, Frontier, InteractionKey, MemoryChange, MemoryOp, UserId, topic};
use ajatus_kafka::{Log, Record, wire};
use ajatus_memory::index::vector_from_bytes;
use ajatus_memory::keys::{KeyError, KeyRing, Purpose};
use ajatus_memory::postgres::{ActivityRow, EpochDelta, MemoryRow, OutboxRow, Postgres};
use ajatus_operators::Activity;
use chrono::DateTime;
use tokio::sync::{mpsc, watch};

use crate::compact::Compactor;
use crate::feed::Fed;
use crate::memo::ToMemo;
use crate::plan::{Change, VectorBytes};
use crate::runtime::PipelineError;
use crate::status::{Meter, Status};
use crate::turn::{Turn, dead_letter};
use crate::worker::Closed;

/// The sink and what it needs.
pub(crate) struct Sink {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) db: Postgres,
    pub(crate) keys: KeyRing,
    pub(crate) meter: Meter,
    pub(crate) memo: mpsc::UnboundedSender<ToMemo>,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) compactor: Compactor,
    pub(crate) pipeline: String,
    pub(crate) plan_hash: String,
    pub(crate) model: String,
    pub(crate) generation: i64,
    /// Times up to here are in the views already.
    pub(crate) applied: u64,
    /// Everybody's counts at `applied`, until the first epoch after the start has written them: what a broker compacted
    /// away may have left the table ahead or behind.
    pub(crate) counts: Option<BTreeMap<UserId, Activity>>,
}

/// Changes of one epoch, by what they change.
#[derive(Default)]
struct Sorted {
    upserts: BTreeMap<InteractionKey, (Box<Turn>, VectorBytes)>,
    deletes: BTreeSet<InteractionKey>,
    refused: Vec<(InteractionKey, String)>,
    activity: BTreeMap<UserId, Activity>,
    activity_deletes: BTreeSet<UserId>,
}

impl Sink {
    /// Applies what closes until the dataflow or the feeder is gone.
    ///
    /// # Errors
    /// What cannot pass by trying again: a newer run, a schema of another program.
    pub(crate) async fn run(
        mut self,
        mut closed: mpsc::UnboundedReceiver<Closed>,
        mut fed: mpsc::Receiver<Fed>,
    ) -> Result<(), PipelineError> {
        self.relay().await?;
        let mut queue: VecDeque<Fed> = VecDeque::new();
        let mut changes: BTreeMap<u64, Vec<(Change, isize)>> = BTreeMap::new();
        while let Some(news) = closed.recv().await {
            changes.extend(news.changes);
            // The feeder tells the sink first, so every epoch the frontier has passed is here.
            while let Ok(epoch) = fed.try_recv() {
                queue.push_back(epoch);
            }
            if let Some(history) = changes.first_key_value().map(|(time, _)| *time).filter(|time| *time <= self.applied) {
                let rows = changes.remove(&history).unwrap_or_default();
                let sorted = sort(rows);
                self.counts.get_or_insert_default().extend(sorted.activity);
            }
            while queue.front().is_some_and(|epoch| news.frontier.is_none_or(|frontier| epoch.epoch < frontier)) {
                let Some(epoch) = queue.pop_front() else { break };
                let rows = changes.remove(&epoch.epoch).unwrap_or_default();
                self.epoch(epoch, rows).await?;
            }
            let complete = news.frontier.map_or(u64::MAX, |frontier| frontier.saturating_sub(1));
            if complete >= self.applied && queue.is_empty() {
                // What the start found applied is complete too.
                self.memo.send(ToMemo::Applied(self.applied)).ok();
            }
        }
        Ok(())
    }

    async fn epoch(&mut self, fed: Fed, rows: Vec<(Change, isize)>) -> Result<(), PipelineError> {
        let clock = Instant::now();
        let (delta, touched) = self.delta(&fed, rows).await?;
        let mut pause = Duration::from_millis(50);
        loop {
            match self.db.apply_epoch(&delta).await {
                Ok(_) => break,
                Err(error) if error.may_pass() => tracing::warn!(%error, epoch = fed.epoch, "an epoch could not be applied yet; trying again"),
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
        self.meter.add("sink", clock);
        self.applied = fed.epoch;
        self.counts = None;
        let refused = delta.outbox.iter().filter(|row| row.topic == topic::DEAD_LETTERS).count() as u64;
        let clock = Instant::now();
        self.relay().await?;
        self.meter.add("relay", clock);
        self.memo.send(ToMemo::Applied(fed.epoch)).ok();
        self.compactor.note(touched, &fed.positions);
        self.status.send_modify(|status| {
            status.epoch = fed.epoch;
            status.minted = status.minted.max(fed.epoch);
            status.applied.extend(fed.positions.iter().copied());
            status.caught_up = status.caught_up || fed.epoch >= status.minted;
            status.records += fed.records;
            status.refused += refused;
            status.busy = self.meter.read();
        });
        drop(fed.permit);
        Ok(())
    }

    /// The transaction of an epoch, and how many records of the log it made superfluous.
    async fn delta(&mut self, fed: &Fed, rows: Vec<(Change, isize)>) -> Result<(EpochDelta, u64), PipelineError> {
        let mut sorted = sort(rows);
        for key in &fed.tombstones {
            if !sorted.upserts.contains_key(key) {
                sorted.deletes.insert(*key);
            }
        }
        let mut outbox = Vec::with_capacity(sorted.upserts.len() + sorted.deletes.len() + fed.positions.len());
        let mut upserts = Vec::with_capacity(sorted.upserts.len());
        let partitions = self.log.partitions(topic::INTERACTIONS)?;
        for (key, (turn, vector)) in std::mem::take(&mut sorted.upserts) {
            match self.row(key, *turn, &vector).await? {
                Some((row, sealed)) => {
                    let op = MemoryOp::Upsert {
                        conversation_id: row.conversation_id,
                        session: row.session,
                        position: row.position,
                        role: row.role,
                        occurred_at: row.occurred_at,
                        body: row.body.clone(),
                        vector: sealed,
                        model: row.model.clone(),
                    };
                    outbox.push(change(fed.epoch, key, op, partitions));
                    upserts.push(row);
                }
                None => drop(sorted.deletes.insert(key)),
            }
        }
        outbox.extend(sorted.deletes.iter().map(|key| change(fed.epoch, *key, MemoryOp::Delete {}, partitions)));
        outbox.extend(fed.positions.iter().map(|(partition, next)| frontier(fed.epoch, *partition, *next)));
        outbox.extend(fed.dead_letters.iter().cloned());
        outbox.extend(sorted.refused.into_iter().map(|(key, reason)| {
            dead_letter("embed", "embed.refused", reason, &format!("{}:{key}", topic::INTERACTIONS), Vec::new())
        }));
        let activity_reset = self.counts.is_some() || fed.reset;
        let mut activity = self.counts.clone().unwrap_or_default();
        for user in &sorted.activity_deletes {
            activity.remove(user);
        }
        activity.extend(sorted.activity);
        let touched = (sorted.deletes.len() + upserts.len()) as u64;
        let delta = EpochDelta {
            pipeline: self.pipeline.clone(),
            plan_hash: self.plan_hash.clone(),
            generation: self.generation,
            previous: fed.previous,
            epoch: fed.epoch,
            positions: fed.positions.clone(),
            reset: fed.reset,
            activity_reset,
            upserts,
            deletes: sorted.deletes.into_iter().collect(),
            activity: activity.into_iter().map(|(user, counts)| activity_row(user, counts)).collect::<Result<_, _>>()?,
            activity_deletes: sorted.activity_deletes.into_iter().collect(),
            outbox,
        };
        Ok((delta, touched))
    }

    /// A view's row and its vector sealed for the way; `None` if the user was forgotten meanwhile.
    async fn row(&self, key: InteractionKey, turn: Turn, vector: &VectorBytes) -> Result<Option<(MemoryRow, ajatus_events::Sealed)>, PipelineError> {
        let user = loop {
            match self.keys.user(key.user_id).await {
                Ok(user) => break user,
                Err(KeyError::Destroyed { .. }) => return Ok(None),
                Err(KeyError::Store(error)) if error.may_pass() => {
                    tracing::warn!(%error, "a key could not be looked up yet; trying again");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                Err(error) => return Err(ajatus_memory::postgres::StoreError::from(error).into()),
            }
        };
        let sealed = user.seal(Purpose::Vectors, &MemoryChange::vector_aad(key.user_id, key.id), vector);
        let row = MemoryRow {
            key,
            conversation_id: turn.conversation_id,
            session: turn.session,
            position: turn.position,
            role: turn.role,
            occurred_at: time(turn.at_us)?,
            body: turn.body,
            fingerprint: turn.fingerprint,
            vector: vector_from_bytes(vector).ok_or(PipelineError::Bug("a vector of the dataflow is not one"))?,
            model: self.model.clone(),
        };
        Ok(Some((row, sealed)))
    }

    /// Puts on the log what committed epochs left in the outbox; twice does no harm.
    async fn relay(&self) -> Result<(), PipelineError> {
        let mut pause = Duration::from_millis(50);
        loop {
            match self.try_relay().await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) if error.may_pass() => {
                    tracing::warn!(%error, "the outbox could not be sent on yet; trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// One batch; whether the outbox is empty now.
    async fn try_relay(&self) -> Result<bool, PipelineError> {
        const BATCH: u32 = 2_000;
        let rows = self.db.outbox(&self.pipeline, BATCH).await?;
        let Some(last) = rows.last().map(|(id, _)| *id) else { return Ok(true) };
        let full = rows.len() == BATCH as usize;
        let mut records: BTreeMap<(String, u32), Vec<Record>> = BTreeMap::new();
        for (_, row) in rows {
            records.entry((row.topic, row.partition)).or_default().push(Record { key: row.key, value: row.value });
        }
        for ((topic, partition), records) in records {
            self.log.append(&topic, partition, records).await?;
        }
        self.db.outbox_done(&self.pipeline, last).await?;
        Ok(!full)
    }
}

fn sort(rows: Vec<(Change, isize)>) -> Sorted {
    let mut sorted = Sorted::default();
    for (change, diff) in rows {
        match (change, diff > 0) {
            (Change::Memory(key, turn, vector), true) => drop(sorted.upserts.insert(key, (turn, vector))),
            (Change::Memory(key, ..), false) => drop(sorted.deletes.insert(key)),
            (Change::Refused(key, _, reason), true) => sorted.refused.push((key, reason)),
            (Change::Refused(..), false) => {}
            (Change::Activity(user, counts), true) => drop(sorted.activity.insert(user, counts)),
            (Change::Activity(user, _), false) => drop(sorted.activity_deletes.insert(user)),
        }
    }
    // An edit is a deletion and an insertion of one key: what remains is the insertion.
    sorted.deletes.retain(|key| !sorted.upserts.contains_key(key));
    sorted.activity_deletes.retain(|user| !sorted.activity.contains_key(user));
    sorted
}

fn change(epoch: u64, key: InteractionKey, op: MemoryOp, partitions: u32) -> OutboxRow {
    let record = ChangeRecord::Memory(MemoryChange { user_id: key.user_id, id: key.id, epoch, op });
    OutboxRow {
        topic: topic::MEMORY_CHANGES.to_owned(),
        partition: ajatus_kafka::partition_for_user(key.user_id, partitions),
        key: key.to_string().into_bytes(),
        value: Some(wire::encode(&record).expect("a change is JSON")),
    }
}

fn frontier(epoch: u64, partition: u32, next_offset: u64) -> OutboxRow {
    let record = ChangeRecord::Frontier(Frontier { epoch, partition, next_offset });
    OutboxRow {
        topic: topic::MEMORY_CHANGES.to_owned(),
        partition,
        key: b"frontier".to_vec(),
        value: Some(wire::encode(&record).expect("a frontier is JSON")),
    }
}

fn time(at_us: i64) -> Result<DateTime<chrono::Utc>, PipelineError> {
    DateTime::from_timestamp_micros(at_us).ok_or(PipelineError::Bug("a time of the dataflow is out of range"))
}

fn activity_row(user_id: UserId, counts: Activity) -> Result<ActivityRow, PipelineError> {
    Ok(ActivityRow {
        user_id,
        user_turns: counts.user_turns,
        assistant_turns: counts.assistant_turns,
        other_turns: counts.other_turns,
        first_at: time(counts.first_us)?,
        last_at: time(counts.last_us)?,
    })
}
