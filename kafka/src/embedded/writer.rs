//! The one thread that writes: whatever waits goes into one batch and one sync.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use fjall::PersistMode;
use tokio::sync::{mpsc, oneshot};

use super::store::{Partition, Store, try_disk};
use super::{failure, record};
use crate::log::{LogError, Record};
use crate::topics::Topics;

/// Orders waiting at most; more wait at the door.
const QUEUE: usize = 1024;
/// Bytes and orders of one batch at most.
const BATCH_BYTES: usize = 8 << 20;
const BATCH_ORDERS: usize = 1024;

/// What the writer is told.
pub(super) enum Order {
    /// Append and sync.
    Append { target: Arc<Partition>, records: Vec<Record>, reply: oneshot::Sender<Result<Vec<u64>, LogError>> },
    /// Remove and free the space.
    Remove { target: Arc<Partition>, offsets: Vec<u64>, reply: oneshot::Sender<Result<u64, LogError>> },
    /// Lend the store, for work that goes on beside the appends.
    Lend { reply: oneshot::Sender<Result<Store, LogError>> },
}

/// The writing thread.
pub(super) struct Writer {
    orders: mpsc::Sender<Order>,
    thread: JoinHandle<()>,
}

type Append = (Arc<Partition>, Vec<Record>, oneshot::Sender<Result<Vec<u64>, LogError>>);
type Waiting = (oneshot::Sender<Result<Vec<u64>, LogError>>, Vec<u64>);

impl Writer {
    pub(super) fn start(path: PathBuf, topics: Topics, store: Store, partitions: Vec<Arc<Partition>>) -> Result<Self, LogError> {
        let (orders, inbox) = mpsc::channel(QUEUE);
        let shown = path.display().to_string();
        let mut state = State { path, topics, store: Some(store), failed: false, partitions };
        let thread = std::thread::Builder::new().name("log writer".to_owned()).spawn(move || state.run(inbox));
        Ok(Self { orders, thread: thread.map_err(|source| LogError::Io { path: shown, source })? })
    }

    pub(super) fn sender(&self) -> mpsc::Sender<Order> {
        self.orders.clone()
    }

    /// Waits until everything taken is written.
    pub(super) fn join(self) {
        drop(self.orders);
        self.thread.join().ok();
    }
}

struct State {
    path: PathBuf,
    topics: Topics,
    /// `None` after a failure, while the store cannot be opened again.
    store: Option<Store>,
    /// Whether a write failed since the store was opened.
    failed: bool,
    partitions: Vec<Arc<Partition>>,
}

