//! Replaces a user's data key while everything goes on: begins with a new key, seals everything anew, destroys the older one.
//!
//! Holds always: everything is readable throughout; the older key goes only when nothing that it sealed is needed any more; a turn that is
//! edited or forgotten meanwhile stays edited or forgotten (records are sealed anew while nobody appends, a few at a time).
//! Not promised: more than one process that writes: another one would go on sealing with the older key.
//! After a crash: both keys are there; the next call goes on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ajatus_events::{AnswerKey, Interaction, InteractionKey, ModelAnswer, Receipt, UserId, topic};
use ajatus_kafka::{Entry, Log, LogError, Record, partition_for_user, wire};
use ajatus_memory::index::Index;
use ajatus_memory::keys::{KeyError, KeyRing, Purpose, UserKey};
use ajatus_memory::postgres::{Postgres, StoreError};
use serde::Serialize;

/// Records sealed anew while others wait.
const BATCH: usize = 200;
/// Passes at most: what is written meanwhile with the older key needs another.
const PASSES: usize = 20;
/// Longest wait for the views.
const WAIT: Duration = Duration::from_secs(120);

/// Why a key could not be replaced. Nothing is lost: the next call goes on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RekeyError {
    /// The log failed.
    #[error("the log failed: {0}")]
    Log(#[from] LogError),
    /// The database failed.
    #[error("the database failed: {0}")]
    Store(#[from] StoreError),
    /// The key cannot be used.
    #[error("the key cannot be used: {0}")]
    Key(#[from] KeyError),
    /// A record cannot be read.
    #[error("record {origin} cannot be sealed anew: {reason}")]
    Record {
        /// Where it stands.
        origin: String,
        /// Why.
        reason: String,
    },
    /// What was sealed anew is not in the views yet, or somebody still holds the older key.
    #[error("{what}; everything stays readable, run it again")]
    Waiting {
        /// What is waited for.
        what: String,
    },
}

/// What was sealed anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rekeyed {
    /// The version that everything is sealed with now.
    pub version: u32,
    /// Turns and changes of the profile.
    pub interactions: u64,
    /// Recorded answers of models.
    pub answers: u64,
    /// Entries of the profile, and titles.
    pub fields: u64,
}

/// What it needs.
#[derive(Clone)]
pub struct RekeyParts {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The views.
    pub db: Postgres,
    /// The keys.
    pub keys: KeyRing,
    /// Says how far the views are.
    pub index: Arc<Index>,
}

/// Replaces a user's key, or goes on with it.
///
/// # Errors
/// [`RekeyError`]; the older key is kept then, and the next call goes on.
pub async fn rekey(parts: &RekeyParts, user: UserId) -> Result<Rekeyed, RekeyError> {
    let key = parts.keys.begin_replacing(user).await?;
    let mut done = Rekeyed { version: key.version(), ..Rekeyed::default() };
    for _ in 0..PASSES {
        let interactions = seal_topic(parts, &key, topic::INTERACTIONS, interaction).await?;
        let answers = seal_topic(parts, &key, topic::MODEL_ANSWERS, answer).await?;
        let fields = parts.db.seal_anew(&key).await?;
        done.interactions += interactions;
        done.answers += answers;
        done.fields += fields;
        caught_up(parts, user).await?;
        if interactions + answers + fields == 0 && parts.db.old_fields(&key).await?.all() == 0 {
            // Under the lock nobody is between asking for a key and appending what it sealed.
            let _alone = parts.keys.alone().await;
            if parts.keys.end_replacing(user).await? {
                return Ok(done);
            }
        }
    }
    Err(RekeyError::Waiting { what: format!("after {PASSES} passes something is sealed with the older key still, or somebody holds it") })
}

/// A record sealed anew; `None` if it is of the present version already, or not sealed.
type SealAnew = fn(&UserKey, &Entry) -> Result<Option<Vec<u8>>, String>;

fn interaction(key: &UserKey, entry: &Entry) -> Result<Option<Vec<u8>>, String> {
    let named: InteractionKey = parsed(&entry.key)?;
    let Some(value) = &entry.value else { return Ok(None) };
    // What is no interaction is a dead letter, and stays one.
    let Ok(held) = wire::decode::<Interaction>(value) else { return Ok(None) };
    if !key.is_old(&held.body) {
        return Ok(None);
    }
    let aad = Interaction::aad(named.user_id, named.id);
    let Ok(plain) = key.open(Purpose::Messages, &aad, &held.body) else { return Ok(None) };
    let body = key.seal(Purpose::Messages, &aad, &plain);
    wire::encode(&Interaction { body, ..held }).map(Some).map_err(|error| error.to_string())
}

fn answer(key: &UserKey, entry: &Entry) -> Result<Option<Vec<u8>>, String> {
    let named: AnswerKey = parsed(&entry.key)?;
    let Some(value) = &entry.value else { return Ok(None) };
    let Ok(held) = wire::decode::<ModelAnswer>(value) else { return Ok(None) };
    if !key.is_old(&held.answer) {
        return Ok(None);
    }
    let aad = ModelAnswer::aad(&named);
    // One that does not open is asked for again when it is needed.
    let Ok(plain) = key.open(Purpose::Answers, &aad, &held.answer) else { return Ok(None) };
    wire::encode(&ModelAnswer { answer: key.seal(Purpose::Answers, &aad, &plain) }).map(Some).map_err(|error| error.to_string())
}

fn parsed<T: std::str::FromStr>(key: &[u8]) -> Result<T, String> {
    std::str::from_utf8(key).ok().and_then(|text| text.parse().ok()).ok_or_else(|| "its key is not one".to_owned())
}

/// Seals the live records of a user anew; returns how many.
async fn seal_topic(parts: &RekeyParts, key: &UserKey, topic: &'static str, seal: SealAnew) -> Result<u64, RekeyError> {
    let partition = partition_for_user(key.user(), parts.log.partitions(topic)?);
    let mut tail = Tail { log: Arc::clone(&parts.log), topic, partition, prefix: format!("{}/", key.user()).into_bytes(), next: 0, live: HashMap::new() };
    tail.read().await?;
    let mut names: Vec<Vec<u8>> = tail.live.iter().filter(|(_, entry)| old(key, seal, entry)).map(|(name, _)| name.clone()).collect();
    names.sort();
    let mut sealed = 0;
    for names in names.chunks(BATCH) {
        let _alone = parts.keys.alone().await;
        // What was appended since is newer than what was read.
        tail.read().await?;
        let mut records = Vec::with_capacity(names.len());
        for name in names {
            let Some(entry) = tail.live.get(name) else { continue };
            let anew = seal(key, entry).map_err(|reason| RekeyError::Record { origin: format!("{topic}:{partition}:{}", entry.offset), reason })?;
            records.extend(anew.map(|value| Record { key: name.clone(), value: Some(value) }));
        }
        sealed += records.len() as u64;
        if !records.is_empty() {
            parts.log.append(topic, partition, records).await?;
        }
    }
    Ok(sealed)
}

fn old(key: &UserKey, seal: SealAnew, entry: &Entry) -> bool {
    seal(key, entry).is_ok_and(|anew| anew.is_some())
}

/// The live records of one user, read on as the log grows.
struct Tail {
    log: Arc<dyn Log>,
    topic: &'static str,
    partition: u32,
    prefix: Vec<u8>,
    next: u64,
    live: HashMap<Vec<u8>, Entry>,
}

impl Tail {
    async fn read(&mut self) -> Result<(), RekeyError> {
        self.next = self.next.max(self.log.start_offset(self.topic, self.partition).await?);
        let end = self.log.end_offset(self.topic, self.partition).await?;
        while self.next < end {
            let chunk = self.log.read(self.topic, self.partition, self.next, 5_000).await?;
            if chunk.next == self.next {
                break;
            }
            self.next = chunk.next;
            for entry in chunk.entries.into_iter().filter(|entry| entry.key.starts_with(&self.prefix)) {
                if entry.value.is_some() {
                    self.live.insert(entry.key.clone(), entry);
                } else {
                    self.live.remove(&entry.key);
                }
            }
        }
        Ok(())
    }
}

/// Waits until everything of the user that is on the log is in the views and has been told to the index.
async fn caught_up(parts: &RekeyParts, user: UserId) -> Result<(), RekeyError> {
    let partition = partition_for_user(user, parts.log.partitions(topic::INTERACTIONS)?);
    let Some(offset) = parts.log.end_offset(topic::INTERACTIONS, partition).await?.checked_sub(1) else { return Ok(()) };
    let last = Receipt { topic: topic::INTERACTIONS.to_owned(), partition, offset };
    match parts.index.wait_for(&last, WAIT).await {
        Ok(_) => Ok(()),
        Err(behind) => Err(RekeyError::Waiting { what: behind.to_string() }),
    }
}
