//! A hash table keyed by the bytes of rows, looked up without making a row.

use std::hash::{BuildHasher as _, Hasher as _};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::{HASHER, Row};

/// Values by row.
#[derive(Debug)]
pub(crate) struct Table<V>(HashTable<(Row, V)>);

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self(HashTable::new())
    }
}

/// As [`Row::route`], of bytes.
#[inline]
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = HASHER.build_hasher();
    hasher.write(bytes);
    hasher.finish()
}

impl<V> Table<V> {
    #[inline]
    pub(crate) fn get(&self, key: &[u8]) -> Option<&V> {
        self.0.find(hash(key), |(row, _)| row.bytes() == key).map(|(_, value)| value)
    }

    /// The value of a key, made if there is none.
    #[inline]
    pub(crate) fn entry(&mut self, key: &[u8], make: impl FnOnce() -> V) -> &mut V {
        let place = self.0.entry(hash(key), |(row, _)| row.bytes() == key, |(row, _)| hash(row.bytes()));
        let entry = match place {
            Entry::Occupied(held) => held.into_mut(),
            Entry::Vacant(place) => place.insert((Row::from_bytes(key), make())).into_mut(),
        };
        &mut entry.1
    }

    /// All, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Row, &V)> {
        self.0.iter().map(|(row, value)| (row, value))
    }

    /// All, in no order, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&Row, &mut V)> {
        self.0.iter_mut().map(|(row, value)| (&*row, value))
    }

    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<V> {
        let found = self.0.find_entry(hash(key), |(row, _)| row.bytes() == key).ok()?;
        Some(found.remove().0.1)
    }
}
