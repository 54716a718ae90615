//! The memo: a model's first answer, on the log before anything that used it is applied.
//!
//! One task owns it. It answers a batch from what is recorded, asks the model for the rest, appends the answers, and only then
//! lets them into the dataflow. When a request has no live turn left, its answer is erased from the log, after the epoch that
//! let go of it has been applied, so that a restart never misses an answer.
//!
//! Keeps in memory: answers that no operator holds (read at the start, or let go and not yet erased).

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ajatus_events::{AnswerKey, ModelAnswer, UserId, topic};
use ajatus_inference::{Embedder, InferenceError, Party};
use ajatus_kafka::{Log, LogError, Record, partition_for_user, wire};
use ajatus_memory::index::{vector_from_bytes, vector_to_bytes};
use ajatus_memory::keys::{KeyError, KeyRing, Purpose};
use ajatus_operators::{Answer, Job};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;

use crate::plan::VectorBytes;
use crate::status::Meter;
use crate::turn::Request;

/// What the memo's task is told.
pub(crate) enum ToMemo {
    /// A batch to answer.
    Ask(Job<Request, VectorBytes>),
    /// Requests without a live turn from this time on.
    Release(u64, Vec<(Request, Answer<VectorBytes>)>),
    /// Everything up to this time is in the views.
    Applied(u64),
    /// Everything an earlier run had minted lies at or below this time.
    CaughtUp(u64),
}

/// An answer nobody in the dataflow holds.
enum Idle {
    /// As read from the log.
    Sealed(ModelAnswer),
    /// Let go by the dataflow at a time.
    Released(u64, VectorBytes),
}

/// The memo's task and what it needs.
pub(crate) struct Memo {
    log: Arc<dyn Log>,
    keys: KeyRing,
    embedder: Arc<dyn Embedder>,
    meter: Meter,
    model: String,
    idle: HashMap<String, Idle>,
    /// Time after which answers still idle since the start are garbage.
    caught_up: Option<u64>,
}

/// Longest pause between two tries of something that may pass.
const PAUSE: Duration = Duration::from_secs(5);

impl Memo {
    /// Reads what is recorded.
    ///
    /// # Errors
    /// The log's.
    pub(crate) async fn load(log: Arc<dyn Log>, keys: KeyRing, embedder: Arc<dyn Embedder>, meter: Meter) -> Result<Self, LogError> {
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
        Ok(Self { log, keys, embedder, meter, model, idle, caught_up: None })
    }

