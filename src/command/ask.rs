//! `ajatus ask`: streams the answer, then lists the memories it was given, each with its turn.

use ajatus_events::ConversationId;
use ajatus_serving::reply::FrameBody;
use futures::StreamExt as _;
use serde_json::json;

use super::memory;
use crate::cli::AskArgs;
use crate::exit::{Ended, Exit};
use crate::output::Out;
use crate::stack::Stack;

/// Asks in the user's own command-line conversation, which later questions see as their past.
pub(crate) async fn run(stack: &Stack, args: &AskArgs, out: &Out) -> anyhow::Result<Exit> {
    if args.question.trim().is_empty() {
        return Err(Ended::new(Exit::Usage, "the question is empty"));
    }
    let user = stack.account(&args.user).await?;
    let conversation = ConversationId::imported(user, "ajatus ask");
    stack.database().ensure_conversation(stack.keys(), user, conversation, Some("ajatus ask")).await?;
    let started = stack.replier().start(user, conversation, args.question.clone()).await;
    let mut frames = started.map_err(|problem| Ended::new(Exit::Failed, problem.detail))?;
    let (mut answer, mut used) = (String::new(), Vec::new());
    let mut ended = None;
    while let Some(frame) = frames.next().await {
        match frame.body {
            FrameBody::Token { text } => {
                if !out.json() {
                    out.text(text.clone()).await;
                }
                answer.push_str(&text);
            }
            FrameBody::Memories { used: memories } => used = memories,
            body @ FrameBody::Done { .. } => ended = Some(body),
            FrameBody::Error { problem } => {
                if !out.json() && !answer.is_empty() {
                    out.line("").await;
                }
                return Err(Ended::new(Exit::Failed, format!("the answer broke off: {}", problem.detail)));
            }
            FrameBody::Accepted { .. } => {}
        }
    }
    let Some(FrameBody::Done { message_id, receipt, finish_reason, usage }) = ended else {
        return Err(Ended::new(Exit::Failed, "the answer broke off without a reason"));
    };
    if out.json() {
        out.document(&json!({
            "answer": answer,
            "message_id": message_id,
            "receipt": receipt,
            "finish_reason": finish_reason,
            "usage": usage,
            "memories": used,
        }))
        .await?;
        return Ok(Exit::Done);
    }
    out.line("").await;
    if used.is_empty() {
        out.line("\nNo memories were used.").await;
    } else {
        out.line("\nMemories used:").await;
    }
    for (rank, hit) in used.iter().enumerate() {
        out.line(memory::describe_used(rank + 1, hit)).await;
    }
    Ok(Exit::Done)
}
