//! Pipelines by the real program: a batch, many epochs and two workers agree; killed at ten random points nothing is lost and
//! nothing is there twice; what is wrong is said with a code; topics carry from one pipeline to the next.

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use support::kills::{Kills, killed};
use support::{Ajatus, signal, stderr, stdout};

const SHOP: &str = r#"
create table orders (id bigint not null, customer text not null, item text, amount decimal(12, 2), at timestamp, diff bigint)
  with (connector = 'file', type = 'source', path = '${DATA}/orders.jsonl', changelog = 'signed', diff_column = 'diff', event_time = 'at');
create table customers (name text not null, country text) with (connector = 'file', type = 'source', path = '${DATA}/customers.csv');
create table totals (customer text primary key, country text, n bigint, total decimal(22, 2), last text)
  with (connector = 'file', type = 'sink', path = '${OUT}/totals.jsonl');
create table per_minute (start timestamp primary key, n bigint)
  with (connector = 'file', type = 'sink', path = '${OUT}/per_minute.csv', format = 'csv');
create view spent as
  select customer, count(*) as n, sum(amount) as total, last_value(item order by id) as last from orders where item is not null group by customer;
insert into totals select s.customer, c.country, s.n, s.total, s.last from spent s left join customers c on s.customer = c.name;
insert into per_minute select w.start, n from (select tumble(interval '1 minute') as w, count(*) as n from orders group by w) as x where w.start is not null;
"#;

/// Orders of which every fifth is withdrawn again, and what must come of them, computed the slow way.
fn orders(rows: u64) -> (String, BTreeMap<String, (i64, i64, String)>) {
    let (mut text, mut expected) = (String::new(), BTreeMap::new());
    let order = |id: u64| {
        let customer = format!("c{}", id * 7 % 23);
        let cents = i64::try_from(id * 37 % 1_000).expect("small");
        (customer, format!("item {}", id % 11), cents)
    };
    let line = |id: u64, diff: i64| {
        let (customer, item, cents) = order(id);
        let at = format!("2026-03-01T08:{:02}:{:02}Z", id / 60 % 60, id % 60);
        json!({ "id": id, "customer": customer, "item": item, "amount": format!("{}.{:02}", cents / 100, cents % 100), "at": at, "diff": diff }).to_string()
    };
    for id in 0..rows {
        text.push_str(&line(id, 1));
        text.push('\n');
        if id % 5 == 4 {
            text.push_str(&line(id - 2, -1));
            text.push('\n');
        }
    }
    for id in (0..rows).filter(|id| id % 5 != 2 || id + 2 >= rows) {
        let (customer, item, cents) = order(id);
        let entry = expected.entry(customer).or_insert((0, 0, String::new()));
        entry.0 += 1;
        entry.1 += cents;
        entry.2 = item;
    }
    (text, expected)
}

fn customers() -> String {
    (0..20).fold("name,country\n".to_owned(), |text, at| text + &format!("c{at},{}\n", if at % 2 == 0 { "FI" } else { "" }))
}

fn totals(path: &Path) -> BTreeMap<String, (i64, i64, String)> {
    let text = std::fs::read_to_string(path).expect("the sink's file");
    text.lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line).expect("JSON");
            let (whole, cents) = row["total"].as_str().and_then(|total| total.split_once('.')).expect("a decimal");
            let total = whole.parse::<i64>().expect("digits") * 100 + cents.parse::<i64>().expect("digits");
            let place = row["customer"].as_str().expect("a name").to_owned();
            let number: u32 = place.trim_start_matches('c').parse().expect("a number");
            assert_eq!(row["country"], if number < 20 && number % 2 == 0 { json!("FI") } else { Value::Null }, "{line}");
            (place, (row["n"].as_i64().expect("a count"), total, row["last"].as_str().expect("an item").to_owned()))
        })
        .collect()
}

/// A folder with the shop's files, and the arguments that name them.
fn shop(ajatus: &Ajatus, rows: u64) -> (BTreeMap<String, (i64, i64, String)>, Vec<String>) {
    let (text, expected) = orders(rows);
    ajatus.file("orders.jsonl", text.as_bytes());
    ajatus.file("customers.csv", customers().as_bytes());
    let file = ajatus.file("shop.sql", SHOP.as_bytes());
    let folder = file.parent().expect("a folder").display().to_string();
    let args = ["pipeline", "run", &file.display().to_string(), "--set", &format!("DATA={folder}"), "--set"].map(str::to_owned).to_vec();
    (expected, args)
}

