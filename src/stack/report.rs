//! What `doctor` and `topics` ask of the parts.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use ajatus_events::topic;
use ajatus_inference::{ChatMessage, ChatRole, Class, GenerateEvent, GenerateRequest, Sampling};
use ajatus_kafka::{KafkaConfig, TopicChange};
use futures::StreamExt as _;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use super::{OpenLog, Stack};
use crate::exit::{Ended, Exit};

/// Longest wait of a check.
const PATIENCE: Duration = Duration::from_secs(60);

/// The process's metrics; the recorder is installed on the first call.
pub(crate) fn metrics() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| PrometheusBuilder::new().install_recorder().expect("nobody else installs a recorder")).clone()
}

impl Stack {
    /// Makes a broker's topics agree with `topics.toml`, or only says what would change; the embedded log makes its own
    /// when it is opened. Needs no part to be open, so that a dry run makes nothing.
    pub(crate) async fn apply_topics(&self, dry_run: bool) -> anyhow::Result<Vec<TopicChange>> {
        let topics = self.topics()?;
        let Some(servers) = &self.config.log.kafka else { return Ok(Vec::new()) };
        let changes = ajatus_kafka::topics_apply(&KafkaConfig::new(servers), &topics, dry_run).await;
        changes.map_err(|error| Ended::new(Exit::Unavailable, error.to_string()))
    }

    /// Where the log is and how long.
    pub(crate) async fn log_report(&self) -> anyhow::Result<String> {
        let log = self.log();
        let mut records = 0;
        for partition in 0..log.partitions(topic::INTERACTIONS)? {
            records += log.end_offset(topic::INTERACTIONS, partition).await?;
        }
        let place = match self.log.as_ref() {
            Some(OpenLog::Kafka(_)) => format!("Kafka at {}", self.config.log.kafka.as_deref().unwrap_or("?")),
            _ => format!("embedded in {}", self.config.data.join("log").display()),
        };
        let letters = self.dead_letters().await?;
        let letters = match letters {
            0 => "no dead letters".to_owned(),
            1 => "1 dead letter".to_owned(),
            more => format!("{more} dead letters"),
        };
        Ok(format!("{place}; {records} interactions written so far, {letters}"))
    }

    /// Records that could not be used, each counted once.
    async fn dead_letters(&self) -> anyhow::Result<usize> {
        let log = self.log();
        let mut keys = std::collections::HashSet::new();
        let mut from = log.start_offset(topic::DEAD_LETTERS, 0).await?;
        loop {
            let chunk = log.read(topic::DEAD_LETTERS, 0, from, 5_000).await?;
            if chunk.next == from {
                return Ok(keys.len());
            }
            keys.extend(chunk.entries.into_iter().map(|entry| entry.key));
            from = chunk.next;
        }
    }

    /// Where the database is and what it is.
    pub(crate) async fn database_report(&self) -> anyhow::Result<String> {
        let (server, vector) = self.database().versions().await?;
        let kind = if self.server.is_some() { "private" } else { "given" };
        Ok(format!("{kind}, {} at {}, pgvector {vector}", server, self.database().address()))
    }

    /// Embeds a sentence.
    pub(crate) async fn try_embedding(&self) -> anyhow::Result<String> {
        let embedder = self.embedder(Class::Interactive);
        let clock = Instant::now();
        let answers = tokio::time::timeout(PATIENCE, embedder.embed(vec!["Does the model answer?".to_owned()])).await??;
        let vector = answers.into_iter().next().ok_or_else(|| anyhow::anyhow!("no answer"))??;
        Ok(format!("{} answers, {} components in {:.1} ms", embedder.model().id(), vector.len(), clock.elapsed().as_secs_f64() * 1e3))
    }

    /// Generates a few tokens.
    pub(crate) async fn try_generation(&self) -> anyhow::Result<String> {
        let generator = self.generator();
        let clock = Instant::now();
        let request = GenerateRequest {
            messages: vec![ChatMessage { role: ChatRole::User, content: "Say hello.".to_owned() }],
            max_tokens: 8,
            stop: Vec::new(),
            sampling: Sampling { temperature: 0.0, ..Sampling::default() },
        };
        let mut stream = tokio::time::timeout(PATIENCE, generator.generate(request)).await??;
        let mut tokens = 0;
        while let Some(event) = tokio::time::timeout(PATIENCE, stream.next()).await? {
            if let GenerateEvent::Done { completion_tokens, .. } = event? {
                tokens = completion_tokens;
            }
        }
        anyhow::ensure!(tokens > 0, "it said nothing");
        Ok(format!("{} answers, {tokens} tokens in {:.1} s", generator.model().id(), clock.elapsed().as_secs_f64()))
    }

    /// How far the pipeline is.
    pub(crate) async fn pipeline_report(&self) -> anyhow::Result<String> {
        let mut watched = self.pipeline_status();
        let log = self.log();
        let mut ends = Vec::new();
        for partition in 0..log.partitions(topic::INTERACTIONS)? {
            ends.push((partition, log.end_offset(topic::INTERACTIONS, partition).await?));
        }
        let reached = watched.wait_for(|status| status.failure.is_some() || ends.iter().all(|(partition, end)| status.applied_offset(*partition) >= *end));
        let status = tokio::time::timeout(PATIENCE, reached).await.map_err(|_| anyhow::anyhow!("it does not catch up with the log"))??.clone();
        if let Some(failure) = status.failure {
            anyhow::bail!(failure);
        }
        Ok(format!("epoch {}, caught up with the log", status.epoch))
    }
}
