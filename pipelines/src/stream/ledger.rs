//! The epoch ledger of one run folder: which offsets each epoch was made of, on disk before the dataflow sees them.
//!
//! A file of lines: a checksum, a space, and a JSON document. Holds always: a line is synced when [`Ledger::mint`] returns; epochs grow
//! by one; the folder belongs to one process (a lock). Epochs that a snapshot has are dropped from the file once there are many. After a
//! crash: a last line that is cut off was never fed, and is dropped.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::crash::{self, Point};
use super::error::StreamError;
use super::snapshot::Offsets;

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
    /// Epochs up to here are not in the file: a snapshot has them.
    #[serde(default)]
    base: u64,
    /// How far they had read.
    #[serde(default)]
    offsets: Offsets,
}

/// What a ledger holds.
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// The plan it belongs to.
    pub plan: String,
    /// What names it.
    pub id: String,
    /// Epochs up to here are not in it: a snapshot has them.
    pub base: u64,
    /// How far those had read: `source -> partition -> next offset`.
    pub offsets: BTreeMap<String, BTreeMap<u32, u64>>,
    /// The epochs after them.
    pub minted: Vec<Minted>,
}

impl Book {
    /// The last epoch.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.minted.last().map_or(self.base, |row| row.epoch)
    }

    /// How far the sources were read at the end of an epoch.
    #[must_use]
    pub fn offsets_at(&self, epoch: u64) -> BTreeMap<String, BTreeMap<u32, u64>> {
        let mut offsets = self.offsets.clone();
        for row in self.minted.iter().filter(|row| row.epoch <= epoch) {
            row.reach(&mut offsets);
        }
        offsets
    }
}

impl Minted {
    /// Moves offsets on to where this epoch ends.
    pub(crate) fn reach(&self, offsets: &mut Offsets) {
        for (source, partitions) in &self.ranges {
            offsets.entry(source.clone()).or_default().extend(partitions.iter().map(|(partition, (_, to))| (*partition, *to)));
        }
    }
}

/// The open ledger.
#[derive(Debug)]
pub struct Ledger {
    file: File,
    path: PathBuf,
    last: u64,
    /// Epochs in the file.
    rows: usize,
    id: uuid::Uuid,
    plan: String,
    _lock: File,
}

/// Epochs of a file that is worth shortening.
const LONG: usize = 2_000;

impl Ledger {
    /// Opens the ledger of a run folder, and returns the epochs minted before.
    ///
    /// A ledger of another plan is put aside under the name of its plan, and a new one begun: the views are made anew.
    ///
    /// # Errors
    /// [`StreamError::Locked`] if another process runs on the folder; [`StreamError::Damaged`] if a line before the last one is not what was written.
    pub fn open(folder: &Path, plan: &str) -> Result<(Self, Book), StreamError> {
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
        let (book, good) = book(&text, &path)?;
        let (book, keep) = match book {
            Some(book) if book.plan == plan => (book, good),
            Some(other) => {
                std::fs::copy(&path, folder.join(format!("ledger.{}", other.plan))).map_err(io)?;
                (Book::default(), 0)
            }
            None => (Book::default(), 0),
        };
        file.set_len(keep as u64).map_err(io)?;
        file.seek(SeekFrom::End(0)).map_err(io)?;
        let id = if keep == 0 { uuid::Uuid::now_v7() } else { book.id.parse().unwrap_or_default() };
        let book = Book { plan: plan.to_owned(), id: id.to_string(), ..book };
        let mut ledger = Self { file, path, last: book.last(), rows: book.minted.len(), id, plan: plan.to_owned(), _lock: lock };
        if keep == 0 {
            let head = sealed_line(&Head { plan: plan.to_owned(), format: 1, id, base: 0, offsets: Offsets::new() });
            ledger.write(&head)?;
        }
        Ok((ledger, book))
    }

    /// What a run folder's ledger holds, without taking it; `None` if there is none.
    ///
    /// # Errors
    /// As [`Ledger::open`], but for the lock.
    pub fn read(folder: &Path) -> Result<Option<Book>, StreamError> {
        let path = folder.join("ledger");
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StreamError::Io { path: path.display().to_string(), source }),
        };
        Ok(book(&text, &path)?.0)
    }

    /// What a run folder's ledger is of, without taking it: its plan and its name; `None` if there is none.
    pub(super) fn identity(folder: &Path) -> Result<Option<(String, String)>, StreamError> {
        Ok(Self::read(folder)?.map(|book| (book.plan, book.id)))
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
        self.write(&sealed_line(&row))?;
        self.last = row.epoch;
        self.rows += 1;
        Ok(row)
    }

    /// Drops epochs up to `base`, which a snapshot has, if that makes the file much shorter.
    ///
    /// # Errors
    /// The file system's; the ledger is as it was then.
    pub fn shorten(&mut self, base: u64) -> Result<(), StreamError> {
        if self.rows < LONG || (self.last - base.min(self.last)) as usize > self.rows / 2 {
            return Ok(());
        }
        let io = |source: std::io::Error| StreamError::Io { path: self.path.display().to_string(), source };
        let text = std::fs::read(&self.path).map_err(io)?;
        let Some(book) = book(&text, &self.path)?.0.filter(|book| book.base < base) else { return Ok(()) };
        let head = Head { plan: self.plan.clone(), format: 1, id: self.id, base, offsets: book.offsets_at(base) };
        let mut short = sealed_line(&head);
        let rest: Vec<&Minted> = book.minted.iter().filter(|row| row.epoch > base).collect();
        rest.iter().for_each(|row| short.extend(sealed_line(row)));
        let beside = self.path.with_extension("new");
        let mut file = File::create(&beside).map_err(io)?;
        file.write_all(&short).map_err(io)?;
        file.sync_all().map_err(io)?;
        crash::point(Point::LedgerShortened);
        std::fs::rename(&beside, &self.path).map_err(io)?;
        if let Some(folder) = self.path.parent() {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)?;
        }
        self.file = file;
        self.rows = rest.len();
        Ok(())
    }

    fn write(&mut self, line: &[u8]) -> Result<(), StreamError> {
        let io = |source: std::io::Error| StreamError::Io { path: self.path.display().to_string(), source };
        if crash::here(Point::LedgerTorn) {
            self.file.write_all(&line[..line.len() / 2]).map_err(io)?;
            crash::die();
        }
        self.file.write_all(line).map_err(io)?;
        self.file.sync_data().map_err(io)
    }
}

