//! Snapshots of a run: what every operator and every sink knew at an epoch, and how far the sources were read.
//!
//! A folder per epoch: one file per dataflow thread, one of the sinks, and a manifest, which is written last. Holds always: a snapshot counts
//! only with its manifest, which names the plan, the ledger, the versions and every file's hash; a file that is not what was written makes
//! the snapshot unusable, and the one before it is taken. Not promised: a snapshot at any given epoch.
//! After a crash: a folder without a manifest, which the next run removes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use ajatus_operators::row::{ENCODING, Row};
use ajatus_operators::{Resume, Told, split};
use serde::{Deserialize, Serialize};

use super::crash::{self, Point};
use super::error::StreamError;
use super::ledger::Book;

/// Version of the files; a snapshot of another one is not read.
const FORMAT: u32 = 1;
/// Snapshots that are kept: the newest, and one before it in case the newest is damaged.
const KEPT: usize = 2;

/// How far each source was read: `source -> partition -> next offset`.
pub(crate) type Offsets = BTreeMap<String, BTreeMap<u32, u64>>;

/// What a snapshot is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Manifest {
    format: u32,
    /// Version of the rows' bytes.
    encoding: u32,
    plan: String,
    ledger: String,
    /// Everything up to here is in it.
    pub(crate) epoch: u64,
    pub(crate) offsets: Offsets,
    /// What each sink that remembers its progress said then. One that says less now has lost something, and the snapshot does not help it.
    progress: BTreeMap<String, u64>,
    files: BTreeMap<String, (u64, String)>,
}

/// The snapshots of a run folder.
#[derive(Clone, Debug)]
pub(crate) struct Snapshots {
    folder: PathBuf,
    plan: String,
    ledger: String,
}

/// A snapshot that a restart can go on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// Everything up to here is in it.
    pub epoch: u64,
    /// What it takes on disk.
    pub bytes: u64,
}

/// The snapshots of a run folder that belong to its ledger, the oldest first.
#[must_use]
pub fn snapshots(state: &Path, book: &Book) -> Vec<Snapshot> {
    let all = Snapshots::of(state, &book.plan, &book.id).list();
    all.iter().map(|manifest| Snapshot { epoch: manifest.epoch, bytes: manifest.files.values().map(|(bytes, _)| bytes).sum() }).collect()
}

/// A snapshot that was read: per operator its entries, and per sink its rows.
pub(crate) struct Loaded {
    pub(crate) epoch: u64,
    pub(crate) offsets: Offsets,
    operators: Vec<(String, Vec<u8>)>,
    sinks: HashMap<String, Vec<(Row, isize)>>,
}

impl Snapshots {
    /// Of a run folder, as far as they are of this plan and this ledger.
    pub(crate) fn of(state: &Path, plan: &str, ledger: &str) -> Self {
        Self { folder: state.join("snapshots"), plan: plan.to_owned(), ledger: ledger.to_owned() }
    }

    /// Complete snapshots by epoch.
    pub(crate) fn list(&self) -> Vec<Manifest> {
        let Ok(folders) = std::fs::read_dir(&self.folder) else { return Vec::new() };
        let manifests = folders.filter_map(|folder| {
            let text = std::fs::read(folder.ok()?.path().join("manifest.json")).ok()?;
            serde_json::from_slice::<Manifest>(&text).ok()
        });
        let mut manifests: Vec<Manifest> = manifests
            .filter(|manifest| manifest.format == FORMAT && manifest.encoding == ENCODING && manifest.plan == self.plan && manifest.ledger == self.ledger)
            .collect();
        manifests.sort_unstable_by_key(|manifest| manifest.epoch);
        manifests
    }

    /// The newest snapshot that can be read, of an epoch up to `most`, and with which the sinks can go on that are at `progress`.
    pub(crate) fn newest(&self, most: u64, progress: &BTreeMap<String, u64>) -> Option<Loaded> {
        let has = |manifest: &Manifest| manifest.progress.iter().all(|(sink, then)| progress.get(sink).is_none_or(|now| now >= then));
        self.list().into_iter().rev().filter(|manifest| manifest.epoch <= most && has(manifest)).find_map(|manifest| match self.read(&manifest) {
            Ok(loaded) => Some(loaded),
            Err(error) => {
                tracing::warn!(%error, epoch = manifest.epoch, "a snapshot cannot be used; an earlier one is tried");
                None
            }
        })
    }

    /// The snapshot of an epoch.
    pub(crate) fn exactly(&self, epoch: u64) -> Result<Loaded, StreamError> {
        let found = self.list().into_iter().find(|manifest| manifest.epoch == epoch);
        let gone = || StreamError::Damaged { path: self.at(epoch).display().to_string(), reason: "it is no snapshot of this plan; do all processes see one run folder?".to_owned() };
        self.read(&found.ok_or_else(gone)?)
    }

