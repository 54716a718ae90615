//! Keeps how many rows each user has, and the sum of their weights, while a fifth of the rows is withdrawn.
//!
//! Both numbers ride in the difference, so a user costs one record of the arrangement whatever the number of rows.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use differential_dataflow::input::InputSession;
use differential_dataflow::operators::CountTotal as _;
use serde::Deserialize;
use timely::worker::Worker;

use super::feed::{Fed, drain, feed};
use super::{Map, Part, Settings};
use crate::checksum::Checksum;
use crate::error::BenchError;

#[derive(Deserialize)]
struct Change {
    user: u32,
    weight: isize,
    diff: isize,
}

/// By user: how often the row is there, and the two sums that stand, as in `wordcount`.
type Live = Map<u32, (isize, isize, isize)>;

pub(super) fn work(worker: &mut Worker, settings: &Settings) -> Result<Part<Live>, BenchError> {
    let mut input: InputSession<u64, u32, (isize, isize)> = InputSession::new();
    let (changes, live) = (Rc::new(Cell::new(0_u64)), Rc::new(RefCell::new(Live::default())));
    let (seen, held) = (Rc::clone(&changes), Rc::clone(&live));
    worker.dataflow(|scope| {
        input.to_collection(scope).count_total().inspect(move |((user, (count, total)), _, diff)| {
            seen.set(seen.get() + 1);
            let mut held = held.borrow_mut();
            let row = held.entry(*user).or_default();
            *row = (row.0 + diff, row.1 + diff * count, row.2 + diff * total);
        });
    });
    let rows = feed(worker, &settings.file, settings.epoch_rows, |fed| {
        match fed {
            Fed::Line(line) => {
                let change: Change = serde_json::from_slice(line)?;
                input.update(change.user, (change.diff, change.diff * change.weight));
            }
            Fed::Epoch(epoch) => {
                input.advance_to(epoch);
                input.flush();
            }
        }
        Ok(())
    })?;
    input.close();
    drain(worker);
    Ok(Part { rows, changes: changes.get(), live: live.take() })
}

pub(super) fn check(live: Live, sum: &mut Checksum) {
    for (user, (_, count, total)) in live.into_iter().filter(|(_, (there, ..))| *there != 0) {
        sum.add(&format!("{{\"n\":{count},\"total\":{total},\"user\":{user}}}"));
    }
}
