//! The port's contract, as checks over any implementation.

use std::sync::Arc;
use std::time::Duration;

use ajatus_kafka::{Entry, Log, LogError, Record, Topics};

/// Longest wait of a check.
const PATIENCE: Duration = Duration::from_secs(30);

/// Topics of the suite: one topic per check, so that checks do not meet.
pub(crate) fn topics() -> Topics {
    let text: String = ["order", "many", "large", "compact", "wake", "bounds", "kill", "empty", "late"]
        .iter()
        .map(|name| format!("[[topic]]\nname = \"t-{name}\"\npartitions = 3\ncleanup = \"compact\"\n"))
        .collect();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("topics.toml");
    std::fs::write(&path, text).expect("written");
    Topics::load(&path).expect("topics")
}

pub(crate) fn record(key: &str, value: &str) -> Record {
    Record { key: key.as_bytes().to_vec(), value: Some(value.as_bytes().to_vec()) }
}

pub(crate) fn tombstone(key: &str) -> Record {
    Record { key: key.as_bytes().to_vec(), value: None }
}

/// Everything of a partition from an offset on.
pub(crate) async fn read_all(log: &dyn Log, topic: &str, partition: u32, mut from: u64) -> Vec<Entry> {
    let mut entries = Vec::new();
    loop {
        let chunk = log.read(topic, partition, from, 5_000).await.expect("a chunk");
        assert!(chunk.next >= from, "a reader never goes back");
        if chunk.next == from {
            assert!(chunk.entries.is_empty());
            return entries;
        }
        from = chunk.next;
        entries.extend(chunk.entries);
    }
}

/// All checks that any implementation passes.
pub(crate) async fn suite(log: Arc<dyn Log>) {
    keeps_the_order_of_a_partition(&*log).await;
    reads_from_an_offset_and_refuses_a_gap(&*log).await;
    carries_100_000_records_exactly(Arc::clone(&log)).await;
    takes_a_mebibyte_and_refuses_more_than_the_limit(&*log).await;
    wakes_on_append(&*log).await;
    misses_nothing_that_comes_after_a_wait_at_the_end(&*log).await;
    tells_tombstones_from_empty_values(&*log).await;
    refuses_unknown_topics_and_partitions(&*log).await;
}

async fn keeps_the_order_of_a_partition(log: &dyn Log) {
    for number in 0..50 {
        let partition = number % 3;
        let batch = (0..number).map(|at| record(&format!("{number}.{at}"), "x")).collect();
        let offsets = log.append("t-order", partition, batch).await.expect("appended");
        assert!(offsets.windows(2).all(|pair| pair[0] < pair[1]), "offsets of a batch grow");
    }
    for partition in 0..3 {
        let wanted: Vec<String> =
            (0..50).filter(|number| number % 3 == partition).flat_map(|number| (0..number).map(move |at| format!("{number}.{at}"))).collect();
        let read = read_all(log, "t-order", partition, 0).await;
        assert_eq!(read.iter().map(|entry| String::from_utf8_lossy(&entry.key).into_owned()).collect::<Vec<_>>(), wanted);
        assert!(read.windows(2).all(|pair| pair[0].offset < pair[1].offset));
        assert!(read.iter().all(|entry| entry.timestamp_ms > 1_600_000_000_000), "the log says when");
    }
}

async fn reads_from_an_offset_and_refuses_a_gap(log: &dyn Log) {
    assert_eq!(log.end_offset("t-bounds", 0).await.expect("an end"), 0);
    let empty = log.read("t-bounds", 0, 0, 10).await.expect("nothing yet");
    assert!(empty.entries.is_empty() && empty.next == 0);
    let offsets = log.append("t-bounds", 0, (0..10).map(|at| record(&at.to_string(), "v")).collect()).await.expect("appended");
    assert_eq!(log.append("t-bounds", 0, Vec::new()).await.expect("nothing to append"), Vec::<u64>::new());
    let end = log.end_offset("t-bounds", 0).await.expect("an end");
    assert_eq!(end, offsets[9] + 1);
    assert_eq!(log.start_offset("t-bounds", 0).await.expect("a start"), 0);
    let middle = log.read("t-bounds", 0, offsets[4], 3).await.expect("a chunk");
    assert_eq!(middle.entries.iter().map(|entry| entry.offset).collect::<Vec<_>>(), offsets[4..7]);
    assert_eq!(middle.next, offsets[7]);
    let at_end = log.read("t-bounds", 0, end, 3).await.expect("nothing new");
    assert!(at_end.entries.is_empty() && at_end.next == end);
    let past = log.read("t-bounds", 0, end + 1, 3).await;
    assert!(matches!(past, Err(LogError::Gap { first, .. }) if first == end), "{past:?}");
}

