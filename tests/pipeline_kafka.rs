//! A pipeline from topic to topic on a real Apache Kafka, killed at random points: the table that its records mean is that of one
//! batch over the same offsets, also where two processes share the partitions. The test starts the broker on loopback and stops it by pid.

mod support;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use support::{Ajatus, cluster};
use support::broker::Broker;
use support::kills::{Kills, killed};

#[test]
fn killed_between_topics_of_a_real_broker_it_means_the_same_table_as_one_batch() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(folder.path());
    let ajatus = Ajatus::new().with("KAFKA_BOOTSTRAP_SERVERS", &broker.address);
    let builtin = std::fs::read_to_string(support::root().join("kafka/topics.toml")).expect("the topics");
    let topic = |name: &str| format!("\n[[topic]]\nname = \"{name}\"\npartitions = 3\ncleanup = \"compact\"\n");
    ajatus.file("topics.toml", (builtin + &topic("words") + &topic("counts")).as_bytes());
    let config = ajatus.file("ajatus.toml", b"[log]\ntopics = \"topics.toml\"\n").display().to_string();
    ajatus.json(&["topics", "apply", "--config", &config]);

    let mut expected: BTreeMap<String, i64> = BTreeMap::new();
    let mut rows = String::new();
    for id in 0..3_000 {
        let word = format!("w{}", id * 7 % 50);
        rows.push_str(&(json!({ "id": id, "word": word }).to_string() + "\n"));
        *expected.entry(word).or_default() += 1;
    }
    ajatus.file("in.jsonl", rows.as_bytes());
    let words = "create table words (id bigint primary key, word text) with (connector = 'log', topic = 'words',";
    let counts = "create table counts (word text primary key, n bigint) with (connector = 'log', topic = 'counts',";
    let write = |name: &str, sql: String| ajatus.file(name, sql.as_bytes()).display().to_string();
    let give = write(
        "give.sql",
        format!("create table i (id bigint not null, word text) with (connector = 'file', type = 'source', path = 'in.jsonl');\n{words} type = 'sink');\ninsert into words select id, word from i;\n"),
    );
    let count = write(
        "count.sql",
        format!("{words} type = 'source', changelog = 'upsert');\n{counts} type = 'sink');\ninsert into counts select word, count(*) from words group by word;\n"),
    );
    let show = write(
        "show.sql",
        format!(
            "{counts} type = 'source', changelog = 'upsert');\ncreate table shown (word text primary key, n bigint) with (connector = 'file', type = 'sink', path = 'shown.jsonl');\n\
             insert into shown select word, n from counts;\n"
        ),
    );
    ajatus.json(&["pipeline", "run", &give, "--config", &config]);

    let run = ["pipeline", "run", &count, "--config", &config, "--bounded", "--epoch-rows", "30"];
    let ledger = ajatus.data().join("pipelines/count/ledger");
    killed(&ajatus, &run, &ledger, Kills { times: 5, bytes: 200..2_500, seed: 11, least: 2 });
    // As two processes that share the partitions: the ledger knows of no number of workers.
    let folder = ajatus.data().join("pipelines/count").display().to_string();
    let ended: Vec<Option<i32>> = cluster(&ajatus, &[&run[..], &["--state", &folder]].concat(), 2).iter_mut().map(|process| process.wait().expect("it ends").code()).collect();
    assert_eq!(ended, [Some(0), Some(0)]);
    ajatus.json(&["pipeline", "run", &show, "--config", &config, "--bounded"]);
    let shown = std::fs::read_to_string(ajatus.data().parent().expect("a folder").join("shown.jsonl")).expect("the sink's file");
    let got: BTreeMap<String, i64> = shown
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .map(|row| (row["word"].as_str().expect("a word").to_owned(), row["n"].as_i64().expect("a count")))
        .collect();
    assert_eq!(got, expected);
}