fn run(ajatus: &Ajatus, args: &[String], out: &str, more: &[&str]) -> Value {
    let folder = ajatus.data().parent().expect("a folder").join(out);
    let out = format!("OUT={}", folder.display());
    let all: Vec<&str> = args.iter().map(String::as_str).chain([out.as_str()]).chain(more.iter().copied()).collect();
    ajatus.json(&all)
}

#[test]
fn one_batch_many_epochs_and_two_workers_give_the_same_and_the_truth() {
    let ajatus = Ajatus::new();
    let (expected, args) = shop(&ajatus, 3_000);
    let folder = ajatus.data().parent().expect("a folder").to_path_buf();
    let mut files = Vec::new();
    for (out, more) in [
        ("batch", vec!["--epoch-rows", "1000000", "--state", "s1"]),
        ("epochs", vec!["--epoch-rows", "37", "--state", "s2"]),
        ("workers", vec!["--epoch-rows", "100", "--workers", "2", "--state", "s3"]),
    ] {
        let report = run(&ajatus, &args, out, &more);
        assert_eq!(report["dead_letters"], 0, "{report}");
        assert_eq!(totals(&folder.join(out).join("totals.jsonl")), expected, "{out}");
        let minutes = std::fs::read_to_string(folder.join(out).join("per_minute.csv")).expect("the sink's file");
        assert_eq!(minutes.lines().count(), 51, "{minutes}");
        files.push((std::fs::read(folder.join(out).join("totals.jsonl")).expect("a file"), minutes));
    }
    assert!(files.windows(2).all(|pair| pair[0] == pair[1]), "the same bytes");
}

#[test]
fn killed_at_ten_random_points_it_ends_as_if_nothing_had_happened() {
    let ajatus = Ajatus::new();
    let (expected, args) = shop(&ajatus, 60_000);
    let folder = ajatus.data().parent().expect("a folder").to_path_buf();
    let out = format!("OUT={}", folder.join("out").display());
    let all: Vec<&str> = args.iter().map(String::as_str).chain([out.as_str(), "--epoch-rows", "50", "--state", "state"]).collect();
    let ledger = folder.join("state/ledger");
    killed(&ajatus, &all, &ledger, Kills { times: 10, bytes: 100..20_000, seed: 7, least: 5 });
    // With another number of workers: the ledger knows of none.
    let report = run(&ajatus, &args, "out", &["--epoch-rows", "50", "--workers", "2", "--state", "state"]);
    assert!(report["replayed"].as_u64().expect("a count") > 0, "{report}");
    assert_eq!(totals(&folder.join("out/totals.jsonl")), expected);
    let batch = run(&ajatus, &args, "batch", &["--epoch-rows", "1000000", "--state", "fresh"]);
    assert_eq!(batch["replayed"], 0);
    for file in ["totals.jsonl", "per_minute.csv"] {
        let read = |out: &str| std::fs::read(folder.join(out).join(file)).expect("the sink's file");
        assert_eq!(read("out"), read("batch"), "{file}: the same bytes as one batch over the same offsets");
    }
}

#[test]
fn a_source_that_lost_what_was_read_stops_loudly() {
    let ajatus = Ajatus::new();
    let (_, args) = shop(&ajatus, 100);
    run(&ajatus, &args, "out", &["--state", "state"]);
    ajatus.file("orders.jsonl", b"{\"id\":1,\"customer\":\"c1\",\"diff\":1}\n");
    let out = format!("OUT={}", ajatus.data().display());
    let all: Vec<&str> = args.iter().map(String::as_str).chain([out.as_str(), "--state", "state"]).collect();
    let output = ajatus.run(&all);
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    assert!(stderr(&output).contains("records are gone"), "{}", stderr(&output));
}

