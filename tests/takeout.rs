//! Everything of a user, out and in again, with the real program.

mod support;

use serde_json::{Value, json};
use support::{Ajatus, conversation, stderr};

#[test]
fn what_is_taken_out_and_restored_is_the_same_account_and_a_changed_folder_is_refused() {
    let ajatus = Ajatus::new();
    let up = ajatus.up();
    let file = conversation("en.locomo.json").display().to_string();
    ajatus.json(&["import", &file, "--user", "aino", "--format", "locomo"]);
    let lines = [
        json!({ "conversation": "k", "turn": "1", "role": "user", "occurred_at": "2026-03-01T08:00:00Z", "text": "I live in Turku. Pottery!" }).to_string(),
        json!({ "conversation": "k", "turn": "2", "role": "user", "occurred_at": "2026-03-02T08:00:00Z", "text": "I live in Oulu. Pottery again." }).to_string(),
    ];
    let more = ajatus.file("k.jsonl", (lines.join("\n") + "\n").as_bytes()).display().to_string();
    ajatus.json(&["import", &more, "--user", "aino", "--format", "jsonl"]);
    ajatus.json(&["profile", "pin", "--user", "aino", "home", "Oulu"]);

    let out = ajatus.data().with_file_name("out");
    let folder = out.display().to_string();
    let manifest = ajatus.json(&["data", "takeout", "--user", "aino", "--out", &folder]);
    assert!(manifest["files"]["records.jsonl"]["rows"].as_u64() > Some(3), "{manifest}");
    let facts = std::fs::read_to_string(out.join("profile.jsonl")).expect("there");
    let turku: Value = facts.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")).find(|line| line["entry"]["value"] == "Turku").expect("there");
    assert_eq!((&turku["entry"]["ended_by"]["value"], &turku["entry"]["sources"][0]["rule"]), (&json!("Oulu"), &json!("en.home.live")), "{turku}");
    assert!(std::fs::read(out.join("facts.parquet")).expect("there").starts_with(b"PAR1"));

    let restored = ajatus.json(&["data", "restore", &folder, "--user", "eino"]);
    assert_eq!((&restored["equal"], &restored["written"]), (&json!(true), &restored["records"]), "{restored}");
    let again = ajatus.json(&["data", "restore", &folder, "--user", "eino"]);
    assert_eq!(again["written"], 0, "{again}");
    let second = ajatus.data().with_file_name("second");
    ajatus.json(&["data", "takeout", "--user", "eino", "--out", &second.display().to_string()]);
    for name in ["records.jsonl", "profile.jsonl", "conversations.jsonl", "turns.parquet", "facts.parquet"] {
        assert!(std::fs::read(out.join(name)).expect("there") == std::fs::read(second.join(name)).expect("there"), "{name} differs");
    }

    let records = std::fs::read(out.join("records.jsonl")).expect("there");
    for (change, said) in [(Some(&records[..records.len() - 9]), "records.jsonl is not as it was written"), (None, "records.jsonl cannot be read")] {
        match change {
            Some(bytes) => std::fs::write(out.join("records.jsonl"), bytes).expect("written"),
            None => std::fs::remove_file(out.join("records.jsonl")).expect("removed"),
        }
        let refused = ajatus.run(&["data", "restore", &folder, "--user", "third"]);
        assert_eq!(refused.status.code(), Some(5), "{}", stderr(&refused));
        assert!(stderr(&refused).contains(said), "{}", stderr(&refused));
    }
    std::fs::write(out.join("manifest.json"), b"{").expect("written");
    let refused = ajatus.run(&["data", "restore", &folder, "--user", "third"]);
    assert!(stderr(&refused).contains("is not a manifest"), "{}", stderr(&refused));
    let full = ajatus.run(&["data", "takeout", "--user", "aino", "--out", &folder]);
    assert!(stderr(&full).contains("is not empty"), "{}", stderr(&full));
    assert!(up.stop().success());
}
