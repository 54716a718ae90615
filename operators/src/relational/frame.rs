//! The frame of every stateful operator: gathers what comes, hands over whole times in order, and gives what the operator knows where a
//! [`Vault`](crate::Vault) asks for it.

use std::collections::BTreeMap;

use differential_dataflow::AsCollection as _;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::{Rows, Update};
use crate::keep::{Entries, Keep, Parts};
use crate::row::Row;

/// Where a row goes.
pub(crate) type Route = Box<dyn Fn(&Row) -> u64>;

/// What an operator gives at a time.
#[derive(Debug, Default)]
pub struct Changes {
    rows: Vec<Update>,
    faults: Vec<Update>,
    time: u64,
}

impl Changes {
    /// A row of the result, so often more.
    #[inline]
    pub fn row(&mut self, row: Row, diff: isize) {
        self.rows.push((row, self.time, diff));
    }

    /// A row of the faults, so often more.
    pub fn fault(&mut self, row: Row, diff: isize) {
        self.faults.push((row, self.time, diff));
    }
}

/// An operator that works on whole times, one after the other.
pub(crate) trait Ordered: 'static {
    /// Whether the whole result is given at the base even where the vault does not show.
    const SHOWS_ALWAYS: bool = false;

    /// Works the updates of every input at a time in, to be drained, and gives what changes.
    fn turn(&mut self, inputs: &mut [Vec<(Row, isize)>], changes: &mut Changes);
    /// Gives all it knows.
    fn give(&mut self, entries: &mut Entries<'_>);
    /// Takes an entry up that [`Ordered::give`] gave; for how many rows it stands.
    fn take(&mut self, entry: &mut Parts<'_>) -> Option<i64>;
    /// Gives the whole result as changes from nothing.
    fn show(&mut self, changes: &mut Changes);
}

/// Runs an operator over its inputs. Returns the rows and the faults that it gives.
pub(crate) fn in_order<'scope, O: Ordered>(name: &str, inputs: Vec<(Rows<'scope>, Route)>, keep: Keep, mut operator: O) -> (Rows<'scope>, Rows<'scope>) {
    let ports = inputs.len();
    let scope = inputs[0].0.scope();
    let mut builder = OperatorBuilder::new(name.to_owned(), scope);
    let mut handles = Vec::with_capacity(ports);
    for (rows, route) in inputs {
        handles.push(builder.new_input(rows.inner, Exchange::new(move |update: &Update| route(&update.0))));
    }
    let (rows, rows_stream) = builder.new_output::<Vec<Update>>();
    let (faults, faults_stream) = builder.new_output::<Vec<Update>>();
    let mut rows: OutputBuilder<u64, CapacityContainerBuilder<Vec<Update>>> = OutputBuilder::from(rows);
    let mut faults: OutputBuilder<u64, CapacityContainerBuilder<Vec<Update>>> = OutputBuilder::from(faults);
    let activator = scope.activator_for(builder.operator_info().address);
    keep.load(|entry| operator.take(entry));
    builder.build(move |capabilities| {
        // Shown once the operator runs, at the base.
        let mut shown = keep.base().filter(|_| keep.shows() || O::SHOWS_ALWAYS).map(|base| (base, capabilities[0].delayed(&base), capabilities[1].delayed(&base)));
        if shown.is_some() {
            activator.activate();
        }
        drop(capabilities);
        keep.watch(activator);
        let mut waiting: BTreeMap<u64, Waiting> = BTreeMap::new();
        let mut changes = Changes::default();
        move |frontiers| {
            for (port, handle) in handles.iter_mut().enumerate() {
                handle.for_each(|capability, updates| {
                    let mut updates = updates.drain(..).peekable();
                    // Most messages hold one time.
                    while let Some((first, time, diff)) = updates.next() {
                        if keep.holds(time) {
                            continue;
                        }
                        let held = waiting.entry(time).or_insert_with(|| Waiting {
                            rows: capability.delayed(&time, 0),
                            faults: capability.delayed(&time, 1),
                            inputs: vec![Vec::new(); ports],
                        });
                        let list = &mut held.inputs[port];
                        list.push((first, diff));
                        while let Some((row, _, diff)) = updates.next_if(|next| next.1 == time) {
                            list.push((row, diff));
                        }
                    }
                });
            }
            let through = frontiers.iter().all(|frontier| frontier.is_empty());
            if waiting.is_empty() && shown.is_none() && keep.asked().is_none() && !through {
                return;
            }
            let open = |time: u64| frontiers.iter().any(|frontier| frontier.less_equal(&time));
            let mut rows = rows.activate();
            let mut faults = faults.activate();
            let mut send = |changes: &mut Changes, for_rows: &Capability<u64>, for_faults: &Capability<u64>| {
                if !changes.rows.is_empty() {
                    rows.session(for_rows).give_container(&mut changes.rows);
                    changes.rows.clear();
                }
                if !changes.faults.is_empty() {
                    faults.session(for_faults).give_container(&mut changes.faults);
                    changes.faults.clear();
                }
            };
            if let Some((base, for_rows, for_faults)) = shown.take() {
                changes.time = base;
                operator.show(&mut changes);
                send(&mut changes, &for_rows, &for_faults);
            }
            loop {
                let first = waiting.first_key_value().map(|(time, _)| *time).filter(|time| !open(*time));
                // Between the last time up to the epoch and the first one after it.
                if let Some(epoch) = keep.asked().filter(|epoch| first.is_none_or(|first| first > *epoch) && !open(*epoch)) {
                    keep.give(epoch, |entries| operator.give(entries));
                    continue;
                }
                let Some((time, mut held)) = first.and_then(|time| waiting.remove_entry(&time)) else { break };
                changes.time = time;
                operator.turn(&mut held.inputs, &mut changes);
                send(&mut changes, &held.rows, &held.faults);
            }
            if through {
                keep.end(|entries| operator.give(entries));
            }
        }
    });
    (rows_stream.as_collection(), faults_stream.as_collection())
}

/// A time that is not complete.
struct Waiting {
    rows: Capability<u64>,
    faults: Capability<u64>,
    inputs: Vec<Vec<(Row, isize)>>,
}
