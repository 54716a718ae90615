//! The wrapped keys, and the fields that are sealed with them and do not come from the log again.

use ajatus_events::{ConversationId, Sealed, UserId};
use uuid::Uuid;

use super::profile::ProfileKey;
use super::{Postgres, StoreError, int, small};
use crate::keys::{Purpose, UserKey};

/// A user's keys as they rest: version and wrapped key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WrappedKeys {
    pub(crate) now: (u32, Vec<u8>),
    /// The one that is being replaced.
    pub(crate) older: Option<(u32, Vec<u8>)>,
}

/// Sealed fields of a user that are not of the present version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OldFields {
    /// Turns.
    pub memories: u64,
    /// Entries of the profile.
    pub profiles: u64,
    /// Changes of the profile.
    pub edits: u64,
    /// Titles of conversations.
    pub titles: u64,
}

impl OldFields {
    /// All together.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.memories + self.profiles + self.edits + self.titles
    }
}

impl Postgres {
    pub(crate) async fn wrapped_key(&self, user: UserId) -> Result<Option<WrappedKeys>, StoreError> {
        type Row = (i32, Option<Vec<u8>>, Option<i32>, Option<Vec<u8>>);
        let row: Option<Row> = sqlx::query_as("select version, wrapped, previous_version, previous_wrapped from user_keys where user_id = $1")
            .bind(user.0)
            .fetch_optional(&self.pool)
            .await?;
        let Some((version, Some(wrapped), older, older_wrapped)) = row else { return Ok(None) };
        let older = older.zip(older_wrapped).map(|(version, wrapped)| Ok::<_, StoreError>((small(version)?, wrapped))).transpose()?;
        Ok(Some(WrappedKeys { now: (small(version)?, wrapped), older }))
    }

