//! Names the user of every live change: a table that changes, joined with one that is read first.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use differential_dataflow::input::InputSession;
use serde::Deserialize;
use timely::worker::Worker;

use super::feed::{Fed, drain, feed};
use super::{Map, Part, Settings};
use crate::checksum::Checksum;
use crate::error::BenchError;

#[derive(Deserialize)]
struct Change {
    id: u32,
    user: u32,
    item: u32,
    weight: u32,
    diff: isize,
}

#[derive(Deserialize)]
struct User {
    id: u32,
    name: String,
}

type Row = (u32, u32, u32, String);

/// By id: how often the row is there, and the row.
type Live = Map<u32, (isize, Row)>;

pub(super) fn work(worker: &mut Worker, settings: &Settings) -> Result<Part<Live>, BenchError> {
    let Some(path) = &settings.users else {
        return Err(BenchError::Usage("the join needs --users".to_owned()));
    };
    let mut input: InputSession<u64, (u32, (u32, u32, u32)), isize> = InputSession::new();
    let mut users: InputSession<u64, (u32, String), isize> = InputSession::new();
    let (changes, live) = (Rc::new(Cell::new(0_u64)), Rc::new(RefCell::new(Live::default())));
    let (seen, held) = (Rc::clone(&changes), Rc::clone(&live));
    worker.dataflow(|scope| {
        let users = users.to_collection(scope);
        let joined =
            input.to_collection(scope).join_map(users, |_, (id, item, weight), name| (*id, *item, *weight, name.clone()));
        joined.inspect(move |(row, _, diff)| {
            seen.set(seen.get() + 1);
            let mut held = held.borrow_mut();
            let there = held.entry(row.0).or_insert_with(|| (0, row.clone()));
            there.0 += diff;
            if there.0 == 0 {
                held.remove(&row.0);
            }
        });
    });
    let mut rows = feed(worker, path, u64::MAX, |fed| {
        if let Fed::Line(line) = fed {
            let user: User = serde_json::from_slice(line)?;
            users.insert((user.id, user.name));
        }
        Ok(())
    })?;
    users.close();
    rows += feed(worker, &settings.file, settings.epoch_rows, |fed| {
        match fed {
            Fed::Line(line) => {
                let change: Change = serde_json::from_slice(line)?;
                input.update((change.user, (change.id, change.item, change.weight)), change.diff);
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
    for (_, (id, item, weight, name)) in live.into_values() {
        let name = serde_json::Value::String(name);
        sum.add(&format!("{{\"id\":{id},\"item\":{item},\"name\":{name},\"weight\":{weight}}}"));
    }
}
