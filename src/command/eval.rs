//! `ajatus eval recall`: how much of the evidence is retrieved, through the log, the dataflow and the stores.
//!
//! Each conversation becomes the memory of a person of its own, in a scratch log and database that nobody else uses.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Instant;

use ajatus_events::{InteractionId, UserId};
use ajatus_inference::Party;
use ajatus_memory::retrieve::{PreparedQuery, SearchOptions, Signal, Signals};
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
    let mut signals = Signals::ALL;
    for name in &args.without {
        // In one form with a set's own: the message names the signals there are.
        let without: Signals = format!("-{name}").parse().map_err(|unknown| Ended::new(Exit::Usage, format!("--without: {unknown}")))?;
        signals = Signal::all().filter(|signal| !without.contains(*signal)).fold(signals, Signals::without);
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
        ended = evaluate(&stack, &asked, args, signals, out) => ended,
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

/// A question, ready to be ranked as often as need be.
struct Ready<'a> {
    asked: &'a Question,
    evidence: HashSet<InteractionId>,
    query: PreparedQuery,
    vector: Vec<f32>,
    embed_ms: f64,
}

async fn evaluate(stack: &Stack, asked: &[Question], args: &EvalRecallArgs, signals: Signals, out: &Out) -> anyhow::Result<Exit> {
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

    let embedder = stack.batch_embedder();
    let mut ready = Vec::with_capacity(asked.len());
    for (done, question) in asked.iter().enumerate() {
        let Some((user, import_args)) = owners.get(question.conversation.as_str()) else { continue };
        let clock = Instant::now();
        let query = stack.index().prepare(*user, &question.question).await?;
        let party = Party(user.0.as_u128());
        let vector = embedder.embed_for(vec![(party, query.dense_text().to_owned())]).await?.pop().transpose()?.unwrap_or_default();
        let embed_ms = clock.elapsed().as_secs_f64() * 1e3;
        let id = |turn: &String| import::imported_id(*user, import_args, &question.conversation, turn);
        let evidence = question.evidence.iter().map(id).collect();
        ready.push(Ready { asked: question, evidence, query, vector, embed_ms });
        out.progress("questions", done as u64 + 1, asked.len() as u64);
    }
    let whole = ranked(stack, &ready, signals, args.rankings.is_some()).await?;
    if let Some(path) = &args.rankings {
        std::fs::write(path, whole.rankings.join("\n") + "\n")?;
    }
    let mut ablation = Vec::new();
    if args.ablation {
        let left: Vec<Signal> = Signal::all().filter(|signal| signals.contains(*signal)).collect();
        for (done, signal) in left.iter().enumerate() {
            ablation.push((signal.name(), ranked(stack, &ready, signals.without(*signal), false).await?));
            out.progress("signals", done as u64 + 1, left.len() as u64);
        }
    }
    let embed_ms: Vec<f64> = ready.iter().map(|ready| ready.embed_ms).collect();
    report(stack, &whole, &ablation, (turns as u64, import_seconds), embed_ms, out).await?;
    Ok(Exit::Done)
}

/// All questions, ranked once.
#[derive(Default)]
struct Outcome<'a> {
    all: Scores,
    categories: BTreeMap<&'static str, Scores>,
    conversations: BTreeMap<&'a str, Scores>,
    rank_ms: Vec<f64>,
    rankings: Vec<String>,
}

