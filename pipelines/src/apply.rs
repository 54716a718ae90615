//! Applies closed epochs to the views, in order, and sends their changes on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ajatus_events::{ChangeRecord, Frontier, InteractionKey, MemoryChange, MemoryOp, Sealed, UserId, topic};
use ajatus_kafka::{Log, Record, wire};
use ajatus_memory::index::vector_to_bytes;
use ajatus_memory::keys::{KeyError, KeyRing, Purpose};
use ajatus_memory::keys::UserKey;
use ajatus_memory::postgres::{ActivityRow, EditRow, EpochDelta, MemoryRow, OutboxRow, Postgres, ProfileKey, ProfileRow};
use tokio::sync::{mpsc, watch};

use crate::companion::{Job, ProfileEntry};
use crate::compact::Compactor;
use crate::feed::Fed;
use crate::memo::ToMemo;
use crate::runtime::PipelineError;
use crate::status::{Meter, Status};
use crate::stream::{Changes, Closed, Delta, Gathered, consolidated};

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
    pub(crate) job: Arc<Job>,
    pub(crate) gathered: Gathered,
    pub(crate) generation: i64,
    /// Times up to here are in the views already.
    pub(crate) applied: u64,
    /// Everybody's counts at `applied`, until the first epoch after the start has written them: what a broker compacted
    /// away may have left the table ahead or behind.
    pub(crate) counts: Option<BTreeMap<UserId, ActivityRow>>,
    /// How the table of profiles differed at `applied` from what it should be, for the same reason, until the same epoch.
    pub(crate) profile_repair: Profiles,
}

/// Changes of profiles.
#[derive(Default)]
pub(crate) struct Profiles {
    upserts: BTreeMap<ProfileKey, ProfileRow>,
    deletes: BTreeSet<ProfileKey>,
}

