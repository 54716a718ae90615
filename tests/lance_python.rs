//! A dataset of memories that we wrote, read by the Python packages of Lance and Arrow, by the Python that docs/lance.md shows.

mod support;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use ajatus_events::{ConversationId, InteractionId, Role, Sealed, UserId};
use ajatus_lance::{Care, MemoriesDataset, MemoriesSpec, MemoryContent, MemoryRow};
use chrono::{DateTime, SecondsFormat};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use support::root;
use uuid::Uuid;

const DIMENSION: usize = 24;

type Held = BTreeMap<(UserId, InteractionId), MemoryRow>;

fn row(random: &mut StdRng, epoch: u64) -> MemoryRow {
    let user = UserId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + random.random_range(0..3)));
    let id = InteractionId(Uuid::from_u128(0x0191_0000_0000_7000_8000_0000_0000_0000 + random.random_range(0..120)));
    let vector: Vec<f32> = (0..DIMENSION).map(|_| random.random_range(-1.0..1.0)).collect();
    let length = vector.iter().map(|component| component * component).sum::<f32>().sqrt();
    let content = MemoryContent {
        conversation_id: ConversationId(Uuid::from_u128(random.random())),
        session: random.random_range(0..9),
        position: random.random(),
        role: [Role::User, Role::Assistant, Role::Other][random.random_range(0..3)],
        occurred_at: DateTime::from_timestamp_micros(1_700_000_000_123_456 + random.random_range(0..1_000_000_000)).expect("a time"),
        model: "all-MiniLM-L6-v2/1".to_owned(),
        body: Sealed((0..random.random_range(40..90)).map(|_| random.random()).collect()),
        vector: vector.into_iter().map(|component| component / length).collect(),
    };
    MemoryRow { id, user_id: user, epoch, content: random.random_bool(0.85).then_some(content) }
}

fn listed(held: &Held) -> Value {
    let there = held.values().filter(|row| row.content.is_some());
    there.map(|row| json!([row.user_id, row.id, row.epoch])).collect()
}

fn asked(questions: &Value) -> Value {
    let python = root().join(".cache/lance/bin/python");
    let mut command = Command::new(&python);
    command.arg(root().join("tests/lance_reader.py")).arg(root().join("docs/lance.md")).env("LANCE_IO_THREADS", "2");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("Python starts (run `tools/setup --tests`)");
    child.stdin.take().expect("piped").write_all(questions.to_string().as_bytes()).expect("asked");
    let output = child.wait_with_output().expect("it ran");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("answers")
}

/// Writes a history; what was held at each epoch.
async fn written(path: &Path, random: &mut StdRng) -> BTreeMap<u64, Held> {
    let spec = MemoriesSpec { path: path.to_owned(), dimension: DIMENSION, source: "a run".to_owned() };
    let mut dataset = MemoriesDataset::open(spec).await.expect("a dataset");
    let (mut held, mut history) = (Held::new(), BTreeMap::new());
    for step in 1..=11_u64 {
        let epoch = step * 10;
        let rows: Held = (0..60).map(|_| row(random, epoch)).map(|row| ((row.user_id, row.id), row)).collect();
        dataset.apply(&rows.values().cloned().collect::<Vec<_>>(), epoch, || ()).await.expect("applied");
        held.extend(rows);
        history.insert(epoch, held.clone());
        // The last one is not tagged.
        if step <= 10 {
            dataset.maintain(&Care { fragments: 32, history: Duration::ZERO }, 0, true).await.expect("tended");
        }
    }
    history
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_reads_it_by_tag_by_epoch_by_user_and_by_vector() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("memories.lance");
    let mut random = StdRng::seed_from_u64(21);
    let history = written(&path, &mut random).await;
    let newest = &history[&110];
    let query = row(&mut random, 1).content.map_or_else(|| vec![1.0; DIMENSION], |content| content.vector);
    let user = newest.keys().next().expect("a memory").0;
    let questions = json!({
        "path": path, "user": user, "query": query, "k": 7,
        "tags": ["e30", "e100"], "no_tag": "e20", "epochs": [30, 47, 99, 109, 110, 9_999], "no_epoch": 29,
    });
    let answers = tokio::task::spawn_blocking(move || asked(&questions)).await.expect("answers");
    assert_eq!(answers["epoch"], 110);
    assert_eq!(answers["newest"], listed(newest));
    for epoch in [30, 100] {
        assert_eq!(answers["tags"][format!("e{epoch}")], listed(&history[&epoch]), "tag e{epoch}");
    }
    for (asked, found) in [(30, 30), (47, 40), (99, 90), (109, 100), (110, 110), (9_999, 110)] {
        assert_eq!(answers["as_of"][asked.to_string()], json!([found, listed(&history[&found])]), "as of {asked}");
    }
    assert_eq!(answers["missing"], json!([true, true]));
    let mine: Vec<(&MemoryRow, &MemoryContent)> = newest.values().filter(|row| row.user_id == user).filter_map(|row| Some((row, row.content.as_ref()?))).collect();
    let mut read = answers["rows"].as_array().expect("rows").clone();
    read.sort_by_key(|row| row["id"].to_string());
    assert_eq!(read.len(), mine.len());
    for (mut read, (row, content)) in read.into_iter().zip(&mine) {
        let vector = read.as_object_mut().expect("a row").remove("vector").expect("a vector");
        #[expect(clippy::cast_possible_truncation, reason = "it was one of 32 bits")]
        let vector: Vec<f32> = vector.as_array().expect("a list").iter().map(|component| component.as_f64().expect("a number") as f32).collect();
        assert_eq!(vector, content.vector);
        let wanted = json!({
            "id": row.id, "user_id": row.user_id, "conversation_id": content.conversation_id, "session": content.session, "position": content.position,
            "role": content.role.as_str(), "occurred_at": content.occurred_at.to_rfc3339_opts(SecondsFormat::Micros, false), "epoch": row.epoch,
            "deleted": false, "model": content.model, "body": content.body.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
        });
        assert_eq!(read, wanted);
    }
    let mut near: Vec<(f32, InteractionId)> = mine
        .iter()
        .map(|(row, content)| (content.vector.iter().zip(&query).map(|(left, right)| left * right).sum::<f32>(), row.id))
        .collect();
    near.sort_by(|left, right| right.0.total_cmp(&left.0));
    let told = answers["nearest"].as_array().expect("memories");
    assert_eq!(told.iter().map(|near| near[0].clone()).collect::<Vec<_>>(), near.iter().take(7).map(|(_, id)| json!(id)).collect::<Vec<_>>());
    for (told, (score, _)) in told.iter().zip(&near) {
        assert!((told[1].as_f64().expect("a score") - f64::from(*score)).abs() < 1e-4, "{told}");
    }
    let columns = [
        "id string",
        "user_id string",
        "conversation_id string",
        "session uint32",
        "position uint32",
        "role string",
        "occurred_at timestamp[us, tz=UTC]",
        "epoch uint64",
        "deleted bool",
        "model string",
        "body binary",
        "vector fixed_size_list<item: float>[24]",
    ];
    assert_eq!(answers["schema"], json!(columns));
}
