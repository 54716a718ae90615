//! One user's large index.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::atomic::{self, AtomicU64};

use crate::calibrate::{QUERIES, probes};
use crate::change::{Applied, Change};
use crate::error::{FaissError, check};
use ajatus_events::{Checksum, row_hash};
use crate::native::Lists;
use crate::rows::Rows;
use crate::slots::{Allowed, Slots};

/// Vectors that an index needs at least; an exact scan of so many takes 0.1 ms. The library wants 39 for each of its lists.
pub const LEAST_VECTORS: usize = 2_000;

/// Vectors that each list's centre is found from. Source: notes/vectors.md section 5, 20,000 for 316 lists.
const SAMPLE_PER_LIST: usize = 64;

/// Something found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// The memory.
    pub id: u128,
    /// Inner product with the query; the cosine, as both have length 1.
    pub score: f32,
}

/// Why an index should be made anew from the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retrain {
    /// It has twice the vectors that its lists were made for: each search reads too many.
    Doubled,
    /// Its lists have become of very different lengths: searches take as long as the longest.
    Unbalanced,
}

/// What it was when its lists were made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Trained {
    pub(crate) vectors: usize,
    pub(crate) imbalance: f64,
    /// Lists that a search must read.
    pub(crate) probes: usize,
}

/// One user's vectors in inverted lists.
#[derive(Debug)]
pub struct LargeIndex {
    pub(crate) lists: Lists,
    pub(crate) slots: Slots,
    pub(crate) trained: Trained,
    /// The longest that each list has been: its room is not given back.
    longest: Vec<usize>,
    serial: u64,
}

/// 1 where all lists are equally long; `lists` where all is in one.
fn imbalance(sizes: &[usize]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a measure")]
    let (all, squares) = sizes.iter().map(|size| *size as f64).fold((0.0, 0.0), |(all, squares), size| (all + size, size.mul_add(size, squares)));
    #[expect(clippy::cast_precision_loss, reason = "a measure")]
    let lists = sizes.len() as f64;
    if all == 0.0 { 1.0 } else { squares * lists / (all * all) }
}

impl LargeIndex {
    /// Makes one user's index. The number of lists is the root of the number of vectors. The same rows give the same lists, in whatever order.
    ///
    /// # Errors
    /// [`FaissError::TooFew`] below [`LEAST_VECTORS`] different ids.
    pub fn build(user: u128, rows: &Rows) -> Result<Self, FaissError> {
        let mut newest: HashMap<u128, usize> = HashMap::with_capacity(rows.len());
        for (row, (id, epoch)) in rows.keys.iter().enumerate() {
            let held = newest.entry(*id).or_insert(row);
            if rows.keys[*held].1 < *epoch {
                *held = row;
            }
        }
        if newest.len() < LEAST_VECTORS {
            return Err(FaissError::TooFew { got: newest.len(), want: LEAST_VECTORS });
        }
        let mut order: Vec<(u64, usize)> = newest.into_iter().map(|(id, row)| (row_hash(user, id, 0), row)).collect();
        order.sort_unstable();
        let count = order.len().isqrt();
        let sample: Vec<f32> = order.iter().take(count * SAMPLE_PER_LIST).flat_map(|(_, row)| rows.vector(*row)).copied().collect();
        let lists = Lists::train(rows.dimension(), count, &sample)?;
        drop(sample);
        let mut index = Self::whole(lists, Slots::new(user), Trained { vectors: order.len(), imbalance: 1.0, probes: 0 });
        // In pieces, so that the vectors are not there three times.
        for piece in order.chunks(4_096) {
            let vectors: Vec<f32> = piece.iter().flat_map(|(_, row)| rows.vector(*row)).copied().collect();
            index.add(&vectors, piece.iter().map(|(_, row)| rows.keys[*row]))?;
        }
        index.measure();
        index.trained.imbalance = index.imbalance();
        // The last ones: in a large index the centres were not made from them. They were added in this order, so their place is their slot.
        let queries: Vec<(u64, &[f32])> = order.iter().enumerate().rev().take(QUERIES).map(|(slot, (_, row))| (slot as u64, rows.vector(*row))).collect();
        index.trained.probes = probes(&index.lists, &queries, (count / 10).max(16))?;
        Ok(index)
    }

