//! What waits: two classes, parties taking turns within each.

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::oneshot;

use super::{BatchConfig, Class};
use crate::port::{Embedding, InferenceError};

/// One text and whom to answer.
pub(super) struct Item {
    pub(super) text: String,
    pub(super) reply: oneshot::Sender<Result<Embedding, InferenceError>>,
}

/// One class: parties with something waiting, and whose turn it is.
#[derive(Default)]
struct Line {
    parties: BTreeMap<u64, VecDeque<Item>>,
    turns: VecDeque<u64>,
}

#[derive(Default)]
pub(super) struct Queue {
    interactive: Line,
    batch: Line,
    waiting: usize,
    parties: u64,
    closed: bool,
}

impl Line {
    fn push(&mut self, party: u64, item: Item) {
        let held = self.parties.entry(party).or_default();
        if held.is_empty() {
            self.turns.push_back(party);
        }
        held.push_back(item);
    }

    fn pop(&mut self) -> Option<Item> {
        let party = self.turns.pop_front()?;
        let held = self.parties.get_mut(&party)?;
        let item = held.pop_front();
        if held.is_empty() {
            self.parties.remove(&party);
        } else {
            self.turns.push_back(party);
        }
        item
    }
}

impl Queue {
    pub(super) fn party(&mut self) -> u64 {
        self.parties += 1;
        self.parties
    }

    pub(super) fn check(&self, more: usize, limit: usize) -> Result<(), InferenceError> {
        if self.closed {
            return Err(super::closed());
        }
        // A call larger than the whole queue is let in when nothing else waits, or it could never run.
        if self.waiting > 0 && self.waiting + more > limit {
            return Err(InferenceError::Overloaded { waiting: self.waiting, limit });
        }
        Ok(())
    }

    pub(super) fn push(&mut self, class: Class, party: u64, item: Item) {
        self.waiting += 1;
        match class {
            Class::Interactive => self.interactive.push(party, item),
            Class::Batch => self.batch.push(party, item),
        }
    }

    /// The next batch: interactive texts first; whoever has left is passed over.
    pub(super) fn take(&mut self, config: &BatchConfig) -> Vec<Item> {
        let (mut batch, mut tokens) = (Vec::new(), 0);
        while batch.len() < config.max_batch_rows.max(1) && tokens < config.max_batch_tokens {
            let Some(item) = self.interactive.pop().or_else(|| self.batch.pop()) else { break };
            self.waiting -= 1;
            if item.reply.is_closed() {
                continue;
            }
            tokens += item.text.len() / 4 + 2;
            batch.push(item);
        }
        batch
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
        self.interactive = Line::default();
        self.batch = Line::default();
        self.waiting = 0;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }
}
