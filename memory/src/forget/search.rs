//! Looks for bytes in every file of a folder.
//!
//! A text is looked for as UTF-8, as UTF-16 (little-endian), and inside base64 at each of its three offsets; a witness as it lies beside a
//! sealed text, in base64 where a record is JSON, and in base64 of that. A witness is looked for by halves: a page's header may lie
//! between them. Eight bytes are compared at once, and whatever shares them with a needle is compared in full.
//!
//! Holds always: every byte of every file that can be opened is read; a match across two reads is found.
//! Not promised: that compressed bytes are seen through (Parquet, some of Lance).

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde::Serialize;

use super::Witness;

/// Bytes read at once.
const READ_BYTES: usize = 1 << 20;
/// Bytes that are compared first, and the length of a needle at least.
const HEAD: usize = 8;
/// Bits of the sieve before the table.
const SIEVE_BITS: usize = 1 << 22;
/// Places that are named at most, per tier; all are counted.
const NAMED: usize = 20;

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needle {
    /// What it is called in a report; not the bytes.
    pub name: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Why something cannot be looked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NeedleError {
    /// It would be found by chance.
    #[error("canary {number} has {got} bytes, but fewer than {HEAD} prove nothing")]
    Short {
        /// Which, from 1.
        number: usize,
        /// Its bytes.
        got: usize,
    },
}

/// Everything that is looked for, in all its forms.
pub struct Needles {
    needles: Vec<Needle>,
    heads: HashMap<u64, Vec<usize>>,
    sieve: Vec<u64>,
    longest: usize,
}

impl std::fmt::Debug for Needles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Needles").field("forms", &self.needles.len()).finish_non_exhaustive()
    }
}

/// A place where something was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The file, inside the folder.
    pub file: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// What.
    pub what: String,
}

/// What was read of one kind of files, and what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TierFound {
    /// Files read.
    pub files: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Places where something was found.
    pub matches: u64,
    /// The first of them.
    pub found: Vec<Found>,
}

/// What a search has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Searched {
    /// By kind of files.
    pub tiers: BTreeMap<String, TierFound>,
    /// Files that could not be read, and why: of these nothing is known.
    pub unread: Vec<String>,
}

impl Searched {
    /// Places where something was found.
    #[must_use]
    pub fn matches(&self) -> u64 {
        self.tiers.values().map(|tier| tier.matches).sum()
    }

    /// Bytes read.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.tiers.values().map(|tier| tier.bytes).sum()
    }
}

impl Needles {
    /// Of these texts and witnesses.
    ///
    /// # Errors
    /// [`NeedleError`].
    pub fn new(canaries: &[String], witnesses: &[Witness]) -> Result<Self, NeedleError> {
        let mut needles = Vec::new();
        for (at, canary) in canaries.iter().enumerate() {
            let number = at + 1;
            if canary.len() < HEAD {
                return Err(NeedleError::Short { number, got: canary.len() });
            }
            let mut add = |form: &str, bytes: Vec<u8>| needles.push(Needle { name: format!("canary {number} ({form})"), bytes });
            add("UTF-8", canary.as_bytes().to_vec());
            let wide: Vec<u8> = canary.encode_utf16().flat_map(u16::to_le_bytes).collect();
            add("UTF-16", wide);
            let quoted = serde_json::to_string(canary).unwrap_or_default();
            let quoted = quoted.trim_matches('"');
            if quoted != canary {
                add("JSON", quoted.as_bytes().to_vec());
            }
            for bytes in in_base64(canary.as_bytes()) {
                add("base64", bytes);
            }
        }
        for witness in witnesses {
            // Five bytes stand before it: in base64 its second byte is the first that begins a group.
            let coded = STANDARD_NO_PAD.encode(&witness.0[1..22]);
            let halves = [&witness.0[..12], &witness.0[12..], &coded.as_bytes()[..14], &coded.as_bytes()[14..]];
            let mut forms: Vec<Vec<u8>> = halves.iter().map(|half| half.to_vec()).collect();
            for half in &halves[2..] {
                forms.extend(in_base64(half));
            }
            let name = format!("witness {witness}");
            needles.extend(forms.into_iter().map(|bytes| Needle { name: name.clone(), bytes }));
        }
        Ok(Self::of(needles.into_iter().filter(|needle| needle.bytes.len() >= HEAD).collect()))
    }

    fn of(needles: Vec<Needle>) -> Self {
        let mut all = Self { heads: HashMap::new(), sieve: vec![0; SIEVE_BITS / 64], longest: HEAD, needles };
        for (at, needle) in all.needles.iter().enumerate() {
            let head = needle.bytes.iter().take(HEAD).fold(0, |head: u64, byte| head << 8 | u64::from(*byte));
            let bit = place(head);
            all.sieve[bit / 64] |= 1 << (bit % 64);
            all.heads.entry(head).or_default().push(at);
            all.longest = all.longest.max(needle.bytes.len());
        }
        all
    }

