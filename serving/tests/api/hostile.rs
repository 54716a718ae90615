//! What a hostile or unlucky client may try: crafted cursors and receipts, guessing in parallel, bodies that never end.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::support::{PATIENCE, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crafted_cursors_are_refused_and_never_reach_the_database() {
    let world = World::start().await;
    let token = world.user("aino").await;
    let conversation = world.conversation(&token).await;
    let id = "00000000-0000-0000-0000-000000000000";
    let at_the_edges = [i64::MIN, i64::MIN + 1, -210_866_803_200_000_001, i64::MAX - 1, i64::MAX];
    for at in at_the_edges {
        for (path, rest) in [("/v1/conversations".to_owned(), id), (format!("/v1/conversations/{conversation}/messages"), "0")] {
            let cursor = URL_SAFE_NO_PAD.encode(format!("{at} {rest}"));
            let (status, problem) = world.call(Method::GET, &format!("{path}?cursor={cursor}"), Some(&token), None).await;
            assert_eq!((status, problem["code"].as_str()), (StatusCode::BAD_REQUEST, Some("invalid_query")), "{path} {at}");
        }
    }
    let cursor = URL_SAFE_NO_PAD.encode(format!("0 {}", u32::MAX));
    let (status, problem) = world.call(Method::GET, &format!("/v1/conversations/{conversation}/messages?cursor={cursor}"), Some(&token), None).await;
    assert_eq!((status, problem["code"].as_str()), (StatusCode::BAD_REQUEST, Some("invalid_query")), "{problem}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_that_nobody_gave_is_refused_at_once() {
    let world = World::start().await;
    let token = world.user("aino").await;
    let conversation = world.conversation(&token).await;
    let (_, reply) = world.call(Method::POST, &format!("/v1/conversations/{conversation}/messages"), Some(&token), Some(json!({ "text": "hei" }))).await;
    let receipt: ajatus_events::Receipt = reply["receipt"].as_str().expect("a receipt").parse().expect("a receipt");
    let partition = receipt.partition;
    for wrong in [
        format!("interactions:{partition}:{}", receipt.offset + 1),
        format!("interactions:{partition}:{}", u64::MAX),
        format!("interactions:{}:0", (partition + 1) % 4),
        "interactions:4000000000:0".to_owned(),
        format!("memory-changes:{partition}:0"),
        "nowhere:0:0".to_owned(),
    ] {
        let (status, problem) = world.call(Method::GET, &format!("/v1/profile/activity?after={wrong}"), Some(&token), None).await;
        assert_eq!((status, problem["code"].as_str()), (StatusCode::BAD_REQUEST, Some("invalid_receipt")), "{wrong}: {problem}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guessing_in_parallel_gets_no_more_tries_than_guessing_in_turn() {
    let world = Arc::new(World::start().await);
    world.user("aino").await;
    let mut guesses = tokio::task::JoinSet::new();
    for _ in 0..24 {
        let world = Arc::clone(&world);
        guesses.spawn(async move { world.call(Method::POST, "/v1/sessions", None, Some(json!({ "login": "aino", "password": "not the password" }))).await.0 });
    }
    let statuses = guesses.join_all().await;
    let tried = statuses.iter().filter(|status| **status == StatusCode::UNAUTHORIZED).count();
    assert!(tried <= 5, "{tried} passwords were tried: {statuses:?}");
    assert!(statuses.iter().all(|status| [StatusCode::UNAUTHORIZED, StatusCode::TOO_MANY_REQUESTS].contains(status)), "{statuses:?}");
    Arc::into_inner(world).expect("the last").stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_is_a_problem_that_names_its_request() {
    let world = World::start().await;
    for (path, kind, body) in [
        ("/v1/sessions/refresh", "application/json", "{\"refresh_token\": 7}"),
        ("/v1/sessions/refresh", "application/json", "{"),
        ("/v1/sessions/refresh", "text/plain", "{}"),
        ("/v1/sessions/refresh", "application/json", "{\"unknown\": 1}"),
        ("/v1/accounts", "text/plain", "{}"),
        ("/v1/conversations", "application/json", "{}"),
        ("/nowhere", "application/json", "{}"),
        ("/health/live", "application/json", "{}"),
    ] {
        let request = world.http.post(format!("{}{path}", world.base)).header("content-type", kind).header("x-request-id", "my-own-id");
        let response = request.body(body).send().await.expect("an answer");
        assert!(response.status().is_client_error(), "{path} {body}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{path} {body}");
        assert_eq!(response.headers()["x-request-id"], "my-own-id");
        let problem: Value = response.json().await.expect("JSON");
        assert_eq!(problem["request_id"], "my-own-id", "{path}: {problem}");
        for field in ["type", "title", "status", "detail", "code"] {
            assert!(problem.get(field).is_some(), "{path}: no {field}");
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_sends_nothing_does_not_hold_up_the_end() {
    let world = World::start().await;
    let address = world.base.trim_start_matches("http://").to_owned();
    let mut silent = tokio::net::TcpStream::connect(&address).await.expect("connected");
    let mut half = tokio::net::TcpStream::connect(&address).await.expect("connected");
    half.write_all(b"GET /health/live HTTP/1.1\r\nhost: x\r\nx-slow: ").await.expect("sent");
    // Answered, so the two before are accepted too.
    assert_eq!(world.call(Method::GET, "/health/ready", None, None).await.0, StatusCode::OK);
    let begun = std::time::Instant::now();
    world.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    for stream in [&mut silent, &mut half] {
        let mut rest = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("closed by the server");
        assert!(read.is_err() || rest.is_empty() || rest.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&rest));
    }
}
