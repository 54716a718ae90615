//! Recursion against a slow, obvious reference at every time: rounds by hand, withdrawals of bridges and rings, caps.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use ajatus_operators::relational::{COPIES, Recursion, Repeated, Rows, Split, meet, rearrange, recurse};
use ajatus_operators::row::{Cell, Kind, Row, Weave, Writer};
use differential_dataflow::input::InputSession;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use timely::dataflow::ProbeHandle;

type Bag = BTreeMap<Row, isize>;
type Edges = BTreeMap<(i64, i64), isize>;
type Step = Vec<((i64, i64), isize)>;
/// The rows, those beyond the cap, and those with too many copies.
type State = [Bag; 3];

fn pair(a: i64, b: i64) -> Row {
    let mut writer = Writer::new();
    writer.int64(a);
    writer.int64(b);
    writer.finish()
}

fn split(row: &Row) -> (i64, i64) {
    match row.cells(&[Kind::Int64, Kind::Int64]).as_slice() {
        [Cell::Int(a), Cell::Int(b)] => (*a as i64, *b as i64),
        other => panic!("{other:?}"),
    }
}

/// Paths over edges: `(a, b)` follows from `(a, m)` and the edge `(m, b)`. The edges of `skip` are not walked: their ends are missing.
fn paths<'scope>(edges: Rows<'scope>, recursion: Recursion) -> Repeated<'scope> {
    let kinds = vec![Kind::Int64; 2];
    let steps = edges.clone();
    recurse(edges, recursion, move |inner, before| {
        let turned = rearrange(before, Weave::pick(&kinds, &[1, 0]));
        let split = Split { key: vec![Kind::Int64], rest: 1, left: true };
        let weave = Weave::new(vec![vec![Kind::Int64]; 4], [(1, 0), (2, 0)]);
        (meet(turned, split, Some((steps.enter(inner), weave)), None), None)
    })
}

fn run(steps: Vec<Step>, workers: usize, recursion: Recursion) -> Vec<State> {
    let count = steps.len();
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let mut input: InputSession<u64, Row, isize> = InputSession::new();
        let seen: Rc<RefCell<Vec<(usize, Row, u64, isize)>>> = Rc::default();
        let probe = ProbeHandle::new();
        worker.dataflow(|scope| {
            let Repeated { rows, beyond, crowded, .. } = paths(input.to_collection(scope), recursion);
            for (kind, collection) in [rows, beyond, crowded].into_iter().enumerate() {
                let sink = Rc::clone(&seen);
                collection.inspect(move |(row, time, diff)| sink.borrow_mut().push((kind, row.clone(), *time, *diff))).probe_with(&probe);
            }
        });
        for (time, step) in steps.iter().enumerate() {
            for (_, ((a, b), diff)) in step.iter().enumerate().filter(|(at, _)| at % worker.peers() == worker.index()) {
                input.update(pair(*a, *b), *diff);
            }
            input.advance_to(time as u64 + 1);
            input.flush();
            worker.step_while(|| probe.less_than(&(time as u64 + 1)));
        }
        drop(input);
        seen.take()
    });
    let updates: Vec<_> = guards.expect("workers").join().into_iter().flat_map(|seen| seen.expect("a worker")).collect();
    let mut state = State::default();
    (0..count as u64)
        .map(|time| {
            for (kind, row, _, diff) in updates.iter().filter(|update| update.2 == time) {
                *state[*kind].entry(row.clone()).or_default() += diff;
            }
            state.iter_mut().for_each(|bag| bag.retain(|_, count| *count != 0));
            state.clone()
        })
        .collect()
}

/// Round after round, with lists; nothing is kept from one time to the next.
fn slowly(edges: &Edges, recursion: Recursion) -> State {
    let mut all: BTreeMap<(i64, i64), i128> = BTreeMap::new();
    let mut round: BTreeMap<(i64, i64), i128> = edges.iter().map(|(edge, count)| (*edge, if recursion.copies { *count as i128 } else { 1 })).collect();
    let mut beyond = Bag::new();
    for number in 0..=recursion.rounds + 1 {
        if !recursion.copies {
            round.retain(|row, _| !all.contains_key(row));
        }
        if number > recursion.rounds {
            beyond = round.iter().map(|((a, b), count)| (pair(*a, *b), *count as isize)).collect();
            break;
        }
        for (row, count) in &round {
            *all.entry(*row).or_default() += count;
        }
        let mut next: BTreeMap<(i64, i64), i128> = BTreeMap::new();
        for ((a, m), count) in &round {
            for ((from, b), copies) in edges.iter().filter(|((from, _), _)| from == m) {
                assert_eq!(from, m);
                let more = if recursion.copies { count * (*copies as i128) } else { 1 };
                let held = next.entry((*a, *b)).or_default();
                *held = if recursion.copies { *held + more } else { 1 };
            }
        }
        round = next;
    }
    [all.into_iter().map(|((a, b), count)| (pair(a, b), count as isize)).collect(), beyond, Bag::new()]
}

