//! Rows as one ordered, hashable string of bytes, so that one instantiation of every operator serves every table.
//!
//! Holds always: the bytes of a row are its columns' bytes one after the other, so columns are picked, joined and grouped by
//! copying ranges, without decoding; comparing bytes compares columns in order, nulls first; equal values have equal bytes
//! (floats are normalised: one zero, one NaN); the encoding is ours and frozen, so rows may rest in snapshots.
//! Not promised: that the bytes are short. A text takes its length and two bytes more, an integer a byte and those of its digits.
//! After a crash: nothing is kept here.

mod bag;
mod kind;
mod read;
mod sort;
mod table;
mod weave;
mod write;

pub use bag::Bag;
pub(crate) use bag::Pile;
pub use kind::Kind;
pub(crate) use kind::offset;
pub use read::{Cell, Reader};
pub use sort::{SortColumn, SortKey};
pub(crate) use table::{Table, hash};
pub use weave::Weave;
pub use write::Writer;

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;

/// The version of the encoding; a snapshot names it and is refused by a program with another.
pub const ENCODING: u32 = 1;

/// One record of any table. Up to 24 bytes need no allocation.
#[derive(Default)]
pub struct Row(SmallVec<[u8; 24]>);

impl Row {
    /// A row of these bytes, as [`Row::bytes`] gave them.
    #[must_use]
    #[inline]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(SmallVec::from_slice(bytes))
    }

    /// The bytes.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// A hash that is the same in every process and run; where a row goes depends on it.
    #[must_use]
    #[inline]
    pub fn route(&self) -> u64 {
        hash(self.bytes())
    }

    /// Bytes this row takes in memory, on the heap too.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        std::mem::size_of::<Self>() + if self.0.spilled() { self.0.capacity() } else { 0 }
    }
}

/// Hashes rows alike everywhere: the seed is fixed.
const HASHER: foldhash::fast::FixedState = foldhash::fast::FixedState::with_seed(0x616a_6174_7573);

// Written out because sorting and merging is mostly this: no call to memcmp, no copy byte by byte.

impl Clone for Row {
    #[inline]
    fn clone(&self) -> Self {
        Self(SmallVec::from_slice(&self.0))
    }
}

impl PartialEq for Row {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Row {}

impl PartialOrd for Row {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Row {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (self.bytes(), other.bytes());
        let shared = a.len().min(b.len());
        if shared < 8 {
            return a.cmp(b);
        }
        let word = |bytes: &[u8], at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_be_bytes(word)
        };
        let mut at = 0;
        while at < shared {
            // The last word reaches back over bytes already found equal.
            let from = at.min(shared - 8);
            match word(a, from).cmp(&word(b, from)) {
                Ordering::Equal => at += 8,
                other => return other,
            }
        }
        a.len().cmp(&b.len())
    }
}

impl Hash for Row {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Row(")?;
        for byte in self.bytes() {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}

// As one string of bytes; the derived form would write them one by one.

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.bytes())
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> serde::de::Visitor<'de> for Bytes {
            type Value = Row;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the bytes of a row")
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Row, E> {
                Ok(Row::from_bytes(bytes))
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut parts: A) -> Result<Row, A::Error> {
                let mut bytes = SmallVec::new();
                while let Some(byte) = parts.next_element()? {
                    bytes.push(byte);
                }
                Ok(Row(bytes))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_like_its_bytes() {
        let texts = ["", "a", "aaaaaaa", "aaaaaaaa", "aaaaaaab", "aaaaaaaab", "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz", "b"];
        for a in texts {
            for b in texts {
                let (left, right) = (Row::from_bytes(a.as_bytes()), Row::from_bytes(b.as_bytes()));
                assert_eq!(left.cmp(&right), a.as_bytes().cmp(b.as_bytes()), "{a:?} {b:?}");
                assert_eq!(left == right, a == b);
            }
        }
        assert_eq!(std::mem::size_of::<Row>(), 32);
    }
}
