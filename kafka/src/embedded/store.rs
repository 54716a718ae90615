//! fjall's files, and one partition's way to them.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{PoisonError, RwLock};

use fjall::config::CompressionPolicy;
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions};
use tokio::sync::watch;

use super::{failure, layout, record};
use crate::log::LogError;
use crate::topics::Topics;

/// What must be free before a store that failed is opened again.
const ROOM_BYTES: usize = 1 << 20;

/// An open database; the writer owns it, and lends it to who erases. It is opened anew only once nobody holds it.
#[derive(Clone)]
pub(super) struct Store {
    pub(super) db: Database,
    pub(super) positions: Keyspace,
    /// Holds nothing: what makes the journal turn over is written here.
    pub(super) filler: Keyspace,
    /// By the partition's name.
    pub(super) keyspaces: HashMap<String, Keyspace>,
}

impl Store {
    pub(super) fn open(path: &Path, topics: &Topics) -> Result<Self, LogError> {
        let failed = |error| failure(path, error);
        std::fs::create_dir_all(path).map_err(|source| failed(fjall::Error::Io(source)))?;
        // Nothing is compressed: ciphertext does not shrink, and a search of the raw files finds what is there.
        let db = Database::builder(path).worker_threads(2).journal_compression(CompressionType::None).open().map_err(failed)?;
        let plain = || KeyspaceCreateOptions::default().data_block_compression_policy(CompressionPolicy::disabled());
        let positions = db.keyspace("positions", plain).map_err(failed)?;
        let filler = db.keyspace("filler", plain).map_err(failed)?;
        layout::settle(path, &db, &positions, topics)?;
        let mut keyspaces = HashMap::new();
        for topic in topics.iter() {
            for number in 0..topic.partitions {
                let name = format!("{}.{number}", topic.name);
                let keyspace = db.keyspace(&name, plain).map_err(failed)?;
                keyspaces.insert(name, keyspace);
            }
        }
        Ok(Self { db, positions, filler, keyspaces })
    }

    /// Next offset of a partition.
    pub(super) fn end(&self, path: &Path, name: &str) -> Result<u64, LogError> {
        match self.positions.get(name).map_err(|error| failure(path, error))? {
            Some(bytes) => record::offset(&bytes).ok_or_else(|| LogError::Corrupt { reason: format!("the position of {name} is not one") }),
            None => Ok(0),
        }
    }
}

/// Whether the disk takes anything: a file is written, synced and removed.
pub(super) fn try_disk(path: &Path) -> Result<(), LogError> {
    let probe = path.join("room");
    let write = || {
        let mut file = std::fs::File::create(&probe)?;
        file.write_all(&vec![0; ROOM_BYTES])?;
        file.sync_all()
    };
    let written = write();
    let removed = std::fs::remove_file(&probe);
    written.and(removed).map_err(|source| failure(path, fjall::Error::Io(source)))
}

/// One partition.
pub(super) struct Partition {
    pub(super) name: String,
    /// `None` while the store cannot be opened again after a failure.
    pub(super) keyspace: RwLock<Option<Keyspace>>,
    /// Next offset, counting synced records only.
    pub(super) end: AtomicU64,
    /// Of its topic; the writer rings it, so that a caller that gave up waiting takes nobody's wake-up with it.
    pub(super) news: watch::Sender<u64>,
}

impl Partition {
    /// Reads; the store is not taken away meanwhile. Blocks.
    pub(super) fn with<T>(&self, path: &Path, read: impl FnOnce(&Keyspace) -> Result<T, LogError>) -> Result<T, LogError> {
        match &*self.keyspace.read().unwrap_or_else(PoisonError::into_inner) {
            Some(keyspace) => read(keyspace),
            None => Err(LogError::Io {
                path: path.display().to_string(),
                source: std::io::Error::other("a write failed, and the log could not be opened again yet"),
            }),
        }
    }
}
