//! Datasets of columns (Lance), as sources and as sinks.
//!
//! Who knows their files plugs in a [`Columnar`]. Holds always: every version of a sink's dataset has whole epochs, and says which one is
//! its last; every run of one ledger reads the same version of a source. Not promised: a version for each epoch: what five seconds, or a
//! thousand rows, bring in is one commit. After a crash: the epochs behind the last commit are told again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ajatus_operators::row::Row;
use ajatus_sql::codec::{Decoder, encode};
use ajatus_sql::script::{Changelog, Table};
use arrow::array::RecordBatch;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use tokio::runtime::Handle;

use super::crash::{self, Point};
use super::decode::Payload;
use super::error::StreamError;
use super::read::Batch;
use super::sink::{Delta, Shape};
use super::table::{forget, prefix};

/// Which version of a dataset is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ColumnarVersion {
    /// The newest one.
    #[default]
    Newest,
    /// That number.
    Number(u64),
    /// The one with that tag.
    Tag(String),
}

/// A dataset that a pipeline keeps.
#[derive(Clone, Debug)]
pub struct ColumnarSpec {
    /// The sink's name, for errors.
    pub sink: String,
    /// The dataset's folder.
    pub path: PathBuf,
    /// Names and types of its columns.
    pub schema: SchemaRef,
    /// Columns of the primary key, not empty.
    pub key: Vec<String>,
    /// Which pipeline keeps it; no other may.
    pub pipeline: String,
    /// Whose epochs are told.
    pub ledger: String,
    /// How long old versions without a tag can be read.
    pub history: Duration,
}

/// Who knows datasets of columns.
///
/// Operations: open a dataset to keep it, open one version to read it. Guarantees: those of the two handles. Failure: [`StreamError`].
#[async_trait]
pub trait Columnar: Send + Sync + 'static {
    /// Opens a dataset that a pipeline keeps, or makes it. One that another ledger of the same pipeline kept is emptied.
    ///
    /// # Errors
    /// [`StreamError::Sink`] if it is not the pipeline's to write, [`StreamError::Damaged`] if it cannot be read.
    async fn keep(&self, spec: ColumnarSpec) -> Result<Box<dyn ColumnarTable>, StreamError>;

    /// Opens these columns of a version.
    ///
    /// # Errors
    /// [`StreamError::Damaged`] if the dataset, the version or a column is not there.
    async fn scan(&self, path: &Path, version: &ColumnarVersion, columns: &[String]) -> Result<Box<dyn ColumnarScan>, StreamError>;
}

/// A dataset that is kept.
///
/// Guarantees: rows, withdrawals and the number of their epoch become visible together; an epoch that is in is not applied again; after
/// another run has opened the dataset, nothing more is committed by this one.
#[async_trait]
pub trait ColumnarTable: Send {
    /// The last epoch that is in.
    fn applied(&self) -> u64;

    /// Brings everything up to an epoch in: `upserts` has all columns, `deletes` those of the key, no key twice. With `again` also for an
    /// epoch that is in already. `before_commit` is called when everything is written and nothing is visible.
    ///
    /// # Errors
    /// [`StreamError::Sink`]; the epoch is to be applied again.
    async fn apply(&mut self, epoch: u64, upserts: RecordBatch, deletes: RecordBatch, again: bool, before_commit: fn()) -> Result<(), StreamError>;

    /// All its rows, in no order.
    ///
    /// # Errors
    /// [`StreamError::Damaged`].
    async fn rows(&self) -> Result<Vec<RecordBatch>, StreamError>;

    /// Tidies up if it is time to.
    ///
    /// # Errors
    /// [`StreamError::Sink`]; nothing that was applied is lost.
    async fn tend(&mut self) -> Result<(), StreamError>;
}

/// One version of a dataset, which never changes.
#[async_trait]
pub trait ColumnarScan: Send {
    /// Which version it is.
    fn version(&self) -> u64;

    /// How many rows it has.
    fn rows(&self) -> u64;

    /// Reads `most` rows at most from row `from` on, in the version's own order.
    ///
    /// # Errors
    /// [`StreamError::Damaged`].
    async fn read(&self, from: u64, most: usize) -> Result<Vec<RecordBatch>, StreamError>;
}

/// Rows that wait for a commit at most.
const WAITING: usize = 1_000;
/// How long they wait at most, while the run shows what it has about once a second.
const LONGEST: Duration = Duration::from_secs(5);
/// Rows that are read at once.
const CHUNK: usize = 8_192;

/// A sink that keeps a dataset.
pub(crate) struct ColumnarSink {
    pub(crate) shape: Shape,
    table: Box<dyn ColumnarTable>,
    schema: SchemaRef,
    /// What each key is now, since the last commit.
    waiting: BTreeMap<Row, Option<Row>>,
    /// The last epoch in `waiting`.
    reached: u64,
    since: Instant,
    handle: Handle,
}

