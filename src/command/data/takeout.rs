//! `ajatus data takeout` and `restore`: everything of a user, out and in again.
//!
//! Holds always: the manifest is written last and holds the hash of every file, so a folder without one, or with a changed file, is refused;
//! restored twice, nothing is there twice; a restored account has the same turns, edits, conversations and profile, with the same ids.
//! Not promised: a takeout of one moment while the user writes: turns and profile are read one after the other.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ajatus_events::{Body, ConversationId, Interaction, InteractionId, InteractionKey, Receipt, Role, UserId, topic};
use ajatus_kafka::{Record, partition_for_user, wire};
use ajatus_memory::index::PIPELINE;
use ajatus_memory::keys::Purpose;
use ajatus_memory::postgres::Memory;
use ajatus_pipelines::write_parquet;
use arrow::array::{ArrayRef, Int32Array, ListBuilder, RecordBatch, StringArray, StringBuilder, TimestampMicrosecondArray, UInt8Array};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::cli::{RestoreArgs, TakeoutArgs};
use crate::exit::{Ended, Exit};
use crate::output::Out;
use crate::stack::Stack;

/// Form of the folder.
const FORM: &str = "ajatuskumppani-takeout-1";
const MANIFEST: &str = "manifest.json";
/// Records appended with one acknowledgement.
const BATCH: usize = 128;
/// Longest wait for the views.
const WAIT: Duration = Duration::from_secs(600);

/// One record of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: InteractionId,
    conversation_id: ConversationId,
    session: u32,
    position: u32,
    role: Role,
    occurred_at: DateTime<Utc>,
    body: Body,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    id: ConversationId,
    title: Option<String>,
    created_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    form: String,
    user: String,
    written_at: DateTime<Utc>,
    epoch: u64,
    files: BTreeMap<String, FileEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileEntry {
    rows: u64,
    bytes: u64,
    blake3: String,
}

/// Everything of a user, in order.
struct Everything {
    lines: Vec<Line>,
    conversations: Vec<Named>,
    /// Kind, and the entry with where it comes from.
    profile: Vec<Value>,
    epoch: u64,
}

/// Writes a user's folder.
pub(super) async fn write(stack: &Stack, args: &TakeoutArgs, out: &Out) -> anyhow::Result<Exit> {
    let user = stack.account(&args.user).await?;
    caught_up(stack, user).await?;
    let unusable = |what: String| Ended::new(Exit::Unusable, what);
    std::fs::create_dir_all(&args.out).map_err(|error| unusable(format!("{} cannot be made: {error}", args.out.display())))?;
    if std::fs::read_dir(&args.out)?.next().is_some() {
        return Err(unusable(format!("{} is not empty; name another folder", args.out.display())));
    }
    let all = everything(stack, user).await?;
    let mut files = BTreeMap::new();
    let mut put = |name: &str, bytes: Vec<u8>, rows: usize| -> anyhow::Result<()> {
        let path = args.out.join(name);
        std::fs::write(&path, &bytes).map_err(|error| unusable(format!("{} cannot be written: {error}", path.display())))?;
        files.insert(name.to_owned(), FileEntry { rows: rows as u64, bytes: bytes.len() as u64, blake3: blake3::hash(&bytes).to_hex().to_string() });
        Ok(())
    };
    put("records.jsonl", jsonl(&all.lines)?, all.lines.len())?;
    put("conversations.jsonl", jsonl(&all.conversations)?, all.conversations.len())?;
    put("profile.jsonl", jsonl(&all.profile)?, all.profile.len())?;
    let turns = turns_batch(&all.lines)?;
    put("turns.parquet", parquet(&turns)?, turns.num_rows())?;
    let facts = facts_batch(&all.profile)?;
    put("facts.parquet", parquet(&facts)?, facts.num_rows())?;
    let manifest = Manifest { form: FORM.to_owned(), user: args.user.clone(), written_at: Utc::now(), epoch: all.epoch, files };
    std::fs::write(args.out.join(MANIFEST), serde_json::to_vec_pretty(&manifest)?)?;
    if out.json() {
        out.document(&json!(manifest)).await?;
    } else {
        for (name, file) in &manifest.files {
            out.line(format!("{name:20} {:>8} rows {:>10} bytes", file.rows, file.bytes)).await;
        }
        out.line(format!("everything of {} is in {}, as of epoch {}; it is not sealed: keep it where only you can read it", args.user, args.out.display(), all.epoch)).await;
    }
    Ok(Exit::Done)
}

