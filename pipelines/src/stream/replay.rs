//! Dead letters, and their way back: refused records that are read again.
//!
//! `ajatus pipeline dead-letters replay` appends chosen letters to the file `replays` of the run folder. For the run that file is one more
//! partition of their source, [`PARTITION`]: the ledger mints ranges of it like any other, so a restart replays the same letters in
//! the same epochs. An epoch that takes a letter back retracts the letter and reads its record, in its old place among the records of
//! its key; a record that is refused again is a letter whose attempt is one higher.
//!
//! Holds always: a letter is replayed once per attempt; a line is synced before the command says so. Not promised: that replays outlive
//! the plan: a changed file reads its sources anew, and with them every record that was refused; an order between a record that was
//! mended to another key and the records of that key.
//! After a crash: a last line that is cut off was never read, and the next command takes it away.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ajatus_operators::relational::FAULT;
use ajatus_operators::row::{Cell, Row};
use ajatus_sql::pipeline::Pipeline;
use ajatus_sql::plan::Step;
use ajatus_sql::record::json_line;
use ajatus_sql::script::{Connector, Direction, RecordFormat};
use arrow::datatypes::DataType;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::decode::Payload;
use super::error::StreamError;
use super::ledger::{Ledger, lines, sealed_line};
use super::read::Batch;

/// The partition that replays are to every source. No log has as many.
pub const PARTITION: u32 = u32::MAX;
/// The file of a run folder that holds them.
pub(crate) const FILE: &str = "replays";
/// What a refused record without a value is called: its payload is its key, which is no record.
pub(crate) const TOMBSTONE: &str = "decode.tombstone";

/// Something that was refused: one line of `dead-letters.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Which step refused it; `source NAME` for a record.
    pub step: String,
    /// Why, as a stable word.
    pub code: String,
    /// Why, in words.
    pub message: String,
    /// `partition:offset` of a record; empty for what was computed.
    pub origin: String,
    /// What was refused, as text.
    pub payload: String,
    /// The same byte by byte, where it is no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
    /// The how manieth attempt this was, from 1.
    pub attempt: u64,
    /// How often it is there.
    pub count: isize,
    /// Which ledger's epochs it was refused in.
    #[serde(default)]
    pub ledger: String,
}

impl Letter {
    /// A row of the faults as a letter.
    fn new(row: &Row, count: isize, ledger: &str, callers: &Callers) -> Self {
        let mut cells = row.cells(&FAULT).into_iter();
        let mut text = || match cells.next() {
            Some(Cell::Text(text)) => (text.into_owned(), None),
            Some(Cell::Bytes(bytes)) => match String::from_utf8(bytes.to_vec()) {
                Ok(text) => (text, None),
                Err(_) => (String::from_utf8_lossy(&bytes).into_owned(), Some(STANDARD.encode(&bytes))),
            },
            _ => (String::new(), None),
        };
        let (step, code, message, origin) = (text().0, text().0, text().0, text().0);
        let (mut payload, mut payload_base64) = text();
        if let (Some((names, types)), Some(Cell::Bytes(cause))) = (callers.get(&step), row.cells(&FAULT).get(4)) {
            (payload, payload_base64) = (json_line(&Row::from_bytes(cause), names, types), None);
        }
        let (origin, attempt) = match origin.rsplit_once('#').map(|(origin, attempt)| (origin, attempt.parse())) {
            Some((origin, Ok(attempt))) => (origin.to_owned(), attempt),
            _ => (origin, 1),
        };
        Self { step, code, message, origin, payload, payload_base64, attempt, count, ledger: ledger.to_owned() }
    }

    fn bytes(&self) -> Vec<u8> {
        let exact = self.payload_base64.as_ref().and_then(|text| STANDARD.decode(text).ok());
        exact.unwrap_or_else(|| self.payload.as_bytes().to_vec())
    }

    /// The source that refused it.
    fn source(&self) -> Option<&str> {
        self.step.strip_prefix("source ")
    }

    fn identity(&self) -> (String, String, u64) {
        (self.step.clone(), self.origin.clone(), self.attempt)
    }
}

/// Where an attempt is told: the first one by its origin alone.
pub(crate) fn origin(origin: &str, attempt: u64) -> String {
    if attempt == 1 { origin.to_owned() } else { format!("{origin}#{attempt}") }
}

/// Per step that calls a model: names and types of the rows that come in, which are what caused its faults.
pub(crate) type Callers = BTreeMap<String, (Vec<String>, Vec<DataType>)>;

/// The steps of a pipeline that call models.
pub(crate) fn callers(pipeline: &Pipeline) -> Callers {
    let mut all = Callers::new();
    let mut seen = BTreeSet::new();
    for node in pipeline.nodes() {
        node.walk(&mut seen, &mut |node| {
            if let Step::Infer { input, .. } = &node.step {
                all.insert(node.label(), (input.names.clone(), input.types.clone()));
            }
        });
    }
    all
}

