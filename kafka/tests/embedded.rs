//! The embedded log passes the port's suite, compacts, survives kill -9, and says what is wrong.

mod conformance;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ajatus_kafka::{EmbeddedLog, Erasure, Log, LogError, Record, Topics};
use rand::{RngCore as _, SeedableRng as _};
use conformance::{read_all, record, suite, tombstone, topics};

fn open(path: &Path) -> Arc<EmbeddedLog> {
    EmbeddedLog::open(path, topics()).expect("a log")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_the_suite() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = open(folder.path());
    suite(Arc::clone(&log) as Arc<dyn Log>).await;
    log.close().await;
    assert!(log.append("t-order", 0, vec![record("k", "v")]).await.is_err(), "a closed log takes nothing");
}

#[tokio::test]
async fn compaction_keeps_the_last_of_each_key_and_never_gives_an_offset_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = open(folder.path());
    let mut truth: BTreeMap<String, String> = BTreeMap::new();
    for round in 0..30_u32 {
        for key in 0..10_u32 {
            let name = format!("k{key}");
            if (round + key) % 7 == 0 {
                log.append("t-compact", 0, vec![tombstone(&name)]).await.expect("appended");
                truth.remove(&name);
            } else {
                let value = format!("secret-{round}-{key}");
                log.append("t-compact", 0, vec![record(&name, &value)]).await.expect("appended");
                truth.insert(name, value);
            }
        }
    }
    let end = log.end_offset("t-compact", 0).await.expect("an end");
    let later = log.append("t-compact", 0, vec![record("k1", "later"), record("k1", "latest")]).await.expect("appended");
    let removed = log.compact("t-compact", 0, end).await.expect("compacted");
    assert_eq!(removed, 300 - truth.len() as u64);
    let read = read_all(&*log, "t-compact", 0, 0).await;
    // Above the bound nothing was touched.
    assert_eq!(read.iter().filter(|entry| entry.offset >= end).map(|entry| entry.offset).collect::<Vec<_>>(), later);
    let kept: BTreeMap<String, String> = read
        .iter()
        .filter(|entry| entry.offset < end)
        .map(|entry| {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
            (text(&entry.key), text(entry.value.as_ref().expect("no tombstone is left")))
        })
        .collect();
    assert_eq!(kept, truth);
    assert_eq!(log.compact("t-compact", 0, end).await.expect("compacted"), 0, "a second run finds nothing");

    // Everything goes, and the offsets go on all the same after a restart.
    log.append("t-compact", 0, (0..10).map(|key| tombstone(&format!("k{key}"))).collect()).await.expect("appended");
    let end = log.end_offset("t-compact", 0).await.expect("an end");
    log.compact("t-compact", 0, end).await.expect("compacted");
    assert!(read_all(&*log, "t-compact", 0, 0).await.is_empty());
    log.close().await;
    drop(log);
    let log = open(folder.path());
    assert_eq!(log.end_offset("t-compact", 0).await.expect("an end"), end);
    assert_eq!(log.append("t-compact", 0, vec![record("k", "v")]).await.expect("appended"), [end]);
}

/// Which of some needles stand anywhere in the files of a folder.
fn holding(folder: &Path, needles: &[u64]) -> Vec<u64> {
    let heads: BTreeMap<Vec<u8>, u64> = needles.iter().map(|number| (nonce(*number), *number)).collect();
    let mut begins = [false; 256];
    heads.keys().for_each(|needle| begins[usize::from(needle[0])] = true);
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).expect("a file");
            // Most of a journal is zeros, with which no needle begins.
            for (at, byte) in bytes.iter().enumerate() {
                if *byte != 0 && begins[usize::from(*byte)] {
                    found.extend(bytes.get(at..at + 24).and_then(|window| heads.get(window)));
                }
            }
        }
    }
    found
}

/// 24 bytes that nothing else is, as a nonce.
fn nonce(number: u64) -> Vec<u8> {
    let mut bytes = noise(1_000_000 + number, 24);
    bytes[0] = bytes[0].max(1);
    bytes
}

