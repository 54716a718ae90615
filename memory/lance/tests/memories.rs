//! The memories as their writer and their readers see them: the newest change of each counts, whatever happens in between.

mod feed;

use std::collections::BTreeMap;
use std::time::Duration;

use ajatus_events::{InteractionId, Sealed, UserId};
use ajatus_lance::{At, Care, Checksum, LanceError, Memories, MemoriesDataset, MemoriesSpec, MemoryRow, Merged, memories_schema, row_hash};
use feed::{DIMENSION, Feed, Truth, died, gone, id, opened, read, spec, sums, there, user};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

const OFTEN: Care = Care { fragments: 4, history: Duration::from_secs(3_600) };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_comes_back_as_it_was_given() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut feed = Feed::new(1);
    let mut dataset = opened(&spec(folder.path())).await;
    let mut rows: Vec<MemoryRow> = (0..5).map(|number| feed.row(1, number, 3)).collect();
    rows[0].content.as_mut().expect("content").body = Sealed(Vec::new());
    rows[1].content.as_mut().expect("content").model = "o'hara \"ääni\"".to_owned();
    let merged = dataset.apply(&rows, 3, || ()).await.expect("applied");
    assert_eq!((merged, dataset.epoch()), (Merged { inserted: 5, updated: 0 }, 3));
    let mut back = dataset.memories().user_rows(user(1)).await.expect("rows");
    back.sort_by_key(|row| row.id);
    assert_eq!(back, rows);
    assert!(dataset.memories().user_rows(user(2)).await.expect("rows").is_empty(), "another's");
    let names: Vec<String> = memories_schema(3).fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names.join(" "), "id user_id conversation_id session position role occurred_at epoch deleted model body vector");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_applied_twice_changes_nothing_and_makes_no_version() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut feed = Feed::new(2);
    let mut dataset = opened(&spec(folder.path())).await;
    let rows: Vec<MemoryRow> = (0..40).map(|number| feed.row(u128::from(number % 3), number, 5)).chain([gone(1, 90, 5)]).collect();
    dataset.apply(&rows, 5, || ()).await.expect("applied");
    let (version, before) = (dataset.memories().version(), sums(&dataset).await);
    for _ in 0..2 {
        assert_eq!(dataset.apply(&rows, 5, || panic!("nothing is committed")).await.expect("applied"), Merged::default());
    }
    drop(dataset);
    let mut dataset = opened(&spec(folder.path())).await;
    assert_eq!(dataset.epoch(), 5);
    assert_eq!(dataset.apply(&rows, 5, || panic!("nothing is committed")).await.expect("applied"), Merged::default());
    assert_eq!((dataset.memories().version(), sums(&dataset).await), (version, before));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_count_by_their_epochs_not_by_when_they_come() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut feed = Feed::new(3);
    let mut dataset = opened(&spec(folder.path())).await;
    let (old, new, other) = (feed.row(1, 1, 4), feed.row(1, 1, 9), feed.row(1, 2, 4));
    // A removal before its memory; an older epoch after a newer one, with news about another memory in it.
    dataset.apply(&[gone(1, 7, 8)], 8, || ()).await.expect("applied");
    dataset.apply(&[feed.row(1, 7, 6)], 6, || ()).await.expect("applied");
    dataset.apply(std::slice::from_ref(&new), 9, || ()).await.expect("applied");
    let merged = dataset.apply(&[old.clone(), other.clone()], 4, || ()).await.expect("applied");
    assert_eq!((merged, dataset.epoch()), (Merged { inserted: 1, updated: 0 }, 9));
    let truth = Truth::from([((user(1), id(1)), new), ((user(1), id(2)), other)]);
    assert_eq!(read(&dataset.memories()).await, truth);
    // In one batch.
    let (first, last) = (feed.row(1, 3, 10), feed.row(1, 3, 12));
    dataset.apply(&[first.clone(), last.clone(), gone(1, 3, 11), old], 12, || ()).await.expect("applied");
    assert_eq!(read(&dataset.memories()).await[&(user(1), id(3))], last);
    // The same id of two users is two memories.
    let theirs = feed.row(2, 3, 12);
    dataset.apply(std::slice::from_ref(&theirs), 13, || ()).await.expect("applied");
    let both = read(&dataset.memories()).await;
    assert_eq!((&both[&(user(1), id(3))], &both[&(user(2), id(3))]), (&last, &theirs));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_histories_with_deaths_and_compaction_equal_a_map() {
    for seed in [11, 12] {
        let folder = tempfile::tempdir().expect("a folder");
        let spec = spec(folder.path());
        let mut feed = Feed::new(seed);
        let mut random = StdRng::seed_from_u64(seed);
        let mut dataset = opened(&spec).await;
        // All that was ever said, the newest of each.
        let mut all: BTreeMap<(UserId, InteractionId), MemoryRow> = BTreeMap::new();
        let mut deaths = 0;
        let mut batches: Vec<(u64, Vec<MemoryRow>)> = Vec::new();
        for epoch in 1..=30_u64 {
            let mut rows: Vec<MemoryRow> = Vec::new();
            for _ in 0..random.random_range(1..30) {
                let (whose, number) = (random.random_range(0..3), random.random_range(0..40));
                let goes = random.random_bool(0.3);
                rows.push(if goes { gone(whose, number, epoch) } else { feed.row(whose, number, epoch) });
            }
            // One change of a memory in an epoch, as the dataflow says it.
            let rows: Vec<MemoryRow> = rows.into_iter().map(|row| ((row.user_id, row.id), row)).collect::<BTreeMap<_, _>>().into_values().collect();
            batches.push((epoch, rows));
        }
        let mut order: Vec<usize> = (0..batches.len()).flat_map(|at| [at, at]).collect();
        // Told twice, and not far from their turn.
        for window in order.chunks_mut(8) {
            window.shuffle(&mut random);
        }
        for (step, at) in order.into_iter().enumerate() {
            let (epoch, rows) = batches[at].clone();
            if step % 5 == 4 {
                // Killed when all files are written and nothing is committed.
                let rows = rows.clone();
                let work = async move { dataset.apply(&rows, epoch, || panic!("the process ends here")).await.map(|_| ()).expect("nothing to commit") };
                deaths += u32::from(died(work).await);
                dataset = opened(&spec).await;
            }
            dataset.apply(&rows, epoch, || ()).await.expect("applied");
            for row in rows {
                let held = all.entry((row.user_id, row.id)).or_insert_with(|| row.clone());
                if held.epoch < row.epoch {
                    *held = row;
                }
            }
            if step % 7 == 6 {
                // Rows that say gone stay: older changes still come.
                dataset.maintain(&OFTEN, 0, step % 2 == 0).await.expect("tended");
                assert!(dataset.fragments() <= OFTEN.fragments, "{}", dataset.fragments());
            }
            if step % 5 == 0 {
                assert_eq!(read(&dataset.memories()).await, there(&all), "seed {seed}, step {step}");
            }
        }
        assert_eq!(read(&dataset.memories()).await, there(&all), "seed {seed}");
        assert!(deaths >= 3, "{deaths}");
        let wanted = there(&all).into_values().fold(BTreeMap::<UserId, Checksum>::new(), |mut sums, row| {
            sums.entry(row.user_id).or_default().add(row.user_id.0.as_u128(), row.id.0.as_u128(), row.epoch);
            sums
        });
        assert_eq!(sums(&dataset).await, wanted);
        for (user, sum) in wanted {
            assert_eq!(dataset.memories().checksum(user).await.expect("a sum"), sum);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upserts_indexes_and_compaction_leave_no_row_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut feed = Feed::new(4);
    let mut dataset = opened(&spec(folder.path())).await;
    let mut truth = Truth::new();
    for epoch in 1..=12 {
        let rows: Vec<MemoryRow> = (0..100).map(|number| feed.row(u128::from(number % 2), (number * 7 + u32::try_from(epoch).expect("small") * 31) % 300, epoch)).collect();
        truth.extend(rows.iter().map(|row| ((row.user_id, row.id), row.clone())));
        dataset.apply(&rows, epoch, || ()).await.expect("applied");
        if epoch % 3 == 0 {
            dataset.maintain(&OFTEN, 0, true).await.expect("tended").expect("always");
            assert!(dataset.fragments() <= 2, "what has an index and what has none: {}", dataset.fragments());
        }
        // `read` refuses a row that is there twice.
        assert_eq!(read(&dataset.memories()).await, truth, "epoch {epoch}");
        let query = feed.vector();
        let near = dataset.memories().nearest(user(1), &query, 10).await.expect("near");
        let product = |row: &MemoryRow| row.content.as_ref().expect("content").vector.iter().zip(&query).map(|(left, right)| left * right).sum::<f32>();
        let mut all: Vec<(f32, InteractionId)> = truth.values().filter(|row| row.user_id == user(1)).map(|row| (product(row), row.id)).collect();
        all.sort_by(|left, right| right.0.total_cmp(&left.0));
        assert_eq!(near.iter().map(|near| near.id).collect::<Vec<_>>(), all.iter().take(10).map(|(_, id)| *id).collect::<Vec<_>>(), "epoch {epoch}");
        assert!(near.iter().zip(&all).all(|(near, (score, _))| (near.score - score).abs() < 1e-4), "{near:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_is_found_by_its_epoch_and_tags_outlive_the_history() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("memories.lance");
    let mut feed = Feed::new(5);
    let mut dataset = opened(&spec(folder.path())).await;
    let short = Care { fragments: 32, history: Duration::ZERO };
    for step in 1..=12_u32 {
        let epoch = u64::from(step) * 10;
        dataset.apply(&[feed.row(1, step, epoch)], epoch, || ()).await.expect("applied");
        assert_eq!(dataset.maintain(&short, 0, true).await.expect("tended").expect("always").tag, format!("e{epoch}"));
    }
    dataset.apply(&[feed.row(1, 13, 130)], 130, || ()).await.expect("applied");
    let count = async |epoch: u64| {
        let memories = Memories::as_of(&path, epoch).await?;
        Ok::<_, LanceError>((memories.epoch(), memories.user_rows(user(1)).await?.len()))
    };
    for (epoch, wanted) in [(130, (130, 13)), (9_999, (130, 13)), (129, (120, 12)), (120, (120, 12)), (55, (50, 5)), (50, (50, 5))] {
        assert_eq!(count(epoch).await.expect("a version"), wanted, "as of {epoch}");
    }
    assert!(matches!(count(49).await, Err(LanceError::Version { .. })), "the last eight tags are kept");
    assert_eq!(Memories::open(&path, &At::Tag("e80".to_owned())).await.expect("a version").epoch(), 80);
    assert!(matches!(Memories::open(&path, &At::Tag("e40".to_owned())).await, Err(LanceError::Version { .. })));
    assert_eq!(opened(&spec(folder.path())).await.epoch(), 130);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tombstones_go_when_nothing_older_can_come() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut feed = Feed::new(6);
    let mut dataset = opened(&spec(folder.path())).await;
    let rows: Vec<MemoryRow> = (0..10).map(|number| feed.row(1, number, 1)).collect();
    dataset.apply(&rows, 1, || ()).await.expect("applied");
    for number in 0..6 {
        dataset.apply(&[gone(1, number, 2 + u64::from(number))], 2 + u64::from(number), || ()).await.expect("applied");
    }
    let before = sums(&dataset).await;
    assert_eq!(before[&user(1)].count, 4);
    let purged = async |dataset: &mut MemoriesDataset, safe| dataset.maintain(&OFTEN, safe, true).await.expect("tended").expect("always").rows_purged;
    assert_eq!(purged(&mut dataset, 4).await, 3);
    assert_eq!(purged(&mut dataset, 4).await, 0);
    assert_eq!(dataset.apply(&[rows[5].clone()], 7, || ()).await.expect("applied"), Merged::default(), "the others hold");
    assert_eq!(purged(&mut dataset, u64::MAX).await, 3);
    assert_eq!(sums(&dataset).await, before, "sums do not see them");
    // Worn out rather than in pieces.
    let many: Vec<MemoryRow> = (100..200).map(|number| feed.row(1, number, 20)).collect();
    dataset.apply(&many, 20, || ()).await.expect("applied");
    assert_eq!(dataset.maintain(&Care::default(), 0, false).await.expect("tended"), None);
    let again: Vec<MemoryRow> = (100..150).map(|number| feed.row(1, number, 21)).collect();
    dataset.apply(&again, 21, || ()).await.expect("applied");
    assert!(dataset.maintain(&Care::default(), 0, false).await.expect("tended").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fragments_stay_bounded() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut feed = Feed::new(7);
    let mut dataset = opened(&spec(folder.path())).await;
    let mut tidied = 0;
    for epoch in 1..=80_u64 {
        dataset.apply(&[feed.row(1, u32::try_from(epoch).expect("small"), epoch)], epoch, || ()).await.expect("applied");
        tidied += u32::from(dataset.maintain(&Care { fragments: 32, history: Duration::ZERO }, 0, false).await.expect("tended").is_some());
        assert!(dataset.fragments() <= 32, "{}", dataset.fragments());
    }
    assert_eq!((tidied, read(&dataset.memories()).await.len()), (2, 80));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_a_row_or_a_question_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut feed = Feed::new(8);
    let mut dataset = opened(&spec(folder.path())).await;
    let good = feed.row(1, 1, 1);
    let with = |vector: Vec<f32>| {
        let mut row = good.clone();
        row.id = id(2);
        row.content.as_mut().expect("content").vector = vector;
        row
    };
    for vector in [vec![], vec![0.5; DIMENSION + 1], vec![f32::NAN; DIMENSION], vec![f32::INFINITY; DIMENSION]] {
        let refused = dataset.apply(&[good.clone(), with(vector)], 1, || ()).await.expect_err("refused");
        assert!(matches!(&refused, LanceError::Row { id: named, .. } if *named == id(2).to_string()), "{refused}");
    }
    assert_eq!((dataset.epoch(), read(&dataset.memories()).await.len()), (0, 0));
    dataset.apply(&[good], 1, || ()).await.expect("applied");
    let memories = dataset.memories();
    assert!(matches!(memories.nearest(user(1), &[1.0], 5).await, Err(LanceError::Schema { .. })));
    assert!(memories.nearest(user(1), &feed.vector(), 0).await.expect("none").is_empty());
    assert!(memories.nearest(user(9), &feed.vector(), 5).await.expect("none").is_empty(), "a user without memories");
    let other = MemoriesDataset::open(MemoriesSpec { dimension: DIMENSION + 1, ..spec(folder.path()) }).await;
    assert!(matches!(other.err(), Some(LanceError::Schema { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_writes_and_another_source_begins_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut feed = Feed::new(9);
    let mut old = opened(&spec(folder.path())).await;
    old.apply(&[feed.row(1, 1, 1)], 1, || ()).await.expect("applied");
    let mut new = opened(&spec(folder.path())).await;
    new.apply(&[feed.row(1, 2, 2)], 2, || ()).await.expect("applied");
    for _ in 0..2 {
        let fenced = old.apply(&[feed.row(1, 3, 3)], 3, || ()).await.expect_err("fenced");
        assert!(matches!(fenced, LanceError::Fenced { .. }), "{fenced}");
    }
    let other = opened(&MemoriesSpec { source: "another run".to_owned(), ..spec(folder.path()) }).await;
    assert_eq!((other.epoch(), read(&other.memories()).await.len()), (0, 0));
    assert!(matches!(new.apply(&[feed.row(1, 4, 4)], 4, || ()).await, Err(LanceError::Fenced { .. })));
}

#[test]
fn rows_are_hashed_as_the_other_stores_hash_them() {
    // memory/faiss/tests/index.rs has the same numbers.
    assert_eq!(row_hash(0, 0, 0), 18_046_521_523_492_390_456);
    assert_eq!(row_hash(0x0190_0000_0000_7000_8000_0000_0000_0007, 0x0190_0000_0000_7000_8000_0000_0000_00ff, 42), 390_543_455_218_927_766);
}
