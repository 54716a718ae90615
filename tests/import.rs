//! Importing through the log, the dataflow and the stores: exactly once, whatever happens.

mod support;

use std::process::Stdio;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use support::{Ajatus, conversation, stderr};

/// `count` turns of one conversation, one a line.
fn jsonl(count: usize) -> String {
    (0..count)
        .map(|turn| {
            let minute = turn % 60;
            let hour = turn / 60;
            format!(
                "{{\"conversation\":\"kitchen\",\"turn\":\"t{turn}\",\"role\":\"user\",\"occurred_at\":\"2026-03-01T{hour:02}:{minute:02}:00Z\",\"text\":\"Jar number {turn} holds plum jam.\"}}\n"
            )
        })
        .collect()
}

#[test]
fn adds_nothing_when_a_file_is_imported_twice() {
    let ajatus = Ajatus::new();
    let file = conversation("en.locomo.json");
    let import = ["import", file.to_str().expect("a path"), "--user", "aino", "--format", "locomo"];
    let first = ajatus.json(&import);
    assert!(first["added"].as_u64().is_some_and(|added| added > 50), "{first}");
    assert_eq!(first["added"], first["turns"]);
    let second = ajatus.json(&import);
    assert_eq!(second["added"], 0, "{second}");
    assert_eq!(second["unchanged"], first["turns"], "{second}");
    assert!(second.get("receipt").is_none(), "{second}");
}

#[test]
fn loses_no_turn_and_doubles_none_over_ten_kills() {
    let ajatus = Ajatus::new();
    let turns = 400;
    let file = ajatus.file("kitchen.jsonl", jsonl(turns).as_bytes());
    let import = ["import", file.to_str().expect("a path"), "--user", "aino", "--format", "jsonl", "--json"];
    // How long a whole one takes here, so that the kills fall within it on any machine.
    let begun = Instant::now();
    Ajatus::new().json(&import[..6]);
    let whole = begun.elapsed();
    let mut random = StdRng::seed_from_u64(20_261_124);
    let mut killed = 0;
    for _ in 0..10 {
        let mut child =
            ajatus.command(&import).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
        // A random point of the run: the wait is what is being varied, no outcome depends on its length.
        let until = Instant::now() + whole.mul_f64(random.random_range(0.05..0.9));
        let ended = loop {
            match child.try_wait().expect("a child") {
                Some(status) => break Some(status),
                None if Instant::now() >= until => break None,
                None => std::thread::yield_now(),
            }
        };
        if ended.is_none() {
            child.kill().expect("SIGKILL");
            killed += 1;
        }
        child.wait().expect("it ended");
    }
    assert!(killed > 0, "no import was killed: make the file longer");

    let last = ajatus.json(&import[..6]);
    assert_eq!(last["turns"], turns, "{last}");
    let again = ajatus.json(&import[..6]);
    assert_eq!((&again["added"], &again["unchanged"]), (&0.into(), &turns.into()), "{again}");
    for jar in [0, 17, 199, 399] {
        let found = ajatus.json(&["memory", "search", &format!("jar number {jar}"), "--user", "aino", "--limit", "200"]);
        let hits = found["hits"].as_array().expect("hits");
        let text = format!("Jar number {jar} holds plum jam.");
        let count = hits.iter().filter(|hit| hit["text"] == text.as_str()).count();
        assert_eq!(count, 1, "turn {jar} is there {count} times");
    }
}

#[test]
fn keeps_the_good_lines_and_buries_the_bad_ones_once() {
    let ajatus = Ajatus::new();
    let mut text = jsonl(6);
    text.insert_str(text.match_indices('\n').nth(2).expect("lines").0 + 1, "{\"conversation\": \"kitchen\", oops}\n");
    let file = ajatus.file("kitchen.jsonl", text.as_bytes());
    let import = ["import", file.to_str().expect("a path"), "--user", "aino", "--format", "jsonl", "--json"];
    for round in 0..2 {
        let output = ajatus.run(&import);
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a report");
        assert_eq!((&report["turns"], &report["rejected"]), (&6.into(), &1.into()), "round {round}: {report}");
        assert!(stderr(&output).contains("kitchen.jsonl:4: import.malformed_line"), "{}", stderr(&output));
    }
    let doctor = ajatus.json(&["doctor"]);
    let log = doctor["checks"].as_array().expect("checks").iter().find(|check| check["part"] == "log").expect("log");
    assert!(log["found"].as_str().is_some_and(|found| found.contains("1 dead letter")), "{log}");
}

