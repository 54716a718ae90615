//! What nodes earned: score, reward weight and slashing of each node in each epoch; `contribution(work, presence, stakes)` of SQL pipelines.
//!
//! A first form of the Proof-of-Contribution specification, version 1. Covered: section 2 (whole numbers only: ratios in parts per
//! billion, work in micro-credits, amounts in the smallest unit; division floors unless said), the uptime factor of section 4 from
//! counts of answered and expected slots, section 7 whole (net, decided, score, weight, slash, stake, matured stake, smoothed score), the
//! smoothed score carried from epoch to epoch. Not covered, and left to who feeds it or reads it: events and signatures (3), which slots
//! are void and whether an answer was in time (4), draws, audits and verdicts (5), the performance of a replica (6), ejection (7, last
//! paragraph), settlement and the tree (8).
//!
//! Holds always: the same work, presence and stakes give the same numbers, to the last unit, in any order; a withdrawn verdict gives
//! back the numbers without it, in its epoch and in every later one.

use std::hash::Hash;

use differential_dataflow::lattice::Lattice;
use differential_dataflow::{ExchangeData, Hashable, VecCollection};
use serde::{Deserialize, Serialize};
use timely::progress::Timestamp;

/// One whole, in parts per billion.
pub const ONE: u64 = 1_000_000_000;

/// Uptime at or below which nothing is earned, and at or above which nothing is lost.
const UPTIME: [u64; 2] = [800_000_000, 990_000_000];
/// Micro-credits lost for one of invalid work, and for one of missed work.
const INVALID: i128 = 10;
const MISSED: i128 = 1;
/// Work that counts in an epoch: matured stake over this.
const QUOTA: u128 = 20;
/// Epochs until new stake counts in full.
const MATURE: u128 = 8;

/// What was decided about a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// It agrees with the final result.
    Valid,
    /// It does not.
    Invalid,
    /// It did not come, or not in time.
    Missed,
}

/// What is known of a node in an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Contributed {
    /// A replica was decided.
    Work {
        /// How.
        verdict: Verdict,
        /// Micro-credits of its task.
        work: u64,
        /// In time or late, in parts per billion; read of valid work only.
        performance: u64,
    },
    /// Slots in which it was asked, and answered; several of an epoch add up.
    Presence {
        /// Answered.
        answered: u64,
        /// Asked, void slots left out.
        expected: u64,
    },
    /// Its stake at the epoch's beginning.
    Stake {
        /// All of it.
        stake: u128,
        /// What of it is old enough to count.
        matured: u128,
    },
}

/// An epoch of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Score {
    /// Micro-credits of valid work less what is lost for the rest.
    pub net: i128,
    /// Micro-credits of all that was decided.
    pub decided: u128,
    /// The uptime factor, in parts per billion.
    pub uptime: u64,
    /// The score, in parts per billion.
    pub score: u64,
    /// The reward weight.
    pub weight: u128,
    /// What is taken of the stake.
    pub slash: u128,
    /// The stake afterwards.
    pub stake: u128,
    /// The matured stake afterwards.
    pub matured: u128,
    /// The smoothed score afterwards, in parts per billion.
    pub smoothed: u64,
}

/// Why an epoch of a node has no score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Unscored {
    /// Work or presence without a stake.
    NoStake,
    /// Two different stakes in one epoch.
    TwoStakes,
}

/// The sums of an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Sums {
    net: i128,
    decided: u128,
    answered: u64,
    expected: u64,
    stake: Option<(u128, u128)>,
    two_stakes: bool,
}

impl Sums {
    fn add(&mut self, event: &Contributed, count: u64) {
        match *event {
            Contributed::Work { verdict, work, performance } => {
                self.decided += u128::from(work) * u128::from(count);
                let (work, count) = (i128::from(work), i128::from(count));
                self.net += count
                    * match verdict {
                        Verdict::Valid => work * i128::from(performance) / i128::from(ONE),
                        Verdict::Invalid => -INVALID * work,
                        Verdict::Missed => -MISSED * work,
                    };
            }
            Contributed::Presence { answered, expected } => {
                self.answered += answered * count;
                self.expected += expected * count;
            }
            Contributed::Stake { stake, matured } => {
                self.two_stakes |= self.stake.is_some_and(|held| held != (stake, matured));
                self.stake = Some((stake, matured));
            }
        }
    }
}

/// The uptime factor of section 4.
#[must_use]
pub fn uptime(answered: u64, expected: u64) -> u64 {
    if expected == 0 {
        return 0;
    }
    let raw = part(u128::from(answered) * u128::from(ONE) / u128::from(expected));
    let [low, high] = UPTIME;
    if raw <= low {
        0
    } else if raw >= high {
        ONE
    } else {
        part(u128::from(raw - low) * u128::from(ONE) / u128::from(high - low))
    }
}

/// A ratio that is no more than one, or is taken as one.
fn part(value: u128) -> u64 {
    u64::try_from(value).map_or(ONE, |value| value.min(ONE))
}