/// Writes the dead letters of a run folder: one JSON document a line.
pub(crate) fn write_letters(path: &Path, letters: &BTreeMap<Row, isize>, ledger: &str, callers: &Callers) -> Result<(), StreamError> {
    let io = |source| StreamError::Io { path: path.display().to_string(), source };
    let mut text = String::new();
    for (row, count) in letters {
        text.push_str(&serde_json::to_string(&Letter::new(row, *count, ledger, callers)).expect("a letter is JSON"));
        text.push('\n');
    }
    let beside = path.with_extension("jsonl.new");
    std::fs::write(&beside, text).map_err(io)?;
    std::fs::rename(&beside, path).map_err(io)
}

/// Reads letters, one JSON document a line.
///
/// # Errors
/// [`StreamError::Io`], with `NotFound` if there is no such file; [`StreamError::Damaged`] with the line.
pub fn letters(path: &Path) -> Result<Vec<Letter>, StreamError> {
    let shown = || path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| StreamError::Io { path: shown(), source })?;
    let parsed = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()).map(|(number, line)| {
        serde_json::from_str(line).map_err(|error| StreamError::Damaged { path: shown(), reason: format!("line {number}: {error}") })
    });
    parsed.collect()
}

/// What becomes of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It is read again.
    Replayed,
    /// It was replayed already, and waits for a run.
    Waiting,
    /// The file has changed: the next run reads every record again.
    ReadAnew,
    /// It was computed: when what it was computed from changes, so does it.
    Recomputed,
    /// A model did not answer: a run that reads its sources again asks again, one that goes on from a snapshot does not.
    AskedAnew,
    /// It is a deletion whose key could not be read: there is nothing to read again.
    NoRecord,
    /// It was sealed: the next new run opens it again.
    Sealed,
    /// It is of an earlier ledger.
    Stale,
}

