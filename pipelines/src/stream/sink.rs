//! Where results go.
//!
//! | sink | after a crash |
//! |---|---|
//! | `file` | the file is whole, as of an earlier epoch or of the last one; the next run makes it anew |
//! | `kafka`, `log` | records of the last epochs may be there twice, with equal keys and values: the table they mean is the same |
//! | `postgres` | rows and progress changed together, or not at all |
//! | `lance` | as `postgres`; epochs of the last seconds may be missing, and are told again |
//! | `stdout`, `blackhole` | lines of the last epochs may be printed again |

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ajatus_kafka::{Log, Record};
use ajatus_memory::postgres::{Postgres, SinkTable};
use ajatus_operators::row::{Kind, Row, Weave, Writer};
use ajatus_sql::pipeline::Output;
use ajatus_sql::record::{JsonLines, csv_header, csv_line, json_line, json_value};
use ajatus_sql::script::{Connector, FileFormat, PrintFormat};
use arrow::datatypes::DataType;
use tokio::runtime::Handle;

use super::columnar::{ColumnarSink, ColumnarSpec};
use super::crash::{self, Point};
use super::elsewhere::Elsewhere;
use super::error::StreamError;

/// Rows with how often more.
pub(crate) type Delta = Vec<(Row, isize)>;

/// Names and types of a sink's columns, and its key.
pub(crate) struct Shape {
    pub(crate) name: String,
    pub(crate) names: Vec<String>,
    pub(crate) types: Vec<DataType>,
    key: Option<Weave>,
    key_columns: Vec<usize>,
    /// Columns that may not be null, though the query might give one.
    required: Vec<usize>,
    kinds: Vec<Kind>,
}

/// One sink.
pub(crate) enum Sink {
    File(FileSink),
    Stdout { shape: Shape, format: PrintFormat, print: Arc<dyn Fn(String) + Send + Sync>, told: Told },
    Blackhole,
    Topic { shape: Shape, log: Arc<dyn Log>, topic: String, handle: Handle, told: Told },
    Postgres { shape: Shape, db: Postgres, table: SinkTable, handle: Handle },
    Columnar(Box<ColumnarSink>),
}

/// What sinks may need.
#[derive(Clone)]
pub(crate) struct Outside {
    pub(crate) elsewhere: Elsewhere,
    pub(crate) handle: Handle,
    pub(crate) print: Arc<dyn Fn(String) + Send + Sync>,
    pub(crate) pipeline: String,
    pub(crate) ledger: String,
    /// The run's folder.
    pub(crate) state: Option<PathBuf>,
}

impl Sink {
    /// Opens the sink of an output.
    pub(crate) fn open(output: &Output, outside: &Outside) -> Result<Self, StreamError> {
        let shape = Shape::new(output);
        let missing = |what: &str| StreamError::Unsupported { what: format!("sink {:?} writes to {what}", output.table.name), hint: "run it on a data folder".to_owned() };
        match &output.table.connector {
            Connector::File { path, format } => Ok(Self::File(FileSink { shape, path: PathBuf::from(path), format: *format, rows: HashMap::default(), dirty: true })),
            Connector::Stdout { format } => {
                let told = Told::open(outside, &shape.name)?;
                Ok(Self::Stdout { shape, format: *format, print: Arc::clone(&outside.print), told })
            },
            Connector::Blackhole => Ok(Self::Blackhole),
            Connector::Kafka { topic, bootstrap_servers, .. } => {
                let log = outside.elsewhere.log(bootstrap_servers.as_ref()).cloned().ok_or_else(|| missing("the log"))?;
                log.partitions(topic)?;
                if shape.key.is_none() {
                    return Err(StreamError::Unsupported { what: format!("sink {:?} has no primary key", shape.name), hint: "a topic is written by key".to_owned() });
                }
                let told = Told::open(outside, &shape.name)?;
                Ok(Self::Topic { shape, log, topic: topic.clone(), handle: outside.handle.clone(), told })
            }
            Connector::Postgres { table, url } => {
                let db = outside.elsewhere.database(url.as_ref()).cloned().ok_or_else(|| missing("Postgres"))?;
                let sink = SinkTable {
                    pipeline: outside.pipeline.clone(),
                    ledger: outside.ledger.clone(),
                    table: table.clone(),
                    columns: shape.names.clone(),
                    key: shape.key_names(),
                };
                outside.handle.block_on(db.open_sink(&sink))?;
                Ok(Self::Postgres { shape, db, table: sink, handle: outside.handle.clone() })
            }
            Connector::Lance { path, history, .. } => {
                let spec = ColumnarSpec {
                    sink: shape.name.clone(),
                    path: PathBuf::from(path),
                    schema: Arc::new(arrow::datatypes::Schema::empty()),
                    key: Vec::new(),
                    pipeline: outside.pipeline.clone(),
                    ledger: outside.ledger.clone(),
                    history: *history,
                };
                let columnar = outside.elsewhere.columnar(&output.table.name)?;
                Ok(Self::Columnar(Box::new(ColumnarSink::open(shape, columnar.as_ref(), spec, &outside.handle)?)))
            }
            other => Err(StreamError::Unsupported {
                what: format!("sink {:?} cannot be written to {}", output.table.name, other.name()),
                hint: "sinks are files, stdout, blackhole, topics, tables of Postgres and Lance datasets".to_owned(),
            }),
        }
    }