/// Reads a folder into an account.
pub(super) async fn restore(stack: &Stack, args: &RestoreArgs, out: &Out) -> anyhow::Result<Exit> {
    let manifest = checked(&args.folder)?;
    let lines: Vec<Line> = read_lines(&args.folder, "records.jsonl")?;
    let conversations: Vec<Named> = read_lines(&args.folder, "conversations.jsonl")?;
    let profile: Vec<Value> = read_lines(&args.folder, "profile.jsonl")?;
    let user = stack.account_or_new(&args.user).await?;
    for named in &conversations {
        stack.database().restore_conversation(stack.keys(), user, named.id, named.title.as_deref(), named.created_at).await?;
    }
    caught_up(stack, user).await?;
    let held = everything(stack, user).await?;
    let held: BTreeMap<InteractionId, Line> = held.lines.into_iter().map(|line| (line.id, line)).collect();
    let fresh: Vec<&Line> = lines.iter().filter(|line| held.get(&line.id) != Some(*line)).collect();
    let (log, mut done) = (stack.log(), 0);
    let partition = partition_for_user(user, log.partitions(topic::INTERACTIONS)?);
    for batch in fresh.chunks(BATCH) {
        let _writing = stack.keys().writing().await;
        let key = stack.keys().user(user).await?;
        let mut records = Vec::with_capacity(batch.len());
        for line in batch {
            let body = key.seal(Purpose::Messages, &Interaction::aad(user, line.id), &serde_json::to_vec(&line.body)?);
            let Line { id, conversation_id, session, position, role, occurred_at, .. } = **line;
            let interaction = Interaction { id, user_id: user, conversation_id, session, position, role, occurred_at, body };
            records.push(Record { key: InteractionKey { user_id: user, id }.to_string().into_bytes(), value: Some(wire::encode(&interaction)?) });
        }
        log.append(topic::INTERACTIONS, partition, records).await?;
        done += batch.len() as u64;
        out.progress("records", done, fresh.len() as u64);
    }
    caught_up(stack, user).await?;
    let now = everything(stack, user).await?;
    let equal = held.is_empty().then(|| now.profile == profile && now.lines == lines && now.conversations == conversations);
    if out.json() {
        out.document(&json!({ "user": user, "records": lines.len(), "written": fresh.len(), "equal": equal, "epoch_of_takeout": manifest.epoch })).await?;
    } else {
        let verdict = match equal {
            Some(true) => "turns, conversations and profile are as they were taken out",
            Some(false) => "the profile differs from the one taken out; was it made by another version of the rules?",
            None => "the account held something before, so nothing was compared",
        };
        out.line(format!("{} of {} records written; {verdict}", fresh.len(), lines.len())).await;
    }
    Ok(if equal == Some(false) { Exit::Partly } else { Exit::Done })
}

async fn everything(stack: &Stack, user: UserId) -> anyhow::Result<Everything> {
    let (database, keys) = (stack.database(), stack.keys());
    let held = database.load_user(keys, user, PIPELINE).await?;
    let line = |memory: Memory| Line {
        id: memory.id,
        conversation_id: memory.conversation_id,
        session: memory.session,
        position: memory.position,
        role: memory.role,
        occurred_at: memory.occurred_at,
        body: memory.body,
    };
    let mut lines: Vec<Line> = held.memories.into_iter().map(|(memory, _)| line(memory)).collect();
    let edits = database.profile_edits(keys, user).await?;
    lines.extend(edits.into_iter().map(|held| Line {
        id: held.id,
        conversation_id: ConversationId(uuid::Uuid::nil()),
        session: 0,
        position: 0,
        role: Role::User,
        occurred_at: held.occurred_at,
        body: Body { edit: Some(held.edit), ..Body::default() },
    }));
    lines.sort_by_key(|line| (line.occurred_at, line.position, line.id));
    let conversations = database.all_conversations(keys, user).await?;
    let conversations = conversations.into_iter().map(|held| Named { id: held.id, title: held.title, created_at: held.created_at }).collect();
    let (_, documents) = database.profile(keys, user, PIPELINE).await?;
    let mut profile = Vec::with_capacity(documents.len());
    for document in documents {
        profile.push((document.key.kind.clone(), document.body));
    }
    // Not in the order of their keyed names, which another account has others of.
    profile.sort();
    let profile = profile.into_iter().map(|(kind, body)| Ok(json!({ "kind": kind, "entry": serde_json::from_str::<Value>(&body)? })));
    Ok(Everything { lines, conversations, profile: profile.collect::<anyhow::Result<_>>()?, epoch: held.epoch })
}

async fn caught_up(stack: &Stack, user: UserId) -> anyhow::Result<()> {
    let log = stack.log();
    let partition = partition_for_user(user, log.partitions(topic::INTERACTIONS)?);
    let Some(offset) = log.end_offset(topic::INTERACTIONS, partition).await?.checked_sub(1) else { return Ok(()) };
    let last = Receipt { topic: topic::INTERACTIONS.to_owned(), partition, offset };
    stack.index().wait_for(&last, WAIT).await.map_err(|behind| Ended::new(Exit::Unavailable, behind.to_string()))?;
    Ok(())
}

fn jsonl<T: Serialize>(rows: &[T]) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut bytes, row)?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

