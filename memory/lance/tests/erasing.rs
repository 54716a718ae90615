//! What is erased is in no file any more; what is lost or damaged is said and made anew.

mod feed;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ajatus_events::Sealed;
use ajatus_lance::{At, Care, Erasure, LanceError, Memories, MemoriesDataset, MemoryRow};
use feed::{Feed, Truth, died, gone, id, opened, read, spec, sums, user};

const CARE: Care = Care { fragments: 32, history: Duration::from_secs(3_600) };

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        if entry.path().is_dir() { found.extend(files(&entry.path())) } else { found.push(entry.path()) }
    }
    found
}

/// Files of a folder that hold some bytes.
fn holding(folder: &Path, bytes: &[u8]) -> Vec<String> {
    let holds = |path: &PathBuf| fs::read(path).expect("a file").windows(bytes.len()).any(|window| window == bytes);
    files(folder).iter().filter(|path| holds(path)).map(|path| path.strip_prefix(folder).expect("inside").display().to_string()).collect()
}

/// A row with bytes that are nowhere else, in its body and in its vector.
fn marked(feed: &mut Feed, whose: u128, number: u32, epoch: u64, canary: &[u8]) -> MemoryRow {
    let mut row = feed.row(whose, number, epoch);
    let content = row.content.as_mut().expect("content");
    content.body = Sealed([&[7; 40][..], canary, &[9; 20]].concat());
    row
}

