//! `ajatus forget`, and `ajatus memory prove-forgotten`.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ajatus_events::{ConversationId, InteractionId, UserId};
use ajatus_memory::forget::{ForgetReceipt, Needles, Scope, Searched, Signer, search};
use ajatus_memory::keys::RootKey;
use ajatus_serving::forget::{ForgetError, ForgetRequest, Preview, Step};
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use serde_json::json;
use uuid::Uuid;

use crate::cli::{ForgetCommand, ForgetHow, ProveArgs};
use crate::config::Config;
use crate::exit::{Ended, Exit};
use crate::output::Out;
use crate::stack::Stack;

/// Conversations looked through for a name.
const NAMES: u32 = 100;

/// Whether it needs no part of the stack: it reads files.
pub(crate) fn stands_alone(command: &ForgetCommand) -> bool {
    matches!(command, ForgetCommand::Verify { .. } | ForgetCommand::Prove(_))
}

/// Makes paths absolute: the command may run in another process.
pub(crate) fn prepare(command: &mut ForgetCommand) -> anyhow::Result<()> {
    if let Some(path) = command.how_mut().and_then(|how| how.receipt.as_mut()) {
        *path = std::path::absolute(&path)?;
    }
    Ok(())
}

/// Runs what reads files only.
pub(crate) async fn run_alone(config: &Config, command: ForgetCommand, out: &Out) -> anyhow::Result<Exit> {
    match command {
        ForgetCommand::Verify { receipt } => verify(config, &receipt, out).await,
        ForgetCommand::Prove(args) => prove(config, args, out).await,
        _ => Err(Ended::new(Exit::Failed, "this command needs the data folder's parts; a bug of ours")),
    }
}

/// Runs what forgets.
pub(crate) async fn run(stack: &Stack, command: ForgetCommand, out: &Out) -> anyhow::Result<Exit> {
    if stands_alone(&command) {
        return run_alone(&stack.config, command, out).await;
    }
    let usage = |what: String| Ended::new(Exit::Usage, what);
    let (scope, how) = match command {
        ForgetCommand::Turn { ids, how } => match ids.as_slice() {
            [id] => (Scope::Turn { id: InteractionId(*id) }, how),
            ids => (Scope::Ids { ids: ids.iter().copied().map(InteractionId).collect() }, how),
        },
        ForgetCommand::Conversation { conversation, how } => {
            let user = stack.account(&how.user).await?;
            (Scope::Conversation { id: conversation_of(stack, user, &conversation).await? }, how)
        }
        ForgetCommand::Range { from, to, how } => {
            let at = |name: &str, text: &str| instant(text).ok_or_else(|| usage(format!("--{name}: {text:?} is no day and no time of RFC 3339")));
            (Scope::Range { from: at("from", &from)?, to: at("to", &to)? }, how)
        }
        ForgetCommand::Topic { words, how } => (Scope::Topic { words: words.join(" ") }, how),
        ForgetCommand::Replaced { how } => (Scope::Replaced {}, how),
        ForgetCommand::Account { how } => (Scope::Account {}, how),
        ForgetCommand::Verify { .. } | ForgetCommand::Prove(_) => return Err(Ended::new(Exit::Failed, "a bug of ours")),
    };
    let user = stack.account(&how.user).await?;
    let mut request = ForgetRequest { scope, with_answers: how.with_answers, seen: None };
    let asks = matches!(request.scope, Scope::Account {} | Scope::Topic { .. });
    if how.dry_run || asks {
        let preview = stack.forgetter().preview(user, &request).await.map_err(ended)?;
        if how.dry_run || !how.yes {
            show(&preview, &how, out).await?;
        }
        if how.dry_run {
            return Ok(Exit::Done);
        }
        if !how.yes {
            return Err(usage(format!("nothing was forgotten; say --yes to forget {} turns of {}", preview.turns, how.user)));
        }
        // What goes is what was looked at. An account goes whatever comes meanwhile.
        request.seen = matches!(request.scope, Scope::Topic { .. }).then_some(preview.hash);
    }
    let clock = Instant::now();
    let progress = |step: Step| out.progress(step.name, step.done, step.total);
    let receipt = stack.forgetter().forget(user, &request, &progress).await.map_err(ended)?;
    if let Some(path) = &how.receipt {
        keep(path, &receipt)?;
    }
    if out.json() {
        out.document(&receipt).await?;
    } else {
        tell(&receipt, &how, clock, out).await;
    }
    Ok(Exit::Done)
}