#[tokio::test]
async fn erasing_leaves_no_byte_of_what_was_forgotten_in_any_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = open(folder.path());
    let value = |number: u64| [nonce(number), noise(number, 300)].concat();
    let append = async |log: &EmbeddedLog, topic: &str, partition: u32, key: u64, value: Option<Vec<u8>>| {
        log.append(topic, partition, vec![Record { key: key.to_string().into_bytes(), value }]).await.expect("appended");
    };
    for number in 0..300 {
        append(&log, "t-compact", u32::try_from(number % 3).expect("small"), number, Some(value(number))).await;
    }
    // One is replaced; one topic is not touched; one partition loses everything.
    append(&log, "t-compact", 0, 3, Some(value(1_003))).await;
    append(&log, "t-order", 0, 1, Some(value(2_000))).await;
    for number in (0..300).filter(|number| number % 3 == 1 || *number == 6) {
        append(&log, "t-compact", u32::try_from(number % 3).expect("small"), number, None).await;
    }
    let gone: Vec<u64> = (0..300).filter(|number| number % 3 == 1 || [3, 6].contains(number)).collect();
    for partition in 0..3 {
        let end = log.end_offset("t-compact", partition).await.expect("an end");
        log.compact("t-compact", partition, end).await.expect("compacted");
    }
    assert!(holding(folder.path(), &gone).len() >= gone.len(), "compaction alone leaves them in the journal");
    let compacted = [("t-compact", 0), ("t-compact", 1), ("t-compact", 2)];
    for round in 0..3 {
        let erased = log.erase(&compacted).await.expect("erased");
        assert!(matches!(erased, Erasure::Log { journals: 1, partitions: 3, .. }), "{erased:?}");
        assert!(holding(folder.path(), &gone).is_empty(), "round {round}: they are there still");
        let kept = [0, 2, 9, 299, 1_003, 2_000];
        let found: std::collections::BTreeSet<u64> = holding(folder.path(), &kept).into_iter().collect();
        assert_eq!(found, kept.into(), "round {round}: what cannot be found shows nothing when it is not");
    }
    // One record of another topic, whatever its cleanup.
    assert_eq!(log.remove("t-order", 0, vec![0, 7]).await.expect("removed"), 1);
    log.erase(&[("t-order", 0)]).await.expect("erased");
    assert!(holding(folder.path(), &[2_000]).is_empty());
    assert!(matches!(log.erase(&[("no-such-topic", 0)]).await, Err(LogError::UnknownPartition { .. })));

    // Offsets go on, also in the partition with nothing left, and everything kept is there after a restart.
    let end = log.end_offset("t-compact", 1).await.expect("an end");
    log.close().await;
    drop(log);
    let log = open(folder.path());
    assert_eq!(log.append("t-compact", 1, vec![record("k", "v")]).await.expect("appended"), [end]);
    assert_eq!(read_all(&*log, "t-compact", 0, 0).await.len(), 99);
    assert_eq!(read_all(&*log, "t-compact", 2, 0).await.len(), 100);
    log.erase(&compacted).await.expect("erased again, after a restart");
    assert!(holding(folder.path(), &[299]).contains(&299));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_and_reads_go_on_while_it_erases_and_nothing_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = open(folder.path());
    let append = async |number: u64| {
        let value = [nonce(number), noise(number, 2_000)].concat();
        log.append("t-kill", 0, vec![Record { key: (number % 50).to_string().into_bytes(), value: Some(value) }]).await.expect("appended");
    };
    for number in 0..200 {
        append(number).await;
    }
    let end = log.end_offset("t-kill", 0).await.expect("an end");
    log.compact("t-kill", 0, end).await.expect("compacted");
    let (first, second) = (Arc::clone(&log), Arc::clone(&log));
    let mut erasing = tokio::task::JoinSet::new();
    erasing.spawn(async move { first.erase(&[("t-kill", 0)]).await });
    erasing.spawn(async move { second.erase(&[("t-kill", 0)]).await });
    let mut number = 200;
    while !erasing.is_empty() {
        append(number).await;
        number += 1;
        let read = log.read("t-kill", 0, end, 10_000).await.expect("a chunk");
        assert!(read.next <= end + number - 200 && read.entries.iter().zip(end..).all(|(entry, offset)| entry.offset == offset));
        if let Some(ended) = erasing.try_join_next() {
            ended.expect("no panic").expect("erased");
        }
    }
    assert!(number > 210, "{number}: appends waited");
    assert!(holding(folder.path(), &(0..150).collect::<Vec<_>>()).is_empty());
    log.close().await;
    drop(log);
    let log = open(folder.path());
    let read = read_all(&*log, "t-kill", 0, 0).await;
    assert_eq!(read.len() as u64, 50 + number - 200);
    for entry in read {
        let value = entry.value.expect("a value");
        assert_eq!(value, [nonce(entry.offset), noise(entry.offset, 2_000)].concat(), "at {}", entry.offset);
    }
}

