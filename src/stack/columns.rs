//! The columnar copy of the memories: `DATA/lance/memories`, kept from `memory-changes` by one task.
//!
//! Holds always: Postgres first; a version on disk has whole epochs and says the last one (an epoch of more than 8,192 rows comes in pieces);
//! the newest version says where in the stream to read on, so a change is in once, whatever happens.
//! Not promised: that the newest write is in at once (it comes with the next batch: 1,000 rows, or 5 s after the first); anything while
//! the log, the database or the disk does not answer: it is tried again.
//! After a crash: goes on from the newest version. A dataset that is lost, damaged, of another database, another plan or of vectors of
//! another length is made anew from Postgres.

mod changes;
mod writer;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ajatus_events::topic;
use ajatus_kafka::Log;
use ajatus_lance::{Care, LanceError};
use ajatus_memory::keys::KeyRing;
use ajatus_memory::postgres::Postgres;
use tokio::sync::{MutexGuard, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use writer::{Writer, row};
use crate::exit::{Ended, Exit};

/// How long changes are gathered before they are brought in.
const GATHER: Duration = Duration::from_secs(5);
/// How often it is looked whether enough for a batch is there.
const LOOK: Duration = Duration::from_millis(250);
/// Longest wait for the last batch when everything stops.
const LAST: Duration = Duration::from_secs(20);
/// Pause after a first failure; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause between tries while the log or the database does not answer.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Longest pause between tries at a dataset that cannot be written.
const LONGEST_REST: Duration = Duration::from_secs(300);
/// Longest wait for whoever has the dataset.
const PATIENCE: Duration = Duration::from_secs(300);

/// What it is made of.
pub(crate) struct ColumnsParts {
    /// The stream of changes.
    pub(crate) log: Arc<dyn Log>,
    /// What decides.
    pub(crate) db: Postgres,
    /// Vectors come sealed.
    pub(crate) keys: KeyRing,
    /// The dataset's folder.
    pub(crate) path: PathBuf,
    /// Components of a vector.
    pub(crate) dimension: usize,
    /// When to tidy up, beside every `tidy`.
    pub(crate) care: Care,
    /// How often it is tidied up.
    pub(crate) tidy: Duration,
}

/// The task that keeps it, and the dataset for whoever compares, mends or erases.
pub(crate) struct Columns {
    writer: Arc<tokio::sync::Mutex<Writer>>,
    stop: CancellationToken,
    task: Mutex<JoinSet<()>>,
}

impl Columns {
    /// Starts it. The dataset is opened, or made, by the task, so nothing waits for it.
    ///
    /// # Errors
    /// If the log has no such topic.
    pub(crate) fn start(parts: ColumnsParts) -> anyhow::Result<Arc<Self>> {
        let appended = parts.log.appended(topic::MEMORY_CHANGES)?;
        let tidy = parts.tidy;
        let writer = Arc::new(tokio::sync::Mutex::new(Writer::new(parts)));
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        let keeping = Keeping { writer: Arc::clone(&writer), appended, stop: stop.clone(), tidy };
        task.spawn(keeping.run());
        Ok(Arc::new(Self { writer, stop, task: Mutex::new(task) }))
    }

    /// The dataset, alone: nothing is brought in while it is held.
    ///
    /// # Errors
    /// [`Exit::Unavailable`] if somebody else keeps it too long.
    pub(crate) async fn writer(&self) -> anyhow::Result<MutexGuard<'_, Writer>> {
        let late = |_| Ended::new(Exit::Unavailable, "the memories in Lance are being worked on; ask again later");
        tokio::time::timeout(PATIENCE, self.writer.lock()).await.map_err(late)
    }

    /// Brings in what there is, and stops.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        let mut task = std::mem::take(&mut *self.task.lock().unwrap_or_else(PoisonError::into_inner));
        if tokio::time::timeout(LAST + LAST, async { while task.join_next().await.is_some() {} }).await.is_err() {
            task.shutdown().await;
        }
        self.writer.lock().await.close();
    }
}

/// The task.
struct Keeping {
    writer: Arc<tokio::sync::Mutex<Writer>>,
    appended: watch::Receiver<u64>,
    stop: CancellationToken,
    tidy: Duration,
}

impl Keeping {
    async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        let mut tidy = tokio::time::interval_at(tokio::time::Instant::now() + self.tidy, self.tidy);
        tidy.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // What is there is brought in at the start, without waiting for something new.
        self.appended.mark_changed();
        loop {
            let tidying = tokio::select! {
                () = self.stop.cancelled() => break,
                _ = tidy.tick() => true,
                changed = self.appended.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    false
                }
            };
            let done = if tidying { self.writer.lock().await.tend().await } else { self.batch().await };
            let Err(error) = done else {
                pause = FIRST_PAUSE;
                continue;
            };
            tracing::warn!(error = format!("{error:#}"), "the memories in Lance could not be kept; trying again");
            let longest = if error.downcast_ref::<LanceError>().is_some() {
                // Opened again, which makes anew what cannot be used.
                self.writer.lock().await.close();
                LONGEST_REST
            } else {
                LONGEST_PAUSE
            };
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(longest);
            self.appended.mark_changed();
        }
        let last = tokio::time::timeout(LAST, async { self.writer.lock().await.catch_up().await }).await;
        match last {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = format!("{error:#}"), "the last changes are not in the memories in Lance; the next start brings them in"),
            Err(_) => tracing::warn!("the last changes are not in the memories in Lance yet; the next start brings them in"),
        }
    }

    /// Waits until there is enough for a batch, or long enough, and brings it in.
    async fn batch(&mut self) -> anyhow::Result<()> {
        self.appended.borrow_and_update();
        let until = tokio::time::Instant::now() + GATHER;
        // Nothing waits at the start: what is there is there.
        while self.writer.lock().await.gathering().await? {
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = tokio::time::sleep_until(until.min(tokio::time::Instant::now() + LOOK)) => {}
            }
            if tokio::time::Instant::now() >= until {
                break;
            }
        }
        self.writer.lock().await.catch_up().await
    }
}
