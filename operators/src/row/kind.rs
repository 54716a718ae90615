//! How the values of a column are written, and how many bytes one takes.

use serde::{Deserialize, Serialize};

/// What a column holds, as far as its bytes go; names, time zones and scales are the caller's business.
///
/// A value is one marker byte (0: null, and nothing follows) and then its bytes. The marker of an integer says how many bytes
/// follow, and on which side of zero: [`ZERO`] alone is zero, one more for each byte of a positive number, one less for each byte of a
/// negative one, whose bits are flipped. So small numbers are short, and bytes compare as the numbers do. Every other marker is 1.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Nothing: always null.
    Null,
    /// One byte, 0 or 1.
    Bool,
    /// Up to one byte after the marker.
    Int8,
    /// Up to two, big end first.
    Int16,
    /// Up to four; also days.
    Int32,
    /// Up to eight; also instants.
    Int64,
    /// Up to sixteen; decimals.
    Int128,
    /// Up to one.
    UInt8,
    /// Up to two.
    UInt16,
    /// Up to four.
    UInt32,
    /// Up to eight.
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

/// The marker of the integer zero.
pub(crate) const ZERO: u8 = 20;

impl Kind {
    /// Whether it is a whole number.
    #[must_use]
    #[inline]
    pub(crate) fn integer(&self) -> bool {
        matches!(
            self,
            Self::Int64
                | Self::Int32
                | Self::Int128
                | Self::Int16
                | Self::Int8
                | Self::UInt64
                | Self::UInt32
                | Self::UInt16
                | Self::UInt8
        )
    }

    /// Bytes after the marker, where all values take the same.
    #[must_use]
    #[inline]
    pub(crate) fn fixed(&self) -> Option<usize> {
        Some(match self {
            Self::Null => 0,
            Self::Bool => 1,
            Self::Float32 => 4,
            Self::Float64 => 8,
            Self::Vector(components) => components * 4,
            _ => return None,
        })
    }

    /// Bytes of the value that starts `bytes`, marker included.
    #[must_use]
    #[inline]
    pub(crate) fn width(&self, bytes: &[u8]) -> usize {
        if bytes[0] == 0 {
            return 1;
        }
        if self.integer() {
            return 1 + usize::from(bytes[0].abs_diff(ZERO));
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
