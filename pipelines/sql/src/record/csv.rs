//! Lines of comma-separated values (RFC 4180), with or without a header.

use ajatus_operators::row::{Kind, Row, Writer};
use arrow::datatypes::DataType;

use super::json::{date, decimal, instant};
use super::{BadRecord, Field, fields};
use crate::pipeline::sql_type;
use crate::script::{Content, Table};

/// Reads lines of one table.
#[derive(Clone, Debug)]
pub struct CsvReader {
    fields: Vec<Field>,
    /// Place of each field in a line.
    places: Vec<usize>,
    diff: Option<usize>,
    delimiter: u8,
    writer: Writer,
}

impl CsvReader {
    /// For some columns of a table. `header` is the first line if there is one: columns are then found by name, else by position.
    /// `diff` is the column with the weight.
    ///
    /// # Errors
    /// A header that lacks a column.
    pub fn new(table: &Table, columns: &[usize], diff: Option<usize>, delimiter: u8, header: Option<&str>) -> Result<Self, BadRecord> {
        let names = header.map(|header| split(header, delimiter)).transpose()?;
        let place = |column: usize| match &names {
            None => Ok(column),
            Some(names) => {
                let wanted = &table.columns[column].name;
                names
                    .iter()
                    .position(|name| name.as_deref() == Some(wanted))
                    .ok_or_else(|| BadRecord::new("decode.header", format!("the header has no column {wanted:?}")))
            }
        };
        let places = columns.iter().map(|column| place(*column)).collect::<Result<_, _>>()?;
        Ok(Self { fields: fields(table, columns), places, diff: diff.map(place).transpose()?, delimiter, writer: Writer::new() })
    }

    /// The row of one line, and how often more it is there.
    ///
    /// # Errors
    /// [`BadRecord`].
    pub fn row(&mut self, line: &[u8]) -> Result<(Row, i64), BadRecord> {
        let text = std::str::from_utf8(line).map_err(|error| BadRecord::new("decode.syntax", format!("the line is not UTF-8: {error}")))?;
        let values = split(text, self.delimiter)?;
        let at = |place: usize| values.get(place).ok_or_else(|| BadRecord::new("decode.syntax", format!("the line has {} fields, but field {} is read", values.len(), place + 1)));
        self.writer.clear();
        for (field, place) in self.fields.iter().zip(&self.places) {
            match at(*place)? {
                None if field.nullable => self.writer.null(),
                None => return Err(BadRecord::new("decode.null", format!("field {:?} is empty, but it is declared not null", field.name))),
                Some(value) => put(value, field, &mut self.writer)
                    .map_err(|(code, reason)| BadRecord::new(code, format!("field {:?}: {reason}", field.name)))?,
            }
        }
        let diff = match self.diff {
            None => 1,
            Some(place) => {
                let text = at(place)?.as_deref().unwrap_or_default();
                text.parse().map_err(|_| BadRecord::new("decode.type", format!("the weight {text:?} is not a whole number")))?
            }
        };
        Ok((self.writer.finish(), diff))
    }
}

fn put(value: &str, field: &Field, out: &mut Writer) -> Result<(), (&'static str, String)> {
    let wrong = || ("decode.type", format!("{value:?} is no {}", sql_type(&field.data_type)));
    macro_rules! parsed {
        ($write:ident) => {
            out.$write(value.parse().map_err(|_| wrong())?)
        };
    }
    match (&field.kind, &field.data_type) {
        (Kind::Bool, _) => match value {
            "true" | "t" | "1" => out.bool(true),
            "false" | "f" | "0" => out.bool(false),
            _ => return Err(wrong()),
        },
        (Kind::Int32, DataType::Date32) => out.int32(date(value)?),
        (Kind::Int64, DataType::Timestamp(unit, _)) => match value.parse() {
            Ok(number) => out.int64(number),
            Err(_) => out.int64(instant(value, *unit)?),
        },
        (Kind::Int128, DataType::Decimal128(precision, scale)) => out.int128(decimal(value, *precision, *scale)?),
        (Kind::Int8, _) => parsed!(int8),
        (Kind::Int16, _) => parsed!(int16),
        (Kind::Int32, _) => parsed!(int32),
        (Kind::Int64, _) => parsed!(int64),
        (Kind::UInt8, _) => parsed!(uint8),
        (Kind::UInt16, _) => parsed!(uint16),
        (Kind::UInt32, _) => parsed!(uint32),
        (Kind::UInt64, _) => parsed!(uint64),
        (Kind::Float32, _) => parsed!(float32),
        (Kind::Float64, _) => parsed!(float64),
        (Kind::Text, _) if field.content == Content::Json && serde_json::from_str::<serde::de::IgnoredAny>(value).is_err() => return Err(wrong()),
        (Kind::Text, _) => out.text(value),
        _ => return Err(("decode.type", format!("a {} has no form in a line; use json or parquet", field.data_type))),
    }
    Ok(())
}

/// The fields of a line; an empty unquoted one is `None`, a quoted empty one is the empty text.
fn split(line: &str, delimiter: u8) -> Result<Vec<Option<String>>, BadRecord> {
    let delimiter = char::from(delimiter);
    let mut values = Vec::new();
    let mut letters = line.strip_suffix('\r').unwrap_or(line).chars().peekable();
    loop {
        let mut value = String::new();
        let quoted = letters.next_if_eq(&'"').is_some();
        if quoted {
            loop {
                match letters.next() {
                    Some('"') if letters.next_if_eq(&'"').is_some() => value.push('"'),
                    Some('"') => break,
                    Some(letter) => value.push(letter),
                    None => return Err(BadRecord::new("decode.syntax", "a quoted field is not closed")),
                }
            }
        }
        while let Some(letter) = letters.next_if(|letter| *letter != delimiter) {
            if quoted {
                return Err(BadRecord::new("decode.syntax", format!("{letter:?} follows a closed quote")));
            }
            value.push(letter);
        }
        values.push(if value.is_empty() && !quoted { None } else { Some(value) });
        if letters.next().is_none() {
            return Ok(values);
        }
    }
}

/// A header line for these columns, without its end.
#[must_use]
pub fn csv_header(names: &[String], delimiter: u8) -> String {
    names.iter().map(|name| quote(name, delimiter)).collect::<Vec<_>>().join(&char::from(delimiter).to_string())
}

/// A line of these values, without its end; `None` is empty.
#[must_use]
pub fn csv_line(values: &[Option<String>], delimiter: u8) -> String {
    let cell = |value: &Option<String>| match value {
        None => String::new(),
        Some(text) if text.is_empty() => "\"\"".to_owned(),
        Some(text) => quote(text, delimiter),
    };
    values.iter().map(cell).collect::<Vec<_>>().join(&char::from(delimiter).to_string())
}

fn quote(text: &str, delimiter: u8) -> String {
    if text.contains(['"', '\n', '\r', char::from(delimiter)]) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_as_they_were_written() {
        let values = vec![Some("a,b".to_owned()), None, Some(String::new()), Some("say \"hyvää\"".to_owned()), Some("plain".to_owned())];
        let line = csv_line(&values, b',');
        assert_eq!(split(&line, b',').expect("a line"), values);
        assert_eq!(split("", b',').expect("a line"), vec![None]);
        assert!(split("\"open", b',').is_err());
        assert!(split("\"a\"b,c", b',').is_err());
    }
}