    /// The last epoch that is in it; `None` if it can be made anew from any state.
    pub(crate) fn applied(&self) -> Result<Option<u64>, StreamError> {
        match self {
            Self::Postgres { db, table, handle, .. } => Ok(Some(handle.block_on(db.sink_progress(table))?)),
            Self::Stdout { told, .. } | Self::Topic { told, .. } => Ok(told.epoch),
            Self::Columnar(columnar) => Ok(Some(columnar.applied())),
            Self::File(_) | Self::Blackhole => Ok(None),
        }
    }

    /// Its name, if it remembers how far it is.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::File(file) => Some(&file.shape.name),
            Self::Columnar(columnar) => Some(&columnar.shape.name),
            Self::Stdout { shape, .. } | Self::Topic { shape, .. } | Self::Postgres { shape, .. } => Some(&shape.name),
            Self::Blackhole => None,
        }
    }

    /// Compares what is in it with the rows that should be, as of an epoch, and writes the difference unless `dry`: rows that are missing
    /// or differ, and rows that should not be there.
    pub(crate) fn repair(&mut self, epoch: u64, rows: &[(Row, isize)], dry: bool) -> Result<(u64, u64), StreamError> {
        match self {
            Self::File(file) => file.repair(rows, dry),
            Self::Columnar(columnar) => columnar.repair(epoch, rows, dry),
            Self::Topic { shape, log, topic, handle, told } => {
                let wanted: HashMap<String, String> = shape
                    .by_key(rows.to_vec())?
                    .into_iter()
                    .filter_map(|(key, row)| Some((shape.key_document(&key), json_line(&row?, &shape.names, &shape.types))))
                    .collect();
                let (mut missing, mut extra) = (0, 0);
                let partitions = log.partitions(topic)?;
                let mut there: HashMap<String, (u32, String)> = HashMap::new();
                for partition in 0..partitions {
                    handle.block_on(table_of(log.as_ref(), topic, partition, &mut there))?;
                }
                let mut records: BTreeMap<u32, Vec<Record>> = BTreeMap::new();
                for (key, row) in shape.by_key(rows.to_vec())? {
                    let document = shape.key_document(&key);
                    if there.get(&document).map(|(_, value)| value) != wanted.get(&document) {
                        missing += 1;
                        let value = row.map(|row| json_line(&row, &shape.names, &shape.types).into_bytes());
                        records.entry(shape.partition(&key, partitions)).or_default().push(Record { key: document.into_bytes(), value });
                    }
                }
                for (document, (partition, _)) in there.iter().filter(|(document, _)| !wanted.contains_key(*document)) {
                    extra += 1;
                    records.entry(*partition).or_default().push(Record { key: document.clone().into_bytes(), value: None });
                }
                if !dry {
                    for (partition, records) in records {
                        handle.block_on(log.append(topic, partition, records))?;
                    }
                    told.write(epoch)?;
                }
                Ok((missing, extra))
            }
            Self::Postgres { shape, db, table, handle } => {
                let documents: Vec<serde_json::Value> = shape
                    .by_key(rows.to_vec())?
                    .into_values()
                    .flatten()
                    .map(|row| serde_json::Value::Object(shape.for_postgres(&row)))
                    .collect();
                Ok(handle.block_on(db.repair_sink(table, epoch, &documents, dry))?)
            }
            Self::Stdout { shape, .. } => Err(StreamError::Unsupported { what: format!("sink {:?} is printed", shape.name), hint: "what was printed cannot be taken back".to_owned() }),
            Self::Blackhole => Err(StreamError::Unsupported { what: "a blackhole holds nothing".to_owned(), hint: "there is nothing to repair".to_owned() }),
        }
    }

    /// What it holds, where nothing outside of the run holds it; a snapshot has it then.
    pub(crate) fn held(&self) -> Option<(String, Box<dyn Iterator<Item = (&Row, isize)> + '_>)> {
        let Self::File(file) = self else { return None };
        Some((file.shape.name.clone(), Box::new(file.rows.iter().map(|(row, count)| (row, *count)))))
    }

    /// Rows that it keeps in memory; `None` if it keeps none.
    pub(crate) fn rows_held(&self) -> Option<usize> {
        if let Self::File(file) = self { Some(file.rows.len()) } else { None }
    }

    /// Takes up what a snapshot has of it.
    pub(crate) fn resume(&mut self, rows: Vec<(Row, isize)>) {
        if let Self::File(file) = self {
            file.rows = rows.into_iter().collect();
        }
    }

    /// Brings an epoch in. `history` says that the epoch was applied by an earlier run, and is only told again.
    pub(crate) fn apply(&mut self, epoch: u64, delta: Delta, history: bool) -> Result<(), StreamError> {
        match self {
            Self::Blackhole => Ok(()),
            Self::File(file) => {
                file.apply(delta);
                Ok(())
            }
            _ if history => Ok(()),
            Self::Columnar(columnar) => columnar.apply(epoch, delta),
            Self::Stdout { shape, format, print, told } => {
                for (row, diff) in consolidated(delta) {
                    for _ in 0..diff.unsigned_abs() {
                        print(match format {
                            PrintFormat::Json => {
                                let row = serde_json::Value::Object(json_value(&row, &shape.names, &shape.types));
                                serde_json::json!({ "sink": shape.name, "epoch": epoch, "diff": diff.signum(), "row": row }).to_string()
                            }
                            PrintFormat::Csv => format!("{},{}", diff.signum(), csv_line(&texts(&row, shape), b',')),
                        });
                    }
                }
                told.write(epoch)
            }
            Self::Topic { shape, log, topic, handle, told } => {
                let partitions = log.partitions(topic)?;
                let mut records: BTreeMap<u32, Vec<Record>> = BTreeMap::new();
                for (key, row) in shape.by_key(delta)? {
                    let document = shape.key_document(&key);
                    let partition = shape.partition(&key, partitions);
                    let value = row.map(|row| json_line(&row, &shape.names, &shape.types).into_bytes());
                    records.entry(partition).or_default().push(Record { key: document.into_bytes(), value });
                }
                for (partition, records) in records {
                    handle.block_on(log.append(topic, partition, records))?;
                }
                told.write(epoch)
            }
            Self::Postgres { shape, db, table, handle } => {
                let (mut upserts, mut deletes) = (Vec::new(), Vec::new());
                for (key, row) in shape.by_key(delta)? {
                    match row {
                        Some(row) => upserts.push(serde_json::Value::Object(shape.for_postgres(&row))),
                        None => deletes.push(serde_json::Value::Object(shape.key_value(&key))),
                    }
                }
                handle.block_on(db.apply_sink_with(table, epoch, upserts, deletes, || crash::point(Point::Transaction)))?;
                Ok(())
            }
        }
    }

    /// Makes what was applied visible, where that is not so already.
    pub(crate) fn flush(&mut self) -> Result<(), StreamError> {
        match self {
            Self::File(file) => file.write(),
            Self::Columnar(columnar) => columnar.flush(false),
            _ => Ok(()),
        }
    }

    /// Brings in what was applied and waits for more, so that its progress says all that it was told.
    pub(crate) fn settle(&mut self) -> Result<(), StreamError> {
        if let Self::Columnar(columnar) = self { columnar.flush(true) } else { Ok(()) }
    }
}

