//! The log inside this process, on fjall.
//!
//! One keyspace per partition; key: offset (u64, big-endian); value: see [`record`]. The keyspace `positions` holds the next
//! offset of every partition, written in the same batch, so that offsets never come twice even when compaction has removed
//! the last records.
//!
//! Holds always: `append` returns after the sync that covers it; readers see synced records only; one process at a time.
//! What a disk holds after a write or sync that failed cannot be known without reading it again, so the next append first
//! sees whether the disk takes anything, and then opens the store anew; until then appends are refused and reads go on.
//! Not promised: that compaction also empties the write-ahead journal at once (it does as the journal turns over, at 64 MB, or
//! when [`Log::erase`] makes it).
//! After a crash: fjall replays its journal; a batch is there whole or not at all.

mod erase;
mod layout;
mod record;
mod store;
mod writer;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use async_trait::async_trait;
use fjall::Keyspace;
use tokio::sync::{oneshot, watch};

use crate::log::{Chunk, Erasure, Log, LogError, Record};
use crate::topics::{Cleanup, Topics};
use store::{Partition, Store};
use writer::{Order, Writer};

/// Bytes of one read at most, about.
const READ_BYTES: usize = 4 << 20;

/// The log inside this process; see the module's comment.
pub struct EmbeddedLog {
    path: PathBuf,
    topics: Topics,
    partitions: HashMap<String, Vec<Arc<Partition>>>,
    news: HashMap<String, watch::Sender<u64>>,
    writer: Mutex<Option<Writer>>,
    /// Held by who erases: one at a time.
    erasing: Arc<tokio::sync::Mutex<()>>,
}

impl EmbeddedLog {
    /// Opens the log in a folder, which is made if need be. Blocks: call it off the reactor.
    ///
    /// # Errors
    /// [`LogError::Locked`] if another process, or another log of this one, holds it; [`LogError::Corrupt`] if the files are
    /// not ours, or hold records that `topics` has no partition for; [`LogError::Io`] and [`LogError::DiskFull`].
    pub fn open(path: &Path, topics: Topics) -> Result<Arc<Self>, LogError> {
        let store = Store::open(path, &topics)?;
        let (mut partitions, mut news) = (HashMap::new(), HashMap::new());
        for topic in topics.iter() {
            let (mut list, bell) = (Vec::new(), watch::Sender::new(0));
            for number in 0..topic.partitions {
                let name = format!("{}.{number}", topic.name);
                let end = AtomicU64::new(store.end(path, &name)?);
                let keyspace = RwLock::new(store.keyspaces.get(&name).cloned());
                list.push(Arc::new(Partition { name, keyspace, end, news: bell.clone() }));
            }
            partitions.insert(topic.name.clone(), list);
            news.insert(topic.name.clone(), bell);
        }
        let all = partitions.values().flatten().cloned().collect();
        let writer = Writer::start(path.to_path_buf(), topics.clone(), store, all)?;
        Ok(Arc::new(Self { path: path.to_path_buf(), topics, partitions, news, writer: Mutex::new(Some(writer)), erasing: Arc::default() }))
    }

