//! The models: those in this process, and the chains of servers before them.

use std::sync::Arc;
use std::time::Duration;

use ajatus_candle::{CandleEmbedder, CandleGenerator, EmbedderConfig, GeneratorConfig};
use ajatus_inference::backend::{OllamaConfig, OllamaEmbedder, OllamaGenerator, Patience, Server, VllmConfig, VllmEmbedder, VllmGenerator};
use ajatus_inference::chain::{ChainConfig, EmbedderChain, EmbedderLink, GeneratorChain, GeneratorLink};
use ajatus_inference::clock::{Clock, SystemClock as Monotonic};
use ajatus_inference::{BatchConfig, BatchedEmbedder, Class, Embedder, Generator, InferenceError};
use ajatus_pipelines::stream::Backend;
use ajatus_sql::script::{Provider, Task};
use ajatus_serving::core::{CoreConfig, CoreParts, CoreRunning, Served};

use super::{Stack, SystemClock, report};
use crate::config::{Config, Model, Ollama, Vllm};
use crate::exit::{Ended, Exit};

/// Longest wait of somebody who waits for a vector, the queue included.
pub(super) const INTERACTIVE: Duration = Duration::from_secs(30);
/// Name of the model in this process among the backends.
const LOCAL: &str = "candle";

/// The chat model.
pub(super) struct Chat {
    /// What answers.
    pub(super) generator: Arc<dyn Generator>,
    /// The model in this process, if it is loaded.
    local: Option<Arc<dyn Generator>>,
    /// Who is asked, in order.
    backends: Vec<String>,
}

/// The embedding model.
pub(super) struct Embedding {
    /// What answers, through the batcher.
    pub(super) batched: Arc<BatchedEmbedder>,
    /// The model in this process, with a batcher of its own if there is a chain before it.
    local: Arc<BatchedEmbedder>,
    /// What answers, without a batcher.
    bare: Arc<dyn Embedder>,
    backends: Vec<String>,
}

impl Embedding {
    pub(super) async fn close(&self) {
        self.batched.close().await;
        self.local.close().await;
    }
}

fn unusable(error: &InferenceError) -> anyhow::Error {
    Ended::new(Exit::Unusable, error.to_string())
}

fn wrong(error: &InferenceError) -> anyhow::Error {
    Ended::new(Exit::Usage, format!("configuration: {error}"))
}

fn chain_config(config: &Config) -> ChainConfig {
    ChainConfig { first_word: Duration::from_millis(config.models.first_word_ms), ..ChainConfig::default() }
}

fn server(config: &Config, url: &str, key: Option<String>, clock: &Arc<dyn Clock>) -> anyhow::Result<Server> {
    let patience = Patience { answer: Duration::from_millis(config.models.first_word_ms), ..Patience::default() };
    Server::new(url, key, patience, Arc::clone(clock)).map_err(|error| wrong(&error))
}

fn vllm(config: &Vllm) -> VllmConfig {
    VllmConfig { model: config.model.clone(), weights: config.weights.clone(), context_tokens: config.context_tokens }
}

fn ollama(config: &Ollama) -> OllamaConfig {
    let defaults = OllamaConfig::new(&config.model);
    OllamaConfig { context_tokens: config.context_tokens.unwrap_or(defaults.context_tokens), ..defaults }
}