    pub(crate) fn whole(lists: Lists, slots: Slots, trained: Trained) -> Self {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let serial = SERIAL.fetch_add(1, atomic::Ordering::Relaxed);
        let mut index = Self { longest: vec![0; lists.lists()], lists, slots, trained, serial };
        index.measure();
        index
    }

    /// Applies changes, each only where its epoch is newer than what is held of that memory (also of one that is gone). All vectors are
    /// checked first. Removing reads every id that is held, so bring many at once.
    ///
    /// # Errors
    /// [`FaissError::Dimension`], [`FaissError::NotFinite`], [`FaissError::NotUnit`]: nothing is changed. [`FaissError::Library`]: memories that
    /// were to be changed may be missing, and come when the changes are applied again.
    pub fn apply(&mut self, changes: &[Change]) -> Result<Applied, FaissError> {
        let mut applied = Applied::default();
        let mut newest: HashMap<u128, usize> = HashMap::new();
        for (at, change) in changes.iter().enumerate() {
            if let Change::Upsert { vector, .. } = change {
                check(vector, self.dimension())?;
            }
            let (id, epoch) = change.key();
            let before = newest.get(&id).map(|before| changes[*before].key().1);
            let old = before.max(self.slots.epoch_of(id)).is_some_and(|held| held >= epoch);
            // A newer one in the same call leaves the one before it without effect.
            applied.ignored += usize::from(old || newest.insert(id, at).is_some());
        }
        let mut order: Vec<usize> = newest.into_values().collect();
        order.sort_unstable();
        let stale: Vec<u64> = order.iter().filter_map(|at| self.slots.slot_of(changes[*at].key().0)).collect();
        if !stale.is_empty() {
            self.lists.remove(&stale)?;
        }
        let (mut vectors, mut keys) = (Vec::new(), Vec::new());
        for at in order {
            match &changes[at] {
                Change::Upsert { id, epoch, vector } => {
                    self.slots.drop_live(*id);
                    vectors.extend_from_slice(vector);
                    keys.push((*id, *epoch));
                }
                Change::Remove { id, epoch } => {
                    applied.removed += usize::from(self.slots.slot_of(*id).is_some());
                    self.slots.bury(*id, *epoch);
                }
            }
        }
        applied.upserted = keys.len();
        if !keys.is_empty() {
            self.add(&vectors, keys.into_iter())?;
        }
        self.measure();
        Ok(applied)
    }

    /// Adds vectors whose ids are not live.
    fn add(&mut self, vectors: &[f32], keys: impl ExactSizeIterator<Item = (u128, u64)>) -> Result<(), FaissError> {
        let next = self.slots.next();
        let slots: Vec<u64> = (next..next + keys.len() as u64).collect();
        self.lists.add(vectors, &slots)?;
        for (id, epoch) in keys {
            self.slots.put(id, epoch);
        }
        Ok(())
    }

