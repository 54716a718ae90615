//! One partition's consumer: assigned, never subscribed.
//!
//! Holds always: a chunk's `next` passes an offset only if its record is in the chunk or the broker said, after the read
//! began, that there is none.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use super::KafkaConfig;
use crate::log::{Chunk, Entry, LogError};

/// Bytes of one read at most, about.
const READ_BYTES: usize = 4 << 20;
/// Wait of one poll.
const POLL: Duration = Duration::from_millis(100);
/// Wait before asking again a broker that knows no leader.
const AGAIN: Duration = Duration::from_millis(50);
/// How long a topic made a moment ago may be unknown.
const NEW_TOPIC: Duration = Duration::from_secs(2);

/// What word of the partition's end is worth. The client queues it among the records and keeps it there until polled, so
/// what was fetched before this read asked for the end tells of an older end: records may have come since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EndOfPartition {
    /// The assignment is older than the end that this read goes up to: not to be trusted.
    Stale,
    /// So it was, and word of an end came.
    Doubted,
    /// Everything was fetched after this read had asked for the end.
    Fresh,
}

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
    ///
    /// A broker that has just started knows no leader for a moment, so such answers are asked about again.
    pub(super) fn bounds(&mut self) -> Result<(u64, u64), LogError> {
        let asked = Instant::now();
        loop {
            let left = self.config.deadline.saturating_sub(asked.elapsed()).max(Duration::from_millis(100));
            let error = match self.consumer.fetch_watermarks(&self.topic, self.number, left) {
                Ok((low, high)) => return Ok((unsigned(low), unsigned(high))),
                Err(error) => error,
            };
            let patience = match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::NotLeaderForPartition | RDKafkaErrorCode::LeaderNotAvailable) => self.config.deadline,
                // A topic made a moment ago; or one that is missing indeed, which is better said soon.
                Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownPartition) => self.config.deadline.min(NEW_TOPIC),
                _ => return Err(self.config.failure(error)),
            };
            if asked.elapsed() >= patience {
                return Err(self.config.failure(error));
            }
            std::thread::sleep(AGAIN);
        }
    }

    pub(super) fn read(&mut self, from: u64, max_records: usize) -> Result<Chunk, LogError> {
        let (low, high) = self.bounds()?;
        if from < low || from > high {
            let first = if from < low { low } else { high };
            return Err(LogError::Gap { topic: self.topic.clone(), partition: self.partition, wanted: from, first });
        }
        if from == high {
            return Ok(Chunk { entries: Vec::new(), next: from });
        }
        // Until it is known that all went well, the next read assigns anew.
        let assigned = self.position.take();
        let mut word = if assigned == Some(from) { EndOfPartition::Stale } else { EndOfPartition::Fresh };
        if word == EndOfPartition::Fresh {
            self.assign(from)?;
        }
        let mut chunk = Chunk { entries: Vec::new(), next: from };
        let deadline = Instant::now() + self.config.deadline;
        let mut bytes = 0;
        while chunk.next < high && chunk.entries.len() < max_records.max(1) && bytes < READ_BYTES {
            match self.consumer.poll(POLL) {
                Some(Ok(message)) => {
                    bytes += message.payload_len() + message.key_len();
                    let offset = unsigned(message.offset());
                    chunk.entries.push(Entry {
                        offset,
                        key: message.key().unwrap_or_default().to_vec(),
                        value: message.payload().map(<[u8]>::to_vec),
                        timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
                    });
                    chunk.next = offset + 1;
                }
                Some(Err(KafkaError::PartitionEOF(_))) if word == EndOfPartition::Fresh => {
                    // Everything up to the end was seen: what lies between is holes that compaction left.
                    chunk.next = high;
                    return Ok(chunk);
                }
                Some(Err(KafkaError::PartitionEOF(_))) => word = EndOfPartition::Doubted,
                Some(Err(error)) => return Err(self.config.failure(error)),
                None if word == EndOfPartition::Doubted => {
                    // Nothing came after it: ask the broker anew, whose word of the end can then be taken.
                    self.assign(chunk.next)?;
                    word = EndOfPartition::Fresh;
                }
                // What came in time is not lost; who asks again is told if nothing more comes.
                None if Instant::now() > deadline && !chunk.entries.is_empty() => return Ok(chunk),
                None if Instant::now() > deadline => {
                    return Err(self.config.unreachable(format!("no record of {} {} came from offset {from}", self.topic, self.partition)));
                }
                None => {}
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
