//! The time, so that tests can say what it is.

use chrono::{DateTime, SubsecRound as _, Utc};

/// Says what time it is.
pub trait Clock: Send + Sync + 'static {
    /// Now, UTC, in microseconds (what the database keeps).
    fn now(&self) -> DateTime<Utc>;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now().trunc_subsecs(6)
    }
}