    /// Ends the writer after what it has taken; later appends are refused, reads go on. The folder is free for another log
    /// once this one is dropped.
    pub async fn close(&self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            tokio::task::spawn_blocking(move || writer.join()).await.ok();
        }
    }

    fn partition(&self, topic: &str, partition: u32) -> Result<&Arc<Partition>, LogError> {
        let list = self.partitions.get(topic);
        let found = list.and_then(|list| list.get(partition as usize));
        found.ok_or_else(|| LogError::UnknownPartition { topic: topic.to_owned(), partition })
    }

    async fn order<T>(&self, order: impl FnOnce(oneshot::Sender<Result<T, LogError>>) -> Order) -> Result<T, LogError> {
        let (reply, answer) = oneshot::channel();
        let sender = self.writer.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(Writer::sender);
        let closed = || LogError::Io { path: self.path.display().to_string(), source: std::io::Error::other("the log is closed") };
        sender.ok_or_else(closed)?.send(order(reply)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

impl Drop for EmbeddedLog {
    /// Waits for the writer, which has nothing left to do: nobody can wait for an append of a log that is dropped.
    fn drop(&mut self) {
        if let Some(writer) = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            writer.join();
        }
    }
}

#[async_trait]
impl Log for EmbeddedLog {
    fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.topics.partitions(topic)
    }

    async fn append(&self, topic: &str, partition: u32, records: Vec<Record>) -> Result<Vec<u64>, LogError> {
        self.topics.check(topic, partition, &records)?;
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let clock = std::time::Instant::now();
        let target = Arc::clone(self.partition(topic, partition)?);
        let offsets = self.order(|reply| Order::Append { target, records, reply }).await?;
        metrics::histogram!("log_append_seconds").record(clock.elapsed().as_secs_f64());
        Ok(offsets)
    }

    async fn read(&self, topic: &str, partition: u32, from: u64, max_records: usize) -> Result<Chunk, LogError> {
        let target = Arc::clone(self.partition(topic, partition)?);
        let end = target.end.load(Ordering::Acquire);
        if from > end {
            return Err(LogError::Gap { topic: topic.to_owned(), partition, wanted: from, first: end });
        }
        if from == end {
            return Ok(Chunk { entries: Vec::new(), next: end });
        }
        let path = self.path.clone();
        let scan = move |keyspace: &Keyspace, path: &Path, name: &str| {
            let (mut entries, mut bytes) = (Vec::new(), 0);
            for guard in keyspace.range(record::key(from)..record::key(end)) {
                let (key, value) = guard.into_inner().map_err(|error| failure(path, error))?;
                let broken = || LogError::Corrupt { reason: format!("a record of {name} cannot be read") };
                let entry = record::decode(record::offset(&key).ok_or_else(broken)?, &value).ok_or_else(broken)?;
                bytes += value.len();
                let next = entry.offset + 1;
                entries.push(entry);
                if entries.len() >= max_records.max(1) || bytes >= READ_BYTES {
                    return Ok(Chunk { entries, next });
                }
            }
            Ok(Chunk { entries, next: end })
        };
        let read = move || target.with(&path, |keyspace| scan(keyspace, &path, &target.name));
        tokio::task::spawn_blocking(read).await.map_err(|_| LogError::Corrupt { reason: "a read panicked".to_owned() })?
    }

    async fn start_offset(&self, topic: &str, partition: u32) -> Result<u64, LogError> {
        self.partition(topic, partition).map(|_| 0)
    }

    async fn end_offset(&self, topic: &str, partition: u32) -> Result<u64, LogError> {
        Ok(self.partition(topic, partition)?.end.load(Ordering::Acquire))
    }

    fn appended(&self, topic: &str) -> Result<watch::Receiver<u64>, LogError> {
        let news = self.news.get(topic).map(watch::Sender::subscribe);
        news.ok_or_else(|| LogError::UnknownPartition { topic: topic.to_owned(), partition: 0 })
    }

    async fn compact(&self, topic: &str, partition: u32, below: u64) -> Result<u64, LogError> {
        let target = Arc::clone(self.partition(topic, partition)?);
        if self.topics.get(topic).is_none_or(|topic| topic.cleanup != Cleanup::Compact) {
            return Ok(0);
        }
        let below = below.min(target.end.load(Ordering::Acquire));
        let (path, scanned) = (self.path.clone(), Arc::clone(&target));
        let scan = move || scanned.with(&path, |keyspace| replaced(keyspace, &path, &scanned.name, below));
        let gone = tokio::task::spawn_blocking(scan).await.map_err(|_| LogError::Corrupt { reason: "a scan panicked".to_owned() })??;
        if gone.is_empty() {
            return Ok(0);
        }
        self.order(|reply| Order::Remove { target, offsets: gone, reply }).await
    }

    async fn remove(&self, topic: &str, partition: u32, offsets: Vec<u64>) -> Result<u64, LogError> {
        let target = Arc::clone(self.partition(topic, partition)?);
        let (path, looked) = (self.path.clone(), Arc::clone(&target));
        let look = move || {
            looked.with(&path, |keyspace| {
                let is_there = |offset: &u64| keyspace.contains_key(record::key(*offset)).map_err(|error| failure(&path, error));
                offsets.into_iter().filter_map(|offset| is_there(&offset).map(|there| there.then_some(offset)).transpose()).collect::<Result<Vec<_>, _>>()
            })
        };
        let there = tokio::task::spawn_blocking(look).await.map_err(|_| LogError::Corrupt { reason: "a look panicked".to_owned() })??;
        if there.is_empty() {
            return Ok(0);
        }
        self.order(|reply| Order::Remove { target, offsets: there, reply }).await
    }

    async fn erase(&self, places: &[(&str, u32)]) -> Result<Erasure, LogError> {
        let targets = places.iter().map(|(topic, number)| self.partition(topic, *number).cloned()).collect::<Result<Vec<_>, _>>()?;
        let all: Vec<_> = self.partitions.values().flatten().cloned().collect();
        let one = Arc::clone(&self.erasing).lock_owned().await;
        let store = self.order(|reply| Order::Lend { reply }).await?;
        let path = self.path.clone();
        let work = move || {
            let erased = erase::run(&path, &store, &all, &targets);
            drop((store, one));
            erased
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| LogError::Corrupt { reason: "erasing panicked".to_owned() })?
    }
}

