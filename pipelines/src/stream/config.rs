//! How a run is set up, what it may use, and what it tells.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use ajatus_kafka::Log;
use ajatus_memory::keys::KeyRing;
use ajatus_memory::postgres::Postgres;
use serde::Serialize;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::columnar::Columnar;
use super::models::Backends;

/// How a pipeline runs.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// The pipeline's name, which tables in Postgres remember. Default `pipeline`.
    pub name: String,
    /// Dataflow threads. Default 1, at least 1.
    pub workers: usize,
    /// Records of one epoch per source at most. Default 10,000, at least 1.
    pub epoch_rows: usize,
    /// Epochs between the reader and the sinks at most. Default 8, at least 1.
    pub max_epochs_ahead: usize,
    /// Folder of the ledger and the memo; `None` keeps nothing: a run over files can be run again from the start.
    pub state: Option<PathBuf>,
    /// Ends when topics are read to where they end now, instead of waiting for more.
    pub bounded: bool,
    /// Time between two snapshots at least; one that took long waits ten times as long as it took. Default 30 s; zero: none.
    pub snapshot_every: Duration,
    /// Epochs between two snapshots, instead of a time. Default none.
    pub snapshot_epochs: Option<u64>,
    /// Reads a range first, at a bounded rate. Default none.
    pub backfill: Option<Backfill>,
    /// One of several processes. Default: the only one.
    pub cluster: Option<Cluster>,
}

/// A range that is read before what is live. What is not named begins at the beginning and ends where the source ends when the run begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backfill {
    /// `source -> partition -> first offset`.
    pub from: BTreeMap<String, BTreeMap<u32, u64>>,
    /// `source -> partition -> offset after the last`.
    pub to: BTreeMap<String, BTreeMap<u32, u64>>,
    /// Records a second at most, of all sources together.
    pub rows_per_second: Option<u32>,
    /// Ends there instead of going on with what is live.
    pub stop: bool,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self { name: "pipeline".to_owned(), workers: 1, epoch_rows: 10_000, max_epochs_ahead: 8, state: None, bounded: false, snapshot_every: Duration::from_secs(30), snapshot_epochs: None, backfill: None, cluster: None }
    }
}

/// What a run may use of the outside world.
#[derive(Clone)]
pub struct RunParts {
    /// The platform's log.
    pub log: Option<Arc<dyn Log>>,
    /// The platform's database.
    pub db: Option<Postgres>,
    /// Who knows Lance datasets.
    pub columnar: Option<Arc<dyn Columnar>>,
    /// The keys of what is sealed.
    pub keys: Option<KeyRing>,
    /// Models by the name in the file.
    pub backends: Backends,
    /// Where asynchronous parts run.
    pub handle: Handle,
    /// Takes the lines of `stdout` sinks.
    pub print: Arc<dyn Fn(String) + Send + Sync>,
    /// Cancelled from outside: the run ends between two epochs.
    pub stop: CancellationToken,
}

/// How far a run is, told now and then.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Progress {
    /// Records fed.
    pub rows: u64,
    /// Changes that sinks took.
    pub changes: u64,
    /// The last epoch that is in the sinks.
    pub epoch: u64,
    /// Epochs fed and not yet in the sinks.
    pub epochs_ahead: u64,
    /// Bytes and rows of bounded sources read, and in all.
    pub read: (u64, u64),
    /// Records in topics behind the ones read.
    pub lag: u64,
    /// Rows in dead letters.
    pub dead_letters: u64,
    /// Whether a backfill is under way.
    pub backfilling: bool,
}

/// What a run did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Records that were new; those of replayed epochs are not counted.
    pub rows: u64,
    /// Changes that sinks took.
    pub changes: u64,
    /// The last epoch.
    pub epochs: u64,
    /// The epoch of the snapshot that the run began from; 0 if it began from nothing.
    pub snapshot: u64,
    /// Epochs of earlier runs that were read again.
    pub replayed: u64,
    /// Rows in dead letters at the end.
    pub dead_letters: u64,
    /// Wall-clock time.
    pub seconds: f64,
}

/// Counters that both sides of a run move.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) rows: AtomicU64,
    pub(super) read: AtomicU64,
    pub(super) lag: AtomicU64,
    pub(super) minted: AtomicU64,
    pub(super) backfilling: AtomicBool,
    /// Told when dead letters were replayed while the run goes on.
    pub(super) replayed: tokio::sync::Notify,
}

/// Which of several processes this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its number, from 0; the first one leads.
    pub process: usize,
    /// An address `host:port` of each, at which rows arrive.
    pub hosts: Vec<String>,
    /// The address at which the first one tells the others what to do.
    pub control: String,
}
