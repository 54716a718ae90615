//! `ajatus eval recall`: how much of the evidence is retrieved, through the log, the dataflow and the stores.
//!
//! Each conversation becomes the memory of a person of its own, in a scratch log and database that nobody else uses.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Instant;

use ajatus_events::{InteractionId, UserId};
use ajatus_memory::retrieve::SearchOptions;
use chrono::{Offset as _, Utc};
use serde::Serialize;
use serde_json::json;

use super::import;
use crate::cli::{EvalRecallArgs, Format, ImportArgs};
use crate::config::Config;
use crate::control;
use crate::exit::{Ended, Exit};
use crate::import::{Clues, Question, questions, read};
use crate::output::Out;
use crate::stack::{Needs, Stack};

/// Deepest rank looked at.
const DEPTH: usize = 20;

/// Shares in percent, means over questions.
#[derive(Clone, Debug, Default, Serialize)]
struct Scores {
    questions: usize,
    #[serde(rename = "recall@5")]
    recall_5: f64,
    #[serde(rename = "recall@10")]
    recall_10: f64,
    #[serde(rename = "recall@20")]
    recall_20: f64,
    #[serde(rename = "session_hit@1")]
    session_hit_1: f64,
}

impl Scores {
    fn add(&mut self, evidence: &HashSet<InteractionId>, ranking: &[InteractionId], session_hit: bool) {
        #[expect(clippy::cast_precision_loss, reason = "at most 20 and a handful")]
        let recall = |k: usize| {
            ranking.iter().take(k).filter(|id| evidence.contains(id)).count() as f64 / evidence.len() as f64
        };
        self.questions += 1;
        self.recall_5 += recall(5);
        self.recall_10 += recall(10);
        self.recall_20 += recall(20);
        self.session_hit_1 += f64::from(u8::from(session_hit));
    }

    fn mean(mut self) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "thousands of questions")]
        let scale = 100.0 / (self.questions.max(1) as f64);
        for value in [&mut self.recall_5, &mut self.recall_10, &mut self.recall_20, &mut self.session_hit_1] {
            *value = (*value * scale * 100.0).round() / 100.0;
        }
        self
    }
}

/// Runs the evaluation.
pub(crate) async fn recall(config: &Config, args: &EvalRecallArgs, out: &Out) -> anyhow::Result<Exit> {
    let mut asked = questions(&args.locomo)?;
    if !args.conversations.is_empty() {
        asked.retain(|question| args.conversations.contains(&question.conversation));
    }
    if asked.is_empty() {
        return Err(Ended::new(Exit::Unusable, "no question of the file names a turn that exists"));
    }
    let scratch = match &args.keep {
        Some(folder) => Scratch { folder: std::path::absolute(folder)?, _temporary: None },
        None => {
            let temporary = crate::stack::scratch_folder()?;
            Scratch { folder: temporary.path().to_path_buf(), _temporary: Some(temporary) }
        }
    };
    let _lock = control::DataLock::take(&scratch.folder)?;
    let stack = Stack::open(config.scratch(&scratch.folder), Needs::pipeline_and_recall(), out).await?;
    let ended = tokio::select! {
        ended = evaluate(&stack, &asked, args, out) => ended,
        _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
    };
    let closed = Stack::close(std::sync::Arc::new(stack)).await;
    let exit = ended?;
    closed?;
    Ok(exit)
}

struct Scratch {
    folder: std::path::PathBuf,
    _temporary: Option<crate::stack::Temporary>,
}