    /// A thread's file of a snapshot that is being made.
    pub(crate) fn part(&self, epoch: u64, worker: usize) -> Result<Part, StreamError> {
        Part::create(&self.at(epoch), format!("worker-{worker:03}"))
    }

    fn at(&self, epoch: u64) -> PathBuf {
        self.folder.join(format!("{epoch:020}"))
    }

    fn read(&self, manifest: &Manifest) -> Result<Loaded, StreamError> {
        let folder = self.at(manifest.epoch);
        let mut loaded = Loaded { epoch: manifest.epoch, offsets: manifest.offsets.clone(), operators: Vec::new(), sinks: HashMap::new() };
        for (name, (bytes, hash)) in &manifest.files {
            let path = folder.join(name);
            let damaged = |reason: &str| StreamError::Damaged { path: path.display().to_string(), reason: reason.to_owned() };
            let text = std::fs::read(&path).map_err(|source| StreamError::Io { path: path.display().to_string(), source })?;
            if text.len() as u64 != *bytes || blake3::hash(&text).to_hex().as_str() != hash {
                return Err(damaged("it is not what was written"));
            }
            let mut rest = text.as_slice();
            while !rest.is_empty() {
                let (owner, part, after) = frame(rest).ok_or_else(|| damaged("it ends within a part"))?;
                rest = after;
                match owner.strip_prefix("sink ") {
                    Some(sink) => drop(loaded.sinks.insert(sink.to_owned(), rows_of(part).ok_or_else(|| damaged("a row is cut off"))?)),
                    None => loaded.operators.push((owner.to_owned(), part.to_vec())),
                }
            }
        }
        Ok(loaded)
    }

    /// Begins a snapshot of an epoch: the first `workers` threads of `peers` give their parts here, the others store them themselves.
    pub(crate) fn draft(&self, epoch: u64, offsets: Offsets, workers: usize, peers: usize) -> Result<Draft, StreamError> {
        let folder = self.at(epoch);
        let io = |source| StreamError::Io { path: folder.display().to_string(), source };
        // What a crash left of the same epoch.
        std::fs::remove_dir_all(&folder).or_else(missing).map_err(io)?;
        std::fs::create_dir_all(&folder).map_err(io)?;
        let files = (0..workers).map(|worker| Part::create(&folder, format!("worker-{worker:03}"))).collect::<Result<_, _>>()?;
        let manifest = Manifest { format: FORMAT, encoding: ENCODING, plan: self.plan.clone(), ledger: self.ledger.clone(), epoch, offsets, progress: BTreeMap::new(), files: BTreeMap::new() };
        Ok(Draft { snapshots: self.clone(), folder, manifest, workers: files, waiting: (0..peers).collect(), sinks_done: false })
    }

    /// Removes all but the newest, and what is not whole.
    pub(crate) fn tidy(&self) -> Result<(), StreamError> {
        let io = |source| StreamError::Io { path: self.folder.display().to_string(), source };
        let keep: BTreeSet<PathBuf> = self.list().iter().rev().take(KEPT).map(|manifest| self.at(manifest.epoch)).collect();
        let folders = match std::fs::read_dir(&self.folder) {
            Ok(folders) => folders,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(io(error)),
        };
        for folder in folders {
            let path = folder.map_err(io)?.path();
            if !keep.contains(&path) {
                std::fs::remove_dir_all(&path).map_err(io)?;
            }
        }
        Ok(())
    }
}

impl Loaded {
    /// Each thread's share of what the operators know.
    pub(crate) fn shares(&mut self, workers: usize, show: bool) -> Result<Vec<Resume>, StreamError> {
        let mut shares: Vec<Resume> = (0..workers).map(|_| Resume { base: self.epoch, show, entries: HashMap::new() }).collect();
        for (operator, bytes) in std::mem::take(&mut self.operators) {
            let mut parts = vec![Vec::new(); workers];
            if !split(&bytes, &mut parts) {
                return Err(StreamError::Damaged { path: format!("the snapshot of epoch {}", self.epoch), reason: format!("the entries of {operator} end within one") });
            }
            for (share, part) in shares.iter_mut().zip(parts) {
                share.entries.entry(operator.clone()).or_default().extend(part);
            }
        }
        Ok(shares)
    }

    /// The rows of a sink.
    pub(crate) fn sink(&mut self, name: &str) -> Vec<(Row, isize)> {
        self.sinks.remove(name).unwrap_or_default()
    }
}

