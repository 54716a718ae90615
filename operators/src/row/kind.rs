//! How the values of a column are written, and how many bytes one takes.

use serde::{Deserialize, Serialize};

/// What a column holds, as far as its bytes go; names, time zones and scales are the caller's business.
///
/// A value is one marker byte (0: null, and nothing follows; 1: a value) and then:
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Nothing: always null.
    Null,
    /// One byte, 0 or 1.
    Bool,
    /// One byte, sign flipped.
    Int8,
    /// Two bytes, big end first, sign flipped.
    Int16,
    /// Four bytes, likewise; also days.
    Int32,
    /// Eight bytes, likewise; also instants.
    Int64,
    /// Sixteen bytes, likewise; decimals.
    Int128,
    /// One byte.
    UInt8,
    /// Two bytes, big end first.
    UInt16,
    /// Four bytes, likewise.
    UInt32,
    /// Eight bytes, likewise.
    UInt64,
    /// Four bytes in an order that follows the numbers.
    Float32,
    /// Eight bytes, likewise.
    Float64,
    /// UTF-8 with 0 and 1 escaped by 1, ended by 0.
    Text,
    /// Bytes, escaped likewise.
    Bytes,
    /// So many `Float32`s without markers.
    Vector(usize),
    /// Elements, each after a byte 1, ended by 0.
    List(Box<Kind>),
    /// The fields, one after the other.
    Struct(Vec<Kind>),
}

impl Kind {
    /// Bytes after the marker, where all values take the same.
    #[must_use]
    #[inline]
    pub(crate) fn fixed(&self) -> Option<usize> {
        Some(match self {
            Self::Null => 0,
            Self::Bool | Self::Int8 | Self::UInt8 => 1,
            Self::Int16 | Self::UInt16 => 2,
            Self::Int32 | Self::UInt32 | Self::Float32 => 4,
            Self::Int64 | Self::UInt64 | Self::Float64 => 8,
            Self::Int128 => 16,
            Self::Vector(components) => components * 4,
            Self::Text | Self::Bytes | Self::List(_) | Self::Struct(_) => return None,
        })
    }

    /// Bytes of the value that starts `bytes`, marker included.
    #[must_use]
    #[inline]
    pub(crate) fn width(&self, bytes: &[u8]) -> usize {
        if bytes[0] == 0 {
            return 1;
        }
        if let Some(fixed) = self.fixed() {
            return 1 + fixed;
        }
        match self {
            // The end is the first 0, because a 0 inside is escaped.
            Self::Text | Self::Bytes => 2 + memchr::memchr(0, &bytes[1..]).expect("an ended text"),
            Self::List(element) => {
                let mut at = 1;
                while bytes[at] == 1 {
                    at += 1;
                    at += element.width(&bytes[at..]);
                }
                at + 1
            }
            Self::Struct(fields) => offset(fields, fields.len(), &bytes[1..]) + 1,
            _ => unreachable!("its width is fixed"),
        }
    }
}

/// Where column `column` starts in a row of `kinds`.
#[inline]
pub(crate) fn offset(kinds: &[Kind], column: usize, bytes: &[u8]) -> usize {
    kinds[..column].iter().fold(0, |at, kind| at + kind.width(&bytes[at..]))
}
