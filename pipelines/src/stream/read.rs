//! Reads sources: files to their end, topics of the log as they grow.
//!
//! Holds always: what is read at an offset is read again at that offset; a source that has lost what the ledger names stops the run.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use ajatus_kafka::{Entry, Log, LogError};
use ajatus_memory::keys::KeyRing;
use ajatus_operators::row::Row;
use ajatus_sql::codec::encode;
use ajatus_sql::script::{Changelog, Connector, FileFormat, RecordFormat, StartingOffsets, Table};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::columnar::{ColumnarReader, ColumnarVersion};
use super::decode::Payload;
use super::elsewhere::Elsewhere;
use super::error::StreamError;
use super::interactions::Opener;
use super::table::Copied;

/// What was read: from where to where of a partition.
pub(crate) struct Batch {
    pub(crate) partition: u32,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) records: u64,
    pub(crate) payload: Payload,
}

/// A source that is read.
pub(crate) enum Reader {
    Lines(Lines),
    Parquet(Box<Parquet>),
    Topic(Topic),
    Table(Box<Copied>),
    Columnar(Box<ColumnarReader>),
}

impl Reader {
    /// Opens a source.
    pub(crate) fn open(table: &Table, columns: &[usize], elsewhere: &Elsewhere, keys: Option<&KeyRing>, handle: &Handle) -> Result<Self, StreamError> {
        match &table.connector {
            Connector::File { path, format: FileFormat::Parquet } => Ok(Self::Parquet(Box::new(Parquet::open(table, columns, path)?))),
            Connector::File { path, format } => {
                if table.changelog == Changelog::Upsert && matches!(format, FileFormat::Csv { .. }) {
                    return Err(StreamError::Unsupported { what: format!("changelog = 'upsert' of the csv file {path}"), hint: "give it as json".to_owned() });
                }
                Lines::open(path, matches!(format, FileFormat::Csv { header: true, .. })).map(Self::Lines)
            }
            Connector::Postgres { .. } => Ok(Self::Table(Box::new(Copied::new(table, columns, elsewhere, handle)?))),
            Connector::Kafka { topic, bootstrap_servers, starting_offsets, format } => {
                let log = elsewhere.log(bootstrap_servers.as_ref()).ok_or_else(|| StreamError::Unsupported {
                    what: format!("table {:?} reads the log", table.name),
                    hint: "run it on a data folder".to_owned(),
                })?;
                let opener = match format {
                    RecordFormat::Json => None,
                    RecordFormat::Ajatus => Some(Opener::new(&table.name, columns.iter().map(|column| table.columns[*column].name.as_str()), keys)?),
                };
                Topic::open(Arc::clone(log), handle.clone(), topic, *starting_offsets, opener).map(Self::Topic)
            }
            Connector::Lance { path, version, tag, .. } => {
                let version = match (version, tag) {
                    (Some(version), _) => ColumnarVersion::Number(*version),
                    (None, Some(tag)) => ColumnarVersion::Tag(tag.clone()),
                    (None, None) => ColumnarVersion::Newest,
                };
                let columnar = Arc::clone(elsewhere.columnar(&table.name)?);
                Ok(Self::Columnar(Box::new(ColumnarReader::open(table, columns, path, &version, columnar, handle)?)))
            }
            other => Err(StreamError::Unsupported {
                what: format!("table {:?} cannot be read from {}", table.name, other.name()),
                hint: "sources are files (json, csv, parquet), topics, tables of Postgres and Lance datasets".to_owned(),
            }),
        }
    }

    /// Whether it ends.
    pub(crate) fn bounded(&self) -> bool {
        !matches!(self, Self::Topic(_))
    }

