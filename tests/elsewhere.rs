//! Pipelines between clusters and databases that are not the platform's own: a real Apache Kafka and a real PostgreSQL, which the tests
//! start on loopback and stop.

mod support;

use std::collections::BTreeMap;
use std::process::Command;

use ajatus_memory::testing::{TestDatabase, server_binaries};
use serde_json::{Value, json};
use support::broker::Broker;
use support::kills::{Kills, killed};
use support::{Ajatus, stderr};

/// A database that is not the platform's.
struct Database {
    url: String,
}

impl Database {
    async fn start(name: &str) -> Self {
        let test = TestDatabase::start().await;
        let database = Self { url: test.url.clone() };
        database.sql(&format!("create database {name}"));
        let (before, options) = test.url.split_once('?').expect("options");
        let (server, _) = before.rsplit_once('/').expect("a database");
        Self { url: format!("{server}/{name}?{options}") }
    }

    /// Runs statements, and gives what they print, a row a line.
    fn sql(&self, sql: &str) -> String {
        let output = Command::new(server_binaries().join("bin/psql")).args([&self.url, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql]).output().expect("psql runs");
        assert!(output.status.success(), "{sql}: {}", stderr(&output));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }
}

#[test]
fn another_cluster_is_read_and_written_beside_the_embedded_log_and_its_topics_are_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(folder.path());
    let topics = "[[topic]]\nname = \"words\"\npartitions = 3\ncleanup = \"compact\"\n[[topic]]\nname = \"counts\"\npartitions = 2\ncleanup = \"compact\"\n";
    // The cluster's own people make its topics; the run itself has the embedded log.
    let owner = Ajatus::new().with("KAFKA_BOOTSTRAP_SERVERS", &broker.address);
    owner.file("topics.toml", topics.as_bytes());
    let config = owner.file("ajatus.toml", b"[log]\ntopics = \"topics.toml\"\n").display().to_string();
    owner.json(&["topics", "apply", "--config", &config]);
    let ajatus = Ajatus::new();
    let at = format!("bootstrap_servers = '{}'", broker.address);
    let mut expected: BTreeMap<String, i64> = BTreeMap::new();
    let mut rows = String::new();
    for id in 0..1_500 {
        let word = format!("w{}", id * 7 % 40);
        rows.push_str(&(json!({ "id": id, "word": word }).to_string() + "\n"));
        *expected.entry(word).or_default() += 1;
    }
    ajatus.file("in.jsonl", rows.as_bytes());
    let words = format!("create table words (id bigint primary key, word text) with (connector = 'kafka', topic = 'words', {at},");
    let counts = format!("create table counts (word text primary key, n bigint) with (connector = 'kafka', topic = 'counts', {at},");
    let write = |name: &str, sql: String| ajatus.file(name, sql.as_bytes()).display().to_string();
    let give = write(
        "give.sql",
        format!("create table i (id bigint not null, word text) with (connector = 'file', type = 'source', path = 'in.jsonl');\n{words} type = 'sink');\ninsert into words select id, word from i;\n"),
    );
    let count = write("count.sql", format!("{words} type = 'source', changelog = 'upsert');\n{counts} type = 'sink');\ninsert into counts select word, count(*) from words group by word;\n"));
    let show = write(
        "show.sql",
        format!(
            "{counts} type = 'source', changelog = 'upsert');\ncreate table shown (word text primary key, n bigint) with (connector = 'file', type = 'sink', path = 'shown.jsonl');\n\
             insert into shown select word, n from counts;\n"
        ),
    );
    ajatus.json(&["pipeline", "run", &give]);
    let run = ["pipeline", "run", &count, "--bounded", "--epoch-rows", "20"];
    killed(&ajatus, &run, &ajatus.data().join("pipelines/count/ledger"), Kills { times: 4, bytes: 100..2_000, seed: 3, least: 2 });
    ajatus.json(&run);
    ajatus.json(&["pipeline", "run", &show, "--bounded"]);
    let shown = std::fs::read_to_string(ajatus.data().parent().expect("a folder").join("shown.jsonl")).expect("the sink's file");
    let got: BTreeMap<String, i64> = shown
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .map(|row| (row["word"].as_str().expect("a word").to_owned(), row["n"].as_i64().expect("a count")))
        .collect();
    assert_eq!(got, expected);
    assert!(!ajatus.data().join("log").exists(), "the platform's own log was not opened");
    // A topic that is not there is said, and not made.
    let missing = write("missing.sql", format!("{} type = 'source', changelog = 'upsert');\ncreate table o (k text) with (connector = 'blackhole');\ninsert into o select word from words;\n", words.replace("topic = 'words'", "topic = 'wrods'")));
    for _ in 0..2 {
        let output = ajatus.run(&["pipeline", "run", &missing, "--bounded"]);
        assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
        assert!(stderr(&output).contains("there is no topic \"wrods\""), "{}", stderr(&output));
    }
    drop(broker);
    let output = ajatus.run(&["pipeline", "run", &show, "--bounded"]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
}

