//! A real Ollama, with the same file that the model in this process reads. Opt-in: `make test-ollama` builds it from its source first.

#[path = "../inference/tests/conformance/mod.rs"]
mod conformance;
mod support;

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ajatus_candle::{CandleEmbedder, EmbedderConfig, Precision};
use ajatus_inference::backend::{OllamaConfig, OllamaEmbedder, OllamaGenerator, Patience, Server};
use ajatus_inference::chain::Probe as _;
use ajatus_inference::clock::SystemClock;
use ajatus_inference::{Embedder as _, InferenceError};
use conformance::{Facts, generates};
use support::{root, signal};

/// A running Ollama with a folder of its own, ended by its pid.
struct Ollama {
    child: Child,
    address: String,
    folder: tempfile::TempDir,
}

impl Ollama {
    fn command(folder: &tempfile::TempDir, address: &str) -> Command {
        let mut command = Command::new(root().join(".cache/ollama/ollama"));
        command.env("HOME", folder.path()).env("OLLAMA_MODELS", folder.path().join("models")).env("OLLAMA_HOST", address).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
        let address = free.to_string();
        let child = Self::command(&folder, &address).arg("serve").spawn().expect("Ollama starts (run tools/ollama/setup)");
        let ollama = Self { child, address, folder };
        let asked = OllamaGenerator::new(ollama.server(), OllamaConfig::new("smol"));
        for _ in 0..600 {
            match asked.probe().await {
                Err(InferenceError::Unreachable { .. }) => tokio::time::sleep(Duration::from_millis(50)).await,
                // A model that it does not have is refused by name.
                Err(InferenceError::Refused { reason, .. }) if reason.contains("ollama pull smol") => return ollama,
                other => panic!("{other:?}"),
            }
        }
        panic!("Ollama does not answer");
    }

    fn server(&self) -> Server {
        Server::new(&format!("http://{}", self.address), None, Patience::default(), Arc::new(SystemClock::start())).expect("an address")
    }

    fn create(&self, name: &str, from: &std::path::Path) {
        let modelfile = self.folder.path().join(name);
        std::fs::write(&modelfile, format!("FROM {}\n", from.display())).expect("written");
        assert!(Self::command(&self.folder, &self.address).args(["create", name, "-f"]).arg(modelfile).status().expect("it runs").success(), "{name} is created");
    }
}

impl Drop for Ollama {
    fn drop(&mut self) {
        signal(self.child.id(), "TERM");
        self.child.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an Ollama: make test-ollama"]
async fn a_real_ollama_keeps_every_promise_of_the_port() {
    let ollama = Ollama::start().await;
    ollama.create("smol", &root().join(".cache/models/SmolLM2-135M-Instruct/SmolLM2-135M-Instruct.Q4_1.gguf"));
    let generator = Arc::new(OllamaGenerator::new(ollama.server(), OllamaConfig { context_tokens: 1_024, ..OllamaConfig::new("smol") }));
    generator.probe().await.expect("it is there");
    let facts = Facts { question: "What is the capital of Finland?", says: None, long: "Tell me a long story.", counts: false, context: 1_024 };
    generates(generator, &facts, || 0).await;

    // The embedding model, which Ollama makes of the same folder: the vectors that the model in this process gives.
    let folder = root().join(".cache/models/all-MiniLM-L6-v2");
    ollama.create("minilm", &folder);
    let theirs = Arc::new(OllamaEmbedder::new(ollama.server(), OllamaConfig::new("minilm"), 384, 256));
    theirs.probe().await.expect("it is there");
    let config = EmbedderConfig { path: folder, name: "ours".to_owned(), precision: Precision::F32, ..EmbedderConfig::default() };
    let ours = CandleEmbedder::load(config).expect("loaded");
    let texts: Vec<String> = ["a cat naps", "Höyryävä kahvi", "x", "How much is 1,234.50?"].map(str::to_owned).to_vec();
    let (theirs, ours) = (theirs.embed(texts.clone()).await.expect("theirs"), ours.embed(texts.clone()).await.expect("ours"));
    for (text, (theirs, ours)) in texts.iter().zip(theirs.into_iter().zip(ours)) {
        let cosine: f32 = theirs.expect("a vector").iter().zip(&ours.expect("a vector")).map(|(a, b)| a * b).sum();
        assert!(cosine > 0.9999, "{text:?}: {cosine}");
    }
}