    /// Bytes or rows in all, for progress; 0 if it never ends.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Lines(lines) => lines.size,
            Self::Parquet(parquet) => parquet.rows,
            Self::Columnar(columnar) => columnar.rows(),
            Self::Table(table) => table.lines.as_ref().map_or(0, |lines| lines.size),
            Self::Topic(_) => 0,
        }
    }

    /// Told the ledger, before anything is read.
    pub(crate) fn begin(&mut self, folder: Option<&std::path::Path>, ledger: &str) -> Result<(), StreamError> {
        match self {
            Self::Table(table) => table.begin(folder, ledger),
            Self::Columnar(columnar) => columnar.begin(folder, ledger),
            Self::Lines(_) | Self::Parquet(_) | Self::Topic(_) => Ok(()),
        }
    }

    /// The lines of a file, or of a copied table.
    fn lines(&mut self) -> Option<&mut Lines> {
        match self {
            Self::Lines(lines) => Some(lines),
            Self::Table(table) => table.lines.as_mut(),
            Self::Parquet(_) | Self::Topic(_) | Self::Columnar(_) => None,
        }
    }

    /// The first line of a file, if it names the columns.
    pub(crate) fn header(&self) -> Option<&Arc<str>> {
        if let Self::Lines(lines) = self { lines.header.as_ref() } else { None }
    }

    /// Goes on from these offsets.
    pub(crate) fn seek(&mut self, offsets: &BTreeMap<u32, u64>) -> Result<(), StreamError> {
        if let Some(lines) = self.lines() {
            return lines.seek(offsets.get(&0).copied().unwrap_or(0));
        }
        match self {
            Self::Lines(_) | Self::Table(_) => Ok(()),
            Self::Parquet(parquet) => parquet.seek(offsets.get(&0).copied().unwrap_or(0)),
            Self::Columnar(columnar) => columnar.seek(offsets.get(&0).copied().unwrap_or(0)),
            Self::Topic(topic) => {
                topic.next.extend(offsets.iter().map(|(partition, next)| (*partition, *next)));
                Ok(())
            }
        }
    }

    /// Shares the partitions of a topic among so many processes; only those of `process` are read here.
    pub(crate) fn share(&mut self, process: usize, processes: usize) {
        if let Self::Topic(topic) = self {
            topic.share = Some((process, processes));
        }
    }

    /// Which process reads a partition.
    pub(crate) fn process_of(&self, partition: u32) -> usize {
        match self {
            Self::Topic(Topic { share: Some((_, processes)), .. }) => partition as usize % processes,
            _ => 0,
        }
    }

    /// Where reading ends for now, per partition; nothing: at the end. A partition that is not named is not read.
    pub(crate) fn until(&mut self, offsets: Option<&BTreeMap<u32, u64>>) {
        if let Some(lines) = self.lines() {
            lines.until = offsets.map(|offsets| offsets.get(&0).copied().unwrap_or(0));
            return;
        }
        match self {
            Self::Lines(_) | Self::Table(_) => {}
            Self::Parquet(parquet) => parquet.until = offsets.map(|offsets| offsets.get(&0).copied().unwrap_or(0)),
            Self::Columnar(columnar) => columnar.until = offsets.map(|offsets| offsets.get(&0).copied().unwrap_or(0)),
            Self::Topic(topic) => topic.until = offsets.cloned(),
        }
    }

    /// The partitions, each with where it begins and where it ends now.
    pub(crate) fn bounds(&self) -> Result<BTreeMap<u32, (u64, u64)>, StreamError> {
        match self {
            Self::Lines(lines) => Ok(BTreeMap::from([(0, (lines.start, lines.size))])),
            Self::Table(table) => Ok(table.lines.iter().map(|lines| (0, (lines.start, lines.size))).collect()),
            Self::Parquet(parquet) => Ok(BTreeMap::from([(0, (0, parquet.rows))])),
            Self::Columnar(columnar) => Ok(BTreeMap::from([(0, (0, columnar.rows()))])),
            Self::Topic(topic) => topic.handle.block_on(async {
                let mut bounds = BTreeMap::new();
                for partition in topic.next.keys() {
                    let start = topic.log.start_offset(&topic.topic, *partition).await?;
                    bounds.insert(*partition, (start, topic.log.end_offset(&topic.topic, *partition).await?));
                }
                Ok(bounds)
            }),
        }
    }

    /// Reads on, `most` records at most; nothing at the end.
    pub(crate) fn read(&mut self, most: usize) -> Result<Vec<Batch>, StreamError> {
        if let Some(lines) = self.lines() {
            return Ok(lines.read(most, lines.until)?.into_iter().collect());
        }
        match self {
            Self::Lines(_) | Self::Table(_) => Ok(Vec::new()),
            Self::Parquet(parquet) => {
                let left = parquet.until.map_or(u64::MAX, |until| until.saturating_sub(parquet.at));
                let most = usize::try_from(left).unwrap_or(usize::MAX).min(most);
                if most == 0 {
                    return Ok(Vec::new());
                }
                Ok(parquet.read(most)?.into_iter().collect())
            }
            Self::Columnar(columnar) => {
                let left = columnar.until.map_or(u64::MAX, |until| until.saturating_sub(columnar.at));
                let most = usize::try_from(left).unwrap_or(usize::MAX).min(most);
                if most == 0 {
                    return Ok(Vec::new());
                }
                Ok(columnar.read(most)?.into_iter().collect())
            }
            Self::Topic(topic) => topic.read(most),
        }
    }

    /// Reads a range again.
    pub(crate) fn again(&mut self, partition: u32, from: u64, to: u64, give: &mut dyn FnMut(Payload) -> Result<(), StreamError>) -> Result<(), StreamError> {
        if let Some(lines) = self.lines() {
            lines.seek(from)?;
            while lines.at < to {
                let Some(batch) = lines.read(usize::MAX, Some(to))? else { return Err(lines.lost(to)) };
                give(batch.payload)?;
            }
            return Ok(());
        }
        match self {
            Self::Lines(_) | Self::Table(_) => Ok(()),
            Self::Parquet(parquet) => {
                parquet.seek(from)?;
                while parquet.at < to {
                    let most = usize::try_from(to - parquet.at).unwrap_or(usize::MAX);
                    let Some(batch) = parquet.read(most)? else {
                        return Err(StreamError::Gap { place: parquet.path.display().to_string(), wanted: to, first: parquet.at });
                    };
                    give(batch.payload)?;
                }
                Ok(())
            }
            Self::Columnar(columnar) => {
                columnar.seek(from)?;
                while columnar.at < to {
                    let most = usize::try_from(to - columnar.at).unwrap_or(usize::MAX);
                    let Some(batch) = columnar.read(most)? else { return Err(columnar.lost(to)) };
                    give(batch.payload)?;
                }
                Ok(())
            }
            Self::Topic(topic) => topic.again(partition, from, to, give),
        }
    }
}

