//! Every backend keeps the promises of the ports (one suite), and says what is wrong when its server misbehaves.
//! The model in this process needs its files under `.cache/models` (`tools/setup`).

mod conformance;
mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ajatus_candle::{CandleEmbedder, CandleGenerator, EmbedderConfig, GeneratorConfig};
use ajatus_inference::backend::{OllamaConfig, OllamaEmbedder, OllamaGenerator, VllmConfig, VllmEmbedder, VllmGenerator};
use ajatus_inference::chain::Probe as _;
use ajatus_inference::clock::ManualClock;
use ajatus_inference::{Embedder, GenerateRequest, Generator, InferenceError};
use conformance::{Facts, answer, embeds, generates, request};
use support::raw::{Raw, Step, response};
use support::{Running, server, with_clock};

const QUESTION: &str = "Mitä kuuluu tänään?";
const SAYS: &str = "You asked 3 words: «Mitä kuuluu tänään?». Hyvää päivää 🦀, ja näkemiin!";

fn facts(counts: bool, context: usize) -> Facts {
    Facts { question: QUESTION, says: Some(SAYS), long: "Long, please.", counts, context }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vllm_keeps_the_promises() {
    let fake = support::vllm::Fake { key: Some("secret"), ..Default::default() };
    let live = fake.live.clone();
    let running = Running::start(fake.router()).await;
    let generator = VllmGenerator::new(server(&running.url, Some("secret")), VllmConfig::default());
    generator.probe().await.expect("there");
    assert_eq!(generator.model().id(), format!("{}@unverified", support::vllm::MODEL), "the first that the server lists");
    generates(Arc::new(generator), &facts(true, support::vllm::CONTEXT), || live.now()).await;
    let config = VllmConfig { model: Some(support::vllm::EMBEDDING.to_owned()), ..VllmConfig::default() };
    embeds(Arc::new(VllmEmbedder::new(server(&running.url, Some("secret")), config, 8, 256)), 8).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ollama_keeps_the_promises() {
    let fake = support::ollama::Fake::default();
    let live = fake.live.clone();
    let running = Running::start(fake.router()).await;
    let generator = OllamaGenerator::new(server(&running.url, None), OllamaConfig::new(support::ollama::MODEL));
    generator.probe().await.expect("there");
    assert_eq!(generator.model().id(), "mistral@6577803aa9a03636", "the digest stands for the weights");
    generates(Arc::new(generator), &facts(false, 4_096), || live.now()).await;
    embeds(Arc::new(OllamaEmbedder::new(server(&running.url, None), OllamaConfig::new(support::ollama::EMBEDDING), 8, 256)), 8).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_model_in_this_process_keeps_the_promises() {
    let models = Path::new("../.cache/models");
    let chat = GeneratorConfig { path: models.join("SmolLM2-135M-Instruct"), name: "SmolLM2".into(), context_tokens: Some(300), ..GeneratorConfig::default() };
    let generator = CandleGenerator::load(chat).expect("the model is there (run `tools/setup`)");
    let facts = Facts { question: "What is the capital of Finland?", says: Some("The capital of Finland is Helsinki."), long: "Tell me a long story.", counts: true, context: 300 };
    generates(Arc::new(generator), &facts, || 0).await;
    let minilm = EmbedderConfig { path: models.join("all-MiniLM-L6-v2"), name: "all-MiniLM-L6-v2".into(), ..EmbedderConfig::default() };
    let embedder = CandleEmbedder::load(minilm).expect("the model is there (run `tools/setup`)");
    let measured = embedder.measure(&["a cat".to_owned(), "word ".repeat(100_000)]).expect("it counts");
    assert_eq!((measured[0].all, measured[0].read, measured[0].truncated()), (4, 4, false));
    assert_eq!((measured[1].all, measured[1].read, measured[1].truncated()), (100_002, 256, true));
    embeds(Arc::new(embedder), 384).await;
}

/// A stream of events with its headers.
fn stream(body: &str) -> Vec<u8> {
    response("200 OK", "content-type: text/event-stream\r\n", body.as_bytes())
}

const WORD: &str = r#"data: {"choices": [{"index": 0, "delta": {"content": "Hyvää "}, "finish_reason": null}]}"#;
const LAST: &str = r#"data: {"choices": [{"index": 0, "delta": {"content": "yötä"}, "finish_reason": "stop"}]}"#;
const USAGE: &str = r#"data: {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}}"#;

async fn vllm_with(steps: Vec<Step>, clock: &Arc<ManualClock>) -> (Raw, VllmGenerator) {
    let raw = Raw::start(move |path| match path {
        "/v1/models" => vec![Step::Send(response("200 OK", "", br#"{"object": "list", "data": [{"id": "m", "object": "model"}]}"#))],
        "/v1/chat/completions" => steps.clone(),
        _ => vec![Step::Send(response("404 Not Found", "", b""))],
    })
    .await;
    let generator = VllmGenerator::new(with_clock(&raw.url, None, Arc::<ManualClock>::clone(clock)), VllmConfig::default());
    (raw, generator)
}

/// Runs a wait while the clock runs fast.
async fn hurried<T>(clock: &ManualClock, work: impl Future<Output = T>) -> T {
    let hurry = async {
        loop {
            clock.advance(Duration::from_millis(1));
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        done = work => done,
        () = hurry => unreachable!("it goes on for ever"),
    }
}

#[tokio::test]
async fn vllm_streams_are_read_to_the_letter() {
    let clock = Arc::new(ManualClock::new());
    for (name, body, usage) in [
        ("plain", format!("{WORD}\n\n{LAST}\n\n{USAGE}\n\ndata: [DONE]\n\n"), (9, 4)),
        ("CRLF, comments, other fields", format!(": hei\r\n\r\nevent: x\r\nid: 1\r\n{WORD}\r\n\r\n: tick\r\n\r\n{LAST}\r\n\r\n{USAGE}\r\n\r\ndata: [DONE]\r\n\r\n"), (9, 4)),
        ("no [DONE]", format!("\u{feff}{WORD}\n\n{LAST}\n\n{USAGE}\n\n"), (9, 4)),
        ("no usage", format!("{WORD}\n\n{LAST}\n\ndata: [DONE]\n\n"), (0, 2)),
        ("cut off after its end", format!("{WORD}\n\n{LAST}\n\ndata: {{\"choi"), (0, 2)),
        ("talk after the end", format!("{WORD}\n\n{LAST}\n\ndata: [DONE]\n\n{WORD}\n\n"), (0, 2)),
    ] {
        let (_raw, model) = vllm_with(stream(&body).chunks(7).map(|piece| Step::Send(piece.to_vec())).collect(), &clock).await;
        let whole = answer(&model, request(QUESTION, 50)).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(whole.text(), "Hyvää yötä", "{name}");
        assert_eq!((whole.prompt_tokens, whole.completion_tokens), usage, "{name}");
    }
}

#[tokio::test]
async fn a_vllm_server_that_misbehaves_gives_an_error_that_says_so() {
    let clock = Arc::new(ManualClock::new());
    let send = |bytes: Vec<u8>| vec![Step::Send(bytes)];
    let chunked = |body: &str| [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(), format!("{:x}\r\n{body}\r\n", body.len()).into_bytes()].concat();
    let bad = |name: &'static str, steps: Vec<Step>, kind: &'static str, says: &'static str| (name, steps, kind, says);
    let cases = [
        bad("an end without a reason", send(stream(&format!("{WORD}\n\n"))), "broken_off", "middle"),
        bad("done without a reason", send(stream(&format!("{WORD}\n\ndata: [DONE]\n\n"))), "broken_off", "without saying why"),
        bad("a cut connection", send(chunked(&format!("{WORD}\n\ndata: {{\"cho"))), "broken_off", "lost"),
        bad("an error in the stream", send(stream(&format!("{WORD}\n\ndata: {{\"error\": {{\"message\": \"out of memory\"}}}}\n\n"))), "broken_off", "out of memory"),
        bad("another kind of error", send(stream("data: {\"object\": \"error\", \"message\": \"engine died\"}\n\n")), "broken_off", "engine died"),
        bad("an end we did not ask for", send(stream(&LAST.replace("stop", "content_filter").replace("data", "\n\ndata"))), "garbled", "without saying anything"),
        bad("a filter", send(stream(&format!("{}\n\n", LAST.replace("\"stop\"", "\"content_filter\"")))), "broken_off", "content_filter"),
        bad("a page", send(response("200 OK", "content-type: text/html\r\n", b"<html>It works!</html>")), "garbled", "right kind of server"),
        bad("no JSON", send(stream("data: {oops}\n\n")), "garbled", "no JSON"),
        bad("other JSON", send(stream("data: [1, 2]\n\n")), "garbled", "no part of an answer"),
        bad("no text", send(response("200 OK", "", b"data: \xff\xfe\n\n")), "garbled", "UTF-8"),
        bad("a line without an end", send(response("200 OK", "", &vec![b'x'; 3 << 20])), "garbled", "longer"),
        bad("no HTTP", send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec()), "unreachable", "start the server"),
        bad("nothing and gone", Vec::new(), "unreachable", "start the server"),
        bad("a 500", send(response("500 Internal Server Error", "", b"kaput")), "backend", "kaput"),
        bad("a 400", send(response("400 Bad Request", "", br#"{"error": {"message": "too long"}}"#)), "input", "too long"),
        bad("a 401", send(response("401 Unauthorized", "", br#"{"error": "Unauthorized"}"#)), "refused", "key"),
        bad("a 404", send(response("404 Not Found", "", br#"{"detail": "Not Found"}"#)), "refused", "right kind of server"),
        bad("a redirect", send(response("302 Found", "location: http://example.com/\r\n", b"")), "garbled", "302"),
        bad("a 429", send(response("429 Too Many Requests", "retry-after: 7\r\n", b"")), "throttled", "come again in 7 s"),
        bad("a 503", send(response("503 Service Unavailable", "", b"")), "throttled", "no more requests"),
        bad("nothing", vec![Step::Hang], "timeout", "60000 ms"),
        bad("a head and nothing", vec![Step::Send(stream("")), Step::Hang], "timeout", "60000 ms"),
        bad("half a stream and nothing", vec![Step::Send(stream(&format!("{WORD}\n\n"))), Step::Hang], "timeout", "30000 ms"),
    ];
    for (name, steps, kind, says) in cases {
        let (_raw, model) = vllm_with(steps, &clock).await;
        // The model's name first, with the clock standing.
        model.probe().await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let asked = answer(&model, request(QUESTION, 50));
        let error = match kind {
            "timeout" => hurried(&clock, asked).await,
            _ => asked.await,
        };
        let error = error.err().unwrap_or_else(|| panic!("{name}: an answer"));
        assert_eq!(error.kind(), kind, "{name}: {error}");
        assert!(error.to_string().contains(says), "{name}: {error}");
        if name == "a 429" {
            assert!(matches!(error, InferenceError::Throttled { retry_after: Some(pause), .. } if pause == Duration::from_secs(7)));
        }
    }
    let gone = VllmGenerator::new(server("http://127.0.0.1:1", None), VllmConfig::default());
    let error = answer(&gone, request(QUESTION, 5)).await.expect_err("nobody is there");
    assert_eq!(error.kind(), "unreachable", "{error}");
}

#[tokio::test]
async fn an_ollama_server_that_misbehaves_gives_an_error_that_says_so() {
    let clock = Arc::new(ManualClock::new());
    let word = r#"{"message": {"role": "assistant", "content": "Hyvää "}, "done": false}"#;
    let last = r#"{"message": {"role": "assistant", "content": "yötä"}, "done": true, "done_reason": "stop", "prompt_eval_count": 3, "eval_count": 2}"#;
    let send = |body: &str| vec![Step::Send(response("200 OK", "content-type: application/x-ndjson\r\n", body.as_bytes()))];
    let status = |status: &str, body: &str| vec![Step::Send(response(status, "", body.as_bytes()))];
    let cases = [
        ("an end without done", send(&format!("{word}\n")), "broken_off", "middle"),
        ("half a line", send(&format!("{word}\n{{\"message\": {{\"ro")), "broken_off", "middle"),
        ("an error in the stream", send(&format!("{word}\n{{\"error\": \"runner died\"}}\n")), "broken_off", "runner died"),
        ("an end we did not ask for", send(&format!("{}\n", last.replace("\"stop\"", "\"unload\""))), "broken_off", "unload"),
        ("a page", send("<html>"), "garbled", "no JSON"),
        ("other JSON", send("{\"a\": 1}\n"), "garbled", "no part of an answer"),
        ("nothing said", send(""), "garbled", "without saying anything"),
        ("its queue is full", status("503 Service Unavailable", r#"{"error": "server busy"}"#), "throttled", "no more requests"),
        ("a 500", status("500 Internal Server Error", r#"{"error": "cuda"}"#), "backend", "cuda"),
        ("a model that left", status("404 Not Found", r#"{"error": "model 'm' not found"}"#), "refused", "model 'm' not found"),
        ("nothing", vec![Step::Hang], "timeout", "60000 ms"),
    ];
    let serve = |steps: Vec<Step>| {
        Raw::start(move |path| match path {
            "/api/tags" => vec![Step::Send(response("200 OK", "", br#"{"models": [{"name": "m:latest", "digest": "abc"}]}"#))],
            "/api/version" => vec![Step::Send(response("200 OK", "", br#"{"version": "0.12.6"}"#))],
            _ => steps.clone(),
        })
    };
    for (name, steps, kind, says) in cases {
        let raw = serve(steps).await;
        let model = OllamaGenerator::new(with_clock(&raw.url, None, Arc::<ManualClock>::clone(&clock)), OllamaConfig::new("m"));
        model.probe().await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let asked = answer(&model, request(QUESTION, 50));
        let error = if kind == "timeout" { hurried(&clock, asked).await } else { asked.await };
        let error = error.err().unwrap_or_else(|| panic!("{name}: an answer"));
        assert_eq!(error.kind(), kind, "{name}: {error}");
        assert!(error.to_string().contains(says), "{name}: {error}");
    }
    // Text in the last line, and no line end after it.
    let raw = serve(send(&format!("{word}\r\n{last}"))).await;
    let model = OllamaGenerator::new(server(&raw.url, None), OllamaConfig::new("m"));
    let whole = answer(&model, request(QUESTION, 50)).await.expect("an answer");
    assert_eq!((whole.text().as_str(), whole.prompt_tokens, whole.completion_tokens), ("Hyvää yötä", 3, 2));
    // A model that was never pulled.
    let model = OllamaGenerator::new(server(&raw.url, None), OllamaConfig::new("llama3"));
    let error = answer(&model, request(QUESTION, 50)).await.expect_err("not there").to_string();
    assert!(error.contains("ollama pull llama3"), "{error}");
}

#[tokio::test]
async fn vectors_that_are_not_what_was_asked_for_are_never_passed_on() {
    for (body, says) in [
        (r#"{"data": [{"index": 0, "embedding": [1.0, 0.0]}]}"#, "1 vectors for 2"),
        (r#"{"data": [{"index": 0, "embedding": [1.0, 0.0]}, {"index": 0, "embedding": [1.0, 0.0]}]}"#, "two vectors"),
        (r#"{"data": [{"index": 0, "embedding": [1.0, 0.0]}, {"index": 1, "embedding": [1.0]}]}"#, "components"),
        (r#"{"data": [{"index": 0, "embedding": [1.0, 0.0]}, {"index": 1, "embedding": [1e39, 0.0]}]}"#, "out of range"),
        (r#"{"data": [{"index": 0, "embedding": [1.0, 0.0]}, {"index": 1, "embedding": [null, 0.0]}]}"#, "null"),
        (r#"{"data": [{"index": 0, "embedding": [1.0, 0.0]}, {"index": 1, "emb"#, "EOF"),
        ("", "EOF"),
    ] {
        let raw = Raw::start(move |path| {
            let body = if path == "/v1/models" { r#"{"data": [{"id": "m"}]}"# } else { body };
            vec![Step::Send(response("200 OK", "", body.as_bytes()))]
        })
        .await;
        let model = VllmEmbedder::new(server(&raw.url, None), VllmConfig::default(), 2, 256);
        let error = model.embed(vec!["a".into(), "b".into()]).await.expect_err("refused");
        assert!(error.kind() == "garbled" && (error.to_string().contains(says) || error.to_string().contains("finite")), "{body}: {error}");
    }
}

#[tokio::test]
async fn a_wrong_key_a_missing_model_and_other_weights_are_told_apart() {
    let running = Running::start(support::vllm::Fake { key: Some("right"), ..Default::default() }.router()).await;
    let with = |key, model: Option<&str>| VllmGenerator::new(server(&running.url, key), VllmConfig { model: model.map(str::to_owned), ..VllmConfig::default() });
    let error = with(Some("wrong"), None).probe().await.expect_err("refused").to_string();
    assert!(error.contains("key"), "{error}");
    let error = with(Some("right"), Some("gpt-4")).probe().await.expect_err("refused").to_string();
    assert!(error.contains("does not serve gpt-4") && error.contains(support::vllm::MODEL), "{error}");
    running.stop().await;

    // Ours say which weights they serve; another model under the same name is noticed, at the start and later.
    let served = Arc::new(std::sync::Mutex::new("1111111111111111"));
    let shown = Arc::clone(&served);
    let raw = Raw::start(move |path| {
        let weights = *shown.lock().expect("no panic");
        let body = if path == "/health" { String::new() } else { format!(r#"{{"data": [{{"id": "m", "weights": "{weights}", "task": "chat"}}]}}"#) };
        vec![Step::Send(response("200 OK", "", body.as_bytes()))]
    })
    .await;
    let config = |weights: &str| VllmConfig { weights: Some(weights.to_owned()), ..VllmConfig::default() };
    let error = VllmGenerator::new(server(&raw.url, None), config("2222222222222222")).probe().await.expect_err("refused").to_string();
    assert!(error.contains("1111111111111111") && error.contains("2222222222222222"), "{error}");
    let model = VllmGenerator::new(server(&raw.url, None), VllmConfig::default());
    model.probe().await.expect("there");
    *served.lock().expect("no panic") = "3333333333333333";
    let error = model.probe().await.expect_err("another model").to_string();
    assert!(error.contains("3333333333333333 now"), "{error}");
}

#[tokio::test]
async fn asks_for_no_more_tokens_than_are_left() {
    let running = Running::start(support::vllm::Fake::default().router()).await;
    let model = VllmGenerator::new(server(&running.url, None), VllmConfig::default());
    model.probe().await.expect("there");
    // 1,905 tokens of 2,000; the server would refuse a request for 500 more.
    let whole = answer(&model, GenerateRequest { ..request(&format!("Long {}", "word ".repeat(1_899)), 500) }).await.expect("what is left");
    assert_eq!((whole.prompt_tokens, whole.completion_tokens), (1_905, 95));
    running.stop().await;
}
