//! The configuration: `ajatus.toml`, and the few environment variables that replace a part by a real service.
//!
//! Holds always: this is the only place that reads the environment; unknown keys are refused; every value is checked once,
//! here, before anything starts.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ajatus_candle::{Device, Precision};
use serde::Deserialize;

use crate::cli::Global;
use crate::exit::{Ended, Exit};

/// Everything that can be set.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Folder that holds the log, the database and the keys. Default `data`.
    pub(crate) data: PathBuf,
    /// Folder of what `tools/setup` fetched: models, Postgres. Default `.cache`; `AJATUS_ASSETS` overrides.
    pub(crate) assets: PathBuf,
    /// The HTTP side.
    pub(crate) http: Http,
    /// The log.
    pub(crate) log: Log,
    /// The database.
    pub(crate) postgres: Postgres,
    /// The models.
    pub(crate) models: Models,
    /// The dataflow.
    pub(crate) pipeline: Pipeline,
    /// Conversation.
    pub(crate) chat: Chat,
    /// The in-memory index.
    pub(crate) index: Index,
    /// The columnar copy of the memories.
    pub(crate) memory: Memory,
    /// The Arroyo cluster that pipelines are deployed to.
    pub(crate) arroyo: Arroyo,
    /// Batches of texts for the embedding model.
    pub(crate) batch: Batch,
    /// The models over HTTP (`ajatus core serve`).
    pub(crate) core: Core,
}

/// The HTTP side.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Http {
    /// Address to listen on. Default `127.0.0.1:7420`; port 0 takes a free one.
    pub(crate) listen: SocketAddr,
    /// Longest wait of `?after=<receipt>`, milliseconds. Default 2000, 0 to 30000.
    pub(crate) after_wait_ms: u64,
    /// Whether cookies are marked `Secure`. Default false: the built-in server speaks plain HTTP on loopback; set it
    /// behind a TLS proxy.
    pub(crate) secure_cookies: bool,
}

/// The log.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    /// Kafka to use instead of the embedded log, `host:port,…`; `KAFKA_BOOTSTRAP_SERVERS` overrides. Default none.
    pub(crate) kafka: Option<String>,
    /// Another `topics.toml` than the built-in one. Default none.
    pub(crate) topics: Option<PathBuf>,
}

/// The database.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Postgres {
    /// Postgres with pgvector to use instead of the private one; `DATABASE_URL` overrides. Default none.
    pub(crate) url: Option<String>,
    /// Connections at most. Default 10, 4 to 200.
    pub(crate) max_connections: u32,
    /// User that the private server runs as when `ajatus` is started by root. Default `nobody`.
    pub(crate) run_as: String,
}

/// The models.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Models {
    /// Makes vectors.
    pub(crate) embedding: Model,
    /// Speaks.
    pub(crate) chat: Model,
    /// Longest wait for a backend's first word, milliseconds, before the next one is asked. Default 60000, 100 to 600000.
    pub(crate) first_word_ms: u64,
}

