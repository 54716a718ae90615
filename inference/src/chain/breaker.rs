//! A breaker before one backend: closed, open, half open.
//!
//! Holds always: while it is open nobody is let through; when its pause is over exactly one caller is, on trial, and the others
//! wait for nothing; a caller on trial who leaves without a verdict gives the trial back. Pauses double, up to a bound.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::port::InferenceError;

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerConfig {
    /// Failures in a row that open it, of those that may be one request's bad luck (a 500, a broken stream). Default 3. What
    /// says that the server is gone (refused, silent, busy, not the right one) opens it at once.
    pub failures: u32,
    /// First pause. Default 1 s.
    pub pause: Duration,
    /// Longest pause. Default 30 s.
    pub longest: Duration,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self { failures: 3, pause: Duration::from_secs(1), longest: Duration::from_secs(30) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Duration, pause: Duration },
    /// One is on trial.
    HalfOpen { pause: Duration },
}

/// What a breaker shows to metrics and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// The backend answers.
    Closed,
    /// One caller tries it.
    HalfOpen,
    /// Nobody is let through.
    Open,
}

pub(super) struct Breaker {
    config: BreakerConfig,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

impl Breaker {
    /// Closed if the backend is `trusted`, else its first caller is on trial.
    pub(super) fn new(config: BreakerConfig, clock: Arc<dyn Clock>, trusted: bool) -> Self {
        let state = if trusted { State::Closed { failures: 0 } } else { State::Open { until: Duration::ZERO, pause: config.pause } };
        Self { config, clock, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state(&self) -> BreakerState {
        match *self.lock() {
            State::Closed { .. } => BreakerState::Closed,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
            State::Open { .. } => BreakerState::Open,
        }
    }

    /// Lets a caller through, or not.
    pub(super) fn admit(&self) -> Option<Pass<'_>> {
        let mut state = self.lock();
        match *state {
            State::Closed { .. } => Some(Pass { breaker: self, trial: false, told: false }),
            State::Open { until, pause } if until <= self.clock.now() => {
                *state = State::HalfOpen { pause };
                Some(Pass { breaker: self, trial: true, told: false })
            }
            State::Open { .. } | State::HalfOpen { .. } => None,
        }
    }

    /// Counts a failure that came after its caller was let through, as a stream's that broke off.
    pub(super) fn failed(&self, error: &InferenceError) {
        if !error.blames_the_backend() {
            return;
        }
        let mut state = self.lock();
        let now = self.clock.now();
        let open = |pause: Duration| State::Open { until: now + asked_for(error).unwrap_or(pause).min(self.config.longest), pause: (pause * 2).min(self.config.longest) };
        *state = match *state {
            State::Closed { failures } if failures + 1 < self.config.failures && !gone(error) => State::Closed { failures: failures + 1 },
            State::Closed { .. } => open(self.config.pause),
            State::HalfOpen { pause } => open(pause),
            // Callers who were let through before it opened have nothing new to say.
            State::Open { .. } => return,
        };
    }

    fn succeeded(&self) {
        *self.lock() = State::Closed { failures: 0 };
    }
}

/// Whether an error says that the server is gone, and not only that one request went wrong.
fn gone(error: &InferenceError) -> bool {
    !matches!(error, InferenceError::Backend { .. } | InferenceError::BrokenOff { .. })
}

fn asked_for(error: &InferenceError) -> Option<Duration> {
    match error {
        InferenceError::Throttled { retry_after, .. } => *retry_after,
        _ => None,
    }
}

/// Leave to try the backend. It must be told how that went.
pub(super) struct Pass<'a> {
    breaker: &'a Breaker,
    trial: bool,
    told: bool,
}

impl Pass<'_> {
    /// Whether the backend should be looked at before it is asked.
    pub(super) fn trial(&self) -> bool {
        self.trial
    }

    pub(super) fn succeeded(mut self) {
        self.told = true;
        self.breaker.succeeded();
    }

    pub(super) fn failed(mut self, error: &InferenceError) {
        if error.blames_the_backend() {
            self.told = true;
            self.breaker.failed(error);
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.trial && !self.told {
            let mut state = self.breaker.lock();
            if let State::HalfOpen { pause } = *state {
                *state = State::Open { until: self.breaker.clock.now(), pause };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn error() -> InferenceError {
        InferenceError::Backend { reason: "500".to_owned() }
    }

    fn gone() -> InferenceError {
        InferenceError::Unreachable { address: "x".to_owned(), reason: "refused".to_owned() }
    }

    fn breaker() -> (Breaker, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new());
        (Breaker::new(BreakerConfig::default(), Arc::<ManualClock>::clone(&clock), true), clock)
    }

    #[test]
    fn opens_after_failures_in_a_row_and_tries_one_caller_after_a_pause_that_doubles() {
        let (breaker, clock) = breaker();
        for _ in 0..2 {
            breaker.admit().expect("closed").failed(&error());
        }
        breaker.admit().expect("closed").succeeded();
        for _ in 0..3 {
            breaker.admit().expect("a success in between: it counts anew").failed(&error());
        }
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            assert!(breaker.admit().is_none(), "open");
            clock.advance(Duration::from_millis(seconds * 1_000 - 1));
            assert!(breaker.admit().is_none(), "open for {seconds} s");
            clock.advance(Duration::from_millis(1));
            let trial = breaker.admit().expect("one on trial");
            assert!(trial.trial() && breaker.admit().is_none(), "only one");
            trial.failed(&error());
        }
        clock.advance(Duration::from_secs(30));
        breaker.admit().expect("one on trial").succeeded();
        assert_eq!(breaker.state(), BreakerState::Closed);
        breaker.admit().expect("closed").failed(&gone());
        assert_eq!(breaker.state(), BreakerState::Open, "gone is gone at once");
        clock.advance(Duration::from_secs(1));
        assert!(breaker.admit().is_some(), "and the pause is short again");
    }

    #[test]
    fn a_trial_without_a_verdict_is_given_back_and_a_bad_input_blames_nobody() {
        let (breaker, clock) = breaker();
        breaker.admit().expect("closed").failed(&gone());
        clock.advance(Duration::from_secs(1));
        drop(breaker.admit().expect("on trial"));
        breaker.admit().expect("on trial again, at once").failed(&InferenceError::Input { reason: "long".to_owned() });
        assert!(breaker.admit().expect("and again").trial());
    }

    #[test]
    fn comes_again_when_it_was_told_to_within_bounds() {
        let (breaker, clock) = breaker();
        let throttled = |seconds| InferenceError::Throttled { address: "x".to_owned(), retry_after: Some(Duration::from_secs(seconds)) };
        breaker.admit().expect("closed").failed(&throttled(7));
        clock.advance(Duration::from_secs(6));
        assert!(breaker.admit().is_none());
        clock.advance(Duration::from_secs(1));
        breaker.admit().expect("on trial").failed(&throttled(3_600));
        clock.advance(Duration::from_secs(30));
        assert!(breaker.admit().is_some(), "never longer than the longest pause");
    }
}
