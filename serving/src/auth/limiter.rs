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
pub(crate) struct Limiter {
    remembered: usize,
    tries: Mutex<HashMap<[u8; 32], (u32, DateTime<Utc>)>>,
}

impl Default for Limiter {
    fn default() -> Self {
        Self { remembered: REMEMBERED, tries: Mutex::default() }
    }
}

impl Limiter {
    /// Lets one try through and counts it as wrong until [`Limiter::right`] says otherwise, so that tries made at once are
    /// counted before any of them is answered.
    ///
    /// # Errors
    /// Seconds to wait before another try.
    pub(crate) fn admit(&self, login: [u8; 32], now: DateTime<Utc>) -> Result<(), u32> {
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((count, last)) = tries.get_mut(&login) {
            if let Some(over) = count.checked_sub(FREE) {
                let left = *last + TimeDelta::seconds((1_i64 << over.min(20)).min(LONGEST)) - now;
                if left > TimeDelta::zero() {
                    return Err(u32::try_from(left.num_seconds()).unwrap_or(0) + 1);
                }
            }
            *count = count.saturating_add(1);
            *last = now;
            return Ok(());
        }
        if tries.len() >= self.remembered {
            make_room(&mut tries, now);
        }
        tries.insert(login, (1, now));
        Ok(())
    }

    /// Forgets the tries of a login that got in.
    pub(crate) fn right(&self, login: &[u8; 32]) {
        self.tries.lock().unwrap_or_else(PoisonError::into_inner).remove(login);
    }
}

/// Forgets what is long past; if all is recent, the login with the fewest tries, so that many made-up logins cannot lift the
/// brake from one that is being guessed at.
fn make_room(tries: &mut HashMap<[u8; 32], (u32, DateTime<Utc>)>, now: DateTime<Utc>) {
    let held = tries.len();
    tries.retain(|_, (_, last)| now - *last < TimeDelta::seconds(LONGEST));
    if tries.len() == held
        && let Some(least) = tries.iter().min_by_key(|(_, tried)| **tried).map(|(login, _)| *login)
    {
        tries.remove(&least);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(limiter: &Limiter, login: [u8; 32], now: DateTime<Utc>) -> Option<u32> {
        limiter.admit(login, now).err()
    }

    #[test]
    fn doubles_the_wait_after_five_and_forgets_at_success() {
        let (limiter, login, start) = (Limiter::default(), [1; 32], DateTime::<Utc>::UNIX_EPOCH);
        for _ in 0..5 {
            assert_eq!(wait(&limiter, login, start), None);
        }
        assert_eq!(wait(&limiter, login, start), Some(2));
        let mut now = start + TimeDelta::seconds(1);
        assert_eq!(wait(&limiter, login, now), None);
        assert_eq!(wait(&limiter, login, now), Some(3), "a try that is refused does not lengthen the wait");
        assert_eq!(wait(&limiter, [2; 32], now), None, "another login is not held up");
        for _ in 0..60 {
            now += TimeDelta::seconds(LONGEST);
            assert_eq!(wait(&limiter, login, now), None);
        }
        assert_eq!(wait(&limiter, login, now), Some(901));
        limiter.right(&login);
        assert_eq!(wait(&limiter, login, now), None);
    }

    #[test]
    fn made_up_logins_do_not_lift_the_brake_from_a_real_one() {
        let (limiter, start) = (Limiter { remembered: 4, ..Limiter::default() }, DateTime::<Utc>::UNIX_EPOCH);
        for _ in 0..5 {
            assert_eq!(wait(&limiter, [1; 32], start), None);
        }
        for made_up in 10..40 {
            assert_eq!(wait(&limiter, [made_up; 32], start), None);
        }
        assert!(limiter.tries.lock().expect("no panic").len() <= 4);
        assert_eq!(wait(&limiter, [1; 32], start), Some(2));
    }
}
