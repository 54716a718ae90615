//! `ajatus user consent` and `ajatus data training-set`, by the real program.

mod support;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use support::{Ajatus, stderr, stdout};

/// Questions and answers of one conversation, as `ajatus import` takes them.
fn talk(ajatus: &Ajatus, user: &str, words: &[&str]) {
    let lines: String = words
        .iter()
        .enumerate()
        .map(|(at, text)| {
            let role = if at % 2 == 0 { "user" } else { "assistant" };
            json!({ "conversation": "kitchen", "turn": format!("t{at}"), "role": role, "occurred_at": format!("2026-03-0{}T08:00:00Z", at + 1), "text": text }).to_string() + "\n"
        })
        .collect();
    let file = ajatus.file(&format!("{user}.jsonl"), lines.as_bytes());
    let report = ajatus.json(&["import", file.to_str().expect("a path"), "--user", user, "--format", "jsonl"]);
    assert_eq!(report["added"], words.len());
}

fn consent(ajatus: &Ajatus, user: &str, answer: &str) -> Value {
    ajatus.json(&["user", "consent", user, "--training", answer])["training_consent_at"].clone()
}

fn folder(ajatus: &Ajatus, name: &str) -> PathBuf {
    ajatus.data().with_file_name(name)
}

/// What both parts of a set say, a text.
fn texts(set: &Path) -> String {
    ["train.jsonl", "valid.jsonl"].map(|name| std::fs::read_to_string(set.join(name)).expect("a file")).concat()
}

#[test]
fn a_set_holds_the_live_turns_of_those_who_allow_it_and_the_trail_says_so() {
    let ajatus = Ajatus::new();
    talk(&ajatus, "aino@example.org", &["Where is the jar?", "In the cellar.", "Write to aino@example.org.", "I will."]);
    talk(&ajatus, "eino", &["A secret word: kettunen.", "I keep it."]);
    talk(&ajatus, "veera", &["Nobody may learn from orvokki.", "Of course."]);
    let set = |name: &str, more: &[&str]| {
        let out = folder(&ajatus, name).display().to_string();
        ajatus.run(&[&["data", "training-set", "--out", &out, "--purpose", "a test", "--json"], more].concat())
    };
    let nobody = set("none", &["--all-consented"]);
    assert_eq!(nobody.status.code(), Some(2), "{}", stderr(&nobody));
    assert!(stderr(&nobody).contains("nobody has allowed"), "{}", stderr(&nobody));
    assert!(!folder(&ajatus, "none").exists() && ajatus.run(&["data", "training-exports"]).stdout.is_empty());

    let since = consent(&ajatus, "aino@example.org", "yes");
    assert!(since.is_string() && consent(&ajatus, "eino", "yes").is_string());
    let system = ajatus.file("system.txt", b"You are kind.\n").display().to_string();
    let taken = set("first", &["--all-consented", "--format", "both", "--system", &system]);
    assert!(taken.status.success(), "{}", stderr(&taken));
    let taken: Value = serde_json::from_slice(&taken.stdout).expect("a document");
    assert_eq!((&taken["users"], &taken["conversations"], &taken["messages"]), (&json!(2), &json!(2), &json!(6)), "{taken}");
    let first = folder(&ajatus, "first");
    let said = texts(&first);
    assert!(said.contains("cellar") && said.contains("kettunen") && !said.contains("orvokki"), "{said}");
    assert!(!said.contains("example.org") && said.contains("Write to [mail address]."), "no address leaves: {said}");
    for line in said.lines() {
        let one: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(one["messages"][0], json!({ "role": "system", "content": "You are kind." }));
        assert_eq!(one["messages"][1]["role"], "user");
        assert_eq!(one["conversation"].as_str().expect("a hash").len(), 32);
    }
    // The manifest names every file's hash, and the trail the manifest's.
    let manifest = std::fs::read(first.join("manifest.json")).expect("a manifest");
    let trail = ajatus.json(&["data", "training-exports"]);
    assert_eq!(trail["content_hash"], blake3::hash(&manifest).to_hex().as_str());
    assert_eq!((&trail["purpose"], &trail["users"], &trail["messages"]), (&json!("a test"), &json!(2), &json!(6)));
    assert!(trail["exported_by"].as_str().is_some_and(|name| !name.is_empty()), "{trail}");
    let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    let files = manifest["files"].as_object().expect("files");
    assert_eq!(files.keys().collect::<Vec<_>>(), ["train.jsonl", "train.parquet", "valid.jsonl", "valid.parquet"]);
    for (name, about) in files {
        let bytes = std::fs::read(first.join(name)).expect("a file");
        assert_eq!(about["blake3"], blake3::hash(&bytes).to_hex().as_str(), "{name}");
        assert!(!name.ends_with("parquet") || bytes.starts_with(b"PAR1"), "{name}");
    }
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(first.join("train.jsonl")).expect("a file").permissions().mode();
    assert_eq!(mode & 0o077, 0, "opened words are their owner's alone");

    // Withdrawn: absent. Named: refused. Within a time: only that.
    assert_eq!(consent(&ajatus, "eino", "no"), Value::Null);
    assert!(set("second", &["--all-consented"]).status.success());
    assert!(!texts(&folder(&ajatus, "second")).contains("kettunen"));
    let named = set("third", &["--users", "aino@example.org,eino"]);
    assert_eq!(named.status.code(), Some(2));
    assert!(stderr(&named).contains("eino has not allowed"), "{}", stderr(&named));
    assert!(set("fourth", &["--users", "aino@example.org", "--until", "2026-03-03"]).status.success());
    let early = texts(&folder(&ajatus, "fourth"));
    assert!(early.contains("cellar") && !early.contains("Write to"), "{early}");
    assert_eq!(stdout(&ajatus.run(&["data", "training-exports"])).lines().count(), 3, "refusals leave no line");
}