impl Fate {
    /// What that means, for people.
    #[must_use]
    pub fn says(self) -> &'static str {
        match self {
            Self::Replayed => "read again by the run, or by the next one",
            Self::Waiting => "replayed already; a run will read it",
            Self::ReadAnew => "the file has changed: the next run reads every record of it again",
            Self::Recomputed => "computed from other rows: it goes when they change, or when the file is mended",
            Self::AskedAnew => "a model did not answer: a run that reads its sources again (another --state) asks again",
            Self::NoRecord => "a record without a value; only its key is there",
            Self::Sealed => "sealed records are opened again when the file is run anew (another --state)",
            Self::Stale => "of an earlier ledger; run the pipeline, and list the letters again",
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Line {
    ledger: String,
    source: String,
    letter: Letter,
    /// What is read instead of the letter's payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instead: Option<String>,
}

/// Decides about letters and puts those that can be read again into the folder's `replays`. With `edited`, only letters that are also
/// there are replayed, with the payload that they have there.
///
/// # Errors
/// [`StreamError::Damaged`] if an edited letter is none of the folder's; the file system's.
pub fn replay(folder: &Path, pipeline: &Pipeline, chosen: &[Letter], edited: Option<&[Letter]>, dry_run: bool) -> Result<Vec<(Letter, Fate)>, StreamError> {
    let io = |source| StreamError::Io { path: folder.join(FILE).display().to_string(), source };
    let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(folder.join(FILE)).map_err(io)?;
    // Two commands at once would append the same letters.
    #[expect(unsafe_code, reason = "flock takes an open descriptor and touches no memory")]
    let taken = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) } == 0;
    if !taken {
        return Err(io(std::io::Error::last_os_error()));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(io)?;
    let (documents, good) = lines(&bytes, &folder.join(FILE))?;
    let mut waiting = BTreeSet::new();
    for document in documents {
        let line: Line = parsed(document, &folder.join(FILE))?;
        waiting.insert((line.ledger, line.letter.identity()));
    }
    let current = Ledger::identity(folder)?;
    let mut texts = edited.map(|edited| edited.iter().map(|letter| (letter.identity(), letter)).collect::<BTreeMap<_, _>>());
    let (mut fates, mut appended) = (Vec::new(), Vec::new());
    for letter in chosen {
        let mended = texts.as_mut().map(|texts| texts.remove(&letter.identity()));
        if matches!(mended, Some(None)) {
            continue;
        }
        let mended = mended.flatten().filter(|mended| mended.bytes() != letter.bytes());
        let mut fate = fate(pipeline, current.as_ref(), letter, mended.is_some());
        if fate == Fate::Replayed && !waiting.insert((letter.ledger.clone(), letter.identity())) {
            fate = Fate::Waiting;
        }
        if fate == Fate::Replayed {
            let source = letter.source().unwrap_or_default().to_owned();
            let line = Line { ledger: letter.ledger.clone(), source, letter: letter.clone(), instead: mended.map(|mended| mended.payload.clone()) };
            appended.extend(sealed_line(&line));
        }
        fates.push((letter.clone(), fate));
    }
    if let Some((step, origin, attempt)) = texts.and_then(|texts| texts.into_keys().next()) {
        let reason = format!("letter {origin:?} of {step:?}, attempt {attempt}, is none of the chosen ones there");
        return Err(StreamError::Damaged { path: folder.display().to_string(), reason });
    }
    if !dry_run && !appended.is_empty() {
        file.set_len(good as u64).map_err(io)?;
        file.seek(SeekFrom::End(0)).map_err(io)?;
        file.write_all(&appended).map_err(io)?;
        file.sync_data().map_err(io)?;
    }
    Ok(fates)
}

/// Where a letter can go.
fn fate(pipeline: &Pipeline, current: Option<&(String, String)>, letter: &Letter, mended: bool) -> Fate {
    let Some(source) = letter.source() else {
        return if letter.code.starts_with("model.") { Fate::AskedAnew } else { Fate::Recomputed };
    };
    let table = pipeline.table(source).filter(|table| table.direction == Direction::Source);
    match (current, table) {
        (Some((plan, _)), _) if *plan != pipeline.hash => Fate::ReadAnew,
        (Some((_, ledger)), Some(_)) if *ledger != letter.ledger => Fate::Stale,
        (Some(_), Some(table)) => match &table.connector {
            Connector::Kafka { format: RecordFormat::Ajatus, .. } => Fate::Sealed,
            _ if letter.code == TOMBSTONE && !mended => Fate::NoRecord,
            _ => Fate::Replayed,
        },
        _ => Fate::Stale,
    }
}

fn parsed(document: &[u8], path: &Path) -> Result<Line, StreamError> {
    serde_json::from_slice(document).map_err(|error| StreamError::Damaged { path: path.display().to_string(), reason: error.to_string() })
}

/// A letter on its way to a decoder.
pub(crate) struct Replayed {
    /// The letter, as its row says it: code, message, origin, payload.
    pub(crate) letter: (Cow<'static, str>, String, String, Vec<u8>),
    /// What is read.
    pub(crate) record: Vec<u8>,
    /// Its old place among the records of its key.
    pub(crate) sequence: u64,
    /// Where it stands if it is refused again.
    pub(crate) origin: String,
    /// The file's first line, if it names the columns.
    pub(crate) header: Option<Arc<str>>,
}

/// The replays of a run.
pub(crate) struct Replays {
    /// None without a run folder.
    path: Option<PathBuf>,
    ledger: String,
    /// Bytes that were read; whole lines.
    at: u64,
    /// Per source, in order: the offsets of [`PARTITION`].
    letters: BTreeMap<String, Vec<Line>>,
    next: BTreeMap<String, u64>,
}

impl Replays {
    /// Opens the replays of a run folder, for the epochs of `ledger`.
    pub(crate) fn open(folder: Option<&Path>, ledger: &str) -> Result<Self, StreamError> {
        let mut opened =
            Self { path: folder.map(|folder| folder.join(FILE)), ledger: ledger.to_owned(), at: 0, letters: BTreeMap::new(), next: BTreeMap::new() };
        opened.refresh()?;
        Ok(opened)
    }

    /// Goes on from these offsets, of which [`PARTITION`] is meant.
    pub(crate) fn seek(&mut self, offsets: &BTreeMap<String, BTreeMap<u32, u64>>) {
        for (source, partitions) in offsets {
            if let Some(next) = partitions.get(&PARTITION) {
                self.next.insert(source.clone(), *next);
            }
        }
    }

    /// What is new for a source, `most` letters at most.
    pub(crate) fn read(&mut self, source: &str, most: usize, header: Option<&Arc<str>>) -> Result<Option<Batch>, StreamError> {
        self.refresh()?;
        let from = self.next.get(source).copied().unwrap_or(0);
        let to = (self.letters.get(source).map_or(0, Vec::len) as u64).min(from + most as u64);
        if to <= from {
            return Ok(None);
        }
        let payload = self.again(source, from, to, header)?;
        self.next.insert(source.to_owned(), to);
        Ok(Some(Batch { partition: PARTITION, from, to, records: to - from, payload }))
    }

    /// A range of a source again.
    pub(crate) fn again(&self, source: &str, from: u64, to: u64, header: Option<&Arc<str>>) -> Result<Payload, StreamError> {
        let all = self.letters.get(source).map_or(&[][..], Vec::as_slice);
        let gone = || StreamError::Gap { place: format!("replays of {source}"), wanted: to, first: all.len() as u64 };
        let range = usize::try_from(from).unwrap_or(usize::MAX)..usize::try_from(to).unwrap_or(usize::MAX);
        let chosen = all.get(range).ok_or_else(gone)?;
        Ok(Payload::Replayed(chosen.iter().map(|line| replayed(line, header)).collect()))
    }

