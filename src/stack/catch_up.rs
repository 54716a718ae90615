//! Waiting until the views have what is on the log.

use std::time::Duration;

use ajatus_events::topic;

use super::Stack;
use crate::exit::{Ended, Exit};
use crate::output::Out;

/// Longest wait.
const PATIENCE: Duration = Duration::from_secs(600);

impl Stack {
    /// Waits until everything that is on the log now is in the views, what was forgotten as well as what was said.
    ///
    /// # Errors
    /// [`Exit::Unavailable`] if that takes too long; [`Exit::Failed`] if the pipeline ends.
    pub(crate) async fn caught_up(&self, out: &Out) -> anyhow::Result<()> {
        let log = self.log();
        let mut ends = Vec::new();
        for partition in 0..log.partitions(topic::INTERACTIONS)? {
            ends.push((partition, log.end_offset(topic::INTERACTIONS, partition).await?));
        }
        let mut status = self.pipeline_status();
        let behind = |status: &ajatus_pipelines::Status| ends.iter().any(|(partition, end)| status.applied_offset(*partition) < *end);
        if behind(&status.borrow()) {
            out.note("waiting until what was said is in the views").await;
        }
        let reached = status.wait_for(|status| status.failure.is_some() || !behind(status));
        let late = || Ended::new(Exit::Unavailable, format!("what was said is not in the views after {} s; `ajatus doctor` says why", PATIENCE.as_secs()));
        let failure = tokio::time::timeout(PATIENCE, reached).await.map_err(|_| late())??.failure.clone();
        failure.map_or(Ok(()), |failure| Err(Ended::new(Exit::Failed, failure)))
    }
}
