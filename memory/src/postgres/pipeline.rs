//! The pipeline's books: fence, ledger, the one transaction of an epoch, outbox.

use ajatus_events::{ConversationId, InteractionKey, Role, Sealed, UserId};
use chrono::{DateTime, Utc};
use pgvector::Vector;
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use sqlx::{Postgres as Driver, Transaction};
use uuid::Uuid;

use super::profile::{EditRow, ProfileKey, ProfileRow, write_profiles};
use super::{Postgres, StoreError, bigint, int, small, unsigned};

/// The companion's own pipeline, whose views are served.
pub const PIPELINE: &str = "companion";

/// Where a pipeline stands when it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipelineState {
    /// Ours alone from now on; every write checks it.
    pub generation: i64,
    /// The last epoch in the views; 0: none.
    pub progress: u64,
    /// The last epoch written to the ledger.
    pub minted: u64,
    /// Per partition, everything below is in the views.
    pub positions: Vec<(u32, u64)>,
    /// Minted but not yet in the views, in order.
    pub pending: Vec<LedgerRow>,
    /// The views were made by another plan and must be made anew ([`EpochDelta::reset`]).
    pub plan_changed: bool,
}

/// A run of one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsetRange {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: u32,
    /// First offset.
    pub from: u64,
    /// One past the last.
    pub to: u64,
}

/// What an epoch is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerRow {
    /// The epoch.
    pub epoch: u64,
    /// Its input.
    pub ranges: Vec<OffsetRange>,
}

/// One row of the `memories` view.
#[derive(Clone, Debug, PartialEq)]
pub struct MemoryRow {
    /// User and turn.
    pub key: InteractionKey,
    /// The thread.
    pub conversation_id: ConversationId,
    /// Session inside it.
    pub session: u32,
    /// Position inside it.
    pub position: u32,
    /// Who speaks.
    pub role: Role,
    /// When.
    pub occurred_at: DateTime<Utc>,
    /// The sealed body, as on the log.
    pub body: Sealed,
    /// Keyed fingerprint of the content.
    pub fingerprint: String,
    /// The turn's vector, in the user's own coordinates ([`UserKey::turned`](crate::keys::UserKey::turned)).
    pub vector: Vec<f32>,
    /// Model that made it.
    pub model: String,
}

/// One row of the `activity` view: absolute values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivityRow {
    /// Whose.
    pub user_id: UserId,
    /// Turns of the user.
    pub user_turns: u64,
    /// Turns of the companion.
    pub assistant_turns: u64,
    /// Turns of others.
    pub other_turns: u64,
    /// First turn.
    pub first_at: DateTime<Utc>,
    /// Last turn.
    pub last_at: DateTime<Utc>,
}

/// A record to put on the log once its epoch is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: u32,
    /// Key.
    pub key: Vec<u8>,
    /// Value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
}

/// Everything that one epoch changes.
#[derive(Clone, Debug, Default)]
pub struct EpochDelta {
    /// Which pipeline.
    pub pipeline: String,
    /// Its plan.
    pub plan_hash: String,
    /// Our generation.
    pub generation: i64,
    /// The epoch before.
    pub previous: u64,
    /// The epoch.
    pub epoch: u64,
    /// Per partition it moved: everything below is in the views afterwards.
    pub positions: Vec<(u32, u64)>,
    /// Empty the views first: the plan has changed.
    pub reset: bool,
    /// Empty the activity view first: `activity` holds every user.
    pub activity_reset: bool,
    /// Memories that are, or are now, like this.
    pub upserts: Vec<MemoryRow>,
    /// Memories that are not any more.
    pub deletes: Vec<InteractionKey>,
    /// Users' counts.
    pub activity: Vec<ActivityRow>,
    /// Users with nothing left.
    pub activity_deletes: Vec<UserId>,
    /// Entries of profiles that are, or are now, like this.
    pub profile: Vec<ProfileRow>,
    /// Entries that are not any more.
    pub profile_deletes: Vec<ProfileKey>,
    /// Edits of profiles; those that are not any more are among `deletes`.
    pub edits: Vec<EditRow>,
    /// What the log must hear.
    pub outbox: Vec<OutboxRow>,
}

