//! Tables that pipelines write: rows and progress in one transaction.

use serde_json::Value;
use sqlx::types::Json;

use super::{Postgres, StoreError};

/// A table that a pipeline keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkTable {
    /// Which pipeline; no other may keep the table.
    pub pipeline: String,
    /// Whose epochs are told; those of another ledger are not the same.
    pub ledger: String,
    /// The table; it must be there, with these columns and a unique key over `key`.
    pub table: String,
    /// The columns that are written.
    pub columns: Vec<String>,
    /// The primary key, not empty.
    pub key: Vec<String>,
}

/// Tables that the platform writes itself, each with its own books: no other pipeline may empty or fill them.
const OURS: [&str; 17] = [
    "accounts",
    "activity",
    "conversations",
    "epoch_ledger",
    "forgettings",
    "memories",
    "outbox",
    "pipeline_positions",
    "pipeline_sinks",
    "pipelines",
    "profile_edits",
    "profiles",
    "refresh_tokens",
    "sessions",
    "training_exports",
    "user_keys",
    "_sqlx_migrations",
];

/// An identifier in quotes.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
}

impl SinkTable {
    /// What becomes of a row whose key is there already.
    fn conflict(&self) -> String {
        let set: Vec<String> =
            self.columns.iter().filter(|column| !self.key.contains(column)).map(|column| format!("{0} = excluded.{0}", quoted(column))).collect();
        let update = if set.is_empty() { "nothing".to_owned() } else { format!("update set {}", set.join(", ")) };
        format!("on conflict ({}) do {update}", list(&self.key))
    }

    /// The condition that two tables' rows have one key.
    fn same_key(&self, left: &str, right: &str) -> String {
        self.key.iter().map(|key| format!("{left}.{0} = {right}.{0}", quoted(key))).collect::<Vec<_>>().join(" and ")
    }
}

impl Postgres {
    /// Makes the table of progress in a database that is not the platform's own, if it is missing there.
    ///
    /// # Errors
    /// As the pool's; the user may not make tables.
    pub async fn prepare_sinks(&self) -> Result<(), StoreError> {
        // As in migrations/0002_pipeline_sinks.sql. Two that make it at once: one of them may be told that it is there.
        let made = sqlx::query("create table if not exists pipeline_sinks (sink text primary key, pipeline text not null, ledger text not null, epoch bigint not null)")
            .execute(&self.pool)
            .await;
        match made {
            Err(sqlx::Error::Database(error)) if matches!(error.code().as_deref(), Some("23505" | "42P07")) => Ok(()),
            other => Ok(other.map(drop)?),
        }
    }

