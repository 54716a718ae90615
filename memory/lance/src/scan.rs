//! Reads one version of a dataset.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::{FutureExt as _, TryStreamExt as _};
use lance::Dataset;
use lance::dataset::builder::DatasetBuilder;
use lance::session::Session;

use crate::error::LanceError;

/// Which version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum At {
    /// The newest one when it is opened.
    #[default]
    Newest,
    /// That number.
    Version(u64),
    /// The one with that tag.
    Tag(String),
}

/// One version of a dataset, open for reading. What it gives never changes, whatever is committed meanwhile.
pub struct Scan {
    dataset: Arc<Dataset>,
    path: PathBuf,
    columns: Vec<String>,
    rows: u64,
}

/// A local path, whatever its letters: a colon in it is no scheme.
pub(crate) fn absolute(path: &Path) -> Result<String, LanceError> {
    std::path::absolute(path).map(|path| path.display().to_string()).map_err(|error| LanceError::broken(path, error))
}

/// Bytes of indexes that an open dataset remembers at most; the library's own default is 6 GiB.
const INDEXES: usize = 64 << 20;
/// Bytes of manifests and of files' descriptions that it remembers at most; the library's own default is 1 GiB.
const DESCRIPTIONS: usize = 32 << 20;

/// What an open dataset remembers of its files.
pub(crate) fn session() -> Arc<Session> {
    Arc::new(Session::new(INDEXES, DESCRIPTIONS, Arc::default()))
}

/// Opens the newest version of what lies in a folder.
pub(crate) async fn open(path: &Path) -> Result<Dataset, LanceError> {
    let place = absolute(path)?;
    guarded(path, async {
        match DatasetBuilder::from_uri(&place).with_session(session()).load().await {
            Ok(dataset) => Ok(Ok(dataset)),
            Err(lance::Error::DatasetNotFound { .. } | lance::Error::NotFound { .. }) => Ok(Err(LanceError::Missing { path: path.display().to_string() })),
            Err(error) => Err(error),
        }
    })
    .await?
}

/// Does something that reads files which may be cut: the library panics over some of those.
pub(crate) async fn guarded<T>(path: &Path, work: impl Future<Output = Result<T, lance::Error>>) -> Result<T, LanceError> {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(done) => done.map_err(|error| LanceError::broken(path, error)),
        Err(_) => Err(LanceError::broken(path, "the library panicked over a file of it")),
    }
}

impl Scan {
    /// Opens these columns of a version.
    ///
    /// # Errors
    /// [`LanceError::Missing`] without a dataset, [`LanceError::Version`] without the version or the tag, [`LanceError::Schema`] if a column
    /// is not there, [`LanceError::Broken`] if it cannot be read.
    pub async fn open(path: &Path, at: &At, columns: &[String]) -> Result<Self, LanceError> {
        let newest = open(path).await?;
        let gone = |what: String| LanceError::Version { path: path.display().to_string(), what, newest: newest.version().version };
        let dataset = match at {
            At::Newest => newest.clone(),
            At::Version(version) => newest.checkout_version(*version).await.map_err(|_| gone(format!("version {version}")))?,
            At::Tag(tag) => newest.checkout_version(tag.as_str()).await.map_err(|_| gone(format!("tag {tag:?}")))?,
        };
        for column in columns {
            if dataset.schema().field(column).is_none() {
                let there: Vec<&str> = dataset.schema().fields.iter().map(|field| field.name.as_str()).collect();
                let reason = format!("has no column {column:?}; it has {}", there.join(", "));
                return Err(LanceError::Schema { path: path.display().to_string(), reason });
            }
        }
        let rows = dataset.count_rows(None).await.map_err(|error| LanceError::broken(path, error))?;
        Ok(Self { dataset: Arc::new(dataset), path: path.to_owned(), columns: columns.to_vec(), rows: rows as u64 })
    }

    /// Which version it is.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.dataset.version().version
    }

    /// How many rows it has.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Names and types of all columns of the dataset.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::new(self.dataset.schema().into())
    }

    /// Reads `most` rows at most from row `from` on, in the order of the version; fewer only at its end.
    ///
    /// # Errors
    /// [`LanceError::Broken`] if a file is missing or damaged.
    pub async fn read(&self, from: u64, most: usize) -> Result<Vec<RecordBatch>, LanceError> {
        let failed = |error: lance::Error| LanceError::broken(&self.path, error);
        if from >= self.rows || most == 0 {
            return Ok(Vec::new());
        }
        let mut scan = self.dataset.scan();
        scan.project(&self.columns).map_err(failed)?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        scan.limit(Some(most), Some(i64::try_from(from).unwrap_or(i64::MAX))).map_err(failed)?;
        scan.scan_in_order(true);
        scan.try_into_stream().await.map_err(failed)?.try_collect().await.map_err(failed)
    }
}
