//! Rows that go with a user or a conversation, the receipts of it, and the pages and the log that old rows lie in.
//!
//! Holds always: a row that is deleted here, or by an epoch before, is in no file of the database once [`Postgres::erase_files`] says so.
//! Not promised: anything about standbys, archives of the log, and backups of a server that is not ours.
//! After a crash: rows go in one transaction; what of the files was not done, the next call does.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ajatus_events::{ConversationId, Sealed, UserId};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use super::sink::quoted;
use super::{Postgres, StoreError, unsigned};
use crate::forget::{ForgetReceipt, Witness};

/// Tables that held what users said, and what was made of it: their pages are written anew.
pub const ERASED_TABLES: [&str; 11] = [
    "accounts",
    "activity",
    "activity_daily",
    "conversations",
    "memories",
    "outbox",
    "profile_edits",
    "profiles",
    "refresh_tokens",
    "sessions",
    "user_keys",
];

/// Longest wait for a table's lock, and for transactions that may still see old rows.
const PATIENCE: Duration = Duration::from_secs(30);
/// Segments of the write-ahead log that are turned over at most.
const SEGMENTS: u32 = 64;

/// How the database's files were rid of old rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseErasure {
    /// Tables whose pages were written anew.
    pub tables: Vec<String>,
    /// Bytes of those tables afterwards.
    pub table_bytes: u64,
    /// Whether the planner's samples of them went.
    pub samples: bool,
    /// Segments of the write-ahead log that went; none if we may not touch it.
    pub wal_segments: u64,
    /// Whether none is left of before.
    pub wal: bool,
    /// What could not be done, a sentence each.
    pub refused: Vec<String>,
}

/// Nonces of a user's sealed fields, by where they lie.
pub type UserWitnesses = BTreeMap<String, Witness>;