fn parquet(rows: &RecordBatch) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    write_parquet(&mut bytes, rows)?;
    Ok(bytes)
}

fn times(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}

fn turns_batch(lines: &[Line]) -> anyhow::Result<RecordBatch> {
    let turns: Vec<&Line> = lines.iter().filter(|line| line.body.edit.is_none()).collect();
    let texts = |of: &dyn Fn(&Line) -> Option<String>| Arc::new(turns.iter().map(|line| of(line)).collect::<StringArray>()) as ArrayRef;
    let numbers = |of: &dyn Fn(&Line) -> u32| Arc::new(turns.iter().map(|line| i32::try_from(of(line)).ok()).collect::<Int32Array>()) as ArrayRef;
    Ok(RecordBatch::try_from_iter([
        ("id", texts(&|line| Some(line.id.to_string()))),
        ("conversation_id", texts(&|line| Some(line.conversation_id.to_string()))),
        ("session", numbers(&|line| line.session)),
        ("position", numbers(&|line| line.position)),
        ("role", texts(&|line| Some(line.role.as_str().to_owned()))),
        ("occurred_at", times(turns.iter().map(|line| Some(line.occurred_at.timestamp_micros())))),
        ("speaker", texts(&|line| line.body.speaker.clone())),
        ("text", texts(&|line| Some(line.body.text.clone()))),
        ("caption", texts(&|line| line.body.caption.clone())),
        ("source", texts(&|line| line.body.source.as_ref().map(|source| json!(source).to_string()))),
    ])?)
}

fn facts_batch(profile: &[Value]) -> anyhow::Result<RecordBatch> {
    let facts: Vec<&Value> = profile.iter().filter(|document| document["kind"] == "fact").map(|document| &document["entry"]).collect();
    let texts = |name: &str| Arc::new(facts.iter().map(|fact| fact[name].as_str()).collect::<StringArray>()) as ArrayRef;
    let list = |name: &str| {
        let mut lists = ListBuilder::new(StringBuilder::new());
        for fact in &facts {
            for source in fact["sources"].as_array().into_iter().flatten() {
                lists.values().append_option(source[name].as_str());
            }
            lists.append(true);
        }
        Arc::new(lists.finish()) as ArrayRef
    };
    let confidence: UInt8Array = facts.iter().map(|fact| fact["confidence"].as_u64().and_then(|value| u8::try_from(value).ok())).collect();
    let ended: StringArray = facts.iter().map(|fact| fact["ended_by"]["why"].as_str()).collect();
    let instead: StringArray = facts.iter().map(|fact| fact["ended_by"]["value"].as_str()).collect();
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("about", texts("about"), true),
        ("attribute", texts("attribute"), true),
        ("value", texts("value"), true),
        ("confidence", Arc::new(confidence) as ArrayRef, true),
        ("valid_from", times(facts.iter().map(|fact| fact["from_us"].as_i64())), true),
        ("valid_to", times(facts.iter().map(|fact| fact["to_us"].as_i64())), true),
        ("ended_by", Arc::new(ended) as ArrayRef, true),
        ("superseded_by", Arc::new(instead) as ArrayRef, true),
        ("source_turns", list("turn"), true),
        ("source_rules", list("rule"), true),
    ])?)
}

fn checked(folder: &Path) -> anyhow::Result<Manifest> {
    let unusable = |what: String| Ended::new(Exit::Unusable, what);
    let path = folder.join(MANIFEST);
    let text = std::fs::read(&path).map_err(|error| unusable(format!("{} cannot be read: {error}; `ajatus data takeout` writes it last", path.display())))?;
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| unusable(format!("{} is not a manifest: {error}", path.display())))?;
    if manifest.form != FORM {
        return Err(unusable(format!("{} is of form {:?}, but {FORM:?} is read", path.display(), manifest.form)));
    }
    for (name, file) in &manifest.files {
        if name.contains(['/', '\\']) || name.starts_with('.') {
            return Err(unusable(format!("the manifest names {name:?}, which is no file of the folder")));
        }
        let bytes = std::fs::read(folder.join(name)).map_err(|error| unusable(format!("{name} cannot be read: {error}")))?;
        if blake3::hash(&bytes).to_hex().to_string() != file.blake3 {
            return Err(unusable(format!("{name} is not as it was written; take it out again")));
        }
    }
    Ok(manifest)
}

fn read_lines<T: serde::de::DeserializeOwned>(folder: &Path, name: &str) -> anyhow::Result<Vec<T>> {
    let text = std::fs::read_to_string(folder.join(name)).map_err(|error| Ended::new(Exit::Unusable, format!("{name} cannot be read: {error}")))?;
    let read = |(at, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| Ended::new(Exit::Unusable, format!("{name}, line {}: {error}", at + 1)))
    };
    text.lines().enumerate().map(read).collect()
}