/// The server that a model of a pipeline file names: at the file's own address, or at the one that the configuration has for the provider.
///
/// # Errors
/// [`Exit::Usage`] if neither names an address.
pub(crate) fn served(config: &Config, model: &ajatus_sql::script::Model) -> anyhow::Result<Backend> {
    let clock: Arc<dyn Clock> = Arc::new(Monotonic::start());
    let embeds = if let Task::Embedding { dimensions } = model.task { Some(dimensions) } else { None };
    let configured = if embeds.is_some() { &config.models.embedding } else { &config.models.chat };
    // A text longer than a batch may be is cut, as it is for the model in this process.
    let most = model.max_batch_tokens;
    let missing = |variable: &str| Ended::new(Exit::Usage, format!("it has no address; give it a url, or set {variable}"));
    if model.provider == Provider::Vllm {
        let known = configured.vllm.as_ref();
        let url = model.url.clone().or_else(|| known.map(|known| known.url.clone()));
        let url = url.ok_or_else(|| missing(if embeds.is_some() { "VLLM_EMBEDDING_URL" } else { "VLLM_URL" }))?;
        // A key is for the server it was given for.
        let key = known.filter(|known| known.url == url).and_then(|known| known.key.clone());
        let server = server(config, &url, key, &clock)?;
        let named = VllmConfig { model: Some(model.checkpoint.clone()), ..VllmConfig::default() };
        return Ok(match embeds {
            Some(dimension) => Backend::Embedder(Arc::new(VllmEmbedder::new(server, named, dimension, most))),
            None => Backend::Generator(Arc::new(VllmGenerator::new(server, named))),
        });
    }
    let url = model.url.clone().or_else(|| configured.ollama.as_ref().map(|known| known.url.clone())).ok_or_else(|| missing("OLLAMA_URL"))?;
    let server = server(config, &url, None, &clock)?;
    let named = OllamaConfig::new(&model.checkpoint);
    Ok(match embeds {
        Some(dimension) => Backend::Embedder(Arc::new(OllamaEmbedder::new(server, named, dimension, most))),
        None => Backend::Generator(Arc::new(OllamaGenerator::new(server, named))),
    })
}

async fn load_generator(model: &Model) -> anyhow::Result<Arc<dyn Generator>> {
    let config = GeneratorConfig {
        path: model.path.clone(),
        name: model.name.clone(),
        weights: model.weights.clone(),
        adapter: model.adapter.clone(),
        threads: model.threads,
        context_tokens: model.context_tokens,
        sequences: model.sequences,
        cache_bytes: model.cache_mib.map(|size| size << 20),
        device: model.device,
        reference: false,
    };
    let loaded = tokio::task::spawn_blocking(move || CandleGenerator::load(config)).await?;
    Ok(Arc::new(loaded.map_err(|error| unusable(&error))?))
}

async fn load_embedder(model: &Model) -> anyhow::Result<Arc<dyn Embedder>> {
    let config = EmbedderConfig {
        path: model.path.clone(),
        name: model.name.clone(),
        weights: model.weights.clone(),
        threads: model.threads,
        precision: model.precision.unwrap_or_default(),
        device: model.device,
        ..EmbedderConfig::default()
    };
    let loaded = tokio::task::spawn_blocking(move || CandleEmbedder::load(config)).await?;
    Ok(Arc::new(loaded.map_err(|error| unusable(&error))?))
}

impl Stack {
    pub(super) async fn open_embedder(&mut self) -> anyhow::Result<()> {
        let config = &self.config;
        let model = &config.models.embedding;
        let loaded = load_embedder(model).await?;
        let (dimension, most) = (loaded.dimension(), loaded.max_tokens());
        let clock: Arc<dyn Clock> = Arc::new(Monotonic::start());
        let mut links = Vec::new();
        if let Some(named) = &model.vllm {
            let embedder = Arc::new(VllmEmbedder::new(server(config, &named.url, named.key.clone(), &clock)?, vllm(named), dimension, most));
            links.push(EmbedderLink { name: "vllm".to_owned(), embedder: Arc::clone(&embedder) as Arc<dyn Embedder>, probe: Some(embedder) });
        }
        if let Some(named) = &model.ollama {
            let embedder = Arc::new(OllamaEmbedder::new(server(config, &named.url, None, &clock)?, ollama(named), dimension, most));
            links.push(EmbedderLink { name: "ollama".to_owned(), embedder: Arc::clone(&embedder) as Arc<dyn Embedder>, probe: Some(embedder) });
        }
        let batch = BatchConfig {
            max_batch_tokens: config.batch.max_batch_tokens,
            max_batch_rows: config.batch.max_batch_rows,
            max_delay: Duration::from_millis(config.batch.max_delay_ms),
            max_in_flight: config.batch.max_in_flight,
            queue_capacity: config.batch.queue_capacity,
            ..BatchConfig::default()
        };
        let local = BatchedEmbedder::new(Arc::clone(&loaded), batch.clone());
        if links.is_empty() {
            self.embedder = Some(Embedding { batched: Arc::clone(&local), local, bare: loaded, backends: vec![LOCAL.to_owned()] });
            return Ok(());
        }
        links.push(EmbedderLink { name: LOCAL.to_owned(), embedder: loaded, probe: None });
        let backends = links.iter().map(|link| link.name.clone()).collect();
        let chain = Arc::new(EmbedderChain::new(links, LOCAL, chain_config(config), clock).map_err(|error| wrong(&error))?);
        let watched = Arc::clone(&chain);
        self.watching.spawn(async move { watched.watch().await });
        self.embedder = Some(Embedding { batched: BatchedEmbedder::new(Arc::clone(&chain) as Arc<dyn Embedder>, batch), local, bare: chain, backends });
        Ok(())
    }

