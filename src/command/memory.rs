//! `ajatus memory search`.

use std::time::Duration;

use ajatus_events::Receipt;
use ajatus_memory::index::SearchResult;
use ajatus_memory::retrieve::{Hit, SearchOptions, Signals, TimeUse, UnknownSignal};
use ajatus_serving::reply::UsedMemory;
use serde_json::json;

use crate::cli::{MemorySearchArgs, TimeWord};
use crate::exit::{Ended, Exit};
use crate::output::Out;
use crate::stack::Stack;

/// Longest wait for `--after`.
const AFTER_WAIT: Duration = Duration::from_secs(10);

/// Finds turns and prints them with where they come from.
pub(crate) async fn search(stack: &Stack, args: &MemorySearchArgs, out: &Out) -> anyhow::Result<Exit> {
    let user = stack.account(&args.user).await?;
    if let Some(after) = &args.after {
        let receipt: Receipt = after.parse().map_err(|error| Ended::new(Exit::Usage, format!("--after: {error}")))?;
        stack.index().wait_for(&receipt, AFTER_WAIT).await.map_err(|behind| {
            Ended::new(Exit::Unavailable, format!("{behind}; the write is on the log, ask again in a moment"))
        })?;
    }
    let usage = |what: String| Ended::new(Exit::Usage, what);
    for (name, share) in [("--diversity", args.diversity), ("--min-evidence", Some(args.min_evidence))] {
        if let Some(share) = share.filter(|share| !(0.0..=1.0).contains(share)) {
            return Err(usage(format!("{name} is {share}, but it must be 0 to 1")));
        }
    }
    let options = SearchOptions {
        limit: usize::from(args.limit),
        explain: args.explain,
        signals: args.signals.as_deref().map_or(Ok(Signals::ALL), str::parse).map_err(|error: UnknownSignal| usage(format!("--signals: {error}")))?,
        time: match args.time {
            TimeWord::Ignore => TimeUse::Ignore,
            TimeWord::Prefer => TimeUse::Prefer,
            TimeWord::Only => TimeUse::Only,
        },
        now: Some(chrono::Utc::now()),
        diversity: args.diversity,
        token_budget: args.token_budget,
        min_score: args.min_evidence,
    };
    let result = match args.as_of.as_deref().map(super::profile::as_of).transpose()? {
        Some(past) => stack.recall().search_past(user, &args.question, past, &options).await?,
        None => stack.recall().search(user, &args.question, &options).await?,
    };
    if out.json() {
        out.document(&document(&result)).await?;
        return Ok(Exit::Done);
    }
    if result.hits.is_empty() {
        out.line(format!("{} has no memories yet; `ajatus import` brings some in", args.user)).await;
    }
    if !result.confident && !result.hits.is_empty() {
        out.line("little speaks for any of these; the nearest:".to_owned()).await;
    }
    for (rank, hit) in result.hits.iter().enumerate() {
        out.line(describe(rank + 1, hit)).await;
        if args.explain {
            let signals: Vec<String> =
                hit.signals.iter().filter(|(_, value)| *value != 0.0).map(|(name, value)| format!("{name} {value:.2}")).collect();
            out.line(format!("     {}", signals.join("  "))).await;
        }
    }
    Ok(Exit::Done)
}

/// A turn on one line: rank, score, date, speaker, words, and where it stood.
pub(crate) fn describe(rank: usize, hit: &Hit) -> String {
    let memory = &hit.memory;
    let speaker = memory.body.speaker.as_deref().unwrap_or_else(|| memory.role.as_str());
    let source = memory.body.source.as_ref().map_or_else(
        || format!("turn {}", memory.id),
        |source| format!("{} {} {}", source.format, source.conversation, source.turn),
    );
    let caption = memory.body.caption.as_ref().map(|caption| format!(" [picture: {caption}]")).unwrap_or_default();
    format!(
        "{rank:>3}. {:.2}  {}  {speaker}: {}{caption}  ({source})",
        hit.score,
        memory.occurred_at.format("%Y-%m-%d"),
        memory.body.text.replace('\n', " ")
    )
}

/// A memory that an answer was given, on one line.
pub(crate) fn describe_used(rank: usize, used: &UsedMemory) -> String {
    let speaker = used.speaker.as_deref().unwrap_or_else(|| used.role.as_str());
    let source = used.source.as_ref().map_or_else(
        || format!("turn {}", used.id),
        |source| format!("{} {} {}", source.format, source.conversation, source.turn),
    );
    let (when, text) = (used.occurred_at.format("%Y-%m-%d"), used.text.replace('\n', " "));
    format!("{rank:>3}. {when}  {speaker}: {text}  ({source}; because of {})", used.why.join(", "))
}

/// The same as JSON.
pub(crate) fn hit_document(hit: &Hit) -> serde_json::Value {
    let memory = &hit.memory;
    let mut document = json!({
        "id": memory.id,
        "score": hit.score,
        "conversation_id": memory.conversation_id,
        "session": memory.session,
        "role": memory.role,
        "speaker": memory.body.speaker,
        "occurred_at": memory.occurred_at,
        "text": memory.body.text,
        "caption": memory.body.caption,
        "source": memory.body.source,
    });
    if !hit.signals.is_empty() {
        document["signals"] = hit.signals.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    }
    document
}

fn document(result: &SearchResult) -> serde_json::Value {
    json!({
        "as_of": { "epoch": result.epoch },
        "confident": result.confident,
        "evidence": { "cosine": result.evidence.cosine, "coverage": result.evidence.coverage, "total": result.evidence.total },
        "hits": result.hits.iter().map(hit_document).collect::<Vec<_>>(),
    })
}
