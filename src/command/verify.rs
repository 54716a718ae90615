//! `ajatus memory verify`: do the stores hold the same, and is what is known what was said?

mod compare;
mod mend;

use std::collections::BTreeSet;

use ajatus_events::UserId;
use serde_json::{Value, json};

use self::compare::{Differs, Findings, Scope};
use crate::cli::VerifyArgs;
use crate::exit::Exit;
use crate::output::Out;
use crate::stack::Stack;

/// Users that are named, of those that differ.
const NAMED: usize = 20;

/// Compares, mends if told to and compares again, and says what was found.
pub(crate) async fn run(stack: &Stack, args: &VerifyArgs, out: &Out) -> anyhow::Result<Exit> {
    let user = match &args.user {
        Some(name) => Some(stack.account(name).await?),
        None => None,
    };
    stack.caught_up(out).await?;
    let mut scope = Scope { user, sample: args.vectors as usize, also: BTreeSet::new() };
    let found = compare::compare(stack, &scope).await?;
    let left = if args.repair && !found.same() {
        mend::mend(stack, &found).await?;
        scope.also.extend(&found.lance.contents);
        Some(compare::compare(stack, &scope).await?)
    } else {
        None
    };
    let whole = left.as_ref().unwrap_or(&found).same();
    if out.json() {
        let mut document = document(&found);
        if let Some(left) = &left {
            document["after_repair"] = self::document(left);
        }
        document["whole"] = json!(whole);
        out.document(&document).await?;
    } else {
        say(&found, out).await;
        if let Some(left) = &left {
            out.line("after the repair:").await;
            say(left, out).await;
        }
        if !whole {
            out.line(if args.repair { "it could not all be mended" } else { "`ajatus memory verify --repair` makes it anew from Postgres" }).await;
        }
    }
    Ok(if whole { Exit::Done } else { Exit::Failed })
}

fn users(differ: &[Differs]) -> Vec<Value> {
    differ.iter().map(|one| json!({ "user": one.user, "postgres_rows": one.postgres, "rows": one.there })).collect()
}

fn document(found: &Findings) -> Value {
    let (lance, index, profiles) = (&found.lance, &found.index, &found.profiles);
    json!({
        "epoch": found.epoch,
        "postgres": { "users": found.users, "memories": found.memories },
        "lance": {
            "kept": lance.kept,
            "unusable": lance.unusable,
            "rebuilt": lance.rebuilt,
            "differ": users(&lance.differ),
            "sampled": { "users": lance.sampled_users, "rows": lance.sampled_rows },
            "contents_differ": lance.contents,
        },
        "index": { "held": index.held, "differ": users(&index.differ), "moving": index.moving },
        "profiles": {
            "users": profiles.users,
            "entries": profiles.entries,
            "differ": profiles.differ.iter().map(|(user, check)| json!({ "user": user, "missing": check.missing, "other": check.other, "extra": check.extra })).collect::<Vec<_>>(),
            "unreadable": profiles.unreadable.iter().map(|(user, why)| json!({ "user": user, "why": why })).collect::<Vec<_>>(),
        },
        "same": found.same(),
    })
}

async fn say(found: &Findings, out: &Out) {
    out.line(format!("Postgres   epoch {}: {} memories of {} users", found.epoch, found.memories, found.users)).await;
    let lance = &found.lance;
    let sampled = format!("{} rows of {} users byte for byte", lance.sampled_rows, lance.sampled_users);
    match (&lance.unusable, lance.kept) {
        (_, false) => out.line("Lance      is not kept (memory.lance is false)").await,
        (Some(why), _) => out.line(format!("Lance      cannot be used: {why}")).await,
        (None, _) if lance.differ.is_empty() && lance.contents.is_empty() => out.line(format!("Lance      the same; {sampled}")).await,
        (None, _) => {
            out.line(format!("Lance      {} users differ; {sampled}, {} users differ in these", lance.differ.len(), lance.contents.len())).await;
            list(&lance.differ, out).await;
            for user in lance.contents.iter().take(NAMED) {
                out.line(format!("             {user}  holds other bytes")).await;
            }
        }
    }
    if let Some(why) = &lance.rebuilt {
        out.line(format!("             it was made anew when it was opened: {why}")).await;
    }
    let index = &found.index;
    if index.differ.is_empty() {
        out.line(format!("index      the same for the {} users that are held", index.held)).await;
    } else {
        out.line(format!("index      {} of the {} users that are held differ", index.differ.len(), index.held)).await;
        list(&index.differ, out).await;
    }
    if index.moving > 0 {
        out.line(format!("             {} users write all the time and were not compared", index.moving)).await;
    }
    let profiles = &found.profiles;
    if profiles.differ.is_empty() && profiles.unreadable.is_empty() {
        out.line(format!("profiles   the same as made from scratch: {} entries of {} users", profiles.entries, profiles.users)).await;
    } else {
        out.line(format!("profiles   {} of {} users differ from what their turns say, {} cannot be read", profiles.differ.len(), profiles.users, profiles.unreadable.len())).await;
        for (user, check) in profiles.differ.iter().take(NAMED) {
            out.line(format!("             {user}  {} entries missing, {} other, {} too many", check.missing, check.other, check.extra)).await;
        }
        for (user, why) in profiles.unreadable.iter().take(NAMED) {
            out.line(format!("             {user}  {why}")).await;
        }
    }
}

async fn list(differ: &[Differs], out: &Out) {
    for Differs { user, postgres, there } in differ.iter().take(NAMED) {
        let user: &UserId = user;
        out.line(format!("             {user}  Postgres {postgres} rows, here {there}")).await;
    }
}
