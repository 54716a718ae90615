//! Which memory lies where: ids of 128 bits beside the library's numbers of 63.

use std::collections::HashMap;

use ajatus_events::Checksum;

/// Where memories lie, at which epoch, and which are gone. A slot is never used again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots {
    user: u128,
    /// Id by slot; 0 where it is gone.
    ids: Vec<u128>,
    live: HashMap<u128, (u64, u64)>,
    /// Epoch of the removal.
    gone: HashMap<u128, u64>,
    sum: Checksum,
    epoch: u64,
}

impl Slots {
    pub(crate) fn new(user: u128) -> Self {
        Self { user, ..Self::default() }
    }

    /// As they were saved.
    pub(crate) fn again(user: u128, next: u64, live: Vec<(u128, u64, u64)>, gone: Vec<(u128, u64)>, epoch: u64) -> Option<Self> {
        let mut slots = Self { epoch, ids: vec![0; usize::try_from(next).ok()?], ..Self::new(user) };
        for (id, slot, epoch) in live {
            *slots.ids.get_mut(usize::try_from(slot).ok()?)? = id;
            slots.sum.add(user, id, epoch);
            slots.live.insert(id, (slot, epoch));
        }
        slots.gone = gone.into_iter().collect();
        Some(slots)
    }

    /// The newest epoch that an id was changed at.
    pub(crate) fn epoch_of(&self, id: u128) -> Option<u64> {
        self.live.get(&id).map(|(_, epoch)| *epoch).max(self.gone.get(&id).copied())
    }

    pub(crate) fn slot_of(&self, id: u128) -> Option<u64> {
        self.live.get(&id).map(|(slot, _)| *slot)
    }

    pub(crate) fn id_at(&self, slot: u64) -> Option<u128> {
        let id = *self.ids.get(usize::try_from(slot).ok()?)?;
        (self.slot_of(id) == Some(slot)).then_some(id)
    }

    /// The slot that the next [`Self::put`] takes.
    pub(crate) fn next(&self) -> u64 {
        self.ids.len() as u64
    }

    /// In, at the next slot.
    pub(crate) fn put(&mut self, id: u128, epoch: u64) {
        self.drop_live(id);
        self.gone.remove(&id);
        self.live.insert(id, (self.next(), epoch));
        self.ids.push(id);
        self.sum.add(self.user, id, epoch);
        self.epoch = self.epoch.max(epoch);
    }

    /// Out of its slot, whatever comes after.
    pub(crate) fn drop_live(&mut self, id: u128) {
        if let Some((slot, epoch)) = self.live.remove(&id) {
            self.sum.take(self.user, id, epoch);
            if let Some(held) = usize::try_from(slot).ok().and_then(|slot| self.ids.get_mut(slot)) {
                *held = 0;
            }
        }
    }

    /// Gone since an epoch: nothing older brings it back.
    pub(crate) fn bury(&mut self, id: u128, epoch: u64) {
        self.drop_live(id);
        self.gone.insert(id, epoch);
        self.epoch = self.epoch.max(epoch);
    }

    pub(crate) fn forget_gone(&mut self, safe: u64) {
        self.gone.retain(|_, epoch| *epoch > safe);
        self.gone.shrink_to_fit();
    }

    pub(crate) fn user(&self) -> u128 {
        self.user
    }

    pub(crate) fn len(&self) -> usize {
        self.live.len()
    }

    pub(crate) fn sum(&self) -> Checksum {
        self.sum
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Id, slot and epoch, in the order of slots.
    pub(crate) fn live(&self) -> impl Iterator<Item = (u128, u64, u64)> {
        (0..self.next()).filter_map(|slot| {
            let id = self.id_at(slot)?;
            Some((id, slot, self.live.get(&id)?.1))
        })
    }

    pub(crate) fn gone(&self) -> impl Iterator<Item = (u128, u64)> {
        self.gone.iter().map(|(id, epoch)| (*id, *epoch))
    }

    pub(crate) fn bytes(&self) -> usize {
        let map = |capacity: usize, entry: usize| capacity * (entry + 1) * 8 / 7;
        self.ids.capacity() * size_of::<u128>() + map(self.live.capacity(), size_of::<(u128, (u64, u64))>()) + map(self.gone.capacity(), size_of::<(u128, u64)>())
    }
}

/// Memories that a search may find. Made by [`crate::LargeIndex::allow`] of one index, for that one; a memory that is changed afterwards is not
/// in it, so make it for a question, or for some that are asked together.
#[derive(Clone, Debug)]
pub struct Allowed {
    pub(crate) serial: u64,
    /// A bit for each slot.
    pub(crate) bits: Vec<u8>,
    pub(crate) count: usize,
}

impl Allowed {
    pub(crate) fn of(serial: u64, slots: &Slots, allowed: impl Iterator<Item = u64>) -> Self {
        let mut bits = vec![0_u8; slots.ids.len().div_ceil(8).max(1)];
        let mut count = 0;
        for slot in allowed {
            let Some(byte) = usize::try_from(slot / 8).ok().and_then(|at| bits.get_mut(at)) else { continue };
            let bit = 1 << (slot % 8);
            count += usize::from(*byte & bit == 0);
            *byte |= bit;
        }
        Self { serial, bits, count }
    }

    /// How many memories it allows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// None.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}
