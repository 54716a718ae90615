//! An ordered bag of rows: small ones in one allocation, large ones in a tree, so a change of a large one stays cheap.

use std::collections::BTreeMap;

use super::Row;

/// Rows with how often each is there; never zero times.
#[derive(Clone, Debug)]
pub enum Bag {
    /// Sorted.
    Few(Vec<(Row, i64)>),
    /// The same, for more.
    Many(BTreeMap<Row, i64>),
}

/// Different rows above which a tree is kept; one insertion moves at most this many.
const FEW: usize = 64;

impl Default for Bag {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Bag {
    /// Changes how often a row is there.
    pub fn add(&mut self, row: &Row, diff: i64) {
        match self {
            Self::Few(rows) => match rows.binary_search_by(|(held, _)| held.cmp(row)) {
                Ok(at) => {
                    rows[at].1 += diff;
                    if rows[at].1 == 0 {
                        rows.remove(at);
                    }
                }
                Err(at) if rows.len() < FEW => {
                    if rows.len() == rows.capacity() {
                        // Most bags stay tiny: grow by half, not to the usual four.
                        rows.reserve_exact(rows.len() / 2 + 1);
                    }
                    rows.insert(at, (row.clone(), diff));
                }
                Err(_) => {
                    let mut tree: BTreeMap<Row, i64> = std::mem::take(rows).into_iter().collect();
                    tree.insert(row.clone(), diff);
                    *self = Self::Many(tree);
                }
            },
            Self::Many(rows) => match rows.entry(row.clone()) {
                std::collections::btree_map::Entry::Vacant(place) => drop(place.insert(diff)),
                std::collections::btree_map::Entry::Occupied(mut held) => {
                    *held.get_mut() += diff;
                    if *held.get() == 0 {
                        held.remove();
                    }
                    if rows.len() < FEW / 2 {
                        *self = Self::Few(std::mem::take(rows).into_iter().collect());
                    }
                }
            },
        }
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.distinct() == 0
    }

    /// Number of rows, each as often as it is there.
    #[must_use]
    pub fn total(&self) -> i64 {
        let mut total = 0;
        self.for_each(|_, count| total += count);
        total
    }

    /// Number of different rows.
    #[must_use]
    pub fn distinct(&self) -> usize {
        match self {
            Self::Few(rows) => rows.len(),
            Self::Many(rows) => rows.len(),
        }
    }

    /// All, in order.
    pub fn iter(&self) -> Box<dyn DoubleEndedIterator<Item = (&Row, i64)> + '_> {
        match self {
            Self::Few(rows) => Box::new(rows.iter().map(|(row, count)| (row, *count))),
            Self::Many(rows) => Box::new(rows.iter().map(|(row, count)| (row, *count))),
        }
    }

    /// Calls `f` with each row and how often it is there.
    #[inline]
    pub fn for_each(&self, mut f: impl FnMut(&Row, i64)) {
        match self {
            Self::Few(rows) => rows.iter().for_each(|(row, count)| f(row, *count)),
            Self::Many(rows) => rows.iter().for_each(|(row, count)| f(row, *count)),
        }
    }

    /// The least.
    #[must_use]
    pub fn first(&self) -> Option<&Row> {
        match self {
            Self::Few(rows) => rows.first().map(|(row, _)| row),
            Self::Many(rows) => rows.first_key_value().map(|(row, _)| row),
        }
    }

    /// The greatest.
    #[must_use]
    pub fn last(&self) -> Option<&Row> {
        match self {
            Self::Few(rows) => rows.last().map(|(row, _)| row),
            Self::Many(rows) => rows.last_key_value().map(|(row, _)| row),
        }
    }
}

/// A bag that nobody asks for an order or for whether it is empty: changes are put on top, and summed up when there are twice as many as
/// after the last time. A change costs the logarithm of the rows, spread out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pile {
    rows: Vec<(Row, i64)>,
    settled: usize,
    /// Rows in all, each as often as it is there.
    total: i64,
}

impl Pile {
    /// Changes how often a row is there.
    #[inline]
    pub(crate) fn add(&mut self, row: Row, diff: i64) {
        if self.rows.len() >= 8 && self.rows.len() >= 2 * self.settled {
            self.settle();
        }
        if self.rows.len() == self.rows.capacity() {
            self.rows.reserve_exact(self.rows.len() / 2 + 1);
        }
        self.rows.push((row, diff));
        self.total += diff;
    }

    fn settle(&mut self) {
        self.rows.sort_unstable_by(|left, right| left.0.cmp(&right.0));
        self.rows.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
        self.rows.retain(|(_, count)| *count != 0);
        self.settled = self.rows.len();
    }

    /// The rows, each once with how often it is there.
    pub(crate) fn summed(&mut self) -> &[(Row, i64)] {
        self.settle();
        &self.rows
    }

    /// Whether nothing is in it, summed up.
    pub(crate) fn is_empty(&mut self) -> bool {
        if !self.rows.is_empty() && self.total == 0 {
            self.settle();
        }
        self.rows.is_empty()
    }

    /// Calls `f` with changes that sum up to the rows.
    #[inline]
    pub(crate) fn for_each(&self, mut f: impl FnMut(&Row, i64)) {
        self.rows.iter().for_each(|(row, count)| f(row, *count));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_pile_sums_up_to_the_same(changes in prop::collection::vec((0_u8..20, -2_i64..3), 0..300)) {
            let mut pile = Pile::default();
            let mut slow: BTreeMap<Row, i64> = BTreeMap::new();
            for (value, diff) in changes {
                let row = Row::from_bytes(&[value]);
                pile.add(row.clone(), diff);
                *slow.entry(row).or_default() += diff;
            }
            slow.retain(|_, count| *count != 0);
            let mut sums: BTreeMap<Row, i64> = BTreeMap::new();
            pile.for_each(|row, count| *sums.entry(row.clone()).or_default() += count);
            sums.retain(|_, count| *count != 0);
            prop_assert_eq!(pile.is_empty(), slow.is_empty());
            prop_assert_eq!(sums, slow);
        }

        #[test]
        fn is_a_tree_of_counts_at_every_size(changes in prop::collection::vec((0_u16..200, -2_i64..3), 0..600)) {
            let mut bag = Bag::default();
            let mut slow: BTreeMap<Row, i64> = BTreeMap::new();
            for (value, diff) in changes.into_iter().filter(|change| change.1 != 0) {
                let row = Row::from_bytes(&value.to_be_bytes());
                bag.add(&row, diff);
                *slow.entry(row).or_default() += diff;
                slow.retain(|_, count| *count != 0);
                prop_assert_eq!(bag.distinct(), slow.len());
                prop_assert_eq!(bag.first(), slow.keys().next());
                prop_assert_eq!(bag.last(), slow.keys().next_back());
            }
            let all: Vec<(Row, i64)> = bag.iter().map(|(row, count)| (row.clone(), count)).collect();
            prop_assert_eq!(all, slow.into_iter().collect::<Vec<_>>());
        }
    }
}
