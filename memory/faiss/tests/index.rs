//! A large index beside the slow, obvious thing: every product, sorted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::RwLock;

use ajatus_faiss::{Applied, Change, FaissError, Hit, LEAST_VECTORS, LargeIndex, Retrain, Rows, row_hash};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

const USER: u128 = 0x0190_0000_0000_7000_8000_0000_0000_0007;
const DIMENSION: usize = 64;

/// What is held: id, epoch and vector.
type Truth = BTreeMap<u128, (u64, Vec<f32>)>;

struct Source {
    random: StdRng,
    topics: Vec<Vec<f32>>,
}

fn unit(mut vector: Vec<f32>) -> Vec<f32> {
    let length = vector.iter().map(|component| component * component).sum::<f32>().sqrt();
    vector.iter_mut().for_each(|component| *component /= length);
    vector
}

impl Source {
    /// Vectors about some topics, as turns of one person are.
    fn new(seed: u64, topics: usize) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let topics = (0..topics).map(|_| unit((0..DIMENSION).map(|_| random.random_range(-1.0..1.0)).collect())).collect();
        Self { random, topics }
    }

    fn vector(&mut self) -> Vec<f32> {
        let topic = self.topics[self.random.random_range(0..self.topics.len())].clone();
        unit(topic.into_iter().map(|component| component + self.random.random_range(-0.15..0.15)).collect())
    }

    fn id(&mut self) -> u128 {
        self.random.random()
    }

    fn truth(&mut self, rows: usize) -> Truth {
        (0..rows).map(|_| (self.id(), (self.random.random_range(1..9), self.vector()))).collect()
    }
}

fn built(truth: &Truth) -> LargeIndex {
    let mut rows = Rows::new(DIMENSION);
    for (id, (epoch, vector)) in truth {
        rows.push(*id, *epoch, vector).expect("a vector");
    }
    LargeIndex::build(USER, &rows).expect("an index")
}

fn exact<'row>(rows: impl Iterator<Item = (&'row u128, &'row (u64, Vec<f32>))>, query: &[f32], k: usize) -> Vec<u128> {
    let product = |vector: &[f32]| vector.iter().zip(query).map(|(left, right)| left * right).sum::<f32>();
    let mut all: Vec<(f32, u128)> = rows.map(|(id, (_, vector))| (product(vector), *id)).collect();
    all.sort_by(|left, right| right.0.total_cmp(&left.0));
    all.into_iter().take(k).map(|(_, id)| id).collect()
}

fn ids(hits: &[Hit]) -> Vec<u128> {
    hits.iter().map(|hit| hit.id).collect()
}

/// The share of the true ten that are found.
fn recall(index: &LargeIndex, truth: &Truth, queries: &[Vec<f32>]) -> f64 {
    let found: usize = queries
        .iter()
        .map(|query| {
            let wanted: BTreeSet<u128> = exact(truth.iter(), query, 10).into_iter().collect();
            let hits = index.search(query, 10, None, None).expect("hits");
            assert!(hits.windows(2).all(|pair| pair[0].score >= pair[1].score), "the best first");
            hits.iter().filter(|hit| wanted.contains(&hit.id)).count()
        })
        .sum();
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let share = found as f64 / (10 * queries.len()) as f64;
    share
}

fn queries(source: &mut Source, count: usize) -> Vec<Vec<f32>> {
    (0..count).map(|_| source.vector()).collect()
}

fn removals(ids: impl IntoIterator<Item = u128>, epoch: u64) -> Vec<Change> {
    ids.into_iter().map(|id| Change::Remove { id, epoch }).collect()
}