/// One model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Model {
    /// Name shown and kept beside answers.
    pub(crate) name: String,
    /// File (GGUF) or folder (safetensors, tokenizer, config). Relative paths start at `assets`. Default: the registry's under this name.
    #[serde(default)]
    pub(crate) path: PathBuf,
    /// First 16 hex digits of the weights' BLAKE3 hash; another file is refused. Default: not checked.
    #[serde(default)]
    pub(crate) weights: Option<String>,
    /// Folder of a LoRA adapter, of a chat model of safetensors. A relative path starts at `assets`. Default none.
    #[serde(default)]
    pub(crate) adapter: Option<PathBuf>,
    /// The numbers that an embedding model in this process multiplies. Default: `bf16` where the processor does, else `f32`.
    #[serde(default)]
    pub(crate) precision: Option<Precision>,
    /// Threads. Default: one per core.
    #[serde(default)]
    pub(crate) threads: Option<usize>,
    /// Most tokens of prompt and answer. Default: what the model's file says, at most 8192.
    #[serde(default)]
    pub(crate) context_tokens: Option<usize>,
    /// Where the model in this process is computed: "cpu", "cuda", "cuda:1". Default the processor.
    #[serde(default)]
    pub(crate) device: Device,
    /// Answers that the chat model in this process gives at once; more wait. Default 8.
    #[serde(default)]
    pub(crate) sequences: Option<usize>,
    /// MiB of keys and values that these keep at most; one answer is begun whatever it needs. Default 2048.
    #[serde(default)]
    pub(crate) cache_mib: Option<usize>,
    /// A server with the interface of vLLM, asked first. Default none.
    #[serde(default)]
    pub(crate) vllm: Option<Vllm>,
    /// An Ollama, asked when vLLM does not answer. Default none.
    #[serde(default)]
    pub(crate) ollama: Option<Ollama>,
    /// Whether the model in this process answers when no server does; only a chat model can be left out. Default true.
    #[serde(default = "yes")]
    pub(crate) local: bool,
}

fn yes() -> bool {
    true
}

/// A server with the interface of vLLM: vLLM, another `ajatus core serve`, llama.cpp's server.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vllm {
    /// Where it is; `VLLM_URL` (chat) and `VLLM_EMBEDDING_URL` override.
    pub(crate) url: String,
    /// Its model. Default: the first that it lists for the task; `VLLM_MODEL` and `VLLM_EMBEDDING_MODEL` override.
    #[serde(default)]
    pub(crate) model: Option<String>,
    /// Its key. Default none; `VLLM_API_KEY` overrides.
    #[serde(default)]
    pub(crate) key: Option<String>,
    /// What stands for its weights in the name of an answer's model. Default: what it says, else `unverified`.
    #[serde(default)]
    pub(crate) weights: Option<String>,
    /// Most tokens of prompt and answer. Default: what it says, else 4096.
    #[serde(default)]
    pub(crate) context_tokens: Option<usize>,
}

/// An Ollama.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ollama {
    /// Where it is; `OLLAMA_URL` overrides.
    pub(crate) url: String,
    /// Its model; `OLLAMA_MODEL` (chat) and `OLLAMA_EMBEDDING_MODEL` override.
    pub(crate) model: String,
    /// Most tokens of prompt and answer; it takes memory there. Default 4096.
    #[serde(default)]
    pub(crate) context_tokens: Option<usize>,
}

/// Batches of texts for the embedding model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Batch {
    /// Tokens of a batch at most. Default 16384, 512 to 1048576.
    pub(crate) max_batch_tokens: usize,
    /// Texts of a batch at most. Default 64, 1 to 4096.
    pub(crate) max_batch_rows: usize,
    /// How long a text waits for its batch to fill, milliseconds. Default 0 (right for a CPU), 0 to 1000.
    pub(crate) max_delay_ms: u64,
    /// Batches at the model at once. Default 1; 2 to 8 for a server. 1 to 64.
    pub(crate) max_in_flight: usize,
    /// Texts waiting at most, per class. Default 8192, 1 to 1000000.
    pub(crate) queue_capacity: usize,
}

/// The models over HTTP.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Core {
    /// Address to listen on. Default `127.0.0.1:7421`; port 0 takes a free one. Others than this machine's need a key.
    pub(crate) listen: SocketAddr,
    /// Key that clients must send. Default none; `CORE_API_KEY` overrides.
    pub(crate) key: Option<String>,
}

/// The dataflow.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Pipeline {
    /// Timely worker threads. Default 1, 1 to 64.
    pub(crate) workers: usize,
    /// Epochs that may be minted before the oldest is applied. Default 8, 1 to 1024.
    pub(crate) max_epochs_ahead: usize,
    /// Rows of one epoch at most. Default 256, 1 to 100000.
    pub(crate) max_epoch_rows: usize,
}