fn vector_bytes(row: &MemoryRow) -> Vec<u8> {
    row.content.as_ref().expect("content").vector.iter().take(3).flat_map(|component| component.to_le_bytes()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erased_user_is_in_no_file_nor_version_nor_tag() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("memories.lance");
    let mut feed = Feed::new(1);
    let mut dataset = opened(&spec(folder.path())).await;
    let canaries: [&[u8]; 3] = [b"canary of the first state", b"canary of the second", b"canary of an orphan"];
    let mut rows: Vec<MemoryRow> = (0..60).map(|number| feed.row(1 + u128::from(number % 3), number, 1)).collect();
    rows.push(marked(&mut feed, 1, 100, 1, canaries[0]));
    dataset.apply(&rows, 1, || ()).await.expect("applied");
    dataset.maintain(&CARE, 0, true).await.expect("tended");
    let second = marked(&mut feed, 1, 100, 2, canaries[1]);
    let vectors = [vector_bytes(rows.last().expect("one")), vector_bytes(&second)];
    dataset.apply(&[second], 2, || ()).await.expect("applied");
    dataset.maintain(&CARE, 0, true).await.expect("tended");
    dataset.apply(&[gone(1, 0, 3), feed.row(2, 200, 3)], 3, || ()).await.expect("applied");
    // A commit that did not happen leaves its files.
    let orphan = marked(&mut feed, 1, 101, 4, canaries[2]);
    let work = async move { dataset.apply(&[orphan], 4, || panic!("the process ends here")).await.map(|_| ()).expect("it dies before") };
    assert!(died(work).await);
    let mut dataset = opened(&spec(folder.path())).await;
    let name = user(1).to_string();
    let traces: Vec<&[u8]> = canaries.iter().copied().chain(vectors.iter().map(Vec::as_slice)).chain([name.as_bytes()]).collect();
    for trace in &traces {
        assert!(!holding(&path, trace).is_empty(), "{trace:?} is there before, so the search sees it");
    }
    let others = sums(&dataset).await;
    let erased = dataset.erase(&Erasure::User(user(1))).await.expect("erased");
    assert!(erased.rows == 21 && erased.versions_removed > 3 && erased.bytes_removed > 0, "{erased:?}");
    for trace in &traces {
        assert_eq!(holding(&path, trace), Vec::<String>::new(), "{}", String::from_utf8_lossy(trace));
    }
    // All others are as they were, and it goes on.
    let mut wanted = others;
    wanted.remove(&user(1));
    assert_eq!(sums(&dataset).await, wanted);
    assert!(matches!(Memories::open(&path, &At::Tag("e1".to_owned())).await, Err(LanceError::Version { .. })));
    assert_eq!(Memories::open(&path, &At::Tag("e3".to_owned())).await.expect("the new tag").checksums().await.expect("sums"), wanted);
    dataset.apply(&[feed.row(3, 300, 4)], 4, || ()).await.expect("applied");
    let again = opened(&spec(folder.path())).await;
    assert_eq!((again.epoch(), sums(&again).await.len()), (4, 2));
    assert_eq!(dataset.erase(&Erasure::User(user(1))).await.expect("again").rows, 0);
    assert_eq!(read(&dataset.memories()).await.len(), 42, "the others");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn some_memories_are_erased_and_their_tombstones_hold() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("memories.lance");
    let mut feed = Feed::new(2);
    let mut dataset = opened(&spec(folder.path())).await;
    let rows: Vec<MemoryRow> = (0..17_000).map(|number| marked(&mut feed, 1, number, 1, format!("canary {number:05}").as_bytes())).collect();
    dataset.apply(&rows, 1, || ()).await.expect("applied");
    dataset.maintain(&CARE, 0, true).await.expect("tended");
    assert_eq!(dataset.fragments(), 0, "one full one, which is not tidied up for a few rows");
    dataset.apply(&[gone(1, 3, 2), gone(1, 4, 2)], 2, || ()).await.expect("applied");
    assert!(!holding(&path, b"canary 00003").is_empty());
    let erased = dataset.erase(&Erasure::Memories(user(1), vec![id(3), id(4), id(5), id(99_999)])).await.expect("erased");
    assert_eq!(erased.rows, 1, "two were tombstones already");
    for trace in ["canary 00003", "canary 00004", "canary 00005"] {
        assert_eq!(holding(&path, trace.as_bytes()), Vec::<String>::new(), "{trace}");
    }
    assert!(!holding(&path, b"canary 00006").is_empty());
    assert_eq!(read(&dataset.memories()).await.len(), 16_997);
    dataset.apply(&rows[3..5], 2, || panic!("they are gone")).await.expect("applied");
    assert_eq!(read(&dataset.memories()).await.len(), 16_997);
    let nobody = dataset.erase(&Erasure::User(user(8))).await.expect("nothing");
    assert_eq!((nobody.rows, read(&dataset.memories()).await.len()), (0, 16_997));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_dataset_is_one_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut feed = Feed::new(6);
    let mut dataset = opened(&spec(folder.path())).await;
    dataset.maintain(&CARE, u64::MAX, true).await.expect("tended");
    assert_eq!(dataset.erase(&Erasure::User(user(1))).await.expect("nothing").rows, 0);
    dataset.apply(&[feed.row(1, 1, 1), gone(1, 2, 1)], 1, || ()).await.expect("applied");
    // The last one goes.
    assert_eq!(dataset.erase(&Erasure::User(user(1))).await.expect("erased").rows, 2);
    assert_eq!((read(&dataset.memories()).await.len(), sums(&dataset).await.len()), (0, 0));
    assert!(dataset.memories().nearest(user(1), &feed.vector(), 3).await.expect("none").is_empty());
    dataset.apply(&[feed.row(1, 3, 2)], 2, || ()).await.expect("applied");
    assert_eq!(read(&dataset.memories()).await.len(), 1);
    let dataset = MemoriesDataset::rebuild(spec(folder.path()), [], 9).await.expect("of nothing");
    assert_eq!((dataset.epoch(), read(&dataset.memories()).await.len()), (9, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dataset_that_was_deleted_or_cut_is_said_and_made_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("memories.lance");
    let mut feed = Feed::new(3);
    let rows: Vec<MemoryRow> = (0..9_000).map(|number| feed.row(u128::from(number % 4), number, 1 + u64::from(number % 7))).collect();
    let truth: Truth = rows.iter().map(|row| ((row.user_id, row.id), row.clone())).collect();
    let mut dataset = opened(&spec(folder.path())).await;
    dataset.apply(&rows[..500], 7, || ()).await.expect("applied");
    // Deleted under its writer.
    fs::remove_dir_all(&path).expect("removed");
    let lost = dataset.apply(&rows[500..600], 8, || ()).await.expect_err("lost");
    assert!(matches!(lost, LanceError::Missing { .. }), "{lost}");
    assert!(!path.exists(), "nothing is left behind");
    assert!(matches!(Memories::open(&path, &At::Newest).await, Err(LanceError::Missing { .. })));
    let dataset = MemoriesDataset::rebuild(spec(folder.path()), rows.clone(), 7).await.expect("made anew");
    assert_eq!((dataset.epoch(), dataset.fragments()), (7, 1));
    assert_eq!(read(&dataset.memories()).await, truth);
    let wanted = sums(&dataset).await;
    drop(dataset);
    // Every file cut in half, the manifests too; then only the data.
    for only_data in [true, false] {
        for file in files(&path).into_iter().filter(|file| !only_data || file.parent().is_some_and(|folder| folder.ends_with("data"))) {
            let bytes = fs::read(&file).expect("a file");
            fs::write(&file, &bytes[..bytes.len() / 2]).expect("a shorter one");
        }
        let broken = match MemoriesDataset::open(spec(folder.path())).await {
            Ok(dataset) => dataset.memories().checksums().await.map(|_| ()),
            Err(error) => Err(error),
        };
        let broken = broken.expect_err("damaged");
        assert!(matches!(broken, LanceError::Broken { .. } | LanceError::Foreign { .. }), "{broken}");
        let dataset = MemoriesDataset::rebuild(spec(folder.path()), rows.clone(), 7).await.expect("made anew");
        assert_eq!(sums(&dataset).await, wanted);
    }
    let left: Vec<_> = fs::read_dir(folder.path()).expect("a folder").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["memories.lance"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuilding_that_was_killed_is_finished_or_thrown_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = |end: &str| folder.path().join(format!("memories.lance{end}"));
    let mut feed = Feed::new(4);
    let (first, second) = (feed.row(1, 1, 1), feed.row(1, 2, 2));
    opened(&spec(folder.path())).await.apply(std::slice::from_ref(&first), 1, || ()).await.expect("applied");
    fs::rename(place(""), place(".kept")).expect("aside");
    drop(MemoriesDataset::rebuild(spec(folder.path()), [second.clone()], 2).await.expect("made"));
    // Killed while it was made: the old one stays.
    fs::rename(place(""), place(".new")).expect("half-made");
    fs::rename(place(".kept"), place("")).expect("as it was");
    assert_eq!(read(&opened(&spec(folder.path())).await.memories()).await.into_values().collect::<Vec<_>>(), [first]);
    assert!(!place(".new").exists());
    // Killed between the renames: the new one takes its place.
    fs::rename(place(""), place(".old")).expect("made room");
    let other = feed::spec(&folder.path().join("other"));
    drop(MemoriesDataset::rebuild(other.clone(), [second.clone()], 2).await.expect("made"));
    fs::rename(&other.path, place(".new")).expect("complete");
    assert_eq!(read(&opened(&spec(folder.path())).await.memories()).await.into_values().collect::<Vec<_>>(), [second]);
    assert!(!place(".new").exists() && !place(".old").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_its_own_is_neither_read_nor_written_nor_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("memories.lance");
    fs::create_dir(&path).and_then(|()| fs::write(path.join("notes.txt"), "mine")).expect("a file");
    let mut feed = Feed::new(5);
    let refused = [
        MemoriesDataset::open(spec(folder.path())).await.err(),
        MemoriesDataset::rebuild(spec(folder.path()), [feed.row(1, 1, 1)], 1).await.err(),
    ];
    assert!(refused.iter().all(|error| matches!(error, Some(LanceError::Foreign { .. }))), "{refused:?}");
    assert_eq!(fs::read_to_string(path.join("notes.txt")).expect("the file"), "mine");
}
