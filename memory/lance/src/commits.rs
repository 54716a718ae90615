//! How a dataset's one writer commits: always stamped, never over another's commit.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatchIterator;
use arrow::datatypes::SchemaRef;
use lance::Dataset;
use lance::dataset::cleanup::{CleanupPolicy, RemovalStats};
use lance::dataset::optimize::{CompactionOptions, compact_files};
use lance::dataset::transaction::{Operation, Transaction};
use lance::dataset::write::merge_insert::UncommittedMergeInsert;
use lance::dataset::{CommitBuilder, DeleteBuilder, WriteMode, WriteParams};
use lance::deps::datafusion::logical_expr::Expr;

use crate::error::LanceError;
use crate::scan::{absolute, guarded, open, session};
use crate::stamp::Stamp;

/// Tags of ours that are kept, newest first.
pub(crate) const TAGS: usize = 8;

/// A dataset open for writing, and what its writer's stamps say.
pub(crate) struct Commits {
    pub(crate) path: PathBuf,
    pub(crate) dataset: Arc<Dataset>,
    pub(crate) writer: String,
    pub(crate) ledger: String,
    /// The last epoch that is in.
    pub(crate) applied: u64,
    /// What the next commit's stamp keeps for the writer.
    pub(crate) note: String,
}

/// What lies in a folder.
pub(crate) enum Found {
    /// A dataset of this writer, and its newest stamp.
    Ours(Box<Dataset>, Stamp),
    /// Nothing.
    Nothing,
}

/// Looks into a folder; anything there that is not this writer's is refused.
pub(crate) async fn find(path: &Path, writer: &str) -> Result<Found, LanceError> {
    let foreign = |reason: String| LanceError::Foreign { path: path.display().to_string(), reason };
    let dataset = match open(path).await {
        Ok(dataset) => dataset,
        Err(LanceError::Missing { .. }) => {
            let holds_files = std::fs::read_dir(path).is_ok_and(|mut files| files.next().is_some());
            return if holds_files { Err(foreign("it holds files, but no dataset; name another folder".to_owned())) } else { Ok(Found::Nothing) };
        }
        Err(error) => return Err(error),
    };
    match guarded(path, Stamp::newest(&dataset)).await? {
        None => Err(foreign("the dataset there was not made by a pipeline; name another folder".to_owned())),
        Some(stamp) if stamp.writer != writer => Err(foreign(format!("pipeline {:?} keeps it; name another folder", stamp.writer))),
        Some(stamp) => Ok(Found::Ours(Box::new(dataset), stamp)),
    }
}

impl Commits {
    /// An empty version, stamped before its first epoch.
    pub(crate) async fn begin(path: &Path, writer: &str, ledger: &str, schema: SchemaRef, mode: WriteMode) -> Result<Self, LanceError> {
        let stamp = Stamp { writer: writer.to_owned(), ledger: ledger.to_owned(), epoch: 0, note: String::new() };
        let params = WriteParams { mode, transaction_properties: Some(Arc::new(stamp.properties())), session: Some(session()), ..WriteParams::default() };
        let nothing = RecordBatchIterator::new(std::iter::empty(), schema);
        let dataset = Dataset::write(nothing, &absolute(path)?, Some(params)).await.map_err(|error| LanceError::broken(path, error))?;
        Ok(Self::go_on(path, dataset, stamp))
    }

    /// Goes on where a stamp says.
    pub(crate) fn go_on(path: &Path, dataset: impl Into<Arc<Dataset>>, stamp: Stamp) -> Self {
        Self { path: path.to_owned(), dataset: dataset.into(), writer: stamp.writer, ledger: stamp.ledger, applied: stamp.epoch, note: stamp.note }
    }

    pub(crate) fn broken(&self, error: impl std::fmt::Display) -> LanceError {
        LanceError::broken(&self.path, error)
    }

    pub(crate) fn stamp(&self, epoch: u64) -> Stamp {
        Stamp { writer: self.writer.clone(), ledger: self.ledger.clone(), epoch, note: self.note.clone() }
    }

    pub(crate) fn version(&self) -> u64 {
        self.dataset.version().version
    }

    pub(crate) fn fragments(&self) -> usize {
        self.dataset.count_fragments()
    }

    /// Pieces that have fewer rows than this.
    pub(crate) fn small_fragments(&self, small: usize) -> usize {
        self.dataset.iter_fragments().filter(|fragment| fragment.num_rows().is_none_or(|rows| rows < small)).count()
    }