#[tokio::test]
async fn refuses_a_folder_that_another_log_holds() {
    let folder = tempfile::tempdir().expect("a folder");
    let _held = open(folder.path());
    assert!(matches!(EmbeddedLog::open(folder.path(), topics()), Err(LogError::Locked { .. })));
}

#[tokio::test]
async fn refuses_a_folder_of_garbage_and_leaves_it_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(open(folder.path()));
    let mut spoilt = Vec::new();
    for entry in std::fs::read_dir(folder.path()).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_file() && path.file_name().is_some_and(|name| name != "lock") {
            std::fs::write(&path, b"garbage").expect("written");
            spoilt.push(path);
        }
    }
    let refused = EmbeddedLog::open(folder.path(), topics()).err().expect("refused").to_string();
    assert!(refused.contains(&*folder.path().to_string_lossy()), "{refused}");
    for path in spoilt {
        assert_eq!(std::fs::read(&path).expect("still there"), b"garbage", "{path:?}");
    }
}

#[tokio::test]
async fn a_file_in_place_of_the_folder_is_a_clear_error() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let refused = EmbeddedLog::open(file.path(), Topics::built_in()).err().expect("refused").to_string();
    assert!(refused.contains(&*file.path().to_string_lossy()), "{refused}");
}

#[tokio::test]
async fn wakes_readers_though_the_writer_gave_up_waiting() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = open(folder.path());
    let mut news = log.appended("t-wake").expect("news");
    news.borrow_and_update();
    // Asked once, which hands the record to the log, and dropped.
    let given_up = tokio::time::timeout(Duration::ZERO, log.append("t-wake", 0, vec![record("k", "v")])).await;
    tokio::time::timeout(Duration::from_secs(10), news.changed()).await.expect("woken").expect("the log lives");
    assert_eq!(read_all(&*log, "t-wake", 0, 0).await.len(), 1, "{given_up:?}");
}

#[tokio::test]
async fn refuses_another_number_of_partitions_once_keys_lie_on_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let with = |partitions: u32, cleanup: &str| {
        let path = folder.path().join("topics.toml");
        std::fs::write(&path, format!("[[topic]]\nname = \"t\"\npartitions = {partitions}\ncleanup = \"{cleanup}\"\n")).expect("written");
        EmbeddedLog::open(&folder.path().join("log"), Topics::load(&path).expect("topics"))
    };
    // While it is empty any number will do.
    drop(with(2, "compact").expect("two"));
    drop(with(4, "compact").expect("four"));
    let log = with(3, "compact").expect("three");
    log.append("t", 2, vec![record("k", "v")]).await.expect("appended");
    drop(log);
    let refused = |partitions, cleanup| with(partitions, cleanup).err().expect("refused").to_string();
    assert!(refused(4, "compact").contains("part keys"));
    assert!(refused(2, "delete").contains("cannot be taken away"));
    // Without keys to keep together more partitions do no harm.
    let log = with(4, "delete").expect("four");
    log.append("t", 3, vec![record("k", "v")]).await.expect("appended");
    assert_eq!(read_all(&*log, "t", 2, 0).await.len(), 1);
}

