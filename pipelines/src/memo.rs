//! The memo: a model's first answer, on the log before anything that used it is applied.
//!
//! A request is a text and its owner: equal texts of one user are one request, and the answer is sealed with the user's key. One task
//! owns the memo. It answers a batch from what is recorded, asks the model for the rest, appends the answers, and only then
//! lets them into the dataflow. When a request has no live turn left, its answer is erased from the log, after the epoch that
//! let go of it has been applied, so that a restart never misses an answer.
//!
//! Keeps in memory: the key of every request that the dataflow holds (a key that is destroyed later cannot be asked for it); and
//! answers that no operator holds (read at the start, or let go and not yet erased).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use ajatus_events::{AnswerKey, ModelAnswer, UserId, topic};
use ajatus_inference::Embedder;
use ajatus_kafka::{Log, LogError, Record, partition_for_user, wire};
use ajatus_memory::index::vector_from_bytes;
use ajatus_memory::keys::{KeyError, KeyRing, Purpose, UserKey};
use ajatus_operators::row::{Cell, Kind, Row};
use ajatus_operators::{Answer, Calls, Job};
use ajatus_sql::plan::{Call, Node};
use ajatus_sql::render::{Dispatch, Models, Release};
use ajatus_sql::script::{Model, Script, Statement};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;

use crate::ask::{Asked, Asker, PAUSE, row};
use crate::status::Meter;
use crate::survey::{Look, Seen};

/// What the memo's task is told.
pub(crate) enum ToMemo {
    /// A batch to answer.
    Ask(Job<Row, Row>),
    /// Requests without a live turn from this time on.
    Release(u64, Vec<(Row, Answer<Row>)>),
    /// Everything up to this time is in the views.
    Applied(u64),
    /// Everything an earlier run had minted lies at or below this time.
    CaughtUp(u64),
    /// What of the recorded answers is needed?
    Look(Look),
}

/// An answer nobody in the dataflow holds.
enum Idle {
    /// As read from the log.
    Sealed(ModelAnswer),
    /// Let go by the dataflow at a time.
    Released(u64, Row),
}

/// How the dataflow calls the model: through the memo.
#[derive(Clone)]
pub(crate) struct ThroughMemo {
    memo: UnboundedSender<ToMemo>,
    limits: BTreeMap<String, Model>,
}

impl ThroughMemo {
    /// With the limits that the file sets its models.
    pub(crate) fn new(script: &Script, memo: UnboundedSender<ToMemo>) -> Self {
        let models = script.statements.iter().filter_map(|statement| if let Statement::Model(model) = statement { Some(model) } else { None });
        Self { memo, limits: models.map(|model| (model.name.clone(), model.clone())).collect() }
    }
}

impl Models for ThroughMemo {
    fn calls(&self, _step: &Node, call: &Call) -> Calls<Dispatch, Release> {
        let (max_batch, max_in_flight) = self.limits.get(&call.model).map_or((1, 1), |model| (model.max_batch_rows, model.max_in_flight));
        let (ask, release) = (self.memo.clone(), self.memo.clone());
        // A memo that is gone needs no answer: the pipeline ends.
        Calls {
            max_batch,
            max_in_flight,
            dispatch: Box::new(move |job| {
                ask.send(ToMemo::Ask(job)).ok();
            }),
            release: Box::new(move |time, gone| {
                release.send(ToMemo::Release(time, gone)).ok();
            }),
        }
    }
}

/// The memo's task and what it needs.
pub(crate) struct Memo {
    log: Arc<dyn Log>,
    keys: KeyRing,
    embedder: Arc<dyn Embedder>,
    meter: Meter,
    model: String,
    /// Per request that the dataflow holds, by its hash: owner and input of its answer's key.
    held: HashMap<[u8; 16], (UserId, Box<str>)>,
    idle: HashMap<String, Idle>,
    /// Time after which answers still idle since the start are garbage.
    caught_up: Option<u64>,
    /// Time up to which everything is in the views, once the dataflow holds what it held then.
    applied: Option<u64>,
    /// Questions that wait for that.
    looks: Vec<Look>,
}

