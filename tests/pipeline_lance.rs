//! Lance datasets as sinks and as sources of pipelines, by the real program: killed anywhere a dataset ends as one batch leaves it, every
//! version has whole epochs, and a source goes on with the version that it began with.

mod support;

use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};
use support::kills::{Kills, killed};
use support::{Ajatus, stderr};

/// Words with vectors, kept by key; and how often each letter begins a word, under a key of two columns.
const WORDS: &str = "create table words (id bigint primary key, word text, weight decimal(8, 2), vector vector(3)) with (connector = 'file', type = 'source', path = 'in.jsonl', changelog = 'upsert');\n\
     create table kept (id bigint primary key, word text, weight decimal(8, 2), vector vector(3)) with (connector = 'lance', type = 'sink', path = 'kept.lance', history = '1 d');\n\
     create table letters (letter text, long boolean, n bigint, primary key (letter, long)) with (connector = 'lance', type = 'sink', path = 'letters.lance');\n\
     insert into kept select id, word, weight, vector from words where word is not null;\n\
     insert into letters select substr(word, 1, 1), char_length(word) > 3, count(*) from words where word is not null group by substr(word, 1, 1), char_length(word) > 3;\n";

/// Reads both datasets into files.
const SHOW: &str = "create table kept (id bigint not null, word text, weight decimal(8, 2), vector vector(3)) with (connector = 'lance', type = 'source', path = 'kept.lance');\n\
     create table letters (letter text, long boolean, n bigint) with (connector = 'lance', type = 'source', path = 'letters.lance');\n\
     create table kept_rows (id bigint primary key, word text, weight decimal(8, 2), vector vector(3)) with (connector = 'file', type = 'sink', path = 'kept.jsonl');\n\
     create table letter_rows (letter text, long boolean, n bigint, primary key (letter, long)) with (connector = 'file', type = 'sink', path = 'letters.jsonl');\n\
     insert into kept_rows select id, word, weight, vector from kept;\n\
     insert into letter_rows select letter, long, n from letters;\n";

/// Records that come, change and go.
fn records(rows: u64) -> String {
    let row = |at: u64| {
        let id = at * 7 % 400;
        let word = (at % 11 != 3).then(|| format!("{}{}", ["ääni", "o'hara", "x", "päivä"][usize::try_from(at % 4).expect("small")], at % 13));
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let vector = word.as_ref().map(|_| [at as f32, 0.5, -1.0]);
        json!({ "id": id, "word": word, "weight": format!("{}.25", at % 90), "vector": vector }).to_string() + "\n"
    };
    (0..rows).map(row).collect()
}

fn folder(ajatus: &Ajatus) -> PathBuf {
    ajatus.data().parent().expect("a folder").to_path_buf()
}

/// What the datasets hold, as the second file reads them.
fn shown(ajatus: &Ajatus) -> [String; 2] {
    let show = ajatus.file("show.sql", SHOW.as_bytes()).display().to_string();
    ajatus.json(&["pipeline", "run", &show]);
    ["kept.jsonl", "letters.jsonl"].map(|name| std::fs::read_to_string(folder(ajatus).join(name)).expect("a file"))
}

fn started(rows: u64) -> (Ajatus, String) {
    let ajatus = Ajatus::new();
    ajatus.file("in.jsonl", records(rows).as_bytes());
    let sql = ajatus.file("words.sql", WORDS.as_bytes()).display().to_string();
    (ajatus, sql)
}

fn batch(rows: u64) -> [String; 2] {
    let (ajatus, sql) = started(rows);
    ajatus.json(&["pipeline", "run", &sql, "--epoch-rows", "1000000"]);
    shown(&ajatus)
}

#[test]
fn killed_anywhere_a_dataset_ends_as_one_batch_leaves_it() {
    let rows = 60_000;
    let truth = batch(rows);
    assert!(truth[0].lines().count() > 200 && truth[1].contains("\"ä\""), "{}", truth[1]);
    let (ajatus, sql) = started(rows);
    let run = ["pipeline", "run", &sql, "--epoch-rows", "100", "--snapshot-epochs", "15", "--state", "state"];
    // Within a commit, between the two sinks, in a snapshot.
    for at in ["11:1", "11:2", "10:30", "16:3", "18:1", "13:60"] {
        let died = ajatus.command(&[&run[..], &["--crash-at", at]].concat()).stdout(Stdio::null()).stderr(Stdio::null()).status().expect("it ran");
        assert_eq!(died.signal(), Some(9), "point {at} is passed");
    }
    let ledger = folder(&ajatus).join("state/ledger");
    killed(&ajatus, &run, &ledger, Kills { times: 6, bytes: 20..3_000, seed: 11, least: 3 });
    let report = ajatus.json(&[&run[..], &["--workers", "2"]].concat());
    assert_eq!(shown(&ajatus), truth, "{report}");
    for sink in ["kept", "letters"] {
        let found = ajatus.json(&["pipeline", "repair", &sql, sink, "--state", "state", "--dry-run"]);
        assert_eq!((&found["missing"], &found["extra"]), (&json!(0), &json!(0)), "{sink}: {found}");
    }
}