/// The child of the next tests: appends batches of three and says what was acknowledged, until it is killed.
#[test]
#[expect(clippy::disallowed_methods, reason = "how the parent tells its child what to do")]
fn child_appends_for_ever() {
    let Ok(path) = std::env::var("AJATUS_TEST_LOG_CHILD") else { return };
    let value_bytes: usize = std::env::var("AJATUS_TEST_LOG_VALUE_BYTES").map_or(5, |text| text.parse().expect("a number"));
    let erases = std::env::var("AJATUS_TEST_LOG_ERASES").is_ok();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let log = open(Path::new(&path));
        let mut number = log.end_offset("t-kill", 0).await.expect("an end");
        // Ends by itself if nobody kills it.
        for _ in 0..100_000 {
            let batch = (0..3).map(|at| Record { key: (number + at).to_string().into_bytes(), value: Some(noise(number + at, value_bytes)) }).collect();
            let told = match log.append("t-kill", 0, batch).await {
                Ok(offsets) => {
                    number += 3;
                    format!("acknowledged {} {}", offsets[2], number - 1)
                }
                Err(error) => format!("refused {error}"),
            };
            {
                let mut out = std::io::stdout().lock();
                writeln!(out, "{told}").and_then(|()| out.flush()).expect("told");
            }
            if erases {
                log.erase(&[("t-kill", 0)]).await.expect("erased");
            }
        }
    });
}

/// What record `number` of the child holds; does not compress.
fn noise(number: u64, bytes: usize) -> Vec<u8> {
    let mut value = vec![0; bytes];
    rand::rngs::SmallRng::seed_from_u64(number).fill_bytes(&mut value);
    value
}

/// A child process, killed when dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// No file of the child may grow past 64 MiB, which the log's journal reaches: writes fail as they do on a full disk, in the
/// middle of a record. Then the limit is lifted, as if room had been made, and the child, which never stopped trying, goes on.
#[tokio::test]
async fn loses_nothing_acknowledged_when_writes_fail_and_goes_on_when_they_can() {
    let folder = tempfile::tempdir().expect("a folder");
    let child = Command::new("bash")
        .args(["-c", "trap '' XFSZ; ulimit -S -f 65536; exec \"$@\"", "limited"])
        .arg(std::env::current_exe().expect("this test"))
        .args(["child_appends_for_ever", "--exact", "--nocapture", "--test-threads=1"])
        .env("AJATUS_TEST_LOG_CHILD", folder.path())
        .env("AJATUS_TEST_LOG_VALUE_BYTES", "300000")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = Killed(child.expect("a child"));
    let (mut acknowledged, mut refusals, mut since) = (BTreeMap::new(), 0, 0);
    for line in BufReader::new(child.0.stdout.take().expect("its output")).lines().map_while(Result::ok) {
        if let Some((_, told)) = line.split_once("acknowledged ") {
            let (offset, number) = told.trim().split_once(' ').expect("two numbers");
            acknowledged.insert(offset.parse::<u64>().expect("an offset"), number.to_owned());
            since += usize::from(refusals > 0);
            assert!(refusals > 0 || acknowledged.len() < 1_000, "nothing was refused");
            if since == 20 {
                break;
            }
        } else if let Some((_, reason)) = line.split_once("refused ") {
            assert!(reason.contains(&*folder.path().to_string_lossy()), "{reason}");
            refusals += 1;
            assert!(refusals < 1_000, "it does not go on");
            if refusals == 3 {
                let lifted = Command::new("prlimit").arg(format!("--pid={}", child.0.id())).arg("--fsize=unlimited").status();
                assert!(lifted.expect("prlimit runs").success());
            }
        }
    }
    drop(child);
    assert_eq!(since, 20, "the child ended after {refusals} refusals");

    let log = open(folder.path());
    let read: BTreeMap<u64, _> = read_all(&*log, "t-kill", 0, 0).await.into_iter().map(|entry| (entry.offset, entry)).collect();
    for (offset, number) in &acknowledged {
        let entry = read.get(offset).expect("an acknowledged record");
        assert_eq!(entry.key, number.as_bytes(), "at offset {offset}");
    }
    for (at, (offset, entry)) in read.iter().enumerate() {
        let number: u64 = String::from_utf8_lossy(&entry.key).parse().expect("a number");
        assert_eq!(*offset, at as u64, "offsets have no holes");
        assert!(entry.value.as_deref() == Some(&*noise(number, 300_000)), "record {at} is not what was written");
        assert_eq!(number % 3, offset % 3, "a batch is there whole or not at all");
    }
}