/// What became of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It is in, now.
    Now,
    /// It was in before; nothing changed.
    Already,
}

impl Postgres {
    /// Takes the pipeline over: bumps its generation (whoever held it is fenced) and says where it stands.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn open_pipeline(&self, name: &str, plan_hash: &str) -> Result<PipelineState, StoreError> {
        let mut transaction = self.begin().await?;
        let (plan, generation, minted, progress): (String, i64, i64, i64) = sqlx::query_as(
            "insert into pipelines (name, plan_hash, generation, minted, progress) values ($1, $2, 1, 0, 0)
             on conflict (name) do update set generation = pipelines.generation + 1
             returning plan_hash, generation, minted, progress",
        )
        .bind(name)
        .bind(plan_hash)
        .fetch_one(&mut *transaction)
        .await?;
        let positions = read_positions(&mut transaction, name).await?;
        let rows: Vec<(i64, Json<Vec<OffsetRange>>)> =
            sqlx::query_as("select epoch, ranges from epoch_ledger where pipeline = $1 and epoch > $2 order by epoch")
                .bind(name)
                .bind(progress)
                .fetch_all(&mut *transaction)
                .await?;
        transaction.commit().await?;
        let pending = rows
            .into_iter()
            .map(|(epoch, Json(ranges))| Ok(LedgerRow { epoch: unsigned(epoch)?, ranges }))
            .collect::<Result<_, StoreError>>()?;
        Ok(PipelineState {
            generation,
            progress: unsigned(progress)?,
            minted: unsigned(minted)?,
            positions,
            pending,
            plan_changed: plan != plan_hash,
        })
    }

    /// Writes an epoch to the ledger, if nobody minted since `previous` and nobody took over.
    ///
    /// # Errors
    /// [`StoreError::Fenced`].
    pub async fn mint_epoch(
        &self,
        name: &str,
        plan_hash: &str,
        generation: i64,
        previous: u64,
        row: &LedgerRow,
    ) -> Result<(), StoreError> {
        // One statement, so one round trip and one sync: the epoch is on disk when it returns.
        let done = sqlx::query(
            "with taken as (
                 update pipelines set minted = $4 where name = $1 and generation = $2 and minted = $3 returning name
             )
             insert into epoch_ledger (pipeline, epoch, generation, plan_hash, ranges)
             select name, $4, $2, $5, $6 from taken",
        )
        .bind(name)
        .bind(generation)
        .bind(bigint(previous))
        .bind(bigint(row.epoch))
        .bind(plan_hash)
        .bind(Json(&row.ranges))
        .execute(&self.pool)
        .await?;
        if done.rows_affected() == 1 {
            return Ok(());
        }
        // The answer to an earlier attempt may have been lost: then the row is there as we would write it.
        let known: Option<(i64, Json<Vec<OffsetRange>>)> =
            sqlx::query_as("select generation, ranges from epoch_ledger where pipeline = $1 and epoch = $2")
                .bind(name)
                .bind(bigint(row.epoch))
                .fetch_optional(&self.pool)
                .await?;
        match known {
            Some((theirs, Json(ranges))) if theirs == generation && ranges == row.ranges => Ok(()),
            _ => Err(StoreError::Fenced { pipeline: name.to_owned(), generation }),
        }
    }

    /// Brings one epoch into the views: rows, positions, progress and outbox, in one transaction.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] if another run took over; [`StoreError::OutOfOrder`] if the epoch does not follow.
    pub async fn apply_epoch(&self, delta: &EpochDelta) -> Result<Applied, StoreError> {
        let mut transaction = self.begin().await?;
        let (generation, progress): (i64, i64) =
            sqlx::query_as("select generation, progress from pipelines where name = $1 for update")
                .bind(&delta.pipeline)
                .fetch_one(&mut *transaction)
                .await?;
        if generation != delta.generation {
            return Err(StoreError::Fenced { pipeline: delta.pipeline.clone(), generation: delta.generation });
        }
        let progress = unsigned(progress)?;
        if progress >= delta.epoch {
            return Ok(Applied::Already);
        }
        if progress != delta.previous {
            return Err(StoreError::OutOfOrder { epoch: delta.epoch, previous: delta.previous, progress });
        }
        if delta.reset {
            for view in ["delete from memories", "delete from profiles", "delete from profile_edits"] {
                sqlx::query(view).execute(&mut *transaction).await?;
            }
        }
        if delta.reset || delta.activity_reset {
            sqlx::query("delete from activity").execute(&mut *transaction).await?;
        }
        write_memories(&mut transaction, delta).await?;
        write_activity(&mut transaction, delta).await?;
        write_profiles(&mut transaction, delta).await?;
        write_positions(&mut transaction, delta).await?;
        write_outbox(&mut transaction, delta).await?;
        sqlx::query("update pipelines set progress = $2, plan_hash = $3 where name = $1")
            .bind(&delta.pipeline)
            .bind(bigint(delta.epoch))
            .bind(&delta.plan_hash)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(Applied::Now)
    }

    /// What the log must still hear, oldest first.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn outbox(&self, name: &str, limit: u32) -> Result<Vec<(i64, OutboxRow)>, StoreError> {
        let rows: Vec<(i64, String, i32, Vec<u8>, Option<Vec<u8>>)> =
            sqlx::query_as("select id, topic, partition, key, value from outbox where pipeline = $1 order by id limit $2")
                .bind(name)
                .bind(i64::from(limit))
                .fetch_all(&self.pool)
                .await?;
        rows.into_iter()
            .map(|(id, topic, partition, key, value)| Ok((id, OutboxRow { topic, partition: small(partition)?, key, value })))
            .collect()
    }

    /// Forgets what the log has acknowledged.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn outbox_done(&self, name: &str, up_to: i64) -> Result<(), StoreError> {
        sqlx::query("delete from outbox where pipeline = $1 and id <= $2").bind(name).bind(up_to).execute(&self.pool).await?;
        Ok(())
    }

    /// The pipeline's progress and positions, from one snapshot; zero and nothing for a pipeline never opened.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn positions(&self, name: &str) -> Result<(u64, Vec<(u32, u64)>), StoreError> {
        let mut transaction = self.begin().await?;
        sqlx::query("set transaction isolation level repeatable read, read only").execute(&mut *transaction).await?;
        let progress: Option<(i64,)> =
            sqlx::query_as("select progress from pipelines where name = $1").bind(name).fetch_optional(&mut *transaction).await?;
        let positions = read_positions(&mut transaction, name).await?;
        transaction.commit().await?;
        Ok((unsigned(progress.map_or(0, |(progress,)| progress))?, positions))
    }
}