#[test]
fn finds_what_an_exact_scan_finds_and_still_does_after_many_changes() {
    let mut source = Source::new(1, 300);
    let mut truth = source.truth(20_000);
    let mut index = built(&truth);
    let asked = queries(&mut source, 200);
    let first = recall(&index, &truth, &asked);
    let mut epoch = 10;
    // Three in ten go, three in ten come, one in ten changes.
    for _ in 0..10 {
        epoch += 1;
        let mut changes = Vec::new();
        let held: Vec<u128> = truth.keys().copied().collect();
        for id in held.into_iter().filter(|id| id % 33 == u128::from(epoch)) {
            changes.push(Change::Remove { id, epoch });
            truth.remove(&id);
        }
        let changed: Vec<u128> = truth.keys().copied().filter(|id| id % 97 == u128::from(epoch)).collect();
        let new: Vec<u128> = (0..600).map(|_| source.id()).collect();
        for id in changed.into_iter().chain(new) {
            let vector = source.vector();
            changes.push(Change::Upsert { id, epoch, vector: vector.clone() });
            truth.insert(id, (epoch, vector));
        }
        index.apply(&changes).expect("applied");
    }
    let after = recall(&index, &truth, &asked);
    assert!(first >= 0.98 && after >= 0.98, "{first} {after}");
    assert_eq!((index.len(), index.epoch(), index.retrain_needed()), (truth.len(), epoch, None));
    let sum = truth.iter().fold(0_u64, |sum, (id, (epoch, _))| sum.wrapping_add(row_hash(USER, *id, *epoch)));
    assert_eq!((index.checksum().count, index.checksum().sum), (truth.len() as u64, sum));
    // All lists: exact.
    for query in asked.iter().take(20) {
        let hits = index.search(query, 10, Some(index.lists()), None).expect("hits");
        assert_eq!(ids(&hits), exact(truth.iter(), query, 10));
    }
}

#[test]
fn reads_as_many_lists_as_the_vectors_need() {
    let clear = built(&Source::new(9, 30).truth(4_000));
    // About nothing: neighbours lie anywhere.
    let mut source = Source::new(10, 4_000);
    let truth = source.truth(4_000);
    let vague = built(&truth);
    assert_eq!((clear.lists(), clear.probes()), (63, 16));
    assert!(vague.probes() > 30, "{}", vague.probes());
    let asked = queries(&mut source, 100);
    assert!(recall(&vague, &truth, &asked) >= 0.98);
}

#[test]
fn what_was_removed_is_never_found_again() {
    let mut source = Source::new(2, 50);
    let truth = source.truth(4_000);
    let mut index = built(&truth);
    let gone: Vec<u128> = truth.keys().copied().step_by(4).collect();
    assert_eq!(gone.len(), 1_000);
    assert_eq!(index.apply(&removals(gone.iter().copied(), 20)).expect("applied"), Applied { removed: 1_000, ..Applied::default() });
    assert_eq!(index.len(), 3_000);
    for id in &gone {
        let hits = index.search(&truth[id].1, 3_000, Some(index.lists()), None).expect("hits");
        assert_eq!(hits.len(), 3_000, "the rest");
        assert!(hits.iter().all(|hit| hit.id != *id), "it is gone");
        assert_eq!(index.epoch_of(*id), None);
    }
    let seen: BTreeSet<u128> = ids(&index.search(&source.vector(), 4_000, Some(index.lists()), None).expect("hits")).into_iter().collect();
    assert!(gone.iter().all(|id| !seen.contains(id)) && seen.len() == 3_000);
    // Again: nothing.
    assert_eq!(index.apply(&removals(gone.iter().copied(), 20)).expect("applied"), Applied { ignored: 1_000, ..Applied::default() });
}

#[test]
fn an_older_change_changes_nothing_also_after_a_removal() {
    let mut source = Source::new(3, 20);
    let truth = source.truth(LEAST_VECTORS);
    let mut index = built(&truth);
    let sum = index.checksum();
    let (id, (held, vector)) = truth.iter().next().expect("one");
    let other = source.vector();
    let upsert = |epoch: u64, vector: &[f32]| Change::Upsert { id: *id, epoch, vector: vector.to_vec() };
    for epoch in 0..=*held {
        assert_eq!(index.apply(&[upsert(epoch, &other)]).expect("applied").ignored, 1, "{epoch}");
    }
    assert_eq!((index.checksum(), index.search(vector, 1, None, None).expect("a hit")[0].id), (sum, *id));
    // Of several at once the newest counts, wherever it stands.
    let applied = index.apply(&[upsert(31, &other), upsert(33, vector), upsert(32, &other)]).expect("applied");
    assert_eq!((applied, index.epoch_of(*id)), (Applied { upserted: 1, removed: 0, ignored: 2 }, Some(33)));
    assert_eq!(index.len(), truth.len(), "one row for one id");
    let twice = ids(&index.search(vector, 50, Some(index.lists()), None).expect("hits"));
    assert_eq!(twice.iter().filter(|found| *found == id).count(), 1);
    // Gone at 40: what was said before it does not come back; a removal that comes before its memory holds too.
    index.apply(&removals([*id, 77], 40)).expect("applied");
    let stale = [upsert(39, vector), Change::Upsert { id: 77, epoch: 12, vector: vector.clone() }];
    assert_eq!(index.apply(&stale).expect("applied"), Applied { ignored: 2, ..Applied::default() });
    assert_eq!((index.epoch_of(*id), index.epoch_of(77)), (None, None));
    assert_eq!(index.apply(&[upsert(41, vector)]).expect("applied").upserted, 1, "a newer one does");
    index.forget_removals(40);
    assert_eq!(index.apply(&stale[1..]).expect("applied").upserted, 1, "nothing older comes any more, it was said");
}