async fn evaluate(stack: &Stack, asked: &[Question], args: &EvalRecallArgs, out: &Out) -> anyhow::Result<Exit> {
    let contents = read(&args.locomo, Format::Locomo, Clues { date_order: None, zone: Utc.fix() })?;
    let mut names: Vec<&str> = asked.iter().map(|question| question.conversation.as_str()).collect();
    names.dedup();
    let mut owners: HashMap<&str, (UserId, ImportArgs)> = HashMap::new();
    let (mut turns, mut import_seconds) = (0, 0.0);
    for name in &names {
        let user = stack.account_or_new(&format!("eval {name}")).await?;
        let import_args = ImportArgs {
            file: args.locomo.clone(),
            user: format!("eval {name}"),
            format: Format::Locomo,
            conversations: vec![(*name).to_owned()],
            speaker: None,
            date_order: None,
            utc_offset: "+00:00".to_owned(),
        };
        let mut part = contents.clone();
        part.turns.retain(|turn| turn.conversation == *name);
        part.titles.retain(|titled| titled.conversation == *name);
        part.rejected.clear();
        let report = import::import(stack, user, &import_args, part, out).await?;
        turns += report.turns;
        import_seconds += report.seconds;
        if let Some(receipt) = &report.receipt {
            let wait = std::time::Duration::from_secs(60);
            stack.index().wait_for(receipt, wait).await.map_err(|behind| Ended::new(Exit::Unavailable, behind.to_string()))?;
        }
        owners.insert(name, (user, import_args));
    }

    let mut all = Scores::default();
    let mut categories: BTreeMap<&'static str, Scores> = BTreeMap::new();
    let mut conversations: BTreeMap<&str, Scores> = BTreeMap::new();
    let mut search_ms = Vec::new();
    let mut rankings = Vec::new();
    let options = SearchOptions { limit: DEPTH, ..SearchOptions::default() };
    for (done, question) in asked.iter().enumerate() {
        let Some((user, import_args)) = owners.get(question.conversation.as_str()) else { continue };
        let clock = Instant::now();
        let result = stack.recall().search(*user, &question.question, &options).await?;
        search_ms.push(clock.elapsed().as_secs_f64() * 1e3);
        let ranking: Vec<InteractionId> = result.hits.iter().map(|hit| hit.memory.id).collect();
        let id = |turn: &String| import::imported_id(*user, import_args, &question.conversation, turn);
        let evidence: HashSet<InteractionId> = question.evidence.iter().map(id).collect();
        let top = result.hits.first().and_then(|hit| hit.memory.body.source.as_ref());
        let hit = top.is_some_and(|top| question.evidence.iter().any(|turn| session(turn) == session(&top.turn)));
        all.add(&evidence, &ranking, hit);
        categories.entry(category(question.category)).or_default().add(&evidence, &ranking, hit);
        conversations.entry(question.conversation.as_str()).or_default().add(&evidence, &ranking, hit);
        if args.rankings.is_some() {
            let turns: Vec<_> = result.hits.iter().filter_map(|hit| Some(hit.memory.body.source.as_ref()?.turn.clone())).collect();
            rankings.push(json!({
                "conversation": question.conversation, "index": question.index, "question": question.question,
                "category": category(question.category), "evidence": question.evidence, "ranking": turns,
            }));
        }
        out.progress("questions", done as u64 + 1, asked.len() as u64);
    }
    if let Some(path) = &args.rankings {
        let lines: Vec<String> = rankings.iter().map(ToString::to_string).collect();
        std::fs::write(path, lines.join("\n") + "\n")?;
    }

    let (all, turns) = (all.mean(), turns as u64);
    let categories: BTreeMap<_, _> = categories.into_iter().map(|(name, scores)| (name, scores.mean())).collect();
    let conversations: BTreeMap<_, _> = conversations.into_iter().map(|(name, scores)| (name, scores.mean())).collect();
    search_ms.sort_by(f64::total_cmp);
    let percentile = |share: f64| crate::stack::percentile(&search_ms, share);
    if out.json() {
        out.document(&json!({
            "turns": turns,
            "import_seconds": import_seconds,
            "overall": all,
            "categories": categories,
            "conversations": conversations,
            "search_ms": { "p50": percentile(0.50), "p99": percentile(0.99), "what": "question embedding included" },
            "embedding_model": stack.embedding_model(),
        }))
        .await?;
        return Ok(Exit::Done);
    }
    out.line(format!("{:14} {:>9} {:>9} {:>10} {:>10} {:>14}", "", "questions", "recall@5", "recall@10", "recall@20", "session hit@1")).await;
    let rows = std::iter::once(("overall", &all)).chain(categories.iter().map(|(name, scores)| (*name, scores)));
    for (name, scores) in rows {
        out.line(format!(
            "{name:14} {:>9} {:>9.1} {:>10.1} {:>10.1} {:>14.1}",
            scores.questions, scores.recall_5, scores.recall_10, scores.recall_20, scores.session_hit_1
        ))
        .await;
    }
    out.line(format!(
        "{turns} turns imported in {import_seconds:.1} s; a search takes {:.1} ms (p50), {:.1} ms (p99), the question's embedding included",
        percentile(0.50),
        percentile(0.99)
    ))
    .await;
    Ok(Exit::Done)
}

/// `D3` of `D3:11`.
fn session(turn: &str) -> &str {
    turn.split(':').next().unwrap_or(turn)
}

fn category(code: u8) -> &'static str {
    match code {
        1 => "multi-hop",
        2 => "temporal",
        3 => "open-domain",
        4 => "single-hop",
        5 => "adversarial",
        _ => "other",
    }
}