impl Memo {
    /// Reads what is recorded. `progress` is the last time in the views.
    ///
    /// # Errors
    /// The log's.
    pub(crate) async fn load(log: Arc<dyn Log>, keys: KeyRing, embedder: Arc<dyn Embedder>, meter: Meter, progress: u64) -> Result<Self, LogError> {
        let model = embedder.model().id();
        let mut idle = HashMap::new();
        for partition in 0..log.partitions(topic::MODEL_ANSWERS)? {
            let mut from = log.start_offset(topic::MODEL_ANSWERS, partition).await?;
            loop {
                let chunk = log.read(topic::MODEL_ANSWERS, partition, from, 10_000).await?;
                for entry in chunk.entries {
                    let key = String::from_utf8_lossy(&entry.key).into_owned();
                    match entry.value.map(|value| wire::decode::<ModelAnswer>(&value)) {
                        None => drop(idle.remove(&key)),
                        Some(Ok(answer)) => drop(idle.insert(key, Idle::Sealed(answer))),
                        // Not readable: as if it had never been asked.
                        Some(Err(error)) => tracing::warn!(memo.key = key, %error, "a recorded answer cannot be read"),
                    }
                }
                if chunk.next == from {
                    break;
                }
                from = chunk.next;
            }
        }
        // At the beginning of all times the dataflow holds nothing.
        let applied = (progress == 0).then_some(0);
        Ok(Self { log, keys, embedder, meter, model, held: HashMap::new(), idle, caught_up: None, applied, looks: Vec::new() })
    }

