//! Frames: a reply as numbered pieces that can be read again.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use ajatus_events::{InteractionId, Receipt, Role, SourceRef, UserId};
use ajatus_inference::FinishReason;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::problem::Problem;

/// One piece of a reply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Frame {
    /// The reply.
    pub id: Uuid,
    /// Number of the piece, from 0.
    pub seq: u64,
    /// What it says.
    #[serde(flatten)]
    pub body: FrameBody,
}

/// What a piece says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FrameBody {
    /// The message is durable.
    Accepted {
        /// The message.
        message_id: Uuid,
        /// Where it stands on the log.
        #[schema(value_type = String)]
        receipt: Receipt,
    },
    /// What the model was given from memory.
    Memories {
        /// Best first.
        used: Vec<UsedMemory>,
    },
    /// More of the answer.
    Token {
        /// The text.
        text: String,
    },
    /// The end: the answer is durable.
    Done {
        /// The answer as a message; none if it ended before its first word.
        message_id: Option<Uuid>,
        /// Where it stands on the log.
        #[schema(value_type = Option<String>)]
        receipt: Option<Receipt>,
        /// `stop`, `length`, `stopped` (by the user, or by the end of the server) or `timeout`.
        finish_reason: String,
        /// Tokens.
        usage: Usage,
    },
    /// The end: something failed. The message itself is kept.
    Error {
        /// What.
        problem: Problem,
    },
}

impl FrameBody {
    pub(super) fn is_last(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::Error { .. })
    }

    /// Name of the piece's kind, for SSE.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::Memories { .. } => "memories",
            Self::Token { .. } => "token",
            Self::Done { .. } => "done",
            Self::Error { .. } => "error",
        }
    }
}

/// Tokens of a reply, and which prompt made it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the answer.
    pub completion_tokens: usize,
    /// Model and version.
    pub model: String,
    /// Prompt and version.
    pub prompt: String,
}

/// A memory the model was given, with the turn it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UsedMemory {
    /// The turn.
    pub id: Uuid,
    /// The thread it was said in.
    pub conversation_id: Uuid,
    /// Who spoke: `user`, `assistant`, or `other` in imported conversations.
    #[schema(value_type = String)]
    pub role: Role,
    /// The speaker's name, if the source gives one.
    pub speaker: Option<String>,
    /// When.
    pub occurred_at: DateTime<Utc>,
    /// What.
    pub text: String,
    /// Where an imported turn stood.
    #[schema(value_type = Option<Object>)]
    pub source: Option<SourceRef>,
    /// Its score.
    pub score: f32,
    /// What spoke for it most, strongest first.
    pub why: Vec<String>,
}

pub(super) fn finish_word(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
    }
}

/// One reply in the making, or made.
pub(super) struct Reply {
    pub(super) id: Uuid,
    pub(super) user: UserId,
    pub(super) stop: CancellationToken,
    /// Bounded by the tokens of a reply.
    frames: Mutex<Vec<Frame>>,
    count: watch::Sender<usize>,
}

impl Reply {
    pub(super) fn new(user: UserId) -> Self {
        Self {
            id: Uuid::now_v7(),
            user,
            stop: CancellationToken::new(),
            frames: Mutex::default(),
            count: watch::Sender::new(0),
        }
    }

    /// Adds a piece, unless the last one was said.
    pub(super) fn push(&self, body: FrameBody) {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        if frames.last().is_some_and(|last| last.body.is_last()) {
            return;
        }
        let seq = frames.len() as u64;
        frames.push(Frame { id: self.id, seq, body });
        let count = frames.len();
        drop(frames);
        self.count.send_replace(count);
    }

    /// Whether the last piece was said.
    pub(super) fn has_ended(&self) -> bool {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner).last().is_some_and(|last| last.body.is_last())
    }

    /// Whether a turn is the question, the answer, or a memory the model was given.
    pub(super) fn mentions(&self, id: InteractionId) -> bool {
        let frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        frames.iter().any(|frame| match &frame.body {
            FrameBody::Accepted { message_id, .. } => *message_id == id.0,
            FrameBody::Memories { used } => used.iter().any(|memory| memory.id == id.0),
            FrameBody::Done { message_id, .. } => *message_id == Some(id.0),
            FrameBody::Token { .. } | FrameBody::Error { .. } => false,
        })
    }

    fn get(&self, at: usize) -> Option<Frame> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner).get(at).cloned()
    }
}

/// Says the last piece when a reply's work ends without one: it panicked, or was dropped.
pub(super) struct Ending(pub(super) Arc<Reply>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.push(FrameBody::Error { problem: Problem::unavailable("the reply broke off; ask again") });
    }
}

/// Frames of one reply as they come.
pub struct Frames {
    id: Uuid,
    stream: BoxStream<'static, Frame>,
}

impl Frames {
    pub(super) fn new(reply: Arc<Reply>, from: u64) -> Self {
        let id = reply.id;
        let count = reply.count.subscribe();
        let start = (reply, count, usize::try_from(from).unwrap_or(usize::MAX), false);
        let stream = futures::stream::unfold(start, |(reply, mut count, at, ended)| async move {
            if ended {
                return None;
            }
            // A number past the end of a finished reply has nothing to wait for.
            count.wait_for(|count| *count > at || (*count > 0 && reply.get(*count - 1).is_some_and(|last| last.body.is_last()))).await.ok()?;
            let frame = reply.get(at)?;
            let last = frame.body.is_last();
            Some((frame, (reply, count, at + 1, last)))
        });
        Self { id, stream: stream.boxed() }
    }

    /// The reply.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.id
    }
}

impl Stream for Frames {
    type Item = Frame;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Frame>> {
        self.stream.poll_next_unpin(context)
    }
}
