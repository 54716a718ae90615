//! What else the log holds of a user: changes of views, answers of models, dead letters; and taking it off.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use ajatus_events::{ChangeRecord, DeadLetter, Interaction, InteractionId, InteractionKey, MemoryOp, ModelAnswer, UserId, topic};
use ajatus_kafka::{Erasure, Log, LogError, Record, partition_for_user, wire};
use ajatus_memory::forget::Witness;
use ajatus_memory::index::PIPELINE;
use ajatus_memory::postgres::Postgres;

use super::ForgetError;
use super::run::BATCH;
use super::scan::{Scanned, each};

/// Topics that hold a user's records, all on the partition of one number.
pub(super) const TOPICS: [&str; 3] = [topic::INTERACTIONS, topic::MODEL_ANSWERS, topic::MEMORY_CHANGES];

/// Nonces by record key: of every record, and of the last.
#[derive(Default)]
pub(super) struct Keyed(HashMap<Vec<u8>, (Vec<Witness>, Vec<Witness>)>);

impl Keyed {
    fn take(&mut self, key: Vec<u8>, found: Vec<Witness>) {
        let held = self.0.entry(key).or_default();
        held.0.extend(&found);
        held.1 = found;
    }

    fn live(&self) -> BTreeSet<Witness> {
        self.0.values().flat_map(|(_, last)| last.iter().copied()).collect()
    }

    /// Keys that have something here and nothing there.
    pub(super) fn keys_not_in(&self, later: &Self) -> u64 {
        let empty = |keyed: &Self, key: &Vec<u8>| keyed.0.get(key).is_none_or(|(_, last)| last.is_empty());
        self.0.keys().filter(|key| !empty(self, key) && empty(later, key)).count() as u64
    }

    /// Those that are not live later.
    pub(super) fn gone_since(&self, later: &Self) -> BTreeSet<Witness> {
        let live = later.live();
        self.0.values().flat_map(|(all, _)| all.iter().copied()).filter(|witness| !live.contains(witness)).collect()
    }
}

/// Records of `memory-changes` before.
pub(super) struct Changes(HashMap<InteractionId, (Vec<Witness>, Vec<Witness>)>);

impl Changes {
    /// Nonces of what is not the last record of a turn that stays.
    pub(super) fn gone(&self, ids: &BTreeSet<InteractionId>, all: bool) -> BTreeSet<Witness> {
        let stays = |id: &InteractionId| !all && !ids.contains(id);
        let live: BTreeSet<Witness> = self.0.iter().filter(|(id, _)| stays(id)).flat_map(|(_, (_, last))| last.iter().copied()).collect();
        self.0.values().flat_map(|(every, _)| every.iter().copied()).filter(|witness| !live.contains(witness)).collect()
    }
}

fn own_partition(log: &dyn Log, user: UserId, topic: &str) -> Result<u32, LogError> {
    Ok(partition_for_user(user, log.partitions(topic)?))
}

/// A user's records of `memory-changes`.
pub(super) async fn changes(log: &dyn Log, user: UserId) -> Result<Changes, LogError> {
    let mut found = Changes(HashMap::new());
    let prefix = format!("{user}/");
    each(log, topic::MEMORY_CHANGES, own_partition(log, user, topic::MEMORY_CHANGES)?, prefix.as_bytes(), |entry| {
        let Some(ChangeRecord::Memory(change)) = entry.value.as_deref().and_then(|value| wire::decode(value).ok()) else { return };
        let held = found.0.entry(change.id).or_default();
        held.1 = match &change.op {
            MemoryOp::Upsert { body, vector, .. } => [body, vector].into_iter().filter_map(Witness::of).collect(),
            MemoryOp::Delete {} => Vec::new(),
        };
        held.0.extend(held.1.clone());
    })
    .await?;
    Ok(found)
}

/// A user's recorded answers.
pub(super) async fn answers(log: &dyn Log, user: UserId) -> Result<Keyed, LogError> {
    let mut found = Keyed::default();
    let prefix = format!("{user}/");
    each(log, topic::MODEL_ANSWERS, own_partition(log, user, topic::MODEL_ANSWERS)?, prefix.as_bytes(), |entry| {
        let answer = entry.value.as_deref().and_then(|value| wire::decode::<ModelAnswer>(value).ok());
        found.take(entry.key, answer.and_then(|answer| Witness::of(&answer.answer)).into_iter().collect());
    })
    .await?;
    Ok(found)
}