#[test]
fn bad_records_and_failing_expressions_are_dead_letters_and_the_rest_goes_on() {
    let ajatus = Ajatus::new();
    let text = "{\"k\":\"a\",\"n\":4}\nnot json\n{\"k\":\"b\",\"n\":0}\n{\"k\":null,\"n\":1}\n{\"k\":\"c\",\"n\":\"x\"}\n{\"k\":\"d\",\"n\":2}\n";
    ajatus.file("in.jsonl", text.as_bytes());
    let sql = "create table t (k text not null, n bigint) with (connector = 'file', type = 'source', path = 'in.jsonl', bad_data = '${BAD}');\n\
               create table o (k text primary key, q bigint) with (connector = 'file', type = 'sink', path = 'out.jsonl');\n\
               insert into o select k, 8 / n from t;\n";
    let lenient = ajatus.file("lenient.sql", sql.replace("${BAD}", "dead_letter").as_bytes());
    let strict = ajatus.file("strict.sql", sql.replace("${BAD}", "fail").as_bytes());
    let folder = lenient.parent().expect("a folder").to_path_buf();
    let lenient = lenient.display().to_string();
    let output = ajatus.run(&["pipeline", "run", &lenient, "--state", "s", "--json"]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let rows = std::fs::read_to_string(folder.join("out.jsonl")).expect("the sink's file");
    assert_eq!(rows, "{\"k\":\"a\",\"q\":2}\n{\"k\":\"d\",\"q\":4}\n");
    let letters = ajatus.run(&["pipeline", "dead-letters", &lenient, "--state", "s", "--json"]);
    let mut codes: Vec<(String, String)> = stdout(&letters)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .map(|letter| (letter["code"].as_str().expect("a code").to_owned(), letter["payload"].as_str().expect("a payload").to_owned()))
        .collect();
    codes.sort();
    let payload = |at: usize| codes[at].1.as_str();
    assert_eq!(codes.iter().map(|(code, _)| code.as_str()).collect::<Vec<_>>(), ["decode.null", "decode.syntax", "decode.type", "expression.divide_by_zero"]);
    assert_eq!((payload(1), payload(3)), ("not json", "{\"k\":\"b\",\"n\":0}"));
    let output = ajatus.run(&["pipeline", "run", &strict.display().to_string(), "--state", "s2"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("bad_data = 'fail'"), "{}", stderr(&output));
}

#[test]
fn says_what_is_wrong_with_a_file_and_where() {
    let ajatus = Ajatus::new();
    let file = ajatus.file("wrong.sql", "create table t (a bigint, x double precision) with (connector = 'memory', type = 'source');\ncreate view v as\n  select sum(x) as s from t;\ninsert into t select 1, 2;\n".as_bytes());
    let output = ajatus.run(&["pipeline", "check", &file.display().to_string(), "--json"]);
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&found["ok"], &found["errors"][0]["code"], &found["errors"][0]["line"]), (&json!(false), &json!("P0216"), &json!(4)), "{found}");
    let file = ajatus.file("wrong.sql", "create table t (a bigint, x double precision) with (connector = 'memory', type = 'source');\ncreate view v as\n  select sum(x) as s from t;\n".as_bytes());
    let output = ajatus.run(&["pipeline", "check", &file.display().to_string()]);
    assert!(stderr(&output).contains("error[P0404]") && stderr(&output).contains("decimal(38, 9)"), "{}", stderr(&output));
    let source = "create table t (user_id text, role text, occurred_at bigint) with (connector = 'memory', type = 'source');\n";
    for (view, code, column, said) in [
        ("create view v as with recursive r (n) as (select occurred_at from t union select max(n) + 1 from r) select n from r;\n", "P0410", 33, "aggregate"),
        ("create view v as select * from activity(t);\n", "P0312", 41, "cast(occurred_at as timestamp)"),
        ("create view v as select * from activity(tt);\n", "P0312", 41, "did you mean \"t\""),
        ("create view v as select * from contribution(t);\n", "P0312", 32, "contribution(work, presence, stakes)"),
        ("create view v as select * from actvity(t);\n", "P0305", 32, "did you mean `activity`"),
    ] {
        let file = ajatus.file("wrong.sql", format!("{source}{view}").as_bytes());
        let output = ajatus.run(&["pipeline", "check", &file.display().to_string(), "--json"]);
        let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let error = &found["errors"][0];
        assert_eq!((&error["code"], &error["line"], &error["column"]), (&json!(code), &json!(2), &json!(column)), "{found}");
        assert!(error["hint"].as_str().expect("a hint").contains(said), "{found}");
    }
}

