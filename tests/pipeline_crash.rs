//! Pipelines that die: killed at each numbered point of the commit order, at fifty random moments, and by a damaged snapshot, a run goes on
//! with another number of workers, and its sinks are those of one batch over the same offsets.

mod support;

use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Stdio;

use ajatus_pipelines::stream::POINTS;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use support::{Ajatus, cluster, cluster_of, stderr};

/// A join, two groups, a window, a top list and a distinct, into three files and a printed sink that is told each epoch.
const SHOP: &str = r"
create table orders (id bigint not null, customer text not null, item text, amount decimal(12, 2), at timestamp, diff bigint)
  with (connector = 'file', type = 'source', path = 'orders.jsonl', changelog = 'signed', diff_column = 'diff', event_time = 'at');
create table customers (name text not null, country text) with (connector = 'file', type = 'source', path = 'customers.jsonl');
create table totals (customer text primary key, country text, n bigint, total decimal(22, 2), last text)
  with (connector = 'file', type = 'sink', path = 'totals.jsonl');
create table per_minute (start timestamp primary key, n bigint)
  with (connector = 'file', type = 'sink', path = 'per_minute.csv', format = 'csv');
create table best (customer text, id bigint, amount decimal(12, 2), primary key (customer, id)) with (connector = 'file', type = 'sink', path = 'best.jsonl');
create table items (n bigint primary key) with (connector = 'stdout', type = 'sink');
create view spent as
  select customer, count(*) as n, sum(amount) as total, last_value(item order by id) as last from orders group by customer;
create view ranked as
  select customer, id, amount from (select customer, id, amount, row_number() over (partition by customer order by amount desc, id) as place from orders) as o where place <= 3;
insert into totals select s.customer, c.country, s.n, s.total, s.last from spent s left join customers c on s.customer = c.name;
insert into per_minute select w.start, n from (select tumble(interval '1 minute') as w, count(*) as n from orders group by w) as x where w.start is not null;
insert into best select customer, id, amount from ranked;
insert into items select count(*) from (select distinct item, id from orders) as d;
";
const FILES: [&str; 3] = ["totals.jsonl", "per_minute.csv", "best.jsonl"];

/// Orders of which every fifth is withdrawn again, and customers.
fn orders(rows: u64) -> (String, String) {
    let mut text = String::new();
    let line = |id: u64, diff: i64| {
        let cents = id * 37 % 1_000;
        let at = format!("2026-03-01T{:02}:{:02}:{:02}Z", id / 3_600 % 24, id / 60 % 60, id % 60);
        json!({ "id": id, "customer": format!("c{}", id * 7 % 23), "item": format!("item {}", id % 11), "amount": format!("{}.{:02}", cents / 100, cents % 100), "at": at, "diff": diff })
            .to_string()
            + "\n"
    };
    for id in 0..rows {
        text.push_str(&line(id, 1));
        if id % 5 == 4 {
            text.push_str(&line(id - 2, -1));
        }
        if id % 97 == 0 {
            text.push_str("{\"id\": \"not a number\"}\n");
        }
    }
    let customers = (0..20).map(|at| json!({ "name": format!("c{at}"), "country": if at % 2 == 0 { Some("FI") } else { None } }).to_string() + "\n").collect();
    (text, customers)
}

/// A folder of its own with the pipeline and its sources.
fn shop(rows: u64) -> (Ajatus, PathBuf) {
    let ajatus = Ajatus::new();
    let (orders, customers) = orders(rows);
    ajatus.file("orders.jsonl", orders.as_bytes());
    ajatus.file("customers.jsonl", customers.as_bytes());
    let file = ajatus.file("shop.sql", SHOP.as_bytes());
    (ajatus, file)
}

fn contents(ajatus: &Ajatus, names: &[&str]) -> Vec<String> {
    let folder = ajatus.data().parent().expect("a folder").to_path_buf();
    names.iter().map(|name| std::fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))).collect()
}

