//! The epoch ledger of one run folder: which offsets each epoch was made of, on disk before the dataflow sees them.
//!
//! A file of lines: a checksum, a space, and a JSON document. Holds always: a line is synced when [`Ledger::mint`] returns; epochs grow
//! by one; the folder belongs to one process (a lock). After a crash: a last line that is cut off was never fed, and is dropped.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::StreamError;

/// One epoch: per source and partition, from which offset to before which.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Minted {
    /// Its number, from 1.
    pub epoch: u64,
    /// `source -> partition -> [from, to)`.
    pub ranges: BTreeMap<String, BTreeMap<u32, (u64, u64)>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    plan: String,
    format: u32,
    /// Names this ledger: what a sink remembers of another one means nothing here.
    id: uuid::Uuid,
}

/// The open ledger.
#[derive(Debug)]
pub struct Ledger {
    file: File,
    path: PathBuf,
    last: u64,
    id: uuid::Uuid,
    _lock: File,
}

impl Ledger {
    /// Opens the ledger of a run folder, and returns the epochs minted before.
    ///
    /// A ledger of another plan is put aside under the name of its plan, and a new one begun: the views are made anew.
    ///
    /// # Errors
    /// [`StreamError::Locked`] if another process runs on the folder; [`StreamError::Damaged`] if a line before the last one is not what was written.
    pub fn open(folder: &Path, plan: &str) -> Result<(Self, Vec<Minted>), StreamError> {
        let io = |source: std::io::Error| StreamError::Io { path: folder.display().to_string(), source };
        std::fs::create_dir_all(folder).map_err(io)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(folder.join("lock")).map_err(io)?;
        // The kernel lets go of it when the process ends, however it ends.
        #[expect(unsafe_code, reason = "flock takes an open descriptor and touches no memory")]
        let taken = unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0;
        if !taken {
            return Err(StreamError::Locked { folder: folder.display().to_string() });
        }
        let path = folder.join("ledger");
        let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path).map_err(io)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(io)?;
        let (documents, good) = lines(&text, &path)?;
        let head = documents.first().and_then(|document| serde_json::from_slice::<Head>(document).ok());
        let kept_id = head.as_ref().map(|head| head.id).unwrap_or_default();
        let (mut minted, mut keep) = (Vec::new(), good);
        match head {
            Some(head) if head.plan == plan => {
                for document in &documents[1..] {
                    let row: Minted = serde_json::from_slice(document).map_err(|error| StreamError::Damaged { path: path.display().to_string(), reason: error.to_string() })?;
                    minted.push(row);
                }
            }
            Some(head) => {
                std::fs::copy(&path, folder.join(format!("ledger.{}", head.plan))).map_err(io)?;
                keep = 0;
            }
            None => keep = 0,
        }
        file.set_len(keep as u64).map_err(io)?;
        file.seek(SeekFrom::End(0)).map_err(io)?;
        let last = minted.last().map_or(0, |row: &Minted| row.epoch);
        let id = if keep == 0 { uuid::Uuid::now_v7() } else { kept_id };
        let mut ledger = Self { file, path, last, id, _lock: lock };
        if keep == 0 {
            ledger.append(&Head { plan: plan.to_owned(), format: 1, id })?;
        }
        Ok((ledger, minted))
    }

    /// What a run folder's ledger holds, without taking it: its plan and its epochs; `None` if there is none.
    ///
    /// # Errors
    /// As [`Ledger::open`], but for the lock.
    pub fn read(folder: &Path) -> Result<Option<(String, Vec<Minted>)>, StreamError> {
        let path = folder.join("ledger");
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StreamError::Io { path: path.display().to_string(), source }),
        };
        let (documents, _) = lines(&text, &path)?;
        let Some(head) = documents.first().and_then(|document| serde_json::from_slice::<Head>(document).ok()) else { return Ok(None) };
        let minted = documents[1..].iter().map(|document| serde_json::from_slice(document)).collect::<Result<_, _>>();
        let minted = minted.map_err(|error| StreamError::Damaged { path: path.display().to_string(), reason: error.to_string() })?;
        Ok(Some((head.plan, minted)))
    }

    /// What a run folder's ledger is of, without taking it: its plan and its name; `None` if there is none.
    pub(super) fn identity(folder: &Path) -> Result<Option<(String, String)>, StreamError> {
        let path = folder.join("ledger");
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StreamError::Io { path: path.display().to_string(), source }),
        };
        let (documents, _) = lines(&text, &path)?;
        let head = documents.first().and_then(|document| serde_json::from_slice::<Head>(document).ok());
        Ok(head.map(|head| (head.plan, head.id.to_string())))
    }

    /// What names it: epochs of another ledger are other epochs.
    #[must_use]
    pub fn id(&self) -> String {
        self.id.to_string()
    }

    /// Writes the next epoch and syncs it.
    ///
    /// # Errors
    /// The file system's; nothing was minted then.
    pub fn mint(&mut self, ranges: BTreeMap<String, BTreeMap<u32, (u64, u64)>>) -> Result<Minted, StreamError> {
        let row = Minted { epoch: self.last + 1, ranges };
        self.append(&row)?;
        self.last = row.epoch;
        Ok(row)
    }

    fn append(&mut self, document: &impl Serialize) -> Result<(), StreamError> {
        let line = sealed_line(document);
        let io = |source: std::io::Error| StreamError::Io { path: self.path.display().to_string(), source };
        self.file.write_all(&line).map_err(io)?;
        self.file.sync_data().map_err(io)
    }
}