    /// Checks that the table is there with its columns and its key, and begins to keep its progress. A table that was kept by another
    /// ledger is emptied: it is made anew.
    ///
    /// # Errors
    /// [`StoreError::Sink`] that says what the table lacks.
    pub async fn open_sink(&self, sink: &SinkTable) -> Result<(), StoreError> {
        let lacks = |reason: String| StoreError::Sink { table: sink.table.clone(), reason };
        if OURS.contains(&sink.table.as_str()) {
            return Err(lacks("the platform keeps it itself; name another table".to_owned()));
        }
        let there: Vec<(String,)> = sqlx::query_as(
            "select a.attname from pg_attribute a where a.attrelid = to_regclass($1) and a.attnum > 0 and not a.attisdropped",
        )
        .bind(quoted(&sink.table))
        .fetch_all(&self.pool)
        .await?;
        if there.is_empty() {
            return Err(lacks("there is no such table; make it by a migration".to_owned()));
        }
        if let Some(missing) = sink.columns.iter().find(|column| !there.iter().any(|(name,)| name == *column)) {
            return Err(lacks(format!("it has no column {missing:?}")));
        }
        let keys: Vec<(Vec<String>,)> = sqlx::query_as(
            "select array_agg(a.attname::text order by a.attname) from pg_index i
             join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any(i.indkey)
             where i.indrelid = to_regclass($1) and i.indisunique and i.indpred is null group by i.indexrelid",
        )
        .bind(quoted(&sink.table))
        .fetch_all(&self.pool)
        .await?;
        let mut wanted = sink.key.clone();
        wanted.sort();
        if !keys.iter().any(|(key,)| *key == wanted) {
            return Err(lacks(format!("it has no unique key over ({})", sink.key.join(", "))));
        }
        let mut transaction = self.begin().await?;
        sqlx::query("insert into pipeline_sinks (sink, pipeline, ledger, epoch) values ($1, $2, $3, 0) on conflict do nothing")
            .bind(&sink.table)
            .bind(&sink.pipeline)
            .bind(&sink.ledger)
            .execute(&mut *transaction)
            .await?;
        let (pipeline, ledger): (String, String) = sqlx::query_as("select pipeline, ledger from pipeline_sinks where sink = $1 for update")
            .bind(&sink.table)
            .fetch_one(&mut *transaction)
            .await?;
        if pipeline != sink.pipeline {
            return Err(lacks(format!("pipeline {pipeline:?} keeps it")));
        }
        if ledger != sink.ledger {
            sqlx::query(sqlx::AssertSqlSafe(format!("delete from {}", quoted(&sink.table)))).execute(&mut *transaction).await?;
            sqlx::query("update pipeline_sinks set ledger = $2, epoch = 0 where sink = $1")
                .bind(&sink.table)
                .bind(&sink.ledger)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// The last epoch that is in the table.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn sink_progress(&self, sink: &SinkTable) -> Result<u64, StoreError> {
        let row: Option<(i64,)> = sqlx::query_as("select epoch from pipeline_sinks where sink = $1 and ledger = $2")
            .bind(&sink.table)
            .bind(&sink.ledger)
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.map_or(0, |(epoch,)| u64::try_from(epoch).unwrap_or(0)))
    }

    /// Brings one epoch into the table: rows and progress in one transaction. An epoch that is in already changes nothing, and so does
    /// one of a ledger that another run has replaced: that run is fenced.
    ///
    /// # Errors
    /// As the pool's; a value that the table's column does not take.
    pub async fn apply_sink(&self, sink: &SinkTable, epoch: u64, upserts: Vec<Value>, deletes: Vec<Value>) -> Result<(), StoreError> {
        self.apply_sink_with(sink, epoch, upserts, deletes, || {}).await
    }

    /// As [`Postgres::apply_sink`]; `before_commit` is called when everything is in the transaction.
    ///
    /// # Errors
    /// As there.
    pub async fn apply_sink_with(
        &self,
        sink: &SinkTable,
        epoch: u64,
        upserts: Vec<Value>,
        deletes: Vec<Value>,
        before_commit: impl FnOnce() + Send,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        let taken = sqlx::query("update pipeline_sinks set epoch = $3 where sink = $1 and ledger = $2 and epoch < $3")
            .bind(&sink.table)
            .bind(&sink.ledger)
            .bind(i64::try_from(epoch).unwrap_or(i64::MAX))
            .execute(&mut *transaction)
            .await?;
        if taken.rows_affected() == 0 {
            return Ok(());
        }
        let table = quoted(&sink.table);
        for rows in deletes.chunks(1_000) {
            let on = sink.same_key("t", "d");
            // Names come from the catalog's check above and are quoted; values travel as a parameter.
            let sql = format!("delete from {table} t using jsonb_populate_recordset(null::{table}, $1) d where {on}");
            sqlx::query(sqlx::AssertSqlSafe(sql)).bind(Json(rows)).execute(&mut *transaction).await?;
        }
        let columns = list(&sink.columns);
        for rows in upserts.chunks(1_000) {
            let sql = format!("insert into {table} ({columns}) select {columns} from jsonb_populate_recordset(null::{table}, $1) {}", sink.conflict());
            sqlx::query(sqlx::AssertSqlSafe(sql)).bind(Json(rows)).execute(&mut *transaction).await?;
        }
        before_commit();
        transaction.commit().await?;
        Ok(())
    }

