//! Reads one version of the memories.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ajatus_events::{Checksum, InteractionId, UserId};
use arrow::array::{AsArray as _, Float32Array, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, UInt64Type};
use futures::TryStreamExt as _;
use lance::Dataset;
use lance::dataset::scanner::Scanner;
use lance::deps::datafusion::common::Column;
use lance::deps::datafusion::logical_expr::Expr;
use lance::deps::datafusion::prelude::lit;
use lance_linalg::distance::MetricType;
use uuid::Uuid;

use super::row::{MemoryRow, rows};
use super::writer::WRITER;
use crate::error::LanceError;
use crate::scan::{At, guarded, open};
use crate::stamp::Stamp;

/// One version of the memories, open for reading. It never changes.
#[derive(Clone)]
pub struct Memories {
    dataset: Arc<Dataset>,
    path: PathBuf,
    epoch: u64,
    source: String,
}

/// A memory near a vector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Near {
    /// The memory.
    pub id: InteractionId,
    /// Inner product with the vector.
    pub score: f32,
}

/// A column, by its name.
pub(super) fn column(name: &str) -> Expr {
    Expr::Column(Column::from_name(name))
}

/// The rows of a user.
pub(super) fn of_user(user: UserId) -> Expr {
    column("user_id").eq(lit(user.to_string()))
}

fn there() -> Expr {
    column("deleted").eq(lit(false))
}

impl Memories {
    /// Opens a version.
    ///
    /// # Errors
    /// [`LanceError::Missing`] without a dataset, [`LanceError::Version`] without the version or tag, [`LanceError::Foreign`] if it does not hold
    /// memories, [`LanceError::Broken`] if it cannot be read.
    pub async fn open(path: &Path, at: &At) -> Result<Self, LanceError> {
        let newest = open(path).await?;
        let gone = |what: String| LanceError::Version { path: path.display().to_string(), what, newest: newest.version().version };
        let dataset = match at {
            At::Newest => newest.clone(),
            At::Version(version) => newest.checkout_version(*version).await.map_err(|_| gone(format!("version {version}")))?,
            At::Tag(tag) => newest.checkout_version(tag.as_str()).await.map_err(|_| gone(format!("tag {tag:?}")))?,
        };
        let stamp = guarded(path, Stamp::newest(&dataset)).await?;
        match stamp.filter(|stamp| stamp.writer == WRITER) {
            Some(stamp) => Ok(Self::at(path, Arc::new(dataset), stamp.epoch, &stamp.ledger)),
            None => Err(LanceError::Foreign { path: path.display().to_string(), reason: "it does not hold memories".to_owned() }),
        }
    }

    /// Opens the newest version, tagged or not, that has no change after an epoch.
    ///
    /// # Errors
    /// As [`Memories::open`]; [`LanceError::Version`] if all that are left are newer.
    pub async fn as_of(path: &Path, epoch: u64) -> Result<Self, LanceError> {
        let newest = open(path).await?;
        let mut versions: Vec<u64> = guarded(path, newest.versions()).await?.into_iter().map(|version| version.version).collect();
        versions.sort_unstable();
        for version in versions.into_iter().rev() {
            let transaction = guarded(path, newest.read_transaction_by_version(version)).await?;
            // Those without a stamp are steps of the library's own between two that have one.
            let stamp = transaction.as_ref().and_then(Stamp::of_transaction).filter(|stamp| stamp.writer == WRITER && stamp.epoch <= epoch);
            if let Some(stamp) = stamp {
                let dataset = guarded(path, newest.checkout_version(version)).await?;
                return Ok(Self::at(path, Arc::new(dataset), stamp.epoch, &stamp.ledger));
            }
        }
        Err(LanceError::Version { path: path.display().to_string(), what: format!("version of epoch {epoch} or before"), newest: newest.version().version })
    }

    pub(super) fn at(path: &Path, dataset: Arc<Dataset>, epoch: u64, source: &str) -> Self {
        Self { dataset, path: path.to_owned(), epoch, source: source.to_owned() }
    }

