//! Relational operators against a slow, obvious reference at every time: hand-made cases, retractions, seeded random runs.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use ajatus_operators::Keep;
use ajatus_operators::relational::{Aggregate, Grouping, JoinEmit, JoinShape, Rows, TopShape, distinct, group, join, latest, top};
use ajatus_operators::row::{Cell, Kind, Row, SortColumn, Weave, Writer};
use differential_dataflow::input::InputSession;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use timely::dataflow::ProbeHandle;

type Bag = BTreeMap<Row, isize>;
type Step = Vec<(usize, Row, isize)>;

/// Runs a dataflow over two inputs and returns the rows and the faults that hold after each step.
fn run<B>(steps: Vec<Step>, workers: usize, build: B) -> Vec<(Bag, Bag)>
where
    B: for<'scope> Fn(Rows<'scope>, Rows<'scope>) -> (Rows<'scope>, Rows<'scope>) + Send + Sync + 'static,
{
    let count = steps.len();
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let mut inputs: Vec<InputSession<u64, Row, isize>> = (0..2).map(|_| InputSession::new()).collect();
        let seen: Rc<RefCell<Vec<(bool, Row, u64, isize)>>> = Rc::default();
        let probe = ProbeHandle::new();
        worker.dataflow(|scope| {
            let mut ports = inputs.iter_mut().map(|input| input.to_collection(scope));
            let (left, right) = (ports.next().expect("a port"), ports.next().expect("a port"));
            let (rows, faults) = build(left, right);
            for (good, collection) in [(true, rows), (false, faults)] {
                let sink = Rc::clone(&seen);
                collection.inspect(move |(row, time, diff)| sink.borrow_mut().push((good, row.clone(), *time, *diff))).probe_with(&probe);
            }
        });
        for (time, step) in steps.iter().enumerate() {
            for (at, (port, row, diff)) in step.iter().enumerate() {
                if at % worker.peers() == worker.index() {
                    inputs[*port].update(row.clone(), *diff);
                }
            }
            for input in &mut inputs {
                input.advance_to(time as u64 + 1);
                input.flush();
            }
            worker.step_while(|| probe.less_than(&(time as u64 + 1)));
        }
        drop(inputs);
        seen.take()
    });
    let updates: Vec<_> = guards.expect("workers").join().into_iter().flat_map(|seen| seen.expect("a worker")).collect();
    let mut states = Vec::new();
    let (mut rows, mut faults) = (Bag::new(), Bag::new());
    for time in 0..count as u64 {
        for (good, row, _, diff) in updates.iter().filter(|update| update.2 == time) {
            *if *good { &mut rows } else { &mut faults }.entry(row.clone()).or_default() += diff;
        }
        rows.retain(|_, count| *count != 0);
        faults.retain(|_, count| *count != 0);
        states.push((rows.clone(), faults.clone()));
    }
    states
}

fn row(values: &[Option<i64>]) -> Row {
    let mut writer = Writer::new();
    for value in values {
        match value {
            Some(value) => writer.int64(*value),
            None => writer.null(),
        }
    }
    writer.finish()
}

/// Random insertions and withdrawals over two tables of nullable numbers, ending with nothing.
fn history(seed: u64, columns: usize, range: i64) -> Vec<Step> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut live: [Vec<Row>; 2] = [Vec::new(), Vec::new()];
    let mut steps = Vec::new();
    for _ in 0..12 {
        let mut step = Vec::new();
        for _ in 0..random.random_range(0..14) {
            let port = random.random_range(0..2);
            if !live[port].is_empty() && random.random_bool(0.45) {
                let at = random.random_range(0..live[port].len());
                step.push((port, live[port].swap_remove(at), -1));
            } else {
                let values: Vec<Option<i64>> =
                    (0..columns).map(|_| random.random_bool(0.85).then(|| random.random_range(0..range))).collect();
                live[port].push(row(&values));
                step.push((port, row(&values), 1));
            }
        }
        steps.push(step);
    }
    steps.push((0..2).flat_map(|port| live[port].iter().map(move |row| (port, row.clone(), -1)).collect::<Vec<_>>()).collect());
    steps
}

/// The live rows of one input after each step.
fn live(steps: &[Step], port: usize) -> Vec<Vec<Row>> {
    let mut state = Bag::new();
    let mut all = Vec::new();
    for step in steps {
        for (_, row, diff) in step.iter().filter(|change| change.0 == port) {
            *state.entry(row.clone()).or_default() += diff;
        }
        state.retain(|_, count| *count != 0);
        all.push(state.iter().flat_map(|(row, count)| (0..*count).map(|_| row.clone())).collect());
    }
    all
}

fn values(row: &Row, columns: usize) -> Vec<Option<i64>> {
    row.cells(&vec![Kind::Int64; columns])
        .into_iter()
        .map(|cell| if let Cell::Int(value) = cell { Some(value as i64) } else { None })
        .collect()
}