/// Section 7: one node, one epoch. `smoothed` is the smoothed score of the epoch before, 0 at first; one token unit is paid at most for
/// one micro-credit.
#[must_use]
pub fn score(net: i128, decided: u128, uptime: u64, stake: u128, matured: u128, smoothed: u64) -> Score {
    let earned = u128::try_from(net).unwrap_or(0);
    let owed = u128::try_from(-net).unwrap_or(0);
    let up = u128::from(uptime);
    let score = if decided == 0 { 0 } else { part(up * earned / decided) };
    let slash = stake.min(owed);
    let left = stake - slash;
    Score {
        net,
        decided,
        uptime,
        score,
        weight: (up * earned / u128::from(ONE)).min(matured / QUOTA),
        slash,
        stake: left,
        matured: left.min(matured + left / MATURE),
        smoothed: if decided == 0 { smoothed } else { (3 * smoothed + score) / 4 },
    }
}

/// Scores every node in every epoch.
///
/// In: `(node, (epoch, what is known))`, repeats count. Out: `(node, (epoch, score))` for each epoch with work, presence or a stake. Two
/// levels (epoch, then node), so that a change costs what is known of its epoch plus the node's epochs.
pub fn score_contribution<'scope, T, N>(
    events: VecCollection<'scope, T, (N, (u64, Contributed)), isize>,
) -> VecCollection<'scope, T, (N, (u64, Result<Score, Unscored>)), isize>
where
    T: Timestamp + Lattice,
    N: ExchangeData + Hashable + Hash,
{
    events
        .map(|(node, (epoch, event))| ((node, epoch), event))
        .reduce(|_epoch, events, output| {
            let mut sums = Sums::default();
            for (event, count) in events {
                sums.add(event, count.unsigned_abs() as u64);
            }
            output.push((sums, 1));
        })
        .map(|((node, epoch), sums)| (node, (epoch, sums)))
        .reduce(|_node, epochs, output| {
            // They come in order.
            let mut smoothed = 0;
            for ((epoch, sums), _) in epochs.iter().map(|(epoch, count)| (**epoch, count)) {
                let scored = match sums.stake {
                    _ if sums.two_stakes => Err(Unscored::TwoStakes),
                    None => Err(Unscored::NoStake),
                    Some((stake, matured)) => {
                        let done = score(sums.net, sums.decided, uptime(sums.answered, sums.expected), stake, matured, smoothed);
                        smoothed = done.smoothed;
                        Ok(done)
                    }
                };
                output.push(((epoch, scored), 1));
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_is_that_of_the_specification() {
        for (answered, expected, factor) in [
            (288, 288, ONE),
            (286, 288, ONE),
            (285, 288, 997_807_015),
            (284, 288, 979_532_163),
            (259, 288, 522_660_815),
            (230, 288, 0),
            (0, 288, 0),
            (0, 0, 0),
        ] {
            assert_eq!(uptime(answered, expected), factor, "{answered} of {expected}");
        }
    }

    /// Section 10: (valid, invalid, missed) tasks of one credit, one more at 0.625, answered slots, matured, smoothed, and what comes of it.
    #[test]
    fn epochs_are_those_of_the_specification() {
        const STAKE: u128 = 400_000_000;
        type Case = (&'static str, [u64; 4], u64, u128, u64, (i128, u128, u64, u128, u128, u128, u64, u128));
        let cases: [Case; 9] = [
            ("A", [20, 0, 0, 0], 288, STAKE, ONE, (20_000_000, 20_000_000, ONE, 20_000_000, STAKE, STAKE, ONE, 0)),
            ("B", [2, 0, 0, 0], 288, STAKE / 8, 0, (2_000_000, 2_000_000, ONE, 2_000_000, STAKE, 100_000_000, 250_000_000, 0)),
            ("C", [18, 0, 1, 1], 284, STAKE, ONE, (17_625_000, 20_000_000, 863_212_718, 17_264_254, STAKE, STAKE, 965_803_179, 0)),
            ("D", [19, 1, 0, 0], 288, STAKE, ONE, (9_000_000, 20_000_000, 450_000_000, 9_000_000, STAKE, STAKE, 862_500_000, 0)),
            ("E", [18, 2, 0, 0], 288, STAKE, ONE, (-2_000_000, 20_000_000, 0, 0, 398_000_000, 398_000_000, 750_000_000, 2_000_000)),
            ("F", [20, 0, 0, 0], 230, STAKE, ONE, (20_000_000, 20_000_000, 0, 0, STAKE, STAKE, 750_000_000, 0)),
            ("G", [0, 0, 0, 0], 288, 390_000_001, 900_000_000, (0, 0, 0, 0, STAKE, STAKE, 900_000_000, 0)),
            ("H", [30, 0, 0, 0], 288, 200_000_000, 0, (30_000_000, 30_000_000, ONE, 10_000_000, STAKE, 250_000_000, 250_000_000, 0)),
            ("I", [0, 20, 0, 0], 288, STAKE, ONE, (-200_000_000, 20_000_000, 0, 0, 200_000_000, 200_000_000, 750_000_000, 200_000_000)),
        ];
        for (name, [valid, invalid, missed, slow], answered, matured, smoothed, expected) in cases {
            let mut sums = Sums::default();
            let kinds = [(Verdict::Valid, ONE, valid), (Verdict::Invalid, 0, invalid), (Verdict::Missed, 0, missed), (Verdict::Valid, 625_000_000, slow)];
            for (verdict, performance, count) in kinds {
                sums.add(&Contributed::Work { verdict, work: 1_000_000, performance }, count);
            }
            let done = score(sums.net, sums.decided, uptime(answered, 288), STAKE, matured, smoothed);
            let got = (done.net, done.decided, done.score, done.weight, done.stake, done.matured, done.smoothed, done.slash);
            assert_eq!(got, expected, "{name}");
        }
    }
}