#[test]
fn a_forgotten_turn_is_absent_at_once() {
    let ajatus = Ajatus::new();
    talk(&ajatus, "aino", &["Where is the jar?", "In the cellar.", "Forget the word hopeanuoli.", "Yes."]);
    consent(&ajatus, "aino", "yes");
    let mut password = ajatus.command(&["user", "password", "aino"]).stdin(Stdio::piped()).spawn().expect("it starts");
    password.stdin.take().expect("piped").write_all(b"correct horse battery\n").expect("written");
    assert!(password.wait().expect("it ends").success());
    let up = ajatus.up();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let http = reqwest::Client::new();
        let url = |path: &str| format!("{}{path}", up.address);
        let person = json!({ "login": "aino", "password": "correct horse battery", "transport": "body" });
        let signed_in: Value = http.post(url("/v1/sessions")).json(&person).send().await.expect("an answer").json().await.expect("JSON");
        let token = signed_in["access_token"].as_str().expect("a token");
        let get = async |path: String| -> Value { http.get(url(&path)).bearer_auth(token).send().await.expect("an answer").json().await.expect("JSON") };
        let conversations = get("/v1/conversations".to_owned()).await;
        let conversation = conversations["items"][0]["id"].as_str().expect("an id");
        let messages = get(format!("/v1/conversations/{conversation}/messages")).await;
        let message = messages["items"].as_array().expect("turns").iter().find(|turn| turn["text"].as_str().is_some_and(|text| text.contains("hopeanuoli"))).expect("the turn");
        let path = format!("/v1/conversations/{conversation}/messages/{}", message["id"].as_str().expect("an id"));
        let forgotten = http.delete(url(&path)).bearer_auth(token).send().await.expect("an answer");
        assert_eq!(forgotten.status(), 202);
    });
    // Right away, through the running companion: the command waits for what is on the log.
    let out = folder(&ajatus, "set").display().to_string();
    let taken = ajatus.json(&["data", "training-set", "--out", &out, "--purpose", "a test", "--all-consented", "--valid-share", "0"]);
    let said = texts(&folder(&ajatus, "set"));
    assert!(said.contains("cellar") && !said.contains("hopeanuoli"), "{said}");
    assert_eq!(taken["messages"], 2, "two answers in a row are one message: {taken}");
    assert!(up.stop().success());
}

#[test]
fn wrong_options_are_refused_with_a_reason_and_write_nothing() {
    let ajatus = Ajatus::new();
    talk(&ajatus, "aino", &["Where is the jar?", "In the cellar."]);
    consent(&ajatus, "aino", "yes");
    let empty = ajatus.file("empty.txt", b" \n").display().to_string();
    for (args, code, said) in [
        (&["--purpose", "x"][..], 2, "--all-consented"),
        (&["--purpose", "x", "--all-consented", "--users", "aino"][..], 2, "cannot be used with"),
        (&["--all-consented"][..], 2, "--purpose"),
        (&["--all-consented", "--purpose", " "][..], 2, "1 to 500"),
        (&["--all-consented", "--purpose", "x", "--since", "yesterday"][..], 2, "neither a day"),
        (&["--all-consented", "--purpose", "x", "--since", "2026-03-02", "--until", "2026-03-01T00:00:00Z"][..], 2, "is not before"),
        (&["--all-consented", "--purpose", "x", "--valid-share", "1"][..], 2, "between 0 and 0.9"),
        (&["--all-consented", "--purpose", "x", "--format", "csv"][..], 2, "jsonl"),
        (&["--users", "nobody-here", "--purpose", "x"][..], 2, "there is no user"),
        (&["--all-consented", "--purpose", "x", "--system", "missing.txt"][..], 5, "missing.txt"),
        (&["--all-consented", "--purpose", "x", "--system", &empty][..], 5, "it is empty"),
        (&["--all-consented", "--purpose", "x", "--since", "2030-01-01"][..], 5, "no conversation"),
    ] {
        let out = folder(&ajatus, "set").display().to_string();
        let refused = ajatus.run(&[&["data", "training-set", "--out", &out], args].concat());
        assert_eq!(refused.status.code(), Some(code), "{args:?}: {}", stderr(&refused));
        assert!(stderr(&refused).contains(said), "{args:?}: {}", stderr(&refused));
        assert!(!folder(&ajatus, "set").exists(), "{args:?}");
    }
    let taken = ["data", "training-set", "--out", "set", "--all-consented", "--purpose", "x"];
    assert!(ajatus.run(&taken).status.success());
    let twice = ajatus.run(&taken);
    assert_eq!(twice.status.code(), Some(5));
    assert!(stderr(&twice).contains("is there already"), "{}", stderr(&twice));
    let unknown = ajatus.run(&["user", "consent", "nobody-here", "--training", "yes"]);
    assert_eq!(unknown.status.code(), Some(2), "{}", stderr(&unknown));
}
