//! A hash table keyed by the bytes of rows, looked up without making a row.
//!
//! Entries lie one after the other, and an index of hashes and places beside them: a table that grows moves eight bytes an entry, and none
//! of the entries' own places stays empty.

use std::hash::{BuildHasher as _, Hasher as _};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::{HASHER, Row};

/// Values by row.
#[derive(Debug)]
pub(crate) struct Table<V> {
    /// Half a hash, and the place.
    index: HashTable<(u32, u32)>,
    entries: Vec<(Row, V)>,
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self { index: HashTable::new(), entries: Vec::new() }
    }
}

/// As [`Row::route`], of bytes.
#[inline]
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = HASHER.build_hasher();
    hasher.write(bytes);
    hasher.finish()
}

/// Half a hash: the half that does not say which worker it is.
#[inline]
fn half(bytes: &[u8]) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "the upper half is what is wanted")]
    let half = (hash(bytes) >> 32) as u32;
    half
}

/// What the index is hashed by: half a hash, spread out.
#[inline]
fn spread(half: u32) -> u64 {
    u64::from(half).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl<V> Table<V> {
    #[inline]
    fn place(&self, key: &[u8]) -> Option<usize> {
        let half = half(key);
        self.index.find(spread(half), |(held, at)| *held == half && self.entries[*at as usize].0.bytes() == key).map(|(_, at)| *at as usize)
    }

    #[inline]
    pub(crate) fn get(&self, key: &[u8]) -> Option<&V> {
        self.place(key).map(|at| &self.entries[at].1)
    }

    /// The value of a key, made if there is none.
    #[inline]
    pub(crate) fn entry(&mut self, key: &[u8], make: impl FnOnce() -> V) -> &mut V {
        let half = half(key);
        let Self { index, entries } = self;
        let place = index.entry(spread(half), |(held, at)| *held == half && entries[*at as usize].0.bytes() == key, |(half, _)| spread(*half));
        let at = match place {
            Entry::Occupied(held) => held.get().1 as usize,
            Entry::Vacant(place) => {
                let at = entries.len();
                place.insert((half, u32::try_from(at).expect("a worker holds less than 2^32 keys of a step")));
                entries.push((Row::from_bytes(key), make()));
                at
            }
        };
        &mut entries[at].1
    }

    /// All, in no order that means anything.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Row, &V)> {
        self.entries.iter().map(|(row, value)| (row, value))
    }

    /// All, in no order that means anything, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&Row, &mut V)> {
        self.entries.iter_mut().map(|(row, value)| (&*row, value))
    }

    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<V> {
        let half = half(key);
        let Self { index, entries } = self;
        let found = index.find_entry(spread(half), |(held, at)| *held == half && entries[*at as usize].0.bytes() == key).ok()?;
        let at = found.remove().0.1;
        // The last entry takes the place.
        let last = entries.len() - 1;
        if at as usize != last {
            let moved = self::half(entries[last].0.bytes());
            let place = index.find_mut(spread(moved), |(_, place)| *place as usize == last).expect("every entry is in the index");
            place.1 = at;
        }
        let (_, value) = entries.swap_remove(at as usize);
        if entries.len() < entries.capacity() / 4 {
            // What a large group of keys left behind.
            entries.shrink_to(entries.capacity() / 2);
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn is_a_map_of_bytes(steps in prop::collection::vec((0_u16..60, 0_u8..4), 0..400)) {
            let mut table: Table<u32> = Table::default();
            let mut slow: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
            for (number, (key, what)) in (0..).zip(steps) {
                let key = key.to_be_bytes();
                if what == 0 {
                    prop_assert_eq!(table.remove(&key), slow.remove(key.as_slice()));
                } else {
                    *table.entry(&key, || 0) += number;
                    *slow.entry(key.to_vec()).or_default() += number;
                }
                prop_assert_eq!(table.get(&key), slow.get(key.as_slice()));
            }
            let mut all: Vec<(Vec<u8>, u32)> = table.iter().map(|(row, value)| (row.bytes().to_vec(), *value)).collect();
            all.sort();
            prop_assert_eq!(all, slow.into_iter().collect::<Vec<_>>());
        }
    }
}
