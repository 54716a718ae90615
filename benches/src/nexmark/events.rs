//! The three kinds of events, as far as the queries look at them.

use std::io::{BufRead as _, BufReader};
use std::path::Path;

use chrono::{DateTime, NaiveDateTime, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use crate::error::BenchError;

/// Someone who registered.
#[derive(Debug, Deserialize)]
pub(super) struct Person {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) city: String,
    pub(super) state: String,
    #[serde(deserialize_with = "millis")]
    pub(super) at: i64,
}

/// Something that is sold until it expires.
#[derive(Debug, Deserialize)]
pub(super) struct Auction {
    pub(super) id: i64,
    pub(super) seller: i64,
    pub(super) category: i64,
    #[serde(deserialize_with = "millis")]
    pub(super) at: i64,
    #[serde(deserialize_with = "millis")]
    pub(super) expires: i64,
}

/// An offer.
#[derive(Debug, Deserialize)]
pub(super) struct Bid {
    pub(super) auction: i64,
    pub(super) bidder: i64,
    pub(super) price: i64,
    #[serde(deserialize_with = "millis")]
    pub(super) at: i64,
}

/// Everything that happened, each kind in the order of its file. Times are milliseconds since 1970.
#[derive(Debug, Default)]
pub(super) struct Events {
    pub(super) persons: Vec<Person>,
    pub(super) auctions: Vec<Auction>,
    pub(super) bids: Vec<Bid>,
}

impl Events {
    /// Reads the three files of a folder.
    ///
    /// # Errors
    /// [`BenchError::File`] and [`BenchError::Row`].
    pub(super) fn read(folder: &Path) -> Result<Self, BenchError> {
        Ok(Self {
            persons: rows(&folder.join("person.jsonl"))?,
            auctions: rows(&folder.join("auction.jsonl"))?,
            bids: rows(&folder.join("bid.jsonl"))?,
        })
    }
}

fn rows<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, BenchError> {
    let file = std::fs::File::open(path).map_err(BenchError::file(path))?;
    let lines = (1..).zip(BufReader::with_capacity(1 << 20, file).lines());
    let row = |(at, line): (u64, std::io::Result<String>)| {
        let line = line.map_err(BenchError::file(path))?;
        serde_json::from_str(&line).map_err(|source| BenchError::Row { path: path.to_owned(), line: at, source })
    };
    lines.map(row).collect()
}

/// Reads an instant as people write it, with or without its zone; without one it is UTC. Gives milliseconds since 1970.
pub(super) fn instant(text: &str) -> Option<i64> {
    let bare = text.replace(' ', "T");
    if let Ok(instant) = DateTime::parse_from_rfc3339(&bare) {
        return Some(instant.timestamp_millis());
    }
    let bare = bare.trim_end_matches('Z');
    NaiveDateTime::parse_from_str(bare, "%Y-%m-%dT%H:%M:%S%.f").ok().map(|instant| instant.and_utc().timestamp_millis())
}

/// Writes an instant as the generated files do.
pub(super) fn written(millis: i64) -> String {
    let instant = DateTime::<Utc>::from_timestamp_millis(millis).unwrap_or_default();
    instant.format("%Y-%m-%dT%H:%M:%S%.3f").to_string()
}

fn millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let text = String::deserialize(deserializer)?;
    instant(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not an instant")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_what_engines_write() {
        let millis = 1_767_225_600_123;
        assert_eq!(written(millis), "2026-01-01T00:00:00.123");
        for text in
            ["2026-01-01T00:00:00.123", "2026-01-01 00:00:00.123000", "2026-01-01T00:00:00.123Z", "2026-01-01T00:00:00.123+00:00"]
        {
            assert_eq!(instant(text), Some(millis), "{text}");
        }
        assert_eq!(instant("yesterday"), None);
    }
}
