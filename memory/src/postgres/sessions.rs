//! Sessions and refresh tokens: a token is exchanged once; seen again later, the whole session ends.

use ajatus_events::UserId;
use chrono::{DateTime, Duration, Utc};
use uuid::Uuid;

use super::{Postgres, StoreError};

/// How long the token just exchanged still answers with the same successor: a client whose answer was lost asks again.
const GRACE: Duration = Duration::seconds(10);

/// One signed-in device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The session.
    pub id: Uuid,
    /// What the client calls itself.
    pub device: String,
    /// When it signed in.
    pub created_at: DateTime<Utc>,
    /// When it last refreshed.
    pub last_used_at: DateTime<Utc>,
}

/// What became of a refresh token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// Exchanged for the new one.
    Rotated {
        /// Whose.
        user: UserId,
        /// Which session.
        session: Uuid,
    },
    /// Exchanged a moment ago: answer with the same successor (sealed under a key derived from the presented token).
    Grace {
        /// Whose.
        user: UserId,
        /// Which session.
        session: Uuid,
        /// The successor, as given at its exchange.
        successor: Vec<u8>,
    },
    /// Used twice: the session was ended, for one of the two is a thief.
    Reused {
        /// Whose.
        user: UserId,
    },
    /// Never issued, ended, or too old.
    Unknown,
}

impl Postgres {
    /// Starts a session with its first refresh token.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn start_session(&self, user: UserId, device: &str, token_hash: &[u8; 32], now: DateTime<Utc>) -> Result<Uuid, StoreError> {
        let session = Uuid::now_v7();
        let mut transaction = self.begin().await?;
        sqlx::query("insert into sessions (id, user_id, device, created_at, last_used_at) values ($1, $2, $3, $4, $4)")
            .bind(session)
            .bind(user.0)
            .bind(device)
            .bind(now)
            .execute(&mut *transaction)
            .await?;
        sqlx::query("insert into refresh_tokens (token_hash, session_id, issued_at) values ($1, $2, $3)")
            .bind(token_hash.as_slice())
            .bind(session)
            .bind(now)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(session)
    }

    /// Exchanges a refresh token for the next; tokens issued before `now - idle` are unknown.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn rotate(
        &self,
        token_hash: &[u8; 32],
        new_hash: &[u8; 32],
        sealed_new: &[u8],
        now: DateTime<Utc>,
        idle: Duration,
    ) -> Result<Rotation, StoreError> {
        type Row = (Uuid, Uuid, DateTime<Utc>, Option<DateTime<Utc>>, Option<Vec<u8>>, Option<DateTime<Utc>>);
        let mut transaction = self.begin().await?;
        let row: Option<Row> = sqlx::query_as(
            "select s.user_id, s.id, t.issued_at, t.rotated_at, t.successor, s.revoked_at
             from refresh_tokens t join sessions s on s.id = t.session_id where t.token_hash = $1 for update of t, s",
        )
        .bind(token_hash.as_slice())
        .fetch_optional(&mut *transaction)
        .await?;
        let Some((user, session, issued_at, rotated_at, successor, None)) = row else {
            return Ok(Rotation::Unknown);
        };
        let user = UserId(user);
        match (rotated_at, successor) {
            (None, _) if now - issued_at > idle => Ok(Rotation::Unknown),
            (None, _) => {
                sqlx::query("update refresh_tokens set rotated_at = $2, successor = $3 where token_hash = $1")
                    .bind(token_hash.as_slice())
                    .bind(now)
                    .bind(sealed_new)
                    .execute(&mut *transaction)
                    .await?;
                sqlx::query("insert into refresh_tokens (token_hash, session_id, issued_at) values ($1, $2, $3)")
                    .bind(new_hash.as_slice())
                    .bind(session)
                    .bind(now)
                    .execute(&mut *transaction)
                    .await?;
                sqlx::query("update sessions set last_used_at = $2 where id = $1").bind(session).bind(now).execute(&mut *transaction).await?;
                transaction.commit().await?;
                Ok(Rotation::Rotated { user, session })
            }
            (Some(at), Some(successor)) if now - at <= GRACE => Ok(Rotation::Grace { user, session, successor }),
            (Some(_), _) => {
                sqlx::query("update sessions set revoked_at = $2 where id = $1").bind(session).bind(now).execute(&mut *transaction).await?;
                transaction.commit().await?;
                Ok(Rotation::Reused { user })
            }
        }
    }

    /// Ends a session; its tokens are unknown from now on.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn revoke_session(&self, user: UserId, session: Uuid, now: DateTime<Utc>) -> Result<(), StoreError> {
        sqlx::query("update sessions set revoked_at = coalesce(revoked_at, $3) where id = $2 and user_id = $1")
            .bind(user.0)
            .bind(session)
            .bind(now)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Whether the session may still act.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn session_alive(&self, user: UserId, session: Uuid) -> Result<bool, StoreError> {
        let row: Option<(bool,)> = sqlx::query_as("select revoked_at is null from sessions where id = $2 and user_id = $1")
            .bind(user.0)
            .bind(session)
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.is_some_and(|(alive,)| alive))
    }

    /// The user's open sessions, last used first.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn sessions(&self, user: UserId) -> Result<Vec<Session>, StoreError> {
        let rows: Vec<(Uuid, String, DateTime<Utc>, DateTime<Utc>)> = sqlx::query_as(
            "select id, device, created_at, last_used_at from sessions where user_id = $1 and revoked_at is null
             order by last_used_at desc limit 100",
        )
        .bind(user.0)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|(id, device, created_at, last_used_at)| Session { id, device, created_at, last_used_at }).collect())
    }
}
