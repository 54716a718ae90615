//! A reply as a job: said yes to when the message is durable, then recalled, prompted, generated, and put on the log itself.
//!
//! Holds always: frames of a reply are numbered from 0 without gaps and can be read again from any number while the reply is
//! kept; the last frame is `done` or `error`. A client that goes away does not end a reply; `stop` does, and what was said by
//! then is kept.
//! Not promised: that a reply in the making survives the process; the last 256 replies are kept, in memory.

mod frames;
mod job;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use ajatus_events::{ConversationId, Receipt, UserId};
use ajatus_inference::prompt::ChatPrompt;
use ajatus_inference::{Generator, Sampling};
use ajatus_kafka::Log;
use ajatus_memory::keys::KeyRing;
use ajatus_memory::postgres::Postgres;
use tokio::task::JoinSet;
use uuid::Uuid;

pub use frames::{Frame, FrameBody, Frames, Usage, UsedMemory};
use frames::Reply;

use crate::clock::Clock;
use crate::problem::Problem;
use crate::recall::Recall;

/// Replies kept for clients that come back.
const KEPT: usize = 256;
/// Conversations whose last turn is remembered here.
const CONVERSATIONS: usize = 10_000;
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

/// Where a conversation stands, ahead of the views.
#[derive(Clone, Debug)]
struct Last {
    session: u32,
    position: u32,
    at: chrono::DateTime<chrono::Utc>,
    receipt: Receipt,
}

struct Inner {
    parts: ReplyParts,
    config: ReplyConfig,
    prompt: ChatPrompt,
    last: Mutex<HashMap<ConversationId, Last>>,
    replies: Mutex<VecDeque<Arc<Reply>>>,
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
        let inner = Inner { parts, config, prompt: ChatPrompt::built_in(), last: Mutex::default(), replies: Mutex::default() };
        Self { inner: Arc::new(inner), tasks: Arc::default() }
    }

    /// Takes a message and starts the reply. When it returns, the message is durable on the log.
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
        let said = self.inner.say(user, conversation, ajatus_events::Role::User, &text).await?;
        let reply = Arc::new(Reply::new(user, conversation));
        reply.push(FrameBody::Accepted { message_id: said.id.0, receipt: said.receipt.clone() });
        {
            let mut replies = self.inner.replies.lock().unwrap_or_else(PoisonError::into_inner);
            if replies.len() >= KEPT {
                replies.pop_front();
            }
            replies.push_back(Arc::clone(&reply));
        }
        let (inner, job) = (Arc::clone(&self.inner), Arc::clone(&reply));
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move { inner.reply(&job, said.id, &text).await });
        Ok(Frames::new(reply, 0))
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

    /// Ends all replies in the making, at once.
    pub async fn close(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
    }

    fn find(&self, user: UserId, reply: Uuid) -> Option<Arc<Reply>> {
        let replies = self.inner.replies.lock().unwrap_or_else(PoisonError::into_inner);
        replies.iter().find(|held| held.id == reply && held.user == user).cloned()
    }
}
