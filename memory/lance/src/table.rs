//! A dataset that one writer keeps, an epoch a commit.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{RecordBatch, RecordBatchIterator};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use futures::TryStreamExt as _;
use lance::Dataset;
use lance::dataset::optimize::{CompactionOptions, compact_files};
use lance::dataset::transaction::Transaction;
use lance::dataset::{CommitBuilder, DeleteBuilder, MergeInsertBuilder, WhenMatched, WhenNotMatched, WhenNotMatchedBySource, WriteMode, WriteParams};

use crate::error::LanceError;
use crate::keys::matches;
use crate::scan::open;
use crate::stamp::Stamp;

/// Keys that are taken out within the commit that brings rows in. More than these go in commits of their own before it.
const TOGETHER: usize = 4_096;
/// Tags of ours that are kept, newest first.
const TAGS: usize = 8;

/// What a table is, and who keeps it.
#[derive(Clone, Debug)]
pub struct TableSpec {
    /// The dataset's folder; made if it is not there.
    pub path: PathBuf,
    /// Names and types of the columns. Columns of the key may not be null.
    pub schema: SchemaRef,
    /// Columns of the primary key, not empty.
    pub key: Vec<String>,
    /// Who writes; no other writer may.
    pub writer: String,
    /// Whose epochs are told. Rows of another ledger are not these: the table is emptied, earlier versions stay for a while.
    pub ledger: String,
}

/// When to tidy up, and how long history is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Care {
    /// Small fragments that are tolerated. Default 32.
    pub fragments: usize,
    /// How long versions without a tag can be read. Default one hour.
    pub history: Duration,
}

impl Default for Care {
    fn default() -> Self {
        Self { fragments: 32, history: Duration::from_secs(3_600) }
    }
}

/// What tidying up did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cared {
    /// Fragments before and after.
    pub fragments: (usize, usize),
    /// The tag that was set, `e` and the epoch.
    pub tag: String,
    /// Old versions that were removed.
    pub versions_removed: u64,
    /// Bytes that were freed.
    pub bytes_removed: u64,
}

/// A dataset that one writer keeps.
pub struct Table {
    spec: TableSpec,
    dataset: Arc<Dataset>,
    applied: u64,
}

fn absolute(path: &Path) -> Result<String, LanceError> {
    std::path::absolute(path).map(|path| path.display().to_string()).map_err(|error| LanceError::broken(path, error))
}

impl Table {
    /// Opens the table, or makes it.
    ///
    /// # Errors
    /// [`LanceError::Foreign`] if the folder holds other files, or a dataset that another writer or nobody stamped;
    /// [`LanceError::Schema`] if a column of the key is not in the schema; [`LanceError::Broken`] if it cannot be read.
    pub async fn open(spec: TableSpec) -> Result<Self, LanceError> {
        let schema = with_key(&spec)?;
        let spec = TableSpec { schema, ..spec };
        let foreign = |reason: String| LanceError::Foreign { path: spec.path.display().to_string(), reason };
        let found = match open(&spec.path).await {
            Ok(dataset) => Some(dataset),
            Err(LanceError::Missing { .. }) => None,
            Err(error) => return Err(error),
        };
        let Some(dataset) = found else {
            let holds_files = std::fs::read_dir(&spec.path).is_ok_and(|mut files| files.next().is_some());
            if holds_files {
                return Err(foreign("it holds files, but no dataset; name another folder".to_owned()));
            }
            let dataset = begin(&spec, WriteMode::Create).await?;
            return Ok(Self { spec, dataset: Arc::new(dataset), applied: 0 });
        };
        let stamp = Stamp::newest(&dataset).await.map_err(|error| LanceError::broken(&spec.path, error))?;
        let Some(stamp) = stamp else {
            return Err(foreign("the dataset there was not made by a pipeline; name another folder".to_owned()));
        };
        if stamp.writer != spec.writer {
            return Err(foreign(format!("pipeline {:?} keeps it; name another folder", stamp.writer)));
        }
        if stamp.ledger != spec.ledger {
            let dataset = begin(&spec, WriteMode::Overwrite).await?;
            return Ok(Self { spec, dataset: Arc::new(dataset), applied: 0 });
        }
        same_columns(&spec, &dataset)?;
        Ok(Self { applied: stamp.epoch, dataset: Arc::new(dataset), spec })
    }