/// A document as a line with its checksum.
pub(super) fn sealed_line(document: &impl Serialize) -> Vec<u8> {
    let text = serde_json::to_string(document).expect("a line of ours is JSON");
    format!("{} {text}\n", checksum(text.as_bytes())).into_bytes()
}

/// What the file's whole lines hold, and how many bytes those take; `None` without a head.
fn book(text: &[u8], path: &Path) -> Result<(Option<Book>, usize), StreamError> {
    let (documents, good) = lines(text, path)?;
    let Some(head) = documents.first().and_then(|document| serde_json::from_slice::<Head>(document).ok()) else { return Ok((None, 0)) };
    let minted = documents[1..].iter().map(|document| serde_json::from_slice(document)).collect::<Result<_, _>>();
    let minted = minted.map_err(|error| StreamError::Damaged { path: path.display().to_string(), reason: error.to_string() })?;
    Ok((Some(Book { plan: head.plan, id: head.id.to_string(), base: head.base, offsets: head.offsets, minted }), good))
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
        assert!(before.minted.is_empty());
        let rows: Vec<Minted> = (1..=3).map(|to| ledger.mint(ranges(to)).expect("an epoch")).collect();
        assert!(matches!(Ledger::open(folder.path(), "p1"), Err(StreamError::Locked { .. })));
        drop(ledger);
        let path = folder.path().join("ledger");
        let whole = std::fs::read(&path).expect("the file");
        for cut in 1..40 {
            std::fs::write(&path, &whole[..whole.len() - cut]).expect("a write");
            let (mut ledger, before) = Ledger::open(folder.path(), "p1").expect("a ledger");
            assert_eq!(before.minted, rows[..2], "cut by {cut}");
            assert_eq!(ledger.mint(ranges(3)).expect("an epoch"), rows[2]);
        }
        let mut spoilt = whole.clone();
        let middle = spoilt.len() / 2;
        spoilt[middle] ^= 1;
        std::fs::write(&path, &spoilt).expect("a write");
        assert!(matches!(Ledger::open(folder.path(), "p1"), Err(StreamError::Damaged { .. })));
        std::fs::write(&path, &whole).expect("a write");
        let (_, before) = Ledger::open(folder.path(), "p2").expect("a ledger");
        assert!(before.minted.is_empty(), "another plan starts anew");
        assert!(folder.path().join("ledger.p1").exists());
    }
    #[test]
    fn is_shortened_to_what_a_snapshot_lacks() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut ledger, _) = Ledger::open(folder.path(), "p1").expect("a ledger");
        // A file that long as it would have been written, without a sync for each line.
        let rows: Vec<u8> = (1..=LONG as u64).flat_map(|epoch| sealed_line(&Minted { epoch, ranges: ranges(epoch) })).collect();
        ledger.write(&rows).expect("lines");
        let id = ledger.id();
        drop(ledger);
        let (mut ledger, book) = Ledger::open(folder.path(), "p1").expect("a ledger");
        assert_eq!(book.last(), LONG as u64);
        ledger.shorten(10).expect("nothing to do");
        assert_eq!(Ledger::read(folder.path()).expect("a ledger").expect("one").base, 0, "too little would be saved");
        ledger.shorten(LONG as u64 - 2).expect("a shorter one");
        let next = ledger.mint(ranges(77)).expect("an epoch");
        drop(ledger);
        let (ledger, book) = Ledger::open(folder.path(), "p1").expect("a ledger");
        assert_eq!((book.base, book.last(), ledger.id()), (LONG as u64 - 2, LONG as u64 + 1, id));
        assert_eq!(book.minted.len(), 3);
        assert_eq!(book.minted[2], next);
        assert_eq!(book.offsets["words"][&0], LONG as u64 - 2);
        assert_eq!(book.offsets_at(u64::MAX)["words"][&0], 77);
    }
}
