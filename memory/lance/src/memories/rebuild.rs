//! Makes a dataset anew beside the old one, and puts it in its place.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::{Stream, StreamExt as _, stream};
use lance::dataset::{InsertBuilder, WriteMode, WriteParams};

use super::erase::before;
use super::row::{MemoryRow, batch, check};
use super::writer::{FULL, MemoriesDataset, MemoriesSpec, WRITER};
use crate::commits::Commits;
use crate::error::LanceError;

/// Rows of a commit.
const PIECE: usize = 8_192;

/// Files and folders that a dataset consists of.
const PARTS: [&str; 7] = ["_versions", "_transactions", "_indices", "_deletions", "_refs", "data", "_latest.manifest"];

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.file_name().map(OsString::from).unwrap_or_default();
    name.push(end);
    path.with_file_name(name)
}

/// Refuses a folder that holds something else than a dataset, whatever state that is in.
fn check_parts(path: &Path) -> Result<(), LanceError> {
    for entry in fs::read_dir(path).map_err(|error| LanceError::broken(path, error))? {
        let name = entry.map_err(|error| LanceError::broken(path, error))?.file_name();
        if !PARTS.iter().any(|part| name == *part) {
            let reason = format!("it holds {}, which is no part of a dataset", name.display());
            return Err(LanceError::Foreign { path: path.display().to_string(), reason });
        }
    }
    Ok(())
}

/// Removes a dataset, if there is one.
fn remove(path: &Path) -> Result<(), LanceError> {
    if !path.exists() {
        return Ok(());
    }
    check_parts(path)?;
    fs::remove_dir_all(path).map_err(|error| LanceError::broken(path, error))
}

fn rename(from: &Path, to: &Path) -> Result<(), LanceError> {
    fs::rename(from, to).map_err(|error| LanceError::broken(to, error))
}

/// Ends a rebuilding that was killed: the new dataset takes its place if the old one had made room, else it goes.
pub(super) fn settle(path: &Path) -> Result<(), LanceError> {
    let (old, new) = (beside(path, ".old"), beside(path, ".new"));
    if old.exists() && new.exists() && !path.exists() {
        rename(&new, path)?;
    }
    remove(&new)?;
    if path.exists() { remove(&old) } else if old.exists() { rename(&old, path) } else { Ok(()) }
}

impl MemoriesDataset {
    /// Makes the dataset anew from a store's rows, each memory once, as they are at an epoch; in place of one that is lost, damaged or wrong. What
    /// was there is removed, with its versions and tags, when the new one is complete.
    ///
    /// # Errors
    /// [`LanceError::Row`], [`LanceError::Broken`] if a file cannot be written; [`LanceError::Foreign`] if the folder holds something that is no part
    /// of a dataset. What was there stays then.
    pub async fn rebuild(spec: MemoriesSpec, rows: impl IntoIterator<Item = MemoryRow>, epoch: u64) -> Result<Self, LanceError> {
        let mut rows = rows.into_iter();
        let pieces = std::iter::from_fn(move || {
            let piece: Vec<MemoryRow> = rows.by_ref().take(PIECE).collect();
            (!piece.is_empty()).then_some(Ok(piece))
        });
        Self::rebuild_from(spec, stream::iter(pieces), epoch, String::new()).await
    }

    /// As [`MemoriesDataset::rebuild`], from rows that come in pieces of some thousand each; `note` is kept with the dataset
    /// ([`MemoriesDataset::note`]).
    ///
    /// # Errors
    /// As there, and what the stream gives.
    pub async fn rebuild_from<E: From<LanceError>>(
        spec: MemoriesSpec,
        pieces: impl Stream<Item = Result<Vec<MemoryRow>, E>>,
        epoch: u64,
        note: String,
    ) -> Result<Self, E> {
        settle(&spec.path)?;
        if spec.path.exists() {
            // Before the work, not after it.
            check_parts(&spec.path)?;
        }
        let (old, new) = (beside(&spec.path, ".old"), beside(&spec.path, ".new"));
        let commits = Commits::begin(&new, WRITER, &spec.source, spec.schema(), WriteMode::Create).await?;
        let mut made = Self { spec: MemoriesSpec { path: new.clone(), ..spec.clone() }, commits };
        made.commits.note = note;
        let mut pieces = std::pin::pin!(pieces);
        while let Some(piece) = pieces.next().await {
            made.append(&piece?).await?;
        }
        made.commits.applied = epoch;
        made.commits.compact(FULL, 0.0).await?;
        made.index().await?;
        made.commits.commit_nothing().await?;
        made.commits.clean(before(made.commits.version())).await?;
        drop(made);
        if spec.path.exists() {
            // Whatever is wrong with it, it is a dataset.
            remove(&old)?;
            check_parts(&spec.path)?;
            rename(&spec.path, &old)?;
        }
        rename(&new, &spec.path)?;
        remove(&old)?;
        Ok(Self::open(spec).await?)
    }

    async fn append(&mut self, rows: &[MemoryRow]) -> Result<(), LanceError> {
        check(rows, self.spec.dimension)?;
        let batch = batch(rows, self.spec.dimension).map_err(|error| self.commits.broken(error))?;
        let stamp = Arc::new(self.commits.stamp(0).properties());
        let params = WriteParams { mode: WriteMode::Append, transaction_properties: Some(stamp), ..WriteParams::default() };
        let written = InsertBuilder::new(Arc::clone(&self.commits.dataset)).with_params(&params).execute(vec![batch]).await;
        self.commits.dataset = Arc::new(written.map_err(|error| self.commits.broken(error))?);
        Ok(())
    }
}
