//! Dead letters go back: once per attempt, in their old place, and the same over restarts and kills.

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};
use support::kills::{Kills, killed};
use support::{Ajatus, signal, stderr, stdout};

const SUMS: &str = "create table t (k text not null, n bigint not null) with (connector = 'file', type = 'source', path = '${IN}');
create table o (k text primary key, c bigint, s bigint) with (connector = 'file', type = 'sink', path = 'out.jsonl');
insert into o select k, count(*), cast(sum(n) as bigint) from t group by k;
";

/// A pipeline in a folder of its own.
struct Case {
    ajatus: Ajatus,
    file: String,
}

impl Case {
    fn new(sql: &str, input: &str, lines: &[u8]) -> Self {
        let ajatus = Ajatus::new();
        ajatus.file(input, lines);
        let file = ajatus.file("case.sql", sql.replace("${IN}", input).as_bytes()).display().to_string();
        Self { ajatus, file }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.ajatus.data().parent().expect("a folder").join(name)
    }

    /// Runs it to its end; some records are refused or none.
    fn run(&self, more: &[&str]) -> Value {
        let output = self.ajatus.run(&[&["pipeline", "run", &self.file, "--state", "state", "--json"], more].concat());
        assert!(matches!(output.status.code(), Some(0 | 3)), "{}", stderr(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    fn out(&self) -> String {
        std::fs::read_to_string(self.path("out.jsonl")).expect("the sink's file")
    }

    fn letters(&self) -> Vec<Value> {
        let output = self.ajatus.run(&["pipeline", "dead-letters", "list", &self.file, "--state", "state", "--json"]);
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// Replays, and says what becomes of each letter: its place, its attempt, its fate.
    fn replay(&self, more: &[&str]) -> Vec<(String, u64, String)> {
        let output = self.ajatus.run(&[&["pipeline", "dead-letters", "replay", &self.file, "--state", "state", "--json"], more].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let fates = stdout(&output).lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")).collect::<Vec<_>>();
        fates.iter().map(|fate| (text(&fate["origin"]), fate["attempt"].as_u64().expect("a number"), text(&fate["fate"]))).collect()
    }

    /// Writes the letters with other payloads.
    fn mend(&self, mend: impl Fn(&str) -> String) -> String {
        let lines: Vec<String> = self
            .letters()
            .into_iter()
            .map(|mut letter| {
                letter["payload"] = json!(mend(letter["payload"].as_str().expect("text")));
                letter.as_object_mut().expect("an object").remove("payload_base64");
                letter.to_string()
            })
            .collect();
        self.ajatus.file("mended.jsonl", lines.join("\n").as_bytes()).display().to_string()
    }
}

#[test]
fn a_letter_that_is_refused_again_is_a_letter_of_the_next_attempt() {
    let mut lines = b"{\"k\":\"a\",\"n\":1}\n{\"k\":\"a\",\"n\":\"x\"}\n".to_vec();
    lines.extend(b"{\"k\":\"\xff\",\"n\":1}\n");
    let case = Case::new(SUMS, "in.jsonl", &lines);
    case.run(&[]);
    let first = case.letters();
    assert_eq!((first.len(), &first[0]["attempt"], first.iter().filter(|letter| letter["payload_base64"].is_string()).count()), (2, &json!(1), 1), "{first:?}");
    let fates = case.replay(&[]);
    assert!(fates.iter().all(|(_, attempt, fate)| (*attempt, fate.as_str()) == (1, "replayed")), "{fates:?}");
    // Nobody has read them yet: they are not put there twice.
    assert!(case.replay(&[]).iter().all(|(_, _, fate)| fate == "waiting"));
    for attempt in 2..4 {
        let report = case.run(&[]);
        assert_eq!((&report["rows"], &report["dead_letters"]), (&json!(2), &json!(2)), "{report}");
        let letters = case.letters();
        assert_eq!(letters.len(), 2, "the earlier attempts are gone, byte by byte: {letters:?}");
        assert!(letters.iter().all(|letter| letter["attempt"] == attempt && letter["count"] == 1), "{letters:?}");
        assert_eq!(letters.iter().map(|letter| &letter["origin"]).collect::<Vec<_>>(), first.iter().map(|letter| &letter["origin"]).collect::<Vec<_>>());
        // A restart reads no more and no less.
        assert_eq!(case.run(&[])["rows"], 0);
        assert_eq!(case.letters(), letters);
        assert_eq!(case.replay(&[]).len(), 2);
    }
    assert_eq!(case.out(), "{\"k\":\"a\",\"c\":1,\"s\":1}\n");
}

#[test]
fn a_mended_letter_is_a_row_once_over_restarts_and_kills() {
    // Every third record has a word for a number; mended it is the number again.
    let (mut spoilt, mut whole) = (String::new(), String::new());
    for id in 0..6_000 {
        let (k, n) = (format!("k{}", id % 17), id * 13 % 101);
        whole.push_str(&format!("{{\"k\":\"{k}\",\"n\":{n}}}\n"));
        spoilt.push_str(&if id % 3 == 0 { format!("{{\"k\":\"{k}\",\"n\":\"<{n}>\"}}\n") } else { format!("{{\"k\":\"{k}\",\"n\":{n}}}\n") });
    }
    let case = Case::new(SUMS, "in.jsonl", spoilt.as_bytes());
    case.run(&[]);
    let before = case.out();
    assert_eq!(case.letters().len(), 2_000);
    let mended = case.mend(|payload| payload.replace("\"<", "").replace(">\"", ""));
    assert_eq!(case.replay(&["--mended", &mended]).len(), 2_000);
    let args = ["pipeline", "run", &case.file, "--state", "state", "--epoch-rows", "10"];
    let ledger = case.path("state/ledger");
    killed(&case.ajatus, &args, &ledger, Kills { times: 6, bytes: 90..3_000, seed: 5, least: 3 });
    let report = case.run(&["--workers", "2"]);
    assert_eq!(report["dead_letters"], 0, "{report}");
    let after = case.out();
    assert_ne!(before, after);
    let truth = Case::new(SUMS, "in.jsonl", whole.as_bytes());
    truth.run(&[]);
    assert_eq!(after, truth.out(), "the same bytes as a batch over records that were never wrong");
    assert_eq!(case.run(&[])["rows"], 0);
    assert_eq!(case.out(), after);
}

#[test]
fn a_replayed_record_takes_its_old_place_among_those_of_its_key() {
    let sql = "create table t (k text primary key, n bigint) with (connector = 'file', type = 'source', path = '${IN}', changelog = 'upsert');
create table o (k text primary key, n bigint) with (connector = 'file', type = 'sink', path = 'out.jsonl');
insert into o select k, n from t;
";
    let lines = "{\"k\":\"early\",\"n\":\"?\"}\n{\"k\":\"early\",\"n\":2}\n{\"k\":\"late\",\"n\":1}\n{\"k\":\"late\",\"n\":\"?\"}\n";
    let case = Case::new(sql, "in.jsonl", lines.as_bytes());
    case.run(&[]);
    assert_eq!(case.out(), "{\"k\":\"early\",\"n\":2}\n{\"k\":\"late\",\"n\":1}\n");
    let mended = case.mend(|payload| payload.replace("\"?\"", "9"));
    case.replay(&["--mended", &mended]);
    case.run(&[]);
    assert_eq!(case.out(), "{\"k\":\"early\",\"n\":2}\n{\"k\":\"late\",\"n\":9}\n", "the later record of a key stays the last one");
}

#[test]
fn a_line_of_csv_is_read_by_the_files_own_header() {
    let case = Case::new(SUMS, "in.csv", b"n,k\n1,a\nx,b\n");
    case.run(&[]);
    let mended = case.mend(|payload| payload.replace('x', "7"));
    case.replay(&["--mended", &mended]);
    case.run(&[]);
    assert_eq!(case.out(), "{\"k\":\"a\",\"c\":1,\"s\":1}\n{\"k\":\"b\",\"c\":1,\"s\":7}\n");
    assert!(case.letters().is_empty());
}

#[test]
fn says_of_every_letter_what_becomes_of_it_and_replays_the_chosen_ones() {
    let sql = SUMS.replace("from t", "from (select k, 10 / n as n from t) as d");
    let lines = b"{\"k\":\"a\",\"n\":0}\n{\"k\":\"b\",\"n\":\"x\"}\n{\"n\":1}\n{\"k\":\"c\",\"n\":\"y\"}\n";
    let case = Case::new(&sql, "in.jsonl", lines);
    case.run(&[]);
    let of = |fates: &[(String, u64, String)]| fates.iter().map(|(_, _, fate)| fate.clone()).collect::<Vec<_>>();
    let mut all = of(&case.replay(&["--dry-run"]));
    all.sort();
    assert_eq!(all, ["recomputed", "replayed", "replayed", "replayed"]);
    assert_eq!(of(&case.replay(&["--dry-run", "--code", "decode.type"])), ["replayed", "replayed"]);
    assert_eq!(of(&case.replay(&["--dry-run", "--step", "source t", "--limit", "1"])), ["replayed"]);
    assert!(case.replay(&["--dry-run", "--step", "source u"]).is_empty());
    assert_eq!(std::fs::metadata(case.path("state/replays")).expect("the file").len(), 0, "a dry run writes nothing");
    // One that is not there is a mistake that is said.
    let strange = case.ajatus.file("strange.jsonl", b"{\"step\":\"source t\",\"code\":\"decode.type\",\"message\":\"\",\"origin\":\"0:999\",\"payload\":\"{}\",\"attempt\":1,\"count\":1}\n");
    let output = case.ajatus.run(&["pipeline", "dead-letters", "replay", &case.file, "--state", "state", "--mended", &strange.display().to_string()]);
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    assert!(stderr(&output).contains("0:999"), "{}", stderr(&output));
    // A changed file reads everything anew, so nothing is replayed.
    case.ajatus.file("case.sql", sql.replace("${IN}", "in.jsonl").replace("10 / n", "20 / n").as_bytes());
    let mut all = of(&case.replay(&[]));
    all.sort();
    assert_eq!(all, ["read_anew", "read_anew", "read_anew", "recomputed"]);
    let output = case.ajatus.run(&["pipeline", "dead-letters", "replay", &case.file, "--state", "state"]);
    assert!(stdout(&output).contains("the file has changed") && stdout(&output).contains("0 of 4 letters replayed"), "{}", stdout(&output));
}

#[test]
fn a_running_stream_takes_replayed_letters_without_other_news() {
    let ajatus = Ajatus::new();
    let builtin = std::fs::read_to_string(support::root().join("kafka/topics.toml")).expect("the topics");
    ajatus.file("topics.toml", format!("{builtin}\n[[topic]]\nname = \"words\"\npartitions = 3\ncleanup = \"compact\"\n").as_bytes());
    let config = ajatus.file("ajatus.toml", b"[log]\ntopics = \"topics.toml\"\n").display().to_string();
    ajatus.file("in.jsonl", b"{\"id\":1,\"word\":\"a\"}\n{\"id\":2}\n");
    let give = ajatus.file("give.sql", b"create table i (id bigint not null, word text) with (connector = 'file', type = 'source', path = 'in.jsonl');\n\
        create table words (id bigint primary key, word text) with (connector = 'log', type = 'sink', topic = 'words');\n\
        insert into words select id, word from i;\n");
    let take = ajatus.file("take.sql", b"create table words (id bigint primary key, word text not null) with (connector = 'log', type = 'source', topic = 'words', changelog = 'upsert');\n\
        create table counts (word text primary key, n bigint) with (connector = 'file', type = 'sink', path = 'counts.jsonl');\n\
        insert into counts select word, count(*) from words group by word;\n");
    let (give, take) = (give.display().to_string(), take.display().to_string());
    ajatus.json(&["pipeline", "run", &give, "--config", &config]);
    let folder = ajatus.data().parent().expect("a folder").to_path_buf();
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    let mut child = ajatus.command(&["pipeline", "run", &take, "--config", &config, "--state", "state"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
    // The test program's limit ends a wait for nothing.
    while !(read("counts.jsonl").contains("\"a\"") && read("state/dead-letters.jsonl").contains("decode.null")) {
        std::thread::yield_now();
    }
    let letter: Value = serde_json::from_str(read("state/dead-letters.jsonl").trim_end()).expect("one letter");
    let mut mended: BTreeMap<String, Value> = serde_json::from_value(letter).expect("an object");
    mended.insert("payload".to_owned(), json!("{\"id\":2,\"word\":\"b\"}"));
    let mended = ajatus.file("mended.jsonl", json!(mended).to_string().as_bytes()).display().to_string();
    let output = ajatus.run(&["pipeline", "dead-letters", "replay", &take, "--config", &config, "--state", "state", "--mended", &mended]);
    assert!(stdout(&output).contains("1 of 1 letters replayed"), "{}{}", stdout(&output), stderr(&output));
    while read("counts.jsonl") != "{\"word\":\"a\",\"n\":1}\n{\"word\":\"b\",\"n\":1}\n" || !read("state/dead-letters.jsonl").is_empty() {
        std::thread::yield_now();
    }
    signal(child.id(), "INT");
    child.wait().expect("it ends");
}