/// What a topic's partition means: the last value of each key.
async fn table_of(log: &dyn Log, topic: &str, partition: u32, table: &mut HashMap<String, (u32, String)>) -> Result<(), StreamError> {
    let mut at = log.start_offset(topic, partition).await?;
    let end = log.end_offset(topic, partition).await?;
    while at < end {
        let chunk = log.read(topic, partition, at, 5_000).await?;
        if chunk.next == at {
            break;
        }
        at = chunk.next;
        for entry in chunk.entries {
            let key = String::from_utf8_lossy(&entry.key).into_owned();
            match entry.value {
                Some(value) => drop(table.insert(key, (partition, String::from_utf8_lossy(&value).into_owned()))),
                None => drop(table.remove(&key)),
            }
        }
    }
    Ok(())
}

/// Which epoch was the last that a sink without a memory of its own was told, in a file of the run folder. Written after the sink has it:
/// what was on its way when the process ended is told again.
pub(crate) struct Told {
    file: Option<std::fs::File>,
    ledger: String,
    /// `None` without a run folder.
    epoch: Option<u64>,
}

impl Told {
    fn open(outside: &Outside, sink: &str) -> Result<Self, StreamError> {
        use std::io::Read as _;
        let Some(folder) = &outside.state else { return Ok(Self { file: None, ledger: outside.ledger.clone(), epoch: None }) };
        let path = folder.join(format!("told-{sink}"));
        let io = |source: std::io::Error| StreamError::Io { path: path.display().to_string(), source };
        let mut file = std::fs::OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path).map_err(io)?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(io)?;
        // Of another ledger, or torn: told again from the beginning.
        let epoch = text.lines().next().and_then(|line| line.split_once(' ')).filter(|(ledger, _)| *ledger == outside.ledger).and_then(|(_, epoch)| epoch.trim().parse().ok());
        Ok(Self { file: Some(file), ledger: outside.ledger.clone(), epoch: Some(epoch.unwrap_or(0)) })
    }

    fn write(&mut self, epoch: u64) -> Result<(), StreamError> {
        use std::os::unix::fs::FileExt as _;
        crash::point(Point::Untold);
        let Some(file) = &self.file else { return Ok(()) };
        let io = |source: std::io::Error| StreamError::Io { path: "the run folder".to_owned(), source };
        // Of one length, so that an old line is covered whole.
        file.write_all_at(format!("{} {epoch:020}\n", self.ledger).as_bytes(), 0).map_err(io)?;
        file.sync_data().map_err(io)?;
        self.epoch = Some(epoch);
        Ok(())
    }
}

