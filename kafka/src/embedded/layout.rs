//! Refuses a `topics.toml` that does not fit the records already there.
//!
//! The number of partitions of each topic stands in the keyspace `positions` under `partitions:TOPIC` (a topic's name holds
//! no `:`), as a big-endian u64.

use fjall::{Database, Keyspace, PersistMode};

use super::{failure, record};
use crate::LogError;
use crate::topics::{Cleanup, Topics};

/// Compares, and writes down the numbers where they may change.
pub(super) fn settle(path: &std::path::Path, db: &Database, positions: &Keyspace, topics: &Topics) -> Result<(), LogError> {
    let failed = |error| failure(path, error);
    let at = path.display().to_string();
    let mut changed = false;
    for topic in topics.iter() {
        let key = format!("partitions:{}", topic.name);
        let noted = positions.get(&key).map_err(failed)?.and_then(|bytes| record::offset(&bytes));
        let had = match noted {
            Some(count) => u32::try_from(count).unwrap_or(u32::MAX),
            // A log from before the number was written down.
            None => (0..).take_while(|number| db.keyspace_exists(&format!("{}.{number}", topic.name))).map(|number: u32| number + 1).last().unwrap_or(0),
        };
        if had != 0 && had != topic.partitions {
            let mut written = None;
            for number in 0..had {
                if positions.get(format!("{}.{number}", topic.name)).map_err(failed)?.is_some() {
                    written = Some(number);
                }
            }
            if written.is_some_and(|last| last >= topic.partitions) {
                return Err(topic.would_lose_partitions(had, &at));
            }
            if written.is_some() && topic.cleanup == Cleanup::Compact {
                // Fewer partitions part keys from what they replace as well as more.
                return Err(topic.would_move_keys(had, &at));
            }
        }
        if noted != Some(u64::from(topic.partitions)) {
            positions.insert(&key, record::key(u64::from(topic.partitions))).map_err(failed)?;
            changed = true;
        }
    }
    if changed {
        db.persist(PersistMode::SyncData).map_err(failed)?;
    }
    Ok(())
}
