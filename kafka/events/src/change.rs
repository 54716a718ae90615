//! Changes of views, as the pipeline's outbox puts them on `memory-changes` for serving to follow.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{ConversationId, InteractionId, Role, Sealed, UserId};

/// Value of the `memory-changes` topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ChangeRecord {
    /// A memory changed; key `user/interaction`.
    Memory(MemoryChange),
    /// Everything of one input partition up to an offset has been applied before this record; key `frontier`.
    Frontier(Frontier),
}

/// One memory at one epoch: applied only where the epoch is newer than what is held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryChange {
    /// Whose memory.
    pub user_id: UserId,
    /// The turn it was made from.
    pub id: InteractionId,
    /// The dataflow's time.
    pub epoch: u64,
    /// What it is now.
    pub op: MemoryOp,
}

/// What a memory is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum MemoryOp {
    /// It exists with this content.
    Upsert {
        /// The thread.
        conversation_id: ConversationId,
        /// Session inside the conversation.
        session: u32,
        /// Position inside the conversation.
        position: u32,
        /// Who speaks.
        role: Role,
        /// When it was said.
        occurred_at: DateTime<Utc>,
        /// The sealed body, as on `interactions` (same associated data).
        body: Sealed,
        /// The sealed vector, little-endian `f32`s, sealed with [`MemoryChange::vector_aad`].
        vector: Sealed,
        /// Model and version that made the vector.
        model: String,
    },
    /// It is gone.
    Delete {},
}

impl MemoryChange {
    /// Additional authenticated data of a memory's vector.
    #[must_use]
    pub fn vector_aad(user: UserId, id: InteractionId) -> Vec<u8> {
        format!("1/memories/vector/{user}/{id}").into_bytes()
    }
}

/// How far the pipeline has applied one partition of `interactions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frontier {
    /// The epoch that was closed.
    pub epoch: u64,
    /// Partition of `interactions` (the change lies on the partition of the same number).
    pub partition: u32,
    /// Every offset below this one is in the views.
    pub next_offset: u64,
}
