//! The port to the log.
//!
//! Operations: [`Log::append`], [`Log::read`], [`Log::start_offset`], [`Log::end_offset`], [`Log::appended`],
//! [`Log::compact`], [`Log::remove`], [`Log::erase`].
//! Guarantees: one partition is one order; `append` returns when every record is durable (fsynced, or acknowledged by
//! all in-sync replicas); a record, once read, is read again at the same offset with the same bytes until compaction
//! removes it; the last record of a key is never removed, except a tombstone after its time.
//! Not guaranteed: any order between partitions; that offsets have no holes (compaction and brokers leave them, so go on
//! from [`Chunk::next`], never from the last offset + 1).
//! Failure: every error is a [`LogError`]; a failed append may or may not have been written, so writers are idempotent
//! by key.
//! Enforcement: `kafka/tests/conformance.rs`, run over both implementations.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// One record to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What compaction keeps the last value of; UTF-8 by our convention, not empty.
    pub key: Vec<u8>,
    /// The value; `None` is a tombstone, which forgets the key.
    pub value: Option<Vec<u8>>,
}

/// One record as it stands on the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Position in its partition.
    pub offset: u64,
    /// As appended.
    pub key: Vec<u8>,
    /// As appended.
    pub value: Option<Vec<u8>>,
    /// When the log took it, milliseconds since 1970, UTC.
    pub timestamp_ms: i64,
}

/// A run of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Records in order of offset; may be empty though `next` moved on.
    pub entries: Vec<Entry>,
    /// Where to read on: everything of the partition below it has been seen.
    pub next: u64,
}

/// How far records that are removed or replaced have left the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Erasure {
    /// The log's files were rewritten: none of them holds a byte of such a record any more.
    Log {
        /// Journals that went.
        journals: u64,
        /// Their size.
        journal_bytes: u64,
        /// Partitions whose tables were rewritten.
        partitions: u64,
    },
    /// The broker compacts when its settings let it, and nobody can hurry it: its active segment is never compacted.
    Broker {
        /// The settings that decide when, as they are there, per topic.
        settings: BTreeMap<String, BTreeMap<String, String>>,
    },
}

/// Why the log could not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// `topics.toml` does not name the topic, or the partition is past its count; a bug or a missing `topics apply`.
    #[error("topic {topic:?} has no partition {partition}; run `ajatus topics apply`")]
    UnknownPartition {
        /// Topic asked for.
        topic: String,
        /// Partition asked for.
        partition: u32,
    },
    /// The record is larger than the topic takes; nothing of the batch was written.
    #[error("record of {size_bytes} bytes is larger than the limit of {limit_bytes} bytes on topic {topic:?}")]
    TooLarge {
        /// Topic.
        topic: String,
        /// Key and value together.
        size_bytes: usize,
        /// What the topic takes.
        limit_bytes: usize,
    },
    /// Records between the wanted offset and the first kept one are gone; the reader must stop, not skip.
    #[error("topic {topic:?} partition {partition} starts at offset {first}, but offset {wanted} was asked for")]
    Gap {
        /// Topic.
        topic: String,
        /// Partition.
        partition: u32,
        /// Offset asked for.
        wanted: u64,
        /// First offset that can be read (or, past the end, the end).
        first: u64,
    },
    /// No space left on the device; nothing of the batch was acknowledged. Free some space and try again.
    #[error("no space is left for the log in {path:?}; free some and try again")]
    DiskFull {
        /// The log's folder.
        path: String,
    },
    /// Another process holds the embedded log.
    #[error("the log in {path:?} is held by another process; is `ajatus up` running?")]
    Locked {
        /// The log's folder.
        path: String,
    },
    /// The broker cannot be reached or does not answer in time; trying again may help.
    #[error("the broker {broker:?} did not answer: {reason}")]
    Unreachable {
        /// `KAFKA_BOOTSTRAP_SERVERS`.
        broker: String,
        /// What the client said.
        reason: String,
    },
    /// A file of the log or its settings cannot be used as it is.
    #[error("the log cannot be used: {reason}")]
    Corrupt {
        /// What is wrong and where.
        reason: String,
    },
    /// Anything else of the operating system.
    #[error("the log failed on {path:?}")]
    Io {
        /// The log's folder.
        path: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// The port; see the module's comment for the contract.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// Number of partitions of a topic.
    ///
    /// # Errors
    /// [`LogError::UnknownPartition`] if the topic is not declared.
    fn partitions(&self, topic: &str) -> Result<u32, LogError>;

    /// Appends the records in order, all to one partition, and returns the offset of each when all are durable.
    ///
    /// # Errors
    /// [`LogError::TooLarge`] before anything is written; [`LogError::DiskFull`], [`LogError::Unreachable`] and
    /// [`LogError::Io`] when nothing was acknowledged (records may be there all the same).
    async fn append(&self, topic: &str, partition: u32, records: Vec<Record>) -> Result<Vec<u64>, LogError>;

    /// Reads at most `max_records` records (at least one if there is one, and about 4 MiB at most) from `from` on,
    /// without waiting. At the end the chunk is empty and `next == from`.
    ///
    /// # Errors
    /// [`LogError::Gap`] if `from` lies before the start or past the end of the partition.
    async fn read(&self, topic: &str, partition: u32, from: u64, max_records: usize) -> Result<Chunk, LogError>;

    /// First offset that may be read: 0 unless retention has removed the start.
    ///
    /// # Errors
    /// [`LogError::Unreachable`] and [`LogError::UnknownPartition`].
    async fn start_offset(&self, topic: &str, partition: u32) -> Result<u64, LogError>;

    /// Offset that the next record will get, counting only durable records.
    ///
    /// # Errors
    /// [`LogError::Unreachable`] and [`LogError::UnknownPartition`].
    async fn end_offset(&self, topic: &str, partition: u32) -> Result<u64, LogError>;

    /// A counter that changes after records of the topic became readable: wait for it to change, then read. May change
    /// without new records.
    ///
    /// # Errors
    /// [`LogError::UnknownPartition`] if the topic is not declared.
    fn appended(&self, topic: &str) -> Result<watch::Receiver<u64>, LogError>;

    /// Removes, below `below`, every record that a later record of its key below `below` replaces, and tombstones with
    /// nothing left to forget. The embedded log has rewritten its tables without them when it returns (its journal follows as
    /// it turns over, or with [`Log::erase`]). A broker compacts by itself: there it returns `Ok(0)`.
    ///
    /// Callers pass the least position any consumer still has to read from, so that no consumer misses a tombstone.
    /// Returns the number of records removed.
    ///
    /// # Errors
    /// As [`Log::append`].
    async fn compact(&self, topic: &str, partition: u32, below: u64) -> Result<u64, LogError>;

    /// Takes single records out of a partition, whatever its cleanup, and returns how many there were. A broker cannot take single
    /// records out: there it returns `Ok(0)`, and retention removes them.
    ///
    /// # Errors
    /// As [`Log::append`].
    async fn remove(&self, topic: &str, partition: u32, offsets: Vec<u64>) -> Result<u64, LogError>;

    /// Sees to it that what [`Log::compact`] and [`Log::remove`] took out of these partitions before is in no file any more: rewrites their
    /// tables and lets every journal go. Appends and reads go on meanwhile.
    ///
    /// Not promised: anything about copies outside the log's folder, or about blocks of a disk that its file system has freed.
    ///
    /// # Errors
    /// As [`Log::append`]; what was not done then is done by the next call.
    async fn erase(&self, places: &[(&str, u32)]) -> Result<Erasure, LogError>;
}