    /// Forms that are looked for.
    #[must_use]
    pub fn forms(&self) -> usize {
        self.needles.len()
    }

    /// Calls `hit` with the place and the needle of every match that begins before `until`.
    fn look(&self, bytes: &[u8], until: usize, mut hit: impl FnMut(usize, &Needle)) {
        let mut head = 0_u64;
        for (at, byte) in bytes.iter().enumerate() {
            head = head << 8 | u64::from(*byte);
            let bit = place(head);
            if at + 1 < HEAD || self.sieve[bit / 64] >> (bit % 64) & 1 == 0 {
                continue;
            }
            let begin = at + 1 - HEAD;
            if begin >= until {
                return;
            }
            for needle in self.heads.get(&head).into_iter().flatten().map(|at| &self.needles[*at]) {
                if bytes[begin..].starts_with(&needle.bytes) {
                    hit(begin, needle);
                }
            }
        }
    }
}

/// Where a head stands in the sieve.
fn place(head: u64) -> usize {
    // Fibonacci hashing (Knuth, volume 3, section 6.4): the golden ratio times 2^64.
    usize::try_from(head.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 42).expect("22 bits") % SIEVE_BITS
}

/// What bytes look like inside base64, at each of the three offsets, with the letters that only they decide.
fn in_base64(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    for shift in 0..3 {
        let padded: Vec<u8> = std::iter::repeat_n(0, shift).chain(bytes.iter().copied()).collect();
        for code in [STANDARD_NO_PAD.encode(&padded), URL_SAFE_NO_PAD.encode(&padded)] {
            let from = [0, 2, 3][shift];
            let to = code.len() - usize::from(!padded.len().is_multiple_of(3));
            let form = code.as_bytes()[from..to.max(from)].to_vec();
            if !forms.contains(&form) {
                forms.push(form);
            }
        }
    }
    forms
}

/// Searches every file below a folder; blocks. `progress` hears of the bytes read so far. Files that vanish meanwhile were not there.
///
/// # Errors
/// If the folder itself cannot be listed.
pub fn search(folder: &Path, needles: &Needles, mut progress: impl FnMut(u64)) -> std::io::Result<Searched> {
    let mut searched = Searched::default();
    let mut folders = vec![folder.to_path_buf()];
    std::fs::read_dir(folder)?;
    let mut read = 0;
    while let Some(next) = folders.pop() {
        let mut entries: Vec<_> = match std::fs::read_dir(&next) {
            Ok(entries) => entries.flatten().collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                searched.unread.push(format!("{}: {error}", next.display()));
                continue;
            }
        };
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            match entry.file_type() {
                // What a link points at lies elsewhere, or is met by itself.
                Ok(kind) if kind.is_dir() => folders.push(path),
                Ok(kind) if kind.is_file() => {
                    let inside = path.strip_prefix(folder).unwrap_or(&path).to_path_buf();
                    let tier = searched.tiers.entry(tier(&inside)).or_default();
                    match one(&path, &inside, needles, tier) {
                        Ok(bytes) => {
                            read += bytes;
                            progress(read);
                        }
                        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                        Err(error) => searched.unread.push(format!("{}: {error}", path.display())),
                    }
                }
                _ => {}
            }
        }
    }
    Ok(searched)
}

fn one(path: &Path, inside: &Path, needles: &Needles, tier: &mut TierFound) -> std::io::Result<u64> {
    let mut file = File::open(path)?;
    tier.files += 1;
    let mut buffer = Vec::with_capacity(READ_BYTES + needles.longest);
    let mut begin = 0_u64;
    loop {
        let held = buffer.len();
        let read = file.by_ref().take(READ_BYTES as u64).read_to_end(&mut buffer)?;
        let end = read == 0;
        // What could begin here and end in the next piece waits for it.
        let until = if end { buffer.len() } else { buffer.len().saturating_sub(needles.longest - 1) };
        needles.look(&buffer, until, |at, needle| {
            tier.matches += 1;
            if tier.found.len() < NAMED {
                tier.found.push(Found { file: inside.to_path_buf(), offset: begin + at as u64, what: needle.name.clone() });
            }
        });
        tier.bytes += (buffer.len() - held) as u64;
        if end {
            return Ok(begin + buffer.len() as u64);
        }
        buffer.drain(..until);
        begin += until as u64;
    }
}