/// Conversation.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Chat {
    /// Tokens of a prompt at most: instructions, memories, recent turns. Default 512, 128 to 100000.
    pub(crate) prompt_tokens: usize,
    /// Tokens of a reply at most. Default 160, 1 to 8192.
    pub(crate) reply_tokens: usize,
    /// Memories put before the model at most. Default 6, 0 to 50.
    pub(crate) memories: usize,
    /// 0 is greedy. Default 0.2, 0 to 2.
    pub(crate) temperature: f64,
}

/// The in-memory index.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Index {
    /// Memory for users' vectors and postings, MiB; the least recently used users leave first. Default 256, 16 up.
    pub(crate) max_mib: usize,
}

/// The columnar copy of the memories.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Memory {
    /// Whether `lance/memories` in the data folder is kept (docs/lance.md). Default true.
    pub(crate) lance: bool,
    /// Minutes after which it is tidied up and compared with Postgres, if something came. Default 15, 1 to 10080.
    pub(crate) lance_tidy_min: u64,
}

/// How an Arroyo cluster is talked to; its address stands on the command line.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Arroyo {
    /// Bearer token of its API; `AJATUS_ARROYO_TOKEN` overrides. Default none.
    pub(crate) token: Option<String>,
    /// Longest wait for one answer, seconds. Default 30, 1 to 3600.
    pub(crate) request_s: u64,
    /// Longest wait for a pipeline to stop, to run, or to have its first checkpoint, seconds. Default 300, 1 to 86400.
    pub(crate) deadline_s: u64,
    /// Pause between two questions about a state, milliseconds. Default 1000, 1 to 60000.
    pub(crate) poll_ms: u64,
}

impl std::fmt::Debug for Arroyo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A token is never printed.
        let token = self.token.as_ref().map(|_| "…");
        f.debug_struct("Arroyo").field("token", &token).field("request_s", &self.request_s).field("deadline_s", &self.deadline_s).finish_non_exhaustive()
    }
}

impl Default for Arroyo {
    fn default() -> Self {
        Self { token: None, request_s: 30, deadline_s: 300, poll_ms: 1000 }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: "data".into(),
            assets: ".cache".into(),
            http: Http::default(),
            log: Log::default(),
            postgres: Postgres::default(),
            models: Models::default(),
            pipeline: Pipeline::default(),
            chat: Chat::default(),
            index: Index::default(),
            memory: Memory::default(),
            arroyo: Arroyo::default(),
            batch: Batch::default(),
            core: Core::default(),
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 7420)), after_wait_ms: 2000, secure_cookies: false }
    }
}

#[expect(clippy::derivable_impls, reason = "the defaults of the configuration stand together, spelled out")]
impl Default for Log {
    fn default() -> Self {
        Self { kafka: None, topics: None }
    }
}

impl Default for Postgres {
    fn default() -> Self {
        Self { url: None, max_connections: 10, run_as: "nobody".into() }
    }
}

impl Default for Models {
    fn default() -> Self {
        Self {
            embedding: Model {
                name: "all-MiniLM-L6-v2".into(),
                path: "models/all-MiniLM-L6-v2".into(),
                weights: Some("8087e9bf97c265f8".into()),
                adapter: None,
                precision: None,
                threads: None,
                context_tokens: None,
                device: Device::Cpu,
                sequences: None,
                cache_mib: None,
                vllm: None,
                ollama: None,
                local: true,
            },
            chat: Model {
                name: "SmolLM2-135M-Instruct".into(),
                path: "models/SmolLM2-135M-Instruct".into(),
                weights: Some("5f4fa13bfc6dd4a9".into()),
                adapter: None,
                precision: None,
                threads: None,
                context_tokens: None,
                device: Device::Cpu,
                sequences: None,
                cache_mib: None,
                vllm: None,
                ollama: None,
                local: true,
            },
            first_word_ms: 60_000,
        }
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self { max_batch_tokens: 16_384, max_batch_rows: 64, max_delay_ms: 0, max_in_flight: 1, queue_capacity: 8_192 }
    }
}