#[test]
fn a_filter_gives_allowed_ids_only_and_loses_none_when_it_is_narrow() {
    let mut source = Source::new(4, 200);
    let truth = source.truth(8_000);
    let mut index = built(&truth);
    let asked = queries(&mut source, 40);
    for share in [2_u128, 20, 400] {
        let allowed = index.allow(|id| id % share == 0);
        let few: Truth = truth.iter().filter(|(id, _)| *id % share == 0).map(|(id, row)| (*id, row.clone())).collect();
        assert_eq!(allowed.len(), few.len());
        let mut right = 0;
        for query in &asked {
            let hits = ids(&index.search(query, 10, None, Some(&allowed)).expect("hits"));
            assert!(hits.iter().all(|id| few.contains_key(id)), "an id that is not allowed");
            assert_eq!(hits.len(), 10.min(few.len()));
            let wanted = exact(few.iter(), query, 10);
            right += hits.iter().filter(|id| wanted.contains(id)).count();
        }
        assert!(right * 100 >= asked.len() * 10.min(few.len()) * 98, "{share}: {right}");
    }
    let one = *truth.keys().next_back().expect("one");
    let allowed = index.allow_ids([one, 5, one]);
    assert_eq!(ids(&index.search(&asked[0], 10, None, Some(&allowed)).expect("hits")), [one]);
    assert!(index.search(&asked[0], 10, None, Some(&index.allow(|_| false))).expect("none").is_empty());
    // It was allowed, and is gone.
    index.apply(&removals([one], 50)).expect("applied");
    assert!(index.search(&asked[0], 10, None, Some(&allowed)).expect("none").is_empty());
    assert!(matches!(built(&truth).search(&asked[0], 10, None, Some(&allowed)), Err(FaissError::Filter)), "another index");
}

#[test]
fn many_threads_find_the_same_while_a_writer_waits_its_turn() {
    let mut source = Source::new(5, 100);
    let truth = source.truth(6_000);
    let index = RwLock::new(built(&truth));
    let asked = queries(&mut source, 50);
    let answers = |index: &LargeIndex| asked.iter().map(|query| index.search(query, 10, None, None).expect("hits")).collect::<Vec<_>>();
    let alone = answers(&index.read().expect("a lock"));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    assert_eq!(answers(&index.read().expect("a lock")), alone);
                }
            });
        }
    });
    // With changes between: only what is there.
    let gone: Vec<u128> = truth.keys().copied().step_by(3).collect();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for query in &asked {
                    let index = index.read().expect("a lock");
                    let hits = index.search(query, 10, None, None).expect("hits");
                    assert!(hits.len() == 10 && hits.iter().all(|hit| index.epoch_of(hit.id).is_some()));
                }
            });
        }
        for some in gone.chunks(100) {
            index.write().expect("a lock").apply(&removals(some.iter().copied(), 60)).expect("applied");
        }
    });
    assert_eq!(index.read().expect("a lock").len(), 4_000);
}