#[test]
fn takes_a_mended_line_as_a_change() {
    let ajatus = Ajatus::new();
    let file = ajatus.file("kitchen.jsonl", jsonl(5).as_bytes());
    let import = ["import", file.to_str().expect("a path"), "--user", "aino", "--format", "jsonl"];
    ajatus.json(&import);
    ajatus.file("kitchen.jsonl", jsonl(5).replace("Jar number 3 holds plum", "Jar number 3 holds quince").as_bytes());
    let report = ajatus.json(&import);
    assert_eq!((&report["added"], &report["changed"], &report["unchanged"]), (&0.into(), &1.into(), &4.into()));
    let found = ajatus.json(&["memory", "search", "quince", "--user", "aino", "--limit", "5"]);
    let texts: Vec<&str> = found["hits"].as_array().expect("hits").iter().filter_map(|hit| hit["text"].as_str()).collect();
    assert_eq!(texts.first(), Some(&"Jar number 3 holds quince jam."));
    assert!(!texts.contains(&"Jar number 3 holds plum jam."), "{texts:?}");
}

#[test]
fn refuses_a_missing_file_a_wrong_format_and_an_unknown_conversation_with_a_code() {
    let ajatus = Ajatus::new();
    let file = ajatus.file("kitchen.jsonl", jsonl(2).as_bytes());
    let file = file.to_str().expect("a path");
    let missing = ajatus.run(&["import", "no-such-file", "--user", "aino", "--format", "jsonl"]);
    assert_eq!(missing.status.code(), Some(5), "{}", stderr(&missing));
    assert!(stderr(&missing).contains("no-such-file"), "{}", stderr(&missing));
    let wrong = ajatus.run(&["import", file, "--user", "aino", "--format", "locomo"]);
    assert_eq!(wrong.status.code(), Some(5), "{}", stderr(&wrong));
    let unknown = ajatus.run(&["import", file, "--user", "aino", "--format", "yaml"]);
    assert_eq!(unknown.status.code(), Some(2), "{}", stderr(&unknown));
    let absent = ajatus.run(&["import", file, "--user", "aino", "--format", "jsonl", "--conversation", "attic"]);
    assert_eq!(absent.status.code(), Some(2), "{}", stderr(&absent));
    assert!(stderr(&absent).contains("kitchen"), "{}", stderr(&absent));
}

#[test]
fn imports_the_branch_of_an_export_that_was_seen_last() {
    let ajatus = Ajatus::new();
    let message = |id: &str, parent: &str, children: &[&str], role: &str, text: &str, at: f64| {
        serde_json::json!({
            "parent": parent, "children": children,
            "message": { "id": id, "author": { "role": role }, "create_time": at, "content": { "content_type": "text", "parts": [text] } }
        })
    };
    let export = serde_json::json!([{
        "id": "talk-1", "title": "A garden", "create_time": 1_760_000_000.0, "current_node": "d",
        "mapping": {
            "a": { "parent": null, "children": ["b"], "message": null },
            "b": message("b", "a", &["c", "d"], "user", "Where should the rhubarb go?", 1_760_000_010.0),
            "c": message("c", "b", &[], "assistant", "Into the cellar.", 1_760_000_020.0),
            "d": message("d", "b", &[], "assistant", "Beside the compost, in half shade.", 1_760_000_030.0)
        }
    }]);
    let file = ajatus.file("conversations.json", export.to_string().as_bytes());
    let report = ajatus.json(&["import", file.to_str().expect("a path"), "--user", "aino", "--format", "chatgpt"]);
    assert_eq!((&report["added"], &report["conversations"]), (&2.into(), &1.into()), "{report}");
    let found = ajatus.json(&["memory", "search", "rhubarb", "--user", "aino"]);
    let texts: Vec<&str> = found["hits"].as_array().expect("hits").iter().filter_map(|hit| hit["text"].as_str()).collect();
    assert!(texts.contains(&"Beside the compost, in half shade.") && !texts.contains(&"Into the cellar."), "{texts:?}");
}
