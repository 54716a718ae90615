//! Out of the dataflow: the changes of each time, once the time is complete.

use std::collections::BTreeMap;

use differential_dataflow::consolidation::consolidate;
use differential_dataflow::{ExchangeData, VecCollection};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, ParallelizationContract, Pipeline};
use timely::dataflow::operators::generic::Operator as _;

use crate::row::Row;

/// Calls `closed` with the consolidated changes of every complete time, in order, and the frontier reached (`None`: nothing
/// more will come); also when the frontier moved without changes.
///
/// All changes go to one worker, the first; the others' `closed` hears only of frontiers. Keeps: the changes of times not yet
/// complete.
pub fn emit<'scope, D, F>(changes: VecCollection<'scope, u64, D, isize>, mut closed: F) -> timely::dataflow::StreamVec<'scope, u64, ()>
where
    D: ExchangeData,
    F: FnMut(Vec<(u64, Vec<(D, isize)>)>, Option<u64>) + 'static,
{
    let route = Exchange::new(|_: &(D, u64, isize)| 0);
    close(changes, route, move |mut complete, frontier| {
        complete.iter_mut().for_each(|(_, changes)| consolidate(changes));
        closed(complete, frontier);
    })
}

/// As [`emit`], but each worker's `closed` hears of the changes that are there, as they came.
pub fn emit_here<'scope, D, F>(changes: VecCollection<'scope, u64, D, isize>, closed: F) -> timely::dataflow::StreamVec<'scope, u64, ()>
where
    D: ExchangeData,
    F: FnMut(Vec<(u64, Vec<(D, isize)>)>, Option<u64>) + 'static,
{
    close(changes, Pipeline, closed)
}

/// As [`emit_here`], after the changes have gone to the first `workers` workers: those of the process that writes them down.
pub fn emit_among<'scope, F>(changes: VecCollection<'scope, u64, Row, isize>, workers: u64, closed: F) -> timely::dataflow::StreamVec<'scope, u64, ()>
where
    F: FnMut(Vec<(u64, Vec<(Row, isize)>)>, Option<u64>) + 'static,
{
    // Timely takes the rest by the number of all workers, which is above this one.
    let route = Exchange::new(move |update: &(Row, u64, isize)| update.0.route() % workers.max(1));
    close(changes, route, closed)
}

fn close<'scope, D, P, F>(changes: VecCollection<'scope, u64, D, isize>, pact: P, mut closed: F) -> timely::dataflow::StreamVec<'scope, u64, ()>
where
    D: ExchangeData,
    P: ParallelizationContract<u64, Vec<(D, u64, isize)>>,
    F: FnMut(Vec<(u64, Vec<(D, isize)>)>, Option<u64>) + 'static,
{
    changes.inner.unary_frontier::<CapacityContainerBuilder<Vec<()>>, _, _, _>(pact, "Emit", move |default, _info| {
        drop(default);
        let mut waiting: BTreeMap<u64, Vec<(D, isize)>> = BTreeMap::new();
        let mut reached = Some(0);
        move |(input, frontier), _output| {
            input.for_each(|_capability, updates| {
                for (change, time, diff) in updates.drain(..) {
                    waiting.entry(time).or_default().push((change, diff));
                }
            });
            let now = frontier.frontier().first().copied();
            if now == reached {
                return;
            }
            reached = now;
            let mut complete = Vec::new();
            while let Some(entry) = waiting.first_entry() {
                if frontier.less_equal(entry.key()) {
                    break;
                }
                complete.push(entry.remove_entry());
            }
            closed(complete, now);
        }
    })
}
