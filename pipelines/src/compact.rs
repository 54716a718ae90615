//! Asks the embedded log to drop what later records replaced, once enough has been.

use std::collections::BTreeMap;
use std::sync::Arc;

use ajatus_events::topic;
use ajatus_kafka::Log;
use tokio::task::JoinSet;

/// Compacts in the background, one run at a time.
pub(crate) struct Compactor {
    log: Arc<dyn Log>,
    /// Changed rows after which it runs.
    after: u64,
    changed: u64,
    applied: BTreeMap<u32, u64>,
    running: JoinSet<()>,
}

impl Compactor {
    pub(crate) fn new(log: Arc<dyn Log>, after: u64, applied: BTreeMap<u32, u64>) -> Self {
        Self { log, after, changed: 0, applied, running: JoinSet::new() }
    }

    /// Notes an applied epoch. Only what every reader has passed may go: the pipeline is the only reader of `interactions`,
    /// reads `model-answers` at its start alone, and followers of `memory-changes` need each key's last record only.
    pub(crate) fn note(&mut self, changed: u64, positions: &[(u32, u64)]) {
        self.applied.extend(positions.iter().copied());
        self.changed += changed;
        while self.running.try_join_next().is_some() {}
        if self.changed < self.after || !self.running.is_empty() {
            return;
        }
        self.changed = 0;
        let (log, applied) = (Arc::clone(&self.log), self.applied.clone());
        self.running.spawn(async move {
            for (partition, below) in applied {
                compact(&*log, topic::INTERACTIONS, partition, below).await;
                for topic in [topic::MODEL_ANSWERS, topic::MEMORY_CHANGES] {
                    if let Ok(end) = log.end_offset(topic, partition).await {
                        compact(&*log, topic, partition, end).await;
                    }
                }
            }
        });
    }
}

async fn compact(log: &dyn Log, topic: &str, partition: u32, below: u64) {
    match log.compact(topic, partition, below).await {
        Ok(removed) => tracing::debug!(topic, partition, removed, "compacted"),
        // Tried again after as many changes; nothing is lost by waiting.
        Err(error) => tracing::warn!(topic, partition, %error, "the log could not be compacted"),
    }
}