impl Postgres {
    /// Nonces of every sealed field of a user: turns, entries and edits of the profile, titles, the login, the wrapped keys.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn user_witnesses(&self, user: UserId) -> Result<UserWitnesses, StoreError> {
        let rows: Vec<(String, Vec<u8>)> = sqlx::query_as(
            "with sealed (place, field) as (
                 select 'memories/' || id::text, body from memories where user_id = $1
                 union all select 'profiles/' || kind || '/' || entry, body from profiles where user_id = $1
                 union all select 'profile_edits/' || id::text, body from profile_edits where user_id = $1
                 union all select 'conversations/' || id::text, title from conversations where user_id = $1
                 union all select 'accounts', login from accounts where id = $1
                 union all select 'user_keys', wrapped from user_keys where user_id = $1
                 union all select 'user_keys/previous', previous_wrapped from user_keys where user_id = $1
             )
             select place, substring(field from 1 for 29) from sealed where field is not null",
        )
        .bind(user.0)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().filter_map(|(place, sealed)| Some((place, Witness::of(&Sealed(sealed))?))).collect())
    }

    /// Rows of a user, per table.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn user_rows(&self, user: UserId) -> Result<BTreeMap<String, u64>, StoreError> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "select 'memories', count(*) from memories where user_id = $1
             union all select 'profiles', count(*) from profiles where user_id = $1
             union all select 'profile_edits', count(*) from profile_edits where user_id = $1
             union all select 'conversations', count(*) from conversations where user_id = $1
             union all select 'activity', count(*) from activity where user_id = $1
             union all select 'sessions', count(*) from sessions where user_id = $1
             union all select 'refresh_tokens', count(*) from refresh_tokens t join sessions s on s.id = t.session_id where s.user_id = $1
             union all select 'user_keys', count(*) from user_keys where user_id = $1 and wrapped is not null
             union all select 'accounts', count(*) from accounts where id = $1",
        )
        .bind(user.0)
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(|(table, count)| Ok((table, unsigned(count)?))).collect()
    }

    /// Takes a conversation out of the list; its turns are the pipeline's to take.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn forget_conversation(&self, user: UserId, id: ConversationId) -> Result<u64, StoreError> {
        let gone = sqlx::query("delete from conversations where user_id = $1 and id = $2").bind(user.0).bind(id.0).execute(&self.pool).await?;
        Ok(gone.rows_affected())
    }

    /// Destroys a user's key, ends their sessions, and takes away their password: from now on nothing sealed for them opens, and nobody
    /// signs in as them.
    ///
    /// # Errors
    /// As the pool's.
    pub(crate) async fn destroy_key(&self, user: UserId) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        for statement in [
            "update user_keys set wrapped = null, previous_version = null, previous_wrapped = null where user_id = $1 and wrapped is not null",
            "update accounts set password_hash = null, training_consent_at = null where id = $1",
            "delete from refresh_tokens t using sessions s where s.id = t.session_id and s.user_id = $1",
            "delete from sessions where user_id = $1",
        ] {
            sqlx::query(statement).bind(user.0).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Deletes everything of a user, the account last: the name is free again. `false` if there was no account.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn forget_account(&self, user: UserId) -> Result<bool, StoreError> {
        let mut transaction = self.begin().await?;
        for statement in [
            "delete from refresh_tokens t using sessions s where s.id = t.session_id and s.user_id = $1",
            "delete from sessions where user_id = $1",
            "delete from conversations where user_id = $1",
            "delete from memories where user_id = $1",
            "delete from profiles where user_id = $1",
            "delete from profile_edits where user_id = $1",
            "delete from activity where user_id = $1",
            "delete from user_keys where user_id = $1",
        ] {
            sqlx::query(statement).bind(user.0).execute(&mut *transaction).await?;
        }
        let gone = sqlx::query("delete from accounts where id = $1").bind(user.0).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(gone.rows_affected() > 0)
    }

    /// Keeps a receipt, without its witnesses.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn keep_forgetting(&self, receipt: &ForgetReceipt) -> Result<(), StoreError> {
        let kept = receipt.without_witnesses();
        sqlx::query("insert into forgettings (id, user_id, finished_at, receipt) values ($1, $2, $3, $4) on conflict (id) do nothing")
            .bind(kept.statement.id)
            .bind(kept.statement.user_id.0)
            .bind(kept.statement.finished_at)
            .bind(sqlx::types::Json(&kept))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// A page of a user's receipts, newest first; go on from the last one's `(finished_at, id)`.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn forgettings(&self, user: UserId, after: Option<(DateTime<Utc>, Uuid)>, limit: u32) -> Result<Vec<ForgetReceipt>, StoreError> {
        let (at, id) = after.unwrap_or((DateTime::<Utc>::UNIX_EPOCH, Uuid::nil()));
        let rows: Vec<(sqlx::types::Json<ForgetReceipt>,)> = sqlx::query_as(
            "select receipt from forgettings where user_id = $1 and ($5 or (finished_at, id) < ($2, $3))
             order by finished_at desc, id desc limit $4",
        )
        .bind(user.0)
        .bind(at)
        .bind(id)
        .bind(i64::from(limit))
        .bind(after.is_none())
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|(receipt,)| receipt.0).collect())
    }

    /// One receipt of a user.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn forgetting(&self, user: UserId, id: Uuid) -> Result<Option<ForgetReceipt>, StoreError> {
        let row: Option<(sqlx::types::Json<ForgetReceipt>,)> = sqlx::query_as("select receipt from forgettings where user_id = $1 and id = $2")
            .bind(user.0)
            .bind(id)
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.map(|(receipt,)| receipt.0))
    }

    /// Writes the tables' pages anew without the rows that are gone, and turns the write-ahead log over until nothing of before is left.
    /// Each table is locked while it is written. What a server that is not ours does not allow is said, and is no error.
    ///
    /// # Errors
    /// As the pool's; [`StoreError::Other`] if a table's lock is not had within 30 s.
    pub async fn erase_files(&self) -> Result<DatabaseErasure, StoreError> {
        let mut erasure = DatabaseErasure::default();
        // A connection of its own, closed at the end: its settings go with it.
        let mut connection = self.pool.acquire().await?.detach();
        let worked = self.erase_with(&mut connection, &mut erasure).await;
        drop(sqlx::Connection::close(connection).await);
        worked.map(|()| erasure)
    }

    async fn erase_with(&self, connection: &mut PgConnection, erasure: &mut DatabaseErasure) -> Result<(), StoreError> {
        run(connection, &format!("set lock_timeout = {}", PATIENCE.as_millis())).await?;
        if !old_readers_end(connection).await? {
            erasure.refused.push(format!("a transaction that began before is open still after {} s; rows that it sees were kept", PATIENCE.as_secs()));
        }
        let sinks: Vec<(String,)> =
            sqlx::query_as("select sink from pipeline_sinks where to_regclass(quote_ident(sink)) is not null order by sink").fetch_all(&mut *connection).await?;
        let mut tables: Vec<String> = ERASED_TABLES.iter().map(|&table| table.to_owned()).collect();
        tables.extend(sinks.into_iter().map(|(sink,)| sink));
        tables.sort();
        tables.dedup();
        let cleared = sqlx::query("delete from pg_statistic where starelid = any(select to_regclass(quote_ident(t)) from unnest($1::text[]) t)")
            .bind(&tables)
            .execute(&mut *connection)
            .await;
        match cleared {
            Ok(_) => match run(connection, "vacuum full pg_statistic").await {
                Ok(()) => erasure.samples = true,
                Err(error) => erasure.refused.push(format!("the planner's samples lie in old pages still: {error}")),
            },
            Err(error) => erasure.refused.push(format!("the planner's samples cannot be deleted: {error}")),
        }
        for table in tables {
            let before = pages(connection, &table).await?;
            // Names come from the catalog and from a constant, and are quoted.
            run(connection, &format!("vacuum full {}", quoted(&table))).await?;
            // Without the right to it the server warns, and leaves the table as it is.
            if before == pages(connection, &table).await? {
                erasure.refused.push(format!("the pages of table {table} cannot be written anew: it is not ours"));
                continue;
            }
            let (bytes,): (i64,) = sqlx::query_as("select coalesce(pg_total_relation_size(to_regclass(quote_ident($1))), 0)").bind(&table).fetch_one(&mut *connection).await?;
            erasure.table_bytes += unsigned(bytes)?;
            erasure.tables.push(table);
        }
        turn_over(connection, erasure).await
    }
}

