//! `ajatus import`: a file's turns, through the log and the dataflow, into the stores.
//!
//! Holds always: a turn that is acknowledged is on the log; running the command again after any end adds what is missing
//! and nothing else. What could not be read stands in `dead-letters`, sealed, once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

use ajatus_events::{
    Body, ConversationId, DeadLetter, Interaction, InteractionId, InteractionKey, Receipt, Role, Sealed, SourceRef, UserId,
    topic,
};
use ajatus_kafka::{Record, partition_for_user, wire};
use ajatus_memory::keys::{Purpose, UserKey};
use ajatus_pipelines::Busy;
use chrono::{Offset as _, Utc};
use serde::Serialize;

use crate::cli::{Format, ImportArgs};
use crate::exit::{Ended, Exit};
use crate::import::{Clues, Contents, Rejected, Turn, read};
use crate::output::Out;
use crate::stack::Stack;

/// Turns appended with one acknowledgement.
const BATCH: usize = 128;

/// Longest silence of the pipeline before the import gives up waiting (what is appended stays and is applied later).
const STALLED: Duration = Duration::from_secs(120);

/// What an import did.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Report {
    /// Conversations in the file that were imported.
    pub(crate) conversations: usize,
    /// Turns in the file.
    pub(crate) turns: usize,
    /// Turns that were not there before.
    pub(crate) added: usize,
    /// Turns that were there with another content.
    pub(crate) changed: usize,
    /// Turns that were there already.
    pub(crate) unchanged: usize,
    /// What could not be read.
    pub(crate) rejected: usize,
    /// From the first append to the last turn being in the stores, seconds.
    pub(crate) seconds: f64,
    /// Added and changed turns a second.
    pub(crate) turns_per_second: f64,
    /// Where the time went, seconds of work; parts overlap, so they may add up to more than `seconds`.
    pub(crate) busy: BTreeMap<String, f64>,
    /// Position of the last turn written, to read after; absent when nothing was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) receipt: Option<Receipt>,
}

/// Runs `ajatus import`.
pub(crate) async fn run(stack: &Stack, args: &ImportArgs, out: &Out) -> anyhow::Result<Exit> {
    let mut contents = read_blocking(args).await?;
    if !args.conversations.is_empty() {
        select(&mut contents, &args.conversations)?;
    }
    spoken(&contents, args)?;
    let user = stack.account_or_new(&args.user).await?;
    let report = import(stack, user, args, contents, out).await?;
    if out.json() {
        out.document(&report).await?;
    } else {
        say(&report, args, out).await;
    }
    Ok(if report.rejected > 0 { Exit::Partly } else { Exit::Done })
}

async fn read_blocking(args: &ImportArgs) -> anyhow::Result<Contents> {
    let (file, format) = (args.file.clone(), args.format);
    let clues = Clues { date_order: args.date_order, zone: args.utc_offset.parse().unwrap_or_else(|_| Utc.fix()) };
    tokio::task::spawn_blocking(move || read(&file, format, clues)).await?
}

fn select(contents: &mut Contents, wanted: &[String]) -> anyhow::Result<()> {
    let found: HashSet<&str> = contents.turns.iter().map(|turn| turn.conversation.as_str()).collect();
    if let Some(missing) = wanted.iter().find(|name| !found.contains(name.as_str())) {
        let mut names: Vec<&str> = found.into_iter().collect();
        names.sort_unstable();
        names.truncate(20);
        return Err(Ended::new(
            Exit::Usage,
            format!("the file has no conversation {missing:?}; it has {}", names.join(", ")),
        ));
    }
    contents.turns.retain(|turn| wanted.contains(&turn.conversation));
    contents.titles.retain(|titled| wanted.contains(&titled.conversation));
    Ok(())
}

/// Talks between people must have the user among them: what they said would all be somebody else's.
fn spoken(contents: &Contents, args: &ImportArgs) -> anyhow::Result<()> {
    let unknown: Vec<&str> = contents.turns.iter().filter(|turn| turn.role.is_none()).filter_map(|turn| turn.speaker.as_deref()).collect();
    let own = own_name(args);
    if !matches!(args.format, Format::Telegram | Format::Whatsapp) || unknown.is_empty() || unknown.iter().any(|name| name.trim().to_lowercase() == own) {
        return Ok(());
    }
    let mut names: Vec<&str> = unknown.into_iter().collect::<HashSet<_>>().into_iter().collect();
    names.sort_unstable();
    names.truncate(20);
    Err(Ended::new(Exit::Usage, format!("nobody in the file is called {own:?}; say who the user is with --speaker: {}", names.join(", "))))
}

/// What the user is called in the file, in lower case.
fn own_name(args: &ImportArgs) -> String {
    args.speaker.as_ref().unwrap_or(&args.user).trim().to_lowercase()
}

