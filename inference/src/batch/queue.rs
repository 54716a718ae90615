//! What waits: two classes, and within each the parties, who take turns by tokens.
//!
//! Turns are fair queueing: a party's next text starts where its last one ended on a clock that counts tokens, and the party
//! that is behind goes first. So a party with long texts gets as many tokens as one with short ones, not as many texts.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use tokio::sync::oneshot;

use super::{BatchConfig, Class};
use crate::port::{InferenceError, Party};

/// One input and whom to answer.
pub(super) struct Item<I, A> {
    pub(super) input: I,
    pub(super) tokens: usize,
    pub(super) since: Duration,
    /// Whether it holds a place of the queue's capacity.
    pub(super) placed: bool,
    pub(super) reply: oneshot::Sender<Result<A, InferenceError>>,
}

/// One class: parties with something waiting, and whose turn it is.
struct Line<I, A> {
    parties: HashMap<Party, VecDeque<Item<I, A>>>,
    turns: BTreeSet<(u64, Party)>,
    /// Where the party that went last began its turn.
    now: u64,
    waiting: usize,
    tokens: usize,
    /// Items whose caller left since the last sweep, some of which may be gone already.
    left: usize,
    /// Batches in a row that took nothing of this class though it waited.
    passed_over: usize,
    /// Places that came free and were not handed back yet.
    freed: usize,
}

impl<I, A> Default for Line<I, A> {
    fn default() -> Self {
        Self { parties: HashMap::new(), turns: BTreeSet::new(), now: 0, waiting: 0, tokens: 0, left: 0, passed_over: 0, freed: 0 }
    }
}

impl<I, A> Line<I, A> {
    fn push(&mut self, party: Party, item: Item<I, A>) {
        self.waiting += 1;
        self.tokens += item.tokens;
        let held = self.parties.entry(party).or_default();
        if held.is_empty() {
            self.turns.insert((self.now, party));
        }
        held.push_back(item);
    }

    /// Tokens of the input whose turn it is; inputs whose callers have left are dropped on the way.
    fn peek(&mut self) -> Option<usize> {
        loop {
            let (_, party) = *self.turns.first()?;
            match self.parties.get(&party).and_then(VecDeque::front) {
                Some(item) if !item.reply.is_closed() => return Some(item.tokens),
                _ => drop(self.pop(true)),
            }
        }
    }

    /// Takes the input whose turn it is; one that nobody waits for costs its party nothing.
    fn pop(&mut self, free: bool) -> Option<Item<I, A>> {
        let (begun, party) = self.turns.pop_first()?;
        let held = self.parties.get_mut(&party)?;
        let item = held.pop_front();
        let cost = item.as_ref().filter(|_| !free).map_or(0, |item| item.tokens.max(1));
        if held.is_empty() {
            self.parties.remove(&party);
        } else {
            self.turns.insert((begun.saturating_add(cost as u64), party));
        }
        if let Some(item) = &item {
            self.now = self.now.max(begun);
            self.waiting -= 1;
            self.tokens -= item.tokens;
            self.freed += usize::from(item.placed);
        }
        item
    }

    /// Drops everything whose caller has left.
    fn sweep(&mut self) {
        self.left = 0;
        let (mut waiting, mut tokens, mut freed) = (0, 0, 0);
        self.parties.retain(|_, held| {
            held.retain(|item| {
                let keep = !item.reply.is_closed();
                if keep {
                    waiting += 1;
                    tokens += item.tokens;
                } else {
                    freed += usize::from(item.placed);
                }
                keep
            });
            !held.is_empty()
        });
        self.turns.retain(|(_, party)| self.parties.contains_key(party));
        (self.waiting, self.tokens) = (waiting, tokens);
        self.freed += freed;
    }

    fn oldest(&self) -> Option<Duration> {
        self.parties.values().filter_map(|held| held.front()).map(|item| item.since).min()
    }
}

