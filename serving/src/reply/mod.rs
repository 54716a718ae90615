//! A reply as a job: said yes to when the message is durable, then recalled, prompted, generated, and put on the log itself.
//!
//! Holds always: frames of a reply are numbered from 0 without gaps and can be read again from any number while the reply is
//! kept; the last frame is `done` or `error`, on every path. A client that goes away does not end a reply; `stop`, the deadline
//! and the end of the server do, and what was said by then is kept. Turns of one conversation have positions of their own.
//! Not promised: that a reply in the making survives a crash; that old replies can be read again (the last 256 are kept, in
//! memory, and those with a forgotten turn go at once).

mod frames;
mod job;
mod say;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ajatus_events::{Body, ConversationId, InteractionId, Role, UserId};
use ajatus_inference::prompt::ChatPrompt;
use ajatus_inference::{Generator, Sampling};
use ajatus_kafka::Log;
use ajatus_memory::keys::KeyRing;
use ajatus_memory::postgres::Postgres;
use axum::http::StatusCode;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use uuid::Uuid;

pub use frames::{Frame, FrameBody, Frames, Usage, UsedMemory};
use frames::{Ending, Reply};
use say::Threads;

use crate::clock::Clock;
use crate::problem::Problem;
use crate::recall::Recall;

/// Replies kept for clients that come back.
const KEPT: usize = 256;
/// Longest wait for replies to stop at the end.
const PARTING: Duration = Duration::from_secs(3);
/// Characters of a message at most.
pub const MAX_MESSAGE: usize = 8_000;

/// How replies are made.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplyConfig {
    /// Tokens of a prompt at most. Default 512.
    pub prompt_tokens: usize,
    /// Tokens of a reply at most. Default 160.
    pub reply_tokens: usize,
    /// Memories put before the model at most. Default 6.
    pub memories: usize,
    /// How tokens are chosen.
    pub sampling: Sampling,
}

impl Default for ReplyConfig {
    fn default() -> Self {
        Self { prompt_tokens: 512, reply_tokens: 160, memories: 6, sampling: Sampling::default() }
    }
}

/// What a reply needs.
pub struct ReplyParts {
    /// The log.
    pub log: Arc<dyn Log>,
    /// Views.
    pub db: Postgres,
    /// Keys.
    pub keys: KeyRing,
    /// Finds memories.
    pub recall: Recall,
    /// Speaks.
    pub generator: Arc<dyn Generator>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// How many replies there may be, and how long one may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyLimits {
    /// Replies in the making at once, all users together. Default 64, below 256.
    pub running: usize,
    /// Replies in the making at once, per user. Default 4.
    pub running_per_user: usize,
    /// Longest time of one reply; what was said by then is kept. Default 5 min.
    pub deadline: Duration,
}

impl Default for ReplyLimits {
    fn default() -> Self {
        Self { running: 64, running_per_user: 4, deadline: Duration::from_secs(300) }
    }
}

struct Inner {
    parts: ReplyParts,
    config: ReplyConfig,
    limits: ReplyLimits,
    prompt: ChatPrompt,
    threads: Threads,
    replies: Mutex<VecDeque<Arc<Reply>>>,
    closed: AtomicBool,
}

/// Makes replies; clones share everything.
#[derive(Clone)]
pub struct Replier {
    inner: Arc<Inner>,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

impl Replier {
    /// Puts it together.
    #[must_use]
    pub fn new(parts: ReplyParts, config: ReplyConfig) -> Self {
        Self::with_limits(parts, config, ReplyLimits::default())
    }

    /// Puts it together, with limits of its own.
    #[must_use]
    pub fn with_limits(parts: ReplyParts, config: ReplyConfig, limits: ReplyLimits) -> Self {
        let limits = ReplyLimits { running: limits.running.min(KEPT - 1), ..limits };
        let inner = Inner {
            parts,
            config,
            limits,
            prompt: ChatPrompt::built_in(),
            threads: Threads::default(),
            replies: Mutex::default(),
            closed: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner), tasks: Arc::default() }
    }

