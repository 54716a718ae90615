//! The views of what is known of each user: written with an epoch, read by user.

use std::collections::HashMap;

use ajatus_events::{Body, Interaction, InteractionId, InteractionKey, ProfileEdit, Sealed, UserId};
use chrono::{DateTime, Utc};
use sqlx::{Postgres as Driver, Transaction};
use uuid::Uuid;

use super::pipeline::EpochDelta;
use super::{Postgres, StoreError, bigint, unsigned};
use crate::keys::{KeyRing, Purpose, UserKey};

/// Names one entry of one user's profile.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProfileKey {
    /// Whose.
    pub user_id: UserId,
    /// `fact`, `interest`, `habits` or `use`.
    pub kind: String,
    /// Keyed hash of the entry's name.
    pub entry: String,
}

/// One row of the `profiles` view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileRow {
    /// Which.
    pub key: ProfileKey,
    /// The entry, JSON, sealed with [`ProfileKey::aad`].
    pub body: Sealed,
    /// Keyed hash of the entry.
    pub fingerprint: String,
}

/// One row of the `profile_edits` view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EditRow {
    /// User and record.
    pub key: InteractionKey,
    /// When the user made it.
    pub occurred_at: DateTime<Utc>,
    /// As on the log.
    pub body: Sealed,
}

/// An entry, opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileDocument {
    /// Which.
    pub key: ProfileKey,
    /// JSON.
    pub body: String,
    /// The epoch that wrote it.
    pub epoch: u64,
}

/// A change that the user made, opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldEdit {
    /// Its record.
    pub id: InteractionId,
    /// When.
    pub occurred_at: DateTime<Utc>,
    /// What it changes.
    pub edit: ProfileEdit,
    /// The epoch that wrote it.
    pub epoch: u64,
}

impl ProfileKey {
    /// Names an entry: the same name under the same key is the same entry.
    #[must_use]
    pub fn of(key: &UserKey, user_id: UserId, kind: &str, name: &str) -> Self {
        let hash = key.fingerprint(Purpose::Memories, format!("profile\u{1f}{kind}\u{1f}{name}").as_bytes());
        Self { user_id, kind: kind.to_owned(), entry: hash.chars().take(32).collect() }
    }

    /// Additional authenticated data of an entry's body.
    #[must_use]
    pub fn aad(&self) -> Vec<u8> {
        format!("1/profiles/body/{}/{}/{}", self.user_id, self.kind, self.entry).into_bytes()
    }

    /// Keyed hash of an entry's JSON.
    #[must_use]
    pub fn fingerprint(key: &UserKey, body: &str) -> String {
        key.fingerprint(Purpose::Memories, format!("profile body\u{1f}{body}").as_bytes()).chars().take(32).collect()
    }
}

impl ProfileRow {
    /// Seals an entry.
    #[must_use]
    pub fn sealed(key: &UserKey, user_id: UserId, kind: &str, name: &str, body: &str) -> Self {
        let named = ProfileKey::of(key, user_id, kind, name);
        Self { body: key.seal(Purpose::Memories, &named.aad(), body.as_bytes()), fingerprint: ProfileKey::fingerprint(key, body), key: named }
    }
}

impl Postgres {
    /// Everything of a user's profile, and the pipeline's progress it stands for, from one snapshot; in order of kind and entry.
    ///
    /// # Errors
    /// As the pool's and the key ring's.
    pub async fn profile(&self, keys: &KeyRing, user: UserId, pipeline: &str) -> Result<(u64, Vec<ProfileDocument>), StoreError> {
        let mut transaction = self.begin().await?;
        sqlx::query("set transaction isolation level repeatable read, read only").execute(&mut *transaction).await?;
        let progress: Option<(i64,)> =
            sqlx::query_as("select progress from pipelines where name = $1").bind(pipeline).fetch_optional(&mut *transaction).await?;
        let rows: Vec<(String, String, Vec<u8>, i64)> =
            sqlx::query_as("select kind, entry, body, epoch from profiles where user_id = $1 order by kind, entry")
                .bind(user.0)
                .fetch_all(&mut *transaction)
                .await?;
        transaction.commit().await?;
        let progress = unsigned(progress.map_or(0, |(progress,)| progress))?;
        if rows.is_empty() {
            return Ok((progress, Vec::new()));
        }
        let key = keys.user(user).await?;
        let open = |(kind, entry, body, epoch): (String, String, Vec<u8>, i64)| {
            let named = ProfileKey { user_id: user, kind, entry };
            let plain = key.open(Purpose::Memories, &named.aad(), &Sealed(body))?;
            let body = String::from_utf8(plain).map_err(|_| StoreError::Value("a profile's entry is not text".to_owned()))?;
            Ok(ProfileDocument { key: named, body, epoch: unsigned(epoch)? })
        };
        Ok((progress, rows.into_iter().map(open).collect::<Result<_, StoreError>>()?))
    }

