//! How far the index is: what a read after a write waits for.

use std::collections::BTreeMap;

use ajatus_events::{Receipt, topic};

/// Per partition of `interactions`, everything below is in; and the last epoch seen closed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontiers {
    /// Last epoch.
    pub epoch: u64,
    /// Next offset of each partition; a partition not named is at 0.
    pub next_offsets: BTreeMap<u32, u64>,
}

/// A write is not in yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("offset {wanted_offset} of partition {partition} is not in the memory yet, which is at {applied_offset} (epoch {epoch}); ask again")]
pub struct Behind {
    /// Partition of the write.
    pub partition: u32,
    /// Everything below is in.
    pub applied_offset: u64,
    /// The write's.
    pub wanted_offset: u64,
    /// Last epoch.
    pub epoch: u64,
}

impl Frontiers {
    /// Moves on, never back; whether anything moved.
    pub(super) fn advance(&mut self, epoch: u64, partition: u32, next: u64) -> bool {
        let known = self.next_offsets.entry(partition).or_default();
        let moved = next > *known || epoch > self.epoch;
        *known = next.max(*known);
        self.epoch = self.epoch.max(epoch);
        moved
    }

    /// Whether a write is in. A receipt of another topic has nothing to wait for here.
    #[must_use]
    pub fn has(&self, receipt: &Receipt) -> bool {
        receipt.topic != topic::INTERACTIONS || self.next_offsets.get(&receipt.partition).is_some_and(|next| *next > receipt.offset)
    }

    pub(super) fn behind(&self, receipt: &Receipt) -> Behind {
        Behind {
            partition: receipt.partition,
            applied_offset: self.next_offsets.get(&receipt.partition).copied().unwrap_or(0),
            wanted_offset: receipt.offset,
            epoch: self.epoch,
        }
    }
}
