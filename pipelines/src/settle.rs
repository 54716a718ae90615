//! For whoever must know that something is out of the views, and out of what models have answered.

use std::sync::Arc;
use std::time::Duration;

use ajatus_kafka::Log;
use tokio::sync::{mpsc, watch};

use crate::memo::ToMemo;
use crate::runtime::{PipelineError, Running};
use crate::status::Status;
use crate::survey::{erase_unneeded, settled};

/// Asks a running pipeline to be done with what is on the log; clones share it.
#[derive(Clone)]
pub struct Settler {
    status: watch::Receiver<Status>,
    log: Arc<dyn Log>,
    memo: mpsc::UnboundedSender<ToMemo>,
}

/// Why a pipeline is not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettleError {
    /// Not in time; it goes on, so ask again.
    #[error("partition {partition} is in the views up to offset {applied}, and {below} was waited for")]
    Late {
        /// Of `interactions`.
        partition: u32,
        /// Everything below is in the views.
        applied: u64,
        /// What was waited for.
        below: u64,
    },
    /// It has ended.
    #[error("the pipeline has ended: {0}")]
    Ended(String),
    /// It failed.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
}

impl Running {
    /// For asking it from elsewhere.
    #[must_use]
    pub fn settler(&self) -> Settler {
        Settler { status: self.status(), log: Arc::clone(&self.log), memo: self.memo.clone() }
    }
}

impl Settler {
    /// Waits until everything of a partition below an offset is in the views, and the answers that no live turn needs any more are
    /// forgotten on the log.
    ///
    /// # Errors
    /// [`SettleError`].
    pub async fn settle(&self, partition: u32, below: u64, limit: Duration) -> Result<(), SettleError> {
        let work = async {
            let mut status = self.status.clone();
            {
                let reached = status.wait_for(|status| status.failure.is_some() || status.applied_offset(partition) >= below).await;
                let reached = reached.map_err(|_| SettleError::Ended("its tasks are gone".to_owned()))?;
                if let Some(failure) = &reached.failure {
                    return Err(SettleError::Ended(failure.clone()));
                }
            }
            // The memo is told that an epoch is in the views before the status says so, and takes one word after the other.
            settled(&self.memo).await?;
            erase_unneeded(&self.log, &self.memo).await?;
            Ok(())
        };
        match tokio::time::timeout(limit, work).await {
            Ok(done) => done,
            Err(_) => Err(SettleError::Late { partition, applied: self.status.borrow().applied_offset(partition), below }),
        }
    }
}
