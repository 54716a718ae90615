//! The one writer of the memories.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use ajatus_events::{InteractionId, UserId};
use arrow::datatypes::SchemaRef;
use lance::dataset::{MergeInsertBuilder, WhenMatched, WhenNotMatched, WhenNotMatchedBySource, WriteMode};
use lance::deps::datafusion::prelude::lit;
use lance::index::DatasetIndexExt as _;
use lance_index::IndexType;
use lance_index::scalar::{BuiltinIndexType, ScalarIndexParams};

use super::reader::{Memories, column, of_user};
use super::rebuild;
use super::row::{MemoryRow, batch, check, memories_schema};
use crate::columns::same_columns;
use crate::commits::{Commits, Found, find};
use crate::error::LanceError;
use crate::table::{Care, Cared};

/// Whose stamps these are.
pub(crate) const WRITER: &str = "ajatus memories";

/// Rows that a fragment is filled up to, about 30 MB. Those that have so many are left alone, so that tidying up writes what is new, not all, and
/// tags share them.
pub(super) const FULL: usize = 1 << 14;

/// What the dataset is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoriesSpec {
    /// Its folder; made if it is not there.
    pub path: PathBuf,
    /// Components of each vector.
    pub dimension: usize,
    /// Whose epochs are told, e.g. the name of the pipeline's run of record. Memories of another source are not these: the dataset is emptied.
    pub source: String,
}

impl MemoriesSpec {
    pub(super) fn schema(&self) -> SchemaRef {
        memories_schema(self.dimension)
    }
}

/// What applying did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Memories, or notes that one is gone, that were not there before.
    pub inserted: u64,
    /// Rows that a newer epoch has replaced.
    pub updated: u64,
}

/// The memories, open for writing. One at a time: another that is opened ends this one.
pub struct MemoriesDataset {
    pub(super) spec: MemoriesSpec,
    pub(super) commits: Commits,
}

impl MemoriesDataset {
    /// Opens the dataset, or makes it. A rebuilding that was killed between its two renames is finished, an earlier one is thrown away.
    ///
    /// # Errors
    /// [`LanceError::Foreign`] if something else lies in the folder, [`LanceError::Schema`] if it has other columns, e.g. vectors of another
    /// length, [`LanceError::Broken`] if it cannot be read: then [`MemoriesDataset::rebuild`].
    pub async fn open(spec: MemoriesSpec) -> Result<Self, LanceError> {
        rebuild::settle(&spec.path)?;
        let begin = async |mode| Commits::begin(&spec.path, WRITER, &spec.source, spec.schema(), mode).await;
        let commits = match find(&spec.path, WRITER).await? {
            Found::Nothing => begin(WriteMode::Create).await?,
            Found::Ours(dataset, stamp) => {
                same_columns(&spec.path, &spec.schema(), &dataset)?;
                if stamp.ledger == spec.source { Commits::go_on(&spec.path, dataset, stamp) } else { begin(WriteMode::Overwrite).await? }
            }
        };
        Ok(Self { spec, commits })
    }