    /// Finds the `k` memories whose vectors have the largest product with a query, largest first; fewer if there are not so many. Reads `probes`
    /// of the lists, [`Self::probes`] unless told otherwise. With `allowed`, only those are found, and more lists are read the fewer they are,
    /// so that a narrow filter loses nothing.
    ///
    /// # Errors
    /// [`FaissError::Dimension`], [`FaissError::NotFinite`], [`FaissError::NotUnit`] for the query; [`FaissError::Filter`] if `allowed` is another
    /// index's.
    pub fn search(&self, query: &[f32], k: usize, probes: Option<usize>, allowed: Option<&Allowed>) -> Result<Vec<Hit>, FaissError> {
        check(query, self.dimension())?;
        if allowed.is_some_and(|allowed| allowed.serial != self.serial) {
            return Err(FaissError::Filter);
        }
        let among = allowed.map_or(self.len(), Allowed::len);
        let most = k.min(among);
        if most == 0 {
            return Ok(Vec::new());
        }
        let probes = probes.unwrap_or_else(|| self.probes()).max(1).saturating_mul(self.len()).div_ceil(among).min(self.lists.lists());
        let found = self.lists.search(query, most, probes, allowed.map(|allowed| allowed.bits.as_slice()))?;
        let mut hits: Vec<Hit> = found.into_iter().filter_map(|(slot, score)| Some(Hit { id: self.slots.id_at(slot)?, score })).collect();
        // Equal scores in the order of ids, not of slots: those are others after it was made anew.
        hits.sort_by(|left, right| right.score.partial_cmp(&left.score).unwrap_or(Ordering::Equal).then(left.id.cmp(&right.id)));
        Ok(hits)
    }

    /// The memories for which `predicate` holds. Costs a call for each memory.
    #[must_use]
    pub fn allow(&self, predicate: impl Fn(u128) -> bool) -> Allowed {
        Allowed::of(self.serial, &self.slots, self.slots.live().filter(|(id, ..)| predicate(*id)).map(|(_, slot, _)| slot))
    }

    /// These memories, if they are there.
    #[must_use]
    pub fn allow_ids(&self, ids: impl IntoIterator<Item = u128>) -> Allowed {
        Allowed::of(self.serial, &self.slots, ids.into_iter().filter_map(|id| self.slots.slot_of(id)))
    }

    /// Whose memories these are.
    #[must_use]
    pub fn user(&self) -> u128 {
        self.slots.user()
    }

    /// How many vectors there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// None.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Components of each vector.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.lists.dimension()
    }

    /// The newest epoch of a change that is in.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.slots.epoch()
    }

    /// The epoch at which a memory is there.
    #[must_use]
    pub fn epoch_of(&self, id: u128) -> Option<u64> {
        self.slots.slot_of(id).and_then(|_| self.slots.epoch_of(id))
    }

    /// Lists that a search reads if it is not told otherwise: a tenth of them, at least 16, or as many as it took to find 99 of 100 neighbours
    /// when the index was made.
    #[must_use]
    pub fn probes(&self) -> usize {
        self.trained.probes
    }

    /// How many lists there are.
    #[must_use]
    pub fn lists(&self) -> usize {
        self.lists.lists()
    }

    /// Count and sum over the rows that are there, to compare with the other stores.
    #[must_use]
    pub fn checksum(&self) -> Checksum {
        self.slots.sum()
    }

    /// Forgets which memories are gone since `safe` or before: no older change of them can come any more.
    pub fn forget_removals(&mut self, safe: u64) {
        self.slots.forget_gone(safe);
    }

    /// Memory that it takes, an upper estimate: lists double their room as they grow, and keep it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let vector = self.dimension() * size_of::<f32>();
        let room: usize = self.longest.iter().map(|longest| longest.next_power_of_two() * (vector + size_of::<i64>())).sum();
        room + self.lists.lists() * (vector + size_of::<usize>()) + self.slots.bytes()
    }

    /// Whether, and why, it should be made anew from the store.
    #[must_use]
    pub fn retrain_needed(&self) -> Option<Retrain> {
        if self.len() >= self.trained.vectors * 2 {
            Some(Retrain::Doubled)
        } else if self.imbalance() > (self.trained.imbalance * 2.0).max(4.0) {
            Some(Retrain::Unbalanced)
        } else {
            None
        }
    }

    /// How unequal its lists are: 1 if they are all equally long.
    #[must_use]
    pub fn imbalance(&self) -> f64 {
        imbalance(&self.lists.sizes())
    }

    fn measure(&mut self) {
        for (longest, size) in self.longest.iter_mut().zip(self.lists.sizes()) {
            *longest = size.max(*longest);
        }
    }
}
