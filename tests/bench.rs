//! `ajatus bench embed|generate`, with the real small models: a few seconds of each.

mod support;

use std::io::{BufRead as _, BufReader};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use support::{Ajatus, stderr, stdout};

/// One measurement at a time: four of them would leave each other no processor.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads a page as XML and says, a line each: the numbers of the points drawn, the ids of the table's rows, the elements of SVG.
const READER: &str = r#"
import sys, xml.etree.ElementTree as tree
page = tree.parse(sys.argv[1]).getroot()
print(" ".join(sorted(e.get("data-point") for e in page.iter() if e.get("data-point"))))
print(" ".join(sorted(e.get("id") for e in page.iter("tr") if e.get("id"))))
print(len(list(page.iter("svg"))), "//" in tree.tostring(page, "unicode").replace("://", ""), "src=" in tree.tostring(page, "unicode"))
names = ["".join(e.itertext()) for e in page.iter("text") if e.get("class") == "name"]
print("|".join(names))
"#;

/// What [`READER`] says of a page.
fn page(path: &std::path::Path) -> Vec<String> {
    let read = Command::new("python3").args(["-c", READER]).arg(path).output().expect("python3 runs");
    assert!(read.status.success(), "the report is no XML: {}", stderr(&read));
    stdout(&read).lines().map(str::to_owned).collect()
}

/// Every point of a document stands in the page: in the table once, in each of the three plots.
fn holds_every_point(report: &Value, path: &std::path::Path) {
    let points = report["points"].as_array().expect("points").len();
    let page = page(path);
    let mut drawn: Vec<String> = (0..points).flat_map(|at| std::iter::repeat_n(at.to_string(), 3)).collect();
    drawn.sort();
    assert_eq!(page[0], drawn.join(" "));
    let mut rows: Vec<String> = (0..points).map(|at| format!("point-{at}")).collect();
    rows.sort();
    assert_eq!(page[1], rows.join(" "));
    assert_eq!(page[2], "3 False False", "three plots, and nothing is fetched from elsewhere");
    let names: Vec<&str> = page[3].split('|').collect();
    assert!(names.len() == 6 && names.iter().all(|name| name.contains(", ") || name.contains("at once")), "axes have names and units: {names:?}");
}

#[test]
fn embed_measures_every_setting_and_writes_a_report_a_line_and_keys() {
    let _turn = alone();
    let ajatus = Ajatus::new();
    let out = ajatus.data().with_file_name("report");
    let out_text = out.display().to_string();
    let args = [
        "bench", "embed", "--batch-tokens", "512,2048", "--in-flight", "1", "--delay-ms", "0,2", "--threads", "1", "--callers", "4", "--seconds", "0.6",
        "--warm-up-seconds", "0.1", "--p99-ms", "60000", "--out", &out_text,
    ];
    let report = ajatus.json(&args);
    let points = report["points"].as_array().expect("points");
    assert_eq!(points.len(), 2 * 2 * 2, "tokens, delays, and both kinds of load");
    let mean = report["texts"]["tokens"]["mean"].as_f64().expect("a mean");
    assert!((44.0..=50.0).contains(&mean), "the built-in texts have about 47 tokens as the model counts: {mean}");
    let most = report["texts"]["tokens"]["max"].as_f64().expect("a number");
    assert!(most <= 240.0, "{most}");
    let peak = report["matrix_peak"][0]["gflop_per_s"].as_f64().expect("a peak");
    for point in points {
        let number = |name: &str| point[name].as_f64().unwrap_or_else(|| panic!("{name}: {point}"));
        assert_eq!(point["failed"], 0, "{point}");
        assert!(number("texts_per_s") > 1.0 && number("batches") >= 1.0, "{point}");
        assert!((0.0..=1.0).contains(&number("fill")) && (0.0..1.0).contains(&number("padding")), "{point}");
        assert!((number("peak_share") - number("gflop_per_s") / peak).abs() < 1e-9);
        // A token of this model is 21.2 MFLOP and more; attention adds at most a third at these lengths.
        let per_token = number("gflop_per_s") * 1e9 / number("tokens_per_s");
        assert!((21.2e6..28.5e6).contains(&per_token), "{per_token}");
        let latency = &point["latency_ms"];
        assert!(latency["p50"].as_f64() <= latency["p99"].as_f64() && latency["p99"].as_f64() <= latency["max"].as_f64(), "{point}");
    }
    assert_eq!(report["best"]["within_bound"], true, "{report}");
    let best = usize::try_from(report["best"]["point"].as_u64().expect("a point")).expect("small");
    let rate = |point: &Value| point["load"]["offered_per_s"].as_f64().or(point["texts_per_s"].as_f64()).expect("a rate");
    let most = points.iter().filter(|point| point["kept_up"] == true).map(rate).fold(0.0, f64::max);
    assert!(rate(&points[best]) >= most * 0.99, "the best is the fastest");
    holds_every_point(&report, &out.join("embed.html"));

    let sql = std::fs::read_to_string(out.join("embed.sql")).expect("the line");
    assert_eq!(report["best"]["sql"], Value::String(sql.clone()));
    let file = ajatus.file("uses.sql", format!(
        "{sql}create table i (id bigint primary key, t text) with (connector = 'file', type = 'source', path = 'i.jsonl', changelog = 'upsert');\n\
         create table o (id bigint primary key, v vector(384)) with (connector = 'file', type = 'sink', path = 'o.jsonl');\n\
         insert into o select id, embed(all_minilm_l6_v2, t) from i;\n"
    ).as_bytes());
    let checked = ajatus.run(&["pipeline", "check", &file.display().to_string()]);
    assert!(checked.status.success(), "{}{}", stdout(&checked), stderr(&checked));
    let toml = std::fs::read_to_string(out.join("embed.toml")).expect("the keys");
    let config = ajatus.file("best.toml", toml.as_bytes()).display().to_string();
    let listed = ajatus.run(&["topics", "apply", "--dry-run", "--config", &config]);
    assert!(listed.status.success(), "the keys are taken: {}", stderr(&listed));
}

