//! `ajatus core serve`: the official client works against it, two instances serve each other, a dead one is not noticed.

#[path = "../inference/tests/conformance/mod.rs"]
mod conformance;
mod support;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use ajatus_inference::backend::{Patience, Server, VllmConfig, VllmEmbedder, VllmGenerator};
use ajatus_inference::chain::Probe as _;
use ajatus_inference::clock::SystemClock;
use ajatus_inference::{Embedder, Generator};
use conformance::{Facts, answer, embeds, generates, request};
use serde_json::{Value, json};
use support::{Ajatus, root, signal, stderr};

/// A running `ajatus core serve`, ended by its pid.
struct Core {
    child: Child,
    address: String,
    ready: Value,
}

impl Core {
    fn start(ajatus: &Ajatus, more: &[&str]) -> Self {
        let mut child = ajatus
            .command(&[&["core", "serve", "--json"], more].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line = lines.next().expect("it says that it is ready").expect("text");
        let ready: Value = serde_json::from_str(&line).expect("one JSON document");
        let address = ready["address"].as_str().expect("an address").to_owned();
        Self { child, address, ready }
    }

    fn stop(mut self) {
        signal(self.child.id(), "TERM");
        assert!(self.child.wait().expect("it ends").success());
    }

    fn server(&self) -> Server {
        Server::new(&self.address, None, Patience::default(), Arc::new(SystemClock::start())).expect("an address")
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            signal(self.child.id(), "TERM");
            drop(self.child.wait());
        }
    }
}

const ANY: &[&str] = &["--listen", "127.0.0.1:0"];

#[test]
fn the_official_client_works_against_it_and_it_makes_no_data_folder() {
    let ajatus = Ajatus::new().with("CORE_API_KEY", "avain");
    let core = Core::start(&ajatus, ANY);
    assert_eq!(core.ready["backends"], json!(["chat by candle", "embeddings by candle"]));
    let python = root().join(".cache/openai/bin/python");
    let output = Command::new(&python).arg(root().join("tests/core_client.py")).args([&core.address, "avain"]).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}; run tools/setup --tests", python.display()));
    assert!(output.status.success() && output.stdout.ends_with(b"ok\n"), "{}", stderr(&output));
    core.stop();
    assert!(!ajatus.data().exists(), "models need no data folder");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_keeps_the_promises_of_a_vllm_backend() {
    let ajatus = Ajatus::new();
    let core = Core::start(&ajatus, ANY);
    let generator = VllmGenerator::new(core.server(), VllmConfig::default());
    generator.probe().await.expect("there");
    assert_eq!(generator.model().id(), "SmolLM2-135M-Instruct@5f4fa13bfc6dd4a9", "it says which weights it serves");
    let context = generator.context_tokens();
    let facts = Facts { question: "What is the capital of Finland?", says: Some("The capital of Finland is Helsinki."), long: "Tell me a long story.", counts: true, context };
    generates(Arc::new(generator), &facts, || 0).await;
    embeds(Arc::new(VllmEmbedder::new(core.server(), VllmConfig::default(), 384, 256)), 384).await;
    core.stop();
}

/// A metric of an instance.
async fn metric(core: &Core, name: &str, backend: &str, task: &str) -> Option<f64> {
    let page = reqwest::get(format!("{}/metrics", core.address)).await.expect("an answer").text().await.expect("text");
    let wanted = format!("{name}{{backend=\"{backend}\",task=\"{task}\"}} ");
    page.lines().find_map(|line| line.strip_prefix(&wanted)).and_then(|value| value.trim().parse().ok())
}

