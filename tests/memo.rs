//! `ajatus memo stats|gc`, by the real program: alone, and through a running companion.

mod support;

use serde_json::{Value, json};
use support::{Ajatus, conversation, stderr, stdout};

#[test]
fn says_what_is_recorded_forgets_only_what_nobody_needs_and_a_restart_asks_no_model() {
    let ajatus = Ajatus::new();
    let empty = ajatus.json(&["memo", "stats"]);
    assert_eq!(empty["groups"], json!([]), "{empty}");
    let file = conversation("en.locomo.json");
    let import = ["import", file.to_str().expect("a path"), "--user", "aino", "--format", "locomo"];
    let turns = ajatus.json(&import)["turns"].as_u64().expect("a number");
    let stats = ajatus.json(&["memo", "stats"]);
    let group = &stats["groups"][0];
    assert_eq!(stats["groups"].as_array().map(Vec::len), Some(1), "{stats}");
    assert_eq!((&group["model"], &group["prompt"]), (&json!("all-MiniLM-L6-v2@8087e9bf97c265f8"), &json!("-")));
    let entries = group["entries"].as_u64().expect("a number");
    assert!(entries > 50 && entries <= turns && group["live"] == group["entries"], "{stats}");
    // A vector of 384 components, sealed, in base64: more than 2 kB.
    assert!(group["bytes"].as_u64().expect("a number") > entries * 2_000, "{stats}");
    assert!(group["oldest"].as_str() <= group["newest"].as_str(), "{stats}");

    let dry = ajatus.json(&["memo", "gc", "--dry-run"]);
    assert_eq!((&dry["unneeded"]["entries"], &dry["erased"], &dry["dry_run"]), (&json!(0), &json!(0), &json!(true)), "{dry}");
    assert_eq!(ajatus.json(&["memo", "gc"])["erased"], 0);

    // Through a running companion; it found every answer in the memo when it started, and asked the model for none.
    let up = ajatus.up();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    assert_eq!(ajatus.json(&["memo", "gc"])["erased"], 0);
    let again = ajatus.json(&["memo", "stats"]);
    assert_eq!(again["groups"], stats["groups"]);
    let metrics = runtime.block_on(async { reqwest::get(format!("{}/metrics", up.address)).await.expect("an answer").text().await.expect("text") });
    let number = |name: &str| metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
    #[expect(clippy::cast_precision_loss, reason = "a small count")]
    let all = entries as f64;
    assert_eq!(number("memo_hits_total "), Some(all), "{metrics}");
    assert_eq!(number("inference_batch_rows_count "), None, "no batch was made: {metrics}");
    let text = ajatus.run(&["memo", "stats"]);
    assert!(stdout(&text).contains("every answer is needed"), "{}{}", stdout(&text), stderr(&text));
    assert!(up.stop().success());
}

#[test]
fn counts_the_memos_of_sql_pipelines_beside_it() {
    let ajatus = Ajatus::new();
    ajatus.file("in.jsonl", b"{\"id\": 1, \"t\": \"hei\"}\n{\"id\": 2, \"t\": \"moi\"}\n{\"id\": 3, \"t\": \"hei\"}\n");
    let sql = ajatus.file(
        "vectors.sql",
        b"create model m with (task = 'embedding', provider = 'candle', name = 'all-MiniLM-L6-v2', dimensions = 384);\n\
          create table i (id bigint primary key, t text) with (connector = 'file', type = 'source', path = 'in.jsonl', changelog = 'upsert');\n\
          create table o (id bigint primary key, v vector(384)) with (connector = 'file', type = 'sink', path = 'out.jsonl');\n\
          insert into o select id, embed(m, t) from i;\n",
    );
    ajatus.json(&["pipeline", "run", &sql.display().to_string()]);
    let stats = ajatus.json(&["memo", "stats"]);
    let run: &Value = &stats["runs"][0];
    assert_eq!((&run["name"], &run["answers"], &run["refusals"]), (&json!("vectors"), &json!(2), &json!(0)), "{stats}");
    assert!(run["bytes"].as_u64().is_some_and(|bytes| bytes > 2_000), "{stats}");
}
