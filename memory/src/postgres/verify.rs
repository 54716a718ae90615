//! What the other stores are compared with, and made anew from: whole views, as they are at one epoch.
//!
//! Holds always: everything that one [`Snapshot`] gives is of one epoch; nothing is opened here, bodies stay sealed and vectors turned.
//! Not promised: speed of writers meanwhile (rows that are replaced stay until the snapshot ends).

use std::collections::{BTreeMap, BTreeSet};

use ajatus_events::{Checksum, ConversationId, InteractionId, InteractionKey, Role, Sealed, UserId};
use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use pgvector::Vector;
use sqlx::{Postgres as Driver, Transaction};
use uuid::Uuid;

use super::memories::{Memory, Row, memory};
use super::pipeline::{EpochDelta, read_positions};
use super::profile::{ProfileKey, ProfileRow, write_profiles};
use super::{MemoryRow, Postgres, StoreError, bigint, small, unsigned};
use crate::keys::UserKey;

/// A row of `memories`, sealed, and the epoch that wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptMemory {
    /// The row.
    pub row: MemoryRow,
    /// Its epoch.
    pub epoch: u64,
}

/// A row of `profiles`, sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptProfile {
    /// Which.
    pub key: ProfileKey,
    /// The sealed entry.
    pub body: Sealed,
    /// The keyed hash that stands beside it.
    pub fingerprint: String,
}

/// The views at one epoch, for as long as this is held: a transaction that only reads.
pub struct Snapshot {
    transaction: Transaction<'static, Driver>,
    epoch: u64,
    positions: Vec<(u32, u64)>,
}

type Kept = (Uuid, Uuid, Uuid, i32, i32, String, DateTime<Utc>, Vec<u8>, String, Vector, String, i64);

impl Postgres {
    /// The views as they are now, and as they stay for whoever holds it.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn snapshot(&self, pipeline: &str) -> Result<Snapshot, StoreError> {
        let mut transaction = self.begin().await?;
        sqlx::query("set transaction isolation level repeatable read, read only").execute(&mut *transaction).await?;
        let progress: Option<(i64,)> =
            sqlx::query_as("select progress from pipelines where name = $1").bind(pipeline).fetch_optional(&mut *transaction).await?;
        let positions = read_positions(&mut transaction, pipeline).await?;
        Ok(Snapshot { transaction, epoch: unsigned(progress.map_or(0, |(progress,)| progress))?, positions })
    }

    /// The last epoch of which everything is on the log: the progress, or the one before the oldest that still waits in the outbox.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn relayed(&self, pipeline: &str) -> Result<u64, StoreError> {
        let (progress, waiting): (Option<i64>, Option<i64>) =
            sqlx::query_as("select (select progress from pipelines where name = $1), (select min(epoch) from outbox where pipeline = $1)")
                .bind(pipeline)
                .fetch_one(&self.pool)
                .await?;
        let progress = unsigned(progress.unwrap_or(0))?;
        Ok(match waiting {
            Some(waiting) => progress.min(unsigned(waiting)?.saturating_sub(1)),
            None => progress,
        })
    }

    /// Names what a pipeline's epochs belong to: the database, and the plan by which the views were made. After another database is put in its
    /// place, or the views are made anew by another plan, it is another name.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn lineage(&self, pipeline: &str) -> Result<String, StoreError> {
        let (system, database, plan): (String, i64, Option<String>) = sqlx::query_as(
            "select (select system_identifier::text from pg_control_system()),
                    (select oid::bigint from pg_database where datname = current_database()),
                    (select plan_hash from pipelines where name = $1)",
        )
        .bind(pipeline)
        .fetch_one(&self.pool)
        .await?;
        Ok(format!("{pipeline} of {system}/{database} by {}", plan.unwrap_or_default()))
    }

    /// Writes rows of profiles and takes others out, if the views are still at `epoch`; whether they were. The pipeline waits meanwhile.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn mend_profiles(&self, pipeline: &str, epoch: u64, now: Vec<ProfileRow>, gone: Vec<ProfileKey>) -> Result<bool, StoreError> {
        let mut transaction = self.begin().await?;
        let progress: Option<(i64,)> =
            sqlx::query_as("select progress from pipelines where name = $1 for update").bind(pipeline).fetch_optional(&mut *transaction).await?;
        if progress != Some((bigint(epoch),)) {
            return Ok(false);
        }
        let delta = EpochDelta { epoch, profile: now, profile_deletes: gone, ..EpochDelta::default() };
        write_profiles(&mut transaction, &delta).await?;
        transaction.commit().await?;
        Ok(true)
    }
}

impl Snapshot {
    /// Everything up to this epoch is in, and nothing after it.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Per partition of the log, everything below is in.
    #[must_use]
    pub fn positions(&self) -> &[(u32, u64)] {
        &self.positions
    }

