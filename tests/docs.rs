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

/// The fenced blocks of a page: language, name, text.
fn named_blocks(page: &str) -> Vec<(String, String, String)> {
    let text = std::fs::read_to_string(root().join(page)).expect("a page");
    let mut blocks = Vec::new();
    let mut parts = text.split("```");
    while let (Some(_), Some(block)) = (parts.next(), parts.next()) {
        let (info, body) = block.split_once('\n').expect("a block has lines");
        let (language, name) = info.split_once(' ').unwrap_or((info, ""));
        blocks.push((language.to_owned(), name.to_owned(), body.to_owned()));
    }
    blocks
}

#[test]
fn the_tutorial_of_pipelines_goes_as_it_is_told() {
    let ajatus = Ajatus::new();
    let folder = ajatus.data().parent().expect("a folder").to_path_buf();
    let mut tried = 0;
    for (language, name, body) in named_blocks("docs/pipelines.md") {
        match (language.as_str(), name.as_str()) {
            (_, name) if !name.is_empty() => drop(ajatus.file(name, body.as_bytes())),
            ("console", _) => {
                for step in body.split("$ ").skip(1) {
                    let (command, expected) = step.split_once('\n').expect("a command and what it says");
                    let words: Vec<&str> = command.split_whitespace().collect();
                    let said = match words.as_slice() {
                        ["cat", file] => std::fs::read_to_string(folder.join(file)).expect("a file"),
                        ["ajatus", rest @ ..] => {
                            let output = ajatus.run(rest);
                            format!("{}{}", support::stdout(&output), stderr(&output))
                        }
                        other => panic!("{other:?}"),
                    };
                    let mut rest = said.as_str();
                    for line in expected.lines().map(str::trim).filter(|line| !line.is_empty()) {
                        let at = rest.find(line).unwrap_or_else(|| panic!("{command}: {line:?} is not said (any more) in\n{said}"));
                        rest = rest.get(at + line.len()..).unwrap_or_default();
                    }
                    tried += 1;
                }
            }
            _ => {}
        }
    }
    assert!(tried >= 9, "{tried}");
}

#[test]
fn the_reference_of_pipelines_is_what_the_program_says() {
    let ajatus = Ajatus::new();
    let output = ajatus.run(&["pipeline", "reference"]);
    let page = std::fs::read_to_string(root().join("docs/pipelines.md")).expect("a page");
    let begin = page.find("begin -->\n").expect("a marker") + "begin -->\n".len();
    let end = page.find("<!-- ajatus pipeline reference: end").expect("a marker");
    assert_eq!(page.get(begin..end).expect("whole letters"), support::stdout(&output), "docs/pipelines.md: put the output of `ajatus pipeline reference` there");
}