#[test]
fn the_same_rows_give_the_same_index_in_any_order() {
    let mut source = Source::new(6, 100);
    let truth = source.truth(3_000);
    let asked = queries(&mut source, 30);
    let one = built(&truth);
    let mut rows = Rows::new(DIMENSION);
    for (id, (epoch, vector)) in truth.iter().rev() {
        rows.push(*id, epoch - 1, &source.vector()).expect("a vector");
        rows.push(*id, *epoch, vector).expect("a vector");
    }
    let other = LargeIndex::build(USER, &rows).expect("an index");
    assert_eq!((one.checksum(), one.len(), one.lists()), (other.checksum(), other.len(), other.lists()));
    for query in &asked {
        assert_eq!(one.search(query, 10, Some(4), None).expect("hits"), other.search(query, 10, Some(4), None).expect("hits"));
    }
}

#[test]
fn says_when_it_should_be_made_anew() {
    let mut source = Source::new(7, 100);
    let mut index = built(&source.truth(2_000));
    assert_eq!(index.retrain_needed(), None);
    let many = |source: &mut Source, epoch, rows| (0..rows).map(|_| Change::Upsert { id: source.id(), epoch, vector: source.vector() }).collect::<Vec<_>>();
    let before = index.bytes();
    index.apply(&many(&mut source, 9, 1_000)).expect("applied");
    assert_eq!(index.retrain_needed(), None);
    assert!(index.bytes() > before && before > 2_000 * DIMENSION * size_of::<f32>(), "{before} {}", index.bytes());
    index.apply(&many(&mut source, 10, 1_000)).expect("applied");
    assert_eq!(index.retrain_needed(), Some(Retrain::Doubled));
    // All about one thing.
    let mut index = built(&source.truth(2_000));
    source.topics.truncate(1);
    index.apply(&many(&mut source, 9, 1_900)).expect("applied");
    assert_eq!(index.retrain_needed(), Some(Retrain::Unbalanced), "{}", index.imbalance());
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let mut source = Source::new(8, 10);
    let truth = source.truth(LEAST_VECTORS);
    let mut index = built(&truth);
    let sum = index.checksum();
    let good = source.vector();
    let mut broken = good.clone();
    broken[7] = f32::NAN;
    let long: Vec<f32> = good.iter().map(|component| component * 3.0).collect();
    let cases: [(&[f32], fn(&FaissError) -> bool); 4] = [
        (&good[1..], |error| matches!(error, FaissError::Dimension { got: 63, want: 64 })),
        (&[], |error| matches!(error, FaissError::Dimension { got: 0, want: 64 })),
        (&broken, |error| matches!(error, FaissError::NotFinite { at: 7 })),
        (&long, |error| matches!(error, FaissError::NotUnit { .. })),
    ];
    for (vector, fits) in cases {
        let refused = [
            index.search(vector, 10, None, None).expect_err("refused"),
            Rows::new(DIMENSION).push(1, 1, vector).expect_err("refused"),
            index
                .apply(&[Change::Upsert { id: 1, epoch: 90, vector: good.clone() }, Change::Upsert { id: 2, epoch: 90, vector: vector.to_vec() }])
                .expect_err("refused"),
        ];
        assert!(refused.iter().all(fits), "{refused:?}");
    }
    assert_eq!((index.checksum(), index.epoch_of(1)), (sum, None));
    assert!(index.search(&good, 0, None, None).expect("none").is_empty());
    assert_eq!(index.search(&good, usize::MAX, Some(usize::MAX), None).expect("all").len(), truth.len());
    index.apply(&[Change::Upsert { id: 3, epoch: 90, vector: vec![0.0; DIMENSION] }]).expect("the vector of nothing");
    let mut few = Rows::new(DIMENSION);
    for id in 0..LEAST_VECTORS {
        few.push(id as u128 / 2, 1, &good).expect("a vector");
    }
    assert!(matches!(LargeIndex::build(USER, &few), Err(FaissError::TooFew { got: 1_000, want: LEAST_VECTORS })));
}

#[test]
fn rows_are_hashed_as_the_other_stores_hash_them() {
    // memory/lance/tests/memories.rs has the same numbers.
    assert_eq!(row_hash(0, 0, 0), 18_046_521_523_492_390_456);
    assert_eq!(row_hash(USER, 0x0190_0000_0000_7000_8000_0000_0000_00ff, 42), 390_543_455_218_927_766);
    assert_ne!(row_hash(1, 2, 3), row_hash(2, 1, 3));
}
