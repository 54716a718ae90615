//! A pipeline on an embedded log, a throw-away database and a countable model.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ajatus_events::{Body, ConversationId, Interaction, InteractionId, InteractionKey, Role, UserId, topic};
use ajatus_inference::{Embedder, Embedding, InferenceError, ModelIdentity};
use ajatus_kafka::{EmbeddedLog, Log, Record, Topics, partition_for_user, wire};
use ajatus_memory::index::PIPELINE;
use ajatus_memory::keys::Purpose;
use ajatus_memory::testing::TestDatabase;
use ajatus_pipelines::{Parts, Running, RuntimeConfig, start};
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

/// Longest wait of a test.
const PATIENCE: Duration = Duration::from_secs(30);

/// Counts what it is asked; gives another vector each time, so that asking twice would be seen; refuses "refuse me".
pub(crate) struct Moody {
    model: ModelIdentity,
    pub(crate) asked: AtomicUsize,
}

impl Moody {
    pub(crate) fn new(name: &str) -> Arc<Self> {
        Arc::new(Self { model: ModelIdentity { name: name.into(), weights: "0".into() }, asked: AtomicUsize::new(0) })
    }
}

#[async_trait]
impl Embedder for Moody {
    fn model(&self) -> &ModelIdentity {
        &self.model
    }

    fn dimension(&self) -> usize {
        2
    }

    async fn embed(&self, texts: Vec<String>) -> Result<Vec<Result<Embedding, InferenceError>>, InferenceError> {
        Ok(texts
            .iter()
            .map(|text| {
                if text == "refuse me" {
                    return Err(InferenceError::Input { reason: "no".into() });
                }
                #[expect(clippy::cast_precision_loss, reason = "a small count")]
                let angle = self.asked.fetch_add(1, Ordering::SeqCst) as f32 * 0.01;
                Ok(vec![angle.cos(), angle.sin()])
            })
            .collect())
    }
}

/// Everything but the pipeline.
pub(crate) struct World {
    pub(crate) log: Arc<EmbeddedLog>,
    pub(crate) test: TestDatabase,
    pub(crate) users: Vec<UserId>,
    pub(crate) ends: BTreeMap<u32, u64>,
    pub(crate) folder: tempfile::TempDir,
}

/// A turn as the tests compare it.
pub(crate) type Seen = BTreeMap<(UserId, u128), String>;

pub(crate) fn open_log(folder: &Path) -> Arc<EmbeddedLog> {
    EmbeddedLog::open(folder, Topics::built_in()).expect("a log")
}

impl World {
    pub(crate) async fn new(users: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let log = open_log(folder.path());
        let test = TestDatabase::start().await;
        let mut ids = Vec::new();
        for number in 0..users {
            ids.push(test.db.create_account(&test.keys, &format!("user {number}"), None).await.expect("made").id);
        }
        Self { log, test, users: ids, ends: BTreeMap::new(), folder }
    }

    pub(crate) async fn start(&self, model: &Arc<Moody>, config: RuntimeConfig) -> Running {
        let parts = Parts {
            log: Arc::clone(&self.log) as Arc<dyn Log>,
            db: self.test.db.clone(),
            keys: self.test.keys.clone(),
            embedder: Arc::clone(model) as Arc<dyn Embedder>,
        };
        start(config, parts).await.expect("a pipeline")
    }

    /// Says something, or forgets it.
    pub(crate) async fn say(&mut self, user: usize, number: u128, text: Option<&str>) {
        self.put(user, number, text.map(|text| Body { text: text.to_owned(), ..Body::default() })).await;
    }

