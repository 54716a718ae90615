//! Forgetting: which turns, off the log, out of the views, off the disk, and a signed receipt of it.
//!
//! The steps: read the user's records and say which turns are meant; append a tombstone for each, in batches; wait until the pipeline
//! has them out of the views and the memo has let their answers go; take rows that the pipeline does not keep; compact the log and have
//! its files written anew; the same for the database; sign what was done.
//!
//! Holds always: nothing is forgotten but what the scope means at one position of the log; a tombstone that was acknowledged is never
//! taken back; each step may be done again, so a forgetting that was cut off is finished by asking again.
//! Not promised: what [`ForgetReceipt`] lists as not reached; that a forgetting that was cut off gives its turns in the next receipt's
//! count (they are gone by then).
//! After a crash: see above; nothing is half a turn.

mod preview;
mod run;
mod scan;
mod sweep;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ajatus_events::{InteractionId, UserId};
use ajatus_kafka::{Log, LogError};
use ajatus_memory::forget::{ForgetReceipt, Scope, ScopeError, Signer};
use ajatus_memory::index::Index;
use ajatus_memory::keys::{KeyError, KeyRing};
use ajatus_memory::postgres::{Postgres, StoreError};
use async_trait::async_trait;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::reply::Replier;
pub use preview::{Preview, PreviewItem};
use run::{Before, Run, agreed, scan};

/// What forgetting needs of the pipeline, which serving does not know.
#[async_trait]
pub trait Keeper: Send + Sync + 'static {
    /// Waits until everything of a partition of `interactions` below an offset is in the views, and the recorded answers that no live
    /// turn needs any more are forgotten on the log.
    ///
    /// # Errors
    /// [`NotSettled`].
    async fn settle(&self, partition: u32, below: u64, limit: Duration) -> Result<(), NotSettled>;

    /// Erases turns of a user, or with `account` everything of the user, from stores that follow the views and that serving does not know;
    /// says what went, by name. They have taken the deletions in, or take them in here. Called again after a forgetting that was cut off,
    /// with the turns that the log still names.
    ///
    /// # Errors
    /// [`NotSettled`].
    async fn erase_copies(&self, _user: UserId, _turns: &[InteractionId], _account: bool) -> Result<BTreeMap<String, u64>, NotSettled> {
        Ok(BTreeMap::new())
    }

    /// Places that hold copies of turns and that forgetting does not reach, a sentence each.
    fn places(&self) -> Vec<String>;
}

/// Why the pipeline is not done.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct NotSettled {
    /// Whether asking again later makes sense.
    pub late: bool,
    /// What it says.
    pub reason: String,
}

/// What forgetting is made of.
#[derive(Clone)]
pub struct ForgetParts {
    /// The log.
    pub log: Arc<dyn Log>,
    /// Rows and receipts.
    pub db: Postgres,
    /// Keys.
    pub keys: KeyRing,
    /// The index, which must be rid of a turn before its change leaves the log.
    pub index: Arc<Index>,
    /// The pipeline.
    pub keeper: Arc<dyn Keeper>,
    /// Replies in the making and kept; none where nobody chats.
    pub replier: Option<Replier>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Longest wait for the pipeline.
    pub patience: Duration,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct ForgetRequest {
    /// Which turns.
    pub scope: Scope,
    /// Also the companion's answers that were given one of them.
    pub with_answers: bool,
    /// [`Preview::hash`] of what was seen: nothing is forgotten if it is something else by now. A topic needs it.
    pub seen: Option<String>,
}

impl ForgetRequest {
    /// Whether it must be looked at first: what words mean is seen only in what they find.
    fn needs_look(&self) -> bool {
        matches!(self.scope, Scope::Topic { .. })
    }
}

/// How far a forgetting is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What is being done.
    pub name: &'static str,
    /// Units done.
    pub done: u64,
    /// Units in all.
    pub total: u64,
}

