//! The embedded log passes the port's suite, compacts, survives kill -9, and says what is wrong.

mod conformance;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use ajatus_kafka::{EmbeddedLog, Log, LogError, Topics};
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
    for entry in std::fs::read_dir(folder.path()).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_file() && path.file_name().is_some_and(|name| name != "lock") {
            std::fs::write(&path, b"garbage").expect("written");
        }
    }
    let refused = EmbeddedLog::open(folder.path(), topics());
    assert!(refused.is_err());
}

#[tokio::test]
async fn a_file_in_place_of_the_folder_is_a_clear_error() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let refused = EmbeddedLog::open(file.path(), Topics::built_in()).err().expect("refused").to_string();
    assert!(refused.contains(&*file.path().to_string_lossy()), "{refused}");
}

/// The child of the next test: appends and says what was acknowledged, until it is killed.
#[test]
fn child_appends_for_ever() {
    let Ok(path) = std::env::var("AJATUS_TEST_LOG_CHILD") else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let log = open(Path::new(&path));
        let mut number = log.end_offset("t-kill", 0).await.expect("an end");
        loop {
            let batch = (0..3).map(|at| record(&format!("{}", number + at), "value")).collect();
            let offsets = log.append("t-kill", 0, batch).await.expect("appended");
            number += 3;
            let mut out = std::io::stdout().lock();
            writeln!(out, "acknowledged {}", offsets[2]).and_then(|()| out.flush()).expect("told");
        }
    });
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
            let told = lines.by_ref().map_while(Result::ok).find_map(|line| line.split("acknowledged ").nth(1).and_then(|at| at.trim().parse::<u64>().ok()));
            acknowledged = told.expect("an acknowledgement");
        }
        child.kill().expect("killed");
        child.wait().expect("reaped");
        let log = open(folder.path());
        let read = read_all(&*log, "t-kill", 0, 0).await;
        assert!(read.len() as u64 > acknowledged, "round {round}: {acknowledged} was acknowledged, {} records are there", read.len());
        for (at, entry) in read.iter().enumerate() {
            assert_eq!((entry.offset, entry.key.clone()), (at as u64, at.to_string().into_bytes()), "round {round}");
        }
        assert_eq!(read.len() % 3, 0, "a batch is there whole or not at all");
        log.close().await;
    }
}