pub(super) async fn read_positions(transaction: &mut Transaction<'_, Driver>, name: &str) -> Result<Vec<(u32, u64)>, StoreError> {
    let rows: Vec<(i32, i64)> =
        sqlx::query_as("select partition, next_offset from pipeline_positions where pipeline = $1 order by partition")
            .bind(name)
            .fetch_all(&mut **transaction)
            .await?;
    rows.into_iter().map(|(partition, next)| Ok((small(partition)?, unsigned(next)?))).collect()
}

async fn write_memories(transaction: &mut Transaction<'_, Driver>, delta: &EpochDelta) -> Result<(), StoreError> {
    if !delta.deletes.is_empty() {
        let users: Vec<Uuid> = delta.deletes.iter().map(|key| key.user_id.0).collect();
        let ids: Vec<Uuid> = delta.deletes.iter().map(|key| key.id.0).collect();
        sqlx::query(
            "delete from memories m using unnest($1::uuid[], $2::uuid[]) as d (user_id, id) where m.user_id = d.user_id and m.id = d.id",
        )
        .bind(users)
        .bind(ids)
        .execute(&mut **transaction)
        .await?;
    }
    // A bounded number of rows per statement: an epoch may be a whole rebuild.
    for rows in delta.upserts.chunks(500) {
        let ints = |value: fn(&MemoryRow) -> u32| rows.iter().map(|row| int(value(row))).collect::<Result<Vec<i32>, _>>();
        sqlx::query(
            "insert into memories (user_id, id, conversation_id, session, position, role, occurred_at, body, fingerprint, vector, model, epoch)
             select *, $12 from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::int[], $5::int[], $6::text[], $7::timestamptz[], $8::bytea[],
                                       $9::text[], $10::vector[], $11::text[])
             on conflict (user_id, id) do update set
                 conversation_id = excluded.conversation_id, session = excluded.session, position = excluded.position,
                 role = excluded.role, occurred_at = excluded.occurred_at, body = excluded.body,
                 fingerprint = excluded.fingerprint, vector = excluded.vector, model = excluded.model, epoch = excluded.epoch",
        )
        .bind(rows.iter().map(|row| row.key.user_id.0).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.key.id.0).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.conversation_id.0).collect::<Vec<_>>())
        .bind(ints(|row| row.session)?)
        .bind(ints(|row| row.position)?)
        .bind(rows.iter().map(|row| row.role.as_str().to_owned()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.occurred_at).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.body.0.clone()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.fingerprint.clone()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| Vector::from(row.vector.clone())).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.model.clone()).collect::<Vec<_>>())
        .bind(bigint(delta.epoch))
        .execute(&mut **transaction)
        .await?;
    }
    Ok(())
}

