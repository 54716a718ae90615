//! What the memo holds: answers by model and prompt, and whether a live turn needs them.
//!
//! Holds always: only the memo's own task says what is live and only it erases, so that an answer which a turn asks for in that moment
//! is never lost. Not promised: anything about answers that come while one looks.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use ajatus_events::{AnswerKey, topic};
use ajatus_kafka::{Log, LogError};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use crate::memo::ToMemo;
use crate::runtime::{PipelineError, Running};

/// An answer on the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) partition: u32,
    pub(crate) key: String,
    bytes: u64,
    at_ms: i64,
}

/// A question to the memo's task: what of this is needed? It is answered once everything an earlier run had minted is in the views.
pub(crate) struct Look {
    pub(crate) recorded: Vec<Recorded>,
    /// Whether what nobody needs is erased.
    pub(crate) erase: bool,
    pub(crate) reply: oneshot::Sender<Result<Seen, LogError>>,
}

/// What a [`Look`] found.
pub(crate) struct Seen {
    /// Keys that a live turn needs, or that one may need until its epoch is in the views.
    pub(crate) live: HashSet<String>,
}

/// Answers of one model to one prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoGroup {
    /// Model and version, `name@weights`.
    pub model: String,
    /// Hash of the prompt; `-` for vectors.
    pub prompt: String,
    /// Answers.
    pub entries: u64,
    /// Their keys and values.
    pub bytes: u64,
    /// Answers that a live turn needs.
    pub live: u64,
    /// Their keys and values.
    pub live_bytes: u64,
    /// When the oldest was recorded, milliseconds since 1970, UTC.
    pub oldest_ms: i64,
    /// When the newest was.
    pub newest_ms: i64,
}

/// The memo at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoSurvey {
    /// By model and prompt, in that order. A key that is none of ours counts under a model and a prompt of `?`.
    pub groups: Vec<MemoGroup>,
    /// Answers that were erased because no live turn needs them.
    pub erased: u64,
    /// Records of the log that went with them.
    pub compacted: u64,
}

/// The last record of each key that has one; a forgotten key has none.
async fn recorded(log: &dyn Log) -> Result<Vec<Recorded>, LogError> {
    let mut all = BTreeMap::new();
    for partition in 0..log.partitions(topic::MODEL_ANSWERS)? {
        let mut from = log.start_offset(topic::MODEL_ANSWERS, partition).await?;
        loop {
            let chunk = log.read(topic::MODEL_ANSWERS, partition, from, 10_000).await?;
            for entry in chunk.entries {
                let bytes = (entry.key.len() + entry.value.as_ref().map_or(0, Vec::len)) as u64;
                let key = String::from_utf8_lossy(&entry.key).into_owned();
                let place = (partition, key.clone());
                match entry.value {
                    Some(_) => drop(all.insert(place, Recorded { partition, key, bytes, at_ms: entry.timestamp_ms })),
                    None => drop(all.remove(&place)),
                }
            }
            if chunk.next == from {
                break;
            }
            from = chunk.next;
        }
    }
    Ok(all.into_values().collect())
}

fn grouped(recorded: &[Recorded], live: &HashSet<String>) -> Vec<MemoGroup> {
    let mut groups: BTreeMap<(String, String), MemoGroup> = BTreeMap::new();
    for one in recorded {
        let (model, prompt) = one.key.parse::<AnswerKey>().map_or_else(|_| ("?".to_owned(), "?".to_owned()), |key| (key.model, key.prompt));
        let group = groups.entry((model.clone(), prompt.clone())).or_insert(MemoGroup {
            model,
            prompt,
            entries: 0,
            bytes: 0,
            live: 0,
            live_bytes: 0,
            oldest_ms: i64::MAX,
            newest_ms: i64::MIN,
        });
        group.entries += 1;
        group.bytes += one.bytes;
        if live.contains(&one.key) {
            group.live += 1;
            group.live_bytes += one.bytes;
        }
        group.oldest_ms = group.oldest_ms.min(one.at_ms);
        group.newest_ms = group.newest_ms.max(one.at_ms);
    }
    groups.into_values().collect()
}

impl Running {
    /// Says what the memo holds and what of it a live turn needs; waits until everything an earlier run had minted is in the views.
    ///
    /// # Errors
    /// The log's; [`PipelineError::Panic`] if the pipeline has ended.
    pub async fn survey_memo(&self) -> Result<MemoSurvey, PipelineError> {
        let (recorded, seen) = look(&self.log, &self.memo, false).await?;
        Ok(MemoSurvey { groups: grouped(&recorded, &seen.live), ..MemoSurvey::default() })
    }

    /// Erases the answers that no live turn needs, and lets the embedded log drop their records. What it says of the memo is as it was before.
    ///
    /// # Errors
    /// As [`Self::survey_memo`].
    pub async fn collect_memo(&self) -> Result<MemoSurvey, PipelineError> {
        let (recorded, seen) = look(&self.log, &self.memo, true).await?;
        let groups = grouped(&recorded, &seen.live);
        let erased = groups.iter().map(|group| group.entries - group.live).sum();
        let mut compacted = 0;
        if erased > 0 {
            for partition in 0..self.log.partitions(topic::MODEL_ANSWERS)? {
                // The pipeline reads this topic at its start alone, so nobody misses a tombstone.
                let end = self.log.end_offset(topic::MODEL_ANSWERS, partition).await?;
                compacted += self.log.compact(topic::MODEL_ANSWERS, partition, end).await?;
            }
        }
        Ok(MemoSurvey { groups, erased, compacted })
    }
}

/// Waits until the memo has done what it was told before.
pub(crate) async fn settled(memo: &UnboundedSender<ToMemo>) -> Result<(), PipelineError> {
    ask(memo, Vec::new(), false).await.map(|_| ())
}

/// Erases the answers that no live turn needs; their records stay until the log is compacted.
pub(crate) async fn erase_unneeded(log: &Arc<dyn Log>, memo: &UnboundedSender<ToMemo>) -> Result<(), PipelineError> {
    look(log, memo, true).await.map(|_| ())
}

async fn look(log: &Arc<dyn Log>, memo: &UnboundedSender<ToMemo>, erase: bool) -> Result<(Vec<Recorded>, Seen), PipelineError> {
    // First what is there, then what is needed: what is recorded in between is not looked at.
    let recorded = recorded(&**log).await?;
    let seen = ask(memo, recorded.clone(), erase).await?;
    Ok((recorded, seen))
}

async fn ask(memo: &UnboundedSender<ToMemo>, recorded: Vec<Recorded>, erase: bool) -> Result<Seen, PipelineError> {
    let ended = || PipelineError::Panic("memo");
    let (reply, answer) = oneshot::channel();
    memo.send(ToMemo::Look(Look { recorded, erase, reply })).map_err(|_| ended())?;
    Ok(answer.await.map_err(|_| ended())??)
}
