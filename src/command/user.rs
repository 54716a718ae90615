//! `ajatus user add|password|list|consent`.

use serde_json::json;

use crate::cli::{UserCommand, YesNo};
use crate::exit::{Ended, Exit};
use crate::output::Out;
use crate::stack::Stack;

/// Accounts listed at most.
const LIST_LIMIT: u32 = 1000;

/// Runs the command.
pub(crate) async fn run(stack: &Stack, command: &UserCommand, out: &Out) -> anyhow::Result<Exit> {
    let (database, keys) = (stack.database(), stack.keys());
    match command {
        UserCommand::Add { name, password, .. } => {
            let hash = hash(password.as_deref()).await?;
            let account = database.create_account(keys, name, hash.as_deref()).await?;
            if out.json() {
                out.document(&json!({ "id": account.id, "name": account.login })).await?;
            } else {
                let sign_in = if hash.is_some() { "can sign in" } else { "cannot sign in until `ajatus user password` gives a password" };
                out.line(format!("{} {}: {sign_in}", account.id, account.login)).await;
            }
        }
        UserCommand::Password { name, password } => {
            let user = stack.account(name).await?;
            let Some(hash) = hash(password.as_deref()).await? else {
                return Err(Ended::new(Exit::Usage, "no password on the first line of standard input"));
            };
            database.set_password_hash(user, &hash).await?;
            out.note(format!("{name} has a new password")).await;
        }
        UserCommand::Consent { name, training } => {
            let user = stack.account(name).await?;
            let since = database.set_training_consent(user, *training == YesNo::Yes).await?;
            if out.json() {
                out.document(&json!({ "id": user, "training_consent_at": since })).await?;
            } else {
                out.line(match since {
                    Some(since) => format!("{name}: turns may train a model, since {}", since.format("%Y-%m-%d %H:%M UTC")),
                    None => format!("{name}: turns may not train a model; sets that were taken before are not called back"),
                })
                .await;
            }
        }
        UserCommand::List => {
            let accounts = database.accounts(keys, LIST_LIMIT).await?;
            for account in accounts {
                if out.json() {
                    out.document(&json!({
                        "id": account.id,
                        "name": account.login,
                        "can_sign_in": account.password_hash.is_some(),
                        "created_at": account.created_at,
                        "training_consent_at": account.training_consent_at,
                    }))
                    .await?;
                } else {
                    out.line(format!("{}  {}  {}", account.id, account.created_at.format("%Y-%m-%d"), account.login)).await;
                }
            }
        }
    }
    Ok(Exit::Done)
}

async fn hash(password: Option<&str>) -> anyhow::Result<Option<String>> {
    let Some(password) = password else { return Ok(None) };
    let password = password.to_owned();
    let hash = tokio::task::spawn_blocking(move || ajatus_serving::auth::hash_password(&password)).await?;
    Ok(Some(hash.map_err(|error| Ended::new(Exit::Usage, error.to_string()))?))
}