#[tokio::test]
async fn loses_nothing_acknowledged_over_ten_kills() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut acknowledged = 0;
    for round in 0..10_u32 {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["child_appends_for_ever", "--exact", "--nocapture", "--test-threads=1"])
            .env("AJATUS_TEST_LOG_CHILD", folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        // Killed after another number of acknowledgements each time: at the next write, wherever that is.
        for _ in 0..(3 + round * 7) {
            let told = lines.by_ref().map_while(Result::ok).find_map(|line| line.split_once("acknowledged ")?.1.split(' ').next()?.parse::<u64>().ok());
            acknowledged = told.expect("an acknowledgement");
        }
        child.kill().expect("killed");
        child.wait().expect("reaped");
        let log = open(folder.path());
        let read = read_all(&*log, "t-kill", 0, 0).await;
        assert!(read.len() as u64 > acknowledged, "round {round}: {acknowledged} was acknowledged, {} records are there", read.len());
        for (at, entry) in read.iter().enumerate() {
            assert_eq!((entry.offset, entry.key.clone()), (at as u64, at.to_string().into_bytes()), "round {round}");
            assert!(entry.value.as_deref() == Some(&*noise(entry.offset, 5)), "round {round}: record {at} is not what was written");
        }
        assert_eq!(read.len() % 3, 0, "a batch is there whole or not at all");
        log.close().await;
    }
}

/// Erasing goes deep into how the store keeps its files; wherever it is cut off, every record is there after.
#[tokio::test]
async fn loses_nothing_acknowledged_when_it_is_killed_while_it_erases() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut random = rand::rngs::SmallRng::seed_from_u64(20_261_125);
    let mut acknowledged = 0;
    for round in 0..10_u32 {
        let child = Command::new(std::env::current_exe().expect("this test"))
            .args(["child_appends_for_ever", "--exact", "--nocapture", "--test-threads=1"])
            .env("AJATUS_TEST_LOG_CHILD", folder.path())
            .env("AJATUS_TEST_LOG_ERASES", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = Killed(child.expect("a child"));
        let mut lines = BufReader::new(child.0.stdout.take().expect("its output")).lines();
        for _ in 0..=round % 2 {
            let told = lines.by_ref().map_while(Result::ok).find_map(|line| line.split_once("acknowledged ")?.1.split(' ').next()?.parse::<u64>().ok());
            acknowledged = told.expect("an acknowledgement");
        }
        // A random point of its erasing: the wait is what is varied, no outcome depends on its length.
        let until = std::time::Instant::now() + Duration::from_millis(u64::from(random.next_u32() % 500));
        while std::time::Instant::now() < until {
            std::thread::yield_now();
        }
        drop(child);
        let log = open(folder.path());
        let read = read_all(&*log, "t-kill", 0, 0).await;
        assert!(read.len() as u64 > acknowledged, "round {round}: {acknowledged} was acknowledged, {} records are there", read.len());
        for (at, entry) in read.iter().enumerate() {
            assert_eq!((entry.offset, entry.key.clone()), (at as u64, at.to_string().into_bytes()), "round {round}");
            assert!(entry.value.as_deref() == Some(&*noise(entry.offset, 5)), "round {round}: record {at} is not what was written");
        }
        assert_eq!(log.end_offset("t-kill", 0).await.expect("an end"), read.len() as u64, "round {round}");
        log.close().await;
    }
}
