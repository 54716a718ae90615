//! The follower: it loses no change to a log or a database that fails for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ajatus_kafka::{Erasure, Chunk, Log, LogError, Record};
use ajatus_memory::index::{Index, IndexConfig};
use ajatus_serving::follow::Follower;
use async_trait::async_trait;
use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::sync::watch;

use super::support::{PATIENCE, World};

/// A log whose next reads fail.
struct Flaky {
    inner: Arc<dyn Log>,
    failures: AtomicU32,
}

#[async_trait]
impl Log for Flaky {
    fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.inner.partitions(topic)
    }
    async fn append(&self, topic: &str, partition: u32, records: Vec<Record>) -> Result<Vec<u64>, LogError> {
        self.inner.append(topic, partition, records).await
    }
    async fn read(&self, topic: &str, partition: u32, from: u64, max_records: usize) -> Result<Chunk, LogError> {
        if self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(LogError::Unreachable { broker: "test".into(), reason: "not now".into() });
        }
        self.inner.read(topic, partition, from, max_records).await
    }
    async fn start_offset(&self, topic: &str, partition: u32) -> Result<u64, LogError> {
        self.inner.start_offset(topic, partition).await
    }
    async fn end_offset(&self, topic: &str, partition: u32) -> Result<u64, LogError> {
        self.inner.end_offset(topic, partition).await
    }
    fn appended(&self, topic: &str) -> Result<watch::Receiver<u64>, LogError> {
        self.inner.appended(topic)
    }
    async fn compact(&self, topic: &str, partition: u32, below: u64) -> Result<u64, LogError> {
        self.inner.compact(topic, partition, below).await
    }
    async fn remove(&self, topic: &str, partition: u32, offsets: Vec<u64>) -> Result<u64, LogError> {
        self.inner.remove(topic, partition, offsets).await
    }
    async fn erase(&self, places: &[(&str, u32)]) -> Result<Erasure, LogError> {
        self.inner.erase(places).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goes_on_where_it_was_when_reads_fail_and_starts_from_what_is_applied() {
    let world = World::start().await;
    let token = world.user("aino").await;
    let conversation = world.conversation(&token).await;
    let path = format!("/v1/conversations/{conversation}/messages");
    let say = async |text: &str| {
        let (status, reply) = world.call(Method::POST, &path, Some(&token), Some(json!({ "text": text }))).await;
        assert_eq!(status, StatusCode::CREATED, "{reply}");
        reply["receipt"].as_str().expect("a receipt").parse::<ajatus_events::Receipt>().expect("a receipt")
    };
    let early = say("the first").await;
    world.remember().await;

    let flaky = Arc::new(Flaky { inner: Arc::clone(&world.parts.log), failures: AtomicU32::new(9) });
    let index = Index::new(world.test.db.clone(), world.test.keys.clone(), IndexConfig::default());
    let log: Arc<dyn Log> = Arc::clone(&flaky) as Arc<dyn Log>;
    let follower = Follower::start(log, world.test.db.clone(), Arc::clone(&index)).await.expect("following");
    assert!(index.frontier().borrow().has(&early), "what was applied before the start is in at once");

    let user = world.user_id("aino").await;
    let before = index.prepare(user, "the second").await.expect("loaded");
    drop(before);
    let late = say("the second").await;
    world.remember().await;
    index.wait_for(&late, PATIENCE).await.expect("read on after the failures");
    assert_eq!(flaky.failures.load(Ordering::SeqCst), 0, "the failures were met");
    let query = index.prepare(user, "the second").await.expect("a query");
    let found = index.search(&query, &[1.0, 0.0], &ajatus_memory::retrieve::SearchOptions::default()).await.expect("hits");
    assert!(found.hits.iter().any(|hit| hit.memory.body.text == "the second"), "the change itself is in too");
    follower.stop().await;
    world.stop().await;
}
