//! The models over HTTP: every answer has the shape of OpenAI's API, every refusal its envelope, and a client who leaves ends the work.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ajatus_inference::backend::{PASSED_ON, Patience, Server, VllmConfig, VllmEmbedder, VllmGenerator};
use ajatus_inference::chain::Probe as _;
use ajatus_inference::clock::SystemClock as Monotonic;
use ajatus_inference::{
    ChatMessage, Embedder, Embedding, FinishReason, GenerateEvent, GenerateRequest, GenerateStream, Generator, InferenceError, ModelIdentity,
    TextTokens,
};
use ajatus_serving::SystemClock;
use ajatus_serving::core::{CoreConfig, CoreParts, CoreRunning, Served, serve};
use async_trait::async_trait;
use base64::Engine as _;
use futures::StreamExt as _;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};

/// Says its name, the seed and the question back, a word at a time; what the question says it should do wrong, it does.
struct Parrot {
    model: ModelIdentity,
    live: Arc<AtomicUsize>,
}

struct Going(Arc<AtomicUsize>);

impl Drop for Going {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Generator for Parrot {
    fn model(&self) -> &ModelIdentity {
        &self.model
    }
    fn context_tokens(&self) -> usize {
        100
    }
    async fn count_tokens(&self, messages: &[ChatMessage]) -> Result<usize, InferenceError> {
        Ok(messages.iter().map(|message| message.content.split_whitespace().count() + 3).sum())
    }
    async fn generate(&self, request: GenerateRequest) -> Result<GenerateStream, InferenceError> {
        let prompt_tokens = self.count_tokens(&request.messages).await?;
        if prompt_tokens >= self.context_tokens() {
            return Err(InferenceError::Input { reason: format!("the prompt has {prompt_tokens} tokens, but the context holds 100 with the answer") });
        }
        let question = request.messages.last().map(|message| message.content.clone()).unwrap_or_default();
        match question.as_str() {
            "full" => return Err(InferenceError::Overloaded { waiting: 32, limit: 32 }),
            "down" => return Err(InferenceError::Unreachable { address: "http://gpu".into(), reason: "connection refused".into() }),
            "panic" => panic!("the test asked for it"),
            _ => {}
        }
        let mut words: Vec<String> = format!("{}: {question}", self.model.name).split_inclusive(' ').map(str::to_owned).collect();
        let reason = if words.len() > request.max_tokens { FinishReason::Length } else { FinishReason::Stop };
        words.truncate(request.max_tokens);
        self.live.fetch_add(1, Ordering::SeqCst);
        let going = Going(Arc::clone(&self.live));
        let count = words.len();
        let breaks = question.contains("break");
        let events = words.into_iter().map(|word| Ok(GenerateEvent::Text(word)));
        let last = match breaks {
            true => Err(InferenceError::BrokenOff { reason: "the device is on fire".into() }),
            false => Ok(GenerateEvent::Done { reason, prompt_tokens, completion_tokens: count }),
        };
        let begun = futures::stream::iter(events);
        if question.contains("for ever") {
            return Ok(begun.chain(futures::stream::pending()).map(move |event| (&going, event).1).boxed());
        }
        Ok(begun.chain(futures::stream::iter([last])).map(move |event| (&going, event).1).boxed())
    }
}

struct Two(ModelIdentity);

#[async_trait]
impl Embedder for Two {
    fn model(&self) -> &ModelIdentity {
        &self.0
    }
    fn dimension(&self) -> usize {
        2
    }
    fn max_tokens(&self) -> usize {
        8
    }
    fn measure(&self, texts: &[String]) -> Option<Vec<TextTokens>> {
        let words = |text: &String| text.split_whitespace().count();
        Some(texts.iter().map(|text| TextTokens { all: words(text), read: words(text).min(8) }).collect())
    }
    async fn embed(&self, texts: Vec<String>) -> Result<Vec<Result<Embedding, InferenceError>>, InferenceError> {
        let one = |text: &String| match text.as_str() {
            "bad" => Err(InferenceError::Input { reason: "a bad text".into() }),
            text if text.len() % 2 == 0 => Ok(vec![0.6, 0.8]),
            _ => Ok(vec![1.0, 0.0]),
        };
        Ok(texts.iter().map(one).collect())
    }
}

struct World {
    running: CoreRunning,
    http: Client,
    base: String,
    live: Arc<AtomicUsize>,
}

impl World {
    async fn start(key: Option<&str>, local: bool) -> Self {
        let live = Arc::new(AtomicUsize::new(0));
        let parrot = |name: &str| -> Arc<dyn Generator> {
            Arc::new(Parrot { model: ModelIdentity { name: name.into(), weights: "0123456789abcdef".into() }, live: Arc::clone(&live) })
        };
        let two: Arc<dyn Embedder> = Arc::new(Two(ModelIdentity { name: "two".into(), weights: "fedcba9876543210".into() }));
        let embedding = Served { name: "org/two".into(), model: Arc::clone(&two), local: Some(two) };
        let parts = CoreParts {
            chat: Some(Served { name: "parrot".into(), model: parrot("far"), local: local.then(|| parrot("near")) }),
            embedding: Some(embedding.clone()),
            bulk: Some(embedding),
            clock: Arc::new(SystemClock),
            metrics: Arc::new(|| "requests_total 1\n".to_owned()),
        };
        let config = CoreConfig { listen: ([127, 0, 0, 1], 0).into(), key: key.map(str::to_owned) };
        let running = serve(config, parts).await.expect("serving");
        let base = format!("http://{}", running.address());
        Self { running, http: Client::new(), base, live }
    }

    fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.http.post(format!("{}{path}", self.base)).json(body)
    }

    async fn chat(&self, body: Value) -> (StatusCode, Value) {
        let mut whole = json!({"model": "parrot", "messages": [{"role": "user", "content": "hei"}]});
        for (key, value) in body.as_object().expect("an object") {
            whole[key] = value.clone();
        }
        answered(self.post("/v1/chat/completions", &whole)).await
    }

    async fn embed(&self, body: Value) -> (StatusCode, Value) {
        let mut whole = json!({"model": "org/two"});
        for (key, value) in body.as_object().expect("an object") {
            whole[key] = value.clone();
        }
        answered(self.post("/v1/embeddings", &whole)).await
    }

    fn server(&self, key: Option<&str>) -> Server {
        Server::new(&self.base, key.map(str::to_owned), Patience::default(), Arc::new(Monotonic::start())).expect("an address")
    }

    async fn idle(&self) {
        for _ in 0..100_000 {
            if self.live.load(Ordering::SeqCst) == 0 {
                return;
            }
            tokio::task::yield_now().await;
            std::thread::yield_now();
        }
        panic!("the model goes on for nobody");
    }
}

async fn answered(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.expect("an answer");
    let status = response.status();
    let text = response.text().await.expect("text");
    (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_whole_and_word_by_word_in_the_shapes_of_the_api() {
    let world = World::start(None, true).await;
    let (status, mut body) = world.chat(json!({"messages": [{"role": "developer", "content": "x"}, {"role": "user", "content": [{"type": "text", "text": "hei "}, {"type": "text", "text": "äö 🦀"}]}]})).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert!(body["id"].as_str().expect("an id").starts_with("chatcmpl-") && body["created"].as_i64().expect("a time") > 1_700_000_000);
    body["id"] = json!("chatcmpl-");
    body["created"] = json!(0);
    insta::assert_json_snapshot!(body, @r#"
    {
      "id": "chatcmpl-",
      "object": "chat.completion",
      "created": 0,
      "model": "far",
      "choices": [
        {
          "index": 0,
          "message": {
            "role": "assistant",
            "content": "far: hei äö 🦀",
            "refusal": null
          },
          "logprobs": null,
          "finish_reason": "stop"
        }
      ],
      "usage": {
        "prompt_tokens": 10,
        "completion_tokens": 4,
        "total_tokens": 14
      }
    }
    "#);

    let asked = json!({"model": "parrot", "messages": [{"role": "user", "content": "one two three"}], "stream": true, "max_tokens": 2, "stream_options": {"include_usage": true}});
    let response = world.post("/v1/chat/completions", &asked).send().await.expect("an answer");
    assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
    let text = response.text().await.expect("text");
    let events: Vec<&str> = text.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).collect();
    assert_eq!(events.last(), Some(&"[DONE]"));
    let chunks: Vec<Value> = events[..events.len() - 1].iter().map(|event| serde_json::from_str(event).expect("JSON")).collect();
    let said: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(said, "far: one ");
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let reasons: Vec<&Value> = chunks.iter().map(|chunk| &chunk["choices"][0]["finish_reason"]).collect();
    assert_eq!(reasons[reasons.len() - 2], "length");
    assert!(reasons[..reasons.len() - 2].iter().all(|reason| reason.is_null()));
    let last = chunks.last().expect("a chunk");
    assert_eq!((&last["usage"]["total_tokens"], &last["choices"]), (&json!(8), &json!([])));
    assert!(chunks[..chunks.len() - 1].iter().all(|chunk| chunk.get("usage").is_some_and(Value::is_null)));
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refuses_by_name_what_it_does_not_do() {
    let world = World::start(None, true).await;
    let tool = json!([{"type": "function", "function": {"name": "f"}}]);
    for (field, value) in [
        ("tools", tool.clone()),
        ("tool_choice", json!("required")),
        ("n", json!(2)),
        ("logprobs", json!(true)),
        ("logit_bias", json!({"50256": -100})),
        ("frequency_penalty", json!(0.5)),
        ("presence_penalty", json!(-0.5)),
        ("temperature", json!(2.1)),
        ("temperature", json!(-0.1)),
        ("top_p", json!(0.0)),
        ("top_k", json!(-2)),
        ("max_tokens", json!(0)),
        ("stop", json!(["a", ""])),
        ("messages", json!([])),
        ("audio", json!({})),
    ] {
        let (status, body) = world.chat(json!({field: value})).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{field}: {body}");
        assert_eq!((&body["error"]["type"], &body["error"]["param"]), (&json!("invalid_request_error"), &json!(field)), "{body}");
        assert!(body["error"]["message"].as_str().expect("a message").contains(field), "{body}");
    }
    for (messages, says) in [
        (json!([{"role": "tool", "content": "x"}]), "tool"),
        (json!([{"role": "user", "content": null}]), "no content"),
        (json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]), "image_url"),
        (json!([{"role": "assistant", "content": "", "tool_calls": tool}]), "tool_calls"),
        (json!([{"role": "user", "content": "word ".repeat(200)}]), "203 tokens"),
        (json!("hei"), "cannot be read"),
    ] {
        let (status, body) = world.chat(json!({"messages": messages})).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        assert!(body["error"]["message"].as_str().expect("a message").contains(says), "{body}");
    }
    let (status, body) = world.chat(json!({"model": "gpt-4o"})).await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::NOT_FOUND, &json!("model_not_found")));
    assert!(body["error"]["message"].as_str().expect("a message").contains("parrot, org/two"), "{body}");

    for (input, says) in [
        (json!([1, 2, 3]), "tokens"),
        (json!([[1, 2]]), "tokens"),
        (json!([]), "0 texts"),
        (json!(vec!["x"; 2_049]), "2049 texts"),
        (json!(["fine", "bad"]), "a bad text"),
        (json!(7), "cannot be read"),
    ] {
        let (status, body) = world.embed(json!({"input": input})).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        assert!(body["error"]["message"].as_str().expect("a message").contains(says), "{body}");
    }
    for (field, value) in [("dimensions", json!(1)), ("truncate_prompt_tokens", json!(7)), ("encoding_format", json!("int8"))] {
        let (status, body) = world.embed(json!({"input": "x", field: value})).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
    }
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn survives_bodies_that_are_none_and_says_what_was_wrong() {
    let world = World::start(None, true).await;
    let url = format!("{}/v1/chat/completions", world.base);
    let raw = |kind: &'static str, body: Vec<u8>| world.http.post(&url).header("content-type", kind).body(body);
    let cases = [
        (raw("application/json", b"{".to_vec()), 400),
        (raw("application/json", Vec::new()), 400),
        (raw("application/json", b"{\"model\": \"\xff\xfe\"}".to_vec()), 400),
        (raw("application/json", b"[[[[[[".repeat(100)), 400),
        (raw("text/plain", b"{}".to_vec()), 415),
        (raw("application/json", vec![b' '; 17 << 20]), 413),
        (world.http.get(&url), 405),
        (world.http.delete(format!("{}/v1/models", world.base)), 405),
        (world.http.get(format!("{}/v2/nothing", world.base)), 404),
        (world.http.get(format!("{}/v1/models/no/such", world.base)), 404),
    ];
    for (request, expected) in cases {
        let (status, body) = answered(request).await;
        assert_eq!(status.as_u16(), expected, "{body}");
        assert!(body["error"]["message"].is_string() && body["error"]["type"] == "invalid_request_error", "{body}");
    }
    let (status, body) = world.chat(json!({"messages": [{"role": "user", "content": "panic"}]})).await;
    assert_eq!((status.as_u16(), &body["error"]["type"]), (500, &json!("server_error")), "{body}");
    let (status, _) = world.chat(json!({})).await;
    assert_eq!(status, StatusCode::OK, "it goes on");
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_at_the_model_has_a_status_that_clients_act_on() {
    let world = World::start(None, true).await;
    let ask = |text: &str| world.post("/v1/chat/completions", &json!({"model": "parrot", "messages": [{"role": "user", "content": text}]}));
    for (text, status) in [("full", 429), ("down", 503)] {
        let response = ask(text).send().await.expect("an answer");
        assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (status, &"1".parse().expect("a header")), "{text}");
    }
    let (status, body) = answered(ask("please break")).await;
    assert_eq!(status.as_u16(), 503, "{body}");
    assert!(body["error"]["message"].as_str().expect("a message").contains("on fire"), "{body}");

    // In a stream it is an event, and then there is no [DONE].
    let asked = json!({"model": "parrot", "messages": [{"role": "user", "content": "please break"}], "stream": true});
    let text = world.post("/v1/chat/completions", &asked).send().await.expect("an answer").text().await.expect("text");
    assert!(text.contains("on fire") && !text.contains("[DONE]"), "{text}");
    // Our own client says so too.
    let client = VllmGenerator::new(world.server(None), VllmConfig::default());
    let request = GenerateRequest {
        messages: vec![ChatMessage { role: ajatus_inference::ChatRole::User, content: "please break".into() }],
        max_tokens: 50,
        stop: Vec::new(),
        sampling: ajatus_inference::Sampling::default(),
    };
    let events: Vec<_> = client.generate(request).await.expect("started").collect().await;
    assert!(matches!(events.last(), Some(Err(InferenceError::BrokenOff { reason })) if reason.contains("on fire")), "{events:?}");
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_who_leaves_ends_the_work() {
    let world = World::start(None, true).await;
    let asked = |stream: bool| json!({"model": "parrot", "messages": [{"role": "user", "content": "for ever"}], "stream": stream});
    let mut response = world.post("/v1/chat/completions", &asked(true)).send().await.expect("an answer");
    assert!(response.chunk().await.expect("bytes").is_some());
    assert_eq!(world.live.load(Ordering::SeqCst), 1);
    drop(response);
    world.idle().await;
    let mut waiting = tokio::task::JoinSet::new();
    waiting.spawn(world.post("/v1/chat/completions", &asked(false)).send());
    while world.live.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    waiting.shutdown().await;
    world.idle().await;
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vectors_come_as_numbers_or_as_bytes_and_say_what_was_cut() {
    let world = World::start(None, true).await;
    let (status, body) = world.embed(json!({"input": ["a", "one two three four five six seven eight nine"], "user": "aino"})).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    insta::assert_json_snapshot!(body, @r#"
    {
      "object": "list",
      "data": [
        {
          "object": "embedding",
          "index": 0,
          "embedding": [
            1.0,
            0.0
          ]
        },
        {
          "object": "embedding",
          "index": 1,
          "embedding": [
            0.6000000238418579,
            0.800000011920929
          ],
          "truncated": true
        }
      ],
      "model": "org/two",
      "usage": {
        "prompt_tokens": 9,
        "total_tokens": 9
      }
    }
    "#);
    let (_, body) = world.embed(json!({"input": "ab", "encoding_format": "base64", "dimensions": 2, "truncate_prompt_tokens": -1})).await;
    let bytes = base64::engine::general_purpose::STANDARD.decode(body["data"][0]["embedding"].as_str().expect("text")).expect("base64");
    let values: Vec<f32> = bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().expect("four"))).collect();
    assert_eq!(values, [0.6, 0.8]);
    let client = VllmEmbedder::new(world.server(None), VllmConfig { model: Some("org/two".into()), ..VllmConfig::default() }, 2, 8);
    let vectors = client.embed(vec!["ab".into(), "a".into(), String::new()]).await.expect("answered");
    assert_eq!(vectors[1].as_ref().expect("a vector"), &vec![1.0, 0.0]);
    assert_eq!(vectors.len(), 3);
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn says_what_it_serves_and_lets_in_who_has_the_key() {
    let world = World::start(Some("avain"), true).await;
    let get = |path: &str| world.http.get(format!("{}{path}", world.base));
    assert_eq!(get("/health").send().await.expect("an answer").status(), StatusCode::OK, "health is for everybody");
    for path in ["/v1/models", "/metrics", "/v1/models/parrot"] {
        for request in [get(path), get(path).bearer_auth("avaim"), get(path).bearer_auth(""), get(path).basic_auth("avain", Some("avain"))] {
            let (status, body) = answered(request).await;
            assert_eq!((status, &body["error"]["code"]), (StatusCode::UNAUTHORIZED, &json!("invalid_api_key")), "{path}");
        }
    }
    let (_, body) = answered(get("/v1/models").bearer_auth("avain")).await;
    let cards: Vec<_> = body["data"].as_array().expect("a list").iter().map(|card| (&card["id"], &card["task"], &card["weights"], &card["max_model_len"])).collect();
    assert_eq!(cards, [(&json!("parrot"), &json!("chat"), &json!("0123456789abcdef"), &json!(100)), (&json!("org/two"), &json!("embedding"), &json!("fedcba9876543210"), &json!(8))]);
    let (_, body) = answered(get("/v1/models/org/two").bearer_auth("avain")).await;
    assert_eq!(body["id"], "org/two", "a name with a slash");
    let client = VllmGenerator::new(world.server(Some("avain")), VllmConfig::default());
    client.probe().await.expect("there");
    assert_eq!((client.model().id().as_str(), client.context_tokens()), ("parrot@0123456789abcdef", 100));
    let messages = [ChatMessage { role: ajatus_inference::ChatRole::User, content: "one two".into() }];
    assert_eq!(client.count_tokens(&messages).await.expect("counted"), 5);
    world.running.stop().await;
    // Nobody may ask from outside without a key.
    let parts = CoreParts { chat: None, embedding: None, bulk: None, clock: Arc::new(SystemClock), metrics: Arc::new(String::new) };
    let refused = serve(CoreConfig { listen: ([0, 0, 0, 0], 0).into(), key: None }, parts).await.err().expect("refused").to_string();
    assert!(refused.contains("CORE_API_KEY"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_instance_passed_on_is_answered_by_the_model_in_this_process() {
    let world = World::start(None, true).await;
    let asked = json!({"model": "parrot", "messages": [{"role": "user", "content": "hei"}]});
    let (_, body) = answered(world.post("/v1/chat/completions", &asked)).await;
    assert_eq!(body["model"], "far");
    let (_, body) = answered(world.post("/v1/chat/completions", &asked).header(PASSED_ON, "1")).await;
    assert_eq!(body["model"], "near");
    world.running.stop().await;
    let world = World::start(None, false).await;
    let (status, body) = answered(world.post("/v1/chat/completions", &asked).header(PASSED_ON, "1")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
    world.running.stop().await;
}
