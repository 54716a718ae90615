//! Keys are replaced with the real program: while it runs, everything stays readable, and nothing opens with the older key afterwards.

mod support;

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};
use support::{Ajatus, stdout};

fn import(ajatus: &Ajatus) {
    let line = |turn: &str, text: &str| json!({ "conversation": "kitchen", "turn": turn, "role": "user", "occurred_at": format!("2026-03-0{turn}T08:00:00Z"), "text": text }).to_string();
    let lines = [line("1", "Jar number 1 holds plum jam."), line("2", "I live in Oulu."), line("3", "Mustikka sleeps in the sauna.")];
    let file = ajatus.file("kitchen.jsonl", (lines.join("\n") + "\n").as_bytes()).display().to_string();
    ajatus.json(&["import", &file, "--user", "aino", "--format", "jsonl"]);
}

fn found(ajatus: &Ajatus) -> Value {
    ajatus.json(&["memory", "search", "--user", "aino", "Where does Mustikka sleep?", "--limit", "1"])["hits"][0]["text"].clone()
}

fn home(ajatus: &Ajatus) -> Value {
    ajatus.json(&["profile", "show", "--user", "aino"])["facts"][0]["value"].clone()
}

#[test]
fn data_keys_and_the_root_key_are_replaced_and_everything_stays_readable() {
    let ajatus = Ajatus::new();
    let up = ajatus.up();
    import(&ajatus);
    ajatus.json(&["profile", "pin", "--user", "aino", "home", "Oulu"]);
    let before = found(&ajatus);
    assert_eq!(before, "Mustikka sleeps in the sauna.");

    let rotated = ajatus.json(&["keys", "rotate", "--user", "aino"]);
    let done = &rotated["users"][0]["done"];
    assert_eq!((&done["version"], &done["interactions"]), (&json!(2), &json!(4)), "{rotated}");
    assert!(done["answers"].as_u64() >= Some(3) && done["fields"].as_u64() >= Some(1), "{rotated}");
    assert_eq!((found(&ajatus), home(&ajatus)), (before.clone(), json!("Oulu")));
    let status = ajatus.json(&["keys", "status"]);
    assert_eq!((&status["versions"], &status["replacing"]), (&json!({ "2": 1 }), &json!([])), "{status}");

    // Importing again finds everything unchanged: contents are told apart as before.
    let line = "{\"conversation\": \"kitchen\", \"turn\": \"4\", \"role\": \"user\", \"occurred_at\": \"2026-03-04T08:00:00Z\", \"text\": \"More jam.\"}\n";
    let more = ajatus.file("more.jsonl", line.as_bytes()).display().to_string();
    assert_eq!(ajatus.json(&["import", &more, "--user", "aino", "--format", "jsonl"])["added"], 1);
    assert_eq!(ajatus.json(&["import", &more, "--user", "aino", "--format", "jsonl"])["unchanged"], 1);

    let old_root = std::fs::read(ajatus.data().join("root.key")).expect("there");
    let rooted = ajatus.json(&["keys", "rotate-root"]);
    assert_eq!((&rooted["keys"], &rooted["logins"]), (&json!(1), &json!(1)), "{rooted}");
    assert_ne!(std::fs::read(ajatus.data().join("root.key")).expect("there"), old_root);
    assert_eq!((found(&ajatus), home(&ajatus)), (before.clone(), json!("Oulu")));
    assert!(up.stop().success());

    // Alone, from what rests; and a second time.
    assert_eq!((found(&ajatus), home(&ajatus)), (before.clone(), json!("Oulu")));
    let again = ajatus.run(&["keys", "rotate"]);
    assert!(stdout(&again).contains("version 3"), "{}", stdout(&again));
    assert_eq!((found(&ajatus), home(&ajatus)), (before, json!("Oulu")));

    // The key that was in the file before opens nothing any more.
    std::fs::write(ajatus.data().join("root.key"), old_root).expect("written");
    let shut = ajatus.run(&["memory", "search", "--user", "aino", "jam"]);
    assert_ne!(shut.status.code(), Some(0));
}

#[test]
fn killed_in_the_middle_it_goes_on_and_everything_stays_readable() {
    let ajatus = Ajatus::new();
    let people = ["aino", "eino", "oili", "veikko"];
    for name in people {
        let lines: String = (0..60)
            .map(|turn| json!({ "conversation": "c", "turn": turn.to_string(), "role": "user", "occurred_at": "2026-03-01T08:00:00Z", "text": format!("{name} says number {turn}.") }).to_string() + "\n")
            .collect();
        let file = ajatus.file(&format!("{name}.jsonl"), lines.as_bytes()).display().to_string();
        ajatus.json(&["import", &file, "--user", name, "--format", "jsonl"]);
    }
    let mut child = ajatus.command(&["--json", "keys", "rotate"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("started");
    let errors = BufReader::new(child.stderr.take().expect("piped"));
    // The first user is done, another is not.
    let begun = errors.lines().map_while(Result::ok).any(|line| line.contains("\"keys\""));
    assert!(begun, "it ended before");
    child.kill().expect("killed");
    child.wait().expect("ended");
    let read = |name: &str| {
        let found = ajatus.json(&["memory", "search", "--user", name, "What is number 7?", "--limit", "60"]);
        found["hits"].as_array().map_or(0, |hits| hits.iter().filter(|hit| hit["text"].as_str().is_some_and(|text| text.starts_with(name))).count())
    };
    for name in people {
        assert_eq!(read(name), 60, "{name}, after the kill");
    }
    let rotated = ajatus.json(&["keys", "rotate"]);
    let versions: Vec<u64> = rotated["users"].as_array().expect("users").iter().filter_map(|user| user["done"]["version"].as_u64()).collect();
    assert!(versions.len() == 4 && versions.iter().all(|version| (2..=3).contains(version)) && versions.contains(&3), "{rotated}");
    for name in people {
        assert_eq!(read(name), 60, "{name}, in the end");
    }
    let status = ajatus.json(&["keys", "status"]);
    assert_eq!(status["replacing"], json!([]), "{status}");
}
