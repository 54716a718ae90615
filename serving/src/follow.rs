//! Follows `memory-changes` into the index.
//!
//! Starts at the end of the log as it was before the applied positions were read: what lies before is in Postgres, from where
//! users are loaded.
//!
//! Holds always: changes of one partition are applied in order, and a frontier after the changes it closes; a log or a database
//! that fails for a while delays changes and loses none.
//! Not promised: that a change which cannot be opened at all is in (it is reported, and its user is right again when next loaded).
//! After a crash: starts from what is applied, as at any start.

use std::sync::Arc;
use std::time::Duration;

use ajatus_events::{ChangeRecord, topic};
use ajatus_kafka::{Log, LogError, wire};
use ajatus_memory::index::{Index, PIPELINE};
use ajatus_memory::postgres::{Postgres, StoreError};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Pause after a first failure; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause between tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Tries at a change that is refused although the database answers.
const TRIES: u32 = 3;

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
            let appended = log.appended(topic::MEMORY_CHANGES)?;
            let one = Partition { log: Arc::clone(&log), db: db.clone(), index: Arc::clone(&index), partition };
            tasks.spawn(async move { one.follow(from, appended).await });
        }
        Ok(Self { tasks })
    }

    /// Stops it.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

/// Follows one partition.
struct Partition {
    log: Arc<dyn Log>,
    db: Postgres,
    index: Arc<Index>,
    partition: u32,
}

impl Partition {
    async fn follow(self, mut from: u64, mut appended: watch::Receiver<u64>) {
        let partition = self.partition;
        let mut pause = FIRST_PAUSE;
        loop {
            appended.borrow_and_update();
            match self.log.read(topic::MEMORY_CHANGES, partition, from, 1_000).await {
                Ok(chunk) => {
                    pause = FIRST_PAUSE;
                    for entry in chunk.entries {
                        let Some(value) = entry.value else { continue };
                        self.apply(entry.offset, &value).await;
                    }
                    if chunk.next > from {
                        from = chunk.next;
                    } else if appended.changed().await.is_err() {
                        tracing::debug!(partition, "the log was closed");
                        return;
                    }
                }
                Err(error) => {
                    match error {
                        LogError::Gap { .. } => tracing::error!(partition, %error, "changes of the memory are gone from the log; start again, so that users are loaded anew"),
                        error => tracing::warn!(partition, %error, "the changes of the memory could not be read yet; trying again"),
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    async fn apply(&self, offset: u64, value: &[u8]) {
        let partition = self.partition;
        let record = match wire::decode::<ChangeRecord>(value) {
            Ok(record) => record,
            Err(error) => {
                tracing::error!(partition, offset, %error, "a change of the memory cannot be read and was left out");
                return;
            }
        };
        let (mut pause, mut refused) = (FIRST_PAUSE, 0);
        while let Err(error) = self.index.apply(&record).await {
            // Opening a change may need the user's key from the database. While that does not answer, the change waits, and the
            // frontier behind it: nobody is told that something is in that is not.
            if self.db.ping().await.is_ok() {
                refused += 1;
            }
            if refused >= TRIES {
                tracing::error!(partition, offset, %error, "a change of the memory was left out of the index until its user is loaded again");
                return;
            }
            tracing::warn!(partition, offset, %error, "a change of the memory could not be brought in yet; trying again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
