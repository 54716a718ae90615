//! One batch for the model: asked, recorded, answered.
//!
//! Holds always: an answer is on the log before the dataflow has it. Not promised: an end; it goes on trying while the trouble
//! may pass. After a crash: what was appended is found by the next start.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ajatus_events::{AnswerKey, ModelAnswer, UserId, topic};
use ajatus_inference::{Embedder, InferenceError, Party};
use ajatus_kafka::{Log, Record, partition_for_user, wire};
use ajatus_memory::index::vector_to_bytes;
use ajatus_memory::keys::{KeyError, KeyRing, Purpose, UserKey};
use ajatus_operators::Job;
use ajatus_operators::row::{Row, Writer};

use crate::status::Meter;

/// Longest pause between two tries of something that may pass.
pub(crate) const PAUSE: Duration = Duration::from_secs(5);

/// What a request asks, and under which key its answer is recorded; without one, its owner was forgotten meanwhile.
pub(crate) struct Asked {
    pub(crate) key: Option<AnswerKey>,
    pub(crate) text: String,
}

/// One batch on its way: asks, records, answers. Goes on trying while the trouble may pass.
pub(crate) struct Asker {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) keys: KeyRing,
    pub(crate) embedder: Arc<dyn Embedder>,
    pub(crate) meter: Meter,
}

impl Asker {
    pub(crate) async fn answer(&self, job: Job<Row, Row>, mut asked: Vec<Asked>, mut known: Vec<Option<Row>>) {
        let unknown: Vec<usize> = (0..known.len()).filter(|at| known[*at].is_none()).collect();
        let mut refused: BTreeMap<usize, String> = BTreeMap::new();
        if !unknown.is_empty() {
            // Users take turns in the model's queue; one who is gone meanwhile waits as nobody.
            let texts = unknown.iter().map(|at| {
                let party = asked[*at].key.as_ref().map_or(Party(0), |key| Party(key.user_id.0.as_u128()));
                (party, std::mem::take(&mut asked[*at].text))
            });
            let texts: Vec<(Party, String)> = texts.collect();
            let clock = Instant::now();
            let answers = self.ask(texts).await;
            self.meter.add("embed", clock);
            let mut fresh = Vec::new();
            for (at, answer) in unknown.into_iter().zip(answers) {
                match answer {
                    Ok(vector) => {
                        // The user was forgotten meanwhile: nothing of theirs is recorded.
                        if let Some(key) = asked[at].key.take() {
                            fresh.push((key, vector_to_bytes(&vector)));
                        }
                        known[at] = Some(row(vector));
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
                            settled => answers[*at] = Some(settled.and_then(|vector| usable(vector, self.embedder.dimension()))),
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
    async fn record(&self, fresh: &[(AnswerKey, Vec<u8>)]) {
        let mut pause = Duration::from_millis(50);
        while let Err(error) = self.try_record(fresh).await {
            tracing::warn!(error, "answers could not be recorded yet; trying again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE);
        }
    }

    async fn try_record(&self, fresh: &[(AnswerKey, Vec<u8>)]) -> Result<(), String> {
        let partitions = self.log.partitions(topic::MODEL_ANSWERS).map_err(|error| error.to_string())?;
        // Before keys are asked for: what they seal is on the log before they can be replaced.
        let _writing = self.keys.writing().await;
        let mut users: HashMap<UserId, Option<Arc<UserKey>>> = HashMap::new();
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

fn usable(vector: Vec<f32>, dimension: usize) -> Result<Vec<f32>, InferenceError> {
    if vector.len() != dimension {
        return Err(InferenceError::Input { reason: format!("its vector has {} components, but the model's have {dimension}", vector.len()) });
    }
    if vector.iter().all(|value| value.is_finite()) {
        return Ok(vector);
    }
    Err(InferenceError::Input { reason: "its vector holds a value that is not finite".to_owned() })
}

/// A vector as the dataflow has it.
pub(crate) fn row(vector: Vec<f32>) -> Row {
    let mut out = Writer::new();
    out.vector(vector);
    out.finish()
}