/// Bytes of one payload, about.
const CHUNK: usize = 1 << 20;

/// A file of lines.
pub(crate) struct Lines {
    file: BufReader<File>,
    path: PathBuf,
    size: u64,
    at: u64,
    header: Option<Arc<str>>,
    start: u64,
    until: Option<u64>,
}

impl Lines {
    pub(crate) fn open(path: &str, has_header: bool) -> Result<Self, StreamError> {
        let path = PathBuf::from(path);
        let io = |source| StreamError::Io { path: path.display().to_string(), source };
        let file = File::open(&path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        let mut file = BufReader::with_capacity(CHUNK, file);
        let (mut header, mut start) = (None, 0);
        if has_header {
            let mut line = String::new();
            start = file.read_line(&mut line).map_err(io)? as u64;
            header = Some(Arc::from(line.trim_end_matches(['\n', '\r'])));
        }
        Ok(Self { file, path: path.clone(), size, at: start, header, start, until: None })
    }

    fn lost(&self, wanted: u64) -> StreamError {
        StreamError::Gap { place: self.path.display().to_string(), wanted, first: self.at }
    }

    fn seek(&mut self, to: u64) -> Result<(), StreamError> {
        let to = to.max(self.start);
        if to > self.size {
            return Err(self.lost(to));
        }
        self.file.seek(SeekFrom::Start(to)).map_err(|source| StreamError::Io { path: self.path.display().to_string(), source })?;
        self.at = to;
        Ok(())
    }

    /// About a chunk, `most` lines, or up to `end`, whichever comes first.
    fn read(&mut self, most: usize, end: Option<u64>) -> Result<Option<Batch>, StreamError> {
        let (mut bytes, mut records) = (Vec::new(), 0);
        let from = self.at;
        while records < most && bytes.len() < CHUNK && end.is_none_or(|end| self.at < end) {
            let read = self.file.read_until(b'\n', &mut bytes).map_err(|source| StreamError::Io { path: self.path.display().to_string(), source })?;
            if read == 0 {
                break;
            }
            self.at += read as u64;
            records += 1;
        }
        if records == 0 {
            return Ok(None);
        }
        let payload = Payload::Lines { bytes, offset: from, header: self.header.clone() };
        Ok(Some(Batch { partition: 0, from, to: self.at, records: records as u64, payload }))
    }
}

/// A Parquet file; offsets are row numbers.
pub(crate) struct Parquet {
    path: PathBuf,
    rows: u64,
    at: u64,
    until: Option<u64>,
    batches: Option<parquet::arrow::arrow_reader::ParquetRecordBatchReader>,
    pending: Vec<Row>,
    columns: Vec<String>,
    types: Vec<arrow::datatypes::DataType>,
}

impl Parquet {
    fn open(table: &Table, columns: &[usize], path: &str) -> Result<Self, StreamError> {
        if table.changelog != Changelog::Append {
            return Err(StreamError::Unsupported { what: format!("a changelog in the parquet file {path}"), hint: "give it as json".to_owned() });
        }
        let mut opened = Self {
            path: PathBuf::from(path),
            rows: 0,
            at: 0,
            until: None,
            batches: None,
            pending: Vec::new(),
            columns: columns.iter().map(|column| table.columns[*column].name.clone()).collect(),
            types: columns.iter().map(|column| table.columns[*column].data_type.clone()).collect(),
        };
        opened.seek(0)?;
        Ok(opened)
    }

