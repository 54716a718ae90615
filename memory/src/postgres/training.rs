//! Consent to training, the turns of those who gave it, and the trail of what was taken.
//!
//! Holds always: one export sees one moment, and in it only turns of accounts whose consent stands at that moment; its line in the trail is
//! written in the same transaction; the trail is only added to (a trigger refuses everything else).
//! Not promised: that files which were exported earlier are called back when consent is withdrawn.

use ajatus_events::UserId;
use chrono::{DateTime, Utc};
use sqlx::{Postgres as Driver, Transaction};
use uuid::Uuid;

use super::memories::{Row, memory};
use super::{Memory, Postgres, StoreError};
use crate::keys::KeyRing;

/// A line of the trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainingExport {
    /// When; the database's clock.
    pub exported_at: DateTime<Utc>,
    /// Who: the name of the account on the machine.
    pub exported_by: String,
    /// What for.
    pub purpose: String,
    /// Users whose turns are in it.
    pub users: u64,
    /// Conversations.
    pub conversations: u64,
    /// Messages.
    pub messages: u64,
    /// BLAKE3 of the manifest, hex.
    pub content_hash: String,
}

/// An export that has begun: a view of one moment.
pub struct TrainingRead {
    transaction: Transaction<'static, Driver>,
}

impl Postgres {
    /// Gives or withdraws a user's consent to training; when it stands, since when. Given twice, the first time counts.
    ///
    /// # Errors
    /// [`StoreError::Value`] if there is no such account; as the pool's.
    pub async fn set_training_consent(&self, user: UserId, given: bool) -> Result<Option<DateTime<Utc>>, StoreError> {
        let row: Option<(Option<DateTime<Utc>>,)> = sqlx::query_as(
            "update accounts set training_consent_at = case when $2 then coalesce(training_consent_at, now()) end where id = $1
             returning training_consent_at",
        )
        .bind(user.0)
        .bind(given)
        .fetch_optional(&self.pool)
        .await?;
        row.map(|(since,)| since).ok_or_else(|| StoreError::Value(format!("there is no account {user}")))
    }

    /// Begins an export: what it reads is of one moment.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn begin_training_read(&self) -> Result<TrainingRead, StoreError> {
        let mut transaction = self.begin().await?;
        sqlx::query("set transaction isolation level repeatable read").execute(&mut *transaction).await?;
        Ok(TrainingRead { transaction })
    }

    /// The trail, the oldest line first.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn training_exports(&self) -> Result<Vec<TrainingExport>, StoreError> {
        let rows: Vec<(DateTime<Utc>, String, String, i64, i64, i64, String)> = sqlx::query_as(
            "select exported_at, exported_by, purpose, users, conversations, messages, content_hash from training_exports order by id",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|(exported_at, exported_by, purpose, users, conversations, messages, content_hash)| {
                let (users, conversations, messages) = (super::unsigned(users)?, super::unsigned(conversations)?, super::unsigned(messages)?);
                Ok(TrainingExport { exported_at, exported_by, purpose, users, conversations, messages, content_hash })
            })
            .collect()
    }
}

impl TrainingRead {
    /// Users whose consent stands, in the order of their ids.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn consented(&mut self) -> Result<Vec<UserId>, StoreError> {
        let rows: Vec<(Uuid,)> =
            sqlx::query_as("select id from accounts where training_consent_at is not null order by id").fetch_all(&mut *self.transaction).await?;
        Ok(rows.into_iter().map(|(id,)| UserId(id)).collect())
    }

    /// A user's live turns from `since` to before `until`, opened: by conversation, then as they were said. None if their consent does not stand.
    ///
    /// # Errors
    /// As the pool's and the key ring's.
    pub async fn turns(&mut self, keys: &KeyRing, user: UserId, since: Option<DateTime<Utc>>, until: Option<DateTime<Utc>>) -> Result<Vec<Memory>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "select m.id, m.conversation_id, m.session, m.position, m.role, m.occurred_at, m.body, m.epoch
             from memories m join accounts a on a.id = m.user_id
             where m.user_id = $1 and a.training_consent_at is not null
               and ($2::timestamptz is null or m.occurred_at >= $2) and ($3::timestamptz is null or m.occurred_at < $3)
             order by m.conversation_id, m.session, m.occurred_at, m.position",
        )
        .bind(user.0)
        .bind(since)
        .bind(until)
        .fetch_all(&mut *self.transaction)
        .await?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let key = keys.user(user).await?;
        rows.into_iter().map(|row| memory(&key, user, row)).collect()
    }

    /// Writes the line of the trail and ends. Without it nothing was taken: an export that is dropped leaves no trace.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn finish(mut self, export: &TrainingExport) -> Result<(), StoreError> {
        sqlx::query(
            "insert into training_exports (exported_at, exported_by, purpose, users, conversations, messages, content_hash)
             values ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(export.exported_at)
        .bind(&export.exported_by)
        .bind(&export.purpose)
        .bind(super::bigint(export.users))
        .bind(super::bigint(export.conversations))
        .bind(super::bigint(export.messages))
        .bind(&export.content_hash)
        .execute(&mut *self.transaction)
        .await?;
        self.transaction.commit().await?;
        Ok(())
    }
}
