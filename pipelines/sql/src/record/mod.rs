//! Between records of the outside world and rows: JSON documents, lines of CSV, Arrow batches.
//!
//! Holds always: a record gives a row that fits its table to the letter, or a [`BadRecord`] that says which field does not and why;
//! nothing is rounded, cut or guessed. Written out and read back, a row is equal.

mod csv;
mod flat;
mod json;
mod write;

pub use csv::{CsvReader, csv_header, csv_line};
pub use json::JsonReader;
pub use write::{JsonLines, json_line, json_value};

use crate::script::{Content, Table};
use ajatus_operators::row::Kind;
use arrow::datatypes::DataType;

/// Why a record cannot become a row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadRecord {
    /// Stable: `decode.syntax`, `decode.type`, `decode.null`, `decode.range`.
    pub code: &'static str,
    /// What is wrong, and in which field.
    pub message: String,
}

impl BadRecord {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// One column that is read.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) data_type: DataType,
    pub(crate) kind: Kind,
    pub(crate) nullable: bool,
    pub(crate) content: Content,
}

/// Some columns of a table.
pub(crate) fn fields(table: &Table, columns: &[usize]) -> Vec<Field> {
    columns
        .iter()
        .map(|column| {
            let column = &table.columns[*column];
            Field {
                name: column.name.clone(),
                kind: crate::codec::kind_of(&column.data_type).expect("a table's types have rows"),
                data_type: column.data_type.clone(),
                nullable: column.nullable,
                content: column.content,
            }
        })
        .collect()
}