    /// What the user changed of their profile, oldest first.
    ///
    /// # Errors
    /// As the pool's and the key ring's.
    pub async fn profile_edits(&self, keys: &KeyRing, user: UserId) -> Result<Vec<HeldEdit>, StoreError> {
        let rows = edit_rows(&self.pool, user).await?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let key = keys.user(user).await?;
        rows.into_iter().map(|row| edit(&key, user, row)).collect()
    }

    /// Fingerprint of every entry of every user, to be compared with what it should be.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn profile_fingerprints(&self) -> Result<HashMap<ProfileKey, String>, StoreError> {
        let rows: Vec<(Uuid, String, String, String)> =
            sqlx::query_as("select user_id, kind, entry, fingerprint from profiles").fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(|(user, kind, entry, fingerprint)| (ProfileKey { user_id: UserId(user), kind, entry }, fingerprint)).collect())
    }

    /// The last epoch that was minted at or before a time; `None` if none was.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn epoch_at(&self, pipeline: &str, at: DateTime<Utc>) -> Result<Option<u64>, StoreError> {
        let (epoch,): (Option<i64>,) = sqlx::query_as("select max(epoch) from epoch_ledger where pipeline = $1 and minted_at <= $2")
            .bind(pipeline)
            .bind(at)
            .fetch_one(&self.pool)
            .await?;
        epoch.map(unsigned).transpose()
    }
}

type StoredEdit = (Uuid, DateTime<Utc>, Vec<u8>, i64);

async fn edit_rows(executor: impl sqlx::Executor<'_, Database = Driver>, user: UserId) -> Result<Vec<StoredEdit>, StoreError> {
    let query = sqlx::query_as("select id, occurred_at, body, epoch from profile_edits where user_id = $1 order by occurred_at, id");
    Ok(query.bind(user.0).fetch_all(executor).await?)
}

fn edit(key: &UserKey, user: UserId, (id, occurred_at, body, epoch): StoredEdit) -> Result<HeldEdit, StoreError> {
    let id = InteractionId(id);
    let plain = key.open(Purpose::Messages, &Interaction::aad(user, id), &Sealed(body))?;
    let body: Body = serde_json::from_slice(&plain).map_err(|error| StoreError::Value(format!("a body is not one ({error})")))?;
    let edit = body.edit.ok_or_else(|| StoreError::Value("an edit's body holds none".to_owned()))?;
    Ok(HeldEdit { id, occurred_at, edit, epoch: unsigned(epoch)? })
}

/// What a user changed of the profile, oldest first.
pub(super) async fn edits(executor: impl sqlx::Executor<'_, Database = Driver>, key: &UserKey, user: UserId) -> Result<Vec<HeldEdit>, StoreError> {
    edit_rows(executor, user).await?.into_iter().map(|row| edit(key, user, row)).collect()
}

pub(super) async fn write_profiles(transaction: &mut Transaction<'_, Driver>, delta: &EpochDelta) -> Result<(), StoreError> {
    for keys in delta.profile_deletes.chunks(2_000) {
        sqlx::query(
            "delete from profiles p using unnest($1::uuid[], $2::text[], $3::text[]) as d (user_id, kind, entry)
             where p.user_id = d.user_id and p.kind = d.kind and p.entry = d.entry",
        )
        .bind(keys.iter().map(|key| key.user_id.0).collect::<Vec<_>>())
        .bind(keys.iter().map(|key| key.kind.clone()).collect::<Vec<_>>())
        .bind(keys.iter().map(|key| key.entry.clone()).collect::<Vec<_>>())
        .execute(&mut **transaction)
        .await?;
    }
    for rows in delta.profile.chunks(500) {
        sqlx::query(
            "insert into profiles (user_id, kind, entry, body, fingerprint, epoch)
             select *, $6 from unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::text[])
             on conflict (user_id, kind, entry) do update set body = excluded.body, fingerprint = excluded.fingerprint, epoch = excluded.epoch",
        )
        .bind(rows.iter().map(|row| row.key.user_id.0).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.key.kind.clone()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.key.entry.clone()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.body.0.clone()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.fingerprint.clone()).collect::<Vec<_>>())
        .bind(bigint(delta.epoch))
        .execute(&mut **transaction)
        .await?;
    }
    if !delta.deletes.is_empty() {
        sqlx::query("delete from profile_edits e using unnest($1::uuid[], $2::uuid[]) as d (user_id, id) where e.user_id = d.user_id and e.id = d.id")
            .bind(delta.deletes.iter().map(|key| key.user_id.0).collect::<Vec<_>>())
            .bind(delta.deletes.iter().map(|key| key.id.0).collect::<Vec<_>>())
            .execute(&mut **transaction)
            .await?;
    }
    for rows in delta.edits.chunks(500) {
        sqlx::query(
            "insert into profile_edits (user_id, id, occurred_at, body, epoch) select *, $5 from unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::bytea[])
             on conflict (user_id, id) do update set occurred_at = excluded.occurred_at, body = excluded.body, epoch = excluded.epoch",
        )
        .bind(rows.iter().map(|row| row.key.user_id.0).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.key.id.0).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.occurred_at).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.body.0.clone()).collect::<Vec<_>>())
        .bind(bigint(delta.epoch))
        .execute(&mut **transaction)
        .await?;
    }
    Ok(())
}
