//! `ajatus model list|add|verify`, by the real program.

mod support;

use std::path::Path;

use serde_json::Value;
use support::{Ajatus, root, stderr, stdout};

fn documents(ajatus: &Ajatus, args: &[&str]) -> Vec<Value> {
    let output = ajatus.run(&[args, &["--json"]].concat());
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    stdout(&output).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).expect("copied");
        }
    }
}

#[test]
fn knows_the_models_that_come_with_the_companion_and_they_are_sound() {
    let ajatus = Ajatus::new();
    let models = documents(&ajatus, &["model", "list"]);
    let text = |model: &Value, key: &str| model[key].as_str().expect("text").to_owned();
    let said: Vec<[String; 3]> = models.iter().map(|model| ["name", "task", "weights"].map(|key| text(model, key))).collect();
    // The weights that the configuration's defaults name.
    assert_eq!(said, [["SmolLM2-135M-Instruct", "chat", "5f4fa13bfc6dd4a9"], ["all-MiniLM-L6-v2", "embedding", "8087e9bf97c265f8"]].map(|one| one.map(str::to_owned)));
    assert_eq!((&models[0]["licence"], &models[0]["context_tokens"]), (&Value::from("apache-2.0"), &Value::from(8192)));
    let verified = documents(&ajatus, &["model", "verify"]);
    assert!(verified.len() == 2 && verified.iter().all(|model| model["sound"] == true), "{verified:?}");
    let text = ajatus.run(&["model", "list"]);
    assert!(stdout(&text).contains("all-MiniLM-L6-v2@8087e9bf97c265f8  bert, 22.7 M parameters, context 256"), "{}", stdout(&text));
}

#[test]
fn adds_a_model_that_the_configuration_can_name_and_names_its_damaged_files() {
    let ajatus = Ajatus::new();
    let folder = ajatus.data().with_file_name("my-model");
    copy(&root().join(".cache/models/all-MiniLM-L6-v2"), &folder);
    let path = folder.display().to_string();
    let added = documents(&ajatus, &["model", "add", &path]);
    assert_eq!((&added[0]["name"], &added[0]["weights"], &added[0]["task"]), (&"my-model".into(), &"8087e9bf97c265f8".into(), &"embedding".into()));
    assert_eq!(documents(&ajatus, &["model", "add", &path]).len(), 1, "the same again changes nothing");
    let smol = root().join(".cache/models/SmolLM2-135M-Instruct").display().to_string();
    documents(&ajatus, &["model", "add", &smol, "--name", "smol"]);
    // What is read from the files is what the built-in registry says of them.
    let listed = documents(&ajatus, &["model", "list"]);
    assert_eq!(listed.len(), 4);
    let of = |name: &str| listed.iter().find(|model| model["name"] == name).unwrap_or_else(|| panic!("{name} is listed"));
    for (mine, built_in) in [("my-model", "all-MiniLM-L6-v2"), ("smol", "SmolLM2-135M-Instruct")] {
        for key in ["task", "weights", "architecture", "context_tokens", "parameters", "chat_template", "licence", "files"] {
            assert_eq!(of(mine)[key], of(built_in)[key], "{key} of {mine}");
        }
        assert_eq!((&of(mine)["built_in"], &of(built_in)["built_in"]), (&false.into(), &true.into()));
    }
    let taken = ajatus.run(&["model", "add", &path, "--name", "SmolLM2-135M-Instruct"]);
    assert_eq!(taken.status.code(), Some(2), "{}", stderr(&taken));
    let odd = ajatus.run(&["model", "add", &path, "--name", "a/b"]);
    assert!(stderr(&odd).contains("is no name for a model"), "{}", stderr(&odd));

    // By its name alone; the bench says which weights it measured.
    let config = ajatus.file("by-name.toml", b"[models.embedding]\nname = \"my-model\"\n").display().to_string();
    let texts = ajatus.file("texts.jsonl", b"\"hei\"\n").display().to_string();
    let report = ajatus.json(&[
        "bench", "embed", "--config", &config, "--texts", &texts, "--batch-tokens", "512", "--in-flight", "1", "--delay-ms", "0", "--seconds", "0.1",
        "--warm-up-seconds", "0.05", "--rate", "5", "--p99-ms", "60000", "--out", "bench",
    ]);
    assert_eq!(report["model"], "my-model@8087e9bf97c265f8");
    for (toml, said) in [("name = \"nobody\"", "there is no model \"nobody\""), ("name = \"SmolLM2-135M-Instruct\"", "is not for this task")] {
        let config = ajatus.file("wrong.toml", format!("[models.embedding]\n{toml}\n").as_bytes()).display().to_string();
        let refused = ajatus.run(&["topics", "apply", "--dry-run", "--config", &config]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(stderr(&refused).contains(said), "{}", stderr(&refused));
    }

    assert!(ajatus.run(&["model", "verify", "my-model"]).status.success());
    let tokenizer = folder.join("tokenizer.json");
    let mut bytes = std::fs::read(&tokenizer).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&tokenizer, bytes).expect("damaged");
    std::fs::remove_file(folder.join("modules.json")).expect("removed");
    let damaged = ajatus.run(&["model", "verify", "--json"]);
    assert_eq!(damaged.status.code(), Some(5), "{}", stderr(&damaged));
    let verified: Vec<Value> = stdout(&damaged).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let mine = verified.iter().find(|model| model["name"] == "my-model").expect("listed");
    let mut said: Vec<(String, &str)> = mine["damage"].as_array().expect("a list").iter().map(|damage| (damage["path"].as_str().expect("a path").rsplit('/').next().expect("a name").to_owned(), damage["what"].as_str().expect("text"))).collect();
    said.sort();
    assert_eq!(said, [("modules.json".to_owned(), "missing"), ("tokenizer.json".to_owned(), "changed")]);
    assert!(verified.iter().filter(|model| model["name"] != "my-model").all(|model| model["sound"] == true));
    let unknown = ajatus.run(&["model", "verify", "nobody"]);
    assert_eq!(unknown.status.code(), Some(2));
    let cut = ajatus.file("cut.gguf", b"GGUF\x03\0\0\0").display().to_string();
    let refused = ajatus.run(&["model", "add", &cut]);
    assert_eq!(refused.status.code(), Some(5));
    assert!(stderr(&refused).contains("cut.gguf") && stderr(&refused).contains("cut off"), "{}", stderr(&refused));
}