/// Equal rows summed up; rows that came and went are gone.
pub(crate) fn consolidated(mut delta: Delta) -> Delta {
    differential_dataflow::consolidation::consolidate(&mut delta);
    delta
}

impl Shape {
    fn new(output: &Output) -> Self {
        let table = &output.table;
        let node = &output.planned.node;
        let kinds = node.kinds();
        Self {
            name: table.name.clone(),
            names: table.columns.iter().map(|column| column.name.clone()).collect(),
            types: node.types.clone(),
            key: (!table.primary_key.is_empty()).then(|| Weave::pick(&kinds, &table.primary_key)),
            key_columns: table.primary_key.clone(),
            required: table.columns.iter().enumerate().filter(|(at, column)| !column.nullable && node.nullable[*at]).map(|(at, _)| at).collect(),
            kinds,
        }
    }

    /// Why a row cannot be a row of this sink.
    fn misfit(&self, row: &Row) -> Option<String> {
        let column = self.required.iter().find(|column| row.has_null(&self.kinds, **column))?;
        Some(format!("column {:?} of {:?} is not null, but the query gives a null", self.names[*column], self.name))
    }

    /// What each key of an epoch is now: its row, or nothing.
    pub(crate) fn by_key(&self, delta: Delta) -> Result<BTreeMap<Row, Option<Row>>, StreamError> {
        let Some(key) = &self.key else { return Ok(BTreeMap::new()) };
        let mut writer = Writer::new();
        let mut now: BTreeMap<Row, Option<Row>> = BTreeMap::new();
        for (row, diff) in consolidated(delta) {
            let place = now.entry(key.make(&[&row], &mut writer)).or_insert(None);
            if diff < 0 {
                continue;
            }
            if let Some(reason) = self.misfit(&row) {
                return Err(StreamError::Sink { sink: self.name.clone(), reason });
            }
            if diff > 1 || place.replace(row).is_some() {
                return Err(StreamError::Sink { sink: self.name.clone(), reason: "the query gives two rows of one primary key".to_owned() });
            }
        }
        Ok(now)
    }