    /// Changes up to this epoch are in. After an opening: up to the one that the newest version says, those after it are to be applied again.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.commits.applied
    }

    /// What the writer noted with the newest commit; empty if nothing.
    #[must_use]
    pub fn note(&self) -> &str {
        &self.commits.note
    }

    /// Notes something, to be kept with each commit from the next on; e.g. where in the stream of changes to read on.
    pub fn set_note(&mut self, note: String) {
        self.commits.note = note;
    }

    /// The newest version, to read.
    #[must_use]
    pub fn memories(&self) -> Memories {
        Memories::at(&self.spec.path, Arc::clone(&self.commits.dataset), self.commits.applied, &self.spec.source)
    }

    /// Small pieces that the rows lie in; full ones, of 16,384 rows, are not counted.
    #[must_use]
    pub fn fragments(&self) -> usize {
        self.commits.small_fragments(FULL)
    }

    /// Brings changes up to an epoch in, by one commit that says the epoch: a row replaces one of an older epoch only, so changes may come twice
    /// and in any order. Of several changes of one memory the newest counts. If nothing changes, nothing is committed. `before_commit` is called
    /// when all files are written.
    ///
    /// # Errors
    /// [`LanceError::Row`] for a vector of another length or one with NaN in it, [`LanceError::Fenced`] if another writes it now,
    /// [`LanceError::Missing`] if it was deleted, [`LanceError::Broken`]. Nothing is in then.
    pub async fn apply(&mut self, rows: &[MemoryRow], epoch: u64, before_commit: impl Fn() + Send) -> Result<Merged, LanceError> {
        check(rows, self.spec.dimension)?;
        self.commits.fence().await?;
        let epoch = epoch.max(self.commits.applied);
        let mut newest: HashMap<(UserId, InteractionId), &MemoryRow> = HashMap::new();
        for row in rows {
            let held = newest.entry((row.user_id, row.id)).or_insert(row);
            if held.epoch < row.epoch {
                *held = row;
            }
        }
        let mut merged = Merged::default();
        if !newest.is_empty() {
            let broken = |error: lance::Error| LanceError::broken(&self.spec.path, error);
            let mut rows: Vec<MemoryRow> = newest.into_values().cloned().collect();
            rows.sort_unstable_by_key(|row| (row.user_id, row.id));
            let batch = batch(&rows, self.spec.dimension).map_err(|error| self.commits.broken(error))?;
            let keys = vec!["id".to_owned(), "user_id".to_owned()];
            let mut merge = MergeInsertBuilder::try_new(Arc::clone(&self.commits.dataset), keys).map_err(broken)?;
            merge.when_matched(WhenMatched::update_if(&self.commits.dataset, "source.epoch > target.epoch").map_err(broken)?);
            merge.when_not_matched(WhenNotMatched::InsertAll);
            let staged = merge.try_build().map_err(broken)?.execute_uncommitted_batches(vec![batch]).await.map_err(broken)?;
            merged = Merged { inserted: staged.stats.num_inserted_rows, updated: staged.stats.num_updated_rows };
            if merged != Merged::default() {
                before_commit();
                self.commits.commit_merge(staged, epoch).await?;
            }
        }
        self.commits.applied = epoch;
        Ok(merged)
    }

    /// Makes a user's rows anew, by one commit: what is there goes, whatever its epoch, and these come. For mending: else see
    /// [`MemoriesDataset::apply`].
    ///
    /// # Errors
    /// As [`MemoriesDataset::apply`]; [`LanceError::Row`] also for a row of another user.
    pub async fn replace(&mut self, user: UserId, rows: &[MemoryRow]) -> Result<(), LanceError> {
        check(rows, self.spec.dimension)?;
        if let Some(row) = rows.iter().find(|row| row.user_id != user) {
            return Err(LanceError::Row { id: row.id.to_string(), reason: "it is another user's".to_owned() });
        }
        self.commits.fence().await?;
        if rows.is_empty() {
            return self.commits.delete(of_user(user), self.commits.applied, false, || ()).await.map(drop);
        }
        let broken = |error: lance::Error| LanceError::broken(&self.spec.path, error);
        let batch = batch(rows, self.spec.dimension).map_err(|error| self.commits.broken(error))?;
        let keys = vec!["id".to_owned(), "user_id".to_owned()];
        let mut merge = MergeInsertBuilder::try_new(Arc::clone(&self.commits.dataset), keys).map_err(broken)?;
        merge.when_matched(WhenMatched::UpdateAll).when_not_matched(WhenNotMatched::InsertAll);
        merge.when_not_matched_by_source(WhenNotMatchedBySource::DeleteIf(of_user(user)));
        let staged = merge.try_build().map_err(broken)?.execute_uncommitted_batches(vec![batch]).await.map_err(broken)?;
        self.commits.commit_merge(staged, self.commits.applied).await
    }

    /// Tidies up if there are many small fragments, or more than a tenth of the rows are replaced ones, or `always`: takes out rows that say that a memory
    /// is gone since `safe` or before (no change older than that may come any more), puts fragments together, makes the indexes anew, tags the
    /// epoch and keeps the last 8 tags, and removes versions past the history. The last version that it leaves says its epoch.
    ///
    /// # Errors
    /// As [`MemoriesDataset::apply`]. What was applied stays.
    pub async fn maintain(&mut self, care: &Care, safe: u64, always: bool) -> Result<Option<Cared>, LanceError> {
        self.commits.fence().await?;
        let before = self.fragments();
        if before <= care.fragments && !always && !self.worn().await? {
            return Ok(None);
        }
        let spent = column("deleted").eq(lit(true)).and(column("epoch").lt_eq(lit(safe)));
        let rows_purged = self.commits.delete(spent, self.commits.applied, false, || ()).await?;
        self.commits.compact(FULL, 0.1).await?;
        self.index().await?;
        self.commits.commit_nothing().await?;
        let tag = self.commits.tag().await?;
        let removed = self.commits.clean(care.policy()).await?;
        let fragments = (before, self.fragments());
        Ok(Some(Cared { fragments, tag, rows_purged, versions_removed: removed.old_versions, bytes_removed: removed.bytes_removed }))
    }

    /// Whether more than a tenth of the rows in the files are replaced or taken out.
    async fn worn(&self) -> Result<bool, LanceError> {
        let gone = self.commits.dataset.count_deleted_rows().await.map_err(|error| self.commits.broken(error))?;
        let left = self.commits.dataset.count_rows(None).await.map_err(|error| self.commits.broken(error))?;
        Ok(gone * 10 > gone + left)
    }

    /// Makes the indexes anew: by id for merges, by user for reads. None over the vectors: a scan of one user's is exact and quick.
    pub(super) async fn index(&mut self) -> Result<(), LanceError> {
        let mut dataset = self.commits.dataset.as_ref().clone();
        let kinds = [("id", IndexType::BTree, BuiltinIndexType::BTree), ("user_id", IndexType::Bitmap, BuiltinIndexType::Bitmap)];
        for (name, index, kind) in kinds {
            let parameters = ScalarIndexParams::for_builtin(kind);
            let made = dataset.create_index(&[name], index, Some(format!("{name}_index")), &parameters, true).await;
            made.map_err(|error| self.commits.broken(error))?;
        }
        self.commits.dataset = Arc::new(dataset);
        Ok(())
    }
}