#[test]
fn embed_takes_the_users_texts_and_rates_and_names_the_line_of_a_bad_one() {
    let _turn = alone();
    let ajatus = Ajatus::new();
    let good = ajatus.file("good.jsonl", "\"Asun Tampereella.\"\n{\"text\": \"short\"}\n".as_bytes()).display().to_string();
    let out = ajatus.data().with_file_name("report").display().to_string();
    let quick = ["bench", "embed", "--batch-tokens", "512", "--in-flight", "1", "--delay-ms", "0", "--seconds", "0.3", "--warm-up-seconds", "0.1", "--out", &out];
    let report = ajatus.json(&[&quick[..], &["--texts", &good, "--rate", "20,40", "--callers", "2", "--p99-ms", "0.1"]].concat());
    assert_eq!(report["texts"]["count"], 2);
    let loads: Vec<&Value> = report["points"].as_array().expect("points").iter().map(|point| &point["load"]).collect();
    assert_eq!(loads, [&serde_json::json!({ "callers": 2 }), &serde_json::json!({ "offered_per_s": 20.0 }), &serde_json::json!({ "offered_per_s": 40.0 })]);
    assert_eq!(report["best"]["within_bound"], false, "a tenth of a millisecond is not to be had: {report}");
    let bad = ajatus.file("bad.jsonl", b"\"fine\"\n{\"txt\": 3}\n").display().to_string();
    let refused = ajatus.run(&[&quick[..], &["--texts", &bad]].concat());
    assert_eq!(refused.status.code(), Some(5), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("bad.jsonl: line 2 is neither a JSON string nor an object"), "{}", stderr(&refused));
    for (args, said) in [(["--batch-tokens", "100"], "512"), (["--rate", "0"], "between"), (["--seconds", "nan"], "between")] {
        let refused = ajatus.run(&[&["bench", "embed"][..], &args].concat());
        assert_eq!(refused.status.code(), Some(2), "{args:?}: {}", stderr(&refused));
        assert!(stderr(&refused).contains(said), "{args:?}: {}", stderr(&refused));
    }
}

#[test]
fn an_interrupt_keeps_what_was_measured() {
    let _turn = alone();
    let ajatus = Ajatus::new();
    let out = ajatus.data().with_file_name("report");
    let folder = out.display().to_string();
    let mut child = ajatus
        .command(&["bench", "embed", "--batch-tokens", "512,1024,2048,4096", "--in-flight", "1,2,3,4", "--seconds", "0.2", "--warm-up-seconds", "0.1", "--json", "--out", &folder])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the program starts");
    // The first lines of progress say that some measurements are there.
    let mut said = BufReader::new(child.stderr.take().expect("piped")).lines();
    said.find(|line| line.as_ref().is_ok_and(|line| line.contains("\"progress\""))).expect("progress").expect("text");
    support::signal(child.id(), "INT");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130));
    let report: Value = serde_json::from_slice(&output.stdout).expect("a document");
    let points = report["points"].as_array().expect("points").len();
    assert!((1..4 * 4 * 2 * 2).contains(&points), "{points}");
    assert_eq!(report["interrupted"], true);
    holds_every_point(&report, &out.join("embed.html"));
}

#[test]
fn generate_measures_tokens_a_second_and_both_waits() {
    let _turn = alone();
    let ajatus = Ajatus::new();
    let out = ajatus.data().with_file_name("report");
    let texts = ajatus.file("questions.jsonl", b"\"Say hello.\"\n\"Name a colour.\"\n").display().to_string();
    let args = [
        "bench", "generate", "--concurrency", "1,2", "--max-tokens", "4,8", "--seconds", "0.3", "--texts", &texts, "--p99-ms", "600000", "--out",
        &out.display().to_string(),
    ];
    let report = ajatus.json(&args);
    let points = report["points"].as_array().expect("points");
    assert_eq!(points.len(), 4);
    for point in points {
        assert_eq!(point["failed"], 0, "{point}");
        let number = |of: &Value| of.as_f64().unwrap_or_else(|| panic!("{point}"));
        let (answers, most) = (number(&point["answers"]), number(&point["max_tokens"]));
        assert!(answers >= number(&point["concurrency"]) && number(&point["tokens_per_s"]) > 0.0, "{point}");
        assert!(number(&point["first_token_ms"]["p99"]) > 0.0 && number(&point["first_token_ms"]["p50"]) <= number(&point["first_token_ms"]["p99"]), "{point}");
        // Two operations for each of 134.5 million numbers and each token.
        let tokens = number(&point["tokens_per_s"]) + number(&point["prompt_tokens_per_s"]);
        assert!((number(&point["gflop_per_s"]) / tokens - 0.269_030).abs() < 1e-4, "{point}");
        assert!(number(&point["peak_share"]) > 0.0, "{point}");
        assert!(most < 8.0 || number(&point["between_tokens_ms"]["p50"]) > 0.0, "{point}");
    }
    let best = usize::try_from(report["best"]["point"].as_u64().expect("a point")).expect("small");
    let sql = std::fs::read_to_string(out.join("generate.sql")).expect("the line");
    assert!(sql.contains(&format!("max_tokens = {}", points[best]["max_tokens"])), "{sql}");
    holds_every_point(&report, &out.join("generate.html"));
}