    /// Compares the table with the rows that it should hold as of `epoch`, and writes the difference unless `dry`: rows that are missing or
    /// differ, then rows that are there and should not be. Its progress becomes `epoch`.
    ///
    /// # Errors
    /// As the pool's; [`StoreError::Sink`] if another ledger keeps the table now.
    pub async fn repair_sink(&self, sink: &SinkTable, epoch: u64, rows: &[Value], dry: bool) -> Result<(u64, u64), StoreError> {
        let mut transaction = self.begin().await?;
        let taken = sqlx::query("update pipeline_sinks set epoch = $3 where sink = $1 and ledger = $2")
            .bind(&sink.table)
            .bind(&sink.ledger)
            .bind(i64::try_from(epoch).unwrap_or(i64::MAX))
            .execute(&mut *transaction)
            .await?;
        if taken.rows_affected() == 0 {
            return Err(StoreError::Sink { table: sink.table.clone(), reason: "another ledger keeps it now; run its pipeline instead".to_owned() });
        }
        let table = quoted(&sink.table);
        // Its own form of the values: what the table makes of them is what is compared.
        let sql = format!("create temporary table repair_wanted (like {table}) on commit drop");
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut *transaction).await?;
        // Columns that the pipeline does not write have no value here.
        let free: Vec<(String,)> = sqlx::query_as(
            "select a.attname::text from pg_attribute a where a.attrelid = to_regclass($1) and a.attnum > 0 and not a.attisdropped and a.attnotnull",
        )
        .bind(&table)
        .fetch_all(&mut *transaction)
        .await?;
        for (column,) in free.iter().filter(|(column,)| !sink.columns.contains(column)) {
            let sql = format!("alter table repair_wanted alter column {} drop not null", quoted(column));
            sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut *transaction).await?;
        }
        let columns = list(&sink.columns);
        for rows in rows.chunks(1_000) {
            let sql = format!("insert into repair_wanted ({columns}) select {columns} from jsonb_populate_recordset(null::repair_wanted, $1)");
            sqlx::query(sqlx::AssertSqlSafe(sql)).bind(Json(rows)).execute(&mut *transaction).await?;
        }
        let both = |left: &str, right: &str| {
            let side = |table: &str| sink.columns.iter().map(|column| format!("{table}.{}", quoted(column))).collect::<Vec<_>>().join(", ");
            format!("({}) is not distinct from ({})", side(left), side(right))
        };
        let keys = sink.same_key("t", "w");
        let sql = format!("delete from {table} t where not exists (select from repair_wanted w where {keys})");
        let extra = sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut *transaction).await?.rows_affected();
        let sql = format!(
            "insert into {table} ({columns}) select {columns} from repair_wanted w
             where not exists (select from {table} t where {keys} and {}) {}",
            both("t", "w"),
            sink.conflict()
        );
        let missing = sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut *transaction).await?.rows_affected();
        if dry {
            transaction.rollback().await?;
        } else {
            transaction.commit().await?;
        }
        Ok((missing, extra))
    }
}

#[cfg(test)]
mod tests {
    use super::OURS;

    /// Tables of the migrations that a pipeline keeps.
    const PIPELINES: [&str; 1] = ["activity_daily"];

    #[test]
    fn every_table_of_the_migrations_is_the_platforms_or_a_pipelines() {
        let text: String = sqlx::migrate!("../migrations").iter().map(|migration| migration.sql.as_str()).collect();
        let made: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("create table ")?.split([' ', '(']).next()).collect();
        assert!(made.len() > 10, "{made:?}");
        for table in made {
            assert!(OURS.contains(&table) != PIPELINES.contains(&table), "{table}: whose is it?");
        }
    }
}