/// Why something was not forgotten, or not to the end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForgetError {
    /// The scope means nothing.
    #[error(transparent)]
    Scope(#[from] ScopeError),
    /// A topic is looked at first.
    #[error("{turns} turns hold these words; look at the preview and say its hash, {hash}")]
    Unseen {
        /// How many would go.
        turns: u64,
        /// Their hash.
        hash: String,
    },
    /// It is not what was seen any more.
    #[error("what would be forgotten has changed since the preview; look again")]
    Changed,
    /// Another forgetting of the user is under way.
    #[error("a forgetting of this user is under way; ask again when it is done")]
    Busy,
    /// There is no such account.
    #[error("there is no account {0}, or it is forgotten already")]
    NoAccount(UserId),
    /// The pipeline is behind: what was said yes to is on the log, ask again to finish.
    #[error("the views are behind: {0}; what is to be forgotten is noted on the log, ask again to finish")]
    Late(String),
    /// The pipeline has ended.
    #[error("the pipeline does not run: {0}; what is to be forgotten is noted on the log, ask again to finish")]
    Ended(String),
    /// The log failed.
    #[error("the log failed: {0}")]
    Log(#[from] LogError),
    /// The database failed.
    #[error("the database failed: {0}")]
    Store(#[from] StoreError),
    /// A key cannot be used.
    #[error("a key cannot be used: {0}")]
    Key(#[from] KeyError),
}

/// Forgets; one at a time.
pub struct Forgetter {
    parts: ForgetParts,
    signer: Signer,
    one: Semaphore,
    /// Whose forgetting is under way or waits.
    busy: Mutex<HashSet<UserId>>,
    tasks: Mutex<JoinSet<()>>,
}

/// A user's place among those that forget; free again when it is dropped.
struct Place<'a>(&'a Forgetter, UserId);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

impl Forgetter {
    /// Puts it together.
    #[must_use]
    pub fn new(parts: ForgetParts) -> Arc<Self> {
        let signer = Signer::new(&parts.keys.installation_secret(Signer::LABEL));
        Arc::new(Self { parts, signer, one: Semaphore::new(1), busy: Mutex::default(), tasks: Mutex::default() })
    }

    /// As [`Self::forget`]; goes on when the caller is dropped meanwhile.
    ///
    /// # Errors
    /// As there; [`ForgetError::Ended`] if it is closed meanwhile.
    pub async fn forget_through(self: Arc<Self>, user: UserId, request: ForgetRequest) -> Result<ForgetReceipt, ForgetError> {
        let (reply, answer) = oneshot::channel();
        {
            let this = Arc::clone(&self);
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            while tasks.try_join_next().is_some() {}
            // Nobody may wait any more.
            tasks.spawn(async move { drop(reply.send(this.forget(user, &request, &|_| {}).await)) });
        }
        answer.await.map_err(|_| ForgetError::Ended("the server is closing".to_owned()))?
    }

    /// Stops what is being forgotten; asking again finishes it.
    pub async fn close(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
    }

    /// Says what would be forgotten, and changes nothing.
    ///
    /// # Errors
    /// As [`Self::forget`].
    pub async fn preview(&self, user: UserId, request: &ForgetRequest) -> Result<Preview, ForgetError> {
        Ok(preview::preview(&scan(&self.parts, user, request, true).await?))
    }

    /// Forgets, and gives the receipt with its witnesses. Asked twice, the second receipt says that nothing was left.
    ///
    /// # Errors
    /// [`ForgetError`]. With [`ForgetError::Late`], [`ForgetError::Ended`] and everything after them the tombstones are on the log, and asking
    /// again goes on.
    pub async fn forget(&self, user: UserId, request: &ForgetRequest, progress: &(dyn Fn(Step) + Send + Sync)) -> Result<ForgetReceipt, ForgetError> {
        let _place = self.place(user)?;
        let _one = self.one.acquire().await.expect("the semaphore is never closed");
        let before = Before::look(&self.parts, user, request).await?;
        let scanned = scan(&self.parts, user, request, request.needs_look() || request.seen.is_some()).await?;
        let ids = agreed(request, &scanned)?;
        let mut run = Run::new(&self.parts, user, request, scanned, ids, progress)?;
        if run.account {
            // From here on nothing sealed for them opens and nobody signs in as them, wherever this is cut off.
            run.silence().await?;
        }
        run.out_of_the_views().await?;
        run.beside_the_views().await?;
        let erased = run.off_the_disk().await?;
        let (statement, witnesses) = run.statement(before, erased).await?;
        let receipt = self.signer.sign(statement, witnesses);
        self.parts.db.keep_forgetting(&receipt).await?;
        Ok(receipt)
    }

    /// One at a time and user: writing files anew is work for everybody.
    fn place(&self, user: UserId) -> Result<Place<'_>, ForgetError> {
        match self.busy.lock().unwrap_or_else(PoisonError::into_inner).insert(user) {
            true => Ok(Place(self, user)),
            false => Err(ForgetError::Busy),
        }
    }
}
