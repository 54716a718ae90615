//! The memo of a run folder: what models have answered.
//!
//! One line an answer, `{key, answer}` or `{key, refused}`. Holds always: the first recorded answer of a key is the answer, over
//! restarts; it is synced before the dataflow sees it. A refusal that trying again would not change is an answer too; a time-out or a
//! broken server is not, and the next run asks again. After a crash: a last line that is cut off was never used, and is dropped.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use ajatus_operators::Answer;
use ajatus_operators::row::Row;
use serde::{Deserialize, Serialize};

use super::crash::{self, Point};
use super::error::StreamError;

/// What identifies an answer.
pub(super) type Key = [u8; 16];

/// The key of a request to a model, the model told apart by `identity`: its weights, and everything else that the answer depends on.
pub(super) fn key(identity: &str, request: &Row) -> Key {
    let mut hasher = blake3::Hasher::new();
    hasher.update(identity.as_bytes());
    hasher.update(&[0]);
    hasher.update(request.bytes());
    let mut key = [0; 16];
    key.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    key
}

#[derive(Serialize, Deserialize)]
struct Line {
    key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<Row>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

/// The recorded answers.
#[derive(Default)]
pub(super) struct Memo {
    known: HashMap<Key, Answer<Row>>,
    file: Option<File>,
}

impl Memo {
    /// Reads the memo of a run folder, and begins or goes on with the file of a process: each of several has its own.
    pub(super) fn open(folder: &Path, process: usize) -> Result<Self, StreamError> {
        let own = folder.join(if process == 0 { "memo".to_owned() } else { format!("memo-{process}") });
        let mut memo = Self::default();
        for path in files(folder)?.into_iter().filter(|path| *path != own) {
            memo.learn(&std::fs::read(&path).map_err(|source| StreamError::Io { path: path.display().to_string(), source })?);
        }
        let io = |source: std::io::Error| StreamError::Io { path: own.display().to_string(), source };
        let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&own).map_err(io)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io)?;
        let good = memo.learn(&bytes);
        file.set_len(good as u64).map_err(io)?;
        file.seek(SeekFrom::End(0)).map_err(io)?;
        memo.file = Some(file);
        Ok(memo)
    }

    /// Reads what all processes have written, and writes nothing.
    pub(super) fn read(&mut self, folder: &Path) -> Result<(), StreamError> {
        for path in files(folder)? {
            self.learn(&std::fs::read(&path).map_err(|source| StreamError::Io { path: path.display().to_string(), source })?);
        }
        Ok(())
    }

    /// Takes in whole lines; how many bytes those take.
    fn learn(&mut self, bytes: &[u8]) -> usize {
        let mut good = 0;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let Some(line_read) = line.strip_suffix(b"\n").and_then(|text| serde_json::from_slice::<Line>(text).ok()) else { break };
            let Ok(hash) = blake3::Hash::from_hex(format!("{:0<64}", line_read.key)) else { break };
            let mut key = [0; 16];
            key.copy_from_slice(&hash.as_bytes()[..16]);
            let answer = match (line_read.answer, line_read.refused) {
                (Some(answer), _) => Ok(answer),
                (None, Some(reason)) => Err(reason),
                (None, None) => break,
            };
            self.known.entry(key).or_insert(answer);
            good += line.len();
        }
        good
    }

    /// What was answered.
    pub(super) fn get(&self, key: &Key) -> Option<Answer<Row>> {
        self.known.get(key).cloned()
    }

    /// Records answers, on disk where there is a folder.
    pub(super) fn record(&mut self, answers: &[(Key, &Answer<Row>)]) -> std::io::Result<()> {
        let mut lines = Vec::new();
        for (key, answer) in answers {
            let hex = key.iter().fold(String::new(), |mut hex, byte| {
                use std::fmt::Write as _;
                // Writing to a string cannot fail.
                write!(hex, "{byte:02x}").ok();
                hex
            });
            let (answer, refused) = match answer {
                Ok(answer) => (Some(answer.clone()), None),
                Err(reason) => (None, Some(reason.clone())),
            };
            serde_json::to_writer(&mut lines, &Line { key: hex, answer, refused })?;
            lines.push(b'\n');
        }
        if let Some(file) = &mut self.file {
            if !lines.is_empty() && crash::here(Point::MemoTorn) {
                file.write_all(&lines[..lines.len() / 2])?;
                crash::die();
            }
            file.write_all(&lines)?;
            file.sync_data()?;
        }
        for (key, answer) in answers {
            self.known.entry(*key).or_insert_with(|| (*answer).clone());
        }
        Ok(())
    }
}

/// What the memo of a run folder holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunMemo {
    /// Answers.
    pub answers: u64,
    /// Refusals, which are answers too: they are not asked again.
    pub refusals: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

/// Counts the memo of a run folder; nothing if it has none.
///
/// # Errors
/// [`StreamError::Io`] if a file cannot be read.
pub fn run_memo(folder: &Path) -> Result<Option<RunMemo>, StreamError> {
    if !folder.is_dir() || files(folder)?.is_empty() {
        return Ok(None);
    }
    let mut memo = Memo::default();
    memo.read(folder)?;
    let mut counted = RunMemo::default();
    for answer in memo.known.values() {
        *(if answer.is_ok() { &mut counted.answers } else { &mut counted.refusals }) += 1;
    }
    for path in files(folder)? {
        counted.bytes += std::fs::metadata(&path).map_err(|source| StreamError::Io { path: path.display().to_string(), source })?.len();
    }
    Ok(Some(counted))
}

/// The files of a run folder's memo.
fn files(folder: &Path) -> Result<Vec<PathBuf>, StreamError> {
    let io = |source: std::io::Error| StreamError::Io { path: folder.display().to_string(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        if entry.file_name().to_string_lossy().split('-').next() == Some("memo") {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}
