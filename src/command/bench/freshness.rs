//! `ajatus bench freshness`: how long from an acknowledged write until it can be retrieved?
//!
//! A scratch log and database of its own, the real models, one write at a time: the idle system of the question. Every
//! write is then looked for, so a fast wrong answer cannot pass.

use std::time::{Duration, Instant};

use ajatus_events::{
    Body, ConversationId, Interaction, InteractionId, InteractionKey, Receipt, Role, UserId, topic,
};
use ajatus_kafka::{Record, partition_for_user, wire};
use ajatus_memory::keys::Purpose;
use ajatus_memory::retrieve::SearchOptions;
use chrono::Utc;
use futures::StreamExt as _;
use serde_json::json;
use uuid::Uuid;

use crate::config::Config;
use crate::control;
use crate::exit::{Ended, Exit};
use crate::output::Out;
use crate::stack::{Needs, Stack};

/// Longest wait for one write.
const LIMIT: Duration = Duration::from_secs(30);

/// What is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Writes that are timed.
    pub(super) writes: u32,
    /// Turns before.
    pub(super) history: u32,
    /// Writes a second; 0: one after the other.
    pub(super) rate: u32,
}

/// Runs the bench.
pub(super) async fn freshness(config: &Config, load: Load, out: &Out) -> anyhow::Result<Exit> {
    let folder = crate::stack::scratch_folder()?;
    let _lock = control::DataLock::take(folder.path())?;
    let stack = Stack::open(config.scratch(folder.path()), Needs::pipeline_and_recall(), out).await?;
    let ended = tokio::select! {
        ended = measure(&stack, load, out) => ended,
        _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
    };
    let closed = Stack::close(std::sync::Arc::new(stack)).await;
    let exit = ended?;
    closed?;
    Ok(exit)
}

async fn measure(stack: &Stack, load: Load, out: &Out) -> anyhow::Result<Exit> {
    let Load { writes, history, rate } = load;
    let user = stack.account_or_new("bench").await?;
    let conversation = ConversationId::imported(user, "bench");
    stack.database().ensure_conversation(stack.keys(), user, conversation, None).await?;
    let mut last = None;
    for at in 0..history {
        let (receipt, _) = write(stack, user, conversation, at).await?;
        last = Some(receipt);
        out.progress("history", u64::from(at) + 1, u64::from(history));
    }
    if let Some(receipt) = last {
        wait(stack, &receipt).await?;
    }
    // The user's part of the index is loaded before the clock starts: a warm system.
    stack.recall().search(user, "warm up", &SearchOptions::default()).await?;

    let (mut append_ms, mut fresh_ms) = (Vec::new(), Vec::new());
    if rate > 0 {
        (append_ms, fresh_ms) = at_rate(stack, user, conversation, load, out).await?;
    }
    for at in 0..if rate > 0 { 0 } else { writes } {
        let clock = Instant::now();
        let (receipt, id) = write(stack, user, conversation, history + at).await?;
        append_ms.push(clock.elapsed().as_secs_f64() * 1e3);
        let clock = Instant::now();
        wait(stack, &receipt).await?;
        fresh_ms.push(clock.elapsed().as_secs_f64() * 1e3);
        let found = stack
            .recall()
            .search(user, &sentence(history + at), &SearchOptions { limit: 5, ..SearchOptions::default() })
            .await?;
        if !found.hits.iter().any(|hit| hit.memory.id == id) {
            return Err(Ended::new(Exit::Failed, format!("write {at} was said to be in, but a search does not find it")));
        }
        out.progress("writes", u64::from(at) + 1, u64::from(writes));
    }
    append_ms.sort_by(f64::total_cmp);
    fresh_ms.sort_by(f64::total_cmp);
    let at = crate::stack::percentile;
    if out.json() {
        out.document(&json!({
            "writes": writes,
            "history": history,
            "writes_per_second": rate,
            "freshness_ms": { "p50": at(&fresh_ms, 0.50), "p99": at(&fresh_ms, 0.99), "max": at(&fresh_ms, 1.0) },
            "append_ms": { "p50": at(&append_ms, 0.50), "p99": at(&append_ms, 0.99), "max": at(&append_ms, 1.0) },
        }))
        .await?;
        return Ok(Exit::Done);
    }
    for (name, values) in [("acknowledged -> retrievable", &fresh_ms), ("append (sealed, fsynced)", &append_ms)] {
        out.line(format!(
            "{name:28} p50 {:>7.2} ms   p99 {:>7.2} ms   max {:>7.2} ms   ({writes} writes{}, {history} turns before)",
            at(values, 0.50),
            at(values, 0.99),
            at(values, 1.0),
            if rate > 0 { format!(", {rate} a second") } else { String::new() }
        ))
        .await;
    }
    Ok(Exit::Done)
}

