//! What the threads of a dataflow say, put together: which epochs are complete, and what they changed.

use std::collections::BTreeMap;

use super::engine::Closed;
use super::sink::Delta;

/// Changes per output of a complete epoch.
pub(crate) type Changes = BTreeMap<usize, Delta>;

/// Gathers over threads and outputs. Keeps: the changes of epochs that were not taken yet.
pub(crate) struct Gathered {
    waiting: BTreeMap<u64, Changes>,
    /// Per thread and output: every epoch below is complete (`None`: all).
    reached: Vec<Vec<Option<u64>>>,
}

impl Gathered {
    /// For so many threads and outputs, the faults counted as one.
    pub(crate) fn new(threads: usize, outputs: usize) -> Self {
        Self { waiting: BTreeMap::new(), reached: vec![vec![Some(0); outputs]; threads] }
    }

    /// Takes what a thread says.
    pub(crate) fn hear(&mut self, news: Closed) {
        for (output, epoch, changes) in news.changes {
            self.waiting.entry(epoch).or_default().entry(output).or_default().extend(changes);
        }
        self.reached[news.worker] = news.frontiers;
    }

    /// Whether nothing more of the epoch, or of any before it, can come.
    pub(crate) fn complete(&self, epoch: u64) -> bool {
        self.reached.iter().flatten().all(|frontier| frontier.is_none_or(|frontier| epoch < frontier))
    }

    /// The changes of a complete epoch.
    pub(crate) fn take(&mut self, epoch: u64) -> Changes {
        self.waiting.remove(&epoch).unwrap_or_default()
    }

    /// The changes of the first epoch, if it is at or below this one.
    pub(crate) fn take_up_to(&mut self, epoch: u64) -> Option<Changes> {
        let first = self.waiting.first_entry()?;
        (*first.key() <= epoch).then(|| first.remove())
    }
}

#[cfg(test)]
mod tests {
    use ajatus_operators::row::Row;

    use super::*;

    #[test]
    fn an_epoch_is_complete_when_every_thread_has_passed_it_in_every_output() {
        let row = Row::from_bytes(b"row");
        let mut gathered = Gathered::new(2, 2);
        gathered.hear(Closed { worker: 0, changes: vec![(0, 1, vec![(row.clone(), 1)])], frontiers: vec![Some(2), Some(1)] });
        gathered.hear(Closed { worker: 1, changes: vec![(0, 1, vec![(row.clone(), 1)])], frontiers: vec![None, None] });
        assert!(gathered.complete(0) && !gathered.complete(1), "the first thread's second output is not through");
        gathered.hear(Closed { worker: 0, changes: Vec::new(), frontiers: vec![Some(2), Some(2)] });
        assert!(gathered.complete(1) && !gathered.complete(2));
        assert!(gathered.take_up_to(0).is_none());
        assert_eq!(gathered.take(1), BTreeMap::from([(0, vec![(row.clone(), 1), (row, 1)])]));
        assert!(gathered.take(1).is_empty());
    }
}