/// Forgets every record of a user on `memory-changes` and `model-answers`; whoever follows has passed the deletions that stand there.
pub(super) async fn forget_changes(log: &dyn Log, user: UserId) -> Result<(), LogError> {
    let prefix = format!("{user}/");
    for topic in [topic::MEMORY_CHANGES, topic::MODEL_ANSWERS] {
        let partition = own_partition(log, user, topic)?;
        let mut live: BTreeMap<Vec<u8>, bool> = BTreeMap::new();
        each(log, topic, partition, prefix.as_bytes(), |entry| {
            live.insert(entry.key, entry.value.is_some());
        })
        .await?;
        let keys: Vec<Vec<u8>> = live.into_iter().filter(|(_, live)| *live).map(|(key, _)| key).collect();
        for batch in keys.chunks(BATCH) {
            log.append(topic, partition, batch.iter().map(|key| Record { key: key.clone(), value: None }).collect()).await?;
        }
    }
    Ok(())
}

/// Takes out the dead letters that hold a turn that goes, and, with an account, those of its imports, and says how many per partition;
/// their nonces are witnesses too.
pub(super) async fn dead_letters(
    log: &dyn Log,
    user: UserId,
    account: bool,
    scanned: &Scanned,
    ids: &BTreeSet<InteractionId>,
    witnesses: &mut BTreeSet<Witness>,
) -> Result<BTreeMap<u32, u64>, LogError> {
    let (own, of_user) = (format!("{}:{}:", topic::INTERACTIONS, scanned.partition), format!("{}:{user}/", topic::INTERACTIONS));
    let imports = format!("{user}/").into_bytes();
    let mut removed = BTreeMap::new();
    for partition in 0..log.partitions(topic::DEAD_LETTERS)? {
        let mut gone = Vec::new();
        each(log, topic::DEAD_LETTERS, partition, b"", |entry| {
            let Some(letter) = entry.value.as_deref().and_then(|value| wire::decode::<DeadLetter>(value).ok()) else { return };
            let record = wire::decode::<Interaction>(&letter.payload.0).ok().filter(|record| !letter.sealed && record.user_id == user);
            let place = letter.origin.strip_prefix(&own).and_then(|offset| offset.parse().ok());
            let named = letter.origin.strip_prefix(&of_user).and_then(|id| format!("{user}/{id}").parse::<InteractionKey>().ok());
            let told = |id: InteractionId| account || scanned.is_gone(ids, id);
            let goes = account && entry.key.starts_with(&imports)
                || record.as_ref().is_some_and(|record| told(record.id))
                || place.is_some_and(|offset| scanned.is_of(ids, offset))
                || named.is_some_and(|key| told(key.id));
            if goes {
                gone.push(entry.offset);
                witnesses.extend(record.and_then(|record| Witness::of(&record.body)));
                witnesses.extend(letter.sealed.then(|| Witness::of(&letter.payload)).flatten());
            }
        })
        .await?;
        removed.insert(partition, log.remove(topic::DEAD_LETTERS, partition, gone).await?);
    }
    Ok(removed)
}

/// Compacts what holds the user's records, as far as every reader has read.
pub(super) async fn compact(log: &Arc<dyn Log>, db: &Postgres, partition: u32) -> Result<BTreeMap<String, u64>, ForgetError> {
    let (_, positions) = db.positions(PIPELINE).await?;
    let applied = positions.iter().find(|(at, _)| *at == partition).map_or(0, |(_, next)| *next);
    let mut removed = BTreeMap::new();
    for topic in TOPICS {
        // The pipeline reads the memo at its start alone, and followers of changes need each key's last record.
        let below = if topic == topic::INTERACTIONS { applied } else { log.end_offset(topic, partition).await? };
        removed.insert(format!("log/{topic} records"), log.compact(topic, partition, below).await?);
    }
    Ok(removed)
}

/// What a broker keeps for a while.
pub(super) fn unreached_by(erasure: &Erasure) -> Vec<String> {
    match erasure {
        Erasure::Log { .. } => Vec::new(),
        Erasure::Broker { settings } => settings
            .iter()
            .map(|(topic, settings)| {
                let told: Vec<String> = settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
                format!("topic {topic} on the broker: it compacts when its settings let it, and its active segment never ({})", told.join(", "))
            })
            .collect(),
    }
}