impl Default for Core {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 7421)), key: None }
    }
}

impl Default for Pipeline {
    fn default() -> Self {
        Self { workers: 1, max_epochs_ahead: 8, max_epoch_rows: 256 }
    }
}

impl Default for Chat {
    fn default() -> Self {
        Self { prompt_tokens: 512, reply_tokens: 160, memories: 6, temperature: 0.2 }
    }
}

impl Default for Index {
    fn default() -> Self {
        Self { max_mib: 256 }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self { lance: true, lance_tidy_min: 15 }
    }
}

/// Variables of the environment that matter, read once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    database_url: Option<String>,
    kafka: Option<String>,
    assets: Option<PathBuf>,
    arroyo_token: Option<String>,
    vllm: [Option<String>; 2],
    vllm_model: [Option<String>; 2],
    vllm_key: Option<String>,
    ollama: Option<String>,
    ollama_model: [Option<String>; 2],
    core_key: Option<String>,
    lance_threads: Option<String>,
    /// Log filter, as `RUST_LOG` has it.
    pub(crate) log_filter: Option<String>,
}

impl Environment {
    /// Reads them.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub(crate) fn read() -> Self {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        Self {
            database_url: text("DATABASE_URL"),
            kafka: text("KAFKA_BOOTSTRAP_SERVERS"),
            assets: text("AJATUS_ASSETS").map(PathBuf::from),
            arroyo_token: text("AJATUS_ARROYO_TOKEN"),
            vllm: [text("VLLM_URL"), text("VLLM_EMBEDDING_URL")],
            vllm_model: [text("VLLM_MODEL"), text("VLLM_EMBEDDING_MODEL")],
            vllm_key: text("VLLM_API_KEY"),
            ollama: text("OLLAMA_URL"),
            ollama_model: [text("OLLAMA_MODEL"), text("OLLAMA_EMBEDDING_MODEL")],
            core_key: text("CORE_API_KEY"),
            lance_threads: text("LANCE_IO_THREADS"),
            log_filter: text("RUST_LOG"),
        }
    }
}

impl Config {
    /// Reads the file (a missing default file is no error), applies environment and options, checks bounds, makes paths
    /// absolute.
    pub(crate) fn load(global: &Global, environment: &Environment) -> anyhow::Result<Self> {
        let (mut config, folder) = match &global.config {
            Some(path) => (Self::read(path)?, path.parent().map(Path::to_path_buf).unwrap_or_default()),
            None if Path::new("ajatus.toml").exists() => (Self::read(Path::new("ajatus.toml"))?, PathBuf::new()),
            None => (Self::default(), PathBuf::new()),
        };
        config.data = folder.join(&config.data);
        config.assets = folder.join(&config.assets);
        config.log.topics = config.log.topics.map(|path| folder.join(path));
        if let Some(data) = &global.data {
            config.data.clone_from(data);
        }
        if let Some(assets) = &environment.assets {
            config.assets.clone_from(assets);
        }
        if let Some(url) = &environment.database_url {
            config.postgres.url = Some(url.clone());
        }
        if let Some(servers) = &environment.kafka {
            config.log.kafka = Some(servers.clone());
        }
        if let Some(token) = &environment.arroyo_token {
            config.arroyo.token = Some(token.clone());
        }
        if environment.lance_threads.as_deref().is_some_and(|threads| threads.trim() == "1") {
            return Err(Ended::new(Exit::Usage, "LANCE_IO_THREADS is 1, with which the Lance library hangs; leave it unset, or give it 2 or more"));
        }
        config.take_servers(environment)?;
        config.check()?;
        for path in [&mut config.data, &mut config.assets] {
            *path = std::path::absolute(&path)?;
        }
        crate::registry::settle(&mut config)?;
        for model in [&mut config.models.embedding, &mut config.models.chat] {
            model.path = config.assets.join(&model.path);
            model.adapter = model.adapter.take().map(|adapter| config.assets.join(adapter));
        }
        Ok(config)
    }

