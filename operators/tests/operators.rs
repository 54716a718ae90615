//! Every operator: by hand, under retraction, and against a slow, obvious reference at every time.

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ajatus_operators::relational::latest;
use ajatus_operators::row::{Cell, Kind, Row as Packed, Writer};
use ajatus_operators::{Answer, Calls, Job, Keep, infer};
use differential_dataflow::VecCollection;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use support::{run, states};

/// A record of a changelog: key, sequence number, value or tombstone.
type Record = (u32, (u64, Option<u32>));

/// As `latest` takes it.
fn packed((key, (sequence, value)): Record) -> Packed {
    let mut out = Writer::new();
    out.uint32(key);
    out.uint64(sequence);
    out.bool(value.is_some());
    if let Some(value) = value {
        out.uint32(value);
    }
    out.finish()
}

fn changes(records: Vec<Vec<Record>>, workers: usize) -> support::Emitted<Packed> {
    let epochs = records.into_iter().map(|records| records.into_iter().map(|record| (packed(record), 1)).collect()).collect();
    run(workers, epochs, |rows| latest(rows, vec![Kind::UInt32, Kind::UInt64, Kind::Bool, Kind::UInt32], 1, Keep::nowhere()))
}

fn table(records: Vec<Vec<Record>>, workers: usize) -> Vec<BTreeMap<(u32, u32), isize>> {
    let count = records.len() as u64;
    let pair = |row: &Packed| match row.cells(&[Kind::UInt32, Kind::UInt32]).as_slice() {
        [Cell::UInt(key), Cell::UInt(value)] => (u32::try_from(*key).expect("a key"), u32::try_from(*value).expect("a value")),
        other => panic!("{other:?}"),
    };
    let states = states(&changes(records, workers), count);
    states.into_iter().map(|state| state.iter().map(|(row, count)| (pair(row), *count)).collect()).collect()
}

#[test]
fn keeps_the_last_value_of_a_key_and_forgets_it_at_a_tombstone() {
    let states = table(
        vec![vec![(1, (0, Some(10))), (2, (1, Some(20)))], vec![(1, (3, Some(12))), (1, (2, Some(11)))], vec![(1, (4, None)), (3, (5, None))]],
        1,
    );
    assert_eq!(states[0], BTreeMap::from([((1, 10), 1), ((2, 20), 1)]));
    assert_eq!(states[1], BTreeMap::from([((1, 12), 1), ((2, 20), 1)]));
    assert_eq!(states[2], BTreeMap::from([((2, 20), 1)]));
}

#[test]
fn emits_nothing_for_a_record_that_changes_nothing() {
    let emitted = changes(vec![vec![(1, (0, Some(5)))], vec![(1, (1, Some(5)))], vec![(1, (2, None)), (1, (3, Some(5)))]], 2);
    assert_eq!(emitted.len(), 1, "{emitted:?}");
}

#[test]
fn the_table_equals_a_map_at_every_time_on_one_worker_and_on_three() {
    let mut random = StdRng::seed_from_u64(3);
    let mut offset = 0;
    let records: Vec<Vec<Record>> = (0..60)
        .map(|_| {
            (0..random.random_range(0..30))
                .map(|_| {
                    offset += 1;
                    (random.random_range(0..40), (offset, random.random_bool(0.7).then(|| random.random_range(0..5))))
                })
                .collect()
        })
        .collect();
    let mut map: BTreeMap<u32, u32> = BTreeMap::new();
    let truth: Vec<BTreeMap<(u32, u32), isize>> = records
        .iter()
        .map(|epoch| {
            for (key, (_, value)) in epoch {
                match value {
                    Some(value) => drop(map.insert(*key, *value)),
                    None => drop(map.remove(key)),
                }
            }
            map.iter().map(|(key, value)| ((*key, *value), 1)).collect()
        })
        .collect();
    assert_eq!(table(records.clone(), 1), truth);
    assert_eq!(table(records, 3), truth);
}

/// A service that says something else every time it is asked the same, and refuses multiples of 7.
struct Moody {
    calls: AtomicU64,
    largest: AtomicUsize,
    asked: Mutex<BTreeMap<u32, usize>>,
    released: Mutex<Vec<(u64, u32)>>,
}

impl Moody {
    fn new() -> Arc<Self> {
        Arc::new(Self { calls: AtomicU64::new(0), largest: AtomicUsize::new(0), asked: Mutex::default(), released: Mutex::default() })
    }

