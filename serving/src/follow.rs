//! Follows `memory-changes` into the index.
//!
//! Starts at the end of the log as it was before the applied positions were read: what lies before is in Postgres, from where
//! users are loaded. Holds always: changes of one partition are applied in order, and a frontier after the changes it closes.

use std::sync::Arc;
use std::time::Duration;

use ajatus_events::{ChangeRecord, topic};
use ajatus_kafka::{Log, LogError, wire};
use ajatus_memory::index::{Index, PIPELINE};
use ajatus_memory::postgres::{Postgres, StoreError};
use tokio::task::JoinSet;

/// Why following could not start.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The log cannot be read.
    #[error("the changes of the memory cannot be followed: {0}")]
    Log(#[from] LogError),
    /// The positions cannot be read.
    #[error("the memory's positions cannot be read: {0}")]
    Store(#[from] StoreError),
}

/// The running followers, one task per partition.
pub struct Follower {
    tasks: JoinSet<()>,
}

impl Follower {
    /// Starts following.
    ///
    /// # Errors
    /// [`FollowError`] if the log or the database cannot be read.
    pub async fn start(log: Arc<dyn Log>, db: Postgres, index: Arc<Index>) -> Result<Self, FollowError> {
        let partitions = log.partitions(topic::MEMORY_CHANGES)?;
        let mut ends = Vec::new();
        for partition in 0..partitions {
            ends.push(log.end_offset(topic::MEMORY_CHANGES, partition).await?);
        }
        let (epoch, positions) = db.positions(PIPELINE).await?;
        index.set_frontier(epoch, &positions);
        let mut tasks = JoinSet::new();
        for (partition, from) in (0..partitions).zip(ends) {
            tasks.spawn(follow(Arc::clone(&log), Arc::clone(&index), partition, from));
        }
        Ok(Self { tasks })
    }

    /// Stops it.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

async fn follow(log: Arc<dyn Log>, index: Arc<Index>, partition: u32, mut from: u64) {
    let Ok(mut appended) = log.appended(topic::MEMORY_CHANGES) else { return };
    let mut pause = Duration::from_millis(50);
    loop {
        appended.borrow_and_update();
        match log.read(topic::MEMORY_CHANGES, partition, from, 1_000).await {
            Ok(chunk) => {
                pause = Duration::from_millis(50);
                for entry in chunk.entries {
                    let Some(value) = entry.value else { continue };
                    apply(&index, partition, entry.offset, &value).await;
                }
                if chunk.next > from {
                    from = chunk.next;
                } else if appended.changed().await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(partition, %error, "the changes of the memory could not be read yet; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
        }
    }
}

async fn apply(index: &Index, partition: u32, offset: u64, value: &[u8]) {
    let record = match wire::decode::<ChangeRecord>(value) {
        Ok(record) => record,
        Err(error) => {
            tracing::error!(partition, offset, %error, "a change of the memory cannot be read and was left out");
            return;
        }
    };
    if let Err(error) = index.apply(&record).await {
        tracing::error!(partition, offset, %error, "a change of the memory was left out of the index until its user is loaded again");
    }
}
