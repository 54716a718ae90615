//! The one thread that writes: whatever waits goes into one batch and one sync.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use fjall::{Database, Keyspace, PersistMode};
use tokio::sync::{mpsc, oneshot};

use super::{Partition, failure, record};
use crate::log::{LogError, Record};

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
}

/// The writing thread.
pub(super) struct Writer {
    orders: mpsc::Sender<Order>,
    thread: JoinHandle<()>,
}

type Waiting = (oneshot::Sender<Result<Vec<u64>, LogError>>, Vec<u64>);

impl Writer {
    pub(super) fn start(path: PathBuf, db: Database, positions: Keyspace) -> Result<Self, LogError> {
        let (orders, inbox) = mpsc::channel(QUEUE);
        let shown = path.display().to_string();
        let state = State { path, db, positions };
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
    db: Database,
    positions: Keyspace,
}

impl State {
    fn run(self, mut inbox: mpsc::Receiver<Order>) {
        let mut held = None;
        while let Some(first) = held.take().or_else(|| inbox.blocking_recv()) {
            match first {
                Order::Remove { target, offsets, reply } => drop(reply.send(self.remove(&target, &offsets))),
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
    #[expect(clippy::type_complexity, reason = "what an order holds")]
    fn append(&self, appends: Vec<(Arc<Partition>, Vec<Record>, oneshot::Sender<Result<Vec<u64>, LogError>>)>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        // Synced before the memory tables take it: nothing is seen that a crash could take back.
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
        let mut ends: HashMap<String, (Arc<Partition>, u64)> = HashMap::new();
        let mut waiting: Vec<Waiting> = Vec::with_capacity(appends.len());
        for (target, records, reply) in appends {
            let end = ends.entry(target.name.clone()).or_insert_with(|| (Arc::clone(&target), target.end.load(Ordering::Acquire)));
            let mut offsets = Vec::with_capacity(records.len());
            for record in &records {
                batch.insert(&target.keyspace, record::key(end.1).to_vec(), record::encode(record, now));
                offsets.push(end.1);
                end.1 += 1;
            }
            waiting.push((reply, offsets));
        }
        for (name, (_, end)) in &ends {
            batch.insert(&self.positions, name.as_bytes().to_vec(), record::key(*end).to_vec());
        }
        match batch.commit() {
            Ok(()) => {
                for (target, end) in ends.into_values() {
                    target.end.store(end, Ordering::Release);
                    target.news.send_modify(|count| *count += 1);
                }
                for (reply, offsets) in waiting {
                    // Nobody waits any more: it is written all the same.
                    reply.send(Ok(offsets)).ok();
                }
            }
            Err(error) => {
                let told = failure(&self.path, error);
                tracing::error!(error = %told, "the log could not be written");
                for (reply, _) in waiting {
                    reply.send(Err(same(&told))).ok();
                }
            }
        }
    }

    fn remove(&self, target: &Partition, offsets: &[u64]) -> Result<u64, LogError> {
        let failed = |error| failure(&self.path, error);
        for chunk in offsets.chunks(10_000) {
            let mut batch = self.db.batch();
            for offset in chunk {
                batch.remove(&target.keyspace, record::key(*offset).to_vec());
            }
            batch.commit().map_err(failed)?;
        }
        self.db.persist(PersistMode::SyncData).map_err(failed)?;
        // The removed values still lie in memory tables and older files; both are rewritten without them.
        target.keyspace.rotate_memtable_and_wait().map_err(failed)?;
        target.keyspace.major_compact().map_err(failed)?;
        Ok(offsets.len() as u64)
    }
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