fn bag(rows: impl IntoIterator<Item = Row>) -> Bag {
    let mut bag = Bag::new();
    rows.into_iter().for_each(|row| *bag.entry(row).or_default() += 1);
    bag
}

fn ascending(column: usize) -> SortColumn {
    SortColumn { column, descending: false, nulls_first: false }
}

#[test]
fn groups_equal_a_recount_at_every_time() {
    for (seed, workers) in [(1, 1), (2, 2), (3, 1), (4, 3)] {
        let steps = history(seed, 2, 4);
        let states = run(steps.clone(), workers, |left, _| {
            let aggregates = vec![
                Aggregate::Count(None),
                Aggregate::Count(Some(1)),
                Aggregate::Sum { column: 1, output: Kind::Int64, limit: 0 },
                Aggregate::Mean(1),
                Aggregate::Min(1),
                Aggregate::Max(1),
                Aggregate::Distinct(1),
                Aggregate::List { column: 1, order: vec![ascending(1)], distinct: false, skip_nulls: true, only: None },
            ];
            group(left, "g", Grouping { kinds: vec![Kind::Int64; 2], nullable: vec![true; 2], keys: 1, aggregates }, Keep::nowhere())
        });
        for (now, (got, faults)) in live(&steps, 0).into_iter().zip(states) {
            let mut groups: BTreeMap<Option<i64>, Vec<Option<i64>>> = BTreeMap::new();
            for row in now {
                let cells = values(&row, 2);
                groups.entry(cells[0]).or_default().push(cells[1]);
            }
            let mut writer = Writer::new();
            let expected = groups.into_iter().map(|(key, values)| {
                let mut some: Vec<i64> = values.iter().flatten().copied().collect();
                some.sort_unstable();
                match key {
                    Some(key) => writer.int64(key),
                    None => writer.null(),
                }
                writer.int64(values.len() as i64);
                writer.int64(some.len() as i64);
                if some.is_empty() {
                    (0..4).for_each(|_| writer.null());
                } else {
                    writer.int64(some.iter().sum());
                    writer.float64(some.iter().sum::<i64>() as f64 / some.len() as f64);
                    writer.int64(some[0]);
                    writer.int64(some[some.len() - 1]);
                }
                let mut different = some.clone();
                different.dedup();
                writer.int64(different.len() as i64);
                if some.is_empty() {
                    writer.null();
                } else {
                    writer.begin();
                    some.iter().for_each(|value| { writer.element(); writer.int64(*value); });
                    writer.end();
                }
                writer.finish()
            });
            assert_eq!(got, bag(expected), "seed {seed}");
            assert!(faults.is_empty());
        }
    }
}

#[test]
fn a_sum_that_does_not_fit_is_a_fault_until_it_fits_again() {
    let steps = vec![
        vec![(0, row(&[Some(1), Some(i64::MAX)]), 1)],
        vec![(0, row(&[Some(1), Some(1)]), 1)],
        vec![(0, row(&[Some(1), Some(i64::MAX)]), -1)],
        vec![(0, row(&[Some(1), Some(i64::MIN)]), 1), (0, row(&[Some(1), Some(-1)]), 1), (0, row(&[Some(1), Some(1)]), -1)],
    ];
    let states = run(steps, 1, |left, _| {
        let aggregates = vec![Aggregate::Sum { column: 1, output: Kind::Int64, limit: 0 }];
        group(left, "total", Grouping { kinds: vec![Kind::Int64; 2], nullable: vec![true; 2], keys: 1, aggregates }, Keep::nowhere())
    });
    assert_eq!(states[0].0, bag([row(&[Some(1), Some(i64::MAX)])]));
    assert!(states[1].0.is_empty());
    let fault = states[1].1.keys().next().expect("a fault").cells(&ajatus_operators::relational::FAULT);
    assert_eq!(fault[0], Cell::Text("total".into()));
    assert_eq!(fault[1], Cell::Text("sum.overflow".into()));
    assert_eq!(states[2], (bag([row(&[Some(1), Some(1)])]), Bag::new()));
    assert_eq!(states[3].1.len(), 1);
}

