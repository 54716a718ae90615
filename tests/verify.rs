//! Three stores that hold the same: after an import, after a kill, after each kind of damage; a forgetting reaches the columnar copy.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ajatus_events::{InteractionId, UserId};
use ajatus_lance::{At, Erasure, Memories, MemoriesDataset, MemoriesSpec, MemoryRow};
use ajatus_memory::testing::server_binaries;
use serde_json::{Value, json};
use support::{Ajatus, stderr, stdout};

const DIMENSION: usize = 384;

/// Lines of an import: what is said about the person, then `count` turns about jars.
fn lines(person: &[&str], count: usize) -> String {
    let texts = person.iter().map(ToString::to_string).chain((0..count).map(|turn| format!("Jar {turn} stands on the shelf by the window.")));
    let line = |(turn, text): (usize, String)| {
        let at = format!("2026-01-{:02}T{:02}:{:02}:00Z", turn / 1_440 % 28 + 1, turn / 60 % 24, turn % 60);
        json!({ "conversation": "kitchen", "turn": turn.to_string(), "role": "user", "occurred_at": at, "text": text }).to_string()
    };
    texts.enumerate().map(line).collect::<Vec<_>>().join("\n") + "\n"
}

fn import(ajatus: &Ajatus, user: &str, text: &str) -> Value {
    let file = ajatus.file(&format!("{user}.jsonl"), text.as_bytes());
    ajatus.json(&["import", file.to_str().expect("a path"), "--user", user, "--format", "jsonl"])
}

/// Two people of whom something is known.
fn people() -> Ajatus {
    let ajatus = Ajatus::new();
    import(&ajatus, "aino", &lines(&["I live in Turku. I like salmiakki.", "My sister Anna lives in Kemi."], 30));
    import(&ajatus, "eino", &lines(&["I live in Oulu. I work as a carpenter."], 12));
    ajatus
}

/// What `ajatus memory verify` says, and whether all is whole.
fn verify(ajatus: &Ajatus, more: &[&str]) -> (bool, Value) {
    let output = ajatus.run(&[&["memory", "verify", "--json"], more].concat());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)));
    let whole = report["whole"] == json!(true);
    assert_eq!(output.status.code(), Some(if whole { 0 } else { 1 }), "{report:#}\n{}", stderr(&output));
    (whole, report)
}

/// All is whole, and the stores hold so many memories; gives the report.
fn whole(ajatus: &Ajatus, memories: usize) -> Value {
    let (whole, report) = verify(ajatus, &[]);
    assert!(whole, "{report:#}");
    assert_eq!(report["postgres"]["memories"], json!(memories), "{report:#}");
    report
}

/// Who differs in a store.
fn differ<'a>(report: &'a Value, store: &str) -> Vec<&'a str> {
    report[store]["differ"].as_array().expect("a list").iter().map(|one| one["user"].as_str().expect("a user")).collect()
}

/// Repairs, after which all is whole.
fn repaired(ajatus: &Ajatus) -> Value {
    let (whole, report) = verify(ajatus, &["--repair"]);
    assert!(whole && report["same"] == json!(false) && report["after_repair"]["same"] == json!(true), "{report:#}");
    report
}

