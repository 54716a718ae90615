//! Scores of nodes: the specification's own numbers over epochs, and a slow, obvious reference at every time.

mod support;

use std::collections::BTreeMap;

use ajatus_operators::contribution::{Contributed, ONE, Score, Unscored, Verdict, score, score_contribution, uptime};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use support::{run, states};

type Event = (String, (u64, Contributed));
type Scored = (String, (u64, Result<Score, Unscored>));

fn scored(epochs: Vec<Vec<(Event, isize)>>, workers: usize) -> Vec<BTreeMap<Scored, isize>> {
    let count = epochs.len() as u64;
    states(&run(workers, epochs, score_contribution::<u64, String>), count)
}

/// Events and expected scores of `contribution.txt`.
fn specified() -> (Vec<Event>, Vec<Scored>) {
    let text = std::fs::read_to_string("tests/contribution.txt").expect("the numbers");
    let (mut events, mut scores) = (Vec::new(), Vec::new());
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().expect("a number");
        let wide = |at: usize| words[at].parse::<u128>().expect("a number");
        let (node, epoch) = (words[1].to_owned(), number(2));
        match words[0] {
            "work" => {
                let verdict = match words[3] {
                    "valid" => Verdict::Valid,
                    "invalid" => Verdict::Invalid,
                    "missed" => Verdict::Missed,
                    other => panic!("{other}"),
                };
                events.push((node, (epoch, Contributed::Work { verdict, work: number(4), performance: number(5) })));
            }
            "presence" => events.push((node, (epoch, Contributed::Presence { answered: number(3), expected: number(4) }))),
            "stake" => events.push((node, (epoch, Contributed::Stake { stake: wide(3), matured: wide(4) }))),
            "score" => {
                let score = Score {
                    net: words[3].parse().expect("a number"),
                    decided: wide(4),
                    uptime: number(5),
                    score: number(6),
                    weight: wide(7),
                    slash: wide(8),
                    stake: wide(9),
                    matured: wide(10),
                    smoothed: number(11),
                };
                scores.push((node, (epoch, Ok(score))));
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!((scores.len(), events.len() > 50), (15, true));
    (events, scores)
}

#[test]
fn epochs_in_a_row_give_the_numbers_of_the_specifications_reference_in_any_order() {
    let (mut events, scores) = specified();
    let expected: BTreeMap<Scored, isize> = scores.into_iter().map(|score| (score, 1)).collect();
    let mut random = StdRng::seed_from_u64(5);
    for workers in [1, 3] {
        for at in (1..events.len()).rev() {
            events.swap(at, random.random_range(0..=at));
        }
        let epochs: Vec<Vec<(Event, isize)>> = events.chunks(7).map(|events| events.iter().map(|event| (event.clone(), 1)).collect()).collect();
        assert_eq!(scored(epochs, workers).last(), Some(&expected), "{workers} workers");
    }
}

#[test]
fn a_withdrawn_verdict_gives_back_the_numbers_without_it_in_later_epochs_too() {
    let (events, scores) = specified();
    let all: Vec<(Event, isize)> = events.into_iter().map(|event| (event, 1)).collect();
    let bad = ("n3".to_owned(), (2, Contributed::Work { verdict: Verdict::Invalid, work: 5_000_000, performance: 0 }));
    let states = scored(vec![all, vec![(bad.clone(), 1)], vec![(bad, -1)]], 1);
    assert_eq!(states[0], scores.into_iter().map(|score| (score, 1)).collect());
    assert_eq!(states[2], states[0]);
    let changed: Vec<u64> = states[1].keys().filter(|score| !states[0].contains_key(*score)).map(|(_, (epoch, _))| *epoch).collect();
    assert_eq!(changed, [2, 3, 4, 5], "the epoch, and every later one by its smoothed score");
}

#[test]
fn an_epoch_without_a_stake_or_with_two_is_said_and_carries_nothing_on() {
    let work = |epoch| ("n".to_owned(), (epoch, Contributed::Work { verdict: Verdict::Valid, work: 1_000_000, performance: ONE }));
    let stake = |epoch, stake| ("n".to_owned(), (epoch, Contributed::Stake { stake, matured: stake }));
    let present = |epoch| ("n".to_owned(), (epoch, Contributed::Presence { answered: 288, expected: 288 }));
    let epochs = vec![
        vec![(work(1), 1), (work(2), 1), (present(2), 1), (stake(2, 100), 1), (stake(2, 200), 1), (work(3), 1), (stake(3, 100), 1), (present(3), 1)],
        vec![(stake(2, 200), -1), (stake(1, 7), 1)],
    ];
    let states = scored(epochs, 3);
    let of = |state: &BTreeMap<Scored, isize>, epoch| state.keys().find(|(_, (at, _))| *at == epoch).map(|(_, (_, scored))| *scored).expect("an epoch");
    assert_eq!((of(&states[0], 1), of(&states[0], 2)), (Err(Unscored::NoStake), Err(Unscored::TwoStakes)));
    assert_eq!(of(&states[0], 3).map(|score| score.smoothed), Ok(250_000_000), "the first that counts");
    assert_eq!(of(&states[1], 1).map(|score| (score.uptime, score.weight, score.smoothed)), Ok((0, 0, 0)));
    assert_eq!((of(&states[1], 2).map(|score| score.smoothed), of(&states[1], 3).map(|score| score.smoothed)), (Ok(250_000_000), Ok(437_500_000)));
}

/// From scratch, node by node and epoch by epoch.
fn slowly(live: &[Event]) -> BTreeMap<Scored, isize> {
    let mut nodes: BTreeMap<&str, BTreeMap<u64, Vec<Contributed>>> = BTreeMap::new();
    for (node, (epoch, event)) in live {
        nodes.entry(node).or_default().entry(*epoch).or_default().push(*event);
    }
    let mut all = BTreeMap::new();
    for (node, epochs) in nodes {
        let mut smoothed = 0;
        for (epoch, events) in epochs {
            let stakes: std::collections::BTreeSet<(u128, u128)> =
                events.iter().filter_map(|event| if let Contributed::Stake { stake, matured } = event { Some((*stake, *matured)) } else { None }).collect();
            let (mut net, mut decided, mut answered, mut expected) = (0_i128, 0, 0, 0);
            for event in &events {
                match *event {
                    Contributed::Work { verdict, work, performance } => {
                        decided += u128::from(work);
                        net += match verdict {
                            Verdict::Valid => i128::from(u64::try_from(u128::from(work) * u128::from(performance) / u128::from(ONE)).expect("small")),
                            Verdict::Invalid => -10 * i128::from(work),
                            Verdict::Missed => -i128::from(work),
                        };
                    }
                    Contributed::Presence { answered: more, expected: asked } => {
                        answered += more;
                        expected += asked;
                    }
                    Contributed::Stake { .. } => {}
                }
            }
            let result = match stakes.iter().collect::<Vec<_>>().as_slice() {
                [] => Err(Unscored::NoStake),
                [(stake, matured)] => {
                    let done = score(net, decided, uptime(answered, expected), *stake, *matured, smoothed);
                    smoothed = done.smoothed;
                    Ok(done)
                }
                _ => Err(Unscored::TwoStakes),
            };
            all.insert((node.to_owned(), (epoch, result)), 1);
        }
    }
    all
}

#[test]
fn random_histories_equal_a_recount_at_every_time() {
    for (seed, workers) in [(1, 1), (2, 3), (3, 1), (4, 3)] {
        let mut random = StdRng::seed_from_u64(seed);
        let mut live: Vec<Event> = Vec::new();
        let (mut epochs, mut truth) = (Vec::new(), Vec::new());
        for last in (0..40).map(|at| at == 39) {
            let mut changes = Vec::new();
            for _ in 0..if last { live.len() } else { random.random_range(0..10) } {
                if !live.is_empty() && (last || random.random_bool(0.4)) {
                    changes.push((live.swap_remove(random.random_range(0..live.len())), -1));
                    continue;
                }
                let event = match random.random_range(0..5) {
                    0 => {
                        let stake = random.random_range(0..50_000_000_u128);
                        Contributed::Stake { stake, matured: random.random_range(0..=stake) }
                    }
                    1 => Contributed::Presence { answered: random.random_range(60..=72), expected: 72 },
                    _ => Contributed::Work {
                        verdict: [Verdict::Valid, Verdict::Valid, Verdict::Valid, Verdict::Invalid, Verdict::Missed][random.random_range(0..5)],
                        work: random.random_range(1..3_000_000),
                        performance: random.random_range(0..=ONE),
                    },
                };
                // Some are there twice.
                let event = if !live.is_empty() && random.random_bool(0.1) {
                    live[random.random_range(0..live.len())].clone()
                } else {
                    (format!("n{}", random.random_range(0..3)), (random.random_range(1..5), event))
                };
                live.push(event.clone());
                changes.push((event, 1));
            }
            epochs.push(changes);
            truth.push(slowly(&live));
        }
        for (time, (got, expected)) in scored(epochs, workers).into_iter().zip(truth).enumerate() {
            assert_eq!(got, expected, "seed {seed}, time {time}");
        }
    }
}
