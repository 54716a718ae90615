//! A brake on guessing: after five wrong passwords, each further one doubles the wait.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};

/// Wrong passwords without a wait.
const FREE: u32 = 5;
/// Longest wait, seconds.
const LONGEST: i64 = 900;
/// Logins remembered at most.
const REMEMBERED: usize = 50_000;

/// Wrong tries per login.
#[derive(Default)]
pub(crate) struct Limiter {
    tries: Mutex<HashMap<[u8; 32], (u32, DateTime<Utc>)>>,
}

impl Limiter {
    /// Seconds to wait before another try, or none.
    pub(crate) fn wait(&self, login: &[u8; 32], now: DateTime<Utc>) -> Option<u64> {
        let tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, last) = tries.get(login)?;
        let over = count.checked_sub(FREE)?;
        let wait = TimeDelta::seconds((1_i64 << over.min(20)).min(LONGEST));
        let left = *last + wait - now;
        (left > TimeDelta::zero()).then(|| u64::try_from(left.num_seconds()).unwrap_or(0) + 1)
    }

    /// Notes a wrong try.
    pub(crate) fn wrong(&self, login: [u8; 32], now: DateTime<Utc>) {
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        if tries.len() >= REMEMBERED {
            tries.retain(|_, (_, last)| now - *last < TimeDelta::seconds(LONGEST));
        }
        if tries.len() < REMEMBERED {
            let held = tries.entry(login).or_insert((0, now));
            *held = (held.0.saturating_add(1), now);
        }
    }

    /// Forgets the wrong tries of a login that got in.
    pub(crate) fn right(&self, login: &[u8; 32]) {
        self.tries.lock().unwrap_or_else(PoisonError::into_inner).remove(login);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_the_wait_after_five_and_forgets_at_success() {
        let (limiter, login, start) = (Limiter::default(), [1; 32], DateTime::<Utc>::UNIX_EPOCH);
        for _ in 0..5 {
            assert_eq!(limiter.wait(&login, start), None);
            limiter.wrong(login, start);
        }
        assert_eq!(limiter.wait(&login, start), Some(2));
        assert_eq!(limiter.wait(&login, start + TimeDelta::seconds(1)), None);
        limiter.wrong(login, start);
        limiter.wrong(login, start);
        assert_eq!(limiter.wait(&login, start), Some(5));
        assert_eq!(limiter.wait(&[2; 32], start), None, "another login is not held up");
        for _ in 0..60 {
            limiter.wrong(login, start);
        }
        assert_eq!(limiter.wait(&login, start), Some(901));
        limiter.right(&login);
        assert_eq!(limiter.wait(&login, start), None);
    }
}