fn schema_of(names: &[String], types: &[DataType]) -> SchemaRef {
    let fields = names.iter().zip(types).map(|(name, data_type)| Field::new(name, data_type.clone(), true));
    std::sync::Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

impl ColumnarSink {
    /// Opens the dataset.
    pub(crate) fn open(shape: Shape, columnar: &dyn Columnar, spec: ColumnarSpec, handle: &Handle) -> Result<Self, StreamError> {
        let schema = schema_of(&shape.names, &shape.types);
        let key = shape.key_names();
        if key.is_empty() {
            return Err(StreamError::Unsupported { what: format!("sink {:?} has no primary key", shape.name), hint: "a dataset is written by key; add `primary key` to a column".to_owned() });
        }
        let table = handle.block_on(columnar.keep(ColumnarSpec { schema: std::sync::Arc::clone(&schema), key, ..spec }))?;
        Ok(Self { shape, table, schema, waiting: BTreeMap::new(), reached: 0, since: Instant::now(), handle: handle.clone() })
    }

    pub(crate) fn applied(&self) -> u64 {
        self.table.applied()
    }

    /// Takes an epoch; it is committed with others.
    pub(crate) fn apply(&mut self, epoch: u64, delta: Delta) -> Result<(), StreamError> {
        self.waiting.extend(self.shape.by_key(delta)?);
        self.reached = epoch;
        if self.waiting.len() >= WAITING { self.commit() } else { Ok(()) }
    }

    /// Commits what waits, if it has waited long enough or `now`.
    pub(crate) fn flush(&mut self, now: bool) -> Result<(), StreamError> {
        if self.waiting.is_empty() || !(now || self.since.elapsed() >= LONGEST) {
            return Ok(());
        }
        self.commit()
    }

    fn commit(&mut self) -> Result<(), StreamError> {
        let waiting = std::mem::take(&mut self.waiting);
        let (upserts, deletes): (Vec<_>, Vec<_>) = waiting.iter().partition(|(_, row)| row.is_some());
        let upserts = self.batch(&upserts.into_iter().filter_map(|(_, row)| row.as_ref()).collect::<Vec<_>>())?;
        let deletes = self.keys(&deletes.into_iter().map(|(key, _)| key).collect::<Vec<_>>())?;
        self.handle.block_on(self.table.apply(self.reached, upserts, deletes, false, || crash::point(Point::Transaction)))?;
        self.since = Instant::now();
        // Small pieces slow readers down, and lose nothing.
        if let Err(error) = self.handle.block_on(self.table.tend()) {
            tracing::warn!(%error, sink = self.shape.name, "the dataset could not be tidied up; it is tried again later");
        }
        Ok(())
    }

    fn batch(&self, rows: &[&Row]) -> Result<RecordBatch, StreamError> {
        self.made(Decoder::all(&self.shape.types), rows, &self.schema)
    }

    fn keys(&self, keys: &[&Row]) -> Result<RecordBatch, StreamError> {
        let types = self.shape.key_types();
        self.made(Decoder::all(&types), keys, &schema_of(&self.shape.key_names(), &types))
    }

    fn made(&self, decoder: Decoder, rows: &[&Row], schema: &SchemaRef) -> Result<RecordBatch, StreamError> {
        let wrong = |reason: String| StreamError::Sink { sink: self.shape.name.clone(), reason };
        let arrays = decoder.decode(rows.iter().copied()).map_err(|error| wrong(error.to_string()))?;
        RecordBatch::try_new(std::sync::Arc::clone(schema), arrays).map_err(|error| wrong(error.to_string()))
    }

    /// Rows that are missing or differ, and keys that should not be there; written unless `dry`.
    pub(crate) fn repair(&mut self, epoch: u64, rows: &[(Row, isize)], dry: bool) -> Result<(u64, u64), StreamError> {
        let wanted = self.shape.by_key(rows.to_vec())?;
        let mut there: Delta = Vec::new();
        for batch in self.handle.block_on(self.table.rows())? {
            let wrong = |error: String| StreamError::Sink { sink: self.shape.name.clone(), reason: error };
            there.extend(encode(batch.columns(), batch.num_rows()).map_err(|error| wrong(error.to_string()))?.into_iter().map(|row| (row, 1)));
        }
        let there = self.shape.by_key(there)?;
        let missing: Vec<&Row> = wanted.iter().filter(|(key, row)| there.get(*key) != Some(*row)).filter_map(|(_, row)| row.as_ref()).collect();
        let extra: Vec<&Row> = there.keys().filter(|key| !wanted.contains_key(*key)).collect();
        let found = (missing.len() as u64, extra.len() as u64);
        if !dry && found != (0, 0) {
            let (upserts, deletes) = (self.batch(&missing)?, self.keys(&extra)?);
            self.handle.block_on(self.table.apply(epoch, upserts, deletes, true, || ()))?;
        }
        Ok(found)
    }
}

/// A version of a dataset as a bounded source; offsets are row numbers in it.
pub(crate) struct ColumnarReader {
    columnar: std::sync::Arc<dyn Columnar>,
    scan: Box<dyn ColumnarScan>,
    name: String,
    path: PathBuf,
    columns: Vec<String>,
    types: Vec<DataType>,
    pub(crate) at: u64,
    pub(crate) until: Option<u64>,
    pending: Vec<Row>,
    handle: Handle,
}

impl ColumnarReader {
    /// Opens a source.
    pub(crate) fn open(table: &Table, columns: &[usize], path: &str, version: &ColumnarVersion, columnar: std::sync::Arc<dyn Columnar>, handle: &Handle) -> Result<Self, StreamError> {
        if table.changelog != Changelog::Append {
            let what = format!("a changelog in the dataset of table {:?}", table.name);
            return Err(StreamError::Unsupported { what, hint: "a dataset holds rows, not changes; leave changelog out".to_owned() });
        }
        let names: Vec<String> = columns.iter().map(|column| table.columns[*column].name.clone()).collect();
        let types = columns.iter().map(|column| table.columns[*column].data_type.clone()).collect();
        let scan = handle.block_on(columnar.scan(Path::new(path), version, &names))?;
        Ok(Self { columnar, scan, name: table.name.clone(), path: PathBuf::from(path), columns: names, types, at: 0, until: None, pending: Vec::new(), handle: handle.clone() })
    }

    /// Reads the version that the ledger has read before, whatever was committed since; without one, notes which one it is.
    pub(crate) fn begin(&mut self, folder: Option<&Path>, ledger: &str) -> Result<(), StreamError> {
        let Some(folder) = folder else { return Ok(()) };
        let prefix = prefix(&self.name);
        let path = folder.join(format!("{prefix}{ledger}.version"));
        let io = |source: std::io::Error| StreamError::Io { path: path.display().to_string(), source };
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let damaged = || StreamError::Damaged { path: path.display().to_string(), reason: "it holds no version of a dataset".to_owned() };
                let version: u64 = text.trim().parse().map_err(|_| damaged())?;
                if version != self.scan.version() {
                    self.scan = self.handle.block_on(self.columnar.scan(&self.path, &ColumnarVersion::Number(version), &self.columns))?;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let beside = path.with_extension("new");
                std::fs::write(&beside, self.scan.version().to_string()).and_then(|()| std::fs::File::open(&beside)?.sync_all()).map_err(io)?;
                std::fs::rename(&beside, &path).map_err(io)?;
            }
            Err(error) => return Err(io(error)),
        }
        forget(folder, &prefix, &path)
    }

    pub(crate) fn rows(&self) -> u64 {
        self.scan.rows()
    }

    pub(crate) fn seek(&mut self, to: u64) -> Result<(), StreamError> {
        if to > self.rows() {
            return Err(self.lost(to));
        }
        self.at = to;
        self.pending.clear();
        Ok(())
    }

    pub(crate) fn lost(&self, wanted: u64) -> StreamError {
        StreamError::Gap { place: self.path.display().to_string(), wanted, first: self.rows() }
    }

    /// Reads on, `most` rows at most; nothing at the end.
    pub(crate) fn read(&mut self, most: usize) -> Result<Option<Batch>, StreamError> {
        if self.pending.is_empty() {
            let wrong = |reason: String| StreamError::Damaged { path: self.path.display().to_string(), reason };
            for batch in self.handle.block_on(self.scan.read(self.at, CHUNK))? {
                let options = CastOptions { safe: false, ..CastOptions::default() };
                let arrays = batch.columns().iter().zip(&self.types).map(|(array, data_type)| cast_with_options(array, data_type, &options).map_err(|error| wrong(error.to_string())));
                let arrays = arrays.collect::<Result<Vec<_>, _>>()?;
                self.pending.extend(encode(&arrays, batch.num_rows()).map_err(|error| wrong(error.to_string()))?);
            }
            self.pending.reverse();
        }
        let take = self.pending.len().min(most);
        if take == 0 {
            return Ok(None);
        }
        let rows: Vec<(Row, i64)> = self.pending.drain(self.pending.len() - take..).rev().map(|row| (row, 1)).collect();
        let from = self.at;
        self.at += take as u64;
        Ok(Some(Batch { partition: 0, from, to: self.at, records: take as u64, payload: Payload::Rows(rows) }))
    }
}