/// The dead letters without their order and their ledger.
fn letters(ajatus: &Ajatus, file: &str, state: &str) -> Vec<String> {
    let folder = ajatus.data().parent().expect("a folder").join(state).join("dead-letters.jsonl");
    let text = std::fs::read_to_string(folder).unwrap_or_else(|error| panic!("{file}: {error}"));
    let whole = text.lines().map(|line| {
        let mut letter: Value = serde_json::from_str(line).expect("JSON");
        // Each folder has a ledger of its own.
        letter.as_object_mut().expect("an object").remove("ledger");
        letter.to_string()
    });
    let mut lines: Vec<String> = whole.collect();
    lines.sort();
    lines
}

/// Runs to the end; bad records make that exit code 3.
fn finish(ajatus: &Ajatus, args: &[&str]) -> Value {
    let output = ajatus.run(&[args, &["--json"]].concat());
    assert!(matches!(output.status.code(), Some(0 | 3)), "{}{}", String::from_utf8_lossy(&output.stdout), stderr(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().expect("a report")).expect("JSON")
}

/// What one batch writes and refuses.
fn batch(rows: u64) -> (Vec<String>, Vec<String>) {
    let (ajatus, file) = shop(rows);
    finish(&ajatus, &["pipeline", "run", &file.display().to_string(), "--epoch-rows", "1000000", "--state", "state"]);
    (contents(&ajatus, &FILES), letters(&ajatus, "batch", "state"))
}

#[test]
fn killed_at_each_point_of_the_commit_order_it_ends_as_one_batch_does() {
    // Points of models and databases have a test of their own below.
    let rows = 3_000;
    let truth = batch(rows);
    let mut random = SmallRng::seed_from_u64(5);
    for point in (1..=POINTS).filter(|point| ![6, 7, 8, 11, 20, 21].contains(point)) {
        // Files are written at the end only, and a snapshot has few parts: the later times are for what every epoch passes.
        let times = if (14..=15).contains(&point) { vec![1, 2] } else if point >= 16 { vec![1, 3] } else { vec![1, random.random_range(3..40)] };
        for time in times {
            let (ajatus, file) = shop(rows);
            let file = file.display().to_string();
            let at = format!("{point}:{time}");
            let workers = if time == 1 { ["1", "2"] } else { ["2", "1"] };
            let run = ["pipeline", "run", &file, "--epoch-rows", "50", "--snapshot-epochs", "7", "--state", "state"];
            let died = ajatus.command(&[&run[..], &["--workers", workers[0], "--crash-at", &at]].concat()).stdout(Stdio::null()).stderr(Stdio::null()).status().expect("it ran");
            assert_eq!(died.signal(), Some(9), "point {at} is passed");
            let report = finish(&ajatus, &[&run[..], &["--workers", workers[1]]].concat());
            assert_eq!(contents(&ajatus, &FILES), truth.0, "killed at {at}: {report}");
            assert_eq!(letters(&ajatus, &at, "state"), truth.1, "killed at {at}: {report}");
        }
    }
}

#[test]
fn killed_fifty_times_at_random_it_ends_as_one_batch_does() {
    let rows = 60_000;
    let truth = batch(rows);
    let (ajatus, file) = shop(rows);
    let file = file.display().to_string();
    let folder = ajatus.data().parent().expect("a folder").to_path_buf();
    let (ledger, snapshots) = (folder.join("state/ledger"), folder.join("state/snapshots"));
    // The ledger is shortened now and then, so its size alone says little: the last epoch does.
    let epoch = || {
        let text = std::fs::read_to_string(&ledger).unwrap_or_default();
        let last = text.lines().rev().find_map(|line| serde_json::from_str::<Value>(line.get(17..)?).ok());
        last.and_then(|row| row["epoch"].as_u64().or(row["base"].as_u64())).unwrap_or(0)
    };
    let run = ["pipeline", "run", &file, "--epoch-rows", "20", "--snapshot-epochs", "60", "--state", "state"];
    let mut random = SmallRng::seed_from_u64(7);
    let mut killed = 0;
    for round in 0..50 {
        let workers = if round % 3 == 0 { "2" } else { "1" };
        let until = epoch() + random.random_range(1..110);
        let mut child = ajatus.command(&[&run[..], &["--workers", workers]].concat()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
        while epoch() < until && matches!(child.try_wait(), Ok(None)) {
            std::thread::yield_now();
        }
        if matches!(child.try_wait(), Ok(None)) {
            child.kill().expect("SIGKILL");
            killed += 1;
        }
        child.wait().expect("it ended");
    }
    assert!(killed >= 40, "{killed} runs were killed: make the file longer");
    assert!(snapshots.read_dir().is_ok_and(|mut found| found.next().is_some()), "snapshots were made");
    let report = finish(&ajatus, &[&run[..], &["--workers", "3"]].concat());
    assert!(report["snapshot"].as_u64().expect("an epoch") > 0, "{report}");
    assert_eq!(contents(&ajatus, &FILES), truth.0);
    assert_eq!(letters(&ajatus, "random", "state"), truth.1);
}

#[test]
fn killed_while_its_ledger_is_shortened_it_goes_on_and_says_which_epochs_it_can_be_asked_for() {
    let rows = 20_000;
    let truth = batch(rows);
    let (ajatus, file) = shop(rows);
    let file = file.display().to_string();
    let run = ["pipeline", "run", &file, "--epoch-rows", "8", "--snapshot-epochs", "250", "--state", "state"];
    let died = ajatus.command(&[&run[..], &["--crash-at", "20:1"]].concat()).stdout(Stdio::null()).stderr(Stdio::null()).status().expect("it ran");
    assert_eq!(died.signal(), Some(9), "the ledger was long enough to be shortened");
    let report = finish(&ajatus, &run);
    assert_eq!(contents(&ajatus, &FILES), truth.0, "{report}");
    let lines = std::fs::read_to_string(ajatus.data().parent().expect("a folder").join("state/ledger")).expect("the ledger").lines().count();
    assert!(lines < 2_600, "{lines} lines of {report}");
    // Totals are kept by a group; of orders alone nothing is kept, and their first epochs are gone.
    let answer = ajatus.run(&["pipeline", "query", &file, "spent", "--state", "state", "--where", "customer=c3", "--json"]);
    assert!(answer.status.success(), "{}", stderr(&answer));
    let row: Value = serde_json::from_slice(&answer.stdout).expect("one row");
    let last = truth.0[0].lines().find(|line| line.contains("\"customer\":\"c3\"")).expect("a row");
    assert_eq!(row["total"], serde_json::from_str::<Value>(last).expect("JSON")["total"]);
    let refused = ajatus.run(&["pipeline", "query", &file, "spent", "--state", "state", "--as-of", "3"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("epochs") && stderr(&refused).contains("can"), "{}", stderr(&refused));
}

#[test]
fn goes_on_from_a_snapshot_without_the_records_before_it_and_without_a_damaged_one() {
    let rows = 3_000;
    let truth = batch(rows);
    let (ajatus, file) = shop(rows);
    let folder = ajatus.data().parent().expect("a folder").to_path_buf();
    let file = file.display().to_string();
    let run = ["pipeline", "run", &file, "--epoch-rows", "50", "--snapshot-epochs", "7", "--state", "state"];
    let died = ajatus.command(&[&run[..], &["--crash-at", "13:40"]].concat()).stdout(Stdio::null()).stderr(Stdio::null()).status().expect("it ran");
    assert_eq!(died.signal(), Some(9));
    // What the snapshot has is not read again: the first lines may be anything of the same length.
    let text = std::fs::read_to_string(folder.join("orders.jsonl")).expect("the file");
    let spoilt: String = text.lines().enumerate().map(|(at, line)| if at < 500 { "#".repeat(line.len()) + "\n" } else { line.to_owned() + "\n" }).collect();
    ajatus.file("orders.jsonl", spoilt.as_bytes());
    let mut folders: Vec<PathBuf> = folder.join("state/snapshots").read_dir().expect("snapshots").map(|entry| entry.expect("a folder").path()).collect();
    // One may have been under way.
    folders.retain(|folder| folder.join("manifest.json").exists());
    folders.sort();
    assert_eq!(folders.len(), 2);
    // The newest is damaged; the one before it serves.
    let part = folders[1].join("worker-000");
    let mut bytes = std::fs::read(&part).expect("a part");
    bytes[20] ^= 1;
    std::fs::write(&part, bytes).expect("a write");
    let report = finish(&ajatus, &run);
    let before: u64 = folders[0].file_name().expect("a name").to_string_lossy().parse().expect("an epoch");
    assert_eq!(report["snapshot"], before, "{report}");
    assert_eq!(contents(&ajatus, &FILES), truth.0);
}

#[test]
fn a_supervisor_starts_it_again_after_a_death_and_after_a_workers_panic() {
    let rows = 3_000;
    let truth = batch(rows);
    for (at, signal) in [("13:20", "signal: 9"), ("21:40", "signal: 6")] {
        let (ajatus, file) = shop(rows);
        let file = file.display().to_string();
        let output = ajatus.run(&["pipeline", "run", &file, "--epoch-rows", "50", "--snapshot-epochs", "7", "--state", "state", "--supervise", "--workers", "2", "--crash-at", at]);
        assert_eq!(output.status.code(), Some(3), "bad records make it 3: {}", stderr(&output));
        assert!(stderr(&output).contains(signal) && stderr(&output).contains("started again"), "{}", stderr(&output));
        assert_eq!(contents(&ajatus, &FILES), truth.0, "died at {at}");
    }
    // What is wrong with the command line is not tried again.
    let (ajatus, _) = shop(1);
    let output = ajatus.run(&["pipeline", "run", "nothing.sql", "--supervise"]);
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    assert!(!stderr(&output).contains("started again"), "{}", stderr(&output));
}

#[test]
fn a_cluster_loses_a_process_ends_and_goes_on_with_another_number_of_processes() {
    let rows = 30_000;
    let truth = batch(rows);
    let (ajatus, file) = shop(rows);
    let file = file.display().to_string();
    let ledger = ajatus.data().parent().expect("a folder").join("state/ledger");
    let epochs = || std::fs::read_to_string(&ledger).map_or(0, |text| text.lines().count());
    let run = ["pipeline", "run", &file, "--epoch-rows", "50", "--snapshot-epochs", "40", "--state", "state", "--workers", "2"];
    for until in [90, 220] {
        let mut processes = cluster(&ajatus, &run, 2);
        while epochs() < until && matches!(processes[0].try_wait(), Ok(None)) {
            std::thread::yield_now();
        }
        assert!(matches!(processes[0].try_wait(), Ok(None)), "it was not through yet");
        processes[1].kill().expect("SIGKILL");
        for process in &mut processes {
            assert!(!process.wait().expect("it ends, because it has lost another").success());
        }
    }
    let mut processes = cluster(&ajatus, &run, 3);
    let ended: Vec<Option<i32>> = processes.iter_mut().map(|process| process.wait().expect("it ends").code()).collect();
    assert_eq!(ended, [Some(3), Some(0), Some(0)], "the first one has the bad records");
    assert_eq!(contents(&ajatus, &FILES), truth.0);
    assert_eq!(letters(&ajatus, "cluster", "state"), truth.1);
    // And alone again, from a snapshot of six threads.
    let alone = finish(&ajatus, &run);
    assert!(alone["snapshot"].as_u64().expect("an epoch") > 0 && alone["rows"] == 0, "{alone}");
    assert_eq!(contents(&ajatus, &FILES), truth.0);
}

#[test]
fn a_cluster_ends_when_one_of_its_processes_cannot_begin() {
    let (ajatus, file) = shop(3_000);
    let file = file.display().to_string();
    let run = ["pipeline", "run", &file, "--epoch-rows", "50", "--snapshot-epochs", "7", "--state", "state"];
    finish(&ajatus, &run);
    // The second process sees another run folder, so it cannot take up its share of the snapshot.
    let elsewhere = run.map(|word| if word == "state" { "elsewhere" } else { word });
    let mut processes = cluster_of(&ajatus, &[&run, &elsewhere]);
    for process in &mut processes {
        assert!(!process.wait().expect("it ends").success());
    }
    // Nothing is lost.
    assert_eq!(finish(&ajatus, &run)["rows"], 0);
}

#[test]
fn killed_around_a_model_and_a_database_it_asks_once_and_writes_once() {
    // The database is the platform's: `activity_daily` and the pipeline that keeps it.
    let sql = support::root().join("pipelines/activity.sql").display().to_string();
    let talk: String = (0..60)
        .map(|turn| json!({ "conversation": "c", "turn": format!("t{turn}"), "role": "user", "occurred_at": format!("2026-03-{:02}T08:00:00Z", turn % 20 + 1), "text": "Hello." }).to_string() + "\n")
        .collect();
    let ajatus = Ajatus::new();
    let file = ajatus.file("talk.jsonl", talk.as_bytes());
    ajatus.json(&["import", file.to_str().expect("a path"), "--user", "aino", "--format", "jsonl"]);
    let run = ["pipeline", "run", &sql, "--bounded", "--epoch-rows", "20", "--snapshot-epochs", "1"];
    for at in ["11:1", "11:2", "13:1"] {
        let died = ajatus.command(&[&run[..], &["--crash-at", at]].concat()).stdout(Stdio::null()).stderr(Stdio::null()).status().expect("it ran");
        assert_eq!(died.signal(), Some(9), "point {at} is passed");
    }
    let last = finish(&ajatus, &[&run[..], &["--workers", "2"]].concat());
    let repaired = finish(&ajatus, &["pipeline", "repair", &sql, "activity_daily", "--dry-run"]);
    assert_eq!((&repaired["missing"], &repaired["extra"], &repaired["rows"]), (&json!(0), &json!(0), &json!(20)), "{last}");

    let notes = ajatus.file(
        "notes.sql",
        b"create table notes (id bigint not null, text text) with (connector = 'file', type = 'source', path = 'notes.jsonl');\n\
          create model minilm with (task = 'embedding', provider = 'candle', name = 'all-MiniLM-L6-v2', max_batch_rows = 4);\n\
          create table vectors (id bigint primary key, vector vector(384)) with (connector = 'file', type = 'sink', path = 'vectors.jsonl');\n\
          insert into vectors select id, embed(minilm, text) from notes;\n",
    );
    let lines: String = (0..24).map(|id| json!({ "id": id, "text": format!("Note number {}.", id % 17) }).to_string() + "\n").collect();
    ajatus.file("notes.jsonl", lines.as_bytes());
    let notes = notes.display().to_string();
    finish(&ajatus, &["pipeline", "run", &notes, "--state", "whole"]);
    let truth = contents(&ajatus, &["vectors.jsonl"]);
    let run = ["pipeline", "run", &notes, "--epoch-rows", "6", "--snapshot-epochs", "1", "--state", "state"];
    for at in ["6:1", "7:1", "8:2", "6:2"] {
        let died = ajatus.command(&[&run[..], &["--crash-at", at]].concat()).stdout(Stdio::null()).stderr(Stdio::null()).status().expect("it ran");
        assert_eq!(died.signal(), Some(9), "point {at} is passed");
    }
    finish(&ajatus, &[&run[..], &["--workers", "2"]].concat());
    assert_eq!(contents(&ajatus, &["vectors.jsonl"]), truth);
    let folder = ajatus.data().parent().expect("a folder").join("state/memo");
    assert_eq!(std::fs::read_to_string(folder).expect("the memo").lines().count(), 17, "one answer for each text, however often it was asked for");
}
