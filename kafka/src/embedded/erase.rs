//! Lets no file keep what was removed: every journal goes, and tables are rewritten.
//!
//! fjall has no call for it, so its own rules are used. A journal is sealed by a flush that finds it longer than 64 MB, and goes once
//! every keyspace has flushed what it had in it; so it is filled up with zeros, which are taken out again at the end, and everything is flushed. A table
//! goes once no version of its tree names it and no reader can still see that version; so readers are kept out while the point is
//! set up to which nobody looks back any more, and two writes follow the rewriting, because a version goes when a later one is old.
//! A tombstone under a key that no record has is in every flush: a keyspace whose last record was removed has something to flush by it.
//!
//! After a crash: a journal and tables with zeros in them; the next call goes on, and takes them out.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use fjall::{Keyspace, PersistMode};

use super::failure;
use super::store::{Partition, Store};
use crate::log::{Erasure, LogError};

/// Past it fjall seals a journal at the next flush.
const JOURNAL_BYTES: usize = 64_000_000;
/// Written at once.
const FILL_BYTES: usize = 8 << 20;
/// Key of the tombstones, past every offset's.
const MARK: [u8; 9] = [0xff; 9];
/// Longest wait for fjall's threads.
const PATIENCE: Duration = Duration::from_secs(60);

/// Does it. `all` are the log's partitions, `targets` those whose tables are rewritten.
pub(super) fn run(path: &Path, store: &Store, all: &[Arc<Partition>], targets: &[Arc<Partition>]) -> Result<Erasure, LogError> {
    let failed = |error| failure(path, error);
    let before = journals(path)?;
    seal(path, store, &before)?;
    {
        // Nobody reads while everything is marked, so that nothing older than the marks is kept for anybody.
        let _readers: Vec<_> = all.iter().map(|one| one.keyspace.write().unwrap_or_else(PoisonError::into_inner)).collect();
        mark(store, store.keyspaces.values().chain([&store.positions, &store.filler])).map_err(failed)?;
    }
    until(path, "its journals do not go", || Ok(before.iter().all(|(journal, _)| !journal.exists())))?;
    for target in targets {
        let keyspace = store.keyspaces.get(&target.name).ok_or_else(|| super::writer::closed(path))?;
        keyspace.major_compact().map_err(failed)?;
    }
    for _ in 0..2 {
        mark(store, [&store.filler]).map_err(failed)?;
    }
    store.filler.major_compact().map_err(failed)?;
    Ok(Erasure::Log {
        journals: before.len() as u64,
        journal_bytes: before.iter().map(|(_, bytes)| bytes).sum(),
        partitions: targets.len() as u64,
    })
}

/// Fills the journal until a new one is begun.
fn seal(path: &Path, store: &Store, before: &[(PathBuf, u64)]) -> Result<(), LogError> {
    let failed = |error| failure(path, error);
    // Twice what it takes: fjall's threads look at the length when they come to it.
    for _ in 0..=2 * JOURNAL_BYTES.div_ceil(FILL_BYTES) {
        let mut batch = store.db.batch();
        batch.insert(&store.filler, *b"zeros", vec![0; FILL_BYTES]);
        batch.commit().map_err(failed)?;
        mark(store, [&store.filler]).map_err(failed)?;
        if journals(path)?.iter().any(|(journal, _)| before.iter().all(|(old, _)| old != journal)) {
            // Not by clearing the keyspace: fjall 3.1.13 does not open a journal again whose last word of a keyspace is that it was cleared.
            let mut batch = store.db.batch();
            batch.remove(&store.filler, *b"zeros");
            return batch.commit().map_err(failed);
        }
    }
    Err(stuck(path, "its journal does not turn over"))
}

/// Writes a tombstone into each and flushes them.
fn mark<'a>(store: &Store, keyspaces: impl IntoIterator<Item = &'a Keyspace>) -> fjall::Result<()> {
    let keyspaces: Vec<&Keyspace> = keyspaces.into_iter().collect();
    let mut batch = store.db.batch().durability(Some(PersistMode::SyncData));
    for keyspace in &keyspaces {
        batch.remove(keyspace, MARK);
    }
    batch.commit()?;
    for keyspace in &keyspaces {
        keyspace.rotate_memtable()?;
    }
    // Bounded by the flushes, which are short: every tree was flushed when it was marked last.
    let until = Instant::now() + PATIENCE;
    while keyspaces.iter().any(|keyspace| keyspace.sealed_memtable_count() > 0) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// The journals and their sizes.
fn journals(path: &Path) -> Result<Vec<(PathBuf, u64)>, LogError> {
    let list = || {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            if entry.path().extension().is_some_and(|end| end == "jnl") {
                found.push((entry.path(), entry.metadata()?.len()));
            }
        }
        Ok(found)
    };
    list().map_err(|source| failure(path, fjall::Error::Io(source)))
}

fn until(path: &Path, what: &str, mut done: impl FnMut() -> Result<bool, LogError>) -> Result<(), LogError> {
    let until = Instant::now() + PATIENCE;
    while !done()? {
        if Instant::now() > until {
            return Err(stuck(path, what));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn stuck(path: &Path, what: &str) -> LogError {
    LogError::Io { path: path.display().to_string(), source: std::io::Error::other(format!("{what} within {} s", PATIENCE.as_secs())) }
}