/// What a worker does next.
pub(super) enum Next<I, A> {
    /// Answer these.
    Batch(Vec<Item<I, A>>),
    /// Wait for more until then.
    Until(Duration),
    /// Wait for something.
    Nothing,
    /// End.
    Closed,
}

pub(super) struct Queue<I, A> {
    interactive: Line<I, A>,
    batch: Line<I, A>,
    closed: bool,
}

impl<I, A> Default for Queue<I, A> {
    fn default() -> Self {
        Self { interactive: Line::default(), batch: Line::default(), closed: false }
    }
}

impl<I, A> Queue<I, A> {
    fn line(&mut self, class: Class) -> &mut Line<I, A> {
        match class {
            Class::Interactive => &mut self.interactive,
            Class::Batch => &mut self.batch,
        }
    }

    pub(super) fn push(&mut self, class: Class, party: Party, item: Item<I, A>) {
        self.line(class).push(party, item);
    }

    pub(super) fn waiting(&mut self, class: Class) -> usize {
        self.line(class).waiting
    }

    pub(super) fn is_empty(&self) -> bool {
        self.interactive.waiting + self.batch.waiting == 0
    }

    /// Notes that callers of so many inputs left; sweeps when most of what waits may be theirs.
    pub(super) fn left(&mut self, class: Class, inputs: usize) {
        let line = self.line(class);
        line.left += inputs;
        if line.left * 2 >= line.waiting {
            line.sweep();
        }
    }

    /// Places that came free since the last call.
    pub(super) fn freed(&mut self, class: Class) -> usize {
        std::mem::take(&mut self.line(class).freed)
    }

    /// The next batch if it is full or has waited long enough.
    pub(super) fn next(&mut self, config: &BatchConfig, now: Duration) -> Next<I, A> {
        if self.closed {
            return Next::Closed;
        }
        let full = self.interactive.waiting + self.batch.waiting >= config.max_batch_rows
            || self.interactive.tokens + self.batch.tokens >= config.max_batch_tokens;
        if !full && !config.max_delay.is_zero() {
            let oldest = self.interactive.oldest().into_iter().chain(self.batch.oldest()).min();
            match oldest {
                Some(since) if since + config.max_delay > now => return Next::Until(since + config.max_delay),
                Some(_) => {}
                None => return Next::Nothing,
            }
        }
        match self.take(config) {
            batch if batch.is_empty() => Next::Nothing,
            batch => Next::Batch(batch),
        }
    }

    /// Interactive inputs first, and half of the rows to the other class when it was passed over too often.
    fn take(&mut self, config: &BatchConfig) -> Vec<Item<I, A>> {
        let mut batch: Vec<Item<I, A>> = Vec::new();
        let (mut tokens, mut longest, mut of_batch) = (0, 0, 0);
        let turn = self.batch.passed_over >= config.patience;
        while batch.len() < config.max_batch_rows.max(1) {
            let owed = turn && of_batch < config.max_batch_rows.div_ceil(2);
            let (first, second) = if owed { (Class::Batch, Class::Interactive) } else { (Class::Interactive, Class::Batch) };
            let (class, next) = match self.line(first).peek() {
                Some(next) => (first, next),
                None => match self.line(second).peek() {
                    Some(next) => (second, next),
                    None => break,
                },
            };
            let longer = longest.max(next);
            let charge = if config.padded { (batch.len() + 1) * longer } else { tokens + next };
            if !batch.is_empty() && charge > config.max_batch_tokens {
                break;
            }
            let Some(item) = self.line(class).pop(false) else { break };
            (tokens, longest) = (tokens + next, longer);
            of_batch += usize::from(class == Class::Batch);
            batch.push(item);
        }
        self.batch.passed_over = if of_batch == 0 && self.batch.waiting > 0 { self.batch.passed_over + 1 } else { 0 };
        batch.sort_by_key(|item| item.tokens);
        batch
    }

    /// Drops what waits; its callers hear of it.
    pub(super) fn close(&mut self) {
        *self = Self { closed: true, ..Self::default() };
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }
}
