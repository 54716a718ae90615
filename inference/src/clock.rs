//! The time, handed in: whoever waits or counts seconds does so by a [`Clock`], so that tests decide when a deadline passes.
//!
//! Holds always: a clock never goes back. Not promised: what hour it is.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::watch;

/// Time since some moment.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Duration;

    /// Returns when [`Self::now`] has reached `at`.
    async fn sleep_until(&self, at: Duration);
}

/// The machine's monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock(Instant);

impl SystemClock {
    /// A clock that starts at zero.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }
}

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    async fn sleep_until(&self, at: Duration) {
        tokio::time::sleep(at.saturating_sub(self.0.elapsed())).await;
    }
}

/// A clock that stands until it is moved.
#[derive(Debug)]
pub struct ManualClock(watch::Sender<Duration>);

impl ManualClock {
    /// A clock that stands at zero.
    #[must_use]
    pub fn new() -> Self {
        Self(watch::Sender::new(Duration::ZERO))
    }

    /// Moves it.
    pub fn advance(&self, by: Duration) {
        self.0.send_modify(|now| *now += by);
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Duration {
        *self.0.borrow()
    }

    async fn sleep_until(&self, at: Duration) {
        let mut now = self.0.subscribe();
        // The sender is ours, so it is there while this future is.
        now.wait_for(|now| *now >= at).await.ok();
    }
}