    /// Names of the key's columns.
    pub(crate) fn key_names(&self) -> Vec<String> {
        self.key_columns.iter().map(|column| self.names[*column].clone()).collect()
    }

    /// Types of the key's columns.
    pub(crate) fn key_types(&self) -> Vec<DataType> {
        self.key_columns.iter().map(|column| self.types[*column].clone()).collect()
    }

    fn key_value(&self, key: &Row) -> serde_json::Map<String, serde_json::Value> {
        json_value(key, &self.key_names(), &self.key_types())
    }

    /// Where records of a key go.
    fn partition(&self, key: &Row, partitions: u32) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "below the number of partitions")]
        let partition = (key.route() % u64::from(partitions)) as u32;
        partition
    }

    fn key_document(&self, key: &Row) -> String {
        serde_json::Value::Object(self.key_value(key)).to_string()
    }

    /// As Postgres reads it: vectors and lists in their own forms.
    fn for_postgres(&self, row: &Row) -> serde_json::Map<String, serde_json::Value> {
        let mut document = json_value(row, &self.names, &self.types);
        for (name, data_type) in self.names.iter().zip(&self.types) {
            if matches!(data_type, DataType::FixedSizeList(..))
                && let Some(value) = document.get_mut(name)
                && value.is_array()
            {
                *value = serde_json::Value::String(value.to_string());
            }
        }
        document
    }
}

/// A file that holds the rows of a view.
pub(crate) struct FileSink {
    shape: Shape,
    path: PathBuf,
    format: FileFormat,
    /// In no order while the run lasts; sorted when it is written.
    rows: HashMap<Row, isize, foldhash::fast::FixedState>,
    dirty: bool,
}

impl FileSink {
    fn apply(&mut self, delta: Delta) {
        self.dirty |= !delta.is_empty();
        for (row, diff) in delta {
            match self.rows.entry(row) {
                Entry::Vacant(place) => drop(place.insert(diff)),
                Entry::Occupied(mut held) => {
                    *held.get_mut() += diff;
                    if *held.get() == 0 {
                        held.remove();
                    }
                }
            }
        }
    }

    /// Lines that are missing, and lines that should not be there; a Parquet file has none, and is written anew.
    fn repair(&mut self, rows: &[(Row, isize)], dry: bool) -> Result<(u64, u64), StreamError> {
        let lines = |path: &Path| -> Result<HashMap<Vec<u8>, i64>, StreamError> {
            let text = match std::fs::read(path) {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
                Err(source) => return Err(StreamError::Io { path: path.display().to_string(), source }),
            };
            let mut lines: HashMap<Vec<u8>, i64> = HashMap::new();
            text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).for_each(|line| *lines.entry(line.to_vec()).or_default() += 1);
            Ok(lines)
        };
        let mut counts = if self.format == FileFormat::Parquet { HashMap::new() } else { lines(&self.path)? };
        let place = self.path.clone();
        self.rows = rows.iter().cloned().collect();
        self.dirty = true;
        // Written as a run writes it, beside its place if only looked at.
        if dry {
            let mut beside = place.as_os_str().to_owned();
            beside.push(".repair");
            self.path = PathBuf::from(beside);
        }
        self.write()?;
        if self.format != FileFormat::Parquet {
            for (line, count) in lines(&self.path)? {
                *counts.entry(line).or_default() -= count;
            }
        }
        if dry {
            std::fs::remove_file(&self.path).map_err(|source| StreamError::Io { path: self.path.display().to_string(), source })?;
            self.path = place;
        }
        let sum = |sign: i64| counts.values().map(|count| (count * sign).max(0).unsigned_abs()).sum();
        Ok((sum(-1), sum(1)))
    }

    /// Writes the file beside its place, syncs it, and renames it.
    fn write(&mut self) -> Result<(), StreamError> {
        if !self.dirty {
            return Ok(());
        }
        let fail = |reason: String| StreamError::Sink { sink: self.shape.name.clone(), reason };
        let mut writer = Writer::new();
        let mut last_key: Option<Row> = None;
        // By their first bytes where those differ: most comparisons then touch no row.
        let mut keyed: Vec<(u128, &Row, isize)> = self.rows.iter().map(|(row, count)| (prefix(row), row, *count)).collect();
        keyed.sort_unstable_by(|left, right| left.0.cmp(&right.0).then_with(|| left.1.cmp(right.1)));
        let rows: Vec<(&Row, isize)> = keyed.into_iter().map(|(_, row, count)| (row, count)).collect();
        for (row, count) in &rows {
            if *count < 0 {
                return Err(fail("a row was taken back that was never there; does the source withdraw more than it gave?".to_owned()));
            }
            if let Some(reason) = self.shape.misfit(row) {
                return Err(fail(reason));
            }
            // Keys that come first sort together; others are looked at below.
            if let Some(key) = &self.shape.key
                && self.shape.key_columns.iter().copied().eq(0..self.shape.key_columns.len())
            {
                let key = key.make(&[row], &mut writer);
                if *count > 1 || last_key.as_ref() == Some(&key) {
                    return Err(fail("the query gives two rows of one primary key".to_owned()));
                }
                last_key = Some(key);
            }
        }
        write_file(&self.path, self.format, &self.shape, &rows)?;
        self.dirty = false;
        Ok(())
    }
}