    /// Puts a record on the log, or takes it back. Every third is the companion's.
    pub(crate) async fn put(&mut self, user: usize, number: u128, body: Option<Body>) {
        let user = self.users[user];
        let id = InteractionId(Uuid::from_u128(number));
        let value = match body {
            None => None,
            Some(body) => {
                let key = self.test.keys.user(user).await.expect("a key");
                let interaction = Interaction {
                    id,
                    user_id: user,
                    conversation_id: ConversationId(Uuid::from_u128(1)),
                    session: 0,
                    position: u32::try_from(number).expect("small"),
                    role: role_of(number),
                    occurred_at: said_at(number),
                    body: key.seal(Purpose::Messages, &Interaction::aad(user, id), &serde_json::to_vec(&body).expect("JSON")),
                };
                Some(wire::encode(&interaction).expect("JSON"))
            }
        };
        let key = InteractionKey { user_id: user, id }.to_string().into_bytes();
        self.append(user, Record { key, value }).await;
    }

    pub(crate) async fn append(&mut self, user: UserId, record: Record) {
        let partition = partition_for_user(user, 4);
        let offsets = self.log.append(topic::INTERACTIONS, partition, vec![record]).await.expect("appended");
        self.ends.insert(partition, offsets[0] + 1);
    }

    /// Waits until everything said is in the views.
    pub(crate) async fn settled(&self, running: &Running) {
        let mut status = running.status();
        let reached = status.wait_for(|status| {
            status.failure.is_some() || self.ends.iter().all(|(partition, end)| status.applied_offset(*partition) >= *end)
        });
        let Ok(reached) = tokio::time::timeout(PATIENCE, reached).await else {
            panic!("not in the views in time: {:?} of {:?}", running.status().borrow(), self.ends);
        };
        assert_eq!(reached.expect("it runs").failure, None);
    }

    /// The views: turns by user, and the vectors they have.
    pub(crate) async fn seen(&self) -> (Seen, BTreeMap<(UserId, u128), Vec<f32>>) {
        let (mut texts, mut vectors) = (Seen::new(), BTreeMap::new());
        for user in &self.users {
            for (memory, vector) in self.test.db.load_user(&self.test.keys, *user, PIPELINE).await.expect("loaded").memories {
                texts.insert((*user, memory.id.0.as_u128()), memory.body.text);
                vectors.insert((*user, memory.id.0.as_u128()), vector);
            }
        }
        (texts, vectors)
    }

    /// Counts as the activity view has them: all turns, and those of the companion.
    pub(crate) async fn counts(&self) -> BTreeMap<UserId, (u64, u64)> {
        let mut counts = BTreeMap::new();
        for user in &self.users {
            if let Some(activity) = self.test.db.activity(*user).await.expect("read") {
                counts.insert(*user, (activity.turns, activity.assistant_turns));
            }
        }
        counts
    }

    /// Keys of a topic's records that are live, over all partitions.
    pub(crate) async fn live_keys(&self, topic: &str) -> BTreeMap<String, Vec<u8>> {
        let mut live = BTreeMap::new();
        for partition in 0..self.log.partitions(topic).expect("known") {
            let chunk = self.log.read(topic, partition, 0, 100_000).await.expect("read");
            for entry in chunk.entries {
                let key = String::from_utf8(entry.key).expect("text");
                match entry.value {
                    Some(value) => drop(live.insert(key, value)),
                    None => drop(live.remove(&key)),
                }
            }
        }
        live
    }
}

/// Who says turn `number`.
pub(crate) fn role_of(number: u128) -> Role {
    if number.is_multiple_of(3) { Role::Assistant } else { Role::User }
}

/// When turn `number` is said.
pub(crate) fn said_at(number: u128) -> DateTime<Utc> {
    DateTime::<Utc>::UNIX_EPOCH + TimeDelta::hours(i64::try_from(number).expect("small") * 7)
}

/// What the views must be, by the obvious way.
pub(crate) fn counts_of(seen: &Seen) -> BTreeMap<UserId, (u64, u64)> {
    let mut counts: BTreeMap<UserId, (u64, u64)> = BTreeMap::new();
    for (user, number) in seen.keys() {
        let held = counts.entry(*user).or_default();
        held.0 += 1;
        held.1 += u64::from(number.is_multiple_of(3));
    }
    counts
}
