//! The same suite over a real Apache Kafka, which the test starts on loopback and stops by pid; and what only a broker has.
//!
//! One broker for the file (a start takes seconds), so the steps stand in one test.

mod conformance;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ajatus_kafka::{Erasure, KafkaConfig, KafkaLog, Log, LogError, TopicChange, Topics, topics_apply};
use conformance::{read_all, record, suite, tombstone, topics};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use tokio::task::JoinSet;

/// A broker on a folder; stopped when dropped.
struct Broker {
    folder: PathBuf,
    address: String,
}

fn script(name: &str) -> PathBuf {
    std::env::current_dir().expect("a test runs in its crate's folder").join("broker").join(name)
}

impl Broker {
    fn start(folder: &Path) -> Self {
        let started = Command::new(script("start")).arg(folder).output().expect("the start script runs");
        assert!(started.status.success(), "no broker: {}", String::from_utf8_lossy(&started.stderr));
        let address = String::from_utf8_lossy(&started.stdout).trim().to_owned();
        Self { folder: folder.to_path_buf(), address }
    }

    /// As a power cut would end it.
    fn kill(&self) {
        let pid = std::fs::read_to_string(self.folder.join("pid")).expect("a pid");
        let killed = Command::new("kill").args(["-9", pid.trim()]).status().expect("kill runs");
        assert!(killed.success());
        while Path::new(&format!("/proc/{}", pid.trim())).exists() {
            let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            // Nobody of ours reaps it if the script's shell is gone; dead is dead.
            if state.split_whitespace().nth(2).is_none_or(|state| state == "Z") {
                break;
            }
            std::thread::yield_now();
        }
        std::fs::remove_file(self.folder.join("pid")).expect("removed");
    }