    /// Count and sum over each user's memories, of one user or of all.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn checksums(&mut self, user: Option<UserId>) -> Result<BTreeMap<UserId, Checksum>, StoreError> {
        let mut sums: BTreeMap<UserId, Checksum> = BTreeMap::new();
        let mut rows = sqlx::query_as::<_, (Uuid, Uuid, i64)>("select user_id, id, epoch from memories where $1::uuid is null or user_id = $1")
            .bind(user.map(|user| user.0))
            .fetch(&mut *self.transaction);
        while let Some((user, id, epoch)) = rows.try_next().await? {
            sums.entry(UserId(user)).or_default().add(user.as_u128(), id.as_u128(), unsigned(epoch)?);
        }
        Ok(sums)
    }

    /// One user's memories, in no order.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn memories(&mut self, user: UserId) -> Result<Vec<KeptMemory>, StoreError> {
        let rows: Vec<Kept> = sqlx::query_as(
            "select user_id, id, conversation_id, session, position, role, occurred_at, body, fingerprint, vector, model, epoch
             from memories where user_id = $1",
        )
        .bind(user.0)
        .fetch_all(&mut *self.transaction)
        .await?;
        rows.into_iter().map(kept).collect()
    }

    /// Everybody's memories by user and id, those after a key, so many at most.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn page(&mut self, after: Option<InteractionKey>, limit: u32) -> Result<Vec<KeptMemory>, StoreError> {
        let after = after.map_or((Uuid::nil(), Uuid::nil()), |key| (key.user_id.0, key.id.0));
        let rows: Vec<Kept> = sqlx::query_as(
            "select user_id, id, conversation_id, session, position, role, occurred_at, body, fingerprint, vector, model, epoch
             from memories where (user_id, id) > ($1, $2) order by user_id, id limit $3",
        )
        .bind(after.0)
        .bind(after.1)
        .bind(i64::from(limit))
        .fetch_all(&mut *self.transaction)
        .await?;
        rows.into_iter().map(kept).collect()
    }

    /// Everybody who has a memory, a change of the profile, or an entry of one.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn users(&mut self) -> Result<BTreeSet<UserId>, StoreError> {
        let rows: Vec<(Uuid,)> =
            sqlx::query_as("select user_id from memories union select user_id from profile_edits union select user_id from profiles")
                .fetch_all(&mut *self.transaction)
                .await?;
        Ok(rows.into_iter().map(|(user,)| UserId(user)).collect())
    }

    /// A user's turns, opened, without their vectors.
    ///
    /// # Errors
    /// As the pool's; [`StoreError::Key`] for a body that does not open.
    pub async fn turns(&mut self, key: &UserKey, user: UserId) -> Result<Vec<Memory>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as("select id, conversation_id, session, position, role, occurred_at, body, epoch from memories where user_id = $1")
            .bind(user.0)
            .fetch_all(&mut *self.transaction)
            .await?;
        rows.into_iter().map(|row| memory(key, user, row)).collect()
    }

    /// A user's rows of `profiles`, as they lie there.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn profile(&mut self, user: UserId) -> Result<Vec<KeptProfile>, StoreError> {
        let rows: Vec<(String, String, Vec<u8>, String)> =
            sqlx::query_as("select kind, entry, body, fingerprint from profiles where user_id = $1").bind(user.0).fetch_all(&mut *self.transaction).await?;
        let row = |(kind, entry, body, fingerprint)| KeptProfile { key: ProfileKey { user_id: user, kind, entry }, body: Sealed(body), fingerprint };
        Ok(rows.into_iter().map(row).collect())
    }

    /// The changes that a user made of the profile, opened.
    ///
    /// # Errors
    /// As the pool's; [`StoreError::Key`] for one that does not open.
    pub async fn edits(&mut self, key: &UserKey, user: UserId) -> Result<Vec<super::HeldEdit>, StoreError> {
        super::profile::edits(&mut *self.transaction, key, user).await
    }

    /// Ends it.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn close(self) -> Result<(), StoreError> {
        Ok(self.transaction.rollback().await?)
    }
}

fn kept(row: Kept) -> Result<KeptMemory, StoreError> {
    let (user, id, conversation, session, position, role, occurred_at, body, fingerprint, vector, model, epoch) = row;
    let row = MemoryRow {
        key: InteractionKey { user_id: UserId(user), id: InteractionId(id) },
        conversation_id: ConversationId(conversation),
        session: small(session)?,
        position: small(position)?,
        role: role.parse::<Role>().map_err(StoreError::Value)?,
        occurred_at,
        body: Sealed(body),
        fingerprint,
        vector: vector.to_vec(),
        model,
    };
    Ok(KeptMemory { row, epoch: unsigned(epoch)? })
}
