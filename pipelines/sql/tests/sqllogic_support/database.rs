//! Statements change tables, queries are planned and run as a pipeline runs them.
//!
//! DataFusion evaluates the expressions of `insert … values` and finds the rows that a `delete` means; neither is the engine's.

use std::sync::Arc;

use ajatus_operators::row::Row;
use ajatus_sql::codec::{Decoder, encode, kinds_of};
use ajatus_sql::diagnostic::{Diagnostics, Source};
use ajatus_sql::plan::{Planner, Problem};
use ajatus_sql::script;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{CastOptions, cast_with_options, concat_batches};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::sqlparser::ast::{FromTable, ObjectName, Statement, TableFactor, TableObject};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use futures::executor::block_on;
use sqllogictest::{DB, DBOutput};

use super::dataflow::{Bag, Epoch, after};
use super::show::{Column, show};

/// Why a record has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The engine refuses the query.
    #[error(transparent)]
    Refused(#[from] Problem),
    /// The engine refuses the table.
    #[error(transparent)]
    Table(#[from] Diagnostics),
    /// Rows on which the query failed. The engine sets them aside and goes on; for the standard that is an error.
    #[error("rows failed: {0}")]
    Faults(String),
    /// The case itself is wrong.
    #[error(transparent)]
    Syntax(#[from] ParserError),
    /// A value that a statement writes is wrong.
    #[error(transparent)]
    Value(#[from] DataFusionError),
    /// A value that a statement writes does not fit its column.
    #[error(transparent)]
    Fit(#[from] ArrowError),
    /// What no case needs.
    #[error("{0}")]
    Unknown(String),
}

/// Tables and what happened to them.
#[derive(Default)]
pub(crate) struct Database {
    tables: Vec<(String, SchemaRef)>,
    history: Vec<Epoch>,
}

impl DB for Database {
    type Error = Failure;
    type ColumnType = Column;

    fn run(&mut self, sql: &str) -> Result<DBOutput<Column>, Failure> {
        let sql = sql.trim().trim_end_matches(';');
        match sql.split_whitespace().next().map(str::to_lowercase).as_deref() {
            Some("create") => self.create(sql),
            Some("insert") => self.insert(sql),
            Some("delete") => self.delete(sql),
            _ => self.query(sql),
        }
    }
}

impl Database {
    /// With the types of the pipelines' own `create table`.
    fn create(&mut self, sql: &str) -> Result<DBOutput<Column>, Failure> {
        let source = Source::new("case", format!("{sql} with (connector = 'memory', type = 'source');"));
        let script = script::parse(&source).map_err(Diagnostics)?;
        for table in script.tables() {
            self.tables.push((table.name.clone(), table.schema()));
        }
        Ok(DBOutput::StatementComplete(0))
    }

    fn insert(&mut self, sql: &str) -> Result<DBOutput<Column>, Failure> {
        let Statement::Insert(insert) = parse(sql)? else { return Err(Failure::Unknown(sql.to_owned())) };
        let (TableObject::TableName(name), Some(query)) = (&insert.table, &insert.source) else { return Err(Failure::Unknown(sql.to_owned())) };
        let (at, schema) = self.table(name)?;
        let batch = self.select(&query.to_string())?;
        let named: Vec<String> = insert.columns.iter().map(ToString::to_string).collect();
        let mut columns = Vec::with_capacity(schema.fields().len());
        for (place, field) in schema.fields().iter().enumerate() {
            let from = if named.is_empty() { Some(place) } else { named.iter().position(|column| column == field.name()) };
            columns.push(match from {
                Some(from) if from < batch.num_columns() => fit(batch.column(from), field.data_type())?,
                _ => new_null_array(field.data_type(), batch.num_rows()),
            });
        }
        // The batch checks what is not null.
        let batch = RecordBatch::try_new(schema, columns)?;
        self.change(at, encode(batch.columns(), batch.num_rows())?, 1)
    }

    fn delete(&mut self, sql: &str) -> Result<DBOutput<Column>, Failure> {
        let Statement::Delete(delete) = parse(sql)? else { return Err(Failure::Unknown(sql.to_owned())) };
        let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
        let [from] = from.as_slice() else { return Err(Failure::Unknown(sql.to_owned())) };
        let TableFactor::Table { name, .. } = &from.relation else { return Err(Failure::Unknown(sql.to_owned())) };
        let (at, schema) = self.table(name)?;
        let condition = delete.selection.as_ref().map(|condition| format!(" where {condition}")).unwrap_or_default();
        let batch = self.select(&format!("select * from {name}{condition}"))?;
        let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| fit(column, field.data_type()));
        self.change(at, encode(&columns.collect::<Result<Vec<_>, _>>()?, batch.num_rows())?, -1)
    }

    /// Plans a query and runs it over all epochs.
    fn query(&self, sql: &str) -> Result<DBOutput<Column>, Failure> {
        let mut planner = Planner::new(std::collections::BTreeMap::new());
        for (name, schema) in &self.tables {
            planner.table(name, Arc::clone(schema), None)?;
        }
        let node = planner.sql(sql)?.node;
        let kinds = |schema: &SchemaRef| kinds_of(schema.fields().iter().map(|field| field.data_type())).expect("types with rows");
        let tables = self.tables.iter().map(|(name, schema)| (name.clone(), kinds(schema))).collect();
        let (rows, faults) = after(&node, tables, self.history.clone());
        if !faults.is_empty() {
            return Err(Failure::Faults(faults.join("; ")));
        }
        let columns = Decoder::all(&node.types).decode(repeated(&rows))?;
        let rows = (0..repeated(&rows).count()).map(|at| columns.iter().map(|column| show(column, at)).collect()).collect();
        Ok(DBOutput::Rows { types: node.types.iter().map(Column::of).collect(), rows })
    }

    /// An epoch of its own.
    fn change(&mut self, table: usize, rows: Vec<Row>, diff: isize) -> Result<DBOutput<Column>, Failure> {
        let count = rows.len() as u64;
        self.history.push(rows.into_iter().map(|row| (table, row, diff)).collect());
        Ok(DBOutput::StatementComplete(count))
    }

    fn table(&self, name: &ObjectName) -> Result<(usize, SchemaRef), Failure> {
        let name = name.to_string();
        let at = self.tables.iter().position(|(table, _)| *table == name);
        at.map(|at| (at, Arc::clone(&self.tables[at].1))).ok_or_else(|| Failure::Unknown(format!("there is no table {name:?}")))
    }

    /// DataFusion's answer over the rows that live.
    fn select(&self, sql: &str) -> Result<RecordBatch, Failure> {
        let mut config = SessionConfig::new().with_target_partitions(1);
        // A literal such as 0.10 is exact in the standard.
        config.options_mut().sql_parser.parse_float_as_decimal = true;
        let context = SessionContext::new_with_config(config);
        for (at, (name, schema)) in self.tables.iter().enumerate() {
            let mut live = Bag::new();
            for (_, row, diff) in self.history.iter().flatten().filter(|(table, ..)| *table == at) {
                *live.entry(row.clone()).or_default() += diff;
            }
            let types: Vec<DataType> = schema.fields().iter().map(|field| field.data_type().clone()).collect();
            let columns = Decoder::all(&types).decode(repeated(&live))?;
            let options = RecordBatchOptions::new().with_row_count(Some(repeated(&live).count()));
            let batch = RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?;
            context.register_table(name.as_str(), Arc::new(MemTable::try_new(Arc::clone(schema), vec![vec![batch]])?))?;
        }
        let batches = block_on(async { context.sql(sql).await?.collect().await })?;
        let Some(first) = batches.first() else { return Ok(RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty()))) };
        Ok(concat_batches(&first.schema(), &batches)?)
    }
}

/// Each row as often as it is there.
///
/// # Panics
/// If a row is there less than never, which would be the engine's bug.
fn repeated(bag: &Bag) -> impl Iterator<Item = &Row> {
    bag.iter().flat_map(|(row, count)| std::iter::repeat_n(row, usize::try_from(*count).expect("no row is there less than never")))
}

fn parse(sql: &str) -> Result<Statement, Failure> {
    let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, sql)?;
    statements.pop().ok_or_else(|| Failure::Unknown("an empty statement".to_owned()))
}

/// A value in the type of its column; what does not fit is an error and never null.
fn fit(column: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    cast_with_options(column, data_type, &CastOptions { safe: false, ..CastOptions::default() })
}
