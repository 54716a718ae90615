//! Counts words.

use std::borrow::Cow;
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
struct Word<'line> {
    #[serde(borrow)]
    word: Cow<'line, str>,
}

/// By word: how often its row is there (0 or 1 at the end), and its count. A word has one row, so the sum of count times difference
/// over its changes is the count that stands.
type Live = Map<String, (isize, isize)>;

pub(super) fn work(worker: &mut Worker, settings: &Settings) -> Result<Part<Live>, BenchError> {
    let mut input: InputSession<u64, String, isize> = InputSession::new();
    let (changes, live) = (Rc::new(Cell::new(0_u64)), Rc::new(RefCell::new(Live::default())));
    let (seen, held) = (Rc::clone(&changes), Rc::clone(&live));
    worker.dataflow(|scope| {
        input.to_collection(scope).count_total().inspect(move |((word, count), _, diff)| {
            seen.set(seen.get() + 1);
            let mut held = held.borrow_mut();
            match held.get_mut(word) {
                Some((there, sum)) => {
                    *there += diff;
                    *sum += diff * count;
                }
                None => {
                    held.insert(word.clone(), (*diff, diff * count));
                }
            }
        });
    });
    let rows = feed(worker, &settings.file, settings.epoch_rows, |fed| {
        match fed {
            Fed::Line(line) => input.insert(serde_json::from_slice::<Word<'_>>(line)?.word.into_owned()),
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
    for (word, (_, count)) in live.into_iter().filter(|(_, (there, _))| *there != 0) {
        let word = serde_json::Value::String(word);
        sum.add(&format!("{{\"n\":{count},\"word\":{word}}}"));
    }
}