/// Runs SQL in the private database of a companion that runs; gives what it prints.
fn sql(ajatus: &Ajatus, sql: &str) -> String {
    let file = |name: &str| std::fs::read_to_string(ajatus.data().join("postgres").join(name)).expect("a file").trim().to_owned();
    let url = format!("postgres://ajatus:{}@127.0.0.1:{}/postgres?sslmode=disable", file("password"), file("port"));
    let output = Command::new(server_binaries().join("bin/psql")).args([&url, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql]).output().expect("psql runs");
    assert!(output.status.success(), "{sql}: {}", stderr(&output));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

fn copy(ajatus: &Ajatus) -> PathBuf {
    ajatus.data().join("lance/memories")
}

/// Cuts the files of the data in half; some may be of earlier versions alone.
fn truncate(dataset: &Path) {
    for entry in std::fs::read_dir(dataset.join("data")).expect("a folder") {
        let file = std::fs::File::options().write(true).open(entry.expect("a file").path()).expect("a file");
        file.set_len(file.metadata().expect("a size").len() / 2).expect("it can be cut");
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("a runtime")
}

/// One user's rows on the disk.
fn rows(ajatus: &Ajatus, user: UserId) -> Vec<MemoryRow> {
    runtime().block_on(async { Memories::open(&copy(ajatus), &At::Newest).await.expect("a dataset").user_rows(user).await.expect("rows") })
}

/// Writes the dataset by hand.
fn by_hand(ajatus: &Ajatus, work: impl AsyncFnOnce(&mut MemoriesDataset)) {
    runtime().block_on(async {
        let source = Memories::open(&copy(ajatus), &At::Newest).await.expect("a dataset").source().to_owned();
        let mut dataset = MemoriesDataset::open(MemoriesSpec { path: copy(ajatus), dimension: DIMENSION, source }).await.expect("ours");
        work(&mut dataset).await;
    });
}

#[test]
fn three_stores_agree_and_damage_to_any_is_found_as_what_it_is_and_mended() {
    let ajatus = people();
    let report = whole(&ajatus, 45);
    assert_eq!((&report["postgres"]["users"], &report["lance"]["sampled"]), (&json!(2), &json!({ "users": 2, "rows": 45 })), "{report:#}");
    assert!(report["lance"]["rebuilt"].is_null() && report["profiles"]["entries"].as_u64() > Some(4), "{report:#}");
    let known = ajatus.json(&["profile", "show", "--user", "aino"])["facts"].clone();

    let up = ajatus.up();
    for name in ["aino", "eino"] {
        ajatus.json(&["memory", "search", "Where do I live?", "--user", name]);
    }
    let report = whole(&ajatus, 45);
    assert_eq!(report["index"]["held"], 2, "{report:#}");
    let ids = sql(&ajatus, "select user_id from memories group by user_id order by count(*) desc");
    let (aino, eino) = ids.split_once('\n').expect("two users");

    // The columnar copy goes, or is cut short, under the companion.
    for (damage, word) in [("gone", "dataset"), ("cut", "cannot be used")] {
        if damage == "gone" { std::fs::remove_dir_all(copy(&ajatus)).expect("a folder") } else { truncate(&copy(&ajatus)) }
        let (whole_now, report) = verify(&ajatus, &[]);
        assert!(!whole_now && report["lance"]["unusable"].as_str().is_some_and(|why| why.contains(word)), "{damage}: {report:#}");
        assert!(differ(&report, "index").is_empty() && differ(&report, "profiles").is_empty(), "{damage}: {report:#}");
        repaired(&ajatus);
        whole(&ajatus, 45);
    }

    // Profiles are not what the turns say.
    sql(&ajatus, &format!("delete from profiles where user_id = '{aino}' and kind = 'fact'"));
    sql(&ajatus, &format!("update profiles set body = body || '\\x00' where user_id = '{eino}' and kind = 'habits'"));
    sql(&ajatus, &format!("insert into profiles select user_id, kind, 'ghost', body, fingerprint, epoch from profiles where user_id = '{eino}' and kind = 'habits'"));
    let (_, report) = verify(&ajatus, &["--user", "eino"]);
    assert_eq!(report["profiles"]["differ"], json!([{ "user": eino, "missing": 0, "other": 1, "extra": 1 }]), "{report:#}");
    let (_, report) = verify(&ajatus, &[]);
    let missing = known.as_array().expect("facts").len();
    let mut found = report["profiles"]["differ"].as_array().expect("a list").clone();
    found.sort_by_key(|one| one["user"] != json!(aino));
    assert_eq!(found, [json!({ "user": aino, "missing": missing, "other": 0, "extra": 0 }), json!({ "user": eino, "missing": 0, "other": 1, "extra": 1 })], "{report:#}");
    assert!(differ(&report, "lance").is_empty() && differ(&report, "index").is_empty(), "{report:#}");
    let said = stdout(&ajatus.run(&["memory", "verify"]));
    assert!(said.contains("profiles   2 of 2 users differ") && said.contains("--repair"), "{said}");
    repaired(&ajatus);
    whole(&ajatus, 45);
    let mended = ajatus.json(&["profile", "show", "--user", "aino"])["facts"].clone();
    let values = |facts: &Value| facts.as_array().expect("facts").iter().map(|fact| (fact["attribute"].clone(), fact["value"].clone(), fact["id"].clone())).collect::<Vec<_>>();
    assert_eq!(values(&mended), values(&known));

    // Postgres lost a turn behind everybody's back: it decides, and the others follow.
    sql(&ajatus, &format!("delete from memories where user_id = '{aino}' and id = (select max(id::text)::uuid from memories where user_id = '{aino}')"));
    let (_, report) = verify(&ajatus, &[]);
    assert_eq!((differ(&report, "lance"), differ(&report, "index"), differ(&report, "profiles")), (vec![aino], vec![aino], vec![aino]), "{report:#}");
    assert_eq!(report["lance"]["differ"][0], json!({ "user": aino, "postgres_rows": 31, "rows": 32 }), "{report:#}");
    repaired(&ajatus);
    whole(&ajatus, 44);
    assert!(up.stop().success());
    whole(&ajatus, 44);
}

#[test]
fn rows_that_were_taken_out_or_changed_by_hand_are_found_for_exactly_that_user() {
    let ajatus = people();
    let report = whole(&ajatus, 45);
    let epoch = report["epoch"].as_u64().expect("an epoch");
    let all = runtime().block_on(async { Memories::open(&copy(&ajatus), &At::Newest).await.expect("a dataset").checksums().await.expect("sums") });
    let (aino, _) = all.iter().max_by_key(|(_, sum)| sum.count).expect("two users");
    let (aino, eino) = (*aino, *all.keys().find(|user| *user != aino).expect("the other"));
    assert_eq!((all[&aino].count, all[&eino].count), (32, 13));

    let lost: Vec<InteractionId> = rows(&ajatus, aino).into_iter().map(|row| row.id).take(3).collect();
    by_hand(&ajatus, async |dataset| assert_eq!(dataset.erase(&Erasure::Memories(aino, lost)).await.expect("erased").rows, 3));
    let (_, report) = verify(&ajatus, &[]);
    assert_eq!(report["lance"]["differ"], json!([{ "user": aino, "postgres_rows": 32, "rows": 29 }]), "{report:#}");
    assert_eq!((&report["lance"]["contents_differ"], &report["lance"]["rebuilt"]), (&json!([]), &Value::Null), "{report:#}");
    assert!(verify(&ajatus, &["--user", "eino"]).0, "the other is whole");
    repaired(&ajatus);

    // The sums do not see what a row holds, the sample does.
    let mut changed = rows(&ajatus, eino);
    changed[0].content.as_mut().expect("there").vector[7] += 1e-3;
    by_hand(&ajatus, async |dataset| dataset.replace(eino, &changed).await.expect("replaced"));
    let (_, report) = verify(&ajatus, &["--vectors", "0"]);
    assert_eq!(report["whole"], json!(true), "{report:#}");
    let (_, report) = verify(&ajatus, &[]);
    assert_eq!((&report["lance"]["differ"], &report["lance"]["contents_differ"]), (&json!([]), &json!([eino])), "{report:#}");
    repaired(&ajatus);
    assert_eq!(whole(&ajatus, 45)["epoch"], json!(epoch), "a repair is no write");

    // What cannot be opened at a start is made anew at once.
    truncate(&copy(&ajatus));
    assert!(whole(&ajatus, 45)["lance"]["rebuilt"].is_string());
    std::fs::remove_dir_all(copy(&ajatus)).expect("a folder");
    assert!(whole(&ajatus, 45)["lance"]["rebuilt"].is_string());
    // Another source's: of another database, or of another plan.
    by_hand_of_another(&ajatus);
    assert!(whole(&ajatus, 45)["lance"]["rebuilt"].is_string());
    assert!(whole(&ajatus, 45)["lance"]["rebuilt"].is_null());
}

fn by_hand_of_another(ajatus: &Ajatus) {
    let spec = MemoriesSpec { path: copy(ajatus), dimension: DIMENSION, source: "another".to_owned() };
    runtime().block_on(async { drop(MemoriesDataset::open(spec).await.expect("emptied")) });
}

#[test]
fn a_kill_between_the_stores_commits_leaves_nothing_that_a_start_does_not_bring_in() {
    let ajatus = Ajatus::new();
    let count = 4_000;
    let file = ajatus.file("jars.jsonl", lines(&[], count).as_bytes()).display().to_string();
    let args = ["import", &file, "--user", "aino", "--format", "jsonl"];
    let versions = || std::fs::read_dir(copy(&ajatus).join("_versions")).map_or(0, Iterator::count);
    let mut behind = 0;
    // Each start is killed when one more version is there: Postgres has gone on meanwhile, as its epochs are of 256 rows.
    for _ in 0..2 {
        let until = versions() + 2;
        let mut child = ajatus.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
        while versions() < until && matches!(child.try_wait(), Ok(None)) {
            std::thread::yield_now();
        }
        let killed = matches!(child.try_wait(), Ok(None));
        drop(child.kill());
        child.wait().expect("it ended");
        assert!(killed, "the import was over: give it more to do");
        let in_lance = runtime().block_on(async { Memories::open(&copy(&ajatus), &At::Newest).await.expect("a dataset").epoch() });
        let (is_whole, report) = verify(&ajatus, &[]);
        assert!(is_whole && report["lance"]["rebuilt"].is_null(), "{report:#}");
        behind += u32::from(report["epoch"].as_u64() > Some(in_lance));
    }
    assert!(behind > 0, "Postgres was never ahead");
    ajatus.json(&args);
    whole(&ajatus, count);
}

#[test]
fn a_forgetting_reaches_every_version_of_the_columnar_copy() {
    let ajatus = people();
    whole(&ajatus, 45);
    let found = ajatus.json(&["memory", "search", "jar 17", "--user", "aino", "--limit", "1"]);
    let id = found["hits"][0]["id"].as_str().expect("a turn").to_owned();
    let (before, users) = runtime().block_on(async {
        let memories = Memories::open(&copy(&ajatus), &At::Newest).await.expect("a dataset");
        (memories.version(), memories.checksums().await.expect("sums"))
    });
    let aino = *users.iter().max_by_key(|(_, sum)| sum.count).expect("two users").0;
    let held = |ajatus: &Ajatus| rows(ajatus, aino).iter().any(|row| row.id.to_string() == id);
    assert!(held(&ajatus));

    let receipt = ajatus.json(&["forget", "turn", &id, "--user", "aino"]);
    let counts = &receipt["statement"]["counts"];
    assert!(counts["lance/turns"] == json!(1) && counts["lance/versions"].as_u64() > Some(0), "{receipt:#}");
    assert!(!held(&ajatus));
    let old = runtime().block_on(async { Memories::open(&copy(&ajatus), &At::Version(before)).await.err() });
    assert!(old.is_some_and(|error| error.to_string().contains("has no version")), "the version before is gone");
    whole(&ajatus, 44);

    ajatus.json(&["forget", "account", "--user", "aino", "--yes"]);
    assert!(rows(&ajatus, aino).is_empty());
    let report = whole(&ajatus, 13);
    assert_eq!(report["postgres"]["users"], 1, "{report:#}");
}

#[test]
fn it_can_be_left_out_and_the_setting_that_hangs_it_is_refused() {
    let ajatus = Ajatus::new().with("LANCE_IO_THREADS", "1");
    let output = ajatus.run(&["doctor"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("LANCE_IO_THREADS"), "{}", stderr(&output));

    let ajatus = Ajatus::new();
    let config = ajatus.file("off.toml", b"[memory]\nlance = false\n").display().to_string();
    let text = ajatus.file("aino.jsonl", lines(&[], 3).as_bytes()).display().to_string();
    ajatus.json(&["import", &text, "--user", "aino", "--format", "jsonl", "--config", &config]);
    let (is_whole, report) = verify(&ajatus, &["--config", &config]);
    assert!(is_whole && report["lance"]["kept"] == json!(false) && !copy(&ajatus).exists(), "{report:#}");
    // Kept again, it is made from what is there.
    let report = ajatus.json(&["memory", "verify"]);
    assert!(report["whole"] == json!(true) && report["lance"]["rebuilt"].is_string(), "{report:#}");
    let other = ajatus.json(&["memory", "verify", "--user", "aino", "--config", &ajatus.file("on.toml", b"[memory]\nlance_tidy_min = 1\n").display().to_string()]);
    assert_eq!(other["lance"]["sampled"]["rows"], 3, "{other:#}");
}