    fn wrong(&self, reason: impl std::fmt::Display) -> StreamError {
        StreamError::Damaged { path: self.path.display().to_string(), reason: reason.to_string() }
    }

    fn seek(&mut self, to: u64) -> Result<(), StreamError> {
        let file = File::open(&self.path).map_err(|source| StreamError::Io { path: self.path.display().to_string(), source })?;
        let builder = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| self.wrong(error))?;
        self.rows = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
        for name in &self.columns {
            if builder.schema().column_with_name(name).is_none() {
                return Err(self.wrong(format!("it has no column {name:?}")));
            }
        }
        if to > self.rows {
            return Err(StreamError::Gap { place: self.path.display().to_string(), wanted: to, first: self.rows });
        }
        self.batches = Some(builder.with_offset(usize::try_from(to).unwrap_or(usize::MAX)).build().map_err(|error| self.wrong(error))?);
        self.pending.clear();
        self.at = to;
        Ok(())
    }

    fn read(&mut self, most: usize) -> Result<Option<Batch>, StreamError> {
        while self.pending.is_empty() {
            let Some(batch) = self.batches.as_mut().and_then(Iterator::next) else { return Ok(None) };
            let batch = batch.map_err(|error| self.wrong(error))?;
            let mut arrays = Vec::with_capacity(self.columns.len());
            for (name, data_type) in self.columns.iter().zip(&self.types) {
                let array = batch.column_by_name(name).ok_or_else(|| self.wrong(format!("it has no column {name:?}")))?;
                let options = arrow::compute::CastOptions { safe: false, ..Default::default() };
                arrays.push(arrow::compute::cast_with_options(array, data_type, &options).map_err(|error| self.wrong(error))?);
            }
            self.pending = encode(&arrays, batch.num_rows()).map_err(|error| self.wrong(error))?;
            self.pending.reverse();
        }
        let take = self.pending.len().min(most);
        let rows: Vec<(Row, i64)> = (0..take).filter_map(|_| self.pending.pop()).map(|row| (row, 1)).collect();
        let from = self.at;
        self.at += rows.len() as u64;
        Ok(Some(Batch { partition: 0, from, to: self.at, records: rows.len() as u64, payload: Payload::Rows(rows) }))
    }
}

/// A topic of the platform's log, or of another cluster.
pub(crate) struct Topic {
    log: Arc<dyn Log>,
    handle: Handle,
    topic: String,
    /// Where each partition is read on.
    next: BTreeMap<u32, u64>,
    /// For records that are no documents.
    opener: Option<Opener>,
    appended: tokio::sync::watch::Receiver<u64>,
    until: Option<BTreeMap<u32, u64>>,
    /// This process, and how many there are.
    share: Option<(usize, usize)>,
}

impl Topic {
    fn open(log: Arc<dyn Log>, handle: Handle, topic: &str, starting: StartingOffsets, opener: Option<Opener>) -> Result<Self, StreamError> {
        let appended = log.appended(topic)?;
        let mut next = BTreeMap::new();
        for partition in 0..log.partitions(topic)? {
            let offset = handle.block_on(async {
                match starting {
                    StartingOffsets::Earliest => log.start_offset(topic, partition).await,
                    StartingOffsets::Latest => log.end_offset(topic, partition).await,
                }
            })?;
            next.insert(partition, offset);
        }
        Ok(Self { log, handle, topic: topic.to_owned(), next, opener, appended, until: None, share: None })
    }

