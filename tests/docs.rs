//! What the docs show works as shown.

mod support;

use support::{Ajatus, root, stderr};

/// The fenced blocks of one language in a page.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(page)).expect("a page");
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).filter_map(|rest| rest.split("```").next()).map(str::to_owned).collect()
}

#[test]
fn the_configuration_of_the_docs_is_taken_whole_and_its_lines_for_imports_too() {
    let ajatus = Ajatus::new();
    let configuration = blocks("docs/operations.md", "toml").concat();
    assert!(configuration.contains("[index]"), "{configuration}");
    let config = ajatus.file("ajatus.toml", configuration.as_bytes());
    let lines = blocks("docs/import.md", "json").concat();
    let file = ajatus.file("talk.jsonl", lines.as_bytes());
    let arguments = ["import", file.to_str().expect("a path"), "--user", "aino", "--format", "jsonl", "--json", "--config", config.to_str().expect("a path")];
    let output = ajatus.run(&arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!((&report["added"], &report["rejected"]), (&1.into(), &0.into()), "{report}");
}

#[test]
fn every_command_of_the_readme_is_one() {
    let ajatus = Ajatus::new();
    let mut tried = 0;
    for line in blocks("README.md", "console").concat().lines() {
        for command in line.split('$').skip(1).filter_map(|part| part.trim().strip_prefix("ajatus ")) {
            let words: Vec<&str> = command.split_whitespace().take_while(|word| word.chars().all(|letter| letter.is_ascii_lowercase())).collect();
            let output = ajatus.run(&[&words[..], &["--help"]].concat());
            assert!(output.status.success(), "ajatus {words:?}: {}", stderr(&output));
            tried += 1;
        }
    }
    assert!(tried >= 8, "{tried}");
}