    fn answers(&self, requests: &[u32]) -> Vec<Answer<u64>> {
        self.largest.fetch_max(requests.len(), Ordering::SeqCst);
        let mut asked = self.asked.lock().expect("no panic");
        requests
            .iter()
            .map(|request| {
                *asked.entry(*request).or_default() += 1;
                if request % 7 == 0 { Err(format!("{request} is refused")) } else { Ok(self.calls.fetch_add(1, Ordering::SeqCst)) }
            })
            .collect()
    }
}

type Row = (u32, Answer<u64>);

fn asked(moody: &Arc<Moody>, epochs: Vec<Vec<((u32, u32), isize)>>, workers: usize, max_batch: usize) -> support::Emitted<Row> {
    let moody = Arc::clone(moody);
    run(workers, epochs, move |input: VecCollection<'_, u64, (u32, u32), isize>| {
        let (service, listener) = (Arc::clone(&moody), Arc::clone(&moody));
        let calls = Calls {
            max_batch,
            max_in_flight: 2,
            dispatch: move |job: Job<u32, u64>| {
                let service = Arc::clone(&service);
                // A thread per batch, so that answers come late and in any order.
                drop(std::thread::spawn(move || {
                    let answers = service.answers(&job.requests);
                    job.answer(answers);
                }));
            },
            release: move |time, gone: Vec<(u32, Answer<u64>)>| {
                listener.released.lock().expect("no panic").extend(gone.into_iter().map(|(request, _)| (time, request)));
            },
        };
        infer(input, calls)
    })
}

#[test]
fn asks_once_for_equal_requests_and_retracts_what_it_asserted() {
    let moody = Moody::new();
    let epochs = vec![vec![((1, 100), 1), ((1, 101), 1), ((2, 102), 1)], vec![((1, 100), -1)], vec![((1, 101), -1), ((2, 102), -1)]];
    let emitted = asked(&moody, epochs, 1, 10);
    let states = states(&emitted, 3);
    assert_eq!(states[0].len(), 3);
    assert_eq!(states[1].len(), 2);
    assert!(states[2].is_empty(), "{:?}", states[2]);
    assert_eq!(moody.asked.lock().expect("no panic").values().copied().collect::<Vec<_>>(), [1, 1]);
    let mut released = moody.released.lock().expect("no panic").clone();
    released.sort_unstable();
    assert_eq!(released, [(3, 1), (3, 2)]);
}

#[test]
fn a_refusal_is_a_value_that_is_retracted_like_any_other() {
    let moody = Moody::new();
    let emitted = asked(&moody, vec![vec![((7, 1), 1)], vec![((7, 1), -1)]], 1, 10);
    assert_eq!(emitted[&1], [((1, Err("7 is refused".to_owned())), 1)]);
    assert!(states(&emitted, 2)[1].is_empty());
}

#[test]
fn every_live_payload_has_one_answer_at_every_time_though_the_service_is_moody() {
    for workers in [1, 3] {
        let mut random = StdRng::seed_from_u64(21);
        let mut live: BTreeMap<(u32, u32), isize> = BTreeMap::new();
        let (mut epochs, mut truth) = (Vec::new(), Vec::new());
        for _ in 0..50 {
            let mut epoch = Vec::new();
            for _ in 0..random.random_range(0..25) {
                let row = (random.random_range(0..30), random.random_range(0..40));
                let diff = if live.contains_key(&row) { -1 } else { 1 };
                *live.entry(row).or_default() += diff;
                live.retain(|_, count| *count != 0);
                epoch.push((row, diff));
            }
            let mut payloads: BTreeMap<u32, isize> = BTreeMap::new();
            for ((_, payload), count) in &live {
                *payloads.entry(*payload).or_default() += count;
            }
            truth.push(payloads);
            epochs.push(epoch);
        }
        let moody = Moody::new();
        let emitted = asked(&moody, epochs, workers, 4);
        for (at, state) in states(&emitted, 50).into_iter().enumerate() {
            assert!(state.values().all(|count| *count > 0), "epoch {at}: a retraction without its assertion");
            let mut payloads: BTreeMap<u32, isize> = BTreeMap::new();
            for ((payload, _), count) in state {
                *payloads.entry(payload).or_default() += count;
            }
            assert_eq!(payloads, truth[at], "epoch {at} on {workers} workers");
        }
        assert!(moody.largest.load(Ordering::SeqCst) <= 4);
    }
}
