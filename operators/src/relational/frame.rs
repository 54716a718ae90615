//! The frame of every stateful operator: gathers what comes, and hands over whole times in order.

use std::collections::BTreeMap;

use differential_dataflow::AsCollection as _;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::{Rows, Update};
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

/// Calls `logic` with each complete time, in order: the updates of every input at that time, to be drained. Returns the rows and
/// the faults that it gives.
pub(crate) fn in_order<'scope, L>(name: &str, inputs: Vec<(Rows<'scope>, Route)>, mut logic: L) -> (Rows<'scope>, Rows<'scope>)
where
    L: FnMut(&mut [Vec<(Row, isize)>], &mut Changes) + 'static,
{
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
    builder.build(move |capabilities| {
        drop(capabilities);
        let mut waiting: BTreeMap<u64, Waiting> = BTreeMap::new();
        let mut changes = Changes::default();
        move |frontiers| {
            for (port, handle) in handles.iter_mut().enumerate() {
                handle.for_each(|capability, updates| {
                    let mut updates = updates.drain(..).peekable();
                    // Most messages hold one time.
                    while let Some((first, time, diff)) = updates.next() {
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
            if waiting.is_empty() {
                return;
            }
            let mut rows = rows.activate();
            let mut faults = faults.activate();
            while let Some(entry) = waiting.first_entry() {
                if frontiers.iter().any(|frontier| frontier.less_equal(entry.key())) {
                    break;
                }
                let (time, mut held) = entry.remove_entry();
                changes.time = time;
                logic(&mut held.inputs, &mut changes);
                if !changes.rows.is_empty() {
                    rows.session(&held.rows).give_container(&mut changes.rows);
                    changes.rows.clear();
                }
                if !changes.faults.is_empty() {
                    faults.session(&held.faults).give_container(&mut changes.faults);
                    changes.faults.clear();
                }
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
