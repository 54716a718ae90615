//! An index on disk: two files, the library's and the ids beside it.
//!
//! ```text
//! vectors-e42-9f86d081884c7d65.lists    the library's own format
//! vectors-e42-9f86d081884c7d65.ids      "AJFAISS1", user, dimension, ..., BLAKE3 of the other file, BLAKE3 of this one up to here
//! ```
//!
//! Holds always: the second file is written last, and both whole, so a name that can be loaded is complete. Saving removes older epochs of the
//! same tag. Vectors lie there as they were given: whoever gives them turned by the user's secret matrix keeps them so. Give each user a folder:
//! removing it forgets the user's files.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::error::FaissError;
use crate::index::{LargeIndex, Trained};
use crate::native::Lists;
use crate::slots::Slots;

const MAGIC: &[u8; 8] = b"AJFAISS1";
const HASH: usize = blake3::OUT_LEN;

/// Under which name an index lies in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// What it is for: 1 to 64 letters, digits, `_` and `-`.
    pub tag: String,
    /// Changes up to this epoch are in.
    pub epoch: u64,
    /// Whose it is.
    pub user: u128,
    /// Components of each vector.
    pub dimension: usize,
}

impl Saved {
    /// The names without their ends: tag, epoch, and a hash of what else must be the same for it to be of use.
    fn name(&self) -> Result<String, FaissError> {
        let letters = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
        if !(1..=64).contains(&self.tag.len()) || !self.tag.chars().all(letters) {
            return Err(FaissError::Tag { tag: self.tag.clone() });
        }
        Ok(format!("{}-e{}-{}", self.tag, self.epoch, self.parameters()))
    }

    fn parameters(&self) -> String {
        let text = format!("{} {:032x} {} inner product, inverted lists, flat", String::from_utf8_lossy(MAGIC), self.user, self.dimension);
        blake3::hash(text.as_bytes()).to_hex().chars().take(16).collect()
    }

    /// The newest epoch that was saved under this tag for this user and dimension, if there is one.
    ///
    /// # Errors
    /// [`FaissError::Io`] if the folder cannot be read, [`FaissError::Tag`].
    pub fn newest(folder: &Path, tag: &str, user: u128, dimension: usize) -> Result<Option<Self>, FaissError> {
        let wanted = Self { tag: tag.to_owned(), epoch: 0, user, dimension };
        wanted.name()?;
        let newest = wanted.there(folder)?.into_iter().filter(|(_, _, end)| end == "ids").map(|(_, epoch, _)| epoch).max();
        Ok(newest.map(|epoch| Self { epoch, ..wanted }))
    }

    /// Files of this tag, user and dimension: path, epoch and end.
    fn there(&self, folder: &Path) -> Result<Vec<(PathBuf, u64, String)>, FaissError> {
        let (begin, parameters) = (format!("{}-e", self.tag), self.parameters());
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(FaissError::io(folder, error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| FaissError::io(folder, error))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some((epoch, end)) = name.strip_prefix(&begin).and_then(|rest| rest.split_once(&format!("-{parameters}."))) else { continue };
            if let Ok(epoch) = epoch.parse() {
                found.push((path.clone(), epoch, end.to_owned()));
            }
        }
        Ok(found)
    }
}

