//! Rows as JSON documents.
//!
//! Decimals are written as text, which keeps every digit in every reader; instants as RFC 3339 in UTC; bytes as base64; floats in
//! their shortest form that reads back equal.

use ajatus_operators::row::{Cell, Kind, Row};
use arrow::datatypes::{DataType, TimeUnit};
use serde_json::{Map, Number, Value};

use crate::codec::kinds_of;

/// A row as a JSON object.
///
/// # Panics
/// On types without rows, which the planner refuses.
#[must_use]
pub fn json_value(row: &Row, names: &[String], types: &[DataType]) -> Map<String, Value> {
    let kinds = kinds_of(types).expect("the planner refuses types without rows");
    let cells = row.cells(&kinds);
    names.iter().zip(types).zip(cells).map(|((name, data_type), cell)| (name.clone(), value(&cell, data_type))).collect()
}

/// A row as one line of JSON, without its end; the fields stand in the order of the columns.
///
/// # Panics
/// As [`json_value`].
#[must_use]
pub fn json_line(row: &Row, names: &[String], types: &[DataType]) -> String {
    let mut lines = JsonLines::new(names, types);
    let line = lines.line(row);
    String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(line)).into_owned()
}

/// Writes rows of one shape as lines of JSON, into one buffer.
#[derive(Clone, Debug)]
pub struct JsonLines {
    /// Per column: what stands before its value, its kind, its type.
    columns: Vec<(Vec<u8>, Kind, DataType)>,
    line: Vec<u8>,
}

impl JsonLines {
    /// For rows of these columns.
    ///
    /// # Panics
    /// As [`json_value`].
    #[must_use]
    pub fn new(names: &[String], types: &[DataType]) -> Self {
        let kinds = kinds_of(types).expect("the planner refuses types without rows");
        let before = |at: usize, name: &String| format!("{}{}:", if at == 0 { '{' } else { ',' }, Value::from(name.as_str())).into_bytes();
        let columns = names.iter().enumerate().zip(kinds.into_iter().zip(types));
        Self { columns: columns.map(|((at, name), (kind, data_type))| (before(at, name), kind, data_type.clone())).collect(), line: Vec::new() }
    }

    /// A row's line, with its end.
    pub fn line(&mut self, row: &Row) -> &[u8] {
        self.line.clear();
        let mut reader = row.reader();
        for (before, kind, data_type) in &self.columns {
            self.line.extend_from_slice(before);
            let cell = reader.cell(kind);
            // What most rows are made of goes without a value in between; writing to memory cannot fail.
            match (&cell, data_type) {
                (Cell::Null, _) => self.line.extend_from_slice(b"null"),
                (Cell::Text(text), _) => serde_json::to_writer(&mut self.line, text.as_ref()).unwrap_or_default(),
                (Cell::Int(number), DataType::Int64 | DataType::Int32 | DataType::Int16 | DataType::Int8) => {
                    serde_json::to_writer(&mut self.line, &i64::try_from(*number).unwrap_or_default()).unwrap_or_default();
                }
                _ => serde_json::to_writer(&mut self.line, &value(&cell, data_type)).unwrap_or_default(),
            }
        }
        self.line.extend_from_slice(if self.columns.is_empty() { b"{}\n" } else { b"}\n" });
        &self.line
    }
}

fn value(cell: &Cell<'_>, data_type: &DataType) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Bool(value) => Value::Bool(*value),
        Cell::Int(number) => integer(*number, data_type),
        Cell::UInt(number) => Value::from(*number),
        Cell::Float(number) => float(*number),
        Cell::Float32(number) => float32(*number),
        Cell::Text(text) => Value::from(text.as_ref()),
        Cell::Bytes(bytes) => {
            use base64::Engine as _;
            Value::from(base64::engine::general_purpose::STANDARD.encode(bytes))
        }
        Cell::Vector(components) => components.iter().map(|component| float32(*component)).collect(),
        Cell::List(elements) => {
            let item = match data_type {
                DataType::List(item) | DataType::LargeList(item) => item.data_type(),
                other => other,
            };
            elements.iter().map(|element| value(element, item)).collect()
        }
        Cell::Struct(cells) => match data_type {
            DataType::Struct(fields) => {
                Value::Object(fields.iter().zip(cells).map(|(field, cell)| (field.name().clone(), value(cell, field.data_type()))).collect())
            }
            _ => Value::Null,
        },
    }
}

/// JSON has no infinities; they are written as the texts that SQL reads.
fn float(number: f64) -> Value {
    Number::from_f64(number).map_or_else(|| Value::from(if number.is_nan() { "NaN" } else if number > 0.0 { "Infinity" } else { "-Infinity" }), Value::Number)
}

/// The shortest text of the 32-bit number, not of the 64-bit one nearest to it.
fn float32(number: f32) -> Value {
    number.to_string().parse::<f64>().map_or(Value::Null, float)
}

fn integer(number: i128, data_type: &DataType) -> Value {
    let small = i64::try_from(number).unwrap_or_default();
    match data_type {
        DataType::Decimal128(_, scale) => Value::from(decimal_text(number, *scale)),
        DataType::Date32 => {
            let date = i32::try_from(number).ok().and_then(|days| days.checked_add(719_163)).and_then(chrono::NaiveDate::from_num_days_from_ce_opt);
            date.map_or(Value::from(small), |date| Value::from(date.to_string()))
        }
        DataType::Timestamp(unit, _) => {
            let time = match unit {
                TimeUnit::Second => chrono::DateTime::from_timestamp(small, 0),
                TimeUnit::Millisecond => chrono::DateTime::from_timestamp_millis(small),
                TimeUnit::Microsecond => chrono::DateTime::from_timestamp_micros(small),
                TimeUnit::Nanosecond => Some(chrono::DateTime::from_timestamp_nanos(small)),
            };
            time.map_or(Value::from(small), |time| Value::from(time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)))
        }
        _ => Value::from(small),
    }
}

fn decimal_text(unscaled: i128, scale: i8) -> String {
    let sign = if unscaled < 0 { "-" } else { "" };
    let digits = unscaled.unsigned_abs().to_string();
    let Ok(scale @ 1..) = usize::try_from(scale) else {
        return format!("{sign}{digits}{}", "0".repeat(usize::from(scale.unsigned_abs())));
    };
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    format!("{sign}{whole}.{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_keep_every_digit() {
        assert_eq!(decimal_text(12345, 2), "123.45");
        assert_eq!(decimal_text(-5, 2), "-0.05");
        assert_eq!(decimal_text(0, 3), "0.000");
        assert_eq!(decimal_text(7, 0), "7");
        assert_eq!(decimal_text(7, -2), "700");
    }
}