#[test]
fn a_lost_dataset_is_made_again_by_repair() {
    let (ajatus, sql) = started(600);
    let run = ["pipeline", "run", &sql, "--epoch-rows", "100", "--state", "state"];
    ajatus.json(&run);
    let truth = shown(&ajatus);
    std::fs::remove_dir_all(folder(&ajatus).join("letters.lance")).expect("removed");
    let found = ajatus.json(&["pipeline", "repair", &sql, "letters", "--state", "state"]);
    assert_eq!((&found["missing"], &found["written"]), (&json!(truth[1].lines().count()), &json!(true)), "{found}");
    assert_eq!(shown(&ajatus), truth);
    let again = ajatus.json(&run);
    assert_eq!(again["rows"], 0, "{again}");
    assert_eq!(shown(&ajatus), truth);
}

#[test]
fn a_source_goes_on_with_the_version_that_it_began_with() {
    let (ajatus, sql) = started(300);
    ajatus.json(&["pipeline", "run", &sql, "--state", "state"]);
    let show = ajatus.file("show.sql", SHOW.as_bytes()).display().to_string();
    let reading = ["pipeline", "run", &show, "--epoch-rows", "40", "--state", "reading"];
    let died = ajatus.command(&[&reading[..], &["--crash-at", "13:2"]].concat()).stdout(Stdio::null()).stderr(Stdio::null()).status().expect("it ran");
    assert_eq!(died.signal(), Some(9));
    // The dataset grows meanwhile.
    ajatus.file("in.jsonl", records(900).as_bytes());
    ajatus.json(&["pipeline", "run", &sql, "--state", "state"]);
    ajatus.json(&reading);
    let kept = |ajatus: &Ajatus| std::fs::read_to_string(folder(ajatus).join("kept.jsonl")).expect("a file");
    let (then, asked) = (kept(&ajatus), ajatus.run(&["pipeline", "query", &show, "kept_rows", "--state", "reading", "--json"]));
    assert_eq!(String::from_utf8_lossy(&asked.stdout).lines().count(), then.lines().count(), "{}", stderr(&asked));
    let (early, _) = started(300);
    early.json(&["pipeline", "run", &early.file("words.sql", WORDS.as_bytes()).display().to_string()]);
    shown(&early);
    assert_eq!(then, kept(&early), "nothing of what came later");
    shown(&ajatus);
    assert_ne!(then, kept(&ajatus), "a new ledger reads the newest");
    // A version by its number.
    let first = ajatus.file("first.sql", SHOW.replace("path = 'kept.lance'", "path = 'kept.lance', version = 1").as_bytes()).display().to_string();
    ajatus.json(&["pipeline", "run", &first]);
    assert_eq!(kept(&ajatus), "", "the first version is the empty one");
}

#[test]
fn what_cannot_be_kept_or_read_is_said() {
    let (ajatus, sql) = started(50);
    ajatus.json(&["pipeline", "run", &sql]);
    let refused = |name: &str, text: &str, reason: &str| {
        let file = ajatus.file(name, text.as_bytes()).display().to_string();
        let output = ajatus.run(&["pipeline", "run", &file]);
        assert!(!output.status.success() && stderr(&output).contains(reason), "{name}: {}", stderr(&output));
    };
    refused("version.sql", &SHOW.replace("path = 'kept.lance'", "path = 'kept.lance', version = 999"), "it has no version 999; the newest version is");
    refused("tag.sql", &SHOW.replace("path = 'kept.lance'", "path = 'kept.lance', tag = 'e9'"), "it has no tag \"e9\"");
    refused("both.sql", &SHOW.replace("path = 'kept.lance'", "path = 'kept.lance', tag = 'e9', version = 1"), "a version and a tag are both asked for");
    refused("column.sql", &SHOW.replace("word", "name"), "it has no column \"name\"; it has id, word, weight, vector");
    refused("nothing.sql", &SHOW.replace("kept.lance", "nothing.lance"), "there is no dataset");
    refused("foreign.sql", WORDS, "pipeline \"words\" keeps it; name another folder");
    refused("keyless.sql", &WORDS.replace("id bigint primary key, word text, weight decimal(8, 2), vector vector(3)) with (connector = 'lance'", "id bigint, word text, weight decimal(8, 2), vector vector(3)) with (connector = 'lance', mode = 'exactly_once'"), "lance writes exactly once by primary key");
    std::fs::create_dir(folder(&ajatus).join("mine")).expect("a folder");
    ajatus.file("mine/notes.txt", b"mine");
    refused("files.sql", &WORDS.replace("kept.lance", "mine"), "it holds files, but no dataset");
    let kept: Value = ajatus.json(&["pipeline", "run", &sql]);
    assert_eq!(kept["dead_letters"], 0);
}
