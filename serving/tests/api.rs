//! The API: every resource for success, no token, another's token, and bad input; and the document that describes it.

#[path = "api/consent.rs"]
mod consent;
#[path = "api/following.rs"]
mod following;
#[path = "api/forgetting.rs"]
mod forgetting;
#[path = "api/hostile.rs"]
mod hostile;
#[path = "api/replies.rs"]
mod replies;
mod support;

use std::sync::atomic::Ordering;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::{World, frames};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signs_up_in_and_out_and_an_ended_session_is_refused_at_once() {
    let world = World::start().await;
    let token = world.user("Aino").await;
    let (status, me) = world.call(Method::GET, "/v1/me", Some(&token), None).await;
    assert_eq!((status, me["login"].as_str()), (StatusCode::OK, Some("aino")));
    let again = json!({ "login": " AINO ", "password": "a long password" });
    assert_eq!(world.call(Method::POST, "/v1/accounts", None, Some(again)).await.0, StatusCode::CONFLICT);
    let (status, sessions) = world.call(Method::GET, "/v1/sessions", Some(&token), None).await;
    assert_eq!((status, &sessions[0]["current"]), (StatusCode::OK, &json!(true)));
    assert_eq!(world.call(Method::DELETE, "/v1/sessions/current", Some(&token), None).await.0, StatusCode::NO_CONTENT);
    let (status, problem) = world.call(Method::GET, "/v1/me", Some(&token), None).await;
    assert_eq!((status, problem["code"].as_str()), (StatusCode::UNAUTHORIZED, Some("unauthorized")));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_login_and_a_wrong_password_answer_alike_and_guessing_is_slowed() {
    let world = World::start().await;
    world.user("aino").await;
    let wrong = |login: &str| json!({ "login": login, "password": "not the password" });
    let (status, mut known) = world.call(Method::POST, "/v1/sessions", None, Some(wrong("aino"))).await;
    let (_, mut unknown) = world.call(Method::POST, "/v1/sessions", None, Some(wrong("nobody"))).await;
    for problem in [&mut known, &mut unknown] {
        assert!(problem.as_object_mut().expect("a problem").remove("request_id").is_some());
    }
    assert_eq!((status, &known), (StatusCode::UNAUTHORIZED, &unknown));
    for _ in 0..4 {
        world.call(Method::POST, "/v1/sessions", None, Some(wrong("aino"))).await;
    }
    let right = json!({ "login": "aino", "password": "a long password" });
    let (status, problem) = world.call(Method::POST, "/v1/sessions", None, Some(right.clone())).await;
    assert_eq!((status, problem["code"].as_str()), (StatusCode::TOO_MANY_REQUESTS, Some("too_many_attempts")));
    assert!(problem["retry_after"].as_u64().is_some_and(|seconds| seconds > 0));
    world.clock.advance(5);
    assert_eq!(world.call(Method::POST, "/v1/sessions", None, Some(right)).await.0, StatusCode::CREATED);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_token_is_exchanged_once_and_its_second_use_ends_the_session() {
    let world = World::start().await;
    world.user("aino").await;
    let tokens = world.sign_in("aino").await;
    let refresh = async |token: &Value| world.call(Method::POST, "/v1/sessions/refresh", None, Some(json!({ "refresh_token": token }))).await;
    let (status, next) = refresh(&tokens["refresh_token"]).await;
    assert_eq!(status, StatusCode::OK, "{next}");
    assert_ne!(next["refresh_token"], tokens["refresh_token"]);
    // A client whose answer was lost asks again at once and gets the same successor.
    let (status, same) = refresh(&tokens["refresh_token"]).await;
    assert_eq!((status, &same["refresh_token"]), (StatusCode::OK, &next["refresh_token"]));
    world.clock.advance(11);
    assert_eq!(refresh(&tokens["refresh_token"]).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(refresh(&next["refresh_token"]).await.0, StatusCode::UNAUTHORIZED, "the whole session has ended");
    let access = next["access_token"].as_str().expect("a token");
    assert_eq!(world.call(Method::GET, "/v1/me", Some(access), None).await.0, StatusCode::UNAUTHORIZED);
    for garbage in [json!({}), json!({ "refresh_token": "" }), json!({ "refresh_token": "AAAA" }), json!({ "refresh_token": 7 })] {
        assert_eq!(world.call(Method::POST, "/v1/sessions/refresh", None, Some(garbage.clone())).await.0.as_u16() / 100, 4, "{garbage}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_gets_its_refresh_token_in_a_cookie_that_scripts_cannot_read() {
    let world = World::start().await;
    world.user("aino").await;
    let body = json!({ "login": "aino", "password": "a long password" });
    let response = world.http.post(format!("{}/v1/sessions", world.base)).json(&body).send().await.expect("an answer");
    let cookie = response.headers()["set-cookie"].to_str().expect("text").to_owned();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/v1/sessions"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let tokens: Value = response.json().await.expect("JSON");
    assert_eq!(tokens.get("refresh_token"), None);
    let pair = cookie.split(';').next().expect("a pair").to_owned();
    let refreshed = world.http.post(format!("{}/v1/sessions/refresh", world.base)).header("cookie", pair).send().await.expect("an answer");
    assert_eq!(refreshed.status(), StatusCode::OK);
    assert!(refreshed.headers().contains_key("set-cookie"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refuses_tokens_that_are_not_ours_or_not_of_now() {
    let world = World::start().await;
    let token = world.user("aino").await;
    let parts: Vec<&str> = token.split('.').collect();
    // {"alg":"none"} and {"alg":"HS256"} with the payload kept.
    let none = format!("eyJhbGciOiJub25lIn0.{}.", parts[1]);
    let symmetric = format!("eyJhbGciOiJIUzI1NiJ9.{}.{}", parts[1], parts[2]);
    let cut: String = token.chars().take(token.len() - 8).collect();
    for bad in ["", "garbage", "a.b.c", &none, &symmetric, &cut] {
        assert_eq!(world.call(Method::GET, "/v1/me", Some(bad), None).await.0, StatusCode::UNAUTHORIZED, "{bad:?}");
    }
    world.clock.advance(599);
    assert_eq!(world.call(Method::GET, "/v1/me", Some(&token), None).await.0, StatusCode::OK);
    world.clock.advance(2);
    assert_eq!(world.call(Method::GET, "/v1/me", Some(&token), None).await.0, StatusCode::UNAUTHORIZED, "it has expired");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_answered_in_frames_remembered_and_found_again() {
    let world = World::start().await;
    let token = world.user("aino").await;
    let conversation = world.conversation(&token).await;
    let path = format!("/v1/conversations/{conversation}/messages");
    let post = world.http.post(format!("{}{path}", world.base)).bearer_auth(&token).json(&json!({ "text": "Mustikka sleeps in the sauna." }));
    let text = post.send().await.expect("an answer").text().await.expect("text");
    let told = frames(&text);
    let kinds: Vec<&str> = told.iter().map(|frame| frame["type"].as_str().expect("a type")).collect();
    assert_eq!(kinds, ["accepted", "memories", "token", "token", "token", "done"]);
    assert!(told.iter().enumerate().all(|(at, frame)| frame["seq"] == json!(at)));
    world.remember().await;
    let receipt = told[5]["receipt"].as_str().expect("a receipt");
    let (status, found) =
        world.call(Method::GET, &format!("/v1/memories/search?q=where%20does%20Mustikka%20sleep&after={receipt}&explain=true"), Some(&token), None).await;
    assert_eq!(status, StatusCode::OK, "{found}");
    assert_eq!(found["items"][0]["text"], "Mustikka sleeps in the sauna.");
    assert!(found["items"][0]["signals"]["lexical_turn"].as_f64().is_some_and(|share| share > 0.0));
    let (status, one) = world.call(Method::GET, &format!("/v1/memories/{}", found["items"][0]["id"].as_str().expect("an id")), Some(&token), None).await;
    assert_eq!((status, one["role"].as_str()), (StatusCode::OK, Some("user")));

    // The next conversation is given it, and says so.
    let other = world.conversation(&token).await;
    let (status, reply) =
        world.call(Method::POST, &format!("/v1/conversations/{other}/messages"), Some(&token), Some(json!({ "text": "Where does Mustikka sleep?" }))).await;
    assert_eq!(status, StatusCode::CREATED, "{reply}");
    assert_eq!(reply["memories"][0]["text"], "Mustikka sleeps in the sauna.");
    assert!(reply["memories"][0]["why"].as_array().is_some_and(|why| !why.is_empty()));
    let asked = world.words.asked.lock().expect("no panic").last().cloned().expect("a prompt");
    assert!(asked[0].content.contains("Mustikka sleeps in the sauna."), "{}", asked[0].content);
    world.remember().await;
    let (_, page) = world.call(Method::GET, &format!("{path}?limit=1"), Some(&token), None).await;
    assert_eq!(page["items"][0]["role"], "assistant");
    let cursor = page["next_cursor"].as_str().expect("more");
    let (_, page) = world.call(Method::GET, &format!("{path}?limit=1&cursor={cursor}"), Some(&token), None).await;
    assert_eq!(page["items"][0]["role"], "user");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_after_a_write_waits_and_then_says_how_far_it_is() {
    let world = World::start().await;
    let token = world.user("aino").await;
    let conversation = world.conversation(&token).await;
    let (_, reply) = world.call(Method::POST, &format!("/v1/conversations/{conversation}/messages"), Some(&token), Some(json!({ "text": "hei" }))).await;
    let receipt = reply["receipt"].as_str().expect("a receipt").to_owned();
    for path in [format!("/v1/memories/search?q=hei&after={receipt}"), format!("/v1/profile/activity?after={receipt}")] {
        let (status, progress) = world.call(Method::GET, &path, Some(&token), None).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{progress}");
        assert_eq!((progress["applied_offset"].as_u64(), progress["wanted_offset"].as_u64()), (Some(0), Some(1)));
    }
    world.remember().await;
    let frontier = world.parts.recall.index().clone();
    frontier.wait_for(&receipt.parse().expect("a receipt"), support::PATIENCE).await.expect("in");
    let (status, _) = world.call(Method::GET, &format!("/v1/memories/search?q=hei&after={receipt}"), Some(&token), None).await;
    assert_eq!(status, StatusCode::OK);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_outlives_its_connection_can_be_read_on_and_stop_reaches_the_model() {
    let world = World::start().await;
    let token = world.user("aino").await;
    let conversation = world.conversation(&token).await;
    world.words.permits.forget_permits(1_000);
    world.words.length.store(50, Ordering::SeqCst);
    let url = format!("{}/v1/conversations/{conversation}/messages", world.base);
    let mut response = world.http.post(url).bearer_auth(&token).json(&json!({ "text": "hei" })).send().await.expect("an answer");
    let first = response.chunk().await.expect("a chunk").expect("text");
    let id = frames(std::str::from_utf8(&first).expect("text"))[0]["id"].as_str().expect("an id").to_owned();
    drop(response);

    world.words.permits.add_permits(2);
    while world.words.made.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    // Another user cannot see or stop it.
    let other = world.user("other").await;
    assert_eq!(world.call(Method::GET, &format!("/v1/replies/{id}/frames"), Some(&other), None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(world.call(Method::POST, &format!("/v1/replies/{id}/stop"), Some(&other), None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(world.call(Method::POST, &format!("/v1/replies/{id}/stop"), Some(&token), None).await.0, StatusCode::ACCEPTED);
    let rest = world.http.get(format!("{}/v1/replies/{id}/frames?after=1", world.base)).bearer_auth(&token).send().await.expect("an answer");
    let told = frames(&rest.text().await.expect("text"));
    assert_eq!(told[0]["seq"], 2);
    assert_eq!(told.last().expect("an end")["finish_reason"], "stopped");
    world.words.permits.add_permits(100);
    world.remember().await;
    let (_, page) = world.call(Method::GET, &format!("/v1/conversations/{conversation}/messages"), Some(&token), None).await;
    assert_eq!(page["items"][1]["text"], "word0 word1 ", "what was said by then is kept");
    assert!(world.words.made.load(Ordering::SeqCst) <= 3, "the model went on after the stop");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_model_is_told_and_the_message_is_kept() {
    let world = World::start().await;
    let token = world.user("aino").await;
    let conversation = world.conversation(&token).await;
    let path = format!("/v1/conversations/{conversation}/messages");
    let (status, problem) = world.call(Method::POST, &path, Some(&token), Some(json!({ "text": "break the model" }))).await;
    assert_eq!((status, problem["code"].as_str()), (StatusCode::SERVICE_UNAVAILABLE, Some("unavailable")));
    world.remember().await;
    let (_, page) = world.call(Method::GET, &path, Some(&token), None).await;
    assert_eq!(page["items"][0]["text"], "break the model");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgets_a_message_when_asked() {
    let world = World::start().await;
    let token = world.user("aino").await;
    let conversation = world.conversation(&token).await;
    let path = format!("/v1/conversations/{conversation}/messages");
    world.call(Method::POST, &path, Some(&token), Some(json!({ "text": "forget me" }))).await;
    world.remember().await;
    let (_, page) = world.call(Method::GET, &path, Some(&token), None).await;
    let id = page["items"][0]["id"].as_str().expect("an id").to_owned();
    let other = world.user("other").await;
    assert_eq!(world.call(Method::DELETE, &format!("{path}/{id}"), Some(&other), None).await.0, StatusCode::NOT_FOUND);
    let (status, written) = world.call(Method::DELETE, &format!("{path}/{id}"), Some(&token), None).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    world.remember().await;
    let receipt = written["receipt"].as_str().expect("a receipt").parse().expect("a receipt");
    world.parts.recall.index().wait_for(&receipt, support::PATIENCE).await.expect("in");
    let (_, found) = world.call(Method::GET, "/v1/memories/search?q=forget%20me", Some(&token), None).await;
    assert!(found["items"].as_array().is_some_and(|items| items.iter().all(|item| item["text"] != "forget me")), "{found}");
    assert_eq!(world.call(Method::GET, &format!("/v1/memories/{id}"), Some(&token), None).await.0, StatusCode::NOT_FOUND);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_refuses_strangers_other_users_and_garbage_with_a_problem() {
    let world = World::start().await;
    let (mine, other) = (world.user("aino").await, world.user("other").await);
    let conversation = world.conversation(&mine).await;
    let document = serde_json::to_value(ajatus_serving::openapi()).expect("JSON");
    let paths = document["paths"].as_object().expect("paths");
    let mut checked = 0;
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().expect("methods") {
            if operation.get("security").is_none() {
                continue;
            }
            checked += 1;
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
            let filled = path.replace("{id}", &conversation).replace("{message_id}", &conversation);
            let takes_body = matches!(method, Method::POST | Method::PATCH) || method == Method::PUT && path.contains("{message_id}");
            let body = takes_body.then(|| json!({ "text": "hei", "title": "x" }));
            let (status, problem) = world.call(method.clone(), &filled, None, body.clone()).await;
            assert_eq!((status, problem["code"].as_str()), (StatusCode::UNAUTHORIZED, Some("unauthorized")), "{method} {path}");
            if path.contains("{id}") {
                let only = if path.contains("messages") { json!({ "text": "hei" }) } else { json!({ "title": "x" }) };
                let (status, _) = world.call(method.clone(), &filled, Some(&other), body.map(|_| only)).await;
                assert_eq!(status, StatusCode::NOT_FOUND, "{method} {path} for another user");
                let bad = path.replace("{id}", "no-id").replace("{message_id}", "no-id");
                let body = takes_body.then(|| json!({ "text": "hei" }));
                let (status, problem) = world.call(method.clone(), &bad, Some(&mine), body).await;
                assert_eq!((status.as_u16() / 100, problem["status"].as_u64()), (4, Some(u64::from(status.as_u16()))), "{method} {bad}");
            }
        }
    }
    assert!(checked >= 15, "{checked} routes were checked");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_refused_with_a_problem_and_never_with_a_500() {
    let world = World::start().await;
    let token = world.user("aino").await;
    let conversation = world.conversation(&token).await;
    let messages = format!("/v1/conversations/{conversation}/messages");
    let send = async |path: &str, kind: &str, body: Vec<u8>| {
        let request = world.http.post(format!("{}{path}", world.base)).bearer_auth(&token).header("content-type", kind).header("accept", "application/json");
        let response = request.body(body).send().await.expect("an answer");
        let status = response.status().as_u16();
        (status, response.json::<Value>().await.unwrap_or(Value::Null))
    };
    let long = serde_json::to_vec(&json!({ "text": "x".repeat(9_000) })).expect("JSON");
    for (path, kind, body, status, code) in [
        ("/v1/accounts", "application/json", b"{".to_vec(), 400, "malformed_body"),
        ("/v1/accounts", "text/plain", b"{}".to_vec(), 415, "not_json"),
        ("/v1/accounts", "application/json", b"{\"login\": 5}".to_vec(), 422, "invalid_body"),
        ("/v1/accounts", "application/json", br#"{"login": "a", "password": "a long password", "admin": true}"#.to_vec(), 422, "invalid_body"),
        ("/v1/accounts", "application/json", br#"{"login": "a", "password": "short"}"#.to_vec(), 422, "invalid_password"),
        ("/v1/accounts", "application/json", br#"{"login": " ", "password": "a long password"}"#.to_vec(), 422, "invalid_login"),
        ("/v1/accounts", "application/json", b"\xff\xfe\x00".to_vec(), 400, "malformed_body"),
        (&messages, "application/json", br#"{"text": "  "}"#.to_vec(), 422, "empty_message"),
        (&messages, "application/json", long, 422, "long_message"),
        (&messages, "application/json", vec![b'x'; 300 * 1024], 413, "too_large"),
    ] {
        let (got, problem) = send(path, kind, body.clone()).await;
        assert_eq!((got, problem["code"].as_str().unwrap_or("none")), (status, code), "{path} {:?}", String::from_utf8_lossy(&body[..body.len().min(60)]));
    }
    for path in [
        "/v1/memories/search",
        "/v1/memories/search?q=",
        "/v1/memories/search?q=x&limit=0",
        "/v1/memories/search?q=x&limit=many",
        "/v1/memories/search?q=x&after=garbage",
        "/v1/memories/search?q=x&unknown=1",
        "/v1/conversations?cursor=garbage",
        "/v1/conversations?limit=1000",
        "/v1/profile/activity?after=a:b:c",
        "/nowhere",
    ] {
        let (status, problem) = world.call(Method::GET, path, Some(&token), None).await;
        assert_eq!(status.as_u16() / 100, 4, "{path}");
        assert_eq!(problem["status"].as_u64(), Some(u64::from(status.as_u16())), "{path}: {problem}");
    }
    assert_eq!(world.call(Method::PUT, "/v1/accounts", Some(&token), Some(json!({}))).await.0, StatusCode::METHOD_NOT_ALLOWED);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serves_its_page_its_docs_its_health_and_its_key() {
    let world = World::start().await;
    for (path, word) in [
        ("/", "Ajatuskumppani"),
        ("/page.js", "use strict"),
        ("/page.css", "color-scheme"),
        ("/docs/", "swagger"),
        ("/docs/problems", "too_many_attempts"),
        ("/openapi.json", "/v1/memories/search"),
        ("/health/live", "alive"),
        ("/health/ready", "\"ready\":true"),
        ("/metrics", "requests_total"),
        ("/.well-known/jwks.json", "Ed25519"),
    ] {
        let response = world.http.get(format!("{}{path}", world.base)).send().await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        assert!(response.headers().contains_key("content-security-policy") && response.headers().contains_key("x-request-id"), "{path}");
        assert!(response.text().await.expect("text").contains(word), "{path} does not hold {word:?}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn says_that_the_port_is_taken_and_what_to_do() {
    let world = World::start().await;
    let address = world.base.trim_start_matches("http://").parse().expect("an address");
    let config = ajatus_serving::ServeConfig { listen: address, ..world.config.clone() };
    let refused = ajatus_serving::serve(config, world.parts.clone()).await.err().expect("taken").to_string();
    assert!(refused.contains(&address.to_string()) && refused.contains("--listen"), "{refused}");
    world.stop().await;
}

#[test]
fn the_document_is_the_one_that_was_reviewed() {
    insta::assert_json_snapshot!("openapi", ajatus_serving::openapi());
}

#[test]
fn every_problem_code_has_its_place_in_the_docs() {
    let page = include_str!("../src/page/problems.html");
    let mut found = 0;
    for source in [
        include_str!("../src/problem.rs"),
        include_str!("../src/body.rs"),
        include_str!("../src/reply/mod.rs"),
        include_str!("../src/request.rs"),
        include_str!("../src/routes/accounts.rs"),
        include_str!("../src/routes/after.rs"),
        include_str!("../src/routes/messages.rs"),
        include_str!("../src/routes/sessions.rs"),
        include_str!("../src/routes/conversations.rs"),
        include_str!("../src/routes/memories.rs"),
        include_str!("../src/server.rs"),
    ] {
        for call in ["StatusCode::", "Problem::invalid(", "Problem::bad_request("] {
            for part in source.split(call).skip(1) {
                let Some(code) = part.lines().next().and_then(|line| line.split('"').nth(1)) else { continue };
                if !code.is_empty() && code.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_') {
                    found += 1;
                    assert!(page.contains(&format!("id=\"{code}\"")), "{code} is not described");
                }
            }
        }
    }
    assert!(found > 12, "{found}");
}
