//! Facts from the command line and in the platform's own pipeline, with the real program.

mod support;

use serde_json::{Value, json};
use support::{Ajatus, stderr, stdout};

#[test]
fn extract_says_what_the_rules_find_and_where() {
    let ajatus = Ajatus::new();
    let text = "Hei! Asun nykyään Tampereella. I fly to Rome... I'm going to visit Anna next Friday.";
    let found = ajatus.json(&["extract", text, "--rules-only", "--said-at", "2026-03-04"]);
    let facts = found["facts"].as_array().expect("facts");
    let shown: Vec<(&Value, &Value, &Value, &Value)> = facts.iter().map(|fact| (&fact["attribute"], &fact["value"], &fact["valid_from"], &fact["span"]["text"])).collect();
    assert_eq!(
        shown,
        [
            (&json!("home"), &json!("Tampere"), &Value::Null, &json!("Asun nykyään Tampereella")),
            (&json!("plan"), &json!("visit Anna"), &json!("2026-03-13T00:00:00Z"), &json!("I'm going to visit Anna next Friday")),
        ]
    );
    assert!(facts.iter().all(|fact| fact["source"] == "rules" && fact["version"] == found["rules"]));
    let plain = ajatus.run(&["extract", "Do I live in Oulu?", "--rules-only"]);
    assert_eq!((plain.status.code(), stdout(&plain).as_str()), (Some(0), "no facts\n"), "{}", stderr(&plain));
}

#[test]
fn extract_refuses_what_it_cannot_read() {
    let ajatus = Ajatus::new();
    let file = ajatus.file("bad.txt", b"I live in \xff").display().to_string();
    for (arguments, code, said) in [
        (vec!["extract", "  ", "--rules-only"], 2, "the text is empty"),
        (vec!["extract", "--rules-only"], 2, "<TEXT>"),
        (vec!["extract", "I live in Oulu", "--rules-only", "--said-at", "soon"], 2, "neither a day"),
        (vec!["extract", "--file", &file, "--rules-only"], 5, "not UTF-8 from byte 10"),
        (vec!["extract", "--file", "/nowhere/at/all", "--rules-only"], 5, "cannot be read"),
    ] {
        let output = ajatus.run(&arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(said), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn the_platforms_own_facts_pipeline_passes_its_tests_over_restarts() {
    let ajatus = Ajatus::new();
    let sql = support::root().join("pipelines/facts.sql").display().to_string();
    for more in [&[][..], &["--kill"][..]] {
        // What the small model says is no document whatever the prompt and its length, and every token costs time: it is asked for few.
        let tested = ajatus.run(&[&["pipeline", "test", &sql, "--set", "FACTS_TOKENS=16", "--set", "FACTS_PROMPT=Facts of: {{ input }}"], more].concat());
        assert!(tested.status.success() && stdout(&tested).contains("2 passed, 0 failed"), "{more:?}: {}{}", stdout(&tested), stderr(&tested));
    }
    let explained = ajatus.run(&["pipeline", "explain", &sql]);
    assert!(stdout(&explained).contains("facts(") && stdout(&explained).contains("extract"), "{}", stdout(&explained));
    // Another prompt makes another plan: its answers are others.
    let plan = |set: &[&str]| ajatus.json(&[&["pipeline", "check", &sql], set].concat())["plan"].clone();
    assert_ne!(plan(&[]), plan(&["--set", "FACTS_PROMPT=Facts of: {{ input }}"]));
}
