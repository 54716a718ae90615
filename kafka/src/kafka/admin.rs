//! Makes a broker's topics agree with `topics.toml`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ConfigSource, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::types::RDKafkaErrorCode;
use serde::Serialize;

use super::KafkaConfig;
use crate::log::LogError;
use crate::topics::{Cleanup, Topic, Topics};

/// One thing that was, or would be, changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum TopicChange {
    /// The topic was not there.
    Created {
        /// Topic.
        topic: String,
        /// Its partitions.
        partitions: u32,
    },
    /// It had fewer partitions.
    Partitions {
        /// Topic.
        topic: String,
        /// Before.
        from: u32,
        /// After.
        to: u32,
    },
    /// A setting differed.
    Setting {
        /// Topic.
        topic: String,
        /// Which.
        name: String,
        /// Before.
        from: String,
        /// After.
        to: String,
    },
}

impl fmt::Display for TopicChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created { topic, partitions } => write!(f, "{topic}: created with {partitions} partitions"),
            Self::Partitions { topic, from, to } => write!(f, "{topic}: partitions {from} -> {to}"),
            Self::Setting { topic, name, from, to } => write!(f, "{topic}: {name} {from} -> {to}"),
        }
    }
}

/// Settings of a topic that decide when a replaced record leaves the broker's disk.
const COMPACTION: [&str; 7] =
    ["cleanup.policy", "delete.retention.ms", "max.compaction.lag.ms", "min.cleanable.dirty.ratio", "min.compaction.lag.ms", "retention.ms", "segment.ms"];

/// These, as they are there.
pub(super) async fn compaction(config: &KafkaConfig, topics: Vec<&str>) -> Result<BTreeMap<String, BTreeMap<String, String>>, LogError> {
    let admin: AdminClient<DefaultClientContext> = config.client().create().map_err(|error| config.unreachable(error))?;
    let options = AdminOptions::new().request_timeout(Some(config.deadline)).operation_timeout(Some(config.deadline));
    let asked: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
    let described = admin.describe_configs(&asked, &options).await.map_err(|error| config.failure(error))?;
    let mut all = BTreeMap::new();
    for (topic, known) in topics.iter().zip(described) {
        let known = known.map_err(|code| config.unreachable(format!("the settings of topic {topic} cannot be read: {code}")))?;
        let value = |name: &&str| Some(((*name).to_owned(), known.get(name)?.value.clone()?));
        all.insert((*topic).to_owned(), COMPACTION.iter().filter_map(value).collect());
    }
    Ok(all)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    CreateOnly,
    Apply,
    DryRun,
}

/// What a topic's settings must be on a broker.
fn settings(topic: &Topic, topics: &Topics) -> BTreeMap<&'static str, String> {
    let cleanup = match topic.cleanup {
        Cleanup::Compact => "compact",
        Cleanup::Delete => "delete",
    };
    let retention = match (topic.cleanup, topic.retention_days) {
        (Cleanup::Delete, Some(days)) => i64::from(days) * 86_400_000,
        _ => -1,
    };
    BTreeMap::from([
        ("cleanup.policy", cleanup.to_owned()),
        ("max.message.bytes", (topics.max_record_bytes + 64 * 1024).to_string()),
        ("retention.ms", retention.to_string()),
    ])
}

pub(super) async fn apply(config: &KafkaConfig, topics: &Topics, mode: Mode) -> Result<Vec<TopicChange>, LogError> {
    let admin: AdminClient<DefaultClientContext> = config.client().create().map_err(|error| config.unreachable(error))?;
    let admin = Arc::new(admin);
    let known = existing(config, &admin).await?;
    if mode != Mode::CreateOnly {
        // All refusals before the first change.
        for topic in topics.iter() {
            if let Some(partitions) = known.get(&topic.name) {
                refuse_moving_keys(config, &admin, topic, *partitions).await?;
            }
        }
    }
    let options = AdminOptions::new().request_timeout(Some(config.deadline)).operation_timeout(Some(config.deadline));
    let mut changes = Vec::new();
    for topic in topics.iter() {
        match known.get(&topic.name) {
            None => {
                changes.push(TopicChange::Created { topic: topic.name.clone(), partitions: topic.partitions });
                if mode != Mode::DryRun {
                    create(config, &admin, &options, topic, topics).await?;
                }
            }
            Some(_) if mode == Mode::CreateOnly => {}
            Some(partitions) => {
                if *partitions < topic.partitions {
                    changes.push(TopicChange::Partitions { topic: topic.name.clone(), from: *partitions, to: topic.partitions });
                    if mode == Mode::Apply {
                        let wanted = NewPartitions::new(&topic.name, topic.partitions as usize);
                        let done = admin.create_partitions(&[wanted], &options).await.map_err(|error| config.failure(error))?;
                        outcome(config, done)?;
                    }
                }
                changes.extend(alter(config, &admin, &options, topic, topics, mode).await?);
            }
        }
    }
    Ok(changes)
}

type Admin = AdminClient<DefaultClientContext>;

