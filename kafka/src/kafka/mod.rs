//! The log on a Kafka broker.
//!
//! Appends go through an idempotent producer with `acks=all`; reads through one assigned consumer per partition
//! (`read_committed`, no group, no committed offsets); news through a consumer at the end of each topic asked about.
//!
//! Holds always: the port. Every call has a deadline.
//! Not promised: a wake-up faster than the broker's fetch (a few ms on an idle broker); that a failed append wrote nothing:
//! some records of its batch may be there, so writers are idempotent by key.
//! After a crash: nothing of ours is on this side.

mod admin;
mod reader;
mod tail;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use tokio::sync::watch;

pub use admin::TopicChange;

use crate::log::{Chunk, Erasure, Log, LogError, Record};
use crate::topics::Topics;
use reader::Reader;
use tail::Tail;

/// How to reach the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaConfig {
    /// `host:port`, several with commas.
    pub servers: String,
    /// Longest wait for an answer. Default 10 s.
    pub deadline: Duration,
    /// Copies of a new topic; `None`: the broker's default.
    pub replication: Option<u32>,
}

impl KafkaConfig {
    /// The defaults.
    #[must_use]
    pub fn new(servers: &str) -> Self {
        Self { servers: servers.to_owned(), deadline: Duration::from_secs(10), replication: None }
    }

    fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.servers).set("client.id", "ajatus").set("log_level", "3");
        client
    }

    fn unreachable(&self, reason: impl std::fmt::Display) -> LogError {
        LogError::Unreachable { broker: self.servers.clone(), reason: reason.to_string() }
    }

    fn failure(&self, error: KafkaError) -> LogError {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownPartition) => {
                LogError::Corrupt { reason: format!("a topic is missing on {}; run `ajatus topics apply`", self.servers) }
            }
            _ => self.unreachable(error),
        }
    }
}

/// Makes a broker's topics agree with `topics`, without connecting a log to it (which makes missing topics by itself);
/// with `dry_run`, changes nothing and says what would change. A second run returns an empty list.
///
/// # Errors
/// As [`KafkaLog::apply_topics`].
pub async fn topics_apply(config: &KafkaConfig, topics: &Topics, dry_run: bool) -> Result<Vec<TopicChange>, LogError> {
    let mode = if dry_run { admin::Mode::DryRun } else { admin::Mode::Apply };
    admin::apply(config, topics, mode).await
}

/// How records are written: in order, once, and acknowledged by all replicas.
fn producing(config: &KafkaConfig, topics: &Topics) -> ClientConfig {
    let mut client = config.client();
    client
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "1")
        .set("compression.type", "none")
        .set("message.max.bytes", (topics.max_record_bytes + 64 * 1024).to_string())
        .set("delivery.timeout.ms", config.deadline.as_millis().to_string())
        .set("request.timeout.ms", config.deadline.as_millis().min(5_000).to_string());
    client
}

/// Topics of the cluster, with their partitions. All are asked for: asking for one by name could make it.
async fn known(config: &KafkaConfig, producer: &FutureProducer) -> Result<HashMap<String, u32>, LogError> {
    let (probe, deadline) = (producer.clone(), config.deadline);
    let seen = tokio::task::spawn_blocking(move || {
        let metadata = probe.client().fetch_metadata(None, deadline)?;
        Ok::<_, KafkaError>(metadata.topics().iter().map(|topic| (topic.name().to_owned(), u32::try_from(topic.partitions().len()).unwrap_or(0))).collect())
    });
    seen.await.map_err(|_| config.unreachable("the client panicked"))?.map_err(|error| config.unreachable(error))
}

/// One reader for each topic and partition that was read.
type Readers = HashMap<(String, u32), Arc<Mutex<Reader>>>;

/// The log on a broker; see the module's comment.
pub struct KafkaLog {
    config: KafkaConfig,
    topics: Topics,
    producer: FutureProducer,
    readers: Mutex<Readers>,
    tails: Mutex<HashMap<String, Tail>>,
}

impl KafkaLog {
    /// Connects, and makes the topics that are missing.
    ///
    /// # Errors
    /// [`LogError::Unreachable`] when no broker answers in time.
    pub async fn connect(config: KafkaConfig, topics: Topics) -> Result<Arc<Self>, LogError> {
        let producer: FutureProducer = producing(&config, &topics).create().map_err(|error| config.unreachable(error))?;
        // A broker that does not answer is said at once.
        known(&config, &producer).await?;
        admin::apply(&config, &topics, admin::Mode::CreateOnly).await?;
        Ok(Arc::new(Self { config, topics, producer, readers: Mutex::default(), tails: Mutex::default() }))
    }

    /// Connects to a cluster that is not ours, for these topics; makes none, and changes none.
    ///
    /// # Errors
    /// [`LogError::Unreachable`] when no broker answers in time; [`LogError::Corrupt`] if a topic is not there.
    pub async fn connect_elsewhere(config: KafkaConfig, topics: &[String]) -> Result<Arc<Self>, LogError> {
        let producer: FutureProducer = producing(&config, &Topics::found([])).create().map_err(|error| config.unreachable(error))?;
        let known = known(&config, &producer).await?;
        let mut found = Vec::with_capacity(topics.len());
        for topic in topics {
            let partitions = known.get(topic).copied().filter(|partitions| *partitions > 0);
            let partitions = partitions.ok_or_else(|| LogError::Corrupt { reason: format!("there is no topic {topic:?} on {}; make it there", config.servers) })?;
            found.push((topic.clone(), partitions));
        }
        Ok(Arc::new(Self { config, topics: Topics::found(found), producer, readers: Mutex::default(), tails: Mutex::default() }))
    }

