//! Which users have a large index.

use crate::error::FaissError;

/// What answers for a user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Home {
    /// The exact scan over the user's own vectors.
    #[default]
    Exact,
    /// A [`crate::LargeIndex`].
    Large,
}

/// When a user goes from one to the other. Between the two numbers a user stays, so that nobody goes up and down all day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promotion {
    up: usize,
    down: usize,
}

impl Default for Promotion {
    /// Up at 60,000 vectors, down at 40,000. An exact scan over 60,000 of 384 components takes about 3 ms of one core (README.md).
    fn default() -> Self {
        Self { up: 60_000, down: 40_000 }
    }
}

impl Promotion {
    /// A user goes up with `up` vectors or more, and down with `down` or fewer.
    ///
    /// # Errors
    /// [`FaissError::Policy`] unless `down < up`, [`FaissError::TooFew`] if an index could not be trained with `down + 1` vectors.
    pub fn new(up: usize, down: usize) -> Result<Self, FaissError> {
        if down >= up {
            return Err(FaissError::Policy { up, down });
        }
        if down + 1 < crate::LEAST_VECTORS {
            return Err(FaissError::TooFew { got: down + 1, want: crate::LEAST_VECTORS });
        }
        Ok(Self { up, down })
    }

    /// Where a user with that many vectors belongs, who is at home in `now`.
    #[must_use]
    pub fn home(&self, now: Home, vectors: usize) -> Home {
        match now {
            Home::Exact if vectors >= self.up => Home::Large,
            Home::Large if vectors <= self.down => Home::Exact,
            stays => stays,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_up_and_down_at_different_sizes_and_stays_in_between() {
        let policy = Promotion::default();
        let steps = [
            (0, Home::Exact),
            (59_999, Home::Exact),
            (60_000, Home::Large),
            (50_000, Home::Large),
            (40_001, Home::Large),
            (40_000, Home::Exact),
            (59_999, Home::Exact),
            (1_000_000, Home::Large),
            (0, Home::Exact),
        ];
        let mut home = Home::default();
        for (vectors, wanted) in steps {
            home = policy.home(home, vectors);
            assert_eq!(home, wanted, "{vectors}");
        }
    }

    #[test]
    fn moves_once_however_the_size_trembles() {
        let policy = Promotion::new(6_000, 4_000).expect("a policy");
        let (mut home, mut moves) = (Home::Exact, 0);
        for step in 0..1_000_usize {
            let next = policy.home(home, 5_950 + step * 37 % 100);
            moves += usize::from(next != home);
            home = next;
        }
        assert_eq!((home, moves), (Home::Large, 1));
    }

    #[test]
    fn refuses_numbers_that_would_never_rest() {
        assert!(matches!(Promotion::new(5_000, 5_000), Err(FaissError::Policy { up: 5_000, down: 5_000 })));
        assert!(matches!(Promotion::new(100, 10), Err(FaissError::TooFew { got: 11, .. })));
    }
}
