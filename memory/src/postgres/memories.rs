//! Reads of the views that the pipeline keeps: memories and activity.

use std::collections::HashMap;

use ajatus_events::{Body, ConversationId, Interaction, InteractionId, Role, Sealed, UserId};
use chrono::{DateTime, Utc};
use pgvector::Vector;
use uuid::Uuid;

use super::{Postgres, StoreError, small, unsigned};
use crate::keys::{KeyRing, Purpose, UserKey};

/// One remembered turn, opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The turn.
    pub id: InteractionId,
    /// Whose memory.
    pub user_id: UserId,
    /// The thread.
    pub conversation_id: ConversationId,
    /// Session inside the conversation.
    pub session: u32,
    /// Position inside the conversation.
    pub position: u32,
    /// Who speaks.
    pub role: Role,
    /// When it was said.
    pub occurred_at: DateTime<Utc>,
    /// What was said.
    pub body: Body,
    /// The epoch that wrote it.
    pub epoch: u64,
}

/// Counts of one user's turns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activity {
    /// All turns.
    pub turns: u64,
    /// Said by the user.
    pub user_turns: u64,
    /// Said by the companion.
    pub assistant_turns: u64,
    /// Said by others, in imported conversations.
    pub other_turns: u64,
    /// The first turn's time.
    pub first_at: DateTime<Utc>,
    /// The last turn's time.
    pub last_at: DateTime<Utc>,
    /// The epoch that last changed it.
    pub epoch: u64,
}

/// Everything of one user at one epoch.
#[derive(Clone, Debug, Default)]
pub struct UserSnapshot {
    /// Turns and their vectors, in the user's own coordinates ([`UserKey::turned`]).
    pub memories: Vec<(Memory, Vec<f32>)>,
    /// Progress of the pipeline when it was read.
    pub epoch: u64,
}

/// Where a page of turns ended.
pub type MemoryCursor = (DateTime<Utc>, u32);

pub(super) type Row = (Uuid, Uuid, i32, i32, String, DateTime<Utc>, Vec<u8>, i64);

impl Postgres {
    /// A page of a conversation's turns, the newest last; the page before ends before its first turn's
    /// `(occurred_at, position)`.
    ///
    /// # Errors
    /// As the pool's and the key ring's.
    pub async fn memories_of_conversation(
        &self,
        keys: &KeyRing,
        user: UserId,
        conversation: ConversationId,
        before: Option<MemoryCursor>,
        limit: u32,
    ) -> Result<Vec<Memory>, StoreError> {
        let (at, position) = before.unwrap_or((DateTime::<Utc>::UNIX_EPOCH, 0));
        let rows: Vec<Row> = sqlx::query_as(
            "select id, conversation_id, session, position, role, occurred_at, body, epoch from memories
             where user_id = $1 and conversation_id = $2 and ($6 or (occurred_at, position) < ($3, $4))
             order by occurred_at desc, position desc, id desc limit $5",
        )
        .bind(user.0)
        .bind(conversation.0)
        .bind(at)
        .bind(super::int(position)?)
        .bind(i64::from(limit))
        .bind(before.is_none())
        .fetch_all(&self.pool)
        .await?;
        let key = keys.user(user).await?;
        rows.into_iter().rev().map(|row| memory(&key, user, row)).collect()
    }

    /// The turns of these ids that are there, in no order.
    ///
    /// # Errors
    /// As the pool's and the key ring's.
    pub async fn memories_by_id(&self, keys: &KeyRing, user: UserId, ids: &[InteractionId]) -> Result<Vec<Memory>, StoreError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        let rows: Vec<Row> = sqlx::query_as(
            "select id, conversation_id, session, position, role, occurred_at, body, epoch from memories
             where user_id = $1 and id = any($2)",
        )
        .bind(user.0)
        .bind(ids)
        .fetch_all(&self.pool)
        .await?;
        let key = keys.user(user).await?;
        rows.into_iter().map(|row| memory(&key, user, row)).collect()
    }

    /// Everything of one user and the epoch it stands for, from one snapshot.
    ///
    /// # Errors
    /// As the pool's and the key ring's.
    pub async fn load_user(&self, keys: &KeyRing, user: UserId, pipeline: &str) -> Result<UserSnapshot, StoreError> {
        type WithVector = (Uuid, Uuid, i32, i32, String, DateTime<Utc>, Vec<u8>, i64, Vector);
        let mut transaction = self.begin().await?;
        sqlx::query("set transaction isolation level repeatable read, read only").execute(&mut *transaction).await?;
        let progress: Option<(i64,)> =
            sqlx::query_as("select progress from pipelines where name = $1").bind(pipeline).fetch_optional(&mut *transaction).await?;
        let rows: Vec<WithVector> = sqlx::query_as(
            "select id, conversation_id, session, position, role, occurred_at, body, epoch, vector from memories where user_id = $1",
        )
        .bind(user.0)
        .fetch_all(&mut *transaction)
        .await?;
        transaction.commit().await?;
        let epoch = unsigned(progress.map_or(0, |(progress,)| progress))?;
        if rows.is_empty() {
            return Ok(UserSnapshot { memories: Vec::new(), epoch });
        }
        let key = keys.user(user).await?;
        let open = |(id, conversation, session, position, role, at, body, written, vector): WithVector| {
            Ok((memory(&key, user, (id, conversation, session, position, role, at, body, written))?, vector.to_vec()))
        };
        Ok(UserSnapshot { memories: rows.into_iter().map(open).collect::<Result<_, StoreError>>()?, epoch })
    }

    /// Fingerprint of every turn of the user.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn content_fingerprints(&self, user: UserId) -> Result<HashMap<InteractionId, String>, StoreError> {
        let rows: Vec<(Uuid, String)> =
            sqlx::query_as("select id, fingerprint from memories where user_id = $1").bind(user.0).fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(|(id, fingerprint)| (InteractionId(id), fingerprint)).collect())
    }

    /// The user's counts; `None` if nothing was said.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn activity(&self, user: UserId) -> Result<Option<Activity>, StoreError> {
        type Counts = (i64, i64, i64, i64, DateTime<Utc>, DateTime<Utc>, i64);
        let row: Option<Counts> = sqlx::query_as(
            "select turns, user_turns, assistant_turns, other_turns, first_at, last_at, epoch from activity where user_id = $1",
        )
        .bind(user.0)
        .fetch_optional(&self.pool)
        .await?;
        let Some((turns, user_turns, assistant_turns, other_turns, first_at, last_at, epoch)) = row else { return Ok(None) };
        Ok(Some(Activity {
            turns: unsigned(turns)?,
            user_turns: unsigned(user_turns)?,
            assistant_turns: unsigned(assistant_turns)?,
            other_turns: unsigned(other_turns)?,
            first_at,
            last_at,
            epoch: unsigned(epoch)?,
        }))
    }
}

pub(super) fn memory(key: &UserKey, user: UserId, row: Row) -> Result<Memory, StoreError> {
    let (id, conversation, session, position, role, occurred_at, body, epoch) = row;
    let id = InteractionId(id);
    let plain = key.open(Purpose::Messages, &Interaction::aad(user, id), &Sealed(body))?;
    Ok(Memory {
        id,
        user_id: user,
        conversation_id: ConversationId(conversation),
        session: small(session)?,
        position: small(position)?,
        role: role.parse::<Role>().map_err(StoreError::Value)?,
        occurred_at,
        body: serde_json::from_slice(&plain).map_err(|error| StoreError::Value(format!("a body is not one ({error})")))?,
        epoch: unsigned(epoch)?,
    })
}
