//! A result as a multiset of rows, each value written in one way, whoever wrote it.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::events::{instant, written};
use crate::checksum::{Object, each_object};
use crate::error::BenchError;

/// A column of a result and how its values are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
}

/// How values are read and compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A whole number.
    Whole,
    /// A text.
    Text,
    /// An instant, to the millisecond.
    Instant,
    /// A decimal with three digits behind the point.
    Thousandths,
    /// A floating-point mean, to a millionth.
    Mean,
}

/// A value of the reference.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    Whole(i64),
    Text(String),
    Instant(i64),
    Thousandths(i128),
    Mean(f64),
}

impl Cell {
    fn written(&self) -> String {
        match self {
            Self::Whole(number) => number.to_string(),
            Self::Text(text) => text.clone(),
            Self::Instant(millis) => written(*millis),
            Self::Thousandths(number) => format!("{}.{:03}", number / 1_000, number % 1_000),
            Self::Mean(mean) => format!("{mean:.6}"),
        }
    }
}

impl Kind {
    /// Writes a JSON value of this kind; what cannot be read as one is shown as it is, and will equal nothing.
    fn written(self, value: &Value) -> String {
        let bare = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let read = match self {
            Self::Text => value.is_string().then(|| bare.clone()),
            Self::Whole => bare.parse::<i64>().ok().map(|number| number.to_string()),
            Self::Instant => instant(&bare).map(written),
            Self::Thousandths => bare.parse::<f64>().ok().map(|number| format!("{number:.3}")),
            Self::Mean => bare.parse::<f64>().ok().map(|number| format!("{number:.6}")),
        };
        read.unwrap_or_else(|| format!("({bare}, which is no {self:?})"))
    }
}

/// Rows and how often each is there.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    columns: &'static [Column],
    rows: BTreeMap<Vec<String>, u64>,
}

/// How many differing rows are shown of each side.
const SHOWN: usize = 3;

impl Rows {
    pub(super) fn new(columns: &'static [Column]) -> Self {
        Self { columns, rows: BTreeMap::new() }
    }

    /// Adds a row, its values in the order of the columns.
    pub(super) fn add<const N: usize>(&mut self, cells: [Cell; N]) {
        debug_assert_eq!(N, self.columns.len(), "one value a column");
        *self.rows.entry(cells.iter().map(Cell::written).collect()).or_default() += 1;
    }

    /// Reads a file of JSON lines; columns that the query does not name are not looked at.
    ///
    /// # Errors
    /// [`BenchError::File`] and [`BenchError::Row`].
    pub(super) fn read(columns: &'static [Column], path: &Path) -> Result<Self, BenchError> {
        let mut rows = Self::new(columns);
        each_object(path, |object: Object| {
            let value = |column: &Column| column.kind.written(object.get(column.name).unwrap_or(&Value::Null));
            *rows.rows.entry(columns.iter().map(value).collect()).or_default() += 1;
        })?;
        Ok(rows)
    }

    /// Rows, copies counted.
    pub(super) fn count(&self) -> u64 {
        self.rows.values().sum()
    }

    /// Compares what must be (`self`) with what was found.
    ///
    /// # Errors
    /// [`BenchError::Differ`] with the first rows that only one side has.
    pub(super) fn compare(&self, found: &Self) -> Result<(), BenchError> {
        let lacking = |of: &Self, here: &Self| {
            let more = of.rows.iter().filter(|(row, count)| here.rows.get(*row).copied().unwrap_or_default() < **count);
            more.map(|(row, _)| row.join(" | ")).collect::<Vec<_>>()
        };
        let (missing, surplus) = (lacking(self, found), lacking(found, self));
        if missing.is_empty() && surplus.is_empty() {
            return Ok(());
        }
        let shown = |rows: &[String]| rows.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ");
        Err(BenchError::Differ(format!(
            "{} rows expected, {} found; {} missing: [{}]; {} too many: [{}]",
            self.count(),
            found.count(),
            missing.len(),
            shown(&missing),
            surplus.len(),
            shown(&surplus)
        )))
    }

    /// Prints every row, columns between bars.
    pub(super) fn print(&self) {
        println!("{}", self.columns.iter().map(|column| column.name).collect::<Vec<_>>().join(" | "));
        for (row, count) in &self.rows {
            for _ in 0..*count {
                println!("{}", row.join(" | "));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] = &[Column { name: "n", kind: Kind::Whole }, Column { name: "price", kind: Kind::Thousandths }];

    fn found(text: &str) -> Rows {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("rows.jsonl");
        std::fs::write(&path, text).expect("written");
        Rows::read(COLUMNS, &path).expect("rows")
    }

    #[test]
    fn compares_values_and_not_their_spelling() {
        let mut expected = Rows::new(COLUMNS);
        expected.add([Cell::Whole(1), Cell::Thousandths(1_500)]);
        assert!(expected.compare(&found(r#"{"price": "1.5", "n": 1}"#)).is_ok());
        assert!(expected.compare(&found(r#"{"price": 1.500, "n": 1}"#)).is_ok());
        assert!(expected.compare(&found(r#"{"price": 1.501, "n": 1}"#)).is_err());
        assert!(expected.compare(&found("{\"price\":1.5,\"n\":1}\n{\"price\":1.5,\"n\":1}")).is_err());
        assert!(expected.compare(&found("")).is_err());
    }
}