#[test]
fn tests_of_a_file_run_with_and_without_kills() {
    let ajatus = Ajatus::new();
    let sql = "create table words (word text not null) with (connector = 'memory', type = 'source');\n\
               create view counts as select word, count(*) as n from words group by word;\n\n\
               -- test: counts and forgets\n-- given words\n-- {\"word\": \"yö\"}\n-- {\"word\": \"yö\"}\n-- then\n-- expect counts\n-- {\"word\": \"yö\", \"n\": 2}\n\
               -- given words\n-- - {\"word\": \"yö\"}\n-- then\n-- given words\n-- - {\"word\": \"yö\"}\n-- {\"word\": \"a\"}\n-- expect counts\n-- {\"word\": \"a\", \"n\": 1}\n";
    let file = ajatus.file("words.sql", sql.as_bytes()).display().to_string();
    for more in [&[][..], &["--kill"][..], &["--workers", "2"][..]] {
        let output = ajatus.run(&[&["pipeline", "test", &file], more].concat());
        assert!(output.status.success(), "{more:?}: {}{}", stdout(&output), stderr(&output));
        assert!(stdout(&output).contains("1 passed, 0 failed"), "{}", stdout(&output));
    }
    let wrong = ajatus.file("wrong.sql", sql.replace("\"n\": 2", "\"n\": 3").as_bytes()).display().to_string();
    let output = ajatus.run(&["pipeline", "test", &wrong]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("- {\"word\":\"yö\",\"n\":3}") && stdout(&output).contains("+ {\"word\":\"yö\",\"n\":2}"), "{}", stdout(&output));
}

#[test]
fn topics_carry_from_one_pipeline_to_the_next_and_a_stream_goes_on_where_it_was() {
    let ajatus = Ajatus::new();
    let builtin = std::fs::read_to_string(support::root().join("kafka/topics.toml")).expect("the topics");
    ajatus.file("topics.toml", format!("{builtin}\n[[topic]]\nname = \"words\"\npartitions = 3\ncleanup = \"compact\"\n").as_bytes());
    let config = ajatus.file("ajatus.toml", b"[log]\ntopics = \"topics.toml\"\n").display().to_string();
    let write = |rows: &str| ajatus.file("in.jsonl", rows.as_bytes());
    let give = ajatus.file("give.sql", b"create table i (id bigint not null, word text) with (connector = 'file', type = 'source', path = 'in.jsonl');\n\
        create table words (id bigint primary key, word text) with (connector = 'log', type = 'sink', topic = 'words');\n\
        insert into words select id, word from i;\n");
    let take = ajatus.file("take.sql", b"create table words (id bigint primary key, word text) with (connector = 'log', type = 'source', topic = 'words', changelog = 'upsert');\n\
        create table counts (word text primary key, n bigint) with (connector = 'file', type = 'sink', path = 'counts.jsonl');\n\
        insert into counts select word, count(*) from words where word is not null group by word;\n");
    let (give, take) = (give.display().to_string(), take.display().to_string());
    let counts = || std::fs::read_to_string(ajatus.data().parent().expect("a folder").join("counts.jsonl")).expect("the sink's file");
    write("{\"id\":1,\"word\":\"a\"}\n{\"id\":2,\"word\":\"b\"}\n{\"id\":3,\"word\":\"a\"}\n");
    ajatus.json(&["pipeline", "run", &give, "--config", &config, "--state", "g1"]);
    let first = ajatus.json(&["pipeline", "run", &take, "--config", &config, "--bounded"]);
    assert_eq!(first["rows"], 3, "{first}");
    assert_eq!(counts(), "{\"word\":\"a\",\"n\":2}\n{\"word\":\"b\",\"n\":1}\n");
    // A key's later record replaces the earlier one; the second run reads only what is new.
    write("{\"id\":3,\"word\":\"b\"}\n{\"id\":4,\"word\":null}\n");
    ajatus.json(&["pipeline", "run", &give, "--config", &config, "--state", "g2"]);
    let second = ajatus.json(&["pipeline", "run", &take, "--config", &config, "--bounded"]);
    assert_eq!((&second["rows"], &second["replayed"]), (&json!(2), &first["epochs"]), "{second}");
    assert_eq!(counts(), "{\"word\":\"a\",\"n\":1}\n{\"word\":\"b\",\"n\":2}\n");
}