/// Imports contents for a user; shared with `eval` and `bench`.
pub(crate) async fn import(
    stack: &Stack,
    user: UserId,
    args: &ImportArgs,
    contents: Contents,
    out: &Out,
) -> anyhow::Result<Report> {
    let key = stack.keys().user(user).await?;
    let mut report = Report { turns: contents.turns.len(), rejected: contents.rejected.len(), ..Report::default() };
    bury(stack, user, &key, &args.file, &contents.rejected, out).await?;
    let conversations = name_conversations(stack, user, args, &contents).await?;
    report.conversations = conversations.len();

    // What earlier runs appended must be in the table before it is asked what is there.
    let log = stack.log();
    let partition = partition_for_user(user, log.partitions(topic::INTERACTIONS)?);
    let end = log.end_offset(topic::INTERACTIONS, partition).await?;
    wait_applied(stack, partition, end, 0, "catching up", out).await?;
    let known = stack.database().content_fingerprints(user).await?;

    let mut records = Vec::new();
    for turn in &contents.turns {
        let conversation = ConversationId::imported(user, &source(args, &turn.conversation));
        let (interaction, body) = interaction(user, conversation, turn, args);
        let fingerprint = key.fingerprint(Purpose::Messages, &interaction.fingerprint_input(&body));
        match known.get(&interaction.id) {
            Some(there) if *there == fingerprint => {
                report.unchanged += 1;
                continue;
            }
            Some(_) => report.changed += 1,
            None => report.added += 1,
        }
        let body = key.seal(Purpose::Messages, &Interaction::aad(user, interaction.id), &serde_json::to_vec(&body)?);
        let record = Interaction { body, ..interaction };
        let log_key = InteractionKey { user_id: user, id: record.id }.to_string().into_bytes();
        records.push(Record { key: log_key, value: Some(wire::encode(&record)?) });
    }

    let (started, before) = (Instant::now(), stack.pipeline_busy());
    let (total, mut done) = (records.len() as u64, 0_u64);
    let mut appending = Duration::ZERO;
    let mut last = None;
    let mut batches = records.into_iter().peekable();
    while batches.peek().is_some() {
        let batch: Vec<Record> = batches.by_ref().take(BATCH).collect();
        let sent = batch.len() as u64;
        let clock = Instant::now();
        let writing = stack.keys().writing().await;
        let offsets = log.append(topic::INTERACTIONS, partition, batch).await?;
        drop(writing);
        appending += clock.elapsed();
        done += sent;
        last = offsets.last().copied();
        out.progress("appended to the log", done, total);
    }
    if let Some(offset) = last {
        wait_applied(stack, partition, offset + 1, total, "remembered", out).await?;
        report.receipt = Some(Receipt { topic: topic::INTERACTIONS.to_owned(), partition, offset });
    }
    report.seconds = started.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    if total > 0 {
        report.turns_per_second = total as f64 / report.seconds.max(1e-9);
    }
    report.busy = busy_between(&before, &stack.pipeline_busy());
    report.busy.insert("append".to_owned(), appending.as_secs_f64());
    Ok(report)
}

/// Name of a conversation that cannot meet one of another format.
fn source(args: &ImportArgs, conversation: &str) -> String {
    format!("{}/{conversation}", args.format.as_str())
}

fn interaction(user: UserId, conversation: ConversationId, turn: &Turn, args: &ImportArgs) -> (Interaction, Body) {
    let own = own_name(args);
    let role = turn.role.unwrap_or_else(|| match &turn.speaker {
        Some(speaker) if speaker.trim().to_lowercase() == own => Role::User,
        _ => Role::Other,
    });
    let body = Body {
        text: turn.text.clone(),
        speaker: turn.speaker.clone(),
        caption: turn.caption.clone(),
        source: Some(SourceRef {
            format: args.format.as_str().to_owned(),
            conversation: turn.conversation.clone(),
            turn: turn.turn.clone(),
        }),
        ..Body::default()
    };
    let interaction = Interaction {
        id: turn_id(conversation, turn),
        user_id: user,
        conversation_id: conversation,
        session: turn.session,
        position: turn.position,
        role,
        occurred_at: turn.occurred_at,
        body: Sealed(Vec::new()),
    };
    (interaction, body)
}

fn turn_id(conversation: ConversationId, turn: &Turn) -> InteractionId {
    InteractionId::imported(conversation, &turn.turn)
}

/// The id that `import` gives a turn; `eval` looks evidence up by it.
pub(crate) fn imported_id(user: UserId, args: &ImportArgs, conversation: &str, turn: &str) -> InteractionId {
    InteractionId::imported(ConversationId::imported(user, &source(args, conversation)), turn)
}