    pub(super) async fn open_generator(&mut self) -> anyhow::Result<()> {
        let config = &self.config;
        let model = &config.models.chat;
        let clock: Arc<dyn Clock> = Arc::new(Monotonic::start());
        let mut links = Vec::new();
        if let Some(named) = &model.vllm {
            let generator = Arc::new(VllmGenerator::new(server(config, &named.url, named.key.clone(), &clock)?, vllm(named)));
            links.push(GeneratorLink { name: "vllm".to_owned(), generator: Arc::clone(&generator) as Arc<dyn Generator>, probe: Some(generator) });
        }
        if let Some(named) = &model.ollama {
            let generator = Arc::new(OllamaGenerator::new(server(config, &named.url, None, &clock)?, ollama(named)));
            links.push(GeneratorLink { name: "ollama".to_owned(), generator: Arc::clone(&generator) as Arc<dyn Generator>, probe: Some(generator) });
        }
        let local = if model.local { Some(load_generator(model).await?) } else { None };
        if let Some(local) = &local {
            if links.is_empty() {
                self.generator = Some(Chat { generator: Arc::clone(local), local: Some(Arc::clone(local)), backends: vec![LOCAL.to_owned()] });
                return Ok(());
            }
            links.push(GeneratorLink { name: LOCAL.to_owned(), generator: Arc::clone(local), probe: None });
        }
        let backends = links.iter().map(|link| link.name.clone()).collect();
        let chain = Arc::new(GeneratorChain::new(links, chain_config(config), clock));
        let watched = Arc::clone(&chain);
        self.watching.spawn(async move { watched.watch().await });
        self.generator = Some(Chat { generator: chain, local, backends });
        Ok(())
    }

    /// What makes vectors, without the batcher before it, and whether that is the model in this process alone.
    pub(crate) fn bare_embedder(&self) -> (Arc<dyn Embedder>, bool) {
        let embedding = self.embedder.as_ref().expect("the command opened the embedder");
        (Arc::clone(&embedding.bare), embedding.backends.len() == 1)
    }

    /// Who is asked for an answer, in order, and for a vector.
    pub(crate) fn backends(&self) -> Vec<String> {
        let mut backends = Vec::new();
        if let Some(chat) = &self.generator {
            backends.extend(chat.backends.iter().map(|name| format!("chat by {name}")));
        }
        if let Some(embedding) = &self.embedder {
            backends.extend(embedding.backends.iter().map(|name| format!("embeddings by {name}")));
        }
        backends
    }

    /// Serves the models alone.
    ///
    /// # Errors
    /// [`Exit::Unavailable`] if the address is taken; [`Exit::Usage`] if it is open to others without a key.
    pub(crate) async fn serve_core(&self) -> anyhow::Result<CoreRunning> {
        let models = &self.config.models;
        let metrics = report::metrics();
        let chat = self.generator.as_ref().map(|chat| Served { name: models.chat.name.clone(), model: Arc::clone(&chat.generator), local: chat.local.clone() });
        let embedding = |class: Class, within: Option<Duration>| {
            self.embedder.as_ref().map(|embedding| Served {
                name: models.embedding.name.clone(),
                model: embedding.batched.handle_within(class, within),
                local: Some(embedding.local.handle_within(class, within)),
            })
        };
        let parts = CoreParts {
            chat,
            embedding: embedding(Class::Interactive, Some(INTERACTIVE)),
            bulk: embedding(Class::Batch, None),
            clock: Arc::new(SystemClock),
            metrics: Arc::new(move || metrics.render()),
        };
        let config = CoreConfig { listen: self.config.core.listen, key: self.config.core.key.clone() };
        ajatus_serving::core::serve(config, parts).await.map_err(|error| match error {
            error @ ajatus_serving::ServeError::Open { .. } => Ended::new(Exit::Usage, error.to_string()),
            error => Ended::new(Exit::Unavailable, error.to_string()),
        })
    }
}
