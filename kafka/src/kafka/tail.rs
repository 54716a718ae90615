//! News of a topic: a consumer at its end, whose records only wake.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::watch;

use super::KafkaConfig;
use crate::log::LogError;

pub(super) struct Tail {
    news: Arc<watch::Sender<u64>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Tail {
    pub(super) fn start(config: &KafkaConfig, topic: &str, partitions: u32) -> Result<Self, LogError> {
        let mut client = config.client();
        client
            .set("group.id", "ajatus-assigned")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "latest")
            .set("isolation.level", "read_committed")
            // Long polls: the broker answers at once when something comes.
            .set("fetch.wait.max.ms", "500")
            .set("fetch.min.bytes", "1")
            .set("queued.max.messages.kbytes", "4096");
        let consumer: BaseConsumer = client.create().map_err(|error| config.unreachable(error))?;
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            let number = i32::try_from(partition).map_err(|_| LogError::UnknownPartition { topic: topic.to_owned(), partition })?;
            list.add_partition_offset(topic, number, Offset::End).map_err(|error| config.failure(error))?;
        }
        consumer.assign(&list).map_err(|error| config.failure(error))?;
        let (news, stop) = (Arc::new(watch::Sender::new(0)), Arc::new(AtomicBool::new(false)));
        let (sender, flag) = (Arc::clone(&news), Arc::clone(&stop));
        let thread = std::thread::Builder::new().name("log news".to_owned()).spawn(move || {
            while !flag.load(Ordering::Relaxed) {
                // Errors wake too: the reader that then looks will say what is wrong. A look every now and then in vain
                // covers the moment between the assignment and the first fetch.
                if let Some(Err(_)) = consumer.poll(Duration::from_millis(250)) {
                    std::thread::sleep(Duration::from_millis(100));
                }
                sender.send_modify(|count| *count += 1);
            }
        });
        let thread = thread.map_err(|error| config.unreachable(error))?;
        Ok(Self { news, stop, thread: Some(thread) })
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    pub(super) fn bump(&self) {
        self.news.send_modify(|count| *count += 1);
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}