    async fn log(&self, topics: Topics) -> Arc<KafkaLog> {
        KafkaLog::connect(KafkaConfig::new(&self.address), topics).await.expect("connected")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        Command::new(script("stop")).arg(&self.folder).status().ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_broker_passes_the_suite_and_loses_nothing_over_kill_9() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(folder.path());
    let log = broker.log(topics()).await;
    suite(Arc::clone(&log) as Arc<dyn Log>).await;
    reads_past_the_holes_of_compaction(&broker).await;
    says_what_decides_when_a_record_leaves_the_disk(&*log).await;
    applies_topics_and_finds_nothing_to_do_the_second_time(&broker).await;

    drop(log);
    let (survivor, acknowledged) = kill_while_appending(&broker).await;
    let dead = KafkaLog::connect(KafkaConfig { deadline: Duration::from_secs(1), ..KafkaConfig::new(&broker.address) }, topics()).await;
    let told = dead.err().expect("nobody answers");
    assert!(matches!(&told, LogError::Unreachable { broker: named, .. } if *named == broker.address), "{told:?}");

    let broker = Broker::start(folder.path());
    let log = broker.log(topics()).await;
    let read: BTreeMap<u64, Vec<u8>> = read_all(&*log, "t-kill", 0, 0).await.into_iter().map(|entry| (entry.offset, entry.key)).collect();
    for (number, offset) in acknowledged.iter().enumerate() {
        assert_eq!(read.get(offset), Some(&number.to_string().into_bytes()), "record {number} was acknowledged at offset {offset}");
    }

    // The log that saw the broker die goes on by itself, for writing and for reading.
    let again = async {
        loop {
            match survivor.append("t-kill", 0, vec![record("after", "v")]).await {
                Ok(offsets) => return offsets[0],
                Err(error) => assert!(matches!(error, LogError::Unreachable { .. }), "{error:?}"),
            }
        }
    };
    let offset = tokio::time::timeout(Duration::from_secs(20), again).await.expect("taken again");
    let chunk = survivor.read("t-kill", 0, offset, 10).await.expect("a chunk");
    assert_eq!(chunk.entries[0].key, b"after");
    assert!(read_all(&*survivor, "t-kill", 0, 0).await.len() > acknowledged.len());
}

/// Appends one after another and kills the broker while that goes on; returns the log, and the offsets it acknowledged.
async fn kill_while_appending(broker: &Broker) -> (Arc<KafkaLog>, Vec<u64>) {
    let deadline = Duration::from_secs(3);
    let log = KafkaLog::connect(KafkaConfig { deadline, ..KafkaConfig::new(&broker.address) }, topics()).await.expect("connected");
    let (count, mut counted) = tokio::sync::watch::channel(0);
    let mut writer = JoinSet::new();
    writer.spawn(async move {
        let mut offsets = Vec::new();
        loop {
            let clock = Instant::now();
            match log.append("t-kill", 0, vec![record(&offsets.len().to_string(), "value")]).await {
                Ok(offset) => offsets.extend(offset),
                Err(error) => return (log, offsets, error, clock.elapsed()),
            }
            count.send_replace(offsets.len());
        }
    });
    counted.wait_for(|count| *count >= 200).await.expect("the writer goes on");
    broker.kill();
    let (log, offsets, refused, took) = writer.join_next().await.expect("one task").expect("the writer");
    assert!(offsets.len() >= 200 && matches!(refused, LogError::Unreachable { .. }), "{refused:?}");
    assert!(took < deadline + Duration::from_secs(2), "the refusal took {took:?}");
    (log, offsets)
}

/// A broker cannot be hurried, and takes no single record out.
async fn says_what_decides_when_a_record_leaves_the_disk(log: &dyn Log) {
    let erased = log.erase(&[("t-compact", 0), ("t-order", 2), ("t-order", 0)]).await.expect("told");
    let Erasure::Broker { settings } = erased else { panic!("{erased:?}") };
    assert_eq!(settings["t-compact"]["cleanup.policy"], "compact", "{settings:?}");
    assert!(settings["t-order"].contains_key("segment.ms") && settings["t-order"].contains_key("min.cleanable.dirty.ratio"), "{settings:?}");
    assert_eq!(log.remove("t-order", 0, vec![0, 1]).await.expect("told"), 0);
    assert!(matches!(log.erase(&[("no-such-topic", 0)]).await, Err(LogError::UnknownPartition { .. })));
}

/// A topic that the broker compacts as fast as it can: superseded records go, readers go on past the holes.
async fn reads_past_the_holes_of_compaction(broker: &Broker) {
    let log = broker.log(topics()).await;
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", &broker.address).create().expect("a client");
    let fast = AlterConfig::new(ResourceSpecifier::Topic("t-compact"))
        .set("cleanup.policy", "compact")
        .set("segment.ms", "100")
        .set("segment.bytes", "1048576")
        .set("min.cleanable.dirty.ratio", "0.001")
        .set("delete.retention.ms", "0");
    let made = admin.alter_configs(&[fast], &AdminOptions::new()).await.expect("an answer");
    assert!(made.iter().all(Result::is_ok), "{made:?}");
    for round in 0..20 {
        log.append("t-compact", 0, vec![record("a", &format!("a{round}")), record("b", &format!("b{round}"))]).await.expect("appended");
    }
    log.append("t-compact", 0, vec![tombstone("b")]).await.expect("appended");
    // Each append rolls a segment by its age; the cleaner takes all but the last.
    let mut tries = 0;
    let read = loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        log.append("t-compact", 0, vec![record("tick", &tries.to_string())]).await.expect("appended");
        let read = read_all(&*log, "t-compact", 0, 0).await;
        if read.iter().filter(|entry| entry.key == b"a").count() == 1 {
            break read;
        }
        tries += 1;
        assert!(tries < 200, "the broker did not compact: {} records", read.len());
    };
    let a: Vec<_> = read.iter().filter(|entry| entry.key == b"a").collect();
    assert_eq!(a[0].value.as_deref(), Some(b"a19".as_slice()));
    assert_eq!(a[0].offset, 38, "its offset is as it was");
    let from_a_hole = log.read("t-compact", 0, 3, 1).await.expect("a chunk");
    assert_eq!(from_a_hole.entries[0].offset, 38);

