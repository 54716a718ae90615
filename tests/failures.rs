//! What can go wrong outside: a clear error with its code, nothing lost, nothing half-written.

mod support;

use support::{Ajatus, stderr, stdout};

const LINE: &str = "{\"conversation\":\"c\",\"turn\":\"1\",\"role\":\"user\",\"occurred_at\":\"2026-01-02T03:04:05Z\",\"text\":\"The key is under the third stone.\"}\n";

#[test]
fn says_which_database_cannot_be_reached() {
    let ajatus = Ajatus::new().with("DATABASE_URL", "postgres://ajatus@127.0.0.1:9/ajatus");
    let file = ajatus.file("talk.jsonl", LINE.as_bytes());
    let output = ajatus.run(&["import", file.to_str().expect("a path"), "--user", "aino", "--format", "jsonl"]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(stderr(&output).contains("127.0.0.1:9"), "{}", stderr(&output));
}

#[test]
fn says_which_broker_cannot_be_reached() {
    let ajatus = Ajatus::new().with("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9");
    let output = ajatus.run(&["topics", "apply"]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(stderr(&output).contains("127.0.0.1:9"), "{}", stderr(&output));
}

#[test]
fn refuses_a_model_file_that_is_another_or_no_model() {
    let ajatus = Ajatus::new();
    let line = ajatus.file("talk.jsonl", LINE.as_bytes());
    let import = ["import", line.to_str().expect("a path"), "--user", "aino", "--format", "jsonl"];

    let other = "[models.embedding]\nname = \"m\"\npath = \"models/all-MiniLM-L6-v2\"\nweights = \"0000000000000000\"\n";
    let config = ajatus.file("other.toml", other.as_bytes());
    let output = ajatus.run(&[&import[..], &["--config", config.to_str().expect("a path")]].concat());
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    assert!(stderr(&output).contains("0000000000000000"), "{}", stderr(&output));

    let junk = ajatus.file("junk.gguf", b"GGUF\x03\x00\x00\x00 and then nothing that fits");
    let text = format!("[models.chat]\nname = \"m\"\npath = {:?}\n", junk.to_str().expect("a path"));
    let config = ajatus.file("junk.toml", text.as_bytes());
    let output = ajatus.run(&["doctor", "--config", config.to_str().expect("a path")]);
    assert_eq!(output.status.code(), Some(4), "{}", stdout(&output));
    assert!(stdout(&output).contains("junk.gguf"), "{}", stdout(&output));
}

#[test]
fn refuses_unknown_configuration_keys() {
    let ajatus = Ajatus::new();
    let config = ajatus.file("bad.toml", b"[http]\nlisen = \"127.0.0.1:1\"\n");
    let output = ajatus.run(&["user", "list", "--config", config.to_str().expect("a path")]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("lisen"), "{}", stderr(&output));
}

#[test]
fn a_second_process_waits_for_nothing_and_says_who_holds_the_data() {
    let ajatus = Ajatus::new();
    ajatus.json(&["topics", "apply"]);
    let lock = std::fs::File::options().write(true).open(ajatus.data().join("ajatus.lock")).expect("the lock file");
    lock.lock().expect("free");
    let output = ajatus.run(&["user", "list"]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(stderr(&output).contains("another ajatus process"), "{}", stderr(&output));
}