    /// Takes a message and starts the reply. When it returns, the message is durable on the log. Both go on when the caller is
    /// dropped meanwhile.
    ///
    /// # Errors
    /// A [`Problem`] if the message was not taken.
    pub async fn start(&self, user: UserId, conversation: ConversationId, text: String) -> Result<Frames, Problem> {
        if text.trim().is_empty() {
            return Err(Problem::invalid("empty_message", "the message is empty"));
        }
        let characters = text.chars().count();
        if characters > MAX_MESSAGE {
            return Err(Problem::invalid("long_message", format!("the message has {characters} characters, but {MAX_MESSAGE} are taken at most")));
        }
        let reply = self.inner.room_for(user)?;
        let (taken, answer) = oneshot::channel();
        let (inner, job) = (Arc::clone(&self.inner), Arc::clone(&reply));
        {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            // Under the lock, so that `close` joins every task there is.
            if self.inner.closed.load(Ordering::SeqCst) {
                return Err(closing());
            }
            while tasks.try_join_next().is_some() {}
            tasks.spawn(async move { inner.work(job, conversation, text, taken).await });
        }
        match answer.await {
            Ok(taken) => taken.map(|()| Frames::new(reply, 0)),
            Err(_) => Err(closing()),
        }
    }

    /// Frames of a reply from a number on.
    #[must_use]
    pub fn frames(&self, user: UserId, reply: Uuid, from: u64) -> Option<Frames> {
        self.find(user, reply).map(|reply| Frames::new(reply, from))
    }

    /// Stops a reply; what was said so far is kept. `false` if there is none.
    #[must_use]
    pub fn stop(&self, user: UserId, reply: Uuid) -> bool {
        self.find(user, reply).is_some_and(|reply| {
            reply.stop.cancel();
            true
        })
    }

    /// Forgets the frames of every reply to, by or with a turn: it must not be read again from here.
    pub fn forget(&self, user: UserId, turn: InteractionId) {
        let mut replies = self.inner.replies.lock().unwrap_or_else(PoisonError::into_inner);
        replies.retain(|held| held.user != user || !held.mentions(turn));
    }

    /// Stops every reply to a user, and forgets the frames of all of them.
    pub fn forget_all(&self, user: UserId) {
        let mut replies = self.inner.replies.lock().unwrap_or_else(PoisonError::into_inner);
        replies.iter().filter(|held| held.user == user).for_each(|held| held.stop.cancel());
        replies.retain(|held| held.user != user);
    }

    /// Stops all replies in the making; what they said by then is kept. New ones are refused from now on.
    pub async fn close(&self) {
        self.inner.closed.store(true, Ordering::SeqCst);
        for reply in self.inner.replies.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            reply.stop.cancel();
        }
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        let ended = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(PARTING, ended).await.is_err() {
            tracing::warn!(replies = tasks.len(), "replies that did not stop in time were given up");
            tasks.shutdown().await;
        }
    }

    fn find(&self, user: UserId, reply: Uuid) -> Option<Arc<Reply>> {
        let replies = self.inner.replies.lock().unwrap_or_else(PoisonError::into_inner);
        replies.iter().find(|held| held.id == reply && held.user == user).cloned()
    }
}

impl Inner {
    /// A place among the replies in the making; the oldest one that has ended goes.
    fn room_for(&self, user: UserId) -> Result<Arc<Reply>, Problem> {
        let mut replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that `close` sees every reply it let in.
        if self.closed.load(Ordering::SeqCst) {
            return Err(closing());
        }
        let running = || replies.iter().filter(|reply| !reply.has_ended());
        let own = running().filter(|reply| reply.user == user).count();
        if own >= self.limits.running_per_user {
            let detail = format!("{own} replies to you are in the making already; wait for one, or stop one");
            return Err(Problem { retry_after: Some(5), ..Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_replies", detail) });
        }
        if running().count() >= self.limits.running {
            return Err(Problem::unavailable("too many replies are in the making just now; try again in a moment"));
        }
        if replies.len() >= KEPT
            && let Some(oldest) = replies.iter().position(|reply| reply.has_ended())
        {
            replies.remove(oldest);
        }
        let reply = Arc::new(Reply::new(user));
        replies.push_back(Arc::clone(&reply));
        Ok(reply)
    }

    /// Takes the message, says so, and makes the reply.
    async fn work(&self, reply: Arc<Reply>, conversation: ConversationId, text: String, taken: oneshot::Sender<Result<(), Problem>>) {
        let _ending = Ending(Arc::clone(&reply));
        let said = match self.say(reply.user, conversation, Role::User, Body { text: text.clone(), ..Body::default() }).await {
            Ok(said) => said,
            Err(problem) => {
                // Nobody knows of this reply; its place is free again.
                self.replies.lock().unwrap_or_else(PoisonError::into_inner).retain(|held| held.id != reply.id);
                // The caller may have gone.
                drop(taken.send(Err(problem)));
                return;
            }
        };
        reply.push(FrameBody::Accepted { message_id: said.id.0, receipt: said.receipt.clone() });
        drop(taken.send(Ok(())));
        self.reply(&reply, conversation, &said, &text).await;
    }
}

fn closing() -> Problem {
    Problem::unavailable("the server is closing, so the message was not taken; send it again in a moment")
}
