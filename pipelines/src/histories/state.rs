//! What the dataflow's sinks hold, row by row, as words that can be compared and searched.

use std::collections::{BTreeMap, BTreeSet};

use ajatus_events::UserId;

use crate::companion::Job;
use crate::runtime::PipelineError;
use crate::stream::{Changes, consolidated};

/// Rows by user.
#[derive(Default)]
pub(super) struct State(BTreeMap<UserId, BTreeSet<String>>);

impl State {
    /// Brings an epoch's changes in.
    pub(super) fn apply(&mut self, job: &Job, mut changes: Changes) -> Result<(), PipelineError> {
        let mut take = |output: usize| consolidated(changes.remove(&output).unwrap_or_default());
        for (row, diff) in take(job.memories()) {
            let memory = job.memory(&row)?;
            let place = format!("{} {} {} {} {}", memory.conversation_id, memory.session, memory.position, memory.role.as_str(), memory.occurred_at);
            self.change(memory.key.user_id, memory_row(&memory.key.id.to_string(), &place, &memory.body.0, &memory.vector), diff)?;
        }
        for (row, diff) in take(job.activity()) {
            let counts = job.counts(&row)?;
            let text = counts_row([counts.user_turns, counts.assistant_turns, counts.other_turns], counts.first_at.timestamp_micros(), counts.last_at.timestamp_micros());
            self.change(counts.user_id, text, diff)?;
        }
        for (row, diff) in take(job.profiles()) {
            let (user, kind, name, body) = job.profile(&row)?;
            self.change(user, profile_row(&kind, &name, &body), diff)?;
        }
        for (row, diff) in take(job.edits()) {
            let edit = job.edit(&row)?;
            self.change(edit.key.user_id, edit_row(&edit.key.id.to_string(), edit.occurred_at.timestamp_micros(), &edit.body.0), diff)?;
        }
        match take(job.outputs() - 1).first() {
            Some((fault, _)) => Err(PipelineError::Dataflow(format!("a row could not be computed: {}", String::from_utf8_lossy(fault.bytes())))),
            None => Ok(()),
        }
    }

    fn change(&mut self, user: UserId, row: String, diff: isize) -> Result<(), PipelineError> {
        let rows = self.0.entry(user).or_default();
        let done = match diff {
            1 => rows.insert(row),
            -1 => rows.remove(&row),
            _ => false,
        };
        if done { Ok(()) } else { Err(PipelineError::Bug("a sink was told of a row twice, or of the going of one that was not there")) }
    }

    /// These rows of one user.
    #[cfg(test)]
    pub(super) fn holding(user: UserId, rows: BTreeSet<String>) -> Self {
        Self(BTreeMap::from([(user, rows)]))
    }

    /// Rows of a user.
    pub(super) fn of(&self, user: UserId) -> BTreeSet<String> {
        self.0.get(&user).cloned().unwrap_or_default()
    }

    /// Rows of everybody.
    pub(super) fn rows(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }
}

pub(super) fn memory_row(id: &str, place: &str, body: &[u8], vector: &[f32]) -> String {
    format!("memory {id} {place} {} {vector:?}", String::from_utf8_lossy(body))
}

pub(super) fn counts_row(turns: [u64; 3], first_us: i64, last_us: i64) -> String {
    format!("counts {turns:?} {first_us} {last_us}")
}

pub(super) fn profile_row(kind: &str, name: &str, body: &str) -> String {
    format!("profile {kind} {name} {body}")
}

pub(super) fn edit_row(id: &str, at_us: i64, body: &[u8]) -> String {
    format!("edit {id} {at_us} {}", String::from_utf8_lossy(body))
}