#[test]
fn a_stream_runs_inside_up_follows_the_topic_and_ends_when_it_is_told_to() {
    let ajatus = Ajatus::new();
    let sql = ajatus.file("talk.sql", b"create table interactions (user_id text, id text, role text, occurred_at timestamp, primary key (user_id, id))\n\
        with (connector = 'log', type = 'source', topic = 'interactions', format = 'ajatus', changelog = 'upsert');\n\
        create table spoken (role text primary key, n bigint) with (connector = 'stdout', type = 'sink');\n\
        create table kept (role text primary key, n bigint) with (connector = 'file', type = 'sink', path = 'kept.jsonl');\n\
        insert into spoken select role, count(*) from interactions where role is not null group by role;\n\
        insert into kept select role, count(*) from interactions where role is not null group by role;\n");
    let kept = sql.parent().expect("a folder").join("kept.jsonl");
    let _up = ajatus.up();
    let mut child = ajatus.command(&["pipeline", "run", &sql.display().to_string()]).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("the program starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let talk = "{\"conversation\":\"c\",\"turn\":\"t1\",\"role\":\"user\",\"occurred_at\":\"2026-03-01T08:00:00Z\",\"text\":\"Hello.\"}\n";
    let file = ajatus.file("talk.jsonl", talk.as_bytes());
    ajatus.json(&["import", file.to_str().expect("a path"), "--user", "aino", "--format", "jsonl"]);
    let line: Value = serde_json::from_str(&lines.next().expect("a line").expect("text")).expect("JSON");
    assert_eq!((&line["diff"], &line["row"]), (&json!(1), &json!({ "role": "user", "n": 1 })), "{line}");
    // The stream goes on, and its file is there all the same; the test program's limit ends a wait for nothing.
    while std::fs::read_to_string(&kept).ok().as_deref() != Some("{\"role\":\"user\",\"n\":1}\n") {
        std::thread::yield_now();
    }
    signal(child.id(), "INT");
    child.wait().expect("it ends");
}

#[test]
fn the_platforms_own_pipeline_counts_days_into_postgres_once() {
    let ajatus = Ajatus::new();
    let sql = support::root().join("pipelines/activity.sql").display().to_string();
    let tested = ajatus.run(&["pipeline", "test", &sql, "--kill"]);
    assert!(tested.status.success(), "{}", stdout(&tested));
    let talk: String = (0..6)
        .map(|turn| json!({ "conversation": "c", "turn": format!("t{turn}"), "role": "user", "occurred_at": format!("2026-03-0{}T08:00:00Z", turn % 3 + 1), "text": "Hello." }).to_string() + "\n")
        .collect();
    let file = ajatus.file("talk.jsonl", talk.as_bytes());
    ajatus.json(&["import", file.to_str().expect("a path"), "--user", "aino", "--format", "jsonl"]);
    let first = ajatus.json(&["pipeline", "run", &sql, "--bounded"]);
    assert_eq!((&first["rows"], &first["dead_letters"]), (&json!(6), &json!(0)), "{first}");
    assert!(first["changes"].as_u64().expect("a count") >= 3, "{first}");
    let again = ajatus.json(&["pipeline", "run", &sql, "--bounded"]);
    assert_eq!((&again["rows"], &again["replayed"]), (&json!(0), &first["epochs"]), "{again}");
}

#[test]
fn the_companions_own_pipeline_passes_its_tests_is_drawn_as_documented_and_is_run_by_nobody_else() {
    let ajatus = Ajatus::new();
    let sql = support::root().join("pipelines/companion.sql").display().to_string();
    for more in [&[][..], &["--kill", "--workers", "2"][..]] {
        let tested = ajatus.run(&[&["pipeline", "test", &sql], more].concat());
        assert!(tested.status.success() && stdout(&tested).contains("3 passed, 0 failed"), "{more:?}: {}{}", stdout(&tested), stderr(&tested));
    }
    let drawn = ajatus.run(&["pipeline", "graph", &sql, "--format", "mermaid"]);
    let page = std::fs::read_to_string(support::root().join("pipelines/README.md")).expect("a page");
    assert!(page.contains(&format!("```mermaid\n{}```", stdout(&drawn))), "pipelines/README.md: put the graph there\n{}", stdout(&drawn));
    // Its words come from its model: another length is another plan.
    let plan = |set: &[&str]| ajatus.json(&[&["pipeline", "check", &sql], set].concat())["plan"].clone();
    assert_ne!(plan(&[]), plan(&["--set", "EMBEDDING_DIMENSIONS=8"]));
    let other = ajatus.file("other.toml", b"[models.embedding]\nname = \"other\"\npath = \"models/other\"\n").display().to_string();
    assert_eq!(plan(&["--config", &other]), plan(&["--set", "EMBEDDING_MODEL=other"]));
    assert_ne!(plan(&["--config", &other]), plan(&[]));
    let run = ajatus.run(&["pipeline", "run", &sql, "--bounded"]);
    assert!(!run.status.success() && stderr(&run).contains("the platform keeps it itself"), "{}{}", stdout(&run), stderr(&run));
}

#[test]
fn a_model_is_asked_once_for_equal_texts_and_never_again_after_a_restart() {
    let ajatus = Ajatus::new();
    let sql = ajatus.file(
        "notes.sql",
        b"create table notes (id bigint not null, text text) with (connector = 'file', type = 'source', path = 'notes.jsonl');\n\
          create model minilm with (task = 'embedding', provider = 'candle', name = 'all-MiniLM-L6-v2');\n\
          create table vectors (id bigint primary key, vector vector(384)) with (connector = 'file', type = 'sink', path = 'vectors.jsonl');\n\
          insert into vectors select id, embed(minilm, text) from notes where id > 1;\n",
    );
    ajatus.file("notes.jsonl", b"{\"id\":1,\"text\":\"skip\"}\n{\"id\":2,\"text\":\"The cat sleeps.\"}\n{\"id\":3,\"text\":\"The cat sleeps.\"}\n{\"id\":4}\n");
    let folder = sql.parent().expect("a folder").to_path_buf();
    let sql = sql.display().to_string();
    let mut files = Vec::new();
    for _ in 0..2 {
        ajatus.json(&["pipeline", "run", &sql, "--state", "state"]);
        files.push(std::fs::read_to_string(folder.join("vectors.jsonl")).expect("the sink's file"));
        // One for the text that two rows share, one for the row without a text.
        assert_eq!(std::fs::read_to_string(folder.join("state/memo")).expect("the memo").lines().count(), 2);
    }
    assert_eq!(files[0], files[1]);
    let rows: Vec<Value> = files[0].lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((rows.len(), &rows[0]["vector"], &rows[2]["vector"]), (3, &rows[1]["vector"], &Value::Null));
    let length: f64 = rows[0]["vector"].as_array().expect("a vector").iter().map(|part| part.as_f64().expect("a number").powi(2)).sum();
    assert!((length - 1.0).abs() < 1e-5, "{length}");
}

#[test]
fn a_text_model_writes_for_a_pipeline_and_is_not_asked_again() {
    let ajatus = Ajatus::new();
    let sql = ajatus.file(
        "words.sql",
        b"create table notes (id bigint not null, text text) with (connector = 'file', type = 'source', path = 'notes.jsonl');\n\
          create model chat with (task = 'generation', provider = 'candle', name = 'SmolLM2-135M-Instruct', prompt = 'Say one word about {{ input }}.', max_tokens = 4, timeout = '10 minutes');\n\
          create table words (id bigint primary key, word text) with (connector = 'file', type = 'sink', path = 'words.jsonl');\n\
          insert into words select id, generate(chat, text) from notes;\n",
    );
    ajatus.file("notes.jsonl", b"{\"id\":1,\"text\":\"the sea\"}\n{\"id\":2,\"text\":\"a night train\"}\n");
    let folder = sql.parent().expect("a folder").to_path_buf();
    let sql = sql.display().to_string();
    let run = || {
        let report = ajatus.json(&["pipeline", "run", &sql, "--state", "state"]);
        assert_eq!(report["dead_letters"], 0, "{report}");
        let text = std::fs::read_to_string(folder.join("words.jsonl")).expect("the sink's file");
        text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["word"].as_str().expect("a word").to_owned()).collect::<Vec<_>>()
    };
    let first = run();
    assert!(first.len() == 2 && first.iter().all(|word| !word.is_empty()), "{first:?}");
    // With the answers of the memo exchanged, the second run says the other's words: nobody was asked.
    let memo = std::fs::read_to_string(folder.join("state/memo")).expect("the memo");
    let mut lines: Vec<Value> = memo.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 2, "{memo}");
    let other = lines[1]["answer"].clone();
    lines[1]["answer"] = std::mem::replace(&mut lines[0]["answer"], other);
    std::fs::write(folder.join("state/memo"), lines.iter().map(|line| line.to_string() + "\n").collect::<String>()).expect("written");
    assert_eq!(run(), [first[1].clone(), first[0].clone()]);
    assert_eq!(std::fs::read_to_string(folder.join("state/memo")).expect("the memo").lines().count(), 2);
}