/// The file that a table lies in.
async fn pages(connection: &mut PgConnection, table: &str) -> Result<Option<i64>, StoreError> {
    let (file,): (Option<i64>,) = sqlx::query_as("select pg_relation_filenode(to_regclass(quote_ident($1)))::bigint").bind(table).fetch_one(connection).await?;
    Ok(file)
}

async fn run(connection: &mut PgConnection, statement: &str) -> Result<(), StoreError> {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(connection).await?;
    Ok(())
}

/// Waits until no transaction is open that began before now: a row that one may still see is not dropped.
async fn old_readers_end(connection: &mut PgConnection) -> Result<bool, StoreError> {
    let (now,): (DateTime<Utc>,) = sqlx::query_as("select clock_timestamp()").fetch_one(&mut *connection).await?;
    let until = Instant::now() + PATIENCE;
    loop {
        let (open,): (i64,) = sqlx::query_as(
            "select count(*) from pg_stat_activity
             where pid <> pg_backend_pid() and backend_type = 'client backend' and xact_start < $1",
        )
        .bind(now)
        .fetch_one(&mut *connection)
        .await?;
        if open == 0 {
            return Ok(true);
        }
        if Instant::now() > until {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Goes on to a new segment of the write-ahead log until none of those that are there now is. A checkpoint writes all pages, unlinks the
/// files of tables that were written anew, and lets old segments go.
async fn turn_over(connection: &mut PgConnection, erasure: &mut DatabaseErasure) -> Result<(), StoreError> {
    let listed = segments(connection).await;
    let before = match listed {
        Ok(before) => before,
        Err(error) => {
            erasure.refused.push(format!("the write-ahead log cannot be turned over: {error}; it goes by the server's own rules"));
            return Ok(());
        }
    };
    for _ in 0..SEGMENTS {
        let left = segments(connection).await?.into_iter().filter(|segment| before.contains(segment)).count();
        erasure.wal_segments = (before.len() - left) as u64;
        if left == 0 {
            erasure.wal = true;
            return Ok(());
        }
        for statement in ["select pg_logical_emit_message(false, 'ajatus', '.')", "select pg_switch_wal()", "checkpoint"] {
            if let Err(error) = run(connection, statement).await {
                erasure.refused.push(format!("the write-ahead log cannot be turned over: {error}; it goes by the server's own rules"));
                return Ok(());
            }
        }
    }
    erasure.refused.push("segments of the write-ahead log are kept by the server (a replication slot, an archive, or wal_recycle = on)".to_owned());
    Ok(())
}

async fn segments(connection: &mut PgConnection) -> Result<Vec<String>, StoreError> {
    let rows: Vec<(String,)> = sqlx::query_as("select name from pg_ls_waldir() where name ~ '^[0-9A-F]{24}$' order by name").fetch_all(connection).await?;
    Ok(rows.into_iter().map(|(name,)| name).collect())
}