/// Offsets below `below` of what compaction removes: the replaced first and the tombstones last, so that a removal that a
/// crash cuts short brings nothing back.
fn replaced(keyspace: &Keyspace, path: &Path, name: &str, below: u64) -> Result<Vec<u64>, LogError> {
    let mut last: HashMap<Vec<u8>, (u64, bool)> = HashMap::new();
    let mut gone = Vec::new();
    for guard in keyspace.range(record::key(0)..record::key(below)) {
        let (key, value) = guard.into_inner().map_err(|error| failure(path, error))?;
        let broken = || LogError::Corrupt { reason: format!("a record of {name} cannot be read") };
        let entry = record::decode(record::offset(&key).ok_or_else(broken)?, &value).ok_or_else(broken)?;
        if let Some((replaced, _)) = last.insert(entry.key, (entry.offset, entry.value.is_none())) {
            gone.push(replaced);
        }
    }
    gone.extend(last.into_values().filter(|(_, tombstone)| *tombstone).map(|(offset, _)| offset));
    Ok(gone)
}

/// What fjall says, as the port says it.
fn failure(path: &Path, error: fjall::Error) -> LogError {
    let path = path.display().to_string();
    let io = |source: std::io::Error, path: String| {
        match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => LogError::DiskFull { path },
            _ => LogError::Io { path, source },
        }
    };
    match error {
        fjall::Error::Locked => LogError::Locked { path },
        fjall::Error::Io(source) | fjall::Error::Storage(fjall::LsmError::Io(source)) => io(source, path),
        fjall::Error::Poisoned => LogError::Io {
            path,
            source: std::io::Error::other("a write or sync in the background failed; mend the disk, or free some space"),
        },
        other => LogError::Corrupt { reason: format!("{path}: {other:?}; restore the folder from a backup, or move it away to start empty") },
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;

    #[test]
    fn tells_a_full_disk_from_another_failure_and_both_name_the_folder() {
        let told = |kind: ErrorKind| failure(Path::new("data/log"), fjall::Error::Io(Error::from(kind)));
        for kind in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded] {
            assert!(matches!(told(kind), LogError::DiskFull { path } if path == "data/log"), "{kind}");
        }
        assert!(matches!(told(ErrorKind::PermissionDenied), LogError::Io { path, .. } if path == "data/log"));
        let deeper = fjall::Error::Storage(fjall::LsmError::Io(Error::from(ErrorKind::StorageFull)));
        assert!(matches!(failure(Path::new("x"), deeper), LogError::DiskFull { .. }));
    }
}