/// Partitions are never taken away, and a compacted topic that holds records gets no more of them.
async fn refuse_moving_keys(config: &KafkaConfig, admin: &Arc<Admin>, topic: &Topic, partitions: u32) -> Result<(), LogError> {
    if partitions > topic.partitions {
        return Err(topic.would_lose_partitions(partitions, &config.servers));
    }
    if partitions == topic.partitions || topic.cleanup != Cleanup::Compact {
        return Ok(());
    }
    for partition in 0..partitions {
        let (name, deadline, admin) = (topic.name.clone(), config.deadline, Arc::clone(admin));
        let number = i32::try_from(partition).unwrap_or(i32::MAX);
        let asked = tokio::task::spawn_blocking(move || admin.inner().fetch_watermarks(&name, number, deadline)).await;
        let (low, high) = asked.map_err(|_| config.unreachable("the client panicked"))?.map_err(|error| config.failure(error))?;
        if low < high {
            return Err(topic.would_move_keys(partitions, &config.servers));
        }
    }
    Ok(())
}

async fn existing(config: &KafkaConfig, admin: &Arc<Admin>) -> Result<BTreeMap<String, u32>, LogError> {
    let (asked, deadline) = (Arc::clone(admin), config.deadline);
    let metadata = tokio::task::spawn_blocking(move || asked.inner().fetch_metadata(None, deadline)).await;
    let metadata = metadata.map_err(|_| config.unreachable("the client panicked"))?.map_err(|error| config.unreachable(error))?;
    Ok(metadata
        .topics()
        .iter()
        .filter(|topic| topic.error().is_none())
        .map(|topic| (topic.name().to_owned(), u32::try_from(topic.partitions().len()).unwrap_or(u32::MAX)))
        .collect())
}

async fn create(
    config: &KafkaConfig,
    admin: &Admin,
    options: &AdminOptions,
    topic: &Topic,
    topics: &Topics,
) -> Result<(), LogError> {
    let copies = config.replication.map_or(-1, |copies| i32::try_from(copies).unwrap_or(i32::MAX));
    let wanted = settings(topic, topics);
    let partitions = i32::try_from(topic.partitions).unwrap_or(i32::MAX);
    let mut new = NewTopic::new(&topic.name, partitions, TopicReplication::Fixed(copies));
    for (name, value) in &wanted {
        new = new.set(name, value);
    }
    let done = admin.create_topics(&[new], options).await.map_err(|error| config.failure(error))?;
    match done.into_iter().next() {
        // Somebody else was first: as good.
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
        Some(Err((name, code))) => Err(config.unreachable(format!("topic {name} could not be made: {code}"))),
        _ => Ok(()),
    }
}

async fn alter(
    config: &KafkaConfig,
    admin: &Admin,
    options: &AdminOptions,
    topic: &Topic,
    topics: &Topics,
    mode: Mode,
) -> Result<Vec<TopicChange>, LogError> {
    let described =
        admin.describe_configs(&[ResourceSpecifier::Topic(&topic.name)], options).await.map_err(|error| config.failure(error))?;
    let known = match described.into_iter().next() {
        Some(Ok(known)) => known,
        Some(Err(code)) => return Err(config.unreachable(format!("the settings of topic {} cannot be read: {code}", topic.name))),
        None => return Ok(Vec::new()),
    };
    let wanted = settings(topic, topics);
    let mut changes = Vec::new();
    for (name, value) in &wanted {
        let before = known.get(name).and_then(|entry| entry.value.clone()).unwrap_or_default();
        if before != *value {
            changes.push(TopicChange::Setting { topic: topic.name.clone(), name: (*name).to_owned(), from: before, to: value.clone() });
        }
    }
    if !changes.is_empty() && mode == Mode::Apply {
        let mut altered = AlterConfig::new(ResourceSpecifier::Topic(&topic.name));
        // The call replaces the whole set, so what somebody else has set on the topic is said again.
        let others = known.entries.iter().filter(|entry| entry.source == ConfigSource::DynamicTopic && !entry.is_sensitive);
        let others = others.filter(|entry| !wanted.contains_key(entry.name.as_str()));
        for (name, value) in others.filter_map(|entry| Some((entry.name.as_str(), entry.value.as_deref()?))) {
            altered = altered.set(name, value);
        }
        for (name, value) in &wanted {
            altered = altered.set(name, value);
        }
        let done = admin.alter_configs(&[altered], options).await.map_err(|error| config.failure(error))?;
        if let Some(Err((_, code))) = done.into_iter().next() {
            return Err(config.unreachable(format!("the settings of topic {} could not be changed: {code}", topic.name)));
        }
    }
    Ok(changes)
}

fn outcome(config: &KafkaConfig, done: Vec<Result<String, (String, RDKafkaErrorCode)>>) -> Result<(), LogError> {
    for result in done {
        result.map_err(|(name, code)| config.unreachable(format!("topic {name} could not be changed: {code}")))?;
    }
    Ok(())
}