    /// The last epoch that is in.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// The version that is the newest.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.dataset.version().version
    }

    /// Pieces that the rows lie in.
    #[must_use]
    pub fn fragments(&self) -> usize {
        self.dataset.count_fragments()
    }

    /// Brings everything up to an epoch in: `upserts` has all columns, at most one row a key; `deletes` has the key's columns, and none of
    /// the keys of `upserts`. One commit, which also says the epoch; up to 4,096 deletes beside upserts go in the same, more in commits
    /// before it. An epoch that is in already changes nothing, and one
    /// without rows and keys is not counted. `before_commit` is called when all files are written.
    ///
    /// # Errors
    /// [`LanceError::Fenced`] if another run writes the table now, [`LanceError::Broken`] if a file cannot be written. Nothing is in then, or
    /// some of the deletes: the epoch is to be applied again.
    pub async fn apply(&mut self, epoch: u64, upserts: &RecordBatch, deletes: &RecordBatch, before_commit: impl Fn() + Send) -> Result<(), LanceError> {
        if epoch <= self.applied {
            return Ok(());
        }
        self.write(epoch, upserts, deletes, before_commit).await
    }

    /// As [`Table::apply`], also for the epoch that is in already: what a repair writes.
    ///
    /// # Errors
    /// As [`Table::apply`].
    pub async fn write(&mut self, epoch: u64, upserts: &RecordBatch, deletes: &RecordBatch, before_commit: impl Fn() + Send) -> Result<(), LanceError> {
        self.fence().await?;
        let path = self.spec.path.clone();
        let broken = |error: lance::Error| LanceError::broken(&path, error);
        let key = |reason: String| LanceError::broken(&path, reason);
        let before = self.stamp(self.applied);
        let mut left = deletes.clone();
        // Large withdrawals first, still under the stamp of the epoch before: after a crash they are told again, and change nothing.
        while left.num_rows() > TOGETHER {
            let part = left.slice(0, TOGETHER);
            left = left.slice(TOGETHER, left.num_rows() - TOGETHER);
            let Some(gone) = matches(&part).map_err(key)? else { break };
            let staged = DeleteBuilder::from_expr(Arc::clone(&self.dataset), gone).execute_uncommitted().await.map_err(broken)?;
            let commit = match staged.affected_rows {
                Some(rows) => self.committing().with_affected_rows(rows),
                None => self.committing(),
            };
            self.commit(commit, staged.transaction, &before).await?;
        }
        let stamp = self.stamp(epoch);
        let gone = matches(&left).map_err(key)?;
        if upserts.num_rows() == 0 {
            // Nothing changes, so nothing is committed, and the epoch is not counted: after a crash it could not be known.
            let Some(gone) = gone else { return Ok(()) };
            let staged = DeleteBuilder::from_expr(Arc::clone(&self.dataset), gone).execute_uncommitted().await.map_err(broken)?;
            before_commit();
            let commit = match staged.affected_rows {
                Some(rows) => self.committing().with_affected_rows(rows),
                None => self.committing(),
            };
            self.commit(commit, staged.transaction, &stamp).await?;
        } else {
            let upserts = self.fit(upserts)?;
            let mut merge = MergeInsertBuilder::try_new(Arc::clone(&self.dataset), self.spec.key.clone()).map_err(broken)?;
            merge.when_matched(WhenMatched::UpdateAll).when_not_matched(WhenNotMatched::InsertAll);
            if let Some(gone) = gone {
                merge.when_not_matched_by_source(WhenNotMatchedBySource::DeleteIf(gone));
            }
            let staged = merge.try_build().map_err(broken)?.execute_uncommitted_batches(vec![upserts]).await.map_err(broken)?;
            before_commit();
            let commit = match staged.affected_rows {
                Some(rows) => self.committing().with_affected_rows(rows),
                None => self.committing(),
            };
            self.commit(commit, staged.transaction, &stamp).await?;
        }
        self.applied = self.applied.max(epoch);
        Ok(())
    }

    /// All rows, with all columns, in no order.
    ///
    /// # Errors
    /// [`LanceError::Broken`] if a file is missing or damaged.
    pub async fn rows(&self) -> Result<Vec<RecordBatch>, LanceError> {
        let failed = |error: lance::Error| LanceError::broken(&self.spec.path, error);
        let names: Vec<&str> = self.spec.schema.fields().iter().map(|field| field.name().as_str()).collect();
        let mut scan = self.dataset.scan();
        scan.project(&names).map_err(failed)?;
        scan.try_into_stream().await.map_err(failed)?.try_collect().await.map_err(failed)
    }

    /// Puts small fragments together, tags the epoch, and removes versions past the history, if there are many fragments or `always`.
    ///
    /// # Errors
    /// As [`Table::apply`]. What was applied stays.
    pub async fn tend(&mut self, care: &Care, always: bool) -> Result<Option<Cared>, LanceError> {
        let before = self.fragments();
        if before <= care.fragments && !always {
            return Ok(None);
        }
        self.fence().await?;
        let path = self.spec.path.clone();
        let broken = |error: lance::Error| LanceError::broken(&path, error);
        let stamp = Arc::new(self.stamp(self.applied).properties());
        let mut dataset = self.dataset.as_ref().clone();
        let options = CompactionOptions { transaction_properties: Some(stamp), ..CompactionOptions::default() };
        compact_files(&mut dataset, options, None).await.map_err(broken)?;
        self.dataset = Arc::new(dataset);
        let tag = format!("e{}", self.applied);
        let mut tags = self.dataset.tags().list().await.map_err(broken)?;
        if tags.contains_key(&tag) {
            self.dataset.tags().update(&tag, self.version()).await.map_err(broken)?;
        } else {
            self.dataset.tags().create(&tag, self.version()).await.map_err(broken)?;
        }
        tags.remove(&tag);
        let mut ours: Vec<(u64, String)> = tags.into_keys().filter_map(|name| Some((name.strip_prefix('e')?.parse().ok()?, name))).collect();
        ours.sort_unstable_by(|left, right| right.cmp(left));
        for (_, old) in ours.into_iter().skip(TAGS - 1) {
            self.dataset.tags().delete(&old).await.map_err(broken)?;
        }
        let history = i64::try_from(care.history.as_secs()).unwrap_or(i64::MAX / 2_000);
        let removed = self.dataset.cleanup_old_versions(chrono::TimeDelta::seconds(history), Some(false), Some(false)).await.map_err(broken)?;
        Ok(Some(Cared { fragments: (before, self.fragments()), tag, versions_removed: removed.old_versions, bytes_removed: removed.bytes_removed }))
    }

    fn stamp(&self, epoch: u64) -> Stamp {
        Stamp { writer: self.spec.writer.clone(), ledger: self.spec.ledger.clone(), epoch }
    }

    /// Follows what others committed, e.g. an index; another run's commit ends this one.
    async fn fence(&mut self) -> Result<(), LanceError> {
        let broken = |error: lance::Error| LanceError::broken(&self.spec.path, error);
        let newest = self.dataset.latest_version_id().await.map_err(broken)?;
        if newest == self.version() {
            return Ok(());
        }
        let mut dataset = self.dataset.as_ref().clone();
        dataset.checkout_latest().await.map_err(broken)?;
        let stamp = Stamp::newest(&dataset).await.map_err(broken)?;
        if stamp.is_none_or(|stamp| stamp.writer != self.spec.writer || stamp.ledger != self.spec.ledger || stamp.epoch > self.applied) {
            return Err(LanceError::Fenced { path: self.spec.path.display().to_string() });
        }
        self.dataset = Arc::new(dataset);
        Ok(())
    }

    fn committing(&self) -> CommitBuilder<'static> {
        CommitBuilder::new(Arc::clone(&self.dataset))
    }

    async fn commit(&mut self, commit: CommitBuilder<'static>, mut transaction: Transaction, stamp: &Stamp) -> Result<(), LanceError> {
        // Set in the transaction itself: the builder drops what it is given.
        transaction.transaction_properties = Some(Arc::new(stamp.properties()));
        let committed = commit.execute(transaction).await.map_err(|error| LanceError::broken(&self.spec.path, error))?;
        self.dataset = Arc::new(committed);
        Ok(())
    }

    /// The batch under the table's own schema: the same columns, those of the key not null.
    fn fit(&self, batch: &RecordBatch) -> Result<RecordBatch, LanceError> {
        let columns = self.spec.schema.fields().iter().zip(batch.columns()).map(|(field, column)| cast(column, field.data_type()));
        let columns = columns.collect::<Result<Vec<_>, _>>();
        columns
            .and_then(|columns| RecordBatch::try_new(Arc::clone(&self.spec.schema), columns))
            .map_err(|error| LanceError::Schema { path: self.spec.path.display().to_string(), reason: format!("takes no such rows: {error}") })
    }
}