/// The first 16 bytes of a row as a number that sorts like them.
fn prefix(row: &Row) -> u128 {
    let bytes = row.bytes();
    let mut first = [0; 16];
    let length = bytes.len().min(16);
    first[..length].copy_from_slice(&bytes[..length]);
    u128::from_be_bytes(first)
}

fn write_file(path: &Path, format: FileFormat, shape: &Shape, rows: &[(&Row, isize)]) -> Result<(), StreamError> {
    let io = |source: std::io::Error| StreamError::Io { path: path.display().to_string(), source };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(io)?;
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let file = std::fs::File::create(&beside).map_err(io)?;
    let mut out = std::io::BufWriter::with_capacity(1 << 20, file);
    let each = rows.iter().flat_map(|(row, count)| (0..*count).map(move |_| *row));
    match format {
        FileFormat::Json => {
            let mut lines = JsonLines::new(&shape.names, &shape.types);
            for row in each {
                out.write_all(lines.line(row)).map_err(io)?;
            }
        }
        FileFormat::Csv { delimiter, header } => {
            if header {
                writeln!(out, "{}", csv_header(&shape.names, delimiter)).map_err(io)?;
            }
            for row in each {
                writeln!(out, "{}", csv_line(&texts(row, shape), delimiter)).map_err(io)?;
            }
        }
        FileFormat::Parquet => {
            let wrong = |error: String| StreamError::Sink { sink: shape.name.clone(), reason: error };
            let fields = shape.names.iter().zip(&shape.types).map(|(name, data_type)| arrow::datatypes::Field::new(name, data_type.clone(), true));
            let schema = Arc::new(arrow::datatypes::Schema::new(fields.collect::<Vec<_>>()));
            let mut parquet = parquet::arrow::ArrowWriter::try_new(&mut out, Arc::clone(&schema), None).map_err(|error| wrong(error.to_string()))?;
            let decoder = ajatus_sql::codec::Decoder::all(&shape.types);
            let all: Vec<&Row> = each.collect();
            for chunk in all.chunks(8_192) {
                let arrays = decoder.decode(chunk.iter().copied()).map_err(|error| wrong(error.to_string()))?;
                let batch = arrow::array::RecordBatch::try_new(Arc::clone(&schema), arrays).map_err(|error| wrong(error.to_string()))?;
                parquet.write(&batch).map_err(|error| wrong(error.to_string()))?;
            }
            parquet.close().map_err(|error| wrong(error.to_string()))?;
        }
    }
    let file = out.into_inner().map_err(|error| io(error.into_error()))?;
    file.sync_all().map_err(io)?;
    crash::point(Point::FileBeside);
    std::fs::rename(&beside, path).map_err(io)?;
    crash::point(Point::FileRenamed);
    Ok(())
}

/// A row's values as CSV has them.
fn texts(row: &Row, shape: &Shape) -> Vec<Option<String>> {
    let mut document = json_value(row, &shape.names, &shape.types);
    let values = shape.names.iter().map(|name| match document.remove(name) {
        None | Some(serde_json::Value::Null) => None,
        Some(serde_json::Value::String(text)) => Some(text),
        Some(other) => Some(other.to_string()),
    });
    values.collect()
}
