//! Conversations: threads of talk, named by the user or by an import.

use ajatus_events::{ConversationId, Sealed, UserId};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Postgres, StoreError};
use crate::keys::{KeyRing, Purpose, UserKey};

/// One thread of talk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// The thread.
    pub id: ConversationId,
    /// Whose.
    pub user_id: UserId,
    /// Its name, if it has one.
    pub title: Option<String>,
    /// When it was made here.
    pub created_at: DateTime<Utc>,
    /// When something was last said in it; `created_at` if nothing was.
    pub updated_at: DateTime<Utc>,
    /// Turns in the views.
    pub turns: u64,
}

/// Where a page of conversations ended.
pub type ConversationCursor = (DateTime<Utc>, ConversationId);

type Row = (Uuid, Option<Vec<u8>>, DateTime<Utc>, DateTime<Utc>, i64);

pub(super) fn title_aad(user: UserId, id: ConversationId) -> Vec<u8> {
    format!("1/conversations/title/{user}/{id}").into_bytes()
}

impl Postgres {
    /// Makes a conversation.
    ///
    /// # Errors
    /// As the pool's and the key ring's.
    pub async fn create_conversation(&self, keys: &KeyRing, user: UserId, title: Option<&str>) -> Result<Conversation, StoreError> {
        let id = ConversationId(Uuid::now_v7());
        self.ensure_conversation(keys, user, id, title).await?;
        let made = self.conversation(keys, user, id).await?;
        made.ok_or_else(|| StoreError::Value("a conversation just made is not there".to_owned()))
    }

    /// Makes the conversation of that id if there is none; an existing one keeps its title.
    ///
    /// # Errors
    /// As the pool's and the key ring's.
    pub async fn ensure_conversation(&self, keys: &KeyRing, user: UserId, id: ConversationId, title: Option<&str>) -> Result<(), StoreError> {
        let key = keys.user(user).await?;
        let title = title.map(|title| key.seal(Purpose::Memories, &title_aad(user, id), title.as_bytes()).0);
        sqlx::query("insert into conversations (user_id, id, title) values ($1, $2, $3) on conflict (user_id, id) do nothing")
            .bind(user.0)
            .bind(id.0)
            .bind(title)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Names a conversation anew. `false` if there is none.
    ///
    /// # Errors
    /// As the pool's and the key ring's.
    pub async fn rename_conversation(&self, keys: &KeyRing, user: UserId, id: ConversationId, title: Option<&str>) -> Result<bool, StoreError> {
        let key = keys.user(user).await?;
        let title = title.map(|title| key.seal(Purpose::Memories, &title_aad(user, id), title.as_bytes()).0);
        let done = sqlx::query("update conversations set title = $3 where user_id = $1 and id = $2")
            .bind(user.0)
            .bind(id.0)
            .bind(title)
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    /// A page of conversations, newest first; go on from the last one's `(created_at, id)`.
    ///
    /// # Errors
    /// As the pool's and the key ring's.
    pub async fn list_conversations(
        &self,
        keys: &KeyRing,
        user: UserId,
        after: Option<ConversationCursor>,
        limit: u32,
    ) -> Result<Vec<Conversation>, StoreError> {
        let (at, id) = after.map_or((DateTime::<Utc>::MAX_UTC, Uuid::max()), |(at, id)| (at, id.0));
        let rows: Vec<Row> = sqlx::query_as(
            "select c.id, c.title, c.created_at, coalesce(m.last, c.created_at), m.turns
             from conversations c
             cross join lateral (select max(occurred_at) as last, count(*) as turns from memories
                                 where user_id = c.user_id and conversation_id = c.id) m
             where c.user_id = $1 and ($5 or (c.created_at, c.id) < ($2, $3))
             order by c.created_at desc, c.id desc limit $4",
        )
        .bind(user.0)
        .bind(if after.is_some() { at } else { DateTime::<Utc>::UNIX_EPOCH })
        .bind(id)
        .bind(i64::from(limit))
        .bind(after.is_none())
        .fetch_all(&self.pool)
        .await?;
        let key = keys.user(user).await?;
        rows.into_iter().map(|row| conversation(&key, user, row)).collect()
    }

    /// One conversation of the user.
    ///
    /// # Errors
    /// As the pool's and the key ring's.
    pub async fn conversation(&self, keys: &KeyRing, user: UserId, id: ConversationId) -> Result<Option<Conversation>, StoreError> {
        let row: Option<Row> = sqlx::query_as(
            "select c.id, c.title, c.created_at, coalesce(m.last, c.created_at), m.turns
             from conversations c
             cross join lateral (select max(occurred_at) as last, count(*) as turns from memories
                                 where user_id = c.user_id and conversation_id = c.id) m
             where c.user_id = $1 and c.id = $2",
        )
        .bind(user.0)
        .bind(id.0)
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let key = keys.user(user).await?;
        conversation(&key, user, row).map(Some)
    }
}

fn conversation(key: &UserKey, user: UserId, (id, title, created_at, updated_at, turns): Row) -> Result<Conversation, StoreError> {
    let id = ConversationId(id);
    let title = match title {
        Some(sealed) => {
            let plain = key.open(Purpose::Memories, &title_aad(user, id), &Sealed(sealed))?;
            Some(String::from_utf8(plain).map_err(|error| StoreError::Value(error.to_string()))?)
        }
        None => None,
    };
    Ok(Conversation { id, user_id: user, title, created_at, updated_at, turns: super::unsigned(turns)? })
}
