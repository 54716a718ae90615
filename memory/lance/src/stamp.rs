//! What every commit of a writer says about itself, in the transaction's own properties.

use std::collections::HashMap;

use lance::Dataset;
use lance::dataset::transaction::Transaction;

const WRITER: &str = "ajatus.writer";
const LEDGER: &str = "ajatus.ledger";
const EPOCH: &str = "ajatus.epoch";
const NOTE: &str = "ajatus.note";

/// Versions that are looked at, newest first. Between two stamped commits stand only the few that the library makes by itself within one
/// compaction, and those that people make, e.g. an index.
const BACK: usize = 256;

/// Who wrote, and up to which epoch of which ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) writer: String,
    pub(crate) ledger: String,
    pub(crate) epoch: u64,
    /// What the writer wants to know when it goes on; may be empty.
    pub(crate) note: String,
}

impl Stamp {
    pub(crate) fn properties(&self) -> HashMap<String, String> {
        let mut properties =
            HashMap::from([(WRITER.to_owned(), self.writer.clone()), (LEDGER.to_owned(), self.ledger.clone()), (EPOCH.to_owned(), self.epoch.to_string())]);
        if !self.note.is_empty() {
            properties.insert(NOTE.to_owned(), self.note.clone());
        }
        properties
    }

    fn of(properties: &HashMap<String, String>) -> Option<Self> {
        let note = properties.get(NOTE).cloned().unwrap_or_default();
        Some(Self { writer: properties.get(WRITER)?.clone(), ledger: properties.get(LEDGER)?.clone(), epoch: properties.get(EPOCH)?.parse().ok()?, note })
    }

    /// The stamp of a commit.
    pub(crate) fn of_transaction(transaction: &Transaction) -> Option<Self> {
        Self::of(transaction.transaction_properties.as_ref()?)
    }

    /// The newest stamp at or before a version.
    pub(crate) async fn newest(dataset: &Dataset) -> Result<Option<Self>, lance::Error> {
        let mut at = dataset.clone();
        for _ in 0..BACK {
            let found = at.read_transaction().await?;
            if let Some(stamp) = found.as_ref().and_then(Self::of_transaction) {
                return Ok(Some(stamp));
            }
            let Some(before) = at.version().version.checked_sub(1).filter(|version| *version > 0) else { return Ok(None) };
            match at.checkout_version(before).await {
                Ok(older) => at = older,
                // Cleaned up.
                Err(lance::Error::DatasetNotFound { .. } | lance::Error::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}
