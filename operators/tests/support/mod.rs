//! Runs a dataflow over epochs of input and gives back what was emitted at each.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ajatus_operators::emit;
use differential_dataflow::input::InputSession;
use differential_dataflow::{ExchangeData, VecCollection};
use timely::dataflow::operators::probe::Probe as _;

/// Changes per epoch, consolidated and sorted; epochs without changes are absent.
pub(crate) type Emitted<O> = BTreeMap<u64, Vec<(O, isize)>>;

/// Feeds `epochs[i]` at time `i + 1`, all on worker 0, on `workers` threads; no epoch waits for another.
pub(crate) fn run<I, O, F>(workers: usize, epochs: Vec<Vec<(I, isize)>>, build: F) -> Emitted<O>
where
    I: ExchangeData + Send + Sync,
    O: ExchangeData + Send,
    F: for<'scope> Fn(VecCollection<'scope, u64, I, isize>) -> VecCollection<'scope, u64, O, isize> + Send + Sync + 'static,
{
    let emitted: Arc<Mutex<Emitted<O>>> = Arc::default();
    let sink = Arc::clone(&emitted);
    let epochs = Arc::new(epochs);
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let mut input: InputSession<u64, I, isize> = InputSession::new();
        let sink = Arc::clone(&sink);
        let probe = worker.dataflow(|scope| {
            let out = build(input.to_collection(scope));
            emit(out, move |closed, _frontier| {
                let mut sink = sink.lock().expect("no test thread panics");
                for (time, changes) in closed {
                    if !changes.is_empty() {
                        sink.insert(time, changes);
                    }
                }
            })
            .probe()
            .0
        });
        if worker.index() == 0 {
            for (at, records) in epochs.iter().enumerate() {
                input.advance_to(at as u64 + 1);
                for (record, diff) in records {
                    input.update(record.clone(), *diff);
                }
                input.flush();
            }
        }
        input.close();
        while worker.step_or_park(Some(std::time::Duration::from_millis(1))) {
            if probe.done() {
                break;
            }
        }
    })
    .expect("a dataflow");
    for guard in guards.join() {
        guard.expect("no worker panics");
    }
    Arc::into_inner(emitted).expect("the workers have ended").into_inner().expect("no test thread panics")
}

/// The collection after each of `epochs` epochs.
pub(crate) fn states<O: Ord + Clone>(emitted: &Emitted<O>, epochs: u64) -> Vec<BTreeMap<O, isize>> {
    let mut state: BTreeMap<O, isize> = BTreeMap::new();
    (1..=epochs)
        .map(|time| {
            for (row, diff) in emitted.get(&time).into_iter().flatten() {
                *state.entry(row.clone()).or_default() += diff;
            }
            state.retain(|_, count| *count != 0);
            state.clone()
        })
        .collect()
}
