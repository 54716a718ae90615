//! How values are written in the cases.
//!
//! `NULL`; empty text as `(empty)`; integers plain; decimals with all digits of their scale; floats with six digits behind the
//! point; `true` and `false`; dates as `2024-02-29`, timestamps as `2024-02-29 10:00:00` with their fraction where they have one.

use arrow::array::Array;
use arrow::array::cast::AsArray as _;
use arrow::array::types::{Float32Type, Float64Type};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use sqllogictest::ColumnType;

/// What a column of a result is, by one letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    /// `B`
    Truth,
    /// `D`
    Date,
    /// `P`
    Timestamp,
    /// `I`
    Integer,
    /// `R`: decimals and floats.
    Number,
    /// `T`
    Text,
    /// `?`
    Other,
}

const LETTERS: [(char, Column); 7] = [
    ('B', Column::Truth),
    ('D', Column::Date),
    ('P', Column::Timestamp),
    ('I', Column::Integer),
    ('R', Column::Number),
    ('T', Column::Text),
    ('?', Column::Other),
];

impl ColumnType for Column {
    fn from_char(value: char) -> Option<Self> {
        LETTERS.into_iter().find(|(letter, _)| *letter == value).map(|(_, column)| column)
    }

    fn to_char(&self) -> char {
        LETTERS.into_iter().find(|(_, column)| column == self).map_or('?', |(letter, _)| letter)
    }
}

impl Column {
    /// Of an Arrow type.
    pub(crate) fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Boolean => Self::Truth,
            DataType::Date32 => Self::Date,
            DataType::Timestamp(..) => Self::Timestamp,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Text,
            DataType::Decimal128(..) | DataType::Float32 | DataType::Float64 => Self::Number,
            integer if integer.is_integer() => Self::Integer,
            _ => Self::Other,
        }
    }
}

/// Writes one value.
pub(crate) fn show(array: &dyn Array, at: usize) -> String {
    if array.is_null(at) {
        return "NULL".to_owned();
    }
    match array.data_type() {
        DataType::Float64 => format!("{:.6}", array.as_primitive::<Float64Type>().value(at)),
        DataType::Float32 => format!("{:.6}", array.as_primitive::<Float32Type>().value(at)),
        _ => {
            let options = FormatOptions::new().with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"));
            let text = ArrayFormatter::try_new(array, &options).expect("a type that can be shown").value(at).to_string();
            if text.is_empty() { "(empty)".to_owned() } else { text }
        }
    }
}
