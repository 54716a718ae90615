//! `ajatus data training-set`: conversations of those who allowed it, as a training set for a chat model.
//!
//! Holds always: only turns of accounts whose consent stands at the one moment that is read; a turn that was forgotten before the command began is
//! absent; a set that is there has its line in the trail. Not promised: that a set which was taken is called back when somebody withdraws.
//! After a crash: perhaps files with the ending `.part` in the folder, and no line in the trail.

mod conversations;
mod files;
mod takeout;

use std::path::{Path, PathBuf};

use ajatus_events::UserId;
use ajatus_memory::postgres::TrainingExport;
use chrono::Utc;
use serde_json::json;

use crate::cli::{DataCommand, TrainingSetArgs};
use crate::exit::{Ended, Exit};
use crate::output::Out;
use crate::stack::Stack;
use conversations::{Counts, chat, held_apart};
use files::Files;

/// A system's message is that large at most, bytes.
const MAX_SYSTEM_BYTES: u64 = 100_000;

/// What only the caller's process knows: where paths start, and who asks.
pub(crate) fn prepare(command: &mut DataCommand) -> anyhow::Result<()> {
    if let DataCommand::TrainingSet(args) = command {
        args.out = std::path::absolute(&args.out)?;
        args.system = args.system.as_ref().map(std::path::absolute).transpose()?;
        args.by = account();
    }
    if let DataCommand::Takeout(args) = command {
        args.out = std::path::absolute(&args.out)?;
    }
    if let DataCommand::Restore(args) = command {
        args.folder = std::path::absolute(&args.folder)?;
    }
    Ok(())
}

/// The name of the account that runs this process; its number where it has no name.
fn account() -> String {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(own) = std::fs::metadata("/proc/self") else { return "unknown".to_owned() };
    let uid = own.uid().to_string();
    let names = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = names.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| format!("uid {uid}"))
}

/// Runs the command.
pub(crate) async fn run(stack: &Stack, command: &DataCommand, out: &Out) -> anyhow::Result<Exit> {
    match command {
        DataCommand::TrainingSet(args) => training_set(stack, args, out).await,
        DataCommand::Takeout(args) => takeout::write(stack, args, out).await,
        DataCommand::Restore(args) => takeout::restore(stack, args, out).await,
        DataCommand::TrainingExports => {
            for line in stack.database().training_exports().await? {
                if out.json() {
                    let TrainingExport { exported_at, exported_by, purpose, users, conversations, messages, content_hash } = line;
                    out.document(&json!({
                        "exported_at": exported_at, "exported_by": exported_by, "purpose": purpose, "users": users,
                        "conversations": conversations, "messages": messages, "content_hash": content_hash,
                    }))
                    .await?;
                } else {
                    let (when, hash) = (line.exported_at.format("%Y-%m-%d %H:%M"), line.content_hash.chars().take(16).collect::<String>());
                    out.line(format!("{when}  {}  {} users, {} conversations, {} messages  {hash}  {}", line.exported_by, line.users, line.conversations, line.messages, line.purpose)).await;
                }
            }
            Ok(Exit::Done)
        }
    }
}

fn system(path: Option<&Path>) -> anyhow::Result<Option<String>> {
    let Some(path) = path else { return Ok(None) };
    let refuse = |what: String| Ended::new(Exit::Unusable, format!("--system {}: {what}", path.display()));
    let bytes = std::fs::metadata(path).map_err(|error| refuse(error.to_string()))?.len();
    if bytes > MAX_SYSTEM_BYTES {
        return Err(refuse(format!("it has {bytes} bytes, but a system's message may have {MAX_SYSTEM_BYTES}")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?.trim().to_owned();
    if text.is_empty() { Err(refuse("it is empty; leave --system out for none".to_owned())) } else { Ok(Some(text)) }
}

async fn training_set(stack: &Stack, args: &TrainingSetArgs, out: &Out) -> anyhow::Result<Exit> {
    if let (Some(since), Some(until)) = (args.since, args.until)
        && since >= until
    {
        return Err(Ended::new(Exit::Usage, format!("--since {since} is not before --until {until}")));
    }
    let system = system(args.system.as_deref())?;
    let mut files = Files::begin(&args.out, args.format)?;
    // What was said, and above all what was forgotten, is in the views before they are read.
    stack.caught_up(out).await?;
    let (database, keys) = (stack.database(), stack.keys());
    let mut read = database.begin_training_read().await?;
    let users = chosen(stack, args, &read.consented().await?).await?;
    let at = Utc::now();
    let (mut counts, mut redacted) = (Counts::default(), 0);
    for (number, user) in users.iter().enumerate() {
        let turns = read.turns(keys, *user, args.since, args.until).await?;
        let name = |conversation: &str| keys.blind("training conversation", conversation);
        let valid = held_apart(&keys.blind("training user", &user.to_string()), args.seed, args.valid_share);
        let (conversations, of_user, hidden) = chat(turns, system.as_deref(), &name);
        counts.add(&of_user);
        redacted += hidden;
        files.add(conversations, valid);
        out.progress("users", number as u64 + 1, users.len() as u64);
    }
    if counts.conversations == 0 {
        return Err(Ended::new(Exit::Unusable, "there is no conversation with an answer among the turns that were asked for; nothing was written"));
    }
    let manifest = json!({
        "purpose": args.purpose, "exported_at": at, "exported_by": args.by,
        "since": args.since, "until": args.until, "system": system, "seed": args.seed, "valid_share": args.valid_share,
        "users": counts.users, "conversations": counts.conversations, "messages": counts.messages,
        "left_out": { "turns_of_others": counts.others, "turns_without_words": counts.silent, "turns_without_answer": counts.unanswered },
        "mail_addresses_hidden": redacted,
    });
    let written = files.write(manifest)?;
    let export = TrainingExport {
        exported_at: at,
        exported_by: args.by.clone(),
        purpose: args.purpose.clone(),
        users: counts.users,
        conversations: counts.conversations,
        messages: counts.messages,
        content_hash: written.hash.clone(),
    };
    // First the trail, then the names by which the files are found.
    read.finish(&export).await?;
    let document = written.publish()?;
    if out.json() {
        out.document(&document).await?;
    } else {
        out.line(format!("{} conversations with {} messages of {} users in {}", counts.conversations, counts.messages, counts.users, args.out.display())).await;
        out.line(format!("the trail has it: {} for {:?}, {}", args.by, args.purpose, export.content_hash)).await;
    }
    Ok(Exit::Done)
}

/// Whose turns are read, in the order of their ids.
async fn chosen(stack: &Stack, args: &TrainingSetArgs, consented: &[UserId]) -> anyhow::Result<Vec<UserId>> {
    if consented.is_empty() {
        return Err(Ended::new(Exit::Usage, "nobody has allowed that their turns train a model; `ajatus user consent NAME --training yes` says that somebody has"));
    }
    if args.all_consented {
        return Ok(consented.to_vec());
    }
    let mut users = Vec::new();
    for name in &args.users {
        let user = stack.account(name).await?;
        if !consented.contains(&user) {
            return Err(Ended::new(Exit::Usage, format!("{name} has not allowed that their turns train a model; nothing was written")));
        }
        users.push(user);
    }
    users.sort_unstable();
    users.dedup();
    Ok(users)
}

/// The folder of a set and what it may not hold yet.
fn taken(folder: &Path, names: &[String]) -> Option<PathBuf> {
    names.iter().map(|name| folder.join(name)).find(|path| path.exists())
}
