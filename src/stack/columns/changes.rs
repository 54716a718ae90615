//! `memory-changes` in the order of epochs, all partitions together.
//!
//! Holds always: a change is given out after all that lie before it on its partition; of different partitions the older epoch comes first.
//! Not promised: a change that cannot be opened (its key is gone, or it is damaged): it is left out, counted, and found by a comparison.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ajatus_events::{ChangeRecord, MemoryChange, MemoryOp, topic};
use ajatus_kafka::{Log, LogError, wire};
use ajatus_lance::{MemoryContent, MemoryRow};
use ajatus_memory::index::vector_from_bytes;
use ajatus_memory::keys::{KeyError, KeyRing, Purpose};
use ajatus_memory::postgres::StoreError;

/// Records that are read at once.
const CHUNK: usize = 500;

/// Per partition, everything below is in.
pub(super) type Positions = BTreeMap<u32, u64>;

/// Where to read on, as a dataset's note keeps it.
pub(super) fn noted(positions: &Positions) -> String {
    positions.iter().map(|(partition, next)| format!("{partition}:{next}")).collect::<Vec<_>>().join(",")
}

/// The inverse; nothing for a note that says nothing.
pub(super) fn positions_of(note: &str) -> Option<Positions> {
    let pair = |part: &str| part.split_once(':').and_then(|(partition, next)| Some((partition.parse().ok()?, next.parse().ok()?)));
    note.split(',').map(pair).collect()
}

struct Part {
    partition: u32,
    /// Where to read on.
    next: u64,
    /// How far it goes, as last looked.
    end: u64,
    /// Read and not given out, with their offsets.
    queue: VecDeque<(u64, MemoryChange)>,
}

/// The changes.
pub(super) struct Changes {
    log: Arc<dyn Log>,
    keys: KeyRing,
    dimension: usize,
    /// Changes before this epoch are in, wherever they lie.
    since: u64,
    parts: Vec<Part>,
    left_out: u64,
}

impl Changes {
    /// From positions on; without any, from the start, but for what lies before an epoch.
    pub(super) async fn from(log: Arc<dyn Log>, keys: KeyRing, dimension: usize, positions: Option<&Positions>, since: u64) -> Result<Self, LogError> {
        let mut parts = Vec::new();
        for partition in 0..log.partitions(topic::MEMORY_CHANGES)? {
            let (start, end) = (log.start_offset(topic::MEMORY_CHANGES, partition).await?, log.end_offset(topic::MEMORY_CHANGES, partition).await?);
            // A position that the log has not got is one of another log: from the start on is always right.
            let next = positions.and_then(|positions| positions.get(&partition)).copied().filter(|next| (start..=end).contains(next)).unwrap_or(start);
            parts.push(Part { partition, next, end, queue: VecDeque::new() });
        }
        let since = if positions.is_some() { 0 } else { since };
        Ok(Self { log, keys, dimension, since, parts, left_out: 0 })
    }

    /// Looks how far the partitions go now.
    pub(super) async fn look(&mut self) -> Result<(), LogError> {
        for part in &mut self.parts {
            part.end = self.log.end_offset(topic::MEMORY_CHANGES, part.partition).await?;
        }
        Ok(())
    }

    /// Records that were not read or not given out when last looked.
    pub(super) fn waiting(&self) -> u64 {
        self.parts.iter().map(|part| part.end.saturating_sub(part.next) + part.queue.len() as u64).sum()
    }

    /// The next change of an epoch up to `last`, as a row; `None` if no other is there.
    pub(super) async fn next(&mut self, last: u64) -> anyhow::Result<Option<MemoryRow>> {
        loop {
            self.fill().await?;
            let oldest = self.parts.iter_mut().filter_map(|part| Some((part.queue.front()?.1.epoch, part.partition))).min();
            let Some((_, partition)) = oldest.filter(|(epoch, _)| *epoch <= last) else { return Ok(None) };
            let at = self.parts.iter().position(|part| part.partition == partition).expect("it was just there");
            let Some((_, change)) = self.parts[at].queue.front().cloned() else { return Ok(None) };
            let row = if change.epoch < self.since { None } else { self.row(change).await? };
            // Only now: a failure before gives it out again.
            self.parts[at].queue.pop_front();
            if row.is_some() {
                return Ok(row);
            }
        }
    }

    /// Per partition, everything below was given out.
    pub(super) fn positions(&self) -> Positions {
        self.parts.iter().map(|part| (part.partition, part.queue.front().map_or(part.next, |(offset, _)| *offset))).collect()
    }

    /// How far the partitions went when last looked.
    pub(super) fn ends(&self) -> Positions {
        self.parts.iter().map(|part| (part.partition, part.end)).collect()
    }

    async fn fill(&mut self) -> Result<(), LogError> {
        for part in &mut self.parts {
            while part.queue.is_empty() && part.next < part.end {
                let chunk = self.log.read(topic::MEMORY_CHANGES, part.partition, part.next, CHUNK).await?;
                for entry in chunk.entries {
                    let Some(value) = entry.value else { continue };
                    match wire::decode::<ChangeRecord>(&value) {
                        Ok(ChangeRecord::Memory(change)) => part.queue.push_back((entry.offset, change)),
                        Ok(ChangeRecord::Frontier(_)) => {}
                        Err(error) => {
                            tracing::error!(part.partition, entry.offset, %error, "a change of the memory cannot be read and is not in Lance");
                            self.left_out += 1;
                        }
                    }
                }
                if chunk.next <= part.next {
                    break;
                }
                part.next = chunk.next;
            }
        }
        Ok(())
    }

    /// A change as a row; `None` if it cannot be one.
    async fn row(&mut self, change: MemoryChange) -> anyhow::Result<Option<MemoryRow>> {
        let (user_id, id, epoch) = (change.user_id, change.id, change.epoch);
        let gone = MemoryRow { id, user_id, epoch, content: None };
        let MemoryOp::Upsert { conversation_id, session, position, role, occurred_at, body, vector, model } = change.op else {
            return Ok(Some(gone));
        };
        let key = match self.keys.user(user_id).await {
            Ok(key) => key,
            // Forgotten since.
            Err(KeyError::Destroyed { .. }) => return Ok(None),
            Err(KeyError::Store(error)) => return Err(error.into()),
            Err(error) => return Err(StoreError::from(error).into()),
        };
        let opened = key.open(Purpose::Vectors, &MemoryChange::vector_aad(user_id, id), &vector).ok();
        let vector = opened.and_then(|bytes| vector_from_bytes(&bytes)).filter(|vector| vector.len() == self.dimension);
        let Some(vector) = vector else {
            // Sealed with a key that was replaced, or of a model that was: a newer change of it lies behind.
            self.left_out += 1;
            tracing::debug!(user = %user_id, memory = %id, epoch, "a change of the memory cannot be opened and is not in Lance");
            return Ok(None);
        };
        let content = MemoryContent { conversation_id, session, position, role, occurred_at, model, body, vector };
        Ok(Some(MemoryRow { content: Some(content), ..gone }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_come_back_from_a_note_and_an_empty_note_says_nothing() {
        let positions = Positions::from([(0, 17), (3, 0)]);
        assert_eq!(positions_of(&noted(&positions)), Some(positions));
        assert_eq!((positions_of(""), positions_of("0:x")), (None, None));
    }
}