impl LargeIndex {
    /// Writes it to a folder, which is made, and removes what lies there of the same tag and other epochs.
    ///
    /// # Errors
    /// [`FaissError::Tag`], [`FaissError::Io`], [`FaissError::Library`] if the disk is full. What was saved before stays then.
    pub fn save(&self, folder: &Path, tag: &str) -> Result<Saved, FaissError> {
        let saved = Saved { tag: tag.to_owned(), epoch: self.epoch(), user: self.user(), dimension: self.dimension() };
        let name = saved.name()?;
        fs::create_dir_all(folder).map_err(|error| FaissError::io(folder, error))?;
        let lists = folder.join(format!("{name}.lists"));
        let part = folder.join(format!("{name}.lists.part"));
        self.lists.write(&part)?;
        let failed = |error: std::io::Error| FaissError::io(&part, error);
        fs::File::open(&part).and_then(|file| file.sync_all()).map_err(failed)?;
        let hash = hash_of(&part)?;
        // An epoch that is saved again: never old ids beside new lists.
        let ids = folder.join(format!("{name}.ids"));
        let _gone_or_never_there = fs::remove_file(&ids);
        fs::rename(&part, &lists).map_err(failed)?;
        let part = folder.join(format!("{name}.ids.part"));
        let failed = |error: std::io::Error| FaissError::io(&part, error);
        let mut file = fs::File::create(&part).map_err(failed)?;
        file.write_all(&self.ids(hash)).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&part, &ids).map_err(failed)?;
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| FaissError::io(folder, error))?;
        for (path, ..) in saved.there(folder)?.into_iter().filter(|(_, epoch, end)| *epoch != saved.epoch || end.ends_with("part")) {
            fs::remove_file(&path).map_err(|error| FaissError::io(&path, error))?;
        }
        Ok(saved)
    }

    /// Reads what was saved.
    ///
    /// # Errors
    /// [`FaissError::Missing`] if it is not there, [`FaissError::Damaged`] if a byte of it has changed or it is another's.
    pub fn load(folder: &Path, saved: &Saved) -> Result<Self, FaissError> {
        let name = saved.name()?;
        let ids = folder.join(format!("{name}.ids"));
        let lists = folder.join(format!("{name}.lists"));
        let bytes = fs::read(&ids).map_err(|error| FaissError::io(&ids, error))?;
        let bad = |reason: &str| FaissError::damaged(&ids, reason);
        let (text, sum) = bytes.split_last_chunk::<HASH>().ok_or_else(|| bad("it is cut"))?;
        if blake3::hash(text) != *sum {
            return Err(bad("its checksum differs"));
        }
        let read = Read::whole(text).ok_or_else(|| bad("it is of another form"))?;
        if read.user != saved.user || read.dimension != saved.dimension || read.epoch != saved.epoch {
            return Err(bad("it is another index"));
        }
        // The library trusts what it reads: not a byte before it is known to be ours.
        if hash_of(&lists)? != read.lists_hash {
            return Err(FaissError::damaged(&lists, "its checksum differs"));
        }
        let held = Lists::read(&lists).map_err(|error| FaissError::damaged(&lists, error.to_string()))?;
        if held.dimension() != read.dimension || held.len() != read.live.len() {
            return Err(FaissError::damaged(&lists, "it does not belong to the ids"));
        }
        let slots = Slots::again(read.user, read.next, read.live, read.gone, read.epoch).ok_or_else(|| bad("it names slots that are not there"))?;
        Ok(Self::whole(held, slots, read.trained))
    }

    fn ids(&self, lists_hash: [u8; HASH]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.user().to_be_bytes());
        let gone: Vec<(u128, u64)> = self.slots.gone().collect();
        let counts = [self.dimension(), self.trained.vectors, self.trained.probes, self.len(), gone.len()].map(|number| number as u64);
        for number in counts.into_iter().chain([self.epoch(), self.slots.next(), self.trained.imbalance.to_bits()]) {
            bytes.extend(number.to_le_bytes());
        }
        for (id, slot, epoch) in self.slots.live() {
            bytes.extend(id.to_be_bytes());
            bytes.extend(slot.to_le_bytes());
            bytes.extend(epoch.to_le_bytes());
        }
        for (id, epoch) in gone {
            bytes.extend(id.to_be_bytes());
            bytes.extend(epoch.to_le_bytes());
        }
        bytes.extend(lists_hash);
        let sum = blake3::hash(&bytes);
        bytes.extend(sum.as_bytes());
        bytes
    }
}

fn hash_of(path: &Path) -> Result<[u8; HASH], FaissError> {
    let mut hasher = blake3::Hasher::new();
    let mut file = fs::File::open(path).map_err(|error| FaissError::io(path, error))?;
    hasher.update_reader(&mut file).map_err(|error| FaissError::io(path, error))?;
    Ok(*hasher.finalize().as_bytes())
}

/// The file of ids, read.
struct Read {
    user: u128,
    dimension: usize,
    epoch: u64,
    next: u64,
    trained: Trained,
    live: Vec<(u128, u64, u64)>,
    gone: Vec<(u128, u64)>,
    lists_hash: [u8; HASH],
}

impl Read {
    fn whole(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(MAGIC)?;
        let rest = &mut rest;
        let user = id(rest)?;
        let mut size = || number(rest).and_then(|number| usize::try_from(number).ok());
        let (dimension, vectors, probes, live, gone) = (size()?, size()?, size()?, size()?, size()?);
        let (epoch, next, imbalance) = (number(rest)?, number(rest)?, f64::from_bits(number(rest)?));
        let live = (0..live).map(|_| Some((id(rest)?, number(rest)?, number(rest)?))).collect::<Option<_>>()?;
        let gone = (0..gone).map(|_| Some((id(rest)?, number(rest)?))).collect::<Option<_>>()?;
        let lists_hash = (*rest).try_into().ok()?;
        Some(Self { user, dimension, epoch, next, trained: Trained { vectors, imbalance, probes }, live, gone, lists_hash })
    }
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    let (first, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u64::from_le_bytes(*first))
}

fn id(rest: &mut &[u8]) -> Option<u128> {
    let (first, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u128::from_be_bytes(*first))
}
