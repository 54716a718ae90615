//! Takes memories out of every file.

use std::sync::Arc;

use ajatus_events::{InteractionId, UserId};
use lance::dataset::cleanup::CleanupPolicy;
use lance::deps::datafusion::prelude::lit;

use super::reader::{column, of_user};
use super::writer::{FULL, MemoriesDataset};
use crate::error::LanceError;

/// What is to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Erasure {
    /// Everything of a user, also the rows that say that a memory is gone: nothing of that user may come any more.
    User(UserId),
    /// The content of some of a user's memories. Their rows are to be tombstones already, which stay until [`MemoriesDataset::maintain`] takes
    /// them out: a memory that is still there goes without one, and an older change told again would bring it back.
    Memories(UserId, Vec<InteractionId>),
}

/// What was forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Rows that were still there.
    pub rows: u64,
    /// Versions that are no longer.
    pub versions_removed: u64,
    /// Bytes that were freed.
    pub bytes_removed: u64,
}

impl MemoriesDataset {
    /// Forgets: takes rows out, writes every file anew that held them or a former state of them, makes the indexes anew, and removes all earlier
    /// versions, all tags, and files that no version needs. When it returns, no file of the folder holds the bytes (blocks that the file system
    /// has freed, and copies elsewhere, are not in its reach). If it is killed, call it again: it does everything again.
    ///
    /// # Errors
    /// [`LanceError::Foreign`] if somebody has made a branch, which keeps earlier versions: delete it first. Else as [`MemoriesDataset::apply`].
    pub async fn erase(&mut self, what: &Erasure) -> Result<Erased, LanceError> {
        self.commits.fence().await?;
        let dataset = Arc::clone(&self.commits.dataset);
        let broken = |error: lance::Error| LanceError::broken(&self.spec.path, error);
        if let Some(branch) = dataset.branches().list().await.map_err(broken)?.into_keys().next() {
            let reason = format!("branch {branch:?} keeps what is to be forgotten; delete it first");
            return Err(LanceError::Foreign { path: self.spec.path.display().to_string(), reason });
        }
        let gone = match what {
            Erasure::User(user) => of_user(*user),
            Erasure::Memories(user, ids) => {
                let ids = ids.iter().map(|id| lit(id.to_string())).collect();
                of_user(*user).and(column("deleted").eq(lit(false))).and(column("id").in_list(ids, false))
            }
        };
        let rows = self.commits.delete(gone, self.commits.applied, false, || ()).await?;
        self.commits.compact(FULL, 0.0).await?;
        self.index().await?;
        // The commits before name what they took out; of this one no file says anything.
        self.commits.commit_nothing().await?;
        let broken = |error: lance::Error| LanceError::broken(&self.spec.path, error);
        let dataset = Arc::clone(&self.commits.dataset);
        for tag in dataset.tags().list().await.map_err(broken)?.into_keys() {
            dataset.tags().delete(&tag).await.map_err(broken)?;
        }
        let removed = self.commits.clean(before(self.commits.version())).await?;
        self.commits.tag().await?;
        Ok(Erased { rows, versions_removed: removed.old_versions, bytes_removed: removed.bytes_removed })
    }
}

/// All versions before one, and all files that no version needs: those of commits that did not happen, as there is no other writer. By number, not
/// by time: clocks go back.
pub(super) fn before(version: u64) -> CleanupPolicy {
    CleanupPolicy { before_version: Some(version), delete_unverified: true, ..CleanupPolicy::default() }
}