    /// Answers until the dataflow is gone.
    pub(crate) async fn run(mut self, mut inbox: UnboundedReceiver<ToMemo>) {
        let mut asking = JoinSet::new();
        loop {
            tokio::select! {
                message = inbox.recv() => match message {
                    None => return,
                    Some(ToMemo::Ask(job)) => {
                        let known = self.known(&job.requests).await;
                        let asker = Asker {
                            log: Arc::clone(&self.log),
                            keys: self.keys.clone(),
                            embedder: Arc::clone(&self.embedder),
                            meter: self.meter.clone(),
                            model: self.model.clone(),
                        };
                        asking.spawn(async move { asker.answer(job, known).await });
                    }
                    Some(ToMemo::Release(time, gone)) => {
                        for (request, answer) in gone {
                            if let Ok(vector) = answer {
                                self.idle.insert(key(&self.model, &request).to_string(), Idle::Released(time, vector));
                            }
                        }
                    }
                    Some(ToMemo::CaughtUp(time)) => self.caught_up = Some(time),
                    Some(ToMemo::Applied(time)) => self.erase(time).await,
                },
                Some(ended) = asking.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a batch of the memo ended badly; the pipeline stands still until a restart");
                    }
                }
            }
        }
    }

    /// Takes what is recorded of a batch; from now on the dataflow holds it.
    async fn known(&mut self, requests: &[Request]) -> Vec<Option<VectorBytes>> {
        let mut known = Vec::with_capacity(requests.len());
        for request in requests {
            let key = key(&self.model, request);
            let found = match self.idle.remove(&key.to_string()) {
                Some(Idle::Released(_, vector)) => Some(vector),
                Some(Idle::Sealed(answer)) => open(&self.keys, &key, &answer).await,
                None => None,
            };
            known.push(found);
        }
        metrics::counter!("memo_hits_total").increment(known.iter().flatten().count() as u64);
        known
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

fn key(model: &str, request: &Request) -> AnswerKey {
    AnswerKey { user_id: request.user_id, model: model.to_owned(), prompt: "-".to_owned(), input: request.input.clone() }
}

async fn open(keys: &KeyRing, key: &AnswerKey, answer: &ModelAnswer) -> Option<VectorBytes> {
    let user = keys.user(key.user_id).await.ok()?;
    let bytes = user.open(Purpose::Answers, &ModelAnswer::aad(key), &answer.answer).ok()?;
    vector_from_bytes(&bytes)?;
    Some(bytes.into())
}

/// One batch on its way: asks, records, answers. Goes on trying while the trouble may pass.
struct Asker {
    log: Arc<dyn Log>,
    keys: KeyRing,
    embedder: Arc<dyn Embedder>,
    meter: Meter,
    model: String,
}

impl Asker {
    async fn answer(&self, job: Job<Request, VectorBytes>, mut known: Vec<Option<VectorBytes>>) {
        let unknown: Vec<usize> = (0..known.len()).filter(|at| known[*at].is_none()).collect();
        let mut refused: BTreeMap<usize, String> = BTreeMap::new();
        if !unknown.is_empty() {
            // Users take turns in the model's queue.
            let texts: Vec<(Party, String)> = unknown.iter().map(|at| &job.requests[*at]).map(|request| (Party(request.user_id.0.as_u128()), request.text.clone())).collect();
            let clock = Instant::now();
            let answers = self.ask(texts).await;
            self.meter.add("embed", clock);
            let mut fresh = Vec::new();
            for (at, answer) in unknown.into_iter().zip(answers) {
                match answer {
                    Ok(vector) => {
                        let bytes: VectorBytes = vector_to_bytes(&vector).into();
                        fresh.push((key(&self.model, &job.requests[at]), Arc::clone(&bytes)));
                        known[at] = Some(bytes);
                    }
                    Err(error) => drop(refused.insert(at, error.to_string())),
                }
            }
            let clock = Instant::now();
            self.record(&fresh).await;
            self.meter.add("memo", clock);
        }
        let answers = known
            .into_iter()
            .enumerate()
            .map(|(at, vector)| vector.ok_or_else(|| refused.remove(&at).unwrap_or_else(|| "no answer".to_owned())))
            .collect();
        job.answer(answers);
    }

    /// Asks until every text has an answer or a refusal that trying again would not change.
    async fn ask(&self, texts: Vec<(Party, String)>) -> Vec<Result<Vec<f32>, InferenceError>> {
        let mut answers: Vec<Option<Result<Vec<f32>, InferenceError>>> = vec![None; texts.len()];
        let mut pause = Duration::from_millis(50);
        loop {
            let open: Vec<usize> = (0..texts.len()).filter(|at| answers[*at].is_none()).collect();
            if open.is_empty() {
                return answers.into_iter().flatten().collect();
            }
            match self.embedder.embed_for(open.iter().map(|at| texts[*at].clone()).collect()).await {
                Ok(batch) => {
                    for (at, answer) in open.iter().zip(batch) {
                        match answer {
                            Err(error) if error.may_pass() => tracing::warn!(%error, "a text could not be embedded yet"),
                            settled => answers[*at] = Some(settled.and_then(finite)),
                        }
                    }
                }
                Err(error) if error.may_pass() => tracing::warn!(%error, "the embedding model did not answer; trying again"),
                Err(error) => open.iter().for_each(|at| answers[*at] = Some(Err(error.clone()))),
            }
            if answers.iter().any(Option::is_none) {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE);
            }
        }
    }

    /// Appends answers, and returns when they are durable.
    async fn record(&self, fresh: &[(AnswerKey, VectorBytes)]) {
        let mut pause = Duration::from_millis(50);
        while let Err(error) = self.try_record(fresh).await {
            tracing::warn!(error, "answers could not be recorded yet; trying again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE);
        }
    }

    async fn try_record(&self, fresh: &[(AnswerKey, VectorBytes)]) -> Result<(), String> {
        let partitions = self.log.partitions(topic::MODEL_ANSWERS).map_err(|error| error.to_string())?;
        let mut users: HashMap<UserId, Option<Arc<ajatus_memory::keys::UserKey>>> = HashMap::new();
        let mut records: BTreeMap<u32, Vec<Record>> = BTreeMap::new();
        for (key, vector) in fresh {
            if let Entry::Vacant(place) = users.entry(key.user_id) {
                place.insert(match self.keys.user(key.user_id).await {
                    Ok(found) => Some(found),
                    Err(KeyError::Destroyed { .. }) => None,
                    Err(error) => return Err(error.to_string()),
                });
            }
            // The user was forgotten meanwhile: nothing of theirs is recorded.
            let Some(Some(user)) = users.get(&key.user_id) else { continue };
            let answer = ModelAnswer { answer: user.seal(Purpose::Answers, &ModelAnswer::aad(key), vector) };
            let value = wire::encode(&answer).map_err(|error| error.to_string())?;
            let record = Record { key: key.to_string().into_bytes(), value: Some(value) };
            records.entry(partition_for_user(key.user_id, partitions)).or_default().push(record);
        }
        for (partition, records) in records {
            self.log.append(topic::MODEL_ANSWERS, partition, records).await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

fn finite(vector: Vec<f32>) -> Result<Vec<f32>, InferenceError> {
    if vector.iter().all(|value| value.is_finite()) {
        return Ok(vector);
    }
    Err(InferenceError::Input { reason: "its vector holds a value that is not finite".to_owned() })
}
