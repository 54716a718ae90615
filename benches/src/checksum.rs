//! One number for a result, whatever the order of its rows.
//!
//! A row's text is its JSON object without spaces, keys in order of their bytes, text not escaped beyond what JSON asks for. Its hash
//! is the first eight bytes of SHA-256 of that text, read big-endian; the checksum is the sum of the live rows' hashes modulo 2^64.
//! Python says the same in two lines (`peers/report.py`). A row that is there twice counts twice.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::arguments::Arguments;
use crate::error::BenchError;

/// The sum over the rows so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checksum {
    /// How many rows there are.
    pub(crate) rows: u64,
    sum: u64,
}

impl Checksum {
    /// Adds a row by its canonical text.
    pub(crate) fn add(&mut self, canonical: &str) {
        let digest = Sha256::digest(canonical.as_bytes());
        let hash = digest.iter().take(8).fold(0_u64, |hash, byte| (hash << 8) | u64::from(*byte));
        self.sum = self.sum.wrapping_add(hash);
        self.rows += 1;
    }

    /// Gives the sum as 16 hexadecimal digits.
    pub(crate) fn hex(self) -> String {
        format!("{:016x}", self.sum)
    }

    /// Sums up a file of JSON lines.
    ///
    /// # Errors
    /// [`BenchError::File`] and [`BenchError::Row`].
    pub(crate) fn of_file(path: &Path) -> Result<Self, BenchError> {
        let mut sum = Self::default();
        each_object(path, |row| sum.add(&canonical(&row)))?;
        Ok(sum)
    }
}

/// One row by column.
pub(crate) type Object = BTreeMap<String, Value>;

/// Calls `row` with each JSON object of a file, one a line.
///
/// # Errors
/// [`BenchError::File`] and [`BenchError::Row`].
pub(crate) fn each_object(path: &Path, mut row: impl FnMut(Object)) -> Result<(), BenchError> {
    let file = std::fs::File::open(path).map_err(BenchError::file(path))?;
    for (at, line) in (1..).zip(BufReader::with_capacity(1 << 20, file).lines()) {
        let line = line.map_err(BenchError::file(path))?;
        if !line.trim().is_empty() {
            let object = serde_json::from_str(&line);
            row(object.map_err(|source| BenchError::Row { path: path.to_owned(), line: at, source })?);
        }
    }
    Ok(())
}

/// The text of a row that is hashed.
fn canonical(row: &Object) -> String {
    serde_json::to_string(row).expect("an object with text keys is JSON")
}

/// `check FILE`: prints the rows and the checksum of a result.
pub(crate) fn command(mut arguments: Arguments) -> Result<(), BenchError> {
    let path = arguments.word("a file")?;
    arguments.finish()?;
    let sum = Checksum::of_file(Path::new(&path))?;
    println!("{}", serde_json::json!({ "live_rows": sum.rows, "checksum": sum.hex() }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn does_not_look_at_the_order_of_rows_or_keys_but_counts_copies() {
        let object = |text: &str| serde_json::from_str::<Object>(text).expect("an object");
        assert_eq!(canonical(&object(r#"{"word": "pöllö", "n": 2}"#)), r#"{"n":2,"word":"pöllö"}"#);
        let sum = |rows: &[&str]| {
            let mut sum = Checksum::default();
            rows.iter().for_each(|row| sum.add(row));
            sum
        };
        assert_eq!(sum(&["a", "b"]), sum(&["b", "a"]));
        assert_ne!(sum(&["a", "b"]), sum(&["a", "b", "b"]));
        // The first eight bytes of the well-known digest of "abc".
        assert_eq!(sum(&["abc"]).hex(), "ba7816bf8f01cfea");
    }
}
