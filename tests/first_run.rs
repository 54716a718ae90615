//! The main job from end to end, with the real models: `ajatus up`, an import while it runs, a sign-up and a chat over
//! HTTP, a question on the command line.

mod support;

use serde_json::{Value, json};
use support::{Ajatus, conversation, stderr, stdout};

/// Reads the frames of a server-sent event stream.
fn frames(text: &str) -> Vec<Value> {
    text.lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .map(|data| serde_json::from_str(data.trim()).unwrap_or_else(|error| panic!("{error}: {data}")))
        .collect()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[test]
fn a_newcomer_signs_up_chats_and_sees_why() {
    let ajatus = Ajatus::new();
    let up = ajatus.up();
    runtime().block_on(async {
        let http = reqwest::Client::new();
        let url = |path: &str| format!("{}{path}", up.address);

        for path in ["/", "/docs/", "/openapi.json", "/health/live", "/health/ready", "/metrics", "/.well-known/jwks.json"] {
            let answer = http.get(url(path)).send().await.expect("an answer");
            assert_eq!(answer.status(), 200, "{path}");
        }

        let person = json!({ "login": "newcomer", "password": "correct horse battery", "transport": "body" });
        let account = json!({ "login": "newcomer", "password": "correct horse battery" });
        let signed_up = http.post(url("/v1/accounts")).json(&account).send().await.expect("an answer");
        assert!(signed_up.status().is_success(), "{}", signed_up.text().await.expect("a body"));
        let signed_in: Value =
            http.post(url("/v1/sessions")).json(&person).send().await.expect("an answer").json().await.expect("JSON");
        let token = signed_in["access_token"].as_str().expect("a token").to_owned();

        let made: Value = http
            .post(url("/v1/conversations"))
            .bearer_auth(&token)
            .json(&json!({ "title": "First" }))
            .send()
            .await
            .expect("an answer")
            .json()
            .await
            .expect("JSON");
        let conversation = made["id"].as_str().expect("an id").to_owned();
        let say = |text: &str| {
            http.post(url(&format!("/v1/conversations/{conversation}/messages")))
                .bearer_auth(&token)
                .header("accept", "text/event-stream")
                .json(&json!({ "text": text }))
                .send()
        };
        let first = say("My cat is called Mustikka and she sleeps in the sauna.").await.expect("an answer");
        assert_eq!(first.status(), 200);
        let told = frames(&first.text().await.expect("a stream"));
        let kinds: Vec<&str> = told.iter().filter_map(|frame| frame["type"].as_str()).collect();
        assert_eq!(kinds.first(), Some(&"accepted"), "{kinds:?}");
        assert_eq!(kinds.last(), Some(&"done"), "{told:?}");
        assert!(kinds.contains(&"token"), "{kinds:?}");
        let numbers: Vec<u64> = told.iter().filter_map(|frame| frame["seq"].as_u64()).collect();
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");

        // Read your writes: the receipt of the message just sent.
        let receipt = told[0]["receipt"].as_str().expect("a receipt").to_owned();
        let found = http
            .get(url("/v1/memories/search"))
            .bearer_auth(&token)
            .query(&[("q", "Where does Mustikka sleep?"), ("after", &receipt)])
            .send()
            .await
            .expect("an answer");
        assert_eq!(found.status(), 200);
        let found: Value = found.json().await.expect("JSON");
        assert!(found["items"][0]["text"].as_str().is_some_and(|text| text.contains("sauna")), "{found}");

        let asked = say("What is my cat called?").await.expect("an answer");
        let told = frames(&asked.text().await.expect("a stream"));
        let used = told.iter().find(|frame| frame["type"] == "memories").expect("memories are named");
        assert!(used.to_string().contains("Mustikka"), "{used}");
        assert_eq!(told.last().map(|frame| &frame["type"]), Some(&json!("done")), "{told:?}");

        let anonymous = http.get(url("/v1/conversations")).send().await.expect("an answer");
        assert_eq!(anonymous.status(), 401);
    });
    assert!(up.stop().success());
}

#[test]
fn commands_reach_a_running_companion_and_an_answer_names_its_turns() {
    let ajatus = Ajatus::new();
    let up = ajatus.up();
    let file = conversation("en.locomo.json");
    let report = ajatus.json(&["import", file.to_str().expect("a path"), "--user", "guest", "--format", "locomo"]);
    assert_eq!(report["added"], report["turns"], "{report}");

    let second = ajatus.run(&["up", "--listen", "127.0.0.1:0"]);
    assert_eq!(second.status.code(), Some(4), "{}", stderr(&second));

    let answer = ajatus.json(&["ask", "--user", "guest", "What did we talk about first?"]);
    assert!(answer["answer"].as_str().is_some_and(|text| !text.trim().is_empty()), "{answer}");
    let memories = answer["memories"].as_array().expect("memories");
    assert!(!memories.is_empty() && memories.iter().all(|memory| memory["source"]["turn"].is_string()), "{answer}");

    let unknown = ajatus.run(&["ask", "--user", "nobody-here", "Hello?"]);
    assert_ne!(unknown.status.code(), Some(0));
    assert!(stderr(&unknown).contains("nobody-here"), "{}", stderr(&unknown));

    let doctor = ajatus.run(&["doctor"]);
    assert!(doctor.status.success(), "{}{}", stdout(&doctor), stderr(&doctor));
    assert!(stdout(&doctor).contains("all green"), "{}", stdout(&doctor));
    assert!(up.stop().success());

    // What was imported outlives the process.
    let again = ajatus.json(&["import", file.to_str().expect("a path"), "--user", "guest", "--format", "locomo"]);
    assert_eq!(again["added"], 0, "{again}");
}

#[test]
fn names_the_port_that_is_taken() {
    let ajatus = Ajatus::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let output = ajatus.run(&["up", "--listen", &address]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(stderr(&output).contains(&address), "{}", stderr(&output));
}
