//! Indexes on disk: what is loaded is what was saved, and what is damaged is refused.

use std::fs;
use std::path::{Path, PathBuf};

use ajatus_faiss::{Change, FaissError, LargeIndex, Rows, Saved};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

const USER: u128 = 9;
const DIMENSION: usize = 16;

fn vector(random: &mut StdRng) -> Vec<f32> {
    let vector: Vec<f32> = (0..DIMENSION).map(|_| random.random_range(-1.0..1.0)).collect();
    let length = vector.iter().map(|component| component * component).sum::<f32>().sqrt();
    vector.into_iter().map(|component| component / length).collect()
}

fn index(random: &mut StdRng) -> LargeIndex {
    let mut rows = Rows::new(DIMENSION);
    for id in 0..2_500 {
        rows.push(id, 3, &vector(random)).expect("a vector");
    }
    let mut index = LargeIndex::build(USER, &rows).expect("an index");
    let mut changes: Vec<Change> = (0..200).map(|id| Change::Remove { id: id * 3, epoch: 4 }).collect();
    changes.extend((0..100).map(|id| Change::Upsert { id: id * 3 + 1, epoch: 5, vector: vector(random) }));
    index.apply(&changes).expect("applied");
    index
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()).collect();
    files.sort();
    files
}

fn name(path: &Path) -> String {
    path.file_name().expect("a name").to_string_lossy().into_owned()
}

#[test]
fn what_is_loaded_is_what_was_saved_and_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut random = StdRng::seed_from_u64(1);
    let mut index = index(&mut random);
    let saved = index.save(folder.path(), "vectors").expect("saved");
    assert_eq!(saved, Saved { tag: "vectors".to_owned(), epoch: 5, user: USER, dimension: DIMENSION });
    assert_eq!(Saved::newest(folder.path(), "vectors", USER, DIMENSION).expect("read"), Some(saved.clone()));
    let mut again = LargeIndex::load(folder.path(), &saved).expect("loaded");
    let told = |index: &LargeIndex| (index.checksum(), index.len(), index.epoch(), index.lists(), index.user(), index.retrain_needed());
    assert_eq!(told(&again), told(&index));
    // Changes go on in both alike, removals before it among them.
    let change = [
        Change::Upsert { id: 3, epoch: 4, vector: vector(&mut random) },
        Change::Upsert { id: 6, epoch: 9, vector: vector(&mut random) },
        Change::Remove { id: 1, epoch: 9 },
    ];
    assert_eq!(again.apply(&change).expect("applied"), index.apply(&change).expect("applied"));
    assert_eq!(told(&again), told(&index));
    for _ in 0..50 {
        let query = vector(&mut random);
        let allowed = (again.allow(|id| id % 2 == 0), index.allow(|id| id % 2 == 0));
        assert_eq!(again.search(&query, 10, Some(3), None).expect("hits"), index.search(&query, 10, Some(3), None).expect("hits"));
        assert_eq!(again.search(&query, 10, None, Some(&allowed.0)).expect("hits"), index.search(&query, 10, None, Some(&allowed.1)).expect("hits"));
    }
    // The next epoch takes the place of this one; another tag does not.
    index.save(folder.path(), "other").expect("saved");
    index.save(folder.path(), "vectors").expect("saved");
    index.save(folder.path(), "vectors").expect("saved again");
    let names: Vec<String> = files(folder.path()).iter().map(|path| name(path)).collect();
    assert!(names.len() == 4 && names.iter().all(|name| name.contains("-e9-")), "{names:?}");
    assert!(matches!(LargeIndex::load(folder.path(), &saved), Err(FaissError::Missing { .. })));
}

#[test]
fn cut_and_garbled_files_are_refused_wherever_they_are_touched() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut random = StdRng::seed_from_u64(2);
    let saved = index(&mut random).save(folder.path(), "vectors").expect("saved");
    for path in files(folder.path()) {
        let whole = fs::read(&path).expect("a file");
        for step in 0..60_usize {
            let mut bytes = whole.clone();
            let at = if step < 20 { step * 8 } else { random.random_range(0..bytes.len()) };
            match step % 3 {
                0 => bytes.truncate(at),
                1 => bytes[at] ^= 1 << (step % 8),
                _ => bytes.insert(at, 0),
            }
            fs::write(&path, &bytes).expect("written");
            let refused = LargeIndex::load(folder.path(), &saved).expect_err("damaged");
            assert!(matches!(refused, FaissError::Damaged { .. }), "{} at {at}: {refused}", name(&path));
        }
        fs::write(&path, &whole).expect("written");
    }
    assert!(LargeIndex::load(folder.path(), &saved).is_ok());
}

#[test]
fn another_users_index_and_one_that_was_half_written_are_not_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut random = StdRng::seed_from_u64(3);
    let saved = index(&mut random).save(folder.path(), "vectors").expect("saved");
    for other in [Saved { user: 8, ..saved.clone() }, Saved { dimension: 17, ..saved.clone() }, Saved { epoch: 6, ..saved.clone() }] {
        assert!(matches!(LargeIndex::load(folder.path(), &other), Err(FaissError::Missing { .. })));
    }
    assert_eq!(Saved::newest(folder.path(), "vectors", 8, DIMENSION).expect("read"), None);
    assert_eq!(Saved::newest(&folder.path().join("nowhere"), "vectors", USER, DIMENSION).expect("read"), None);
    // Under the other's name.
    for path in files(folder.path()) {
        let parameters = name(&path).rsplit('-').next().expect("a part").split('.').next().expect("a part").to_owned();
        let theirs = Saved { epoch: 7, ..saved.clone() };
        fs::copy(&path, folder.path().join(name(&path).replace("-e5-", "-e7-"))).expect("copied");
        assert_eq!(parameters.len(), 16);
        if name(&path).ends_with("lists") {
            assert!(matches!(LargeIndex::load(folder.path(), &theirs), Err(FaissError::Damaged { .. })), "the ids say the epoch");
        }
    }
    // Killed between the two files: the lists alone are nothing.
    for path in files(folder.path()).into_iter().filter(|path| name(path).ends_with("ids")) {
        fs::remove_file(path).expect("removed");
    }
    assert_eq!(Saved::newest(folder.path(), "vectors", USER, DIMENSION).expect("read"), None);
    for tag in ["", "../up", "a/b", "ä", &"x".repeat(65)] {
        let refused = index(&mut random).save(folder.path(), tag).expect_err("refused");
        assert!(matches!(refused, FaissError::Tag { .. }), "{refused}");
    }
}