/// Which kind of files a file is of.
fn tier(inside: &Path) -> String {
    let parts: Vec<_> = inside.iter().map(|part| part.to_string_lossy()).collect();
    let part = |at: usize| parts.get(at).map_or("", AsRef::as_ref);
    let journal = part(parts.len().saturating_sub(1)).ends_with(".jnl");
    match (part(0), part(1), part(2)) {
        ("log", ..) if journal => "log journal",
        ("log", ..) => "log tables",
        ("postgres", "cluster", "base") => "postgres tables",
        ("postgres", "cluster", "pg_wal") => "postgres wal",
        ("postgres", ..) => "postgres other",
        ("pipelines", ..) => "pipeline runs",
        _ if parts.iter().any(|part| part.ends_with(".lance")) || part(0) == "lance" => "lance",
        _ => "other",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(folder: &Path, canaries: &[&str], witnesses: &[Witness]) -> u64 {
        let canaries: Vec<String> = canaries.iter().map(|&canary| canary.to_owned()).collect();
        search(folder, &Needles::new(&canaries, witnesses).expect("needles"), |_| {}).expect("searched").matches()
    }

    #[test]
    fn finds_a_text_across_the_border_of_two_reads_and_at_every_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let canary = "a canary of the mine";
        let path = folder.path().join("file");
        for at in (READ_BYTES - 40..READ_BYTES + 5).chain(2 * READ_BYTES - 25..2 * READ_BYTES + 2).chain([0, 7]) {
            let mut bytes = vec![b'.'; 2 * READ_BYTES + 100];
            bytes[at..at + canary.len()].copy_from_slice(canary.as_bytes());
            std::fs::write(&path, &bytes).expect("written");
            assert_eq!(found(folder.path(), &[canary], &[]), 1, "at {at}");
        }
        let mut bytes = vec![b'.'; READ_BYTES];
        bytes.extend(canary.as_bytes());
        std::fs::write(&path, &bytes).expect("written");
        assert_eq!(found(folder.path(), &[canary], &[]), 1, "at the end");
        assert_eq!(found(folder.path(), &["another canary"], &[]), 0);
    }

    #[test]
    fn finds_other_forms_of_a_text() {
        let folder = tempfile::tempdir().expect("a folder");
        let canary = "Mustikka nukkuu \"saunassa\" öisin";
        let wide: Vec<u8> = canary.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut forms = vec![canary.as_bytes().to_vec(), wide, serde_json::to_vec(canary).expect("JSON")];
        for before in ["", "x", "xy", "xyz"] {
            forms.push(STANDARD_NO_PAD.encode(format!("{before}{canary} and more")).into_bytes());
        }
        for (number, form) in forms.iter().enumerate() {
            let path = folder.path().join("file");
            std::fs::write(&path, [b"before".as_slice(), form, b"after"].concat()).expect("written");
            assert!(found(folder.path(), &[canary], &[]) > 0, "form {number}");
        }
    }

    #[test]
    fn finds_a_witness_beside_its_text_in_json_and_in_a_record_of_a_record() {
        let folder = tempfile::tempdir().expect("a folder");
        let witness = Witness(std::array::from_fn(|at| u8::try_from(at * 7 + 3).expect("small")));
        let sealed = [[1, 0, 0, 0, 1].as_slice(), &witness.0, b"ciphertext and tag"].concat();
        let json = format!("{{\"body\":\"{}\"}}", STANDARD_NO_PAD.encode(&sealed));
        let page = [&sealed[..18], b"-- header of a page --", &sealed[18..]].concat();
        for (number, bytes) in [sealed.clone(), json.clone().into_bytes(), STANDARD_NO_PAD.encode(format!("?{json}")).into_bytes(), page].iter().enumerate() {
            std::fs::write(folder.path().join("file"), bytes).expect("written");
            assert!(found(folder.path(), &[], &[witness]) > 0, "form {number}");
            assert_eq!(found(folder.path(), &[], &[Witness([9; 24])]), 0);
        }
    }

    #[test]
    fn says_what_it_read_and_refuses_what_proves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(folder.path().join("postgres/cluster/pg_wal")).expect("made");
        std::fs::create_dir_all(folder.path().join("log")).expect("made");
        std::fs::write(folder.path().join("postgres/cluster/pg_wal/0001"), b"12345").expect("written");
        std::fs::write(folder.path().join("log/0.jnl"), b"1234567").expect("written");
        let needles = Needles::new(&["a long canary".to_owned()], &[]).expect("needles");
        let searched = search(folder.path(), &needles, |_| {}).expect("searched");
        assert_eq!((searched.bytes(), searched.matches()), (12, 0));
        assert_eq!(searched.tiers["postgres wal"].bytes, 5);
        assert_eq!(searched.tiers["log journal"].files, 1);
        assert!(matches!(Needles::new(&["short".to_owned()], &[]), Err(NeedleError::Short { number: 1, got: 5 })));
        assert!(search(&folder.path().join("nowhere"), &needles, |_| {}).is_err());
    }
}
