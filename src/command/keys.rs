//! `ajatus keys status|rotate|rotate-root`.

use std::sync::Arc;

use ajatus_serving::rekey::{RekeyParts, rekey};
use serde_json::json;

use crate::cli::KeysCommand;
use crate::exit::{Ended, Exit};
use crate::output::Out;
use crate::stack::Stack;

/// Accounts looked at, at most.
const MOST: u32 = 1_000_000;

/// Runs the command.
pub(crate) async fn run(stack: &Stack, command: &KeysCommand, out: &Out) -> anyhow::Result<Exit> {
    match command {
        KeysCommand::Status => status(stack, out).await,
        KeysCommand::Rotate { user } => rotate(stack, user.as_deref(), out).await,
        KeysCommand::RotateRoot => {
            let (keys, logins) = stack.keys().replace_root(&stack.config.data.join("root.key")).await?;
            if out.json() {
                out.document(&json!({ "keys": keys, "logins": logins })).await?;
            } else {
                out.line(format!("the root key is another now: {keys} data keys were wrapped and {logins} logins sealed anew; back root.key up")).await;
            }
            Ok(Exit::Done)
        }
    }
}

async fn status(stack: &Stack, out: &Out) -> anyhow::Result<Exit> {
    let (database, keys) = (stack.database(), stack.keys());
    let accounts = database.accounts(keys, MOST).await?;
    let replacing = database.users_replacing().await?;
    let mut versions = std::collections::BTreeMap::<u32, u64>::new();
    for account in &accounts {
        if let Ok(key) = keys.user(account.id).await {
            *versions.entry(key.version()).or_default() += 1;
        }
    }
    if out.json() {
        out.document(&json!({ "accounts": accounts.len(), "versions": versions, "replacing": replacing, "root_replacing": keys.root_replaces() })).await?;
        return Ok(Exit::Done);
    }
    let versions: Vec<String> = versions.iter().map(|(version, users)| format!("{users} of version {version}")).collect();
    out.line(format!("{} accounts; data keys: {}", accounts.len(), if versions.is_empty() { "none".to_owned() } else { versions.join(", ") })).await;
    if !replacing.is_empty() {
        out.line(format!("{} keys are being replaced; `ajatus keys rotate` goes on", replacing.len())).await;
    }
    Ok(Exit::Done)
}

async fn rotate(stack: &Stack, name: Option<&str>, out: &Out) -> anyhow::Result<Exit> {
    let users = match name {
        Some(name) => vec![stack.account(name).await?],
        None => stack.database().accounts(stack.keys(), MOST).await?.into_iter().map(|account| account.id).collect(),
    };
    let parts = RekeyParts { log: stack.log(), db: stack.database().clone(), keys: stack.keys().clone(), index: Arc::clone(stack.index()) };
    let mut all = Vec::with_capacity(users.len());
    for (done, user) in users.iter().enumerate() {
        let rekeyed = rekey(&parts, *user).await.map_err(|error| Ended::new(Exit::Unavailable, format!("the key of user {user}: {error}")))?;
        all.push(json!({ "user": user, "done": rekeyed }));
        if !out.json() {
            out.line(format!(
                "{user}: version {}, {} records, {} answers and {} fields sealed anew; the older key is destroyed",
                rekeyed.version, rekeyed.interactions, rekeyed.answers, rekeyed.fields
            ))
            .await;
        }
        out.progress("keys", done as u64 + 1, users.len() as u64);
    }
    if out.json() {
        out.document(&json!({ "users": all })).await?;
    }
    Ok(Exit::Done)
}