impl State {
    fn run(&mut self, mut inbox: mpsc::Receiver<Order>) {
        let mut held = None;
        while let Some(first) = held.take().or_else(|| inbox.blocking_recv()) {
            match first {
                Order::Remove { target, offsets, reply } => drop(reply.send(self.remove(&target, &offsets))),
                Order::Lend { reply } => drop(reply.send(self.lend())),
                Order::Append { target, records, reply } => {
                    let mut bytes: usize = size(&records);
                    let mut appends = vec![(target, records, reply)];
                    while bytes < BATCH_BYTES && appends.len() < BATCH_ORDERS {
                        match inbox.try_recv() {
                            Ok(Order::Append { target, records, reply }) => {
                                bytes += size(&records);
                                appends.push((target, records, reply));
                            }
                            Ok(other) => {
                                held = Some(other);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    self.append(appends);
                }
            }
        }
    }

    /// One batch, one sync, then the answers.
    fn append(&mut self, appends: Vec<Append>) {
        let mut waiting: Vec<Waiting> = Vec::with_capacity(appends.len());
        match self.write(appends, &mut waiting) {
            Ok(()) => {
                for (reply, offsets) in waiting {
                    // Nobody waits any more: it is written all the same.
                    reply.send(Ok(offsets)).ok();
                }
            }
            Err(told) => {
                tracing::error!(error = %told, "the log could not be written");
                for (reply, _) in waiting {
                    reply.send(Err(same(&told))).ok();
                }
            }
        }
    }

    fn write(&mut self, appends: Vec<Append>, waiting: &mut Vec<Waiting>) -> Result<(), LogError> {
        let mended = self.mend();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        let mut items = Vec::with_capacity(appends.len());
        let mut ends: HashMap<String, (Arc<Partition>, u64)> = HashMap::new();
        for (target, records, reply) in appends {
            let end = ends.entry(target.name.clone()).or_insert_with(|| (Arc::clone(&target), target.end.load(Ordering::Acquire)));
            let mut offsets = Vec::with_capacity(records.len());
            for record in &records {
                items.push((Arc::clone(&target), end.1, record::encode(record, now)));
                offsets.push(end.1);
                end.1 += 1;
            }
            waiting.push((reply, offsets));
        }
        mended?;
        let store = self.store.as_ref().ok_or_else(|| closed(&self.path))?;
        // Synced before the memory tables take it: nothing is seen that a crash could take back.
        let mut batch = store.db.batch().durability(Some(PersistMode::SyncData));
        for (target, offset, bytes) in items {
            let keyspace = store.keyspaces.get(&target.name).ok_or_else(|| closed(&self.path))?;
            batch.insert(keyspace, record::key(offset).to_vec(), bytes);
        }
        for (name, (_, end)) in &ends {
            batch.insert(&store.positions, name.as_bytes().to_vec(), record::key(*end).to_vec());
        }
        if let Err(error) = batch.commit() {
            self.failed = true;
            return Err(failure(&self.path, error));
        }
        for (target, end) in ends.into_values() {
            target.end.store(end, Ordering::Release);
            target.news.send_modify(|count| *count += 1);
        }
        Ok(())
    }

    /// After a failure: opens the store anew, if the disk takes anything again.
    fn mend(&mut self) -> Result<(), LogError> {
        if !self.failed {
            return Ok(());
        }
        try_disk(&self.path)?;
        {
            // Readers end first; the folder is free once nobody holds any part of the store.
            let mut held: Vec<_> = self.partitions.iter().map(|one| one.keyspace.write().unwrap_or_else(PoisonError::into_inner)).collect();
            held.iter_mut().for_each(|keyspace| **keyspace = None);
            self.store = None;
            let store = Store::open(&self.path, &self.topics)?;
            for (partition, keyspace) in self.partitions.iter().zip(&mut held) {
                let end = store.end(&self.path, &partition.name)?;
                **keyspace = store.keyspaces.get(&partition.name).cloned();
                // A batch that was refused may be there after all, whole.
                partition.end.store(end, Ordering::Release);
            }
            self.store = Some(store);
        }
        self.failed = false;
        tracing::warn!(log.path = %self.path.display(), "the log was opened again after a failed write");
        self.partitions.iter().for_each(|partition| partition.news.send_modify(|count| *count += 1));
        Ok(())
    }

    fn remove(&mut self, target: &Partition, offsets: &[u64]) -> Result<u64, LogError> {
        self.mend()?;
        let store = self.store.as_ref().ok_or_else(|| closed(&self.path))?;
        let keyspace = store.keyspaces.get(&target.name).ok_or_else(|| closed(&self.path))?;
        let removed = (|| {
            for chunk in offsets.chunks(10_000) {
                let mut batch = store.db.batch();
                for offset in chunk {
                    batch.remove(keyspace, record::key(*offset).to_vec());
                }
                batch.commit()?;
            }
            store.db.persist(PersistMode::SyncData)?;
            // The removed values still lie in memory tables and older files; both are rewritten without them.
            keyspace.rotate_memtable_and_wait()?;
            keyspace.major_compact()
        })();
        if let Err(error) = removed {
            self.failed = true;
            return Err(failure(&self.path, error));
        }
        Ok(offsets.len() as u64)
    }

    fn lend(&mut self) -> Result<Store, LogError> {
        self.mend()?;
        self.store.clone().ok_or_else(|| closed(&self.path))
    }
}

pub(super) fn closed(path: &Path) -> LogError {
    LogError::Io { path: path.display().to_string(), source: std::io::Error::other("the store is not open") }
}

fn size(records: &[Record]) -> usize {
    records.iter().map(|record| record.key.len() + record.value.as_ref().map_or(0, Vec::len)).sum()
}

/// The same failure, for everybody who waits.
fn same(error: &LogError) -> LogError {
    match error {
        LogError::DiskFull { path } => LogError::DiskFull { path: path.clone() },
        LogError::Io { path, source } => LogError::Io { path: path.clone(), source: std::io::Error::new(source.kind(), source.to_string()) },
        other => LogError::Corrupt { reason: other.to_string() },
    }
}