    // Settings that are not ours stay when ours are mended.
    let mended = log.apply_topics(false).await.expect("applied");
    assert!(mended.iter().any(|change| change.to_string().starts_with("t-compact: max.message.bytes")), "{mended:?}");
    let known = admin.describe_configs(&[ResourceSpecifier::Topic("t-compact")], &AdminOptions::new()).await.expect("an answer");
    let segment = known[0].as_ref().expect("settings").get("segment.ms").and_then(|entry| entry.value.clone());
    assert_eq!(segment.as_deref(), Some("100"));
}

async fn applies_topics_and_finds_nothing_to_do_the_second_time(broker: &Broker) {
    let folder = tempfile::tempdir().expect("a folder");
    let load = |text: &str| {
        let path = folder.path().join("topics.toml");
        std::fs::write(&path, text).expect("written");
        Topics::load(&path).expect("topics")
    };
    let config = KafkaConfig::new(&broker.address);
    let one = load("[[topic]]\nname = \"t-apply\"\npartitions = 2\ncleanup = \"compact\"\n");
    let created = [TopicChange::Created { topic: "t-apply".into(), partitions: 2 }];
    assert_eq!(topics_apply(&config, &one, true).await.expect("planned"), created);
    assert_eq!(topics_apply(&config, &one, false).await.expect("applied"), created, "the dry run made nothing");
    assert_eq!(topics_apply(&config, &one, false).await.expect("applied"), []);
    let more = load("[[topic]]\nname = \"t-apply\"\npartitions = 3\ncleanup = \"delete\"\nretention_days = 1\n");
    let planned = topics_apply(&config, &more, true).await.expect("planned");
    let done = topics_apply(&config, &more, false).await.expect("applied");
    assert_eq!(planned, done, "a dry run says what would be done");
    assert!(done.contains(&TopicChange::Partitions { topic: "t-apply".into(), from: 2, to: 3 }), "{done:?}");
    assert!(done.iter().any(|change| change.to_string().contains("cleanup.policy compact -> delete")), "{done:?}");
    let told = serde_json::to_value(&done[0]).expect("JSON");
    assert_eq!(told, serde_json::json!({"change": "partitions", "topic": "t-apply", "from": 2, "to": 3}));
    let log = broker.log(more).await;
    assert_eq!(log.apply_topics(false).await.expect("applied"), []);
    log.append("t-apply", 2, vec![record("k", "v")]).await.expect("the new partition takes records");

    // A refusal comes before any change: `t-new`, named first, is not made.
    let new = "[[topic]]\nname = \"t-new\"\npartitions = 1\ncleanup = \"compact\"\n";
    let fewer = load(&format!("{new}[[topic]]\nname = \"t-apply\"\npartitions = 1\ncleanup = \"delete\"\n"));
    let refused = topics_apply(&config, &fewer, false).await.expect_err("partitions cannot be taken away").to_string();
    assert!(refused.contains("t-apply") && refused.contains("taken away"), "{refused}");
    let moved = load(&format!("{new}[[topic]]\nname = \"t-apply\"\npartitions = 4\ncleanup = \"compact\"\n"));
    let refused = topics_apply(&config, &moved, false).await.expect_err("keys would move").to_string();
    assert!(refused.contains("t-apply") && refused.contains("part keys"), "{refused}");
    let made = topics_apply(&config, &load(new), true).await.expect("planned");
    assert_eq!(made, [TopicChange::Created { topic: "t-new".into(), partitions: 1 }]);
}

#[tokio::test]
async fn says_within_its_deadline_that_nobody_answers() {
    let config = KafkaConfig { deadline: Duration::from_secs(1), ..KafkaConfig::new("127.0.0.1:1") };
    let refused = KafkaLog::connect(config, topics()).await.err().expect("nobody answers").to_string();
    assert!(refused.contains("127.0.0.1:1"), "{refused}");
}
