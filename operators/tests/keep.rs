//! What operators give at an epoch and take up again: a run cut anywhere, and gone on with another number of workers, gives what a run
//! without a cut gives.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use ajatus_operators::relational::{Aggregate, Grouping, JoinEmit, JoinShape, Rows, TopShape, distinct, group, infer_rows, join, latest, top};
use ajatus_operators::row::{Cell, Kind, Row, SortColumn, Weave, Writer};
use ajatus_operators::{Calls, Job, Resume, Told, Vault, split};
use differential_dataflow::input::InputSession;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use timely::dataflow::ProbeHandle;

type Step = Vec<(usize, Row, isize)>;
/// Changes by time and row.
type Given = BTreeMap<u64, BTreeMap<Row, isize>>;
type Parts = HashMap<String, Vec<u8>>;
type Outputs<'scope> = Vec<Rows<'scope>>;
type Build = for<'scope> fn(Rows<'scope>, Rows<'scope>, &Vault) -> Outputs<'scope>;

/// Feeds `steps` at the times from `first` on; asks for what is known at `due`. Returns what each output gave, and the parts.
fn run(steps: Vec<Step>, first: u64, workers: usize, due: Option<u64>, resume: Option<(u64, bool, Parts)>, build: Build) -> (Vec<Given>, Parts) {
    let parts: Arc<Mutex<Parts>> = Arc::default();
    let complete = Arc::new(Mutex::new(0));
    let shares = resume.map(|(base, show, parts)| {
        let mut shares: Vec<Resume> = (0..workers).map(|_| Resume { base, show, entries: HashMap::new() }).collect();
        for (operator, bytes) in parts {
            let mut split_up = vec![Vec::new(); workers];
            assert!(split(&bytes, &mut split_up), "whole entries");
            shares.iter_mut().zip(split_up).for_each(|(share, bytes)| drop(share.entries.insert(operator.clone(), bytes)));
        }
        shares.into_iter().map(Some).collect::<Vec<_>>()
    });
    let shares = Mutex::new(shares);
    let (told, all) = (Arc::clone(&parts), Arc::clone(&complete));
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let mut inputs: Vec<InputSession<u64, Row, isize>> = (0..2).map(|_| InputSession::new()).collect();
        let seen: Rc<RefCell<Vec<(usize, Row, u64, isize)>>> = Rc::default();
        let probe = ProbeHandle::new();
        let share = shares.lock().expect("the shares").as_mut().and_then(|shares| shares[worker.index()].take());
        let (told, all) = (Arc::clone(&told), Arc::clone(&all));
        let vault = Vault::new(
            share,
            Box::new(move |news| match news {
                Told::Part { operator, bytes, .. } => told.lock().expect("the parts").entry(operator).or_default().extend(bytes),
                Told::All { .. } => *all.lock().expect("the count") += 1,
            }),
        );
        worker.dataflow(|scope| {
            let mut ports = inputs.iter_mut().map(|input| input.to_collection(scope));
            let (left, right) = (ports.next().expect("a port"), ports.next().expect("a port"));
            for (output, rows) in build(left, right, &vault).into_iter().enumerate() {
                let sink = Rc::clone(&seen);
                rows.inspect(move |(row, time, diff)| sink.borrow_mut().push((output, row.clone(), *time, *diff))).probe_with(&probe);
            }
        });
        inputs.iter_mut().for_each(|input| input.advance_to(first));
        for (time, step) in (first..).zip(&steps) {
            for (at, (port, row, diff)) in step.iter().enumerate() {
                if at % worker.peers() == worker.index() {
                    inputs[*port].update(row.clone(), *diff);
                }
            }
            if due == Some(time) {
                vault.due(time);
            }
            for input in &mut inputs {
                input.advance_to(time + 1);
                input.flush();
            }
            // The next time is fed while this one is under way, but for the one that is asked for: all must have heard of it before.
            if due == Some(time) || time % 3 == 0 {
                worker.step_while(|| probe.less_than(&(time + 1)));
            }
        }
        drop(inputs);
        worker.step_while(|| !probe.done());
        seen.take()
    });
    let mut given: Vec<Given> = Vec::new();
    for (output, row, time, diff) in guards.expect("workers").join().into_iter().flat_map(|seen| seen.expect("a worker")) {
        if given.len() <= output {
            given.resize_with(output + 1, Given::new);
        }
        *given[output].entry(time).or_default().entry(row).or_default() += diff;
    }
    for output in &mut given {
        output.values_mut().for_each(|rows| rows.retain(|_, count| *count != 0));
        output.retain(|_, rows| !rows.is_empty());
    }
    if due.is_some() {
        assert_eq!(*complete.lock().expect("the count"), workers, "every worker says once that all of it is given");
    }
    let parts = std::mem::take(&mut *parts.lock().expect("the parts"));
    (given, parts)
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