    pub(crate) async fn insert_key(&self, user: UserId, version: u32, wrapped: &[u8]) -> Result<(), StoreError> {
        sqlx::query("insert into user_keys (user_id, version, wrapped) values ($1, $2, $3) on conflict (user_id) do nothing")
            .bind(user.0)
            .bind(int(version)?)
            .bind(wrapped)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Puts a key before the present one, if that is still the version it was, none is being replaced, and it was not destroyed.
    pub(crate) async fn replace_key(&self, user: UserId, present: u32, next: u32, wrapped: &[u8]) -> Result<(), StoreError> {
        sqlx::query(
            "update user_keys set previous_version = version, previous_wrapped = wrapped, version = $3, wrapped = $4
             where user_id = $1 and version = $2 and previous_version is null and wrapped is not null",
        )
        .bind(user.0)
        .bind(int(present)?)
        .bind(int(next)?)
        .bind(wrapped)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    pub(crate) async fn drop_older_key(&self, user: UserId) -> Result<(), StoreError> {
        sqlx::query("update user_keys set previous_version = null, previous_wrapped = null where user_id = $1").bind(user.0).execute(&self.pool).await?;
        Ok(())
    }

    /// Every user's keys that were not destroyed.
    pub(crate) async fn wrapped_keys(&self) -> Result<Vec<(UserId, WrappedKeys)>, StoreError> {
        type Row = (Uuid, i32, Vec<u8>, Option<i32>, Option<Vec<u8>>);
        let rows: Vec<Row> =
            sqlx::query_as("select user_id, version, wrapped, previous_version, previous_wrapped from user_keys where wrapped is not null order by user_id")
                .fetch_all(&self.pool)
                .await?;
        let read = |(user, version, wrapped, older, older_wrapped): Row| {
            let older = older.zip(older_wrapped).map(|(version, wrapped)| Ok::<_, StoreError>((small(version)?, wrapped))).transpose()?;
            Ok((UserId(user), WrappedKeys { now: (small(version)?, wrapped), older }))
        };
        rows.into_iter().map(read).collect()
    }

    /// Puts keys wrapped anew in place of what is there, if it still is.
    pub(crate) async fn rewrap_key(&self, user: UserId, held: &WrappedKeys, anew: &WrappedKeys) -> Result<(), StoreError> {
        sqlx::query("update user_keys set wrapped = $3, previous_wrapped = $4 where user_id = $1 and wrapped = $2")
            .bind(user.0)
            .bind(&held.now.1)
            .bind(&anew.now.1)
            .bind(anew.older.as_ref().map(|(_, wrapped)| wrapped.clone()))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Users whose keys are being replaced.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn users_replacing(&self) -> Result<Vec<UserId>, StoreError> {
        let rows: Vec<(Uuid,)> = sqlx::query_as("select user_id from user_keys where previous_version is not null order by user_id").fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(|(user,)| UserId(user)).collect())
    }

    /// How many sealed fields of a user are of another version than the key's.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn old_fields(&self, key: &UserKey) -> Result<OldFields, StoreError> {
        let mut counts = [0; 4];
        for (count, (table, column)) in counts.iter_mut().zip([("memories", "body"), ("profiles", "body"), ("profile_edits", "body"), ("conversations", "title")]) {
            // Names are constants of this function.
            let sql = format!("select count(*) from {table} where user_id = $1 and substring({column} from 2 for 4) <> $2");
            let (found,): (i64,) = sqlx::query_as(sqlx::AssertSqlSafe(sql))
                .bind(key.user().0)
                .bind(key.version().to_be_bytes().as_slice())
                .fetch_one(&self.pool)
                .await?;
            *count = super::unsigned(found)?;
        }
        let [memories, profiles, edits, titles] = counts;
        Ok(OldFields { memories, profiles, edits, titles })
    }

    /// Seals profile entries and titles anew that are of another version than the key's; the rest follows from the log. Each row changes only
    /// if it is still as it was read. Returns how many changed.
    ///
    /// # Errors
    /// As the pool's; [`StoreError::Key`] for a field that does not open.
    pub async fn seal_anew(&self, key: &UserKey) -> Result<u64, StoreError> {
        let (user, version) = (key.user(), key.version().to_be_bytes());
        let mut changed = 0;
        let entries: Vec<(String, String, Vec<u8>)> =
            sqlx::query_as("select kind, entry, body from profiles where user_id = $1 and substring(body from 2 for 4) <> $2")
                .bind(user.0)
                .bind(version.as_slice())
                .fetch_all(&self.pool)
                .await?;
        for (kind, entry, body) in entries {
            let named = ProfileKey { user_id: user, kind, entry };
            let plain = key.open(Purpose::Memories, &named.aad(), &Sealed(body.clone()))?;
            let sealed = key.seal(Purpose::Memories, &named.aad(), &plain);
            let done = sqlx::query("update profiles set body = $4 where user_id = $1 and kind = $2 and entry = $3 and body = $5")
                .bind(user.0)
                .bind(&named.kind)
                .bind(&named.entry)
                .bind(sealed.0)
                .bind(body)
                .execute(&self.pool)
                .await?;
            changed += done.rows_affected();
        }
        let titles: Vec<(Uuid, Vec<u8>)> =
            sqlx::query_as("select id, title from conversations where user_id = $1 and substring(title from 2 for 4) <> $2")
                .bind(user.0)
                .bind(version.as_slice())
                .fetch_all(&self.pool)
                .await?;
        for (id, title) in titles {
            let aad = super::conversations::title_aad(user, ConversationId(id));
            let plain = key.open(Purpose::Memories, &aad, &Sealed(title.clone()))?;
            let done = sqlx::query("update conversations set title = $3 where user_id = $1 and id = $2 and title = $4")
                .bind(user.0)
                .bind(id)
                .bind(key.seal(Purpose::Memories, &aad, &plain).0)
                .bind(title)
                .execute(&self.pool)
                .await?;
            changed += done.rows_affected();
        }
        Ok(changed)
    }
}
