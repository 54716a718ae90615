//! Receipts: where a write stands on the log, so that a read can wait for it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Position of one durable record: `topic:partition:offset` in text and JSON.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Receipt {
    /// Topic name; holds no ':'.
    pub topic: String,
    /// Partition, from 0.
    pub partition: u32,
    /// Offset of the record.
    pub offset: u64,
}

/// Why a receipt could not be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("receipt {0:?} is not of the form topic:partition:offset")]
pub struct ReceiptError(pub String);

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.topic, self.partition, self.offset)
    }
}

impl FromStr for Receipt {
    type Err = ReceiptError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ReceiptError(text.chars().take(100).collect());
        let mut parts = text.split(':');
        let (Some(topic), Some(partition), Some(offset), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(error());
        };
        if topic.is_empty() {
            return Err(error());
        }
        Ok(Self {
            topic: topic.to_owned(),
            partition: partition.parse().map_err(|_| error())?,
            offset: offset.parse().map_err(|_| error())?,
        })
    }
}

impl Serialize for Receipt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Receipt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_prints() {
        let receipt = Receipt { topic: "interactions".into(), partition: 3, offset: 1 << 40 };
        assert_eq!(receipt.to_string().parse(), Ok(receipt));
    }

    #[test]
    fn refuses_garbage() {
        for text in ["", ":", "a:b:c", "a:1", "a:1:2:3", ":1:2", "a:-1:2", "a:1:99999999999999999999"] {
            assert!(text.parse::<Receipt>().is_err(), "{text:?} was accepted");
        }
    }
}
