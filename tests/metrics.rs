//! The numbers of a pipeline that runs alone: served while it runs, right for what it did, and not counted again after a restart.

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use serde_json::Value;
use support::{Ajatus, signal, stderr};

/// Every number by its name and labels.
type Numbers = BTreeMap<String, f64>;

/// A run with `--metrics`.
struct Run {
    child: Child,
    address: String,
}

impl Run {
    fn start(ajatus: &Ajatus, args: &[&str]) -> Self {
        let mut child = ajatus.command(&[args, &["--metrics", "127.0.0.1:0", "--json"]].concat()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let place = lines.by_ref().map_while(Result::ok).find_map(|line| serde_json::from_str::<Value>(&line).ok()?["metrics"].as_str().map(str::to_owned));
        let address = place.expect("it says where").trim_start_matches("http://").trim_end_matches("/metrics").to_owned();
        // Read on, so that it is never stopped by a full pipe.
        std::thread::spawn(move || lines.count());
        Self { child, address }
    }

    fn get(&self, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.address).expect("it answers");
        write!(stream, "GET {path} HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n").expect("a request");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        (head.to_owned(), body.to_owned())
    }

    fn numbers(&self) -> Numbers {
        let (head, body) = self.get("/metrics");
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/plain"), "{head}");
        let lines = body.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
        lines.map(|(name, value)| (sorted(name), value.parse().expect("a number"))).collect()
    }

    /// Asks until a number is there; the test program's limit ends a wait for nothing.
    fn until(&self, name: &str, value: f64) -> Numbers {
        loop {
            let numbers = self.numbers();
            if numbers.get(name) == Some(&value) {
                return numbers;
            }
            std::thread::yield_now();
        }
    }

    fn stop(mut self) {
        signal(self.child.id(), "INT");
        self.child.wait().expect("it ends");
        assert!(TcpStream::connect(&self.address).is_err(), "it is served no longer than the run lasts");
    }
}

/// A name with its labels in order.
fn sorted(name: &str) -> String {
    let Some((name, labels)) = name.trim_end_matches('}').split_once('{') else { return name.to_owned() };
    let mut labels: Vec<&str> = labels.split(',').collect();
    labels.sort_unstable();
    format!("{name}{{{}}}", labels.join(","))
}

