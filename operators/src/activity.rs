//! Counts of who spoke how much, and when first and last: `activity(turns)` of SQL pipelines.

use std::hash::Hash;

use differential_dataflow::lattice::Lattice;
use differential_dataflow::{ExchangeData, Hashable, VecCollection};
use serde::{Deserialize, Serialize};
use timely::progress::Timestamp;

/// Who spoke, as far as counting goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Speaker {
    /// The user.
    User,
    /// The companion.
    Assistant,
    /// Somebody else.
    Other,
}

/// One turn: who spoke, and when, in microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Spoken {
    /// Who.
    pub speaker: Speaker,
    /// When.
    pub at_us: i64,
}

/// Counts of one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Activity {
    /// Turns of the user.
    pub user_turns: u64,
    /// Turns of the companion.
    pub assistant_turns: u64,
    /// Turns of others.
    pub other_turns: u64,
    /// First turn, microseconds since 1970.
    pub first_us: i64,
    /// Last turn.
    pub last_us: i64,
}

impl Activity {
    fn of(turn: &Spoken, count: u64) -> Self {
        let of = |speaker| if turn.speaker == speaker { count } else { 0 };
        Self {
            user_turns: of(Speaker::User),
            assistant_turns: of(Speaker::Assistant),
            other_turns: of(Speaker::Other),
            first_us: turn.at_us,
            last_us: turn.at_us,
        }
    }

    fn merge(self, other: Self) -> Self {
        Self {
            user_turns: self.user_turns + other.user_turns,
            assistant_turns: self.assistant_turns + other.assistant_turns,
            other_turns: self.other_turns + other.other_turns,
            first_us: self.first_us.min(other.first_us),
            last_us: self.last_us.max(other.last_us),
        }
    }
}

/// Microseconds of a bucket: one hour. Bounds what a change looks at again.
const BUCKET_US: i64 = 3_600_000_000;

/// Counts every user's turns.
///
/// In: `(user, turn)`, repeats count. Out: `(user, counts)`, one per user with turns; the last retraction of a user retracts
/// the row. Two levels (hour, then user), so that a change costs the turns of one hour plus the hours of one user.
pub fn count_activity<'scope, T, U>(turns: VecCollection<'scope, T, (U, Spoken), isize>) -> VecCollection<'scope, T, (U, Activity), isize>
where
    T: Timestamp + Lattice,
    U: ExchangeData + Hashable + Hash,
{
    turns
        .map(|(user, turn)| ((user, turn.at_us.div_euclid(BUCKET_US)), turn))
        .reduce(|_hour, turns, output| {
            let counted = turns.iter().map(|(turn, count)| Activity::of(turn, count.unsigned_abs() as u64));
            if let Some(counts) = counted.reduce(Activity::merge) {
                output.push((counts, 1));
            }
        })
        .map(|((user, _hour), counts)| (user, counts))
        .reduce(|_user, hours, output| {
            if let Some(counts) = hours.iter().map(|(counts, _)| **counts).reduce(Activity::merge) {
                output.push((counts, 1));
            }
        })
}
