//! `ajatus topics apply`.

use crate::cli::TopicsCommand;
use crate::exit::Exit;
use crate::output::Out;
use crate::stack::Stack;

/// Makes what is missing; reports the rest.
pub(crate) async fn run(stack: &Stack, command: &TopicsCommand, out: &Out) -> anyhow::Result<Exit> {
    let TopicsCommand::Apply { dry_run } = command;
    let changes = stack.apply_topics(*dry_run).await?;
    if out.json() {
        out.document(&changes).await?;
        return Ok(Exit::Done);
    }
    if changes.is_empty() {
        out.line("the topics are as topics.toml says; nothing to do").await;
    }
    for change in &changes {
        out.line(change.to_string()).await;
    }
    Ok(Exit::Done)
}