const STOCK: &str = "create table items (id bigint primary key, kind text, price numeric(12, 2), at timestamptz, tags text[], data bytea, extra jsonb, born date, v real[])";

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_another_database_is_read_as_it_was_and_what_happens_to_it_later_changes_nothing() {
    let database = Database::start("stock_read").await;
    database.sql(STOCK);
    database.sql(
        "insert into items select n, 'k' || n % 3, n * 0.1 + 12345678.05, '2026-03-01T10:00:00+02'::timestamptz + n * interval '1 second', array['a', null, 'ö'],
         decode('00ff0a' || lpad(to_hex(n), 6, '0'), 'hex'), jsonb_build_object('n', n), '2026-03-01'::date + n % 5, array[1.5, -2] from generate_series(1, 500) n",
    );
    let ajatus = Ajatus::new();
    let sql = "create table items (id bigint primary key, kind text, price decimal(12, 2), at timestamptz, tags text[], data bytea, extra json, born date, v real[])
  with (connector = 'postgres', type = 'source', url = '${DB}');
create table o (id bigint primary key, kind text, price decimal(12, 2), at timestamptz, tags text[], data bytea, n bigint, born date, v real[])
  with (connector = 'file', type = 'sink', path = 'o.jsonl');
create table sums (kind text primary key, n bigint, total decimal(22, 2)) with (connector = 'file', type = 'sink', path = 'sums.jsonl');
insert into o select id, kind, price, at, tags, data, json_get_int(extra, 'n'), born, v from items;
insert into sums select kind, count(*), sum(price) from items group by kind;
";
    let file = ajatus.file("stock.sql", sql.as_bytes()).display().to_string();
    let set = format!("DB={}", database.url);
    let folder = ajatus.data().parent().expect("a folder").to_path_buf();
    let run = ["pipeline", "run", &file, "--set", &set, "--epoch-rows", "5", "--state", "state"];
    let first = ajatus.json(&run);
    assert_eq!((&first["rows"], &first["dead_letters"]), (&json!(500), &json!(0)), "{first}");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("the sink's file");
    let rows = read("o.jsonl");
    let seventh: Value = serde_json::from_str(rows.lines().nth(6).expect("a row")).expect("JSON");
    let expected = json!({
        "id": 7, "kind": "k1", "price": "12345678.75", "at": "2026-03-01T08:00:07Z", "tags": ["a", null, "ö"], "data": "AP8KAAAH", "n": 7, "born": "2026-03-03", "v": [1.5, -2.0],
    });
    assert_eq!(seventh, expected);
    let sums = database.sql("select json_build_object('kind', kind, 'n', count(*), 'total', sum(price)::text) from items group by kind order by kind");
    let of = |text: &str| text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")).collect::<Vec<_>>();
    assert_eq!(of(&read("sums.jsonl")), of(&sums), "as the database itself adds up");
    // The table changes; the ledger's rows do not, not even for a run that goes on from the middle.
    database.sql("delete from items where id < 400; update items set price = 1");
    let again = ajatus.json(&run);
    assert_eq!((&again["rows"], &again["replayed"]), (&json!(0), &first["epochs"]), "{again}");
    assert_eq!(read("o.jsonl"), rows);
    let fresh = folder.join("fresh").display().to_string();
    let fresh = ["pipeline", "run", &file, "--set", &set, "--epoch-rows", "5", "--state", &fresh];
    killed(&ajatus, &fresh, &folder.join("fresh/ledger"), Kills { times: 3, bytes: 100..800, seed: 9, least: 0 });
    ajatus.json(&fresh);
    assert_eq!(read("o.jsonl").lines().count(), 101, "another folder reads the table anew");
    // What is not there is said with the table's name, and the address with its password is not shown.
    let wrong = ajatus.file("wrong.sql", sql.replace("extra json", "extras json").replace("(extra,", "(extras,").as_bytes()).display().to_string();
    let output = ajatus.run(&["pipeline", "run", &wrong, "--set", &set, "--state", "other"]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(stderr(&output).contains("no column \"extras\"") && !stderr(&output).contains(&database.url), "{}", stderr(&output));
    let signed = ajatus.file("signed.sql", sql.replace("url = '${DB}'", "url = '${DB}', changelog = 'upsert'").as_bytes()).display().to_string();
    let output = ajatus.run(&["pipeline", "run", &signed, "--set", &set, "--state", "other"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_another_database_is_written_exactly_once_over_kills() {
    let database = Database::start("stock_written").await;
    database.sql("create table sums (k text primary key, n bigint, s bigint)");
    let ajatus = Ajatus::new();
    let mut expected: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    let mut rows = String::new();
    for id in 0..4_000_i64 {
        let k = format!("k{}", id * 7 % 31);
        rows.push_str(&(json!({ "k": k, "n": id % 97 }).to_string() + "\n"));
        let sums = expected.entry(k).or_default();
        *sums = (sums.0 + 1, sums.1 + id % 97);
    }
    ajatus.file("in.jsonl", rows.as_bytes());
    let sql = "create table t (k text not null, n bigint not null) with (connector = 'file', type = 'source', path = 'in.jsonl');
create table sums (k text primary key, n bigint, s bigint) with (connector = 'postgres', type = 'sink', url = '${DB}');
insert into sums select k, count(*), cast(sum(n) as bigint) from t group by k;
";
    let file = ajatus.file("sums.sql", sql.as_bytes()).display().to_string();
    let set = format!("DB={}", database.url);
    let run = ["pipeline", "run", &file, "--set", &set, "--epoch-rows", "20", "--state", "state"];
    let state = ajatus.data().parent().expect("a folder").join("state/ledger");
    killed(&ajatus, &run, &state, Kills { times: 5, bytes: 100..2_500, seed: 21, least: 2 });
    let report = ajatus.json(&run);
    assert_eq!(report["dead_letters"], 0, "{report}");
    let got = database.sql("select json_build_array(k, n, s) from sums");
    let got: BTreeMap<String, (i64, i64)> = got.lines().map(|line| serde_json::from_str(line).expect("JSON")).map(|(k, n, s): (String, i64, i64)| (k, (n, s))).collect();
    assert_eq!(got, expected);
    assert_eq!(database.sql("select pipeline, epoch from pipeline_sinks"), format!("sums|{}", report["epochs"]), "its progress lies beside it");
    assert!(!ajatus.data().join("postgres").exists(), "the platform's own database was not opened");
}