fn ended(error: ForgetError) -> anyhow::Error {
    let exit = match &error {
        ForgetError::Scope(_) | ForgetError::NoAccount(_) | ForgetError::Unseen { .. } => Exit::Usage,
        ForgetError::Late(_) | ForgetError::Busy | ForgetError::Log(_) | ForgetError::Store(_) => Exit::Unavailable,
        _ => Exit::Failed,
    };
    Ended::new(exit, error.to_string())
}

/// A day's midnight, or a time.
fn instant(text: &str) -> Option<DateTime<Utc>> {
    let day = text.parse::<NaiveDate>().ok().map(|day| day.and_time(NaiveTime::MIN).and_utc());
    day.or_else(|| DateTime::parse_from_rfc3339(text).ok().map(|at| at.with_timezone(&Utc)))
}

/// The conversation of an id or a name.
async fn conversation_of(stack: &Stack, user: UserId, wanted: &str) -> anyhow::Result<ConversationId> {
    if let Ok(id) = wanted.parse::<Uuid>() {
        return Ok(ConversationId(id));
    }
    let (mut found, mut after, mut names) = (Vec::new(), None, Vec::new());
    loop {
        let page = stack.database().list_conversations(stack.keys(), user, after, NAMES).await?;
        let Some(last) = page.last() else { break };
        after = Some((last.created_at, last.id));
        found.extend(page.iter().filter(|one| one.title.as_deref() == Some(wanted)).map(|one| one.id));
        names.extend(page.into_iter().filter_map(|one| one.title).take(10));
    }
    match found.as_slice() {
        [one] => Ok(*one),
        [] => {
            names.truncate(10);
            Err(Ended::new(Exit::Usage, format!("there is no conversation {wanted:?}; there are {}", names.join(", "))))
        }
        several => {
            let ids: Vec<String> = several.iter().map(ToString::to_string).collect();
            Err(Ended::new(Exit::Usage, format!("{} conversations are called {wanted:?}; say which: {}", several.len(), ids.join(", "))))
        }
    }
}

async fn show(preview: &Preview, how: &ForgetHow, out: &Out) -> anyhow::Result<()> {
    if out.json() {
        return out.document(&json!({ "would_forget": preview })).await;
    }
    out.line(format!("would forget {} turns of {}, in {} conversations", preview.turns, how.user, preview.conversations)).await;
    if preview.edits > 0 {
        out.line(format!("{} of them are changes that {} made to the profile", preview.edits, how.user)).await;
    }
    for item in &preview.items {
        let text = item.text.replace('\n', " ");
        out.line(format!("  {}  {}  {}: {text}", item.id, item.occurred_at.format("%Y-%m-%d %H:%M"), item.role.as_str())).await;
    }
    let more = preview.turns.saturating_sub(preview.items.len() as u64);
    if more > 0 {
        out.line(format!("  and {more} more")).await;
    }
    if preview.answers > 0 {
        out.line(format!("{} answers of the companion were given one of these; --with-answers forgets them too", preview.answers)).await;
    }
    Ok(())
}

async fn tell(receipt: &ForgetReceipt, how: &ForgetHow, clock: Instant, out: &Out) {
    let statement = &receipt.statement;
    let seconds = clock.elapsed().as_secs_f64();
    out.line(format!("forgot {} turns of {} in {seconds:.1} s (receipt {})", statement.turns, how.user, statement.id)).await;
    for (place, count) in statement.counts.iter().filter(|(_, count)| **count > 0) {
        out.line(format!("  {place:28} {count:>9}")).await;
    }
    out.line(format!("  {:28} {:>9}", "witnesses", statement.witnesses)).await;
    for place in &statement.not_reached {
        out.line(format!("not reached: {place}")).await;
    }
    match &how.receipt {
        Some(path) => out.line(format!("the receipt is in {}; `ajatus forget prove --receipt` searches for its witnesses", path.display())).await,
        None => out.note("without --receipt FILE the witnesses are gone with this output; they would prove that no byte is left").await,
    }
}

/// Writes a receipt that only its owner may read: it names turns.
fn keep(path: &Path, receipt: &ForgetReceipt) -> anyhow::Result<()> {
    let unusable = |error: std::io::Error| Ended::new(Exit::Unusable, format!("the receipt cannot be written to {}: {error}; what it says is done", path.display()));
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).map_err(unusable)?;
    let mut text = serde_json::to_vec_pretty(receipt)?;
    text.push(b'\n');
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(unusable)
}

fn read(path: &Path) -> anyhow::Result<ForgetReceipt> {
    let unusable = |what: String| Ended::new(Exit::Unusable, format!("{}: {what}", path.display()));
    let text = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
    serde_json::from_slice(&text).map_err(|error| unusable(format!("it is no receipt: {error}")))
}

