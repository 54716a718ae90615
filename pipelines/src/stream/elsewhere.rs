//! Clusters and databases that are not the platform's own: `bootstrap_servers = …` and `url = …`.
//!
//! Holds always: each is opened once per run, before anything is read; topics there are never made or changed. Not promised: that a
//! topic or a table there keeps what was read: a gap stops the run as anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ajatus_kafka::{KafkaConfig, KafkaLog, Log};
use ajatus_memory::postgres::Postgres;
use ajatus_sql::pipeline::Pipeline;
use ajatus_sql::script::{Connector, Direction};

use super::columnar::Columnar;
use super::config::RunParts;
use super::error::StreamError;

/// Connections of a database at most.
const CONNECTIONS: u32 = 4;

/// What a run has opened, with the platform's own parts beside it.
#[derive(Clone, Default)]
pub(crate) struct Elsewhere {
    own_log: Option<Arc<dyn Log>>,
    own_db: Option<Postgres>,
    columnar: Option<Arc<dyn Columnar>>,
    logs: BTreeMap<String, Arc<dyn Log>>,
    databases: BTreeMap<String, Postgres>,
}

impl Elsewhere {
    /// Opens what the pipeline's tables name.
    pub(crate) fn open(pipeline: &Pipeline, parts: &RunParts) -> Result<Self, StreamError> {
        let handle = &parts.handle;
        let mut opened = Self { own_log: parts.log.clone(), own_db: parts.db.clone(), columnar: parts.columnar.clone(), ..Self::default() };
        let mut topics: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let (read, mut written) = (pipeline.required(), BTreeSet::new());
        for table in pipeline.script.tables() {
            // What nobody reads or writes is not asked for.
            let used = if table.direction == Direction::Source { read.contains_key(&table.name) } else { pipeline.outputs.iter().any(|output| output.table.name == table.name) };
            match &table.connector {
                Connector::Kafka { topic, bootstrap_servers: Some(servers), .. } if used => {
                    topics.entry(servers.clone()).or_default().insert(topic.clone());
                }
                Connector::Postgres { url: Some(url), .. } if used => {
                    if table.direction == Direction::Sink {
                        written.insert(url.clone());
                    }
                    if !opened.databases.contains_key(url) {
                        let db = handle.block_on(Postgres::connect(url, CONNECTIONS))?;
                        opened.databases.insert(url.clone(), db);
                    }
                }
                _ => {}
            }
        }
        for url in &written {
            handle.block_on(opened.databases[url].prepare_sinks())?;
        }
        for (servers, topics) in topics {
            let topics: Vec<String> = topics.into_iter().collect();
            let log: Arc<dyn Log> = handle.block_on(KafkaLog::connect_elsewhere(KafkaConfig::new(&servers), &topics))?;
            opened.logs.insert(servers, log);
        }
        Ok(opened)
    }

    /// The log of a table: another cluster, or the platform's own.
    pub(crate) fn log(&self, servers: Option<&String>) -> Option<&Arc<dyn Log>> {
        servers.map_or(self.own_log.as_ref(), |servers| self.logs.get(servers))
    }

    /// Who knows datasets of columns.
    pub(crate) fn columnar(&self, table: &str) -> Result<&Arc<dyn Columnar>, StreamError> {
        self.columnar.as_ref().ok_or_else(|| StreamError::Unsupported {
            what: format!("table {table:?} is a Lance dataset, and this run knows none"),
            hint: "run it with the `ajatus` command".to_owned(),
        })
    }

    /// The database of a table.
    pub(crate) fn database(&self, url: Option<&String>) -> Option<&Postgres> {
        url.map_or(self.own_db.as_ref(), |url| self.databases.get(url))
    }
}