    /// Follows what others committed, e.g. an index; another run's commit ends this one, and so does the loss of the dataset.
    pub(crate) async fn fence(&mut self) -> Result<(), LanceError> {
        let newest = match self.dataset.latest_version_id().await {
            Ok(newest) => newest,
            Err(lance::Error::DatasetNotFound { .. } | lance::Error::NotFound { .. }) => return Err(LanceError::Missing { path: self.path.display().to_string() }),
            Err(error) => return Err(self.broken(error)),
        };
        if newest == self.version() {
            return Ok(());
        }
        let mut dataset = self.dataset.as_ref().clone();
        dataset.checkout_latest().await.map_err(|error| self.broken(error))?;
        let stamp = Stamp::newest(&dataset).await.map_err(|error| self.broken(error))?;
        if stamp.is_none_or(|stamp| stamp.writer != self.writer || stamp.ledger != self.ledger || stamp.epoch > self.applied) {
            return Err(LanceError::Fenced { path: self.path.display().to_string() });
        }
        self.dataset = Arc::new(dataset);
        Ok(())
    }

    fn committing(&self) -> CommitBuilder<'static> {
        CommitBuilder::new(Arc::clone(&self.dataset))
    }

    async fn commit(&mut self, commit: CommitBuilder<'static>, mut transaction: Transaction, epoch: u64) -> Result<(), LanceError> {
        // Set in the transaction itself: the builder drops what it is given.
        transaction.transaction_properties = Some(Arc::new(self.stamp(epoch).properties()));
        self.dataset = Arc::new(commit.execute(transaction).await.map_err(|error| self.broken(error))?);
        Ok(())
    }

    /// Commits what a merge has written.
    pub(crate) async fn commit_merge(&mut self, staged: UncommittedMergeInsert, epoch: u64) -> Result<(), LanceError> {
        let commit = match staged.affected_rows {
            Some(rows) => self.committing().with_affected_rows(rows),
            None => self.committing(),
        };
        self.commit(commit, staged.transaction, epoch).await
    }

    /// Takes out the rows for which a condition holds, and says how many those were. Commits even if there are none, unless told not to.
    pub(crate) async fn delete(&mut self, gone: Expr, epoch: u64, none_too: bool, before_commit: impl Fn() + Send) -> Result<u64, LanceError> {
        let staged = DeleteBuilder::from_expr(Arc::clone(&self.dataset), gone).execute_uncommitted().await.map_err(|error| self.broken(error))?;
        let rows = staged.num_deleted_rows;
        if rows == 0 && !none_too {
            return Ok(0);
        }
        before_commit();
        let commit = match staged.affected_rows {
            Some(rows) => self.committing().with_affected_rows(rows),
            None => self.committing(),
        };
        self.commit(commit, staged.transaction, epoch).await?;
        Ok(rows)
    }

    /// A version that changes nothing but says the epoch.
    pub(crate) async fn commit_nothing(&mut self) -> Result<(), LanceError> {
        let transaction = Transaction::new(self.version(), Operation::Append { fragments: Vec::new() }, None);
        self.commit(self.committing(), transaction, self.applied).await
    }

    /// Puts fragments together that have fewer rows than this. Rows that were taken out or replaced go from the files if they are more than a
    /// share of one.
    pub(crate) async fn compact(&mut self, small: usize, taken_out: f32) -> Result<(), LanceError> {
        let stamp = Arc::new(self.stamp(self.applied).properties());
        let options = CompactionOptions {
            transaction_properties: Some(stamp),
            target_rows_per_fragment: small,
            materialize_deletions_threshold: taken_out,
            ..CompactionOptions::default()
        };
        let mut dataset = self.dataset.as_ref().clone();
        compact_files(&mut dataset, options, None).await.map_err(|error| self.broken(error))?;
        self.dataset = Arc::new(dataset);
        Ok(())
    }

    /// Tags the newest version `e` and the epoch, and removes all but the last [`TAGS`] of these.
    pub(crate) async fn tag(&self) -> Result<String, LanceError> {
        let broken = |error: lance::Error| self.broken(error);
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
        Ok(tag)
    }

    /// Removes old versions, and what no version needs. Tagged versions stay.
    pub(crate) async fn clean(&self, policy: CleanupPolicy) -> Result<RemovalStats, LanceError> {
        let policy = CleanupPolicy { error_if_tagged_old_versions: false, ..policy };
        self.dataset.cleanup_with_policy(policy).await.map_err(|error| self.broken(error))
    }
}