fn agree(steps: &[Step], recursion: Recursion, workers: usize, what: &str) {
    let states = run(steps.to_vec(), workers, recursion);
    let mut edges = Edges::new();
    for (time, (step, state)) in steps.iter().zip(states).enumerate() {
        for (edge, diff) in step {
            *edges.entry(*edge).or_default() += diff;
        }
        edges.retain(|_, count| *count != 0);
        let expected = slowly(&edges, recursion);
        for (kind, name) in ["rows", "beyond", "crowded"].iter().enumerate() {
            let show = |bag: &Bag| bag.iter().map(|(row, count)| (split(row), *count)).collect::<Vec<_>>();
            assert_eq!(show(&state[kind]), show(&expected[kind]), "{what}, {workers} workers, time {time}, {name}, edges {edges:?}");
        }
    }
}

#[test]
fn random_graphs_equal_rounds_by_hand_at_every_time_under_insertions_and_withdrawals() {
    for (seed, workers) in [(1, 1), (2, 3), (3, 1), (4, 3), (5, 1), (6, 3)] {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut live: Vec<(i64, i64)> = Vec::new();
        let mut steps: Vec<Step> = Vec::new();
        for _ in 0..14 {
            let mut step = Step::new();
            for _ in 0..random.random_range(0..5) {
                if !live.is_empty() && random.random_bool(0.45) {
                    step.push((live.swap_remove(random.random_range(0..live.len())), -1));
                } else {
                    let edge = (random.random_range(0..6), random.random_range(0..6));
                    live.push(edge);
                    step.push((edge, 1));
                }
            }
            steps.push(step);
        }
        steps.push(live.into_iter().map(|edge| (edge, -1)).collect());
        for rounds in [1, 3, 50] {
            agree(&steps, Recursion { copies: false, rounds }, workers, &format!("union, seed {seed}, {rounds} rounds"));
        }
        for rounds in [1, 4] {
            agree(&steps, Recursion { copies: true, rounds }, workers, &format!("union all, seed {seed}, {rounds} rounds"));
        }
    }
}

#[test]
fn a_bridge_takes_what_lay_behind_it_and_a_ring_does_not_hold_itself_up() {
    let ring = [(10, 11), (11, 12), (12, 10)];
    let enter: Step = ring.map(|edge| (edge, 1)).to_vec();
    let steps = vec![
        [vec![((0, 1), 1), ((1, 10), 1)], enter].concat(),
        vec![((1, 10), -1)],
        vec![((1, 11), 1), ((1, 12), 1)],
        // One of two equal edges is not the last.
        vec![((0, 1), 1)],
        vec![((0, 1), -1), ((1, 11), -1)],
        vec![((0, 1), -1)],
        ring.map(|edge| (edge, -1)).to_vec(),
    ];
    for workers in [1, 3] {
        agree(&steps, Recursion { copies: false, rounds: 100 }, workers, "a bridge");
        let states = run(steps.clone(), workers, Recursion { copies: false, rounds: 100 });
        let from_0 = |state: &State| state[0].keys().map(split).filter(|(a, _)| *a == 0).count();
        assert_eq!(states.iter().map(from_0).collect::<Vec<_>>(), [4, 1, 4, 4, 4, 0, 0]);
        assert!(states.iter().all(|state| state[1].is_empty()), "nothing goes on for ever");
    }
}

#[test]
fn what_goes_on_after_the_cap_is_said_and_taken_back() {
    let chain: Step = (0..10).map(|at| ((at, at + 1), 1)).collect();
    let steps = vec![chain, vec![((4, 5), -1)], vec![((4, 5), 1)]];
    let states = run(steps.clone(), 1, Recursion { copies: false, rounds: 5 });
    // Round 0 are the edges: 5 rounds reach 6 edges far, and 7 edges are there.
    let beyond = |state: &State| state[1].keys().map(split).collect::<Vec<_>>();
    assert_eq!(beyond(&states[0]), [(0, 7), (1, 8), (2, 9), (3, 10)]);
    assert!(!states[0][0].contains_key(&pair(0, 7)) && states[0][0].contains_key(&pair(0, 6)));
    assert_eq!(beyond(&states[1]), []);
    assert_eq!(states[2], states[0]);
}

#[test]
fn copies_that_would_not_fit_a_count_are_said_instead_of_counted_wrong() {
    // Every node has two edges to the next, so a path of n edges is there 2^n times.
    let chain: Step = (0..70).map(|at| ((at, at + 1), 2)).collect();
    for workers in [1, 3] {
        let states = run(vec![chain.clone(), vec![((20, 21), -2)]], workers, Recursion { copies: true, rounds: 100 });
        assert_eq!(states[0][0][&pair(0, 30)], 1 << 30);
        assert_eq!(states[0][0][&pair(0, 70)], COPIES);
        assert!(states[0][2].contains_key(&pair(0, 70)) && !states[0][2].contains_key(&pair(0, 31)));
        assert!(!states[1][0].contains_key(&pair(0, 70)) && states[1][2].contains_key(&pair(21, 70)));
    }
}