    /// Which version it is.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.dataset.version().version
    }

    /// Changes up to this epoch are in.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whose epochs are told, as its writer named it.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// One user's memories that are there, in no order.
    ///
    /// # Errors
    /// [`LanceError::Broken`] if a file is missing or damaged.
    pub async fn user_rows(&self, user: UserId) -> Result<Vec<MemoryRow>, LanceError> {
        let mut all = Vec::new();
        for batch in self.read(self.scan(of_user(user).and(there()))).await? {
            all.extend(rows(&batch, &self.path)?);
        }
        Ok(all)
    }

    /// The `k` memories of a user whose vectors have the largest product with one, largest first: by a scan of that user's vectors, so none is
    /// missed.
    ///
    /// # Errors
    /// [`LanceError::Schema`] if the vector has another length than the dataset's, [`LanceError::Broken`] if a file is missing or damaged.
    pub async fn nearest(&self, user: UserId, vector: &[f32], k: usize) -> Result<Vec<Near>, LanceError> {
        let held = match self.dataset.schema().field("vector").map(|field| field.data_type()) {
            Some(DataType::FixedSizeList(_, length)) => usize::try_from(length).unwrap_or_default(),
            _ => 0,
        };
        if vector.len() != held {
            let reason = format!("holds vectors of {held} components, but one of {} was given", vector.len());
            return Err(LanceError::Schema { path: self.path.display().to_string(), reason });
        }
        if k == 0 {
            return Ok(Vec::new());
        }
        let mut scan = self.scan(of_user(user).and(there()));
        let failed = |error: lance::Error| self.broken(error);
        scan.project(&["id", "_distance"]).map_err(failed)?;
        scan.nearest("vector", &Float32Array::from(vector.to_vec()), k).map_err(failed)?;
        scan.distance_metric(MetricType::Dot).use_index(false).prefilter(true);
        let mut near = Vec::new();
        for batch in self.read(scan).await? {
            let (ids, distances) = (self.uuids(&batch, "id")?, batch.column_by_name("_distance").and_then(|column| column.as_primitive_opt::<Float32Type>()));
            let distances = distances.ok_or_else(|| self.broken("the distances are missing"))?;
            // The library's distance is 1 less the product.
            near.extend(ids.into_iter().zip(distances.values()).map(|(id, distance)| Near { id: InteractionId(id), score: 1.0 - distance }));
        }
        Ok(near)
    }

    /// For each user the count and the sum over the memories that are there, to compare with the other stores at an equal epoch.
    ///
    /// # Errors
    /// [`LanceError::Broken`] if a file is missing or damaged.
    pub async fn checksums(&self) -> Result<BTreeMap<UserId, Checksum>, LanceError> {
        self.sums(there()).await
    }

    /// As [`Memories::checksums`], of one user.
    ///
    /// # Errors
    /// As [`Memories::checksums`].
    pub async fn checksum(&self, user: UserId) -> Result<Checksum, LanceError> {
        Ok(self.sums(of_user(user).and(there())).await?.remove(&user).unwrap_or_default())
    }

    async fn sums(&self, filter: Expr) -> Result<BTreeMap<UserId, Checksum>, LanceError> {
        let mut scan = self.scan(filter);
        scan.project(&["id", "user_id", "epoch"]).map_err(|error| self.broken(error))?;
        let mut stream = scan.try_into_stream().await.map_err(|error| self.broken(error))?;
        let mut sums: BTreeMap<UserId, Checksum> = BTreeMap::new();
        while let Some(batch) = stream.try_next().await.map_err(|error| self.broken(error))? {
            let epochs = batch.column_by_name("epoch").and_then(|column| column.as_primitive_opt::<UInt64Type>());
            let epochs = epochs.ok_or_else(|| self.broken("the epochs are missing"))?;
            let keys = self.uuids(&batch, "user_id")?.into_iter().zip(self.uuids(&batch, "id")?);
            for ((user, id), epoch) in keys.zip(epochs.values()) {
                sums.entry(UserId(user)).or_default().add(user.as_u128(), id.as_u128(), *epoch);
            }
        }
        Ok(sums)
    }

    fn scan(&self, filter: Expr) -> Scanner {
        let mut scan = self.dataset.scan();
        scan.filter_expr(filter);
        scan
    }

    async fn read(&self, scan: Scanner) -> Result<Vec<RecordBatch>, LanceError> {
        let failed = |error: lance::Error| self.broken(error);
        scan.try_into_stream().await.map_err(failed)?.try_collect().await.map_err(failed)
    }

    fn uuids(&self, batch: &RecordBatch, name: &str) -> Result<Vec<Uuid>, LanceError> {
        let texts = batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
        let texts = texts.ok_or_else(|| self.broken(format!("column {name} is missing")))?;
        texts.iter().map(|text| text.unwrap_or_default().parse().map_err(|error| self.broken(format!("column {name}: {error}")))).collect()
    }

    fn broken(&self, error: impl std::fmt::Display) -> LanceError {
        LanceError::broken(&self.path, error)
    }
}
