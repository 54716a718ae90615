//! Everything of a user at one moment, and conversations put back as they were.

use ajatus_events::{ConversationId, UserId};
use chrono::{DateTime, Utc};

use super::{Conversation, Postgres, StoreError};
use crate::keys::{KeyRing, Purpose};

impl Postgres {
    /// All conversations of a user, oldest first.
    ///
    /// # Errors
    /// As the pool's and the key ring's.
    pub async fn all_conversations(&self, keys: &KeyRing, user: UserId) -> Result<Vec<Conversation>, StoreError> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = self.list_conversations(keys, user, after, 500).await?;
            let Some(last) = page.last() else { break };
            after = Some((last.created_at, last.id));
            all.extend(page);
        }
        all.reverse();
        Ok(all)
    }

    /// Makes a conversation with its own id and time, unless there is one of that id.
    ///
    /// # Errors
    /// As the pool's and the key ring's.
    pub async fn restore_conversation(&self, keys: &KeyRing, user: UserId, id: ConversationId, title: Option<&str>, created_at: DateTime<Utc>) -> Result<(), StoreError> {
        let key = keys.user(user).await?;
        let title = title.map(|title| key.seal(Purpose::Memories, &super::conversations::title_aad(user, id), title.as_bytes()).0);
        sqlx::query("insert into conversations (user_id, id, title, created_at) values ($1, $2, $3, $4) on conflict (user_id, id) do nothing")
            .bind(user.0)
            .bind(id.0)
            .bind(title)
            .bind(created_at)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