async fn name_conversations(
    stack: &Stack,
    user: UserId,
    args: &ImportArgs,
    contents: &Contents,
) -> anyhow::Result<HashMap<String, ConversationId>> {
    let titles: HashMap<&str, &str> =
        contents.titles.iter().map(|titled| (titled.conversation.as_str(), titled.title.as_str())).collect();
    let mut ids = HashMap::new();
    for turn in &contents.turns {
        if !ids.contains_key(&turn.conversation) {
            let id = ConversationId::imported(user, &source(args, &turn.conversation));
            let title = titles.get(turn.conversation.as_str()).copied().unwrap_or(&turn.conversation);
            stack.database().ensure_conversation(stack.keys(), user, id, Some(title)).await?;
            ids.insert(turn.conversation.clone(), id);
        }
    }
    Ok(ids)
}

/// Puts what could not be read on `dead-letters`, sealed: it may be personal. The key is the content's fingerprint, so a
/// second import of the same file adds nothing there either (the topic's readers keep the last of a key).
async fn bury(
    stack: &Stack,
    user: UserId,
    key: &UserKey,
    file: &Path,
    rejected: &[Rejected],
    out: &Out,
) -> anyhow::Result<()> {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut records = Vec::new();
    for part in rejected {
        let origin = format!("{name}:{}", part.line);
        out.note(format!("{}:{}: {}: {}", file.display(), part.line, part.code, part.message)).await;
        let fingerprint = key.fingerprint(Purpose::DeadLetters, &part.raw);
        let letter = DeadLetter {
            step: "import".to_owned(),
            code: part.code.to_owned(),
            message: part.message.clone(),
            payload: key.seal(Purpose::DeadLetters, &DeadLetter::aad(&origin), &part.raw),
            origin,
            attempt: 1,
            sealed: true,
        };
        records.push(Record {
            key: format!("{user}/import/{fingerprint}").into_bytes(),
            value: Some(wire::encode(&letter)?),
        });
    }
    if records.is_empty() {
        return Ok(());
    }
    let there = dead_letter_keys(stack).await?;
    records.retain(|record| !there.contains(&record.key));
    while !records.is_empty() {
        let rest = records.split_off(records.len().min(BATCH));
        stack.log().append(topic::DEAD_LETTERS, 0, records).await?;
        records = rest;
    }
    Ok(())
}

async fn dead_letter_keys(stack: &Stack) -> anyhow::Result<HashSet<Vec<u8>>> {
    let log = stack.log();
    let mut at = log.start_offset(topic::DEAD_LETTERS, 0).await?;
    let mut keys = HashSet::new();
    loop {
        let chunk = log.read(topic::DEAD_LETTERS, 0, at, 1000).await?;
        if chunk.next == at {
            return Ok(keys);
        }
        keys.extend(chunk.entries.into_iter().map(|entry| entry.key));
        at = chunk.next;
    }
}

/// Waits until everything of a partition below `end` is applied, showing how far it is.
async fn wait_applied(stack: &Stack, partition: u32, end: u64, total: u64, label: &str, out: &Out) -> anyhow::Result<()> {
    let mut status = stack.pipeline_status();
    let mut moved = Instant::now();
    let mut before = None;
    loop {
        let applied = status.borrow_and_update().applied_offset(partition);
        if applied >= end {
            if total > 0 {
                out.progress(label, total, total);
            }
            return Ok(());
        }
        if before != Some(applied) {
            (before, moved) = (Some(applied), Instant::now());
        }
        if total > 0 {
            out.progress(label, total.saturating_sub(end - applied), total);
        }
        if moved.elapsed() > STALLED {
            return Err(Ended::new(
                Exit::Unavailable,
                format!(
                    "the pipeline stands at offset {applied} of {end} for {} s; every turn is on the log, so run the command \
                     again once `ajatus doctor` is green",
                    STALLED.as_secs()
                ),
            ));
        }
        tokio::select! {
            changed = status.changed() => changed.map_err(|_| Ended::new(Exit::Failed, "the pipeline has ended; every turn is on the log, so run the command again"))?,
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}

fn busy_between(before: &Busy, after: &Busy) -> BTreeMap<String, f64> {
    after.since(before).into_iter().map(|(step, time)| (step.to_owned(), time.as_secs_f64())).collect()
}

async fn say(report: &Report, args: &ImportArgs, out: &Out) {
    out.line(format!(
        "{}: {} turns of {} conversations for {}: {} added, {} changed, {} already there, {} refused",
        args.file.display(),
        report.turns,
        report.conversations,
        args.user,
        report.added,
        report.changed,
        report.unchanged,
        report.rejected
    ))
    .await;
    if report.added + report.changed > 0 {
        let busy: Vec<String> = report.busy.iter().map(|(step, seconds)| format!("{step} {seconds:.2} s")).collect();
        out.line(format!(
            "{:.1} turns/s over {:.2} s; busy: {}",
            report.turns_per_second,
            report.seconds,
            busy.join(", ")
        ))
        .await;
    }
    if report.rejected > 0 {
        out.note("refused lines stand in the dead-letters topic; mend them in the file and import it again").await;
    }
}