async fn ranked<'a>(stack: &Stack, ready: &[Ready<'a>], signals: Signals, rankings: bool) -> anyhow::Result<Outcome<'a>> {
    let options = SearchOptions { limit: DEPTH, signals, ..SearchOptions::default() };
    let mut outcome = Outcome::default();
    for Ready { asked, evidence, query, vector, .. } in ready {
        let clock = Instant::now();
        let hits = stack.index().search(query, vector, &options).await?.hits;
        outcome.rank_ms.push(clock.elapsed().as_secs_f64() * 1e3);
        let ranking: Vec<InteractionId> = hits.iter().map(|hit| hit.memory.id).collect();
        let top = hits.first().and_then(|hit| hit.memory.body.source.as_ref());
        let hit = top.is_some_and(|top| asked.evidence.iter().any(|turn| session(turn) == session(&top.turn)));
        outcome.all.add(evidence, &ranking, hit);
        outcome.categories.entry(category(asked.category)).or_default().add(evidence, &ranking, hit);
        outcome.conversations.entry(asked.conversation.as_str()).or_default().add(evidence, &ranking, hit);
        if rankings {
            let turns: Vec<_> = hits.iter().filter_map(|hit| Some(hit.memory.body.source.as_ref()?.turn.clone())).collect();
            let line = json!({
                "conversation": asked.conversation, "index": asked.index, "question": asked.question,
                "category": category(asked.category), "evidence": asked.evidence, "ranking": turns,
            });
            outcome.rankings.push(line.to_string());
        }
    }
    outcome.all = outcome.all.mean();
    outcome.categories = outcome.categories.into_iter().map(|(name, scores)| (name, scores.mean())).collect();
    outcome.conversations = outcome.conversations.into_iter().map(|(name, scores)| (name, scores.mean())).collect();
    Ok(outcome)
}

async fn report(
    stack: &Stack,
    whole: &Outcome<'_>,
    ablation: &[(&'static str, Outcome<'_>)],
    (turns, import_seconds): (u64, f64),
    embed_ms: Vec<f64>,
    out: &Out,
) -> anyhow::Result<()> {
    let mut search_ms: Vec<f64> = embed_ms.iter().zip(&whole.rank_ms).map(|(embed, rank)| embed + rank).collect();
    let mut rank_ms = whole.rank_ms.clone();
    for times in [&mut search_ms, &mut rank_ms] {
        times.sort_by(f64::total_cmp);
    }
    let percentile = |times: &[f64], share: f64| crate::stack::percentile(times, share);
    if out.json() {
        let without: BTreeMap<_, _> = ablation
            .iter()
            .map(|(name, outcome)| (*name, json!({ "overall": outcome.all, "categories": outcome.categories, "conversations": outcome.conversations })))
            .collect();
        let mut document = json!({
            "turns": turns,
            "import_seconds": import_seconds,
            "overall": whole.all,
            "categories": whole.categories,
            "conversations": whole.conversations,
            "search_ms": { "p50": percentile(&search_ms, 0.50), "p99": percentile(&search_ms, 0.99), "what": "question embedding included" },
            "rank_ms": { "p50": percentile(&rank_ms, 0.50), "p99": percentile(&rank_ms, 0.99), "what": "without the question's embedding" },
            "embedding_model": stack.embedding_model(),
        });
        if !ablation.is_empty() {
            document["without"] = json!(without);
        }
        out.document(&document).await?;
        return Ok(());
    }
    let row = |name: &str, scores: &Scores| {
        format!(
            "{name:16} {:>9} {:>9.1} {:>10.1} {:>10.1} {:>14.1}",
            scores.questions, scores.recall_5, scores.recall_10, scores.recall_20, scores.session_hit_1
        )
    };
    let head = |what: &str| format!("{what:16} {:>9} {:>9} {:>10} {:>10} {:>14}", "questions", "recall@5", "recall@10", "recall@20", "session hit@1");
    out.line(head("")).await;
    for (name, scores) in std::iter::once(("overall", &whole.all)).chain(whole.categories.iter().map(|(name, scores)| (*name, scores))) {
        out.line(row(name, scores)).await;
    }
    if !ablation.is_empty() {
        out.line(format!("\n{} {:>20}", head("without"), "multi-hop r@10")).await;
        for (name, outcome) in ablation {
            let hops = outcome.categories.get("multi-hop").map(|scores| format!("{:>20.1}", scores.recall_10)).unwrap_or_default();
            out.line(format!("{} {hops}", row(name, &outcome.all))).await;
        }
    }
    out.line(format!(
        "{turns} turns imported in {import_seconds:.1} s; a search takes {:.1} ms (p50), {:.1} ms (p99), the question's embedding included; {:.1} ms, {:.1} ms without",
        percentile(&search_ms, 0.50),
        percentile(&search_ms, 0.99),
        percentile(&rank_ms, 0.50),
        percentile(&rank_ms, 0.99)
    ))
    .await;
    Ok(())
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