/// A snapshot that is being written.
pub(crate) struct Draft {
    snapshots: Snapshots,
    folder: PathBuf,
    manifest: Manifest,
    workers: Vec<Part>,
    /// Threads that have not given everything yet.
    waiting: BTreeSet<usize>,
    sinks_done: bool,
}

impl Draft {
    pub(crate) fn epoch(&self) -> u64 {
        self.manifest.epoch
    }

    /// Takes what a thread tells.
    pub(crate) fn take(&mut self, worker: usize, told: Told) -> Result<(), StreamError> {
        match told {
            Told::Part { epoch, operator, bytes } if epoch == self.epoch() => self.workers[worker].write(&operator, &bytes),
            Told::All { epoch } if epoch == self.epoch() => {
                self.waiting.remove(&worker);
                Ok(())
            }
            Told::Part { .. } | Told::All { .. } => Ok(()),
        }
    }

    /// Takes the file of a thread of another process.
    pub(crate) fn stored(&mut self, epoch: u64, worker: usize, file: (String, (u64, String))) {
        if epoch == self.epoch() {
            self.waiting.remove(&worker);
            self.manifest.files.extend([file]);
        }
    }

    /// Takes how far the sinks are and what they hold, with this epoch applied and none after it.
    pub(crate) fn sinks<'row>(&mut self, progress: BTreeMap<String, u64>, sinks: impl Iterator<Item = (String, Box<dyn Iterator<Item = (&'row Row, isize)> + 'row>)>) -> Result<(), StreamError> {
        let mut part = Part::create(&self.folder, "sinks".to_owned())?;
        for (name, rows) in sinks {
            let mut bytes = Vec::new();
            for (row, count) in rows {
                put_row(row, count, &mut bytes);
            }
            part.write(&format!("sink {name}"), &bytes)?;
        }
        self.manifest.files.extend([part.finish()?]);
        self.manifest.progress = progress;
        self.sinks_done = true;
        Ok(())
    }

    /// Whether nothing is missing.
    pub(crate) fn whole(&self) -> bool {
        self.sinks_done && self.waiting.is_empty()
    }

    /// Writes the manifest: from now on the snapshot counts, and older ones go.
    pub(crate) fn finish(mut self) -> Result<Manifest, StreamError> {
        crash::point(Point::SnapshotParts);
        for part in self.workers.drain(..) {
            self.manifest.files.extend([part.finish()?]);
        }
        let io = |source| StreamError::Io { path: self.folder.display().to_string(), source };
        let beside = self.folder.join("manifest.json.new");
        let mut file = File::create(&beside).map_err(io)?;
        file.write_all(&serde_json::to_vec_pretty(&self.manifest).expect("a manifest is JSON")).map_err(io)?;
        file.sync_all().map_err(io)?;
        crash::point(Point::SnapshotManifest);
        std::fs::rename(&beside, self.folder.join("manifest.json")).map_err(io)?;
        for folder in [&self.folder, &self.snapshots.folder] {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)?;
        }
        crash::point(Point::SnapshotDone);
        self.snapshots.tidy()?;
        Ok(self.manifest)
    }
}

