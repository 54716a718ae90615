//! Questions to a pipeline by the real program: what a view held at an epoch, a range read first and then what is live, and a sink that somebody
//! spoilt and that is mended.

mod support;

use std::path::PathBuf;

use serde_json::{Value, json};
use support::{Ajatus, stderr, stdout};

const WORDS: &str = "create table words (id bigint primary key, word text) with (connector = 'file', type = 'source', path = 'in.jsonl', changelog = 'upsert');\n\
     create table counts (word text primary key, n bigint) with (connector = 'file', type = 'sink', path = 'counts.jsonl');\n\
     create view long as select id, word from words where char_length(word) > 1;\n\
     insert into counts select word, count(*) from words where word is not null group by word;\n";

fn folder(ajatus: &Ajatus) -> PathBuf {
    ajatus.data().parent().expect("a folder").to_path_buf()
}

fn lines(ajatus: &Ajatus, args: &[&str]) -> Vec<Value> {
    let output = ajatus.run(&[args, &["--json"]].concat());
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    stdout(&output).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn what_a_view_held_at_an_epoch_is_what_a_batch_over_its_records_gives() {
    let ajatus = Ajatus::new();
    let sql = ajatus.file("words.sql", WORDS.as_bytes()).display().to_string();
    let mut text = String::new();
    let mut then: Vec<(u64, String, Vec<Value>)> = Vec::new();
    let mut words: std::collections::BTreeMap<u64, Option<String>> = std::collections::BTreeMap::new();
    for round in 0..6_u64 {
        for id in 0..40 {
            let word = (id % 7 != round).then(|| "x".repeat(usize::try_from((id * round) % 5 + 1).expect("small")));
            text.push_str(&(json!({ "id": id, "word": word }).to_string() + "\n"));
            words.insert(id, word);
        }
        ajatus.file("in.jsonl", text.as_bytes());
        // On every second start the state is taken up from a snapshot; the epochs go on.
        let report = ajatus.json(&["pipeline", "run", &sql, "--state", "state", "--epoch-rows", "16", "--snapshot-epochs", "2"]);
        let long = words.iter().filter_map(|(id, word)| word.as_ref().filter(|word| word.len() > 1).map(|word| json!({ "id": id, "word": word })));
        then.push((report["epochs"].as_u64().expect("a number"), std::fs::read_to_string(folder(&ajatus).join("counts.jsonl")).expect("a file"), long.collect()));
    }
    for (epoch, counts, long) in &then {
        let as_of = epoch.to_string();
        for workers in ["1", "2"] {
            let ask = |name: &str| lines(&ajatus, &["pipeline", "query", &sql, name, "--state", "state", "--as-of", &as_of, "--workers", workers]);
            let expected: Vec<Value> = counts.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
            assert_eq!(ask("counts"), expected, "as of {epoch}");
            assert_eq!(ask("long"), *long, "as of {epoch}");
        }
    }
    let one = lines(&ajatus, &["pipeline", "query", &sql, "counts", "--state", "state", "--where", "word=x"]);
    assert_eq!(one.len(), 1);
    assert_eq!(one[0]["word"], "x");
    for (args, reason) in [
        (&["counts", "--as-of", "999"][..], "epochs 0 to"),
        (&["nothing"][..], "neither a view nor a sink"),
        (&["counts", "--where", "mood=good"][..], "no column \"mood\""),
        (&["counts", "--where", "mood"][..], "not COLUMN=VALUE"),
    ] {
        let refused = ajatus.run(&[&["pipeline", "query", &sql][..], args, &["--state", "state"]].concat());
        assert_eq!(refused.status.code(), Some(2), "{args:?}");
        assert!(stderr(&refused).contains(reason), "{args:?}: {}", stderr(&refused));
    }
    let changed = ajatus.file("words.sql", WORDS.replace("> 1", "> 2").as_bytes()).display().to_string();
    let refused = ajatus.run(&["pipeline", "query", &changed, "long", "--state", "state"]);
    assert!(stderr(&refused).contains("has changed since it ran"), "{}", stderr(&refused));
}

#[test]
fn a_spoilt_file_and_a_spoilt_topic_are_mended_and_a_sound_one_is_left_alone() {
    let ajatus = Ajatus::new();
    let builtin = std::fs::read_to_string(support::root().join("kafka/topics.toml")).expect("the topics");
    ajatus.file("topics.toml", format!("{builtin}\n[[topic]]\nname = \"counts\"\npartitions = 3\ncleanup = \"compact\"\n").as_bytes());
    let config = ajatus.file("ajatus.toml", b"[log]\ntopics = \"topics.toml\"\n").display().to_string();
    let source = "create table words (id bigint primary key, word text) with (connector = 'file', type = 'source', path = 'in.jsonl', changelog = 'upsert');\n";
    let topic = "create table topic (word text primary key, n bigint) with (connector = 'log', topic = 'counts',";
    let sql = ajatus.file("words.sql", format!(
        "{source}{topic} type = 'sink');\ncreate table counts (word text primary key, n bigint) with (connector = 'file', type = 'sink', path = 'counts.jsonl');\n\
         create view counted as select word, count(*) as n from words where word is not null group by word;\n\
         insert into counts select word, n from counted;\ninsert into topic select word, n from counted;\n"
    ).as_bytes()).display().to_string();
    let other = ajatus.file("other.sql", format!("create table i (word text not null, n bigint) with (connector = 'file', type = 'source', path = 'wrong.jsonl');\n{topic} type = 'sink');\ninsert into topic select word, max(n) from i group by word;\n").as_bytes()).display().to_string();
    let show = ajatus.file("show.sql", format!("{topic} type = 'source', changelog = 'upsert');\ncreate table shown (word text primary key, n bigint) with (connector = 'file', type = 'sink', path = 'shown.jsonl');\ninsert into shown select word, n from topic;\n").as_bytes()).display().to_string();
    let text: String = (0..60).map(|id| json!({ "id": id, "word": format!("w{}", id % 9) }).to_string() + "\n").collect();
    ajatus.file("in.jsonl", text.as_bytes());
    ajatus.json(&["pipeline", "run", &sql, "--config", &config]);
    let repair = |sink: &str, more: &[&str]| ajatus.json(&[&["pipeline", "repair", &sql, sink, "--config", &config][..], more].concat());
    let counts = folder(&ajatus).join("counts.jsonl");
    let sound = std::fs::read_to_string(&counts).expect("a file");
    for sink in ["counts", "topic"] {
        let found = repair(sink, &[]);
        assert_eq!((&found["missing"], &found["extra"], &found["written"], &found["rows"]), (&json!(0), &json!(0), &json!(false), &json!(9)), "{sink}: {found}");
    }
    std::fs::write(&counts, sound.replace("{\"word\":\"w3\",\"n\":7}\n", "").replace("\"w5\",\"n\":7", "\"w5\",\"n\":70") + "{\"word\":\"w99\",\"n\":1}\n").expect("a write");
    let spoilt = std::fs::read_to_string(&counts).expect("a file");
    // Somebody else writes into the topic: another number for a word, and a word of their own.
    ajatus.file("wrong.jsonl", b"{\"word\":\"w4\",\"n\":44}\n{\"word\":\"w99\",\"n\":1}\n");
    ajatus.json(&["pipeline", "run", &other, "--config", &config]);
    for (sink, missing, extra) in [("counts", 2, 2), ("topic", 1, 1)] {
        let looked = repair(sink, &["--dry-run"]);
        assert_eq!((&looked["missing"], &looked["extra"], &looked["written"]), (&json!(missing), &json!(extra), &json!(false)), "{sink}: {looked}");
    }
    assert_eq!(std::fs::read_to_string(&counts).expect("a file"), spoilt, "only looked at");
    for sink in ["counts", "topic"] {
        assert_eq!(repair(sink, &[])["written"], true);
        assert_eq!(repair(sink, &["--dry-run"])["missing"], 0);
    }
    assert_eq!(std::fs::read_to_string(&counts).expect("a file"), sound);
    ajatus.json(&["pipeline", "run", &show, "--config", &config, "--bounded"]);
    assert_eq!(std::fs::read_to_string(folder(&ajatus).join("shown.jsonl")).expect("a file"), sound);
    let refused = ajatus.run(&["pipeline", "repair", &sql, "words", "--config", &config]);
    assert!(stderr(&refused).contains("is no sink"), "{}", stderr(&refused));
}

#[test]
fn a_backfill_reads_its_range_and_the_run_goes_on_where_it_ended() {
    let ajatus = Ajatus::new();
    let builtin = std::fs::read_to_string(support::root().join("kafka/topics.toml")).expect("the topics");
    ajatus.file("topics.toml", format!("{builtin}\n[[topic]]\nname = \"numbers\"\npartitions = 1\ncleanup = \"compact\"\n").as_bytes());
    let config = ajatus.file("ajatus.toml", b"[log]\ntopics = \"topics.toml\"\n").display().to_string();
    let numbers = "create table numbers (id bigint primary key, n bigint) with (connector = 'log', topic = 'numbers',";
    let give = ajatus.file("give.sql", format!("create table i (id bigint not null, n bigint) with (connector = 'file', type = 'source', path = 'in.jsonl');\n{numbers} type = 'sink');\ninsert into numbers select id, n from i;\n").as_bytes()).display().to_string();
    let sum = ajatus.file("sum.sql", format!("{numbers} type = 'source', changelog = 'upsert');\ncreate table sums (n bigint primary key, total decimal(38, 0), first bigint, last bigint) with (connector = 'file', type = 'sink', path = 'sums.jsonl');\ninsert into sums select count(*), sum(cast(n as decimal(20, 0))), min(id), max(id) from numbers;\n").as_bytes()).display().to_string();
    let text: String = (0..500).map(|id| json!({ "id": id, "n": id }).to_string() + "\n").collect();
    ajatus.file("in.jsonl", text.as_bytes());
    ajatus.json(&["pipeline", "run", &give, "--config", &config]);
    let sums = || serde_json::from_str::<Value>(&std::fs::read_to_string(folder(&ajatus).join("sums.jsonl")).expect("a file")).expect("one row");
    let range = ["pipeline", "backfill", &sum, "--config", &config, "--from", "numbers:0:100", "--to", "numbers:0:300", "--rate-limit", "100000"];
    let report = ajatus.json(&[&range[..], &["--stop"]].concat());
    assert_eq!((&report["rows"], &sums()["n"]), (&json!(200), &json!(200)), "{report}");
    let first = sums();
    assert_eq!(first["last"].as_i64().expect("an id") - first["first"].as_i64().expect("an id"), 199);
    // Again: it is there already. Then what is live, from where the range ended.
    assert_eq!(ajatus.json(&[&range[..], &["--stop"]].concat())["rows"], 0);
    let live = ajatus.json(&["pipeline", "run", &sum, "--config", &config, "--bounded"]);
    assert_eq!((&live["rows"], &sums()["n"]), (&json!(200), &json!(400)), "{live}");
    // In one go, into another folder: the range, then on to the end.
    let all = ajatus.json(&[&range[..], &["--bounded", "--state", "other"]].concat());
    assert_eq!((&all["rows"], &sums()["n"]), (&json!(400), &json!(400)), "{all}");
    for (args, reason) in [
        (&["--from", "numbers"][..], "not SOURCE:PARTITION:OFFSET"),
        (&["--from", "letters:0:1"][..], "names source \"letters\""),
        (&["--to", "numbers:7:1"][..], "names partition 7"),
    ] {
        let refused = ajatus.run(&[&["pipeline", "backfill", &sum, "--config", &config, "--state", "third", "--stop"][..], args].concat());
        assert_eq!(refused.status.code(), Some(2), "{args:?}: {}", stderr(&refused));
        assert!(stderr(&refused).contains(reason), "{args:?}: {}", stderr(&refused));
    }
}