fn history(seed: u64) -> Vec<Step> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut live: [Vec<Row>; 2] = [Vec::new(), Vec::new()];
    (0..14)
        .map(|_| {
            let mut step = Vec::new();
            for _ in 0..random.random_range(0..40) {
                let port = random.random_range(0..2);
                if !live[port].is_empty() && random.random_bool(0.45) {
                    let at = random.random_range(0..live[port].len());
                    step.push((port, live[port].swap_remove(at), -1));
                } else {
                    let values: Vec<Option<i64>> = (0..2).map(|_| random.random_bool(0.85).then(|| random.random_range(0..9))).collect();
                    live[port].push(row(&values));
                    step.push((port, row(&values), 1));
                }
            }
            step
        })
        .collect()
}

/// What holds at the end of `until`.
fn state(given: &Given, until: u64) -> BTreeMap<Row, isize> {
    let mut state: BTreeMap<Row, isize> = BTreeMap::new();
    for (row, diff) in given.range(..=until).flat_map(|(_, rows)| rows) {
        *state.entry(row.clone()).or_default() += diff;
    }
    state.retain(|_, count| *count != 0);
    state
}

/// Cuts a run at every epoch and goes on from there, on one and on three workers.
fn goes_on(build: Build, steps: fn(u64) -> Vec<Step>) {
    for seed in 0..6 {
        let steps = steps(seed);
        let (whole, _) = run(steps.clone(), 1, 1, None, None, build);
        for cut in [1, 4, 5, 9, 13] {
            let (before, after) = if seed % 2 == 0 { (1, 3) } else { (3, 1) };
            let (_, parts) = run(steps.clone(), 1, before, Some(cut), None, build);
            let rest = steps[usize::try_from(cut).expect("small")..].to_vec();
            let (quiet, _) = run(rest.clone(), cut + 1, after, None, Some((cut, false, parts.clone())), build);
            let (shown, _) = run(rest, cut + 1, after, None, Some((cut, true, parts)), build);
            for (output, whole) in whole.iter().enumerate() {
                let later: Given = whole.range(cut + 1..).map(|(time, rows)| (*time, rows.clone())).collect();
                assert_eq!(quiet.get(output).cloned().unwrap_or_default(), later, "seed {seed}, cut after {cut}, output {output}");
                let mut all = later;
                let held = state(whole, cut);
                if !held.is_empty() {
                    all.insert(cut, held);
                }
                assert_eq!(shown.get(output).cloned().unwrap_or_default(), all, "shown: seed {seed}, cut after {cut}, output {output}");
            }
        }
    }
}

const TWO: [Kind; 2] = [Kind::Int64, Kind::Int64];

#[test]
fn groups_go_on_with_their_numbers_and_their_values() {
    fn build<'scope>(left: Rows<'scope>, right: Rows<'scope>, vault: &Vault) -> Outputs<'scope> {
        let order = vec![SortColumn { column: 1, descending: true, nulls_first: false }];
        let aggregates = vec![
            Aggregate::Count(None),
            Aggregate::Count(Some(1)),
            Aggregate::Sum { column: 1, output: Kind::Int64, limit: 0 },
            Aggregate::Mean(1),
            Aggregate::Min(1),
            Aggregate::Distinct(1),
            Aggregate::List { column: 1, order, distinct: false, skip_nulls: false, only: None },
        ];
        let grouping = Grouping { kinds: TWO.to_vec(), nullable: vec![true; 2], keys: 1, aggregates };
        let (rows, faults) = group(left, "g", grouping, vault.place("left"));
        // A limit of nine makes faults of most sums.
        let tight = vec![Aggregate::Sum { column: 1, output: Kind::Int64, limit: 9 }];
        let (few, many_faults) = group(right, "tight", Grouping { kinds: TWO.to_vec(), nullable: vec![true; 2], keys: 1, aggregates: tight }, vault.place("right"));
        vec![rows, faults, few, many_faults]
    }
    goes_on(build, history);
}

#[test]
fn joins_go_on_with_both_sides() {
    fn build<'scope>(left: Rows<'scope>, right: Rows<'scope>, vault: &Vault) -> Outputs<'scope> {
        let shape = JoinShape { key: vec![Kind::Int64], left: vec![Kind::Int64], right: vec![Kind::Int64] };
        let sources = [vec![Kind::Int64], vec![Kind::Int64], vec![Kind::Int64], vec![Kind::Int64]];
        let weave = |columns: &[(usize, usize)]| Weave::new(sources.to_vec(), columns.iter().copied());
        let pairs = || Some(weave(&[(0, 0), (1, 0), (2, 0)]));
        let full = JoinEmit { pairs: pairs(), left_alone: pairs(), left_matched: None, right_alone: pairs() };
        let semi = JoinEmit { left_matched: Some(weave(&[(0, 0), (1, 0)])), ..JoinEmit::default() };
        let inner = JoinEmit { pairs: pairs(), ..JoinEmit::default() };
        vec![
            join(left.clone(), right.clone(), &shape, full, vault.place("full")),
            join(left.clone(), right.clone(), &shape, semi, vault.place("semi")),
            join(left, right, &shape, inner, vault.place("inner")),
        ]
    }
    goes_on(build, history);
}