/// A file of parts: whose, how long, the bytes.
pub(crate) struct Part {
    name: String,
    path: PathBuf,
    file: BufWriter<File>,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Part {
    fn create(folder: &Path, name: String) -> Result<Self, StreamError> {
        let path = folder.join(&name);
        let file = File::create(&path).map_err(|source| StreamError::Io { path: path.display().to_string(), source })?;
        Ok(Self { name, path, file: BufWriter::with_capacity(1 << 20, file), hasher: blake3::Hasher::new(), bytes: 0 })
    }

    pub(crate) fn write(&mut self, owner: &str, part: &[u8]) -> Result<(), StreamError> {
        crash::point(Point::SnapshotPart);
        let mut head = u32::try_from(owner.len()).expect("a name is short").to_le_bytes().to_vec();
        head.extend_from_slice(owner.as_bytes());
        head.extend_from_slice(&(part.len() as u64).to_le_bytes());
        for bytes in [head.as_slice(), part] {
            self.hasher.update(bytes);
            self.bytes += bytes.len() as u64;
            self.file.write_all(bytes).map_err(|source| StreamError::Io { path: self.path.display().to_string(), source })?;
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<(String, (u64, String)), StreamError> {
        let io = |source| StreamError::Io { path: self.path.display().to_string(), source };
        self.file.flush().map_err(io)?;
        self.file.get_ref().sync_all().map_err(io)?;
        Ok((self.name, (self.bytes, self.hasher.finalize().to_hex().to_string())))
    }
}

/// Whose the first part is, its bytes, and what is behind it.
fn frame(bytes: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (owner, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let (length, rest) = rest.split_first_chunk::<8>()?;
    let (part, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    Some((std::str::from_utf8(owner).ok()?, part, rest))
}

fn put_row(row: &Row, count: isize, out: &mut Vec<u8>) {
    out.extend_from_slice(&(count as i64).to_le_bytes());
    out.extend_from_slice(&u32::try_from(row.bytes().len()).expect("a row is below 4 GiB").to_le_bytes());
    out.extend_from_slice(row.bytes());
}

fn rows_of(mut bytes: &[u8]) -> Option<Vec<(Row, isize)>> {
    let mut rows = Vec::new();
    while !bytes.is_empty() {
        let (count, rest) = bytes.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (row, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        rows.push((Row::from_bytes(row), isize::try_from(i64::from_le_bytes(*count)).ok()?));
        bytes = rest;
    }
    Some(rows)
}

fn missing(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(next: u64) -> Offsets {
        Offsets::from([("orders".to_owned(), BTreeMap::from([(0, next)]))])
    }

    /// A whole snapshot with one row of a sink.
    fn written(snapshots: &Snapshots, epoch: u64) -> Manifest {
        let mut draft = snapshots.draft(epoch, offsets(epoch * 10), 2, 2).expect("a draft");
        draft.take(0, Told::Part { epoch, operator: "step 1".to_owned(), bytes: Vec::new() }).expect("a part");
        draft.take(1, Told::All { epoch: epoch - 1 }).expect("a late word of an earlier one");
        draft.take(0, Told::All { epoch }).expect("all");
        draft.take(1, Told::All { epoch }).expect("all");
        assert!(!draft.whole(), "the sinks are missing");
        let row = Row::from_bytes(&[7; 40]);
        draft.sinks(BTreeMap::from([("table".to_owned(), epoch - 1)]), [("out".to_owned(), Box::new([(&row, epoch.cast_signed() as isize)].into_iter()) as Box<dyn Iterator<Item = (&Row, isize)>>)].into_iter()).expect("sinks");
        assert!(draft.whole());
        draft.finish().expect("a manifest")
    }

    #[test]
    fn the_newest_whole_snapshot_of_the_same_plan_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        let snapshots = Snapshots::of(folder.path(), "plan", "ledger");
        assert!(snapshots.newest(u64::MAX, &BTreeMap::new()).is_none());
        for epoch in [3, 5, 9] {
            written(&snapshots, epoch);
        }
        assert_eq!(snapshots.list().iter().map(|manifest| manifest.epoch).collect::<Vec<_>>(), [5, 9], "only the last two are kept");
        let mut newest = snapshots.newest(u64::MAX, &BTreeMap::new()).expect("one");
        assert_eq!((newest.epoch, newest.offsets.clone()), (9, offsets(90)));
        assert_eq!(newest.sink("out"), [(Row::from_bytes(&[7; 40]), 9)]);
        assert_eq!(snapshots.newest(8, &BTreeMap::new()).expect("one").epoch, 5);
        assert!(snapshots.newest(4, &BTreeMap::new()).is_none());
        let at = |epoch| BTreeMap::from([("table".to_owned(), epoch)]);
        assert_eq!(snapshots.newest(u64::MAX, &at(8)).expect("one").epoch, 9, "nothing came for the table in the last epoch");
        assert_eq!(snapshots.newest(u64::MAX, &at(7)).expect("one").epoch, 5, "the table has lost an epoch");
        assert!(snapshots.newest(u64::MAX, &at(3)).is_none());
        assert!(Snapshots::of(folder.path(), "another plan", "ledger").newest(u64::MAX, &BTreeMap::new()).is_none());
        assert!(Snapshots::of(folder.path(), "plan", "another ledger").newest(u64::MAX, &BTreeMap::new()).is_none());
    }

    #[test]
    fn a_damaged_or_unfinished_snapshot_gives_way_to_the_one_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let snapshots = Snapshots::of(folder.path(), "plan", "ledger");
        written(&snapshots, 3);
        written(&snapshots, 5);
        drop(snapshots.draft(7, offsets(70), 1, 1).expect("a draft that nobody finishes"));
        assert_eq!(snapshots.newest(u64::MAX, &BTreeMap::new()).expect("one").epoch, 5);
        let part = snapshots.at(5).join("sinks");
        let mut bytes = std::fs::read(&part).expect("the file");
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&part, bytes).expect("a write");
        assert_eq!(snapshots.newest(u64::MAX, &BTreeMap::new()).expect("one").epoch, 3);
        std::fs::write(snapshots.at(3).join("manifest.json"), b"{").expect("a write");
        assert!(snapshots.newest(u64::MAX, &BTreeMap::new()).is_none());
    }
}