#[test]
fn what_a_recursion_leaves_out_after_its_rounds_is_a_dead_letter() {
    let ajatus = Ajatus::new();
    let edges: String = (0..9).map(|at| json!({ "a": at, "b": at + 1 }).to_string() + "\n").collect();
    ajatus.file("edges.jsonl", edges.as_bytes());
    ajatus.file("names.jsonl", b"{\"n\":3,\"name\":\"three\"}\n{\"n\":9,\"name\":\"nine\"}\n");
    let sql = "set max_rounds = ${ROUNDS};\n\
        create table edges (a bigint not null, b bigint not null) with (connector = 'file', type = 'source', path = 'edges.jsonl');\n\
        create table names (n bigint not null, name text) with (connector = 'file', type = 'source', path = 'names.jsonl');\n\
        create view reached as with recursive r (n) as (select cast(0 as bigint) union select e.b from r join edges e on e.a = r.n) select n from r;\n\
        create table o (n bigint primary key, name text) with (connector = 'file', type = 'sink', path = 'o.jsonl');\n\
        insert into o select r.n, x.name from reached r join names x on x.n = r.n;\n";
    let capped = ajatus.file("capped.sql", sql.replace("${ROUNDS}", "5").as_bytes());
    let folder = capped.parent().expect("a folder").to_path_buf();
    let capped = capped.display().to_string();
    let output = ajatus.run(&["pipeline", "run", &capped, "--state", "s1", "--json"]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert_eq!(std::fs::read_to_string(folder.join("o.jsonl")).expect("the sink's file"), "{\"n\":3,\"name\":\"three\"}\n");
    let letters = ajatus.run(&["pipeline", "dead-letters", &capped, "--state", "s1", "--json"]);
    let letter: Value = serde_json::from_str(stdout(&letters).trim()).expect("one letter");
    assert_eq!((&letter["code"], &letter["payload"]), (&json!("recursion.rounds"), &json!("{\"n\":6}")), "{letter}");
    let whole = ajatus.file("whole.sql", sql.replace("${ROUNDS}", "9").as_bytes()).display().to_string();
    let report = ajatus.json(&["pipeline", "run", &whole, "--state", "s2", "--workers", "2"]);
    assert_eq!(report["dead_letters"], 0, "{report}");
    assert_eq!(std::fs::read_to_string(folder.join("o.jsonl")).expect("the sink's file"), "{\"n\":3,\"name\":\"three\"}\n{\"n\":9,\"name\":\"nine\"}\n");
    let explained = ajatus.run(&["pipeline", "explain", &whole]);
    assert!(stdout(&explained).contains("recursion r: begin, then repeat the step up to 9 rounds (union)"), "{}", stdout(&explained));
}

#[test]
fn an_operator_over_a_table_gives_what_sql_counts() {
    let ajatus = Ajatus::new();
    let turns: String = (0..200)
        .map(|at: i64| {
            let role = ["user", "assistant", "tool"][usize::try_from(at % 3).expect("small")];
            // Every fourth is a withdrawal of the turn four before, one has no time.
            let (id, diff) = if at % 4 == 3 { (at - 3, -1) } else { (at, 1) };
            let role = if diff < 0 { ["user", "assistant", "tool"][usize::try_from(id % 3).expect("small")] } else { role };
            let time = (id != 101).then(|| format!("2026-03-{:02}T{:02}:00:00Z", id % 28 + 1, id % 24));
            json!({ "user_id": format!("u{}", id % 7), "role": role, "occurred_at": time, "diff": diff, "note": "not read" }).to_string() + "\n"
        })
        .collect();
    ajatus.file("turns.jsonl", turns.as_bytes());
    let sql = ajatus.file(
        "counts.sql",
        b"create table turns (note text, role text, occurred_at timestamp, user_id text, diff bigint) with (connector = 'file', type = 'source', path = 'turns.jsonl', changelog = 'signed');\n\
          create table a (user_id text primary key, user_turns bigint, assistant_turns bigint, other_turns bigint, first_at timestamp, last_at timestamp) with (connector = 'file', type = 'sink', path = 'a.jsonl');\n\
          create table b (user_id text primary key, user_turns bigint, assistant_turns bigint, other_turns bigint, first_at timestamp, last_at timestamp) with (connector = 'file', type = 'sink', path = 'b.jsonl');\n\
          insert into a select * from activity(turns);\n\
          insert into b select user_id, count(*) filter (where role = 'user'), count(*) filter (where role = 'assistant'), count(*) filter (where role = 'tool'), min(occurred_at), max(occurred_at) from turns where occurred_at is not null group by user_id;\n",
    );
    let folder = sql.parent().expect("a folder").to_path_buf();
    let sql = sql.display().to_string();
    for (state, more) in [("s1", &["--epoch-rows", "13"][..]), ("s2", &["--workers", "2"][..])] {
        let output = ajatus.run(&[&["pipeline", "run", &sql, "--state", state, "--json"], more].concat());
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("the sink's file");
        assert_eq!(read("a.jsonl"), read("b.jsonl"));
        assert!(read("a.jsonl").lines().count() > 3, "{}", read("a.jsonl"));
        let letters = std::fs::read_to_string(folder.join(state).join("dead-letters.jsonl")).expect("letters");
        assert!(letters.contains("activity.null") && letters.contains("occurred_at is null"), "{letters}");
    }
    let explained = ajatus.run(&["pipeline", "explain", &sql]);
    assert!(stdout(&explained).contains("[keeps the turns' times by user and hour, and the counts of each hour]"), "{}", stdout(&explained));
}

#[test]
fn the_nodes_scores_go_from_topic_to_topic() {
    let ajatus = Ajatus::new();
    let sql = support::root().join("pipelines/contribution.sql").display().to_string();
    for more in [&[][..], &["--kill"][..], &["--workers", "2"][..]] {
        let tested = ajatus.run(&[&["pipeline", "test", &sql], more].concat());
        assert!(tested.status.success(), "{more:?}: {}{}", stdout(&tested), stderr(&tested));
        assert!(stdout(&tested).contains("4 passed, 0 failed"), "{}", stdout(&tested));
    }
    let events = "{\"id\":\"s\",\"kind\":\"stake\",\"node\":\"aino\",\"epoch\":1,\"stake\":\"400000000\",\"matured\":\"400000000\"}\n\
        {\"id\":\"h\",\"kind\":\"heartbeat\",\"node\":\"aino\",\"epoch\":1,\"slot\":0}\n\
        {\"id\":\"d\",\"kind\":\"decided\",\"node\":\"aino\",\"epoch\":1,\"verdict\":\"valid\",\"work\":2000000,\"performance\":625000000}\n";
    ajatus.file("events.jsonl", events.as_bytes());
    let columns = "id text primary key, kind text not null, node text, epoch bigint, verdict text, work bigint, performance bigint, slot bigint, stake decimal(38, 0), matured decimal(38, 0)";
    let give = ajatus.file("give.sql", format!(
        "create table i ({columns}) with (connector = 'file', type = 'source', path = 'events.jsonl');\n\
         create table o ({columns}) with (connector = 'log', type = 'sink', topic = 'node-events');\n\
         insert into o select * from i;\n"
    ).as_bytes());
    let take = ajatus.file("take.sql", b"create table s (node text, epoch bigint, score bigint, weight decimal(38, 0), primary key (node, epoch)) with (connector = 'log', type = 'source', topic = 'node-scores', changelog = 'upsert');\n\
        create table o (node text primary key, score bigint, weight decimal(38, 0)) with (connector = 'file', type = 'sink', path = 'scores.jsonl');\n\
        insert into o select node, score, weight from s;\n");
    ajatus.json(&["pipeline", "run", &give.display().to_string()]);
    let report = ajatus.json(&["pipeline", "run", &sql, "--bounded"]);
    assert_eq!((&report["rows"], &report["dead_letters"]), (&json!(3), &json!(0)), "{report}");
    ajatus.json(&["pipeline", "run", &take.display().to_string(), "--bounded"]);
    let scores = std::fs::read_to_string(take.parent().expect("a folder").join("scores.jsonl")).expect("the sink's file");
    assert_eq!(scores, "{\"node\":\"aino\",\"score\":625000000,\"weight\":\"1250000\"}\n");
    // What cannot be scored is said, and the others are scored all the same.
    let more = "{\"id\":\"d2\",\"kind\":\"decided\",\"node\":\"eino\",\"epoch\":1,\"verdict\":\"valid\",\"work\":5,\"performance\":1}\n\
        {\"id\":\"d3\",\"kind\":\"decided\",\"node\":\"aino\",\"epoch\":1,\"verdict\":\"perhaps\",\"work\":5}\n\
        {\"id\":\"d4\",\"kind\":\"decided\",\"node\":\"aino\",\"epoch\":1,\"verdict\":\"valid\",\"work\":-5,\"performance\":1}\n";
    ajatus.file("events.jsonl", more.as_bytes());
    ajatus.json(&["pipeline", "run", &give.display().to_string(), "--state", "g2"]);
    let output = ajatus.run(&["pipeline", "run", &sql, "--bounded", "--json"]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let letters = stdout(&ajatus.run(&["pipeline", "dead-letters", &sql, "--json"]));
    let mut codes: Vec<String> = letters.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["code"].as_str().expect("a code").to_owned()).collect();
    codes.sort_unstable();
    assert_eq!(codes, ["contribution.no_stake", "contribution.range", "contribution.verdict"], "{letters}");
}