/// A document as a line with its checksum.
pub(super) fn sealed_line(document: &impl Serialize) -> Vec<u8> {
    let text = serde_json::to_string(document).expect("a line of ours is JSON");
    format!("{} {text}\n", checksum(text.as_bytes())).into_bytes()
}

fn checksum(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().chars().take(16).collect()
}

/// The documents of whole lines, and how many bytes those take.
pub(super) fn lines<'text>(text: &'text [u8], path: &Path) -> Result<(Vec<&'text [u8]>, usize), StreamError> {
    let (mut documents, mut good) = (Vec::new(), 0);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let whole = line.strip_suffix(b"\n").and_then(|line| {
            let (sum, document) = line.split_at_checked(17)?;
            (sum.strip_suffix(b" ")? == checksum(document).as_bytes()).then_some(document)
        });
        match whole {
            Some(document) => {
                documents.push(document);
                good += line.len();
            }
            None if good + line.len() == text.len() => break,
            None => {
                let reason = format!("line {} is not what was written", documents.len() + 1);
                return Err(StreamError::Damaged { path: path.display().to_string(), reason });
            }
        }
    }
    Ok((documents, good))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(to: u64) -> BTreeMap<String, BTreeMap<u32, (u64, u64)>> {
        BTreeMap::from([("words".to_owned(), BTreeMap::from([(0, (to - 1, to))]))])
    }

    #[test]
    fn gives_back_what_was_minted_and_drops_only_a_torn_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut ledger, before) = Ledger::open(folder.path(), "p1").expect("a ledger");
        assert!(before.is_empty());
        let rows: Vec<Minted> = (1..=3).map(|to| ledger.mint(ranges(to)).expect("an epoch")).collect();
        assert!(matches!(Ledger::open(folder.path(), "p1"), Err(StreamError::Locked { .. })));
        drop(ledger);
        let path = folder.path().join("ledger");
        let whole = std::fs::read(&path).expect("the file");
        for cut in 1..40 {
            std::fs::write(&path, &whole[..whole.len() - cut]).expect("a write");
            let (mut ledger, before) = Ledger::open(folder.path(), "p1").expect("a ledger");
            assert_eq!(before, rows[..2], "cut by {cut}");
            assert_eq!(ledger.mint(ranges(3)).expect("an epoch"), rows[2]);
        }
        let mut spoilt = whole.clone();
        let middle = spoilt.len() / 2;
        spoilt[middle] ^= 1;
        std::fs::write(&path, &spoilt).expect("a write");
        assert!(matches!(Ledger::open(folder.path(), "p1"), Err(StreamError::Damaged { .. })));
        std::fs::write(&path, &whole).expect("a write");
        let (_, before) = Ledger::open(folder.path(), "p2").expect("a ledger");
        assert!(before.is_empty(), "another plan starts anew");
        assert!(folder.path().join("ledger.p1").exists());
    }
}