    /// Answers until the dataflow is gone.
    pub(crate) async fn run(mut self, mut inbox: UnboundedReceiver<ToMemo>) {
        let mut asking = JoinSet::new();
        loop {
            tokio::select! {
                message = inbox.recv() => match message {
                    None => return,
                    Some(ToMemo::Ask(job)) => {
                        let (asked, known) = self.known(&job.requests).await;
                        let asker = Asker {
                            log: Arc::clone(&self.log),
                            keys: self.keys.clone(),
                            embedder: Arc::clone(&self.embedder),
                            meter: self.meter.clone(),
                        };
                        asking.spawn(async move { asker.answer(job, asked, known).await });
                    }
                    Some(ToMemo::Release(time, gone)) => {
                        for (request, answer) in gone {
                            if let (Some((user, input)), Ok(vector)) = (self.held.remove(&hash(&request)), answer) {
                                self.idle.insert(self.key(user, input.into()).to_string(), Idle::Released(time, vector));
                            }
                        }
                    }
                    Some(ToMemo::CaughtUp(time)) => {
                        self.caught_up = Some(time);
                        self.answer_looks().await;
                    }
                    Some(ToMemo::Applied(time)) => {
                        self.applied = Some(time);
                        self.erase(time).await;
                        self.answer_looks().await;
                    }
                    Some(ToMemo::Look(look)) => {
                        self.looks.push(look);
                        self.answer_looks().await;
                    }
                },
                Some(ended) = asking.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a batch of the memo ended badly; the pipeline stands still until a restart");
                    }
                }
            }
        }
    }

    /// Takes what is recorded of a batch; from now on the dataflow holds it. Beside it, what is asked for the rest.
    async fn known(&mut self, requests: &[Row]) -> (Vec<Asked>, Vec<Option<Row>>) {
        let (mut asked, mut known) = (Vec::with_capacity(requests.len()), Vec::with_capacity(requests.len()));
        for request in requests {
            let (text, owner) = read(request);
            let mut found = None;
            let user = self.owner(&owner).await;
            let key = user.as_ref().map(|(id, user)| self.key(*id, user.fingerprint(Purpose::Answers, text.as_bytes())));
            if let (Some(key), Some((_, user))) = (&key, &user) {
                found = match self.idle.remove(&key.to_string()) {
                    Some(Idle::Released(_, vector)) => Some(vector),
                    Some(Idle::Sealed(answer)) => open(user, key, &answer, self.embedder.dimension()),
                    None => None,
                };
                self.held.insert(hash(request), (key.user_id, key.input.as_str().into()));
            }
            asked.push(Asked { key, text });
            known.push(found);
        }
        metrics::counter!("memo_hits_total").increment(known.iter().flatten().count() as u64);
        (asked, known)
    }

    fn key(&self, user_id: UserId, input: String) -> AnswerKey {
        AnswerKey { user_id, model: self.model.clone(), prompt: "-".to_owned(), input }
    }

    /// The owner of a request, with the key that seals; nobody if they were forgotten. Goes on trying while the trouble may pass.
    async fn owner(&self, owner: &str) -> Option<(UserId, Arc<UserKey>)> {
        let Ok(id) = owner.parse::<UserId>() else {
            tracing::error!("a request has an owner that is no user; its answer is not recorded");
            return None;
        };
        let mut pause = Duration::from_millis(50);
        loop {
            match self.keys.user(id).await {
                Ok(user) => return Some((id, user)),
                Err(KeyError::Store(error)) if error.may_pass() => tracing::warn!(%error, "a key could not be looked up yet; trying again"),
                Err(KeyError::Destroyed { .. }) => return None,
                Err(error) => {
                    tracing::error!(%error, "a key cannot be used; the answers of its user are not recorded");
                    return None;
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE);
        }
    }

    /// Says what is needed, if that is known already. No request is taken meanwhile, so none finds its answer erased.
    async fn answer_looks(&mut self) {
        let Some(applied) = self.applied.filter(|applied| self.caught_up.is_some_and(|caught_up| caught_up <= *applied)) else { return };
        for Look { recorded, erase, reply } in std::mem::take(&mut self.looks) {
            let later = self.idle.iter().filter(|(_, idle)| matches!(idle, Idle::Released(at, _) if *at > applied)).map(|(key, _)| key.clone());
            let held = self.held.values().map(|(user, input)| self.key(*user, input.to_string()).to_string());
            let live: HashSet<String> = held.chain(later).collect();
            let mut erased = Ok(());
            if erase {
                let mut records: BTreeMap<u32, Vec<Record>> = BTreeMap::new();
                for gone in recorded.into_iter().filter(|one| !live.contains(&one.key)) {
                    self.idle.remove(&gone.key);
                    records.entry(gone.partition).or_default().push(Record { key: gone.key.into_bytes(), value: None });
                }
                let _writing = self.keys.writing().await;
                for (partition, records) in records {
                    if let Err(error) = self.log.append(topic::MODEL_ANSWERS, partition, records).await {
                        erased = Err(error);
                        break;
                    }
                }
            }
            // Who asked may have left.
            reply.send(erased.map(|()| Seen { live })).ok();
        }
    }

    /// Erases the answers that nobody needs once everything up to `time` is in the views.
    async fn erase(&mut self, time: u64) {
        let started_over = self.caught_up.is_some_and(|caught_up| caught_up <= time);
        let garbage = |idle: &Idle| match idle {
            Idle::Released(at, _) => *at <= time,
            Idle::Sealed(_) => started_over,
        };
        let gone: Vec<String> = self.idle.iter().filter(|(_, idle)| garbage(idle)).map(|(key, _)| key.clone()).collect();
        if gone.is_empty() {
            return;
        }
        let Ok(partitions) = self.log.partitions(topic::MODEL_ANSWERS) else { return };
        let mut records: BTreeMap<u32, Vec<Record>> = BTreeMap::new();
        for key in &gone {
            let Ok(parsed) = key.parse::<AnswerKey>() else {
                tracing::warn!(memo.key = key, "a recorded answer has a key that is none");
                continue;
            };
            let partition = partition_for_user(parsed.user_id, partitions);
            records.entry(partition).or_default().push(Record { key: key.clone().into_bytes(), value: None });
        }
        let _writing = self.keys.writing().await;
        for (partition, records) in records {
            if let Err(error) = self.log.append(topic::MODEL_ANSWERS, partition, records).await {
                // They stay idle, and are tried again with the next epoch.
                tracing::warn!(%error, "answers without a turn could not be erased yet");
                return;
            }
        }
        for key in gone {
            self.idle.remove(&key);
        }
    }
}

/// The text and the owner of a request.
fn read(request: &Row) -> (String, String) {
    let mut cells = request.cells(&[Kind::Text, Kind::Text]).into_iter().map(|cell| if let Cell::Text(text) = cell { text.into_owned() } else { String::new() });
    (cells.next().unwrap_or_default(), cells.next().unwrap_or_default())
}

fn hash(request: &Row) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&blake3::hash(request.bytes()).as_bytes()[..16]);
    short
}

/// A recorded answer; nothing if it cannot be opened or is no vector of the model, as if it had never been asked.
fn open(user: &UserKey, key: &AnswerKey, answer: &ModelAnswer, dimension: usize) -> Option<Row> {
    let bytes = user.open(Purpose::Answers, &ModelAnswer::aad(key), &answer.answer).ok()?;
    vector_from_bytes(&bytes).filter(|vector| vector.len() == dimension).map(row)
}