#[test]
fn joins_of_every_kind_equal_nested_loops_at_every_time() {
    for (seed, workers) in [(11, 1), (12, 2), (13, 1), (14, 2)] {
        let steps = history(seed, 2, 3);
        let states = run(steps.clone(), workers, |left, right| {
            let shape = JoinShape { key: vec![Kind::Int64], left: vec![Kind::Int64], right: vec![Kind::Int64] };
            let sources = vec![vec![Kind::Int64]; 4];
            let emit = JoinEmit {
                pairs: Some(Weave::new(sources.clone(), [(0, 0), (1, 0), (2, 0)])),
                left_alone: Some(Weave::new(sources.clone(), [(0, 0), (1, 0), (2, 0)])),
                left_matched: None,
                right_alone: Some(Weave::new(sources.clone(), [(3, 0), (1, 0), (0, 0), (2, 0)])),
            };
            let shape_too = shape.clone();
            let matched = JoinEmit { left_matched: Some(Weave::new(sources, [(0, 0), (1, 0)])), ..JoinEmit::default() };
            let semi = join(left.clone(), right.clone(), &shape_too, matched, Keep::nowhere());
            (join(left, right, &shape, emit, Keep::nowhere()), semi)
        });
        for ((left, right), (got, semi)) in live(&steps, 0).into_iter().zip(live(&steps, 1)).zip(states) {
            let split = |row: &Row| { let cells = values(row, 2); (cells[0], cells[1]) };
            let mut expected = Vec::new();
            let mut having = Vec::new();
            for one in &left {
                let (key, value) = split(one);
                let partners: Vec<_> = right.iter().map(split).filter(|(other, _)| *other == key).collect();
                expected.extend(partners.iter().map(|(_, other)| row(&[key, value, *other])));
                if partners.is_empty() { expected.push(row(&[key, value, None])) } else { having.push(one.clone()) }
            }
            for one in &right {
                let (key, value) = split(one);
                if !left.iter().any(|other| split(other).0 == key) {
                    expected.push(row(&[None, None, key, value]));
                }
            }
            assert_eq!(got, bag(expected), "seed {seed}");
            assert_eq!(semi, bag(having), "seed {seed}");
        }
    }
}

#[test]
fn the_first_of_each_group_equal_a_sort_at_every_time() {
    for (seed, workers) in [(21, 1), (22, 2)] {
        let steps = history(seed, 2, 5);
        let states = run(steps.clone(), workers, |left, right| {
            let shape = |skip, fetch, numbered, keys| TopShape {
                kinds: vec![Kind::Int64; 2],
                keys,
                order: vec![SortColumn { column: 1, descending: true, nulls_first: false }],
                skip,
                fetch,
                numbered,
            };
            (top(left, shape(0, 2, true, 1), Keep::nowhere()), top(right, shape(1, 3, false, 0), Keep::nowhere()))
        });
        for ((left, right), (numbered, whole)) in live(&steps, 0).into_iter().zip(live(&steps, 1)).zip(states) {
            let mut groups: BTreeMap<Option<i64>, Vec<Row>> = BTreeMap::new();
            for one in left {
                groups.entry(values(&one, 2)[0]).or_default().push(one);
            }
            let place = |row: &Row| (std::cmp::Reverse(values(row, 2)[1]), row.clone());
            let mut expected = Vec::new();
            for rows in groups.values_mut() {
                rows.sort_by_key(place);
                for (at, one) in rows.iter().take(2).enumerate() {
                    let mut writer = Writer::new();
                    writer.encoded(one.bytes());
                    writer.uint64(at as u64 + 1);
                    expected.push(writer.finish());
                }
            }
            assert_eq!(numbered, bag(expected), "seed {seed}");
            let mut right = right;
            right.sort_by_key(place);
            assert_eq!(whole, bag(right.into_iter().skip(1).take(3)), "seed {seed}");
        }
    }
}

#[test]
fn each_row_once_however_often_it_is_there() {
    let steps = history(31, 1, 4);
    let states = run(steps.clone(), 2, |left, right| (distinct(left, Keep::nowhere()), right));
    for (mut now, (got, _)) in live(&steps, 0).into_iter().zip(states) {
        now.sort();
        now.dedup();
        assert_eq!(got, bag(now));
    }
}

#[test]
fn the_latest_record_of_a_key_stands_and_a_tombstone_forgets_it() {
    let record = |key: i64, sequence: u64, value: Option<i64>| {
        let mut writer = Writer::new();
        writer.int64(key);
        writer.uint64(sequence);
        writer.bool(value.is_some());
        writer.int64(value.unwrap_or_default());
        writer.finish()
    };
    let steps = vec![
        vec![(0, record(1, 1, Some(10)), 1), (0, record(1, 3, Some(30)), 1), (0, record(1, 2, None), 1), (0, record(2, 4, Some(5)), 1)],
        vec![(0, record(1, 5, None), 1)],
        vec![(0, record(1, 4, Some(40)), 1)],
        vec![(0, record(1, 6, Some(60)), 1), (0, record(2, 7, Some(5)), 1)],
    ];
    let states = run(steps, 2, |left, right| (latest(left, vec![Kind::Int64, Kind::UInt64, Kind::Bool, Kind::Int64], 1, Keep::nowhere()), right));
    let both = |a: Option<i64>, b: i64| bag(a.map(|a| row(&[Some(1), Some(a)])).into_iter().chain([row(&[Some(2), Some(b)])]));
    assert_eq!(states[0].0, both(Some(30), 5));
    assert_eq!(states[1].0, both(None, 5));
    assert_eq!(states[2].0, both(None, 5), "an older record must not revive a key");
    assert_eq!(states[3].0, both(Some(60), 5));
}