async fn carries_100_000_records_exactly(log: Arc<dyn Log>) {
    // 20 writers, each with its own keys, to 3 partitions, in batches of 500.
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..20_u32 {
        let log = Arc::clone(&log);
        writers.spawn(async move {
            for batch in 0..10_u32 {
                let records = (0..500_u32).map(|at| record(&format!("{writer}/{batch}/{at}"), &format!("{}", u64::from(writer) * 7 + u64::from(batch * 500 + at)))).collect();
                log.append("t-many", (writer + batch) % 3, records).await.expect("appended");
            }
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended.expect("a writer");
    }
    let mut seen = std::collections::BTreeSet::new();
    for partition in 0..3 {
        for entry in read_all(&*log, "t-many", partition, 0).await {
            let key = String::from_utf8(entry.key).expect("text");
            let parts: Vec<u32> = key.split('/').map(|part| part.parse().expect("a number")).collect();
            let value = u64::from(parts[0]) * 7 + u64::from(parts[1] * 500 + parts[2]);
            assert_eq!(entry.value.expect("a value"), value.to_string().into_bytes());
            assert_eq!((parts[0] + parts[1]) % 3, partition);
            assert!(seen.insert(key), "a record came twice");
        }
    }
    assert_eq!(seen.len(), 100_000);
}

async fn takes_a_mebibyte_and_refuses_more_than_the_limit(log: &dyn Log) {
    let large: Vec<u8> = (0..1 << 20).map(|at: u32| u8::try_from(at % 251).expect("small")).collect();
    let record = |value: Vec<u8>| Record { key: b"k".to_vec(), value: Some(value) };
    log.append("t-large", 0, vec![record(large.clone())]).await.expect("a mebibyte");
    let refused = log.append("t-large", 0, vec![record(b"small".to_vec()), record(vec![0; 3 << 20])]).await;
    assert!(matches!(refused, Err(LogError::TooLarge { size_bytes, limit_bytes, .. }) if size_bytes > limit_bytes), "{refused:?}");
    log.append("t-large", 0, vec![record(b"after".to_vec())]).await.expect("the log is unharmed");
    let read = read_all(log, "t-large", 0, 0).await;
    assert_eq!(read.iter().filter_map(|entry| entry.value.clone()).collect::<Vec<_>>(), [large, b"after".to_vec()]);
}

async fn wakes_on_append(log: &dyn Log) {
    let mut news = log.appended("t-wake").expect("news");
    let mut next = 0;
    for number in 0..5 {
        news.borrow_and_update();
        let wait = async {
            loop {
                let chunk = log.read("t-wake", 1, next, 10).await.expect("a chunk");
                if !chunk.entries.is_empty() {
                    return chunk;
                }
                tokio::time::timeout(PATIENCE, news.changed()).await.expect("woken in time").expect("the log lives");
            }
        };
        let append = log.append("t-wake", 1, vec![record("k", &number.to_string())]);
        let (chunk, appended) = tokio::join!(wait, append);
        appended.expect("appended");
        next = chunk.next;
        assert_eq!(chunk.entries.len(), 1);
    }
}

/// A broker's client keeps word of the end it once saw; a record that came since must not be taken for seen.
async fn misses_nothing_that_comes_after_a_wait_at_the_end(log: &dyn Log) {
    let mut next = 0;
    for round in 0..3 {
        // Long enough for the client to have been told of the end, whatever it asks in the background.
        for _ in 0..100 {
            let chunk = log.read("t-late", 0, next, 10).await.expect("a chunk");
            assert!(chunk.entries.is_empty() && chunk.next == next, "round {round}: {chunk:?}");
        }
        for number in 0..3 {
            let key = format!("{round}.{number}");
            log.append("t-late", 0, vec![record(&key, "v")]).await.expect("appended");
            if number == 1 {
                continue;
            }
            let chunk = log.read("t-late", 0, next, 10).await.expect("a chunk");
            let keys: Vec<String> = chunk.entries.iter().map(|entry| String::from_utf8_lossy(&entry.key).into_owned()).collect();
            let wanted = if number == 0 { vec![key] } else { vec![format!("{round}.1"), key] };
            assert_eq!(keys, wanted, "round {round}");
            next = chunk.next;
        }
    }
}

async fn tells_tombstones_from_empty_values(log: &dyn Log) {
    log.append("t-empty", 0, vec![record("a", ""), tombstone("b")]).await.expect("appended");
    let read = read_all(log, "t-empty", 0, 0).await;
    assert_eq!(read.into_iter().map(|entry| entry.value).collect::<Vec<_>>(), [Some(Vec::new()), None]);
}

async fn refuses_unknown_topics_and_partitions(log: &dyn Log) {
    for (topic, partition) in [("nobody", 0), ("t-order", 3)] {
        let appended = log.append(topic, partition, vec![record("k", "v")]).await;
        assert!(matches!(appended, Err(LogError::UnknownPartition { .. })), "{appended:?}");
        assert!(log.read(topic, partition, 0, 1).await.is_err());
        assert!(log.end_offset(topic, partition).await.is_err());
    }
    assert!(log.partitions("nobody").is_err() && log.appended("nobody").is_err());
    assert_eq!(log.partitions("t-order").expect("known"), 3);
}
