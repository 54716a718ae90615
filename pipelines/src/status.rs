//! What can be seen of a running pipeline from outside.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How far the pipeline is.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// The last epoch in the views.
    pub epoch: u64,
    /// The last epoch on the ledger.
    pub minted: u64,
    /// Per partition of `interactions`, everything below is in the views.
    pub applied: BTreeMap<u32, u64>,
    /// What an earlier run had minted is in the views.
    pub caught_up: bool,
    /// Records applied since the start.
    pub records: u64,
    /// Records that could not be used since the start; they are in `dead-letters`.
    pub refused: u64,
    /// Where the time went since the start.
    pub busy: Busy,
    /// Why the pipeline ended, if it did.
    pub failure: Option<String>,
}

impl Status {
    /// Everything of the partition below this offset is in the views.
    #[must_use]
    pub fn applied_offset(&self, partition: u32) -> u64 {
        self.applied.get(&partition).copied().unwrap_or(0)
    }
}

/// Time spent per step; steps overlap, so the sum may exceed the time that passed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Busy(BTreeMap<&'static str, Duration>);

impl Busy {
    /// Time spent since an earlier look, per step in order of name.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> BTreeMap<&'static str, Duration> {
        let before = |step: &str| earlier.0.get(step).copied().unwrap_or_default();
        self.0.iter().map(|(step, spent)| (*step, spent.saturating_sub(before(step)))).collect()
    }
}

/// Adds up the time of steps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter(Arc<Mutex<Busy>>);

impl Meter {
    pub(crate) fn add(&self, step: &'static str, since: Instant) {
        let spent = since.elapsed();
        metrics::histogram!("pipeline_step_seconds", "step" => step).record(spent.as_secs_f64());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).0.entry(step).or_default() += spent;
    }

    pub(crate) fn read(&self) -> Busy {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
