//! Lance datasets for pipelines.

use std::path::Path;
use std::sync::Arc;

use ajatus_lance::{At, Care, LanceError, Scan, Table, TableSpec};
use ajatus_pipelines::stream::{Columnar, ColumnarScan, ColumnarSpec, ColumnarTable, ColumnarVersion, StreamError};
use arrow::array::RecordBatch;
use async_trait::async_trait;

/// Who knows Lance datasets.
pub(crate) fn columnar() -> Arc<dyn Columnar> {
    Arc::new(Datasets)
}

struct Datasets;

struct Kept {
    sink: String,
    table: Table,
    care: Care,
}

struct Opened(Scan);

fn unreadable(path: &Path, error: LanceError) -> StreamError {
    let reason = match error {
        LanceError::Version { what, newest, .. } => format!("it has no {what}; the newest version is {newest}"),
        LanceError::Missing { .. } => "there is no dataset".to_owned(),
        LanceError::Schema { reason, .. } => format!("it {reason}"),
        LanceError::Broken { reason, .. } => reason,
        other => other.to_string(),
    };
    StreamError::Damaged { path: path.display().to_string(), reason }
}

#[async_trait]
impl Columnar for Datasets {
    async fn keep(&self, spec: ColumnarSpec) -> Result<Box<dyn ColumnarTable>, StreamError> {
        let refused = |error: LanceError| StreamError::Sink { sink: spec.sink.clone(), reason: error.to_string() };
        let table = TableSpec { path: spec.path, schema: spec.schema, key: spec.key, writer: spec.pipeline, ledger: spec.ledger };
        let table = Table::open(table).await.map_err(refused)?;
        let care = Care { history: spec.history, ..Care::default() };
        Ok(Box::new(Kept { sink: spec.sink, table, care }))
    }

    async fn scan(&self, path: &Path, version: &ColumnarVersion, columns: &[String]) -> Result<Box<dyn ColumnarScan>, StreamError> {
        let at = match version {
            ColumnarVersion::Newest => At::Newest,
            ColumnarVersion::Number(version) => At::Version(*version),
            ColumnarVersion::Tag(tag) => At::Tag(tag.clone()),
        };
        Ok(Box::new(Opened(Scan::open(path, &at, columns).await.map_err(|error| unreadable(path, error))?)))
    }
}

impl Kept {
    fn refused(&self, error: &LanceError) -> StreamError {
        StreamError::Sink { sink: self.sink.clone(), reason: error.to_string() }
    }
}

#[async_trait]
impl ColumnarTable for Kept {
    fn applied(&self) -> u64 {
        self.table.applied()
    }

    async fn apply(&mut self, epoch: u64, upserts: RecordBatch, deletes: RecordBatch, again: bool, before_commit: fn()) -> Result<(), StreamError> {
        let applied = if again {
            self.table.write(epoch, &upserts, &deletes, before_commit).await
        } else {
            self.table.apply(epoch, &upserts, &deletes, before_commit).await
        };
        applied.map_err(|error| self.refused(&error))
    }

    async fn rows(&self) -> Result<Vec<RecordBatch>, StreamError> {
        self.table.rows().await.map_err(|error| self.refused(&error))
    }

    async fn tend(&mut self) -> Result<(), StreamError> {
        let tended = self.table.tend(&self.care, false).await;
        if let Some(cared) = tended.map_err(|error| self.refused(&error))? {
            let (before, after) = cared.fragments;
            tracing::info!(sink = self.sink, tag = cared.tag, fragments.before = before, fragments.after = after, versions.removed = cared.versions_removed, "a dataset was tidied up");
        }
        Ok(())
    }
}

#[async_trait]
impl ColumnarScan for Opened {
    fn version(&self) -> u64 {
        self.0.version()
    }

    fn rows(&self) -> u64 {
        self.0.rows()
    }

    async fn read(&self, from: u64, most: usize) -> Result<Vec<RecordBatch>, StreamError> {
        self.0.read(from, most).await.map_err(|error| StreamError::Damaged { path: "a Lance dataset".to_owned(), reason: error.to_string() })
    }
}
