//! llama.cpp with the same file: a real server of the interface that `vllm` backends speak, and an engine that must understand a prompt as ours does.

#[path = "../inference/tests/conformance/mod.rs"]
mod conformance;
mod support;

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use ajatus_candle::{CandleGenerator, GeneratorConfig};
use ajatus_inference::backend::{Patience, Server, VllmConfig, VllmGenerator};
use ajatus_inference::chain::Probe as _;
use ajatus_inference::clock::SystemClock;
use conformance::{Facts, answer, generates, request};
use support::root;

/// A running llama.cpp; it ends when its standard input is closed.
struct Llama {
    child: Child,
    address: String,
}

fn file() -> PathBuf {
    root().join(".cache/models/SmolLM2-135M-Instruct/SmolLM2-135M-Instruct.Q4_1.gguf")
}

impl Llama {
    fn start() -> Self {
        let mut command = Command::new(root().join(".cache/openai/bin/python"));
        command.arg(root().join("tests/llamacpp_server.py")).arg(file());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("llama.cpp starts (run `tools/setup --tests`)");
        let mut address = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut address).expect("it says its address");
        assert!(address.starts_with("http://127.0.0.1:"), "it serves on loopback: {address:?}");
        Self { child, address: address.trim().to_owned() }
    }
}

impl Drop for Llama {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().ok();
    }
}

/// What people write: letters of many kinds, figures, spaces, code.
const TEXTS: [&str; 12] = [
    "Hello",
    "",
    "What is 1234 + 56789?",
    "  two spaces before,  two between, two after  ",
    "line\n\nbreaks\n   and\ttabs\r\n",
    "don't, I'll, we've, HE'S, it's",
    "Äiti söi pöydän ääressä; yö oli öljyinen.",
    "日本語のテキスト、そして한국어 и русский",
    "emoji 👩‍👩‍👧‍👦 and 🇫🇮, a\u{301}ccents",
    "fn main() { println!(\"{:?}\", vec![0x1f; 10]); }",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "<|im_end|> is said in a text, and <|endoftext|> too",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn llama_cpp_stands_in_for_vllm_and_reads_and_answers_as_ours_does() {
    let llama = Llama::start();
    let server = Server::new(&llama.address, None, Patience::default(), Arc::new(SystemClock::start())).expect("an address");
    let theirs = Arc::new(VllmGenerator::new(server, VllmConfig { context_tokens: Some(1_024), ..VllmConfig::default() }));
    theirs.probe().await.expect("it is there");
    let config = GeneratorConfig { path: file(), name: "ours".to_owned(), ..GeneratorConfig::default() };
    let ours = tokio::task::spawn_blocking(move || CandleGenerator::load(config)).await.expect("a thread").expect("loaded");

    // Every promise of the port, by a server that is not ours.
    let facts = Facts { question: "What is the capital of Finland?", says: Some("The capital of Finland is Helsinki."), long: "Tell me a long story.", counts: true, context: 1_024 };
    generates(theirs.clone(), &facts, || 0).await;

    // Prompts have as many tokens there as here, whatever stands in them.
    for text in TEXTS {
        let (here, there) = (answer(&ours, request(text, 1)).await.expect("ours"), answer(&*theirs, request(text, 1)).await.expect("theirs"));
        assert_eq!(here.prompt_tokens, there.prompt_tokens, "{text:?}");
    }
    // Greedy answers are the same until two words are as good as equally likely.
    let (mut same, mut all) = (0, 0);
    for question in ["What is the capital of Finland?", "Tell me a story about a dog.", "Why is the sky blue?", "Write a short letter to my mother."] {
        let (here, there) = (answer(&ours, request(question, 24)).await.expect("ours"), answer(&*theirs, request(question, 24)).await.expect("theirs"));
        let (here, there) = (here.text(), there.text());
        let words = here.split_whitespace().zip(there.split_whitespace());
        all += here.split_whitespace().count();
        same += words.take_while(|(here, there)| here == there).count();
    }
    assert!(3 * same > all, "{same} of {all} words are the same");
}
