//! `ajatus model list|add|verify`.

use serde_json::json;

use crate::cli::ModelCommand;
use crate::config::Config;
use crate::exit::{Ended, Exit};
use crate::output::Out;
use crate::registry::{Damage, Entry, Inspected, Registry, inspect, verify};

/// Runs the command; it needs no part of the companion.
pub(crate) async fn run(config: &Config, command: ModelCommand, out: &Out) -> anyhow::Result<Exit> {
    let mut registry = Registry::open(config)?;
    match command {
        ModelCommand::List => {
            for (name, entry, built_in) in registry.models() {
                if out.json() {
                    let mut document = serde_json::to_value(entry)?;
                    document["name"] = json!(name);
                    document["built_in"] = json!(built_in);
                    out.document(&document).await?;
                } else {
                    out.line(describe(name, entry)).await;
                }
            }
            Ok(Exit::Done)
        }
        ModelCommand::Add { path, name, adapter } => {
            let inspected = tokio::task::spawn_blocking(move || inspect(&path, adapter.as_deref())).await??;
            let Inspected { name: found, entry } = inspected;
            let name = name.unwrap_or(found);
            registry.add(&name, entry)?;
            let entry = registry.model(&name)?;
            if out.json() {
                let mut document = serde_json::to_value(entry)?;
                document["name"] = json!(name);
                out.document(&document).await?;
            } else {
                out.line(describe(&name, entry)).await;
                let key = if entry.task == crate::registry::Task::Embedding { "models.embedding" } else { "models.chat" };
                out.line(format!("in ajatus.toml: [{key}]  name = {name:?}")).await;
            }
            Ok(Exit::Done)
        }
        ModelCommand::Verify { names } => {
            let names = if names.is_empty() { registry.models().map(|(name, ..)| name.to_owned()).collect() } else { names };
            let mut sound = true;
            for name in names {
                let entry = registry.model(&name)?.clone();
                let damage: Vec<Damage> = tokio::task::spawn_blocking(move || verify(&entry)).await?;
                sound &= damage.is_empty();
                if out.json() {
                    out.document(&json!({ "name": name, "sound": damage.is_empty(), "damage": damage })).await?;
                } else if damage.is_empty() {
                    out.line(format!("{name}: every file is as it was")).await;
                } else {
                    for Damage { path, what } in damage {
                        out.line(format!("{name}: {path}: {what}")).await;
                    }
                }
            }
            if sound { Ok(Exit::Done) } else { Err(Ended::new(Exit::Unusable, "a model's files are not those that were added; bring the right ones back, or add it under another name")) }
        }
    }
}

fn describe(name: &str, entry: &Entry) -> String {
    let or = |value: Option<String>, other: &str| value.unwrap_or_else(|| other.to_owned());
    let adapter = entry.adapter.as_ref().map(|adapter| format!(", adapter of rank {} in {}", adapter.rank, adapter.path.display())).unwrap_or_default();
    format!(
        "{name}@{}  {}, {:.1} M parameters, context {}, template {}, licence {}  {}{adapter}",
        entry.weights,
        entry.architecture,
        millions(entry.parameters),
        or(entry.context_tokens.map(|tokens| tokens.to_string()), "unknown"),
        or(entry.chat_template.clone(), "none"),
        or(entry.licence.clone(), "not said"),
        entry.path.display()
    )
}

#[expect(clippy::cast_precision_loss, reason = "shown to one digit")]
fn millions(count: u64) -> f64 {
    count as f64 / 1e6
}