async fn write_activity(transaction: &mut Transaction<'_, Driver>, delta: &EpochDelta) -> Result<(), StoreError> {
    if !delta.activity_deletes.is_empty() {
        let users: Vec<Uuid> = delta.activity_deletes.iter().map(|user| user.0).collect();
        sqlx::query("delete from activity where user_id = any($1)").bind(users).execute(&mut **transaction).await?;
    }
    if delta.activity.is_empty() {
        return Ok(());
    }
    let rows = &delta.activity;
    sqlx::query(
        "insert into activity (user_id, user_turns, assistant_turns, other_turns, turns, first_at, last_at, epoch)
         select u, a, b, c, a + b + c, f, l, $7
         from unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::timestamptz[], $6::timestamptz[]) as t (u, a, b, c, f, l)
         on conflict (user_id) do update set
             turns = excluded.turns, user_turns = excluded.user_turns, assistant_turns = excluded.assistant_turns,
             other_turns = excluded.other_turns, first_at = excluded.first_at, last_at = excluded.last_at, epoch = excluded.epoch",
    )
    .bind(rows.iter().map(|row| row.user_id.0).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| bigint(row.user_turns)).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| bigint(row.assistant_turns)).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| bigint(row.other_turns)).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.first_at).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.last_at).collect::<Vec<_>>())
    .bind(bigint(delta.epoch))
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn write_positions(transaction: &mut Transaction<'_, Driver>, delta: &EpochDelta) -> Result<(), StoreError> {
    let partitions = delta.positions.iter().map(|(partition, _)| int(*partition)).collect::<Result<Vec<i32>, _>>()?;
    sqlx::query(
        "insert into pipeline_positions (pipeline, partition, next_offset) select $1, * from unnest($2::int[], $3::bigint[])
         on conflict (pipeline, partition) do update set next_offset = excluded.next_offset",
    )
    .bind(&delta.pipeline)
    .bind(partitions)
    .bind(delta.positions.iter().map(|(_, next)| bigint(*next)).collect::<Vec<_>>())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn write_outbox(transaction: &mut Transaction<'_, Driver>, delta: &EpochDelta) -> Result<(), StoreError> {
    for rows in delta.outbox.chunks(1000) {
        let partitions = rows.iter().map(|row| int(row.partition)).collect::<Result<Vec<i32>, _>>()?;
        sqlx::query(
            "insert into outbox (pipeline, epoch, topic, partition, key, value)
             select $1, $2, t, p, k, v
             from unnest($3::text[], $4::int[], $5::bytea[], $6::bytea[]) with ordinality as r (t, p, k, v, n) order by n",
        )
        .bind(&delta.pipeline)
        .bind(bigint(delta.epoch))
        .bind(rows.iter().map(|row| row.topic.clone()).collect::<Vec<_>>())
        .bind(partitions)
        .bind(rows.iter().map(|row| row.key.clone()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.value.clone()).collect::<Vec<_>>())
        .execute(&mut **transaction)
        .await?;
    }
    Ok(())
}