#[test]
fn chains_go_on_though_each_link_holds_its_own() {
    fn build<'scope>(left: Rows<'scope>, right: Rows<'scope>, vault: &Vault) -> Outputs<'scope> {
        let once = distinct(left.concat(right), vault.place("distinct"));
        let shape = |keys, numbered| TopShape {
            kinds: TWO.to_vec(),
            keys,
            order: vec![SortColumn { column: 1, descending: false, nulls_first: true }],
            skip: 0,
            fetch: 2,
            numbered,
        };
        let first = top(once.clone(), shape(1, false), vault.place("top"));
        let grouping = Grouping { kinds: TWO.to_vec(), nullable: vec![true; 2], keys: 1, aggregates: vec![Aggregate::Count(None), Aggregate::Max(1)] };
        let (counted, _) = group(first.clone(), "g", grouping, vault.place("group"));
        vec![top(once, shape(0, true), vault.place("numbered")), first, counted]
    }
    goes_on(build, history);
}

#[test]
fn a_changelog_goes_on_with_its_sequence_numbers() {
    /// Records of ten keys, some of which say that the key is gone; and numbers that go down now and then.
    fn records(seed: u64) -> Vec<Step> {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut writer = Writer::new();
        let mut sequence = 10_u64;
        (0..14)
            .map(|_| {
                (0..random.random_range(0..12))
                    .map(|_| {
                        writer.clear();
                        writer.int64(random.random_range(0..10));
                        sequence += 1;
                        writer.uint64(if random.random_bool(0.1) { sequence - 9 } else { sequence });
                        writer.bool(random.random_bool(0.8));
                        writer.int64(random.random_range(0..4));
                        (0, writer.finish(), 1)
                    })
                    .collect()
            })
            .collect()
    }
    fn build<'scope>(left: Rows<'scope>, _right: Rows<'scope>, vault: &Vault) -> Outputs<'scope> {
        vec![latest(left, vec![Kind::Int64, Kind::UInt64, Kind::Bool, Kind::Int64], 1, vault.place("latest"))]
    }
    goes_on(build, records);
}

#[test]
fn what_ended_long_ago_is_given_all_the_same() {
    fn build<'scope>(left: Rows<'scope>, _right: Rows<'scope>, vault: &Vault) -> Outputs<'scope> {
        use differential_dataflow::input::Input as _;
        let scope = left.scope();
        let always = if scope.index() == 0 { vec![row(&[Some(1), Some(7)]), row(&[Some(2), Some(8)]), row(&[Some(2), Some(8)])] } else { Vec::new() };
        let (_, always) = scope.new_collection_from(always);
        let once = distinct(always, vault.place("always"));
        let shape = JoinShape { key: vec![Kind::Int64], left: vec![Kind::Int64], right: vec![Kind::Int64] };
        let sources = vec![vec![Kind::Int64]; 4];
        let pairs = JoinEmit { pairs: Some(Weave::new(sources, [(0, 0), (1, 0), (2, 0)])), ..JoinEmit::default() };
        vec![join(left, once, &shape, pairs, vault.place("join"))]
    }
    goes_on(build, history);
}

#[test]
fn answers_are_taken_up_with_how_often_they_are_used() {
    fn build<'scope>(left: Rows<'scope>, _right: Rows<'scope>, vault: &Vault) -> Outputs<'scope> {
        // The service answers with the square of what it is asked, and refuses 7. Sevens become faults.
        let dispatch = |job: Job<Row, Row>| {
            let answers = job.requests.iter().map(|request| match request.cells(&[Kind::Int64]).as_slice() {
                [Cell::Int(7)] => Err("seven".to_owned()),
                [Cell::Int(value)] => Ok(row(&[Some(i64::try_from(value * value).expect("small"))])),
                _ => Ok(row(&[None])),
            });
            let answers = answers.collect();
            job.answer(answers);
        };
        let calls = Calls { max_batch: 3, max_in_flight: 1, dispatch, release: |_, _| {} };
        let once = distinct(left, vault.place("distinct"));
        let (rows, faults) = infer_rows(once, "square", &TWO, &[1], calls, vault.place("infer"));
        let grouping = Grouping { kinds: vec![Kind::Int64; 3], nullable: vec![true; 3], keys: 1, aggregates: vec![Aggregate::Sum { column: 2, output: Kind::Int64, limit: 0 }] };
        let (sums, _) = group(rows.clone(), "sums", grouping, vault.place("sums"));
        vec![rows, faults, sums]
    }
    goes_on(build, history);
}
