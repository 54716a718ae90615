//! A whole table as JSON lines, as it is at one moment.

use futures::TryStreamExt as _;

use super::{Postgres, StoreError};

/// How a column's value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportForm {
    /// As JSON has it.
    Json,
    /// As the text that Postgres prints, so that no digit is lost.
    Text,
    /// Bytes as base64.
    Base64,
    /// An instant, in UTC.
    Utc,
    /// What prints as a JSON list, such as a vector.
    List,
}

/// One column of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportColumn {
    /// Its name, there and in the documents.
    pub name: String,
    /// How it is written.
    pub form: ExportForm,
}

/// A name between quotes.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl ExportColumn {
    fn sql(&self) -> String {
        let name = quoted(&self.name);
        let value = format!("t.{name}");
        let written = match self.form {
            ExportForm::Json => value,
            ExportForm::Text => format!("{value}::text"),
            ExportForm::Base64 => format!("replace(encode({value}, 'base64'), E'\\n', '')"),
            ExportForm::Utc => format!("to_char({value} at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"),
            ExportForm::List => format!("{value}::text::json"),
        };
        format!("{written} as {name}")
    }
}

impl Postgres {
    /// Gives every row of a table as one JSON document, in the order of `key` (in no order without one). All rows are of one moment.
    /// Returns how many there were.
    ///
    /// # Errors
    /// [`StoreError::Sink`] if the table or a column is missing; `write`'s; as the pool's.
    pub async fn export<E: From<StoreError>>(
        &self,
        table: &str,
        columns: &[ExportColumn],
        key: &[String],
        mut write: impl FnMut(&str) -> Result<(), E>,
    ) -> Result<u64, E> {
        let lacks = |reason: String| StoreError::Source { table: table.to_owned(), reason };
        let there: Vec<(String,)> =
            sqlx::query_as("select a.attname from pg_attribute a where a.attrelid = to_regclass($1) and a.attnum > 0 and not a.attisdropped")
                .bind(quoted(table))
                .fetch_all(&self.pool)
                .await
                .map_err(StoreError::from)?;
        if there.is_empty() {
            return Err(lacks("there is no such table".to_owned()).into());
        }
        if let Some(missing) = columns.iter().map(|column| &column.name).chain(key).find(|column| !there.iter().any(|(name,)| name == *column)) {
            return Err(lacks(format!("it has no column {missing:?}")).into());
        }
        let listed = columns.iter().map(ExportColumn::sql).collect::<Vec<_>>().join(", ");
        let order = key.iter().map(|name| format!("t.{}", quoted(name))).collect::<Vec<_>>().join(", ");
        let order = if order.is_empty() { order } else { format!(" order by {order}") };
        // One statement sees one moment. Names come from the catalog's check above and are quoted.
        let sql = format!("select (select row_to_json(x) from (select {listed}) x)::text from {} t{order}", quoted(table));
        let mut rows = sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(sql)).fetch(&self.pool);
        let mut count = 0;
        while let Some(row) = rows.try_next().await.map_err(StoreError::from)? {
            write(&row)?;
            count += 1;
        }
        Ok(count)
    }
}
