//! A dataset that one writer keeps, an epoch a commit.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{Field, Schema, SchemaRef};
use futures::TryStreamExt as _;
use lance::dataset::cleanup::CleanupPolicy;
use lance::dataset::{MergeInsertBuilder, WhenMatched, WhenNotMatched, WhenNotMatchedBySource, WriteMode};

use crate::columns::{loose, same_columns};
use crate::commits::{Commits, Found, find};
use crate::error::LanceError;
use crate::keys::matches;

/// Keys that are taken out within the commit that brings rows in. More than these go in commits of their own before it.
const TOGETHER: usize = 4_096;

/// Rows that a fragment is filled up to.
const FULL: usize = 1 << 20;

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
    /// Rows that were only there to say that a memory is gone, and are not needed any more.
    pub rows_purged: u64,
    /// Old versions that were removed.
    pub versions_removed: u64,
    /// Bytes that were freed.
    pub bytes_removed: u64,
}

impl Care {
    /// Versions that are too old.
    pub(crate) fn policy(&self) -> CleanupPolicy {
        let history = chrono::TimeDelta::seconds(i64::try_from(self.history.as_secs()).unwrap_or(i64::MAX / 2_000));
        CleanupPolicy { before_timestamp: chrono::Utc::now().checked_sub_signed(history), ..CleanupPolicy::default() }
    }
}

/// A dataset that one writer keeps.
pub struct Table {
    spec: TableSpec,
    commits: Commits,
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
        let begin = async |mode| Commits::begin(&spec.path, &spec.writer, &spec.ledger, Arc::clone(&spec.schema), mode).await;
        let commits = match find(&spec.path, &spec.writer).await? {
            Found::Nothing => begin(WriteMode::Create).await?,
            Found::Ours(_, stamp) if stamp.ledger != spec.ledger => begin(WriteMode::Overwrite).await?,
            Found::Ours(dataset, stamp) => {
                same_columns(&spec.path, &spec.schema, &dataset)?;
                Commits::go_on(&spec.path, dataset, stamp)
            }
        };
        Ok(Self { spec, commits })
    }

    /// The last epoch that is in.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.commits.applied
    }

    /// The version that is the newest.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.commits.version()
    }

    /// Pieces that the rows lie in.
    #[must_use]
    pub fn fragments(&self) -> usize {
        self.commits.fragments()
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
        if epoch <= self.commits.applied {
            return Ok(());
        }
        self.write(epoch, upserts, deletes, before_commit).await
    }

    /// As [`Table::apply`], also for the epoch that is in already: what a repair writes.
    ///
    /// # Errors
    /// As [`Table::apply`].
    pub async fn write(&mut self, epoch: u64, upserts: &RecordBatch, deletes: &RecordBatch, before_commit: impl Fn() + Send) -> Result<(), LanceError> {
        self.commits.fence().await?;
        let path = self.spec.path.clone();
        let broken = |error: lance::Error| LanceError::broken(&path, error);
        let key = |reason: String| LanceError::broken(&path, reason);
        let before = self.commits.applied;
        let mut left = deletes.clone();
        // Large withdrawals first, still under the stamp of the epoch before: after a crash they are told again, and change nothing.
        while left.num_rows() > TOGETHER {
            let part = left.slice(0, TOGETHER);
            left = left.slice(TOGETHER, left.num_rows() - TOGETHER);
            let Some(gone) = matches(&part).map_err(key)? else { break };
            self.commits.delete(gone, before, true, || ()).await?;
        }
        let gone = matches(&left).map_err(key)?;
        if upserts.num_rows() == 0 {
            // Nothing changes, so nothing is committed, and the epoch is not counted: after a crash it could not be known.
            let Some(gone) = gone else { return Ok(()) };
            self.commits.delete(gone, epoch, true, before_commit).await?;
        } else {
            let upserts = self.fit(upserts)?;
            let mut merge = MergeInsertBuilder::try_new(Arc::clone(&self.commits.dataset), self.spec.key.clone()).map_err(broken)?;
            merge.when_matched(WhenMatched::UpdateAll).when_not_matched(WhenNotMatched::InsertAll);
            if let Some(gone) = gone {
                merge.when_not_matched_by_source(WhenNotMatchedBySource::DeleteIf(gone));
            }
            let staged = merge.try_build().map_err(broken)?.execute_uncommitted_batches(vec![upserts]).await.map_err(broken)?;
            before_commit();
            self.commits.commit_merge(staged, epoch).await?;
        }
        self.commits.applied = before.max(epoch);
        Ok(())
    }

    /// All rows, with all columns, in no order.
    ///
    /// # Errors
    /// [`LanceError::Broken`] if a file is missing or damaged.
    pub async fn rows(&self) -> Result<Vec<RecordBatch>, LanceError> {
        let failed = |error: lance::Error| LanceError::broken(&self.spec.path, error);
        let names: Vec<&str> = self.spec.schema.fields().iter().map(|field| field.name().as_str()).collect();
        let mut scan = self.commits.dataset.scan();
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
        self.commits.fence().await?;
        self.commits.compact(FULL, 0.1).await?;
        let tag = self.commits.tag().await?;
        let removed = self.commits.clean(care.policy()).await?;
        let fragments = (before, self.fragments());
        Ok(Some(Cared { fragments, tag, rows_purged: 0, versions_removed: removed.old_versions, bytes_removed: removed.bytes_removed }))
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
