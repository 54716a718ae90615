//! The profile with the real program: from an import to why, why not, corrections and the past, on the command line and over HTTP.

mod support;

use serde_json::{Value, json};
use support::{Ajatus, stderr, stdout};

fn line(turn: &str, at: &str, text: &str) -> String {
    json!({ "conversation": "kitchen", "turn": turn, "role": "user", "occurred_at": at, "text": text }).to_string()
}

fn facts(ajatus: &Ajatus, more: &[&str]) -> Vec<String> {
    let shown = ajatus.json(&[&["profile", "show", "--user", "aino"], more].concat());
    let facts = shown["facts"].as_array().expect("facts").clone();
    facts.iter().map(|fact| format!("{} {}={} {}", word(&fact["about"]), word(&fact["attribute"]), word(&fact["value"]), word(&fact["state"]))).collect()
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

#[test]
fn a_profile_is_shown_explained_corrected_and_seen_as_it_was() {
    let ajatus = Ajatus::new();
    let lines = [
        line("t1", "2025-03-01T08:00:00Z", "Hei! Asun Turussa. Pottery is on today."),
        line("t2", "2025-06-01T08:00:00Z", "I moved to Oulu in May 2025. The pottery wheel came along."),
        line("t3", "2025-06-02T08:00:00Z", "My sister Anna lives in Kemi. I like salmiakki."),
        line("t4", "2025-06-03T08:00:00Z", "Should I move to Vaasa?"),
    ];
    let file = ajatus.file("kitchen.jsonl", (lines.join("\n") + "\n").as_bytes()).display().to_string();
    ajatus.json(&["import", &file, "--user", "aino", "--format", "jsonl"]);

    let now = facts(&ajatus, &[]);
    for fact in ["self home=Oulu current", "self likes=salmiakki current", "Anna home=Kemi current"] {
        assert!(now.contains(&fact.to_owned()), "{fact} is not in {now:?}");
    }
    assert!(!now.iter().any(|fact| fact.contains("Turku") || fact.contains("Vaasa")), "{now:?}");
    assert!(facts(&ajatus, &["--history"]).contains(&"self home=Turku superseded".to_owned()), "{:?}", facts(&ajatus, &["--history"]));
    let shown = ajatus.json(&["profile", "show", "--user", "aino"]);
    assert_eq!(shown["interests"][0]["topic"], "pottery", "{shown}");
    assert_eq!((&shown["habits"]["turns"], &shown["habits"]["questions"]), (&json!(4), &json!(1)), "{shown}");

    // Every fact names its words.
    let oulu = shown["facts"].as_array().expect("facts").iter().find(|fact| fact["value"] == "Oulu").expect("there");
    let why = ajatus.json(&["profile", "why", "--user", "aino", word(&oulu["id"])]);
    assert_eq!(why["sources"][0]["words"], "I moved to Oulu in May 2025", "{why}");
    let why_not = ajatus.json(&["profile", "why-not", "--user", "aino", "Turku"]);
    assert_eq!((&why_not["dropped"][0]["ended_by"]["why"], &why_not["dropped"][0]["ended_by"]["value"]), (&json!("superseded"), &json!("Oulu")), "{why_not}");
    let why_not = ajatus.json(&["profile", "why-not", "--user", "aino", "Vaasa"]);
    assert_eq!((why_not["dropped"].as_array().map(Vec::len), &why_not["unread"][0]["text"]), (Some(0), &json!("Should I move to Vaasa?")), "{why_not}");

    // A correction is the last word, until it is taken back.
    let before = shown["epoch"].as_u64().expect("an epoch").to_string();
    let edit = ajatus.json(&["profile", "correct", "--user", "aino", "home", "Oulu", "--instead", "Kuopio"]);
    assert!(facts(&ajatus, &[]).contains(&"self home=Kuopio current".to_owned()), "{:?}", facts(&ajatus, &["--history"]));
    assert!(facts(&ajatus, &["--as-of", &before]).contains(&"self home=Oulu current".to_owned()), "{:?}", facts(&ajatus, &["--as-of", &before]));
    assert!(facts(&ajatus, &["--as-of", "2020-01-01T00:00:00Z"]).is_empty());
    ajatus.json(&["profile", "undo", "--user", "aino", word(&edit["id"])]);
    assert!(facts(&ajatus, &[]).contains(&"self home=Oulu current".to_owned()), "{:?}", facts(&ajatus, &["--history"]));

    ajatus.json(&["profile", "forget", "--user", "aino", "likes", "salmiakki"]);
    let all = ajatus.json(&["profile", "show", "--user", "aino", "--history"]);
    assert!(!all["facts"].to_string().contains("salmiakki"), "{all}");
    let plain = ajatus.run(&["profile", "show", "--user", "aino"]);
    assert!(plain.status.success() && stdout(&plain).contains("home = Oulu"), "{}{}", stdout(&plain), stderr(&plain));

    for (arguments, said) in [
        (vec!["profile", "show", "--user", "nobody"], "nobody"),
        (vec!["profile", "show", "--user", "aino", "--as-of", "soon"], "an epoch"),
        (vec!["profile", "show", "--user", "aino", "--half-life", "0"], "above 0"),
        (vec!["profile", "why", "--user", "aino", "zz"], "no fact zz"),
        (vec!["profile", "pin", "--user", "aino", "home!", "Oulu"], "attribute is"),
        (vec!["profile", "undo", "--user", "aino", "00000000-0000-0000-0000-000000000001"], "no change"),
    ] {
        let output = ajatus.run(&arguments);
        assert_ne!(output.status.code(), Some(0), "{arguments:?}");
        assert!(stderr(&output).contains(said), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn the_profile_is_served_and_changed_over_http_and_is_the_users_own() {
    let ajatus = Ajatus::new();
    let up = ajatus.up();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let http = reqwest::Client::new();
        let url = |path: &str| format!("{}{path}", up.address);
        let mut tokens = Vec::new();
        for login in ["aino", "eino"] {
            let account = json!({ "login": login, "password": "correct horse battery" });
            assert!(http.post(url("/v1/accounts")).json(&account).send().await.expect("an answer").status().is_success());
            let person = json!({ "login": login, "password": "correct horse battery", "transport": "body" });
            let signed_in: Value = http.post(url("/v1/sessions")).json(&person).send().await.expect("an answer").json().await.expect("JSON");
            tokens.push(word(&signed_in["access_token"]).to_owned());
        }
        let call = |method: reqwest::Method, path: &str, who: usize, body: Option<Value>| {
            let request = http.request(method, url(path)).bearer_auth(&tokens[who]);
            let request = match body {
                Some(body) => request.json(&body),
                None => request,
            };
            async move {
                let answer = request.send().await.expect("an answer");
                let status = answer.status().as_u16();
                (status, answer.json::<Value>().await.unwrap_or(Value::Null))
            }
        };
        let get = reqwest::Method::GET;
        let (_, made) = call(reqwest::Method::POST, "/v1/conversations", 0, Some(json!({}))).await;
        let path = format!("/v1/conversations/{}/messages", word(&made["id"]));
        let said = http.post(url(&path)).bearer_auth(&tokens[0]).header("accept", "application/json").json(&json!({ "text": "I live in Oulu." })).send().await.expect("an answer");
        let said: Value = said.json().await.expect("JSON");
        let (status, profile) = call(get.clone(), &format!("/v1/profile?after={}", word(&said["receipt"])), 0, None).await;
        assert_eq!((status, &profile["facts"][0]["value"]), (200, &json!("Oulu")), "{profile}");
        let fact = word(&profile["facts"][0]["id"]).to_owned();
        let (status, why) = call(get.clone(), &format!("/v1/profile/facts/{fact}"), 0, None).await;
        assert_eq!((status, &why["sources"][0]["words"]), (200, &json!("I live in Oulu")), "{why}");

        // Another user sees none of it.
        let (_, others) = call(get.clone(), "/v1/profile", 1, None).await;
        assert_eq!(others["facts"], json!([]), "{others}");
        assert_eq!(call(get.clone(), &format!("/v1/profile/facts/{fact}"), 1, None).await.0, 404);

        let (status, edit) = call(reqwest::Method::POST, "/v1/profile/edits", 0, Some(json!({ "op": "mute", "attribute": "home" }))).await;
        assert_eq!(status, 202, "{edit}");
        let (_, profile) = call(get.clone(), &format!("/v1/profile?after={}", word(&edit["receipt"])), 0, None).await;
        assert_eq!(profile["facts"][0]["muted"], true, "{profile}");
        let (_, edits) = call(get.clone(), "/v1/profile/edits", 0, None).await;
        assert_eq!(edits["items"][0]["op"], "mute", "{edits}");
        let undo = format!("/v1/profile/edits/{}", word(&edit["id"]));
        assert_eq!(call(reqwest::Method::DELETE, &undo, 1, None).await.0, 404, "another's change");
        let (status, undone) = call(reqwest::Method::DELETE, &undo, 0, None).await;
        assert_eq!(status, 202, "{undone}");
        let (_, profile) = call(get.clone(), &format!("/v1/profile?after={}", word(&undone["receipt"])), 0, None).await;
        assert_eq!(profile["facts"][0]["muted"], false, "{profile}");
        let (_, why_not) = call(get.clone(), "/v1/profile/why-not?value=Vaasa", 0, None).await;
        assert_eq!(why_not, json!({ "current": [], "dropped": [], "unread": [] }));

        for (method, path, body, status) in [
            (get.clone(), "/v1/profile?as_of=soon", None, 400),
            (get.clone(), "/v1/profile?half_life_days=0", None, 400),
            (get.clone(), "/v1/profile?mood=good", None, 400),
            (get.clone(), "/v1/profile/why-not?value=", None, 400),
            (get.clone(), "/v1/profile/facts/..", None, 404),
            (reqwest::Method::POST, "/v1/profile/edits", Some(json!({ "op": "burn", "attribute": "home" })), 422),
            (reqwest::Method::POST, "/v1/profile/edits", Some(json!({ "op": "pin", "attribute": "" })), 422),
            (reqwest::Method::DELETE, "/v1/profile/edits/00000000-0000-0000-0000-000000000001", None, 404),
        ] {
            let (found, problem) = call(method, path, 0, body).await;
            assert_eq!(found, status, "{path}: {problem}");
        }
        assert_eq!(http.get(url("/v1/profile")).send().await.expect("an answer").status(), 401);
    });
    assert!(up.stop().success());
}