    fn read(&mut self, most: usize) -> Result<Vec<Batch>, StreamError> {
        self.appended.borrow_and_update();
        let share = (most / self.next.len().max(1)).max(1);
        let mut batches = Vec::new();
        for (partition, next) in &mut self.next {
            let until = self.until.as_ref().map_or(u64::MAX, |until| until.get(partition).copied().unwrap_or(0));
            if *next >= until {
                continue;
            }
            if self.share.is_some_and(|(process, processes)| *partition as usize % processes != process) {
                // Only how far it goes is asked here.
                let end = self.handle.block_on(self.log.end_offset(&self.topic, *partition))?.min(until).min(*next + share as u64);
                if end > *next {
                    batches.push(Batch { partition: *partition, from: *next, to: end, records: end - *next, payload: Payload::Elsewhere });
                    *next = end;
                }
                continue;
            }
            let mut chunk = self.handle.block_on(self.log.read(&self.topic, *partition, *next, share))?;
            if chunk.next == *next {
                continue;
            }
            if chunk.next > until {
                chunk.entries.retain(|entry| entry.offset < until);
                chunk.next = until;
            }
            let from = *next;
            *next = chunk.next;
            let records = documents(&self.handle, self.opener.as_ref(), *partition, chunk.entries)?;
            let count = records.len() as u64;
            batches.push(Batch { partition: *partition, from, to: chunk.next, records: count, payload: Payload::Log(records) });
        }
        Ok(batches)
    }

    fn again(&self, partition: u32, from: u64, to: u64, give: &mut dyn FnMut(Payload) -> Result<(), StreamError>) -> Result<(), StreamError> {
        let mut at = from;
        while at < to {
            let chunk = self.handle.block_on(self.log.read(&self.topic, partition, at, 5_000))?;
            if chunk.next == at {
                return Err(LogError::Gap { topic: self.topic.clone(), partition, wanted: to, first: at }.into());
            }
            let inside = chunk.entries.into_iter().filter(|entry| entry.offset < to).collect();
            give(Payload::Log(documents(&self.handle, self.opener.as_ref(), partition, inside)?))?;
            at = chunk.next;
        }
        Ok(())
    }

    /// How many records are behind the ones read.
    pub(crate) fn lag(&self) -> Result<u64, StreamError> {
        let mut lag = 0;
        for (partition, next) in &self.next {
            lag += self.handle.block_on(self.log.end_offset(&self.topic, *partition))?.saturating_sub(*next);
        }
        Ok(lag)
    }
}

/// Records as the decoder takes them.
fn documents(handle: &Handle, opener: Option<&Opener>, partition: u32, entries: Vec<Entry>) -> Result<Vec<(u32, u64, Vec<u8>, Option<Vec<u8>>)>, StreamError> {
    let Some(opener) = opener else {
        return Ok(entries.into_iter().map(|entry| (partition, entry.offset, entry.key, entry.value)).collect());
    };
    handle.block_on(async {
        let mut records = Vec::with_capacity(entries.len());
        for entry in entries {
            let offset = entry.offset;
            let (key, value) = opener.documents(entry).await?;
            records.push((partition, offset, key, value));
        }
        Ok(records)
    })
}

/// Waits until one of the topics has news, letters are replayed, or `stop` is cancelled. No timer: the runtime may be going down.
pub(crate) fn wait(readers: &mut [(String, Reader)], handle: &Handle, stop: &CancellationToken, replayed: &tokio::sync::Notify) {
    let topics = readers.iter_mut().filter_map(|(_, reader)| if let Reader::Topic(topic) = reader { Some(topic) } else { None });
    let news: Vec<_> = topics.map(|topic| Box::pin(topic.appended.changed())).collect();
    if news.is_empty() {
        return;
    }
    handle.block_on(async {
        tokio::select! {
            () = stop.cancelled() => {}
            () = replayed.notified() => {}
            _ = futures::future::select_all(news) => {}
        }
    });
}