    /// Reads lines that were appended since.
    fn refresh(&mut self) -> Result<(), StreamError> {
        let Some(path) = &self.path else { return Ok(()) };
        let io = |source| StreamError::Io { path: path.display().to_string(), source };
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(io(error)),
        };
        if file.metadata().map_err(io)?.len() <= self.at {
            return Ok(());
        }
        file.seek(SeekFrom::Start(self.at)).map_err(io)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io)?;
        let (documents, good) = lines(&bytes, path)?;
        for document in documents {
            let line = parsed(document, path)?;
            if line.ledger == self.ledger {
                self.letters.entry(line.source.clone()).or_default().push(line);
            }
        }
        self.at += good as u64;
        Ok(())
    }
}

fn replayed(line: &Line, header: Option<&Arc<str>>) -> Replayed {
    let letter = &line.letter;
    let payload = letter.bytes();
    let record = line.instead.as_ref().map_or_else(|| payload.clone(), |instead| instead.as_bytes().to_vec());
    let sequence = letter.origin.rsplit_once(':').and_then(|(_, offset)| offset.parse().ok()).unwrap_or(0);
    Replayed {
        letter: (Cow::Owned(letter.code.clone()), letter.message.clone(), origin(&letter.origin, letter.attempt), payload),
        record,
        sequence,
        origin: origin(&letter.origin, letter.attempt + 1),
        header: header.cloned(),
    }
}

#[cfg(test)]
mod tests {
    use ajatus_sql::diagnostic::Source;

    use super::*;

    const SQL: &str = "create table t (k text not null) with (connector = 'file', type = 'source', path = 'in.jsonl');\n\
                       create table o (k text) with (connector = 'blackhole');\ninsert into o select k from t;\n";

    fn letter(offset: u64, ledger: &str) -> Letter {
        let text = |text: &str| text.to_owned();
        Letter {
            step: text("source t"),
            code: text("decode.null"),
            message: text("no k"),
            origin: format!("0:{offset}"),
            payload: text("{}"),
            payload_base64: None,
            attempt: 1,
            count: 1,
            ledger: text(ledger),
        }
    }

    fn offered(folder: &Path, ledger: &str) -> u64 {
        let mut replays = Replays::open(Some(folder), ledger).expect("the replays");
        replays.read("t", 100, None).expect("readable").map_or(0, |batch| batch.to)
    }

    #[test]
    fn a_line_that_was_cut_off_was_never_there_and_can_be_written_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipeline = Pipeline::check(Source::new("t.sql", SQL)).expect("a pipeline");
        let (ledger, _) = Ledger::open(folder.path(), &pipeline.hash).expect("a ledger");
        let id = ledger.id();
        let letters = [letter(0, &id), letter(3, &id)];
        let again = |letters: &[Letter]| replay(folder.path(), &pipeline, letters, None, false).expect("replayed").into_iter().map(|(_, fate)| fate).collect::<Vec<_>>();
        assert_eq!(again(&letters), [Fate::Replayed; 2]);
        let path = folder.path().join(FILE);
        let whole = std::fs::read(&path).expect("the file");
        for cut in 1..40 {
            std::fs::write(&path, &whole[..whole.len() - cut]).expect("a write");
            assert_eq!(offered(folder.path(), &id), 1, "cut by {cut}");
            assert_eq!(again(&letters), [Fate::Waiting, Fate::Replayed], "cut by {cut}");
            assert_eq!(std::fs::read(&path).expect("the file"), whole);
        }
        let mut spoilt = whole.clone();
        spoilt[20] ^= 1;
        std::fs::write(&path, &spoilt).expect("a write");
        assert!(matches!(Replays::open(Some(folder.path()), &id), Err(StreamError::Damaged { .. })));
    }

    #[test]
    fn a_letter_of_another_ledger_is_neither_replayed_nor_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipeline = Pipeline::check(Source::new("t.sql", SQL)).expect("a pipeline");
        let (ledger, _) = Ledger::open(folder.path(), &pipeline.hash).expect("a ledger");
        let fates = replay(folder.path(), &pipeline, &[letter(0, &ledger.id()), letter(3, "another")], None, false).expect("replayed");
        assert_eq!(fates.iter().map(|(_, fate)| *fate).collect::<Vec<_>>(), [Fate::Replayed, Fate::Stale]);
        assert_eq!((offered(folder.path(), &ledger.id()), offered(folder.path(), "another")), (1, 0));
    }
}