/// The key that this installation signs with, if its root key is here.
fn ours(config: &Config) -> Option<String> {
    let root = RootKey::load(&config.data.join("root.key")).ok()?;
    Some(Signer::new(&root.installation_secret(Signer::LABEL)).public())
}

async fn verify(config: &Config, path: &Path, out: &Out) -> anyhow::Result<Exit> {
    let receipt = read(path)?;
    let ours = ours(config);
    receipt.verify(ours.as_deref()).map_err(|error| Ended::new(Exit::Failed, format!("{}: {error}", path.display())))?;
    let statement = &receipt.statement;
    if out.json() {
        out.document(&json!({ "valid": true, "by_this_installation": ours.is_some(), "public_key": receipt.public_key, "statement": statement })).await?;
        return Ok(Exit::Done);
    }
    let by = if ours.is_some() { "by this installation" } else { "with the key that it names; no root key is here to compare it with" };
    out.line(format!("as it was signed, {by}: {} turns forgotten at {}", statement.turns, statement.finished_at.format("%Y-%m-%d %H:%M:%S UTC"))).await;
    Ok(Exit::Done)
}

/// Searches every file for what was forgotten.
pub(crate) async fn prove(config: &Config, args: ProveArgs, out: &Out) -> anyhow::Result<Exit> {
    let mut witnesses = Vec::new();
    for path in &args.receipt {
        let receipt = read(path)?;
        receipt.verify(None).map_err(|error| Ended::new(Exit::Failed, format!("{}: {error}", path.display())))?;
        if receipt.witnesses.is_empty() && receipt.statement.witnesses > 0 {
            return Err(Ended::new(Exit::Unusable, format!("{}: the receipt holds no witnesses; take the one that was given when it was forgotten", path.display())));
        }
        witnesses.extend(receipt.witnesses);
    }
    if args.receipt.is_empty() && args.canary.is_empty() {
        return Err(Ended::new(Exit::Usage, "nothing to look for; give --receipt FILE or --canary TEXT"));
    }
    let needles = Needles::new(&args.canary, &witnesses).map_err(|error| Ended::new(Exit::Usage, error.to_string()))?;
    let folder = args.folder.clone().unwrap_or_else(|| config.data.clone());
    let (forms, clock) = (needles.forms(), Instant::now());
    let (searching, telling) = (folder.clone(), out.clone());
    let total = size(&folder);
    let searched = tokio::task::spawn_blocking(move || search(&searching, &needles, |read| telling.progress("bytes searched", read.min(total), total))).await?;
    let searched = searched.map_err(|error| Ended::new(Exit::Unusable, format!("{}: {error}", folder.display())))?;
    let seconds = clock.elapsed().as_secs_f64();
    if out.json() {
        out.document(&json!({
            "folder": folder, "canaries": args.canary.len(), "witnesses": witnesses.len(), "forms": forms, "seconds": seconds,
            "bytes": searched.bytes(), "matches": searched.matches(), "tiers": searched.tiers, "unread": searched.unread,
        }))
        .await?;
    } else {
        say(&searched, &folder, forms, seconds, out).await;
    }
    Ok(match (searched.matches(), searched.unread.is_empty()) {
        (0, true) => Exit::Done,
        // Of a file that cannot be read nothing is known.
        (0, false) => Exit::Unusable,
        _ => Exit::Failed,
    })
}

async fn say(searched: &Searched, folder: &Path, forms: usize, seconds: f64, out: &Out) {
    out.line(format!("{:18} {:>7} {:>14} {:>8}", "files of", "files", "bytes", "matches")).await;
    for (name, tier) in &searched.tiers {
        out.line(format!("{name:18} {:>7} {:>14} {:>8}", tier.files, tier.bytes, tier.matches)).await;
        for found in &tier.found {
            out.line(format!("  {} at byte {} of {}", found.what, found.offset, found.file.display())).await;
        }
    }
    for unread in &searched.unread {
        out.note(format!("could not be read: {unread}")).await;
    }
    let (bytes, matches, shown) = (searched.bytes(), searched.matches(), folder.display());
    out.line(format!("{matches} matches of {forms} forms in {bytes} bytes of {shown}, searched in {seconds:.1} s")).await;
}

/// Bytes below a folder, about.
fn size(folder: &Path) -> u64 {
    let (mut bytes, mut folders) = (0, vec![PathBuf::from(folder)]);
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(data) if data.is_dir() => folders.push(entry.path()),
                Ok(data) if data.is_file() => bytes += data.len(),
                _ => {}
            }
        }
    }
    bytes
}