    /// The servers of models that the environment names, for chat first and for embeddings second.
    fn take_servers(&mut self, environment: &Environment) -> anyhow::Result<()> {
        for (at, model) in [&mut self.models.chat, &mut self.models.embedding].into_iter().enumerate() {
            if let Some(url) = &environment.vllm[at] {
                model.vllm.get_or_insert_default().url.clone_from(url);
            }
            if let Some(vllm) = &mut model.vllm {
                vllm.model = environment.vllm_model[at].clone().or(vllm.model.take());
                vllm.key = environment.vllm_key.clone().or(vllm.key.take());
            }
            match (&environment.ollama, &environment.ollama_model[at], &mut model.ollama) {
                (url, name, Some(ollama)) => {
                    ollama.url = url.clone().unwrap_or_else(|| ollama.url.clone());
                    ollama.model = name.clone().unwrap_or_else(|| ollama.model.clone());
                }
                (Some(url), Some(name), none) => *none = Some(Ollama { url: url.clone(), model: name.clone(), context_tokens: None }),
                _ => {}
            }
        }
        if environment.ollama.is_some() && self.models.chat.ollama.is_none() && self.models.embedding.ollama.is_none() {
            let message = "OLLAMA_URL is set, but no model of it: set OLLAMA_MODEL (chat) or OLLAMA_EMBEDDING_MODEL too, to a name that `ollama list` shows";
            return Err(Ended::new(Exit::Usage, message));
        }
        if let Some(key) = &environment.core_key {
            self.core.key = Some(key.clone());
        }
        Ok(())
    }

    fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Ended::new(Exit::Usage, format!("configuration {} cannot be read: {error}", path.display()))
        })?;
        toml::from_str(&text).map_err(|error| {
            Ended::new(
                Exit::Usage,
                format!("configuration {}: {error}docs/operations.md lists every key", path.display()),
            )
        })
    }

    fn check(&self) -> anyhow::Result<()> {
        fn within<T: PartialOrd + std::fmt::Display>(key: &str, value: T, low: T, high: T) -> anyhow::Result<()> {
            if value >= low && value <= high {
                return Ok(());
            }
            Err(Ended::new(Exit::Usage, format!("configuration: {key} is {value}, but it must lie between {low} and {high}")))
        }
        within("http.after_wait_ms", self.http.after_wait_ms, 0, 30_000)?;
        within("postgres.max_connections", self.postgres.max_connections, 4, 200)?;
        within("pipeline.workers", self.pipeline.workers, 1, 64)?;
        within("pipeline.max_epochs_ahead", self.pipeline.max_epochs_ahead, 1, 1024)?;
        within("pipeline.max_epoch_rows", self.pipeline.max_epoch_rows, 1, 100_000)?;
        within("chat.prompt_tokens", self.chat.prompt_tokens, 128, 100_000)?;
        within("chat.reply_tokens", self.chat.reply_tokens, 1, 8192)?;
        within("chat.memories", self.chat.memories, 0, 50)?;
        within("chat.temperature", self.chat.temperature, 0.0, 2.0)?;
        within("index.max_mib", self.index.max_mib, 16, 1_000_000)?;
        within("memory.lance_tidy_min", self.memory.lance_tidy_min, 1, 10_080)?;
        within("arroyo.request_s", self.arroyo.request_s, 1, 3600)?;
        within("arroyo.deadline_s", self.arroyo.deadline_s, 1, 86_400)?;
        within("arroyo.poll_ms", self.arroyo.poll_ms, 1, 60_000)?;
        within("models.first_word_ms", self.models.first_word_ms, 100, 600_000)?;
        within("batch.max_batch_tokens", self.batch.max_batch_tokens, 512, 1_048_576)?;
        within("batch.max_batch_rows", self.batch.max_batch_rows, 1, 4096)?;
        within("batch.max_delay_ms", self.batch.max_delay_ms, 0, 1000)?;
        within("batch.max_in_flight", self.batch.max_in_flight, 1, 64)?;
        within("batch.queue_capacity", self.batch.queue_capacity, 1, 1_000_000)?;
        if self.models.embedding.adapter.is_some() || self.models.chat.precision.is_some() {
            return Err(Ended::new(Exit::Usage, "configuration: models.chat takes an adapter, and models.embedding a precision; the other way round there is none"));
        }
        if !self.models.embedding.local {
            let message = "configuration: models.embedding.local must be true: the model in this process says which vectors are right, so that servers can be held to it";
            return Err(Ended::new(Exit::Usage, message));
        }
        if !self.models.chat.local && self.models.chat.vllm.is_none() && self.models.chat.ollama.is_none() {
            return Err(Ended::new(Exit::Usage, "configuration: models.chat.local is false, and no server is named: nobody would answer"));
        }
        for (key, model) in [("models.embedding", &self.models.embedding), ("models.chat", &self.models.chat)] {
            within(&format!("{key}.threads"), model.threads.unwrap_or(1), 1, 1024)?;
            within(&format!("{key}.sequences"), model.sequences.unwrap_or(1), 1, 1024)?;
            within(&format!("{key}.cache_mib"), model.cache_mib.unwrap_or(1), 1, 1 << 24)?;
            if let Some(weights) = &model.weights
                && (weights.len() != 16 || !weights.bytes().all(|byte| byte.is_ascii_hexdigit()))
            {
                return Err(Ended::new(
                    Exit::Usage,
                    format!("configuration: {key}.weights is {weights:?}, but it must be 16 hex digits"),
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_an_unknown_key_and_names_it() {
        let error = toml::from_str::<Config>("[chat]\nprompt_token = 3").expect_err("unknown key");
        assert!(error.to_string().contains("prompt_token"), "{error}");
    }

    #[test]
    fn refuses_a_value_outside_its_bounds() {
        let config: Config = toml::from_str("[pipeline]\nworkers = 0").expect("shape is right");
        let error = config.check().expect_err("bound");
        assert!(error.to_string().contains("pipeline.workers is 0"), "{error}");
        assert_eq!(crate::exit::of(&error), Exit::Usage);
    }

    #[test]
    fn takes_servers_from_the_environment_and_refuses_half_of_one() {
        let environment = Environment {
            vllm: [Some("http://a".to_owned()), None],
            vllm_model: [Some("m".to_owned()), Some("e".to_owned())],
            ollama: Some("http://o".to_owned()),
            ollama_model: [None, Some("minilm".to_owned())],
            ..Environment::default()
        };
        let mut config: Config = toml::from_str("[models.chat]\nname = \"c\"\npath = \"c\"\nvllm = { url = \"http://b\", model = \"n\", key = \"k\" }").expect("shape is right");
        config.take_servers(&environment).expect("whole");
        let vllm = config.models.chat.vllm.as_ref().expect("named");
        assert_eq!((vllm.url.as_str(), vllm.model.as_deref(), vllm.key.as_deref()), ("http://a", Some("m"), Some("k")));
        assert!(config.models.chat.ollama.is_none() && config.models.embedding.vllm.is_none());
        assert_eq!(config.models.embedding.ollama.as_ref().expect("named").model, "minilm");
        let half = Environment { ollama_model: [None, None], ..environment };
        let error = Config::default().take_servers(&half).expect_err("no model");
        assert!(error.to_string().contains("OLLAMA_MODEL"), "{error}");
        let alone: Config = toml::from_str("[models.chat]\nname = \"c\"\npath = \"c\"\nlocal = false").expect("shape is right");
        assert!(alone.check().expect_err("nobody answers").to_string().contains("nobody"));
    }

    #[test]
    fn accepts_its_own_defaults() {
        Config::default().check().expect("defaults lie within bounds");
    }
}