/// Changes of one epoch, by what they change.
#[derive(Default)]
struct Sorted {
    upserts: BTreeMap<InteractionKey, MemoryRow>,
    deletes: BTreeSet<InteractionKey>,
    refused: Vec<OutboxRow>,
    activity: BTreeMap<UserId, ActivityRow>,
    activity_deletes: BTreeSet<UserId>,
    profile: Vec<ProfileEntry>,
    profile_deletes: Vec<ProfileEntry>,
    edits: BTreeMap<InteractionKey, EditRow>,
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
        while let Some(news) = closed.recv().await {
            self.gathered.hear(news);
            // The feeder tells the sink first, so every epoch the frontier has passed is here.
            while let Ok(epoch) = fed.try_recv() {
                queue.push_back(epoch);
            }
            if !self.gathered.complete(self.applied) {
                continue;
            }
            if let Some(mut history) = self.gathered.take_up_to(self.applied) {
                // Its memories are in the views; only the counts are looked at again.
                let (counts, _) = self.counted(history.remove(&self.job.activity()).unwrap_or_default())?;
                self.counts.get_or_insert_default().extend(counts);
                self.profile_repair = self.compared(history.remove(&self.job.profiles()).unwrap_or_default()).await?;
            }
            while queue.front().is_some_and(|epoch| self.gathered.complete(epoch.epoch)) {
                let Some(epoch) = queue.pop_front() else { break };
                let changes = self.gathered.take(epoch.epoch);
                self.epoch(epoch, changes).await?;
            }
            if queue.is_empty() {
                // What the start found applied is complete too.
                self.memo.send(ToMemo::Applied(self.applied)).ok();
            }
        }
        Ok(())
    }

    async fn epoch(&mut self, fed: Fed, changes: Changes) -> Result<(), PipelineError> {
        let clock = Instant::now();
        let (delta, touched) = self.delta(&fed, changes).await?;
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
    async fn delta(&mut self, fed: &Fed, changes: Changes) -> Result<(EpochDelta, u64), PipelineError> {
        let mut sorted = self.sort(changes)?;
        for key in &fed.tombstones {
            if !sorted.upserts.contains_key(key) && !sorted.edits.contains_key(key) {
                sorted.deletes.insert(*key);
            }
        }
        let mut profiles = if fed.reset { Profiles::default() } else { std::mem::take(&mut self.profile_repair) };
        self.profiles(&mut profiles, std::mem::take(&mut sorted.profile), std::mem::take(&mut sorted.profile_deletes)).await?;
        let mut outbox = Vec::with_capacity(sorted.upserts.len() + sorted.deletes.len() + fed.positions.len());
        let mut upserts = Vec::with_capacity(sorted.upserts.len());
        let partitions = self.log.partitions(topic::INTERACTIONS)?;
        for (key, mut row) in std::mem::take(&mut sorted.upserts) {
            match self.sealed(&mut row).await? {
                Some(sealed) => {
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
        outbox.extend(sorted.refused);
        let activity_reset = self.counts.is_some() || fed.reset;
        let mut activity = self.counts.clone().unwrap_or_default();
        for user in &sorted.activity_deletes {
            activity.remove(user);
        }
        activity.extend(sorted.activity);
        let touched = (sorted.deletes.len() + upserts.len()) as u64;
        let delta = EpochDelta {
            pipeline: self.pipeline.clone(),
            plan_hash: self.job.plan_hash.clone(),
            generation: self.generation,
            previous: fed.previous,
            epoch: fed.epoch,
            positions: fed.positions.clone(),
            reset: fed.reset,
            activity_reset,
            upserts,
            deletes: sorted.deletes.into_iter().collect(),
            activity: activity.into_values().collect(),
            activity_deletes: sorted.activity_deletes.into_iter().collect(),
            profile: profiles.upserts.into_values().collect(),
            profile_deletes: profiles.deletes.into_iter().collect(),
            edits: sorted.edits.into_values().collect(),
            outbox,
        };
        Ok((delta, touched))
    }

    /// Changes by what they change.
    fn sort(&self, mut changes: Changes) -> Result<Sorted, PipelineError> {
        let mut sorted = Sorted::default();
        let mut take = |output: usize| -> Delta { changes.remove(&output).unwrap_or_default() };
        for (row, diff) in consolidated(take(self.job.memories())) {
            if diff > 0 {
                let memory = self.job.memory(&row)?;
                sorted.upserts.insert(memory.key, memory);
            } else {
                sorted.deletes.insert(self.job.memory_key(&row)?);
            }
        }
        (sorted.activity, sorted.activity_deletes) = self.counted(take(self.job.activity()))?;
        for (row, diff) in consolidated(take(self.job.profiles())) {
            let entry = self.job.profile(&row)?;
            if diff > 0 { sorted.profile.push(entry) } else { sorted.profile_deletes.push(entry) }
        }
        for (row, diff) in consolidated(take(self.job.edits())) {
            let edit = self.job.edit(&row)?;
            if diff > 0 {
                sorted.edits.insert(edit.key, edit);
            } else {
                sorted.deletes.insert(edit.key);
            }
        }
        // A refusal that is taken back stays where it was told.
        let faults = consolidated(take(self.job.outputs() - 1));
        sorted.refused = faults.iter().filter(|(_, diff)| *diff > 0).map(|(fault, _)| self.job.letter(fault)).collect();
        // An edit is a deletion and an insertion of one key: what remains is the insertion.
        sorted.deletes.retain(|key| !sorted.upserts.contains_key(key) && !sorted.edits.contains_key(key));
        Ok(sorted)
    }

    /// Users' counts as they are now, and users that have none any more.
    fn counted(&self, delta: Delta) -> Result<(BTreeMap<UserId, ActivityRow>, BTreeSet<UserId>), PipelineError> {
        let (mut now, mut gone) = (BTreeMap::new(), BTreeSet::new());
        for (row, diff) in consolidated(delta) {
            let counts = self.job.counts(&row)?;
            if diff > 0 {
                now.insert(counts.user_id, counts);
            } else {
                gone.insert(counts.user_id);
            }
        }
        gone.retain(|user| !now.contains_key(user));
        Ok((now, gone))
    }

    /// A memory's vector, turned into the user's own coordinates, and sealed for the way; `None` if the user was forgotten meanwhile.
    async fn sealed(&self, row: &mut MemoryRow) -> Result<Option<Sealed>, PipelineError> {
        let key = row.key;
        let Some(user) = self.user(key.user_id).await? else { return Ok(None) };
        row.vector = user.turned(std::mem::take(&mut row.vector));
        Ok(Some(user.seal(Purpose::Vectors, &MemoryChange::vector_aad(key.user_id, key.id), &vector_to_bytes(&row.vector))))
    }

    /// A user's key; `None` if the user was forgotten.
    async fn user(&self, user: UserId) -> Result<Option<Arc<UserKey>>, PipelineError> {
        loop {
            match self.keys.user(user).await {
                Ok(key) => return Ok(Some(key)),
                Err(KeyError::Destroyed { .. }) => return Ok(None),
                Err(KeyError::Store(error)) if error.may_pass() => {
                    tracing::warn!(%error, "a key could not be looked up yet; trying again");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                Err(error) => return Err(ajatus_memory::postgres::StoreError::from(error).into()),
            }
        }
    }

    /// Seals what profiles are now and names what they are not any more. Nothing of a forgotten user is written; their rows went with the key.
    async fn profiles(&self, out: &mut Profiles, now: Vec<ProfileEntry>, gone: Vec<ProfileEntry>) -> Result<(), PipelineError> {
        let mut keys: BTreeMap<UserId, Option<Arc<UserKey>>> = BTreeMap::new();
        for (user, ..) in now.iter().chain(&gone) {
            if !keys.contains_key(user) {
                keys.insert(*user, self.user(*user).await?);
            }
        }
        let key_of = |user: &UserId| keys.get(user).and_then(Option::as_ref);
        for (user, kind, name, _) in &gone {
            if let Some(key) = key_of(user) {
                let named = ProfileKey::of(key, *user, kind, name);
                out.upserts.remove(&named);
                out.deletes.insert(named);
            }
        }
        for (user, kind, name, body) in &now {
            if let Some(key) = key_of(user) {
                let row = ProfileRow::sealed(key, *user, kind, name, body);
                out.deletes.remove(&row.key);
                out.upserts.insert(row.key.clone(), row);
            }
        }
        Ok(())
    }

    /// How the table differs from what the dataflow says it should hold.
    async fn compared(&self, should: Delta) -> Result<Profiles, PipelineError> {
        let mut held = self.db.profile_fingerprints().await?;
        let mut out = Profiles::default();
        let mut user: Option<(UserId, Option<Arc<UserKey>>)> = None;
        for (row, diff) in consolidated(should) {
            if diff <= 0 {
                continue;
            }
            let (whose, kind, name, body) = self.job.profile(&row)?;
            if user.as_ref().is_none_or(|(known, _)| *known != whose) {
                user = Some((whose, self.user(whose).await?));
            }
            let Some((_, Some(key))) = &user else { continue };
            let named = ProfileKey::of(key, whose, &kind, &name);
            if held.remove(&named).is_none_or(|fingerprint| fingerprint != ProfileKey::fingerprint(key, &body)) {
                out.upserts.insert(named, ProfileRow::sealed(key, whose, &kind, &name, &body));
            }
        }
        out.deletes = held.into_keys().collect();
        Ok(out)
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