/// An empty version of the table, stamped before its first epoch.
async fn begin(spec: &TableSpec, mode: WriteMode) -> Result<Dataset, LanceError> {
    let stamp = Stamp { writer: spec.writer.clone(), ledger: spec.ledger.clone(), epoch: 0 };
    let params = WriteParams { mode, transaction_properties: Some(Arc::new(stamp.properties())), ..WriteParams::default() };
    let nothing = RecordBatchIterator::new(std::iter::empty(), Arc::clone(&spec.schema));
    Dataset::write(nothing, &absolute(&spec.path)?, Some(params)).await.map_err(|error| LanceError::broken(&spec.path, error))
}

fn with_key(spec: &TableSpec) -> Result<SchemaRef, LanceError> {
    let wrong = |reason: String| LanceError::Schema { path: spec.path.display().to_string(), reason };
    if spec.key.is_empty() {
        return Err(wrong("needs a primary key".to_owned()));
    }
    if let Some(missing) = spec.key.iter().find(|name| spec.schema.field_with_name(name).is_err()) {
        return Err(wrong(format!("has no column {missing:?} for its key")));
    }
    let fields = spec.schema.fields().iter().map(|field| Field::new(field.name(), loose(field.data_type()), !spec.key.contains(field.name())));
    Ok(Arc::new(Schema::new(fields.collect::<Vec<Field>>())))
}

/// The type with items that may be null: the library does not keep that they may not.
fn loose(data_type: &DataType) -> DataType {
    let item = |field: &Field| Arc::new(Field::new(field.name(), loose(field.data_type()), true));
    match data_type {
        DataType::FixedSizeList(field, length) => DataType::FixedSizeList(item(field), *length),
        DataType::List(field) => DataType::List(item(field)),
        DataType::LargeList(field) => DataType::LargeList(item(field)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|field| item(field)).collect()),
        other => other.clone(),
    }
}

fn same_columns(spec: &TableSpec, dataset: &Dataset) -> Result<(), LanceError> {
    let there: Schema = dataset.schema().into();
    let plain = |schema: &Schema| schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect::<HashMap<_, _>>();
    if plain(&there) == plain(&spec.schema) {
        return Ok(());
    }
    let names = |schema: &Schema| schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect::<Vec<_>>().join(", ");
    let reason = format!("has the columns {}, but these are written: {}", names(&there), names(&spec.schema));
    Err(LanceError::Schema { path: spec.path.display().to_string(), reason })
}
