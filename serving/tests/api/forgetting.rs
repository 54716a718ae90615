//! Forgetting over HTTP: shown first, done once, kept as a receipt; editing; leaving.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::support::World;

/// Asks while the pipeline works.
async fn ask(world: &World, method: Method, path: &str, token: &str, body: Value) -> (StatusCode, Value) {
    let asked = world.call(method, path, Some(token), Some(body));
    tokio::pin!(asked);
    loop {
        tokio::select! {
            biased;
            answer = &mut asked => return answer,
            () = world.remember() => {}
        }
    }
}

async fn said(world: &World, token: &str, conversation: &str) -> Vec<(String, String)> {
    let (_, page) = world.call(Method::GET, &format!("/v1/conversations/{conversation}/messages"), Some(token), None).await;
    let text = |item: &Value, name: &str| item[name].as_str().expect("text").to_owned();
    page["items"].as_array().expect("items").iter().filter(|item| item["role"] == "user").map(|item| (text(item, "text"), text(item, "id"))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_is_looked_at_and_goes_as_it_was_seen_and_its_receipt_stays_without_witnesses() {
    let world = World::start().await;
    let (token, other) = (world.user("aino").await, world.user("eino").await);
    let conversation = world.conversation(&token).await;
    let path = format!("/v1/conversations/{conversation}/messages");
    for text in ["My sister's wedding was in June.", "Plum jam keeps for a year."] {
        world.call(Method::POST, &path, Some(&token), Some(json!({ "text": text }))).await;
    }
    world.remember().await;
    // An answer elsewhere that is given both as memories.
    let elsewhere = world.conversation(&token).await;
    world.call(Method::POST, &format!("/v1/conversations/{elsewhere}/messages"), Some(&token), Some(json!({ "text": "What about June?" }))).await;
    world.remember().await;
    let topic = json!({ "kind": "topic", "words": "weddings sisters" });
    let post = async |token: &str, body: Value| ask(&world, Method::POST, "/v1/forgettings", token, body).await;
    let (status, shown) = post(&token, json!({ "scope": topic, "preview": true })).await;
    assert_eq!((status, &shown["turns"], &shown["items"][0]["text"]), (StatusCode::OK, &json!(1), &json!("My sister's wedding was in June.")), "{shown}");
    let answers = shown["answers"].as_u64().expect("a number");
    assert!(answers >= 1, "{shown}");
    let (_, with) = post(&token, json!({ "scope": topic, "preview": true, "with_answers": true })).await;
    assert!(with["turns"].as_u64() > Some(answers) && with["answers"] == 0 && with["hash"] != shown["hash"], "{with}");
    let (status, problem) = post(&token, json!({ "scope": topic })).await;
    assert_eq!((status, problem["code"].as_str()), (StatusCode::PRECONDITION_REQUIRED, Some("preview_first")), "{problem}");
    let (status, problem) = post(&token, json!({ "scope": topic, "seen": "another" })).await;
    assert_eq!((status, problem["code"].as_str()), (StatusCode::CONFLICT, Some("preview_changed")), "{problem}");
    assert_eq!(said(&world, &token, &conversation).await.len(), 2, "nothing was forgotten so far");

    let (status, receipt) = post(&token, json!({ "scope": topic, "seen": shown["hash"] })).await;
    assert_eq!((status, &receipt["statement"]["turns"], &receipt["statement"]["ids_hash"]), (StatusCode::CREATED, &json!(1), &shown["hash"]), "{receipt}");
    assert!(receipt["witnesses"].as_array().is_some_and(|all| all.len() >= 2), "{receipt}");
    let left = said(&world, &token, &conversation).await;
    assert_eq!(left.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>(), ["Plum jam keeps for a year."]);

    let (status, page) = world.call(Method::GET, "/v1/forgettings?limit=1", Some(&token), None).await;
    assert_eq!((status, &page["items"][0]["statement"], page["items"][0].get("witnesses")), (StatusCode::OK, &receipt["statement"], None), "{page}");
    let id = receipt["statement"]["id"].as_str().expect("an id");
    let (status, one) = world.call(Method::GET, &format!("/v1/forgettings/{id}"), Some(&token), None).await;
    assert_eq!((status, &one["signature"]), (StatusCode::OK, &receipt["signature"]), "{one}");
    let cursor = page["next_cursor"].as_str().expect("a full page");
    let (_, page) = world.call(Method::GET, &format!("/v1/forgettings?limit=1&cursor={cursor}"), Some(&token), None).await;
    assert_eq!(page["items"], json!([]));
    assert_eq!(world.call(Method::GET, &format!("/v1/forgettings/{id}"), Some(&other), None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(world.call(Method::GET, "/v1/forgettings", Some(&other), None).await.1["items"], json!([]));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refuses_what_means_nothing_and_whoever_is_not_signed_in() {
    let world = World::start().await;
    let token = world.user("aino").await;
    for (scope, status, code) in [
        (json!({ "kind": "everything" }), 422, "invalid_body"),
        (json!({ "kind": "turn" }), 422, "invalid_body"),
        (json!({ "kind": "account" }), 422, "invalid_body"),
        (json!({ "kind": "turn", "id": "x" }), 422, "invalid_body"),
        (json!({ "kind": "ids", "ids": [] }), 422, "invalid_scope"),
        (json!({ "kind": "topic", "words": "…" }), 422, "invalid_scope"),
        (json!({ "kind": "range", "from": "2026-02-01T00:00:00Z", "to": "2026-01-01T00:00:00Z" }), 422, "invalid_scope"),
    ] {
        let (got, problem) = world.call(Method::POST, "/v1/forgettings", Some(&token), Some(json!({ "scope": scope }))).await;
        assert_eq!((got.as_u16(), problem["code"].as_str()), (status, Some(code)), "{scope}: {problem}");
    }
    for (method, path) in [(Method::POST, "/v1/forgettings"), (Method::GET, "/v1/forgettings"), (Method::DELETE, "/v1/me")] {
        assert_eq!(world.call(method, path, None, Some(json!({}))).await.0, StatusCode::UNAUTHORIZED, "{path}");
    }
    let (status, receipt) = ask(&world, Method::POST, "/v1/forgettings", &token, json!({ "scope": { "kind": "turn", "id": uuid::Uuid::nil() } })).await;
    assert_eq!((status, &receipt["statement"]["turns"]), (StatusCode::CREATED, &json!(0)), "nothing of that was there: {receipt}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_is_said_anew_in_its_place_by_who_said_it() {
    let world = World::start().await;
    let (token, other) = (world.user("aino").await, world.user("eino").await);
    let conversation = world.conversation(&token).await;
    let path = format!("/v1/conversations/{conversation}/messages");
    for text in ["First.", "Second.", "Third."] {
        world.call(Method::POST, &path, Some(&token), Some(json!({ "text": text }))).await;
    }
    world.remember().await;
    let before = said(&world, &token, &conversation).await;
    let second = format!("{path}/{}", before[1].1);
    let put = async |token: &str, path: &str, text: &str| world.call(Method::PUT, path, Some(token), Some(json!({ "text": text }))).await;
    let (status, written) = put(&token, &second, "Zwei.").await;
    assert_eq!(status, StatusCode::ACCEPTED, "{written}");
    world.remember().await;
    let receipt = written["receipt"].as_str().expect("a receipt").parse().expect("a receipt");
    world.parts.recall.index().wait_for(&receipt, super::support::PATIENCE).await.expect("in");
    let after = said(&world, &token, &conversation).await;
    assert_eq!(after.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>(), ["First.", "Zwei.", "Third."]);
    assert_eq!(after[1].1, before[1].1);
    assert_eq!(put(&other, &second, "mine").await.0, StatusCode::NOT_FOUND);
    assert_eq!(put(&token, &second, "  ").await.1["code"], "empty_message");
    assert_eq!(put(&token, &second, &"x".repeat(8_001)).await.1["code"], "long_message");
    assert_eq!(put(&token, &format!("{path}/{}", uuid::Uuid::nil()), "x").await.0, StatusCode::NOT_FOUND);
    // Forgotten, and not out of the views yet: it does not come back.
    let third = format!("{path}/{}", before[2].1);
    assert_eq!(world.call(Method::DELETE, &third, Some(&token), None).await.0, StatusCode::ACCEPTED);
    assert_eq!(put(&token, &third, "back again").await.0, StatusCode::NOT_FOUND);
    let (_, page) = world.call(Method::GET, &path, Some(&token), None).await;
    let answer = page["items"].as_array().expect("items").iter().find(|item| item["role"] == "assistant").expect("an answer")["id"].as_str().expect("an id").to_owned();
    assert_eq!(put(&token, &format!("{path}/{answer}"), "never said").await.1["code"], "not_yours_to_edit");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_goes_with_the_right_password_and_its_name_is_free() {
    let world = World::start().await;
    let (token, other) = (world.user("aino").await, world.user("eino").await);
    for token in [&token, &other] {
        let conversation = world.conversation(token).await;
        world.call(Method::POST, &format!("/v1/conversations/{conversation}/messages"), Some(token), Some(json!({ "text": "hei" }))).await;
    }
    world.remember().await;
    let (status, problem) = world.call(Method::DELETE, "/v1/me", Some(&token), Some(json!({ "password": "not the password" }))).await;
    assert_eq!((status, problem["code"].as_str()), (StatusCode::FORBIDDEN, Some("wrong_password")));
    assert_eq!(world.call(Method::GET, "/v1/me", Some(&token), None).await.0, StatusCode::OK);
    let (status, receipt) = ask(&world, Method::DELETE, "/v1/me", &token, json!({ "password": "a long password" })).await;
    assert_eq!((status, &receipt["statement"]["turns"], &receipt["statement"]["counts"]["postgres/accounts"]), (StatusCode::OK, &json!(2), &json!(1)), "{receipt}");
    assert_eq!(world.call(Method::GET, "/v1/me", Some(&token), None).await.0, StatusCode::UNAUTHORIZED);
    let sign_in = json!({ "login": "aino", "password": "a long password" });
    assert_eq!(world.call(Method::POST, "/v1/sessions", None, Some(sign_in.clone())).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(world.call(Method::GET, "/v1/me", Some(&other), None).await.0, StatusCode::OK);
    assert_eq!(world.call(Method::POST, "/v1/accounts", None, Some(sign_in)).await.0, StatusCode::CREATED, "the name is free");
    world.stop().await;
}