    /// Makes the broker's topics agree with ours; with `dry_run`, only says what would change.
    ///
    /// # Errors
    /// [`LogError::Unreachable`]; before anything is changed, [`LogError::Corrupt`] if a topic would lose partitions, or if a
    /// compacted one that holds records would get more, since keys would move.
    pub async fn apply_topics(&self, dry_run: bool) -> Result<Vec<TopicChange>, LogError> {
        topics_apply(&self.config, &self.topics, dry_run).await
    }

    /// Runs a reader's call off the reactor; calls for one partition go one after the other.
    async fn with_reader<T: Send + 'static>(
        &self,
        topic: &str,
        partition: u32,
        call: impl FnOnce(&mut Reader) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        self.topics.check(topic, partition, &[])?;
        let reader = {
            let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
            match readers.get(&(topic.to_owned(), partition)) {
                Some(reader) => Arc::clone(reader),
                None => {
                    let reader = Arc::new(Mutex::new(Reader::new(&self.config, topic, partition)?));
                    readers.insert((topic.to_owned(), partition), Arc::clone(&reader));
                    reader
                }
            }
        };
        let called = tokio::task::spawn_blocking(move || call(&mut reader.lock().unwrap_or_else(PoisonError::into_inner))).await;
        called.map_err(|_| self.config.unreachable("a read panicked"))?
    }
}

#[async_trait]
impl Log for KafkaLog {
    fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.topics.partitions(topic)
    }

    async fn append(&self, topic: &str, partition: u32, records: Vec<Record>) -> Result<Vec<u64>, LogError> {
        self.topics.check(topic, partition, &records)?;
        let number = i32::try_from(partition).map_err(|_| LogError::UnknownPartition { topic: topic.to_owned(), partition })?;
        let clock = std::time::Instant::now();
        let mut sent = Vec::with_capacity(records.len());
        for record in &records {
            // In order: the queue is per partition, and an idempotent producer keeps its order over retries.
            let mut next = FutureRecord::to(topic).partition(number).key(&record.key);
            if let Some(value) = &record.value {
                next = next.payload(value);
            }
            let delivery = loop {
                match self.producer.send_result(next) {
                    Ok(delivery) => break delivery,
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                        if clock.elapsed() > self.config.deadline {
                            return Err(self.config.unreachable("the producer's queue stays full"));
                        }
                        next = again;
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    Err((error, _)) => return Err(self.config.failure(error)),
                }
            };
            sent.push(delivery);
        }
        // The client's own time-out comes late when a broker dies under it (11 s for 3 s were seen).
        let until = tokio::time::Instant::now() + self.config.deadline.saturating_sub(clock.elapsed());
        let mut offsets = Vec::with_capacity(sent.len());
        for delivery in sent {
            let late = |_| self.config.unreachable(format!("no acknowledgement within {:?}", self.config.deadline));
            let delivered = tokio::time::timeout_at(until, delivery).await.map_err(late)?;
            let delivered = delivered.map_err(|_| self.config.unreachable("the producer was dropped"))?;
            let delivery = delivered.map_err(|(error, _)| self.config.failure(error))?;
            offsets.push(u64::try_from(delivery.offset).map_err(|_| self.config.unreachable("the broker gave no offset"))?);
        }
        metrics::histogram!("log_append_seconds").record(clock.elapsed().as_secs_f64());
        if let Some(tail) = self.tails.lock().unwrap_or_else(PoisonError::into_inner).get(topic) {
            tail.bump();
        }
        Ok(offsets)
    }

    async fn read(&self, topic: &str, partition: u32, from: u64, max_records: usize) -> Result<Chunk, LogError> {
        self.with_reader(topic, partition, move |reader| reader.read(from, max_records)).await
    }

    async fn start_offset(&self, topic: &str, partition: u32) -> Result<u64, LogError> {
        Ok(self.with_reader(topic, partition, |reader| reader.bounds()).await?.0)
    }

    async fn end_offset(&self, topic: &str, partition: u32) -> Result<u64, LogError> {
        Ok(self.with_reader(topic, partition, |reader| reader.bounds()).await?.1)
    }

    fn appended(&self, topic: &str) -> Result<watch::Receiver<u64>, LogError> {
        let partitions = self.topics.partitions(topic)?;
        let mut tails = self.tails.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tail) = tails.get(topic) {
            return Ok(tail.subscribe());
        }
        let tail = Tail::start(&self.config, topic, partitions)?;
        let news = tail.subscribe();
        tails.insert(topic.to_owned(), tail);
        Ok(news)
    }

    async fn compact(&self, topic: &str, partition: u32, _below: u64) -> Result<u64, LogError> {
        // The broker compacts by itself, by `cleanup.policy=compact`.
        self.topics.check(topic, partition, &[]).map(|()| 0)
    }

    async fn remove(&self, topic: &str, partition: u32, _offsets: Vec<u64>) -> Result<u64, LogError> {
        // A broker truncates a partition or keeps it; retention removes what is old.
        self.topics.check(topic, partition, &[]).map(|()| 0)
    }

    async fn erase(&self, places: &[(&str, u32)]) -> Result<Erasure, LogError> {
        for (topic, partition) in places {
            self.topics.check(topic, *partition, &[])?;
        }
        let topics: BTreeSet<&str> = places.iter().map(|(topic, _)| *topic).collect();
        Ok(Erasure::Broker { settings: admin::compaction(&self.config, topics.into_iter().collect()).await? })
    }
}
