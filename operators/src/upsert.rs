//! From a changelog to a table: the last value of each key.
//!
//! The collection at time `t` holds, for every key, the value with the largest sequence number among all records at times up
//! to `t`, unless that record is a tombstone. Records are assertions (`+1`), never retracted.
//!
//! Keeps: the current value of every live key, on the worker that the key hashes to.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use differential_dataflow::{AsCollection, ExchangeData, Hashable, VecCollection};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator as _;

/// One record of a changelog: key, sequence number (an offset), value or tombstone.
pub type Sequenced<K, V> = (K, (u64, Option<V>));

/// Keeps the last value of each key.
///
/// In: records, each `+1`; sequence numbers of one key are distinct and grow with time. Out: `(key, value)`, each once.
/// A tombstone retracts the key's value; a record equal to what is there changes nothing.
pub fn upsert<'scope, K, V>(records: VecCollection<'scope, u64, Sequenced<K, V>, isize>) -> VecCollection<'scope, u64, (K, V), isize>
where
    K: ExchangeData + Hashable + Hash,
    V: ExchangeData,
{
    let route = Exchange::new(|update: &(Sequenced<K, V>, u64, isize)| update.0.0.hashed().into());
    records
        .inner
        .unary_frontier::<CapacityContainerBuilder<Vec<((K, V), u64, isize)>>, _, _, _>(route, "Upsert", |default, _info| {
            drop(default);
            let mut table: HashMap<K, V> = HashMap::new();
            let mut waiting: BTreeMap<u64, (Capability<u64>, Vec<Sequenced<K, V>>)> = BTreeMap::new();
            move |(input, frontier), output| {
                input.for_each(|capability, updates| {
                    let port = output.output_index();
                    for (record, time, diff) in updates.drain(..) {
                        debug_assert!(diff == 1, "a changelog only asserts");
                        let held = waiting.entry(time).or_insert_with(|| (capability.delayed(&time, port), Vec::new()));
                        held.1.push(record);
                    }
                });
                // A time is complete once the frontier is past it; times go in order, so the table is always that of one time.
                while let Some(entry) = waiting.first_entry() {
                    if frontier.less_equal(entry.key()) {
                        break;
                    }
                    let (time, (capability, mut records)) = entry.remove_entry();
                    records.sort_unstable_by(|a, b| (&a.0, a.1.0).cmp(&(&b.0, b.1.0)));
                    let mut session = output.session(&capability);
                    let mut records = records.into_iter().peekable();
                    while let Some((key, (_, value))) = records.next() {
                        if records.peek().is_some_and(|(next, _)| *next == key) {
                            continue;
                        }
                        let old = match value.clone() {
                            Some(new) => table.insert(key.clone(), new),
                            None => table.remove(&key),
                        };
                        if old == value {
                            continue;
                        }
                        if let Some(old) = old {
                            session.give(((key.clone(), old), time, -1));
                        }
                        if let Some(new) = value {
                            session.give(((key, new), time, 1));
                        }
                    }
                }
            }
        })
        .as_collection()
}