#[test]
fn the_numbers_of_a_run_are_what_it_did_and_a_restart_does_not_count_again() {
    let ajatus = Ajatus::new();
    let builtin = std::fs::read_to_string(support::root().join("kafka/topics.toml")).expect("the topics");
    ajatus.file("topics.toml", format!("{builtin}\n[[topic]]\nname = \"words\"\npartitions = 3\ncleanup = \"compact\"\n").as_bytes());
    let config = ajatus.file("ajatus.toml", b"[log]\ntopics = \"topics.toml\"\n").display().to_string();
    // Six records: one without a word, one that is divided by zero, three different words.
    ajatus.file("in.jsonl", b"{\"id\":1,\"word\":\"a\",\"n\":1}\n{\"id\":2,\"n\":1}\n{\"id\":3,\"word\":\"a\",\"n\":2}\n{\"id\":4,\"word\":\"b\",\"n\":0}\n{\"id\":5,\"word\":\"b\",\"n\":1}\n{\"id\":6,\"word\":\"c\",\"n\":1}\n");
    let give = ajatus.file("give.sql", b"create table i (id bigint not null, word text, n bigint) with (connector = 'file', type = 'source', path = 'in.jsonl');\n\
        create table words (id bigint primary key, word text, n bigint) with (connector = 'log', type = 'sink', topic = 'words');\n\
        insert into words select id, word, n from i;\n");
    let take = ajatus.file("take.sql", b"create table words (id bigint primary key, word text not null, n bigint) with (connector = 'log', type = 'source', topic = 'words', changelog = 'upsert');\n\
        create model minilm with (task = 'embedding', provider = 'candle', name = 'all-MiniLM-L6-v2');\n\
        create table sums (word text primary key, s bigint) with (connector = 'file', type = 'sink', path = 'sums.jsonl');\n\
        create table vectors (id bigint primary key, v vector(384)) with (connector = 'blackhole');\n\
        create view halves as select id, word, 6 / n as h from words;\n\
        insert into sums select word, cast(sum(h) as bigint) from halves group by word;\n\
        insert into vectors select id, embed(minilm, word) from words;\n");
    let (give, take) = (give.display().to_string(), take.display().to_string());
    ajatus.json(&["pipeline", "run", &give, "--config", &config]);
    // Without snapshots: a restart that takes up what its steps know asks nothing, not even the memo.
    let args = ["pipeline", "run", &take, "--config", &config, "--state", "state", "--snapshot-seconds", "0"];
    let run = Run::start(&ajatus, &args);
    run.until("pipeline_rows_out_total{pipeline=\"take\",sink=\"vectors\"}", 5.0);
    let numbers = run.until("pipeline_dead_letters{pipeline=\"take\"}", 2.0);
    let of = |numbers: &Numbers, name: &str| numbers.get(name).copied();
    let sum = |numbers: &Numbers, start: &str| numbers.iter().filter(|(name, _)| name.starts_with(start)).map(|(_, value)| value).sum::<f64>();
    assert_eq!(of(&numbers, "pipeline_rows_in_total{pipeline=\"take\",source=\"words\"}"), Some(6.0), "{numbers:#?}");
    assert_eq!(of(&numbers, "pipeline_rows_out_total{pipeline=\"take\",sink=\"sums\"}"), Some(3.0));
    assert_eq!(of(&numbers, "pipeline_rows_held{pipeline=\"take\",step=\"sums\"}"), Some(3.0));
    assert_eq!(of(&numbers, "pipeline_rows_held{pipeline=\"take\",step=\"source words\"}"), Some(5.0), "one for each key that fits");
    let groups: Vec<f64> = numbers.iter().filter(|(name, _)| name.starts_with("pipeline_rows_held") && name.contains("-group\"")).map(|(_, rows)| *rows).collect();
    assert_eq!(groups, [3.0], "one for each word: {numbers:#?}");
    assert_eq!(of(&numbers, "pipeline_errors_total{code=\"decode.null\",pipeline=\"take\",step=\"source words\"}"), Some(1.0));
    let divided = numbers.iter().find(|(name, _)| name.starts_with("pipeline_errors_total{code=\"expression.divide_by_zero\"")).expect("counted");
    assert!(divided.0.contains("-map\"") && *divided.1 == 1.0, "{divided:?}");
    assert_eq!(of(&numbers, "pipeline_epoch_lag{pipeline=\"take\"}"), Some(0.0));
    assert_eq!(of(&numbers, "pipeline_reader_lag_records{pipeline=\"take\"}"), Some(0.0));
    assert_eq!(of(&numbers, "pipeline_queue_depth{pipeline=\"take\"}"), Some(0.0));
    // Three words for five rows: each was asked once.
    assert_eq!(sum(&numbers, "pipeline_batch_rows_sum"), 3.0, "{numbers:#?}");
    assert!(sum(&numbers, "pipeline_batch_seconds_sum") > 0.0);
    assert_eq!(sum(&numbers, "memo_hits_total"), 0.0);
    assert!(run.get("/").0.starts_with("HTTP/1.1 404"));
    run.stop();
    let run = Run::start(&ajatus, &args);
    let numbers = run.until("pipeline_dead_letters{pipeline=\"take\"}", 2.0);
    for counted in ["pipeline_rows_in_total", "pipeline_rows_out_total{pipeline=\"take\",sink=\"sums\"}", "pipeline_errors_total", "pipeline_batch_rows_sum"] {
        assert_eq!(sum(&numbers, counted), 0.0, "{counted}: {numbers:#?}");
    }
    assert_eq!(sum(&numbers, "memo_hits_total"), 3.0, "the memo answers for the model");
    assert_eq!(of(&numbers, "pipeline_rows_held{pipeline=\"take\",step=\"source words\"}"), Some(5.0), "what is held is held again");
    run.stop();
}

#[test]
fn an_address_that_others_reach_or_that_is_taken_is_refused() {
    let ajatus = Ajatus::new();
    ajatus.file("in.jsonl", b"{\"k\":\"a\"}\n");
    let sql = ajatus.file("one.sql", b"create table t (k text) with (connector = 'file', type = 'source', path = 'in.jsonl');\ncreate table o (k text) with (connector = 'blackhole');\ninsert into o select k from t;\n");
    let sql = sql.display().to_string();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().map(|address| (taken, address.to_string())).expect("an address");
    for (address, code, said) in [("0.0.0.0:0", 2, "open to other machines"), (taken.1.as_str(), 4, "cannot be listened on"), ("here", 2, "invalid")] {
        let output = ajatus.run(&["pipeline", "run", &sql, "--metrics", address]);
        assert_eq!(output.status.code(), Some(code), "{address}: {}", stderr(&output));
        assert!(stderr(&output).contains(said), "{address}: {}", stderr(&output));
    }
}