/// How often each backend answered: the other instance, and the model beside.
async fn answered(core: &Core, task: &str) -> (f64, f64) {
    let count = async |backend| metric(core, "inference_answered_total", backend, task).await.unwrap_or(0.0);
    (count("vllm").await, count("candle").await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_serve_each_other_and_the_death_of_one_is_not_noticed() {
    // A port for the second one, which the first must know before it runs.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").to_string();
    let named = |url: &str| Ajatus::new().with("VLLM_URL", url).with("VLLM_EMBEDDING_URL", url).with("RUST_LOG", "error");
    let first_home = named(&format!("http://{free}"));
    let first = Core::start(&first_home, ANY);
    assert_eq!(first.ready["backends"], json!(["chat by vllm", "chat by candle", "embeddings by vllm", "embeddings by candle"]));
    let second_home = named(&first.address);
    let second = Core::start(&second_home, &["--listen", &free]);

    // Each asks the other, which answers by itself.
    for core in [&first, &second] {
        let (chat, vectors) = (VllmGenerator::new(core.server(), VllmConfig::default()), VllmEmbedder::new(core.server(), VllmConfig::default(), 384, 256));
        let whole = answer(&chat, request("What is the capital of Finland?", 40)).await.expect("an answer");
        assert_eq!(whole.text(), "The capital of Finland is Helsinki.");
        assert_eq!(vectors.embed(vec!["a cat".into()]).await.expect("answered").len(), 1);
    }
    let ask = |core: &Core| {
        let body = json!({"model": "SmolLM2-135M-Instruct", "messages": [{"role": "user", "content": "What is the capital of Finland?"}], "temperature": 0});
        reqwest::Client::new().post(format!("{}/v1/chat/completions", core.address)).json(&body).send()
    };
    let embed = |core: &Core| {
        let body = json!({"model": "all-MiniLM-L6-v2", "input": "a cat"});
        reqwest::Client::new().post(format!("{}/v1/embeddings", core.address)).json(&body).send()
    };
    // The first one looked before the second was there; it looks again by itself.
    for task in ["chat", "embedding"] {
        let begun = std::time::Instant::now();
        while metric(&first, "inference_breaker_state", "vllm", task).await != Some(0.0) {
            assert!(begun.elapsed().as_secs() < 50, "the {task} model of the second instance is not found");
        }
    }
    let body: Value = ask(&first).await.expect("an answer").json().await.expect("JSON");
    assert_eq!(body["choices"][0]["message"]["content"], "The capital of Finland is Helsinki.", "{body}");
    let vector: Value = embed(&first).await.expect("an answer").json().await.expect("JSON");
    assert_eq!((answered(&first, "chat").await, answered(&first, "embedding").await), ((1.0, 0.0), (1.0, 0.0)));

    // Killed without a word: the next answers come from the model beside it, the same vector among them.
    signal(second.child.id(), "KILL");
    let mut second = second;
    second.child.wait().expect("it ends");
    let body: Value = ask(&first).await.expect("an answer").json().await.expect("JSON");
    assert_eq!(body["choices"][0]["message"]["content"], "The capital of Finland is Helsinki.", "{body}");
    let again: Value = embed(&first).await.expect("an answer").json().await.expect("JSON");
    let components = |body: &Value| -> Vec<f64> { body["data"][0]["embedding"].as_array().expect("a vector").iter().map(|value| value.as_f64().expect("a number")).collect() };
    let worst = components(&vector).iter().zip(components(&again)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst < 1e-6 && components(&again).len() == 384, "{worst}");
    assert_eq!((answered(&first, "chat").await, answered(&first, "embedding").await), ((1.0, 1.0), (1.0, 1.0)));
    first.stop();
}

#[test]
fn a_pipeline_asks_a_server_that_speaks_this_interface_and_gets_what_the_model_inside_gives() {
    let ajatus = Ajatus::new();
    let core = Core::start(&ajatus, ANY);
    let sql = |provider: &str| {
        format!(
            "create table notes (id bigint not null, text text) with (connector = 'file', type = 'source', path = 'notes.jsonl');\n\
             create model vectors with (task = 'embedding', {provider} name = 'all-MiniLM-L6-v2');\n\
             create model words with (task = 'generation', {provider} name = 'SmolLM2-135M-Instruct', max_tokens = 12);\n\
             create table seen (id bigint primary key, vector vector(384), said text) with (connector = 'file', type = 'sink', path = 'seen.jsonl');\n\
             create view embedded as select id, text, embed(vectors, text) as vector from notes;\n\
             insert into seen select id, vector, generate(words, text) from embedded;\n"
        )
    };
    ajatus.file("notes.jsonl", b"{\"id\":1,\"text\":\"What is the capital of Finland?\"}\n{\"id\":2,\"text\":\"Name a colour.\"}\n");
    let run = |name: &str, provider: &str| -> Vec<Value> {
        let file = ajatus.file(&format!("{name}.sql"), sql(provider).as_bytes()).display().to_string();
        ajatus.json(&["pipeline", "run", &file, "--state", name]);
        let text = std::fs::read_to_string(ajatus.data().parent().expect("a folder").join("seen.jsonl")).expect("the sink's file");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let inside = run("inside", "provider = 'candle',");
    let outside = run("outside", &format!("provider = 'vllm', url = '{}',", core.address));
    assert_eq!((inside.len(), outside.len()), (2, 2));
    for (inside, outside) in inside.iter().zip(&outside) {
        assert_eq!(inside["said"], outside["said"], "greedy, so the same words");
        assert!(!inside["said"].as_str().expect("words").is_empty());
        let parts = |row: &Value| -> Vec<f64> { row["vector"].as_array().expect("a vector").iter().map(|part| part.as_f64().expect("a number")).collect() };
        let worst = parts(inside).iter().zip(parts(outside)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst < 1e-5, "{worst}");
    }
    core.stop();
    // Nobody is there: dead letters, and the run says so.
    let gone = ajatus.file("gone.sql", sql(&format!("provider = 'vllm', timeout = '2 s', url = '{}',", "http://127.0.0.1:9")).as_bytes()).display().to_string();
    let output = ajatus.run(&["pipeline", "run", &gone, "--state", "gone"]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let nowhere = ajatus.file("nowhere.sql", sql("provider = 'ollama',").as_bytes()).display().to_string();
    let output = ajatus.run(&["pipeline", "run", &nowhere, "--state", "nowhere"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("OLLAMA_URL"), "{}", stderr(&output));
}

#[test]
fn says_what_is_wrong_with_its_configuration() {
    let ajatus = Ajatus::new();
    let refused = |ajatus: &Ajatus, args: &[&str]| {
        let output = ajatus.run(args);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        stderr(&output)
    };
    assert!(refused(&ajatus, &["core", "serve", "--listen", "0.0.0.0:0"]).contains("CORE_API_KEY"));
    assert!(refused(&Ajatus::new().with("VLLM_URL", "https://gpu"), &["core", "serve"]).contains("proxy"));
    assert!(refused(&Ajatus::new().with("OLLAMA_URL", "http://gpu"), &["core", "serve"]).contains("OLLAMA_MODEL"));
    let config = ajatus.file("ajatus.toml", b"[models]\nfirst_word_ms = 5\n");
    assert!(refused(&ajatus, &["core", "serve", "--config", config.to_str().expect("a path")]).contains("first_word_ms is 5"));
}
