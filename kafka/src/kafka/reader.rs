//! One partition's consumer: assigned, never subscribed.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use super::KafkaConfig;
use crate::log::{Chunk, Entry, LogError};

/// Bytes of one read at most, about.
const READ_BYTES: usize = 4 << 20;

pub(super) struct Reader {
    config: KafkaConfig,
    topic: String,
    partition: u32,
    number: i32,
    consumer: BaseConsumer,
    /// Where the assigned consumer reads on; `None`: not assigned.
    position: Option<u64>,
}

impl Reader {
    pub(super) fn new(config: &KafkaConfig, topic: &str, partition: u32) -> Result<Self, LogError> {
        let number = i32::try_from(partition).map_err(|_| LogError::UnknownPartition { topic: topic.to_owned(), partition })?;
        let mut client = config.client();
        client
            // Required by the client, used for nothing: no group is joined and no offset committed.
            .set("group.id", "ajatus-assigned")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "true")
            .set("fetch.wait.max.ms", "10")
            .set("queued.max.messages.kbytes", "16384");
        let consumer = client.create().map_err(|error| config.unreachable(error))?;
        Ok(Self { config: config.clone(), topic: topic.to_owned(), partition, number, consumer, position: None })
    }

    /// First offset that can be read, and the end.
    pub(super) fn bounds(&mut self) -> Result<(u64, u64), LogError> {
        let (low, high) = self
            .consumer
            .fetch_watermarks(&self.topic, self.number, self.config.deadline)
            .map_err(|error| self.config.failure(error))?;
        Ok((unsigned(low), unsigned(high)))
    }

    pub(super) fn read(&mut self, from: u64, max_records: usize) -> Result<Chunk, LogError> {
        let (low, high) = self.bounds()?;
        if from < low || from > high {
            let first = if from < low { low } else { high };
            return Err(LogError::Gap { topic: self.topic.clone(), partition: self.partition, wanted: from, first });
        }
        let mut chunk = Chunk { entries: Vec::new(), next: from };
        if from == high {
            return Ok(chunk);
        }
        if self.position != Some(from) {
            self.assign(from)?;
        }
        let deadline = Instant::now() + self.config.deadline;
        let mut bytes = 0;
        while chunk.next < high && chunk.entries.len() < max_records.max(1) && bytes < READ_BYTES {
            match self.consumer.poll(Duration::from_millis(100)) {
                None if Instant::now() > deadline => {
                    self.position = None;
                    return Err(self.config.unreachable(format!("no record of {} {} came from offset {}", self.topic, self.partition, chunk.next)));
                }
                None => {}
                Some(Ok(message)) => {
                    let offset = unsigned(message.offset());
                    if offset >= high {
                        // Appended since; the next read takes it.
                        self.position = None;
                        chunk.next = high;
                        return Ok(chunk);
                    }
                    bytes += message.payload_len() + message.key_len();
                    chunk.entries.push(Entry {
                        offset,
                        key: message.key().unwrap_or_default().to_vec(),
                        value: message.payload().map(<[u8]>::to_vec),
                        timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
                    });
                    chunk.next = offset + 1;
                }
                // Everything up to the end was seen: what lies between is holes that compaction left.
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    chunk.next = high;
                    self.position = None;
                    return Ok(chunk);
                }
                Some(Err(error)) => {
                    self.position = None;
                    return Err(self.config.failure(error));
                }
            }
        }
        self.position = Some(chunk.next);
        Ok(chunk)
    }

    fn assign(&mut self, from: u64) -> Result<(), LogError> {
        let offset = i64::try_from(from).unwrap_or(i64::MAX);
        let mut list = TopicPartitionList::new();
        let assigned = list
            .add_partition_offset(&self.topic, self.number, Offset::Offset(offset))
            .and_then(|()| self.consumer.assign(&list));
        assigned.map_err(|error| self.config.failure(error))
    }
}

fn unsigned(offset: i64) -> u64 {
    u64::try_from(offset).unwrap_or(0)
}
