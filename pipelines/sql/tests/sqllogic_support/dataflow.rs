//! One query over the whole history of its tables.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use ajatus_operators::relational::FAULT;
use ajatus_operators::row::{Kind, Row};
use ajatus_sql::plan::Input;
use ajatus_sql::render::{Feed, NoModels, Render};
use differential_dataflow::input::InputSession;
use timely::dataflow::ProbeHandle;

/// Rows with how often each is there.
pub(crate) type Bag = BTreeMap<Row, isize>;
/// Changes of one epoch: table, row, how often more.
pub(crate) type Epoch = Vec<(usize, Row, isize)>;

/// Two, so that rows are exchanged.
const WORKERS: usize = 2;

/// What a query holds after the last epoch, and what failed; `tables` are names and how their columns are written.
pub(crate) fn after(node: &Input, tables: Vec<(String, Vec<Kind>)>, history: Vec<Epoch>) -> (Bag, Vec<String>) {
    let node = Arc::clone(node);
    let guards = timely::execute(timely::Config::process(WORKERS), move |worker| {
        let mut inputs: Vec<InputSession<u64, Row, isize>> = tables.iter().map(|_| InputSession::new()).collect();
        let seen: Rc<RefCell<Vec<(bool, Row, isize)>>> = Rc::default();
        let probe = ProbeHandle::new();
        worker.dataflow(|scope| {
            let mut render = Render::new(scope, &NoModels);
            for (input, (name, kinds)) in inputs.iter_mut().zip(&tables) {
                let feed = Feed { rows: input.to_collection(scope), columns: (0..kinds.len()).collect(), kinds: kinds.clone() };
                render.feed(name, feed);
            }
            let rows = render.node(&node);
            for (good, collection) in [(true, Some(rows)), (false, render.faults())] {
                let sink = Rc::clone(&seen);
                if let Some(collection) = collection {
                    collection.inspect(move |(row, _, diff)| sink.borrow_mut().push((good, row.clone(), *diff))).probe_with(&probe);
                }
            }
        });
        for (epoch, changes) in history.iter().enumerate() {
            for (at, (table, row, diff)) in changes.iter().enumerate() {
                if at % worker.peers() == worker.index() {
                    inputs[*table].update(row.clone(), *diff);
                }
            }
            for input in &mut inputs {
                input.advance_to(epoch as u64 + 1);
                input.flush();
            }
            worker.step_while(|| probe.less_than(&(epoch as u64 + 1)));
        }
        drop(inputs);
        while worker.step_or_park(None) {}
        seen.take()
    });
    let (mut rows, mut faults) = (Bag::new(), Bag::new());
    for answer in guards.expect("workers").join() {
        for (good, row, diff) in answer.expect("a worker's answer") {
            *if good { &mut rows } else { &mut faults }.entry(row).or_default() += diff;
        }
    }
    rows.retain(|_, count| *count != 0);
    faults.retain(|_, count| *count != 0);
    (rows, faults.keys().map(|fault| format!("{:?}", fault.cells(&FAULT))).collect())
}