/// Writes that begin on time, many of them on the way at once; every one is looked for in the end. Milliseconds from the acknowledgement, and of it.
async fn at_rate(stack: &Stack, user: UserId, conversation: ConversationId, load: Load, out: &Out) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
    let mut due = tokio::time::interval(Duration::from_secs(1) / load.rate);
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let mut on_the_way = futures::stream::FuturesUnordered::new();
    let (mut append_ms, mut fresh_ms, mut ids) = (Vec::new(), Vec::new(), Vec::new());
    let mut begun = 0;
    while begun < load.writes || !on_the_way.is_empty() {
        tokio::select! {
            _ = due.tick(), if begun < load.writes => {
                let number = load.history + begun;
                begun += 1;
                on_the_way.push(async move {
                    let clock = Instant::now();
                    let (receipt, id) = write(stack, user, conversation, number).await?;
                    let appended = clock.elapsed();
                    let clock = Instant::now();
                    wait(stack, &receipt).await?;
                    anyhow::Ok((number, id, appended, clock.elapsed()))
                });
            }
            Some(ended) = on_the_way.next(), if !on_the_way.is_empty() => {
                let (number, id, appended, fresh) = ended?;
                append_ms.push(appended.as_secs_f64() * 1e3);
                fresh_ms.push(fresh.as_secs_f64() * 1e3);
                ids.push((number, id));
                out.progress("writes", ids.len() as u64, u64::from(load.writes));
            }
        }
    }
    for (number, id) in ids {
        let found = stack.recall().search(user, &sentence(number), &SearchOptions { limit: 5, ..SearchOptions::default() }).await?;
        if !found.hits.iter().any(|hit| hit.memory.id == id) {
            return Err(Ended::new(Exit::Failed, format!("write {number} was said to be in, but a search does not find it")));
        }
    }
    Ok((append_ms, fresh_ms))
}

/// A sentence of about 12 words that no other number has.
fn sentence(number: u32) -> String {
    const WHAT: [&str; 8] = ["a kayak", "two tickets", "the blue lamp", "rye bread", "a saw", "wool socks", "the map", "a cello"];
    const WHERE: [&str; 7] = ["Oulu", "Porto", "the attic", "Savonlinna", "the harbour", "Kyoto", "my sister's yard"];
    format!(
        "On day {number} I left {} in {} and wrote code word {} down.",
        WHAT[number as usize % WHAT.len()],
        WHERE[number as usize % WHERE.len()],
        blake3::hash(&number.to_le_bytes()).to_hex().chars().take(6).collect::<String>()
    )
}

async fn write(
    stack: &Stack,
    user: UserId,
    conversation: ConversationId,
    number: u32,
) -> anyhow::Result<(Receipt, InteractionId)> {
    let id = InteractionId(Uuid::now_v7());
    let key = stack.keys().user(user).await?;
    let body = Body { text: sentence(number), ..Body::default() };
    let record = Interaction {
        id,
        user_id: user,
        conversation_id: conversation,
        session: 0,
        position: number,
        role: Role::User,
        occurred_at: Utc::now(),
        body: key.seal(Purpose::Messages, &Interaction::aad(user, id), &serde_json::to_vec(&body)?),
    };
    let log = stack.log();
    let partition = partition_for_user(user, log.partitions(topic::INTERACTIONS)?);
    let record = Record {
        key: InteractionKey { user_id: user, id }.to_string().into_bytes(),
        value: Some(wire::encode(&record)?),
    };
    let offsets = log.append(topic::INTERACTIONS, partition, vec![record]).await?;
    let offset = offsets.first().copied().unwrap_or_default();
    Ok((Receipt { topic: topic::INTERACTIONS.to_owned(), partition, offset }, id))
}

async fn wait(stack: &Stack, receipt: &Receipt) -> anyhow::Result<()> {
    stack
        .index()
        .wait_for(receipt, LIMIT)
        .await
        .map(drop)
        .map_err(|behind| Ended::new(Exit::Unavailable, format!("a write is not in after {} s: {behind}", LIMIT.as_secs())))
}
