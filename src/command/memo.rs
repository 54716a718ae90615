//! `ajatus memo stats|gc`: what models have answered, and which of it is needed.
//!
//! The companion's memo (the topic `model-answers`) is asked where its pipeline runs, because only that knows what its turns need. Beside it,
//! the memos of SQL pipelines' run folders in the data folder are counted; they are not collected here: what a run needs is known to a run.

use std::path::Path;
use std::time::Duration;

use ajatus_pipelines::stream::{RunMemo, run_memo};
use ajatus_pipelines::{MemoGroup, MemoSurvey};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::cli::MemoCommand;
use crate::exit::{Ended, Exit};
use crate::output::Out;
use crate::stack::Stack;

/// Longest wait for the pipeline to have its state back after a start.
const PATIENCE: Duration = Duration::from_secs(300);

/// Runs the command.
pub(crate) async fn run(stack: &Stack, command: &MemoCommand, out: &Out) -> anyhow::Result<Exit> {
    // What the turns need is known once they are in the views.
    stack.caught_up(out).await?;
    let asked = async {
        match command {
            MemoCommand::Stats | MemoCommand::Gc { dry_run: true } => Ok((stack.pipeline().survey_memo().await?, false)),
            MemoCommand::Gc { dry_run: false } => Ok::<_, anyhow::Error>((stack.pipeline().collect_memo().await?, true)),
        }
    };
    let late = |_| Ended::new(Exit::Unavailable, format!("the pipeline does not say within {} s what it needs; `ajatus doctor` says why", PATIENCE.as_secs()));
    let (survey, collected) = tokio::time::timeout(PATIENCE, asked).await.map_err(late)??;
    let runs = if matches!(command, MemoCommand::Stats) { runs(&stack.config.data.join("pipelines"))? } else { Vec::new() };
    if out.json() {
        out.document(&document(command, &survey, &runs)).await?;
        return Ok(Exit::Done);
    }
    for line in lines(&survey, &runs) {
        out.line(line).await;
    }
    let (count, bytes) = unneeded(&survey);
    let size = mib(bytes);
    out.line(match (command, collected) {
        (_, true) => format!("forgot {} answers ({size}); {} records left the log", survey.erased, survey.compacted),
        (MemoCommand::Gc { .. }, false) => format!("would forget {count} answers ({size})"),
        (MemoCommand::Stats, false) if count > 0 => format!("{count} answers ({size}) are not needed; `ajatus memo gc` forgets them"),
        (MemoCommand::Stats, false) => "every answer is needed".to_owned(),
    })
    .await;
    Ok(Exit::Done)
}

/// The run folders that have a memo, by name.
fn runs(folder: &Path) -> anyhow::Result<Vec<(String, RunMemo)>> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(found) };
    for entry in entries {
        let entry = entry?;
        if let Some(memo) = run_memo(&entry.path()).map_err(|error| Ended::new(Exit::Unusable, error.to_string()))? {
            found.push((entry.file_name().to_string_lossy().into_owned(), memo));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// Answers that nobody needs, and their bytes.
fn unneeded(survey: &MemoSurvey) -> (u64, u64) {
    survey.groups.iter().fold((0, 0), |sums, group| (sums.0 + group.entries - group.live, sums.1 + group.bytes - group.live_bytes))
}

#[expect(clippy::cast_precision_loss, reason = "shown to two digits")]
fn mib(bytes: u64) -> String {
    format!("{:.2} MiB", bytes as f64 / f64::from(1 << 20))
}

fn instant(millis: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(millis)
}

fn day(millis: i64) -> String {
    instant(millis).map_or_else(|| "?".to_owned(), |at| at.format("%Y-%m-%d %H:%M").to_string())
}

fn lines(survey: &MemoSurvey, runs: &[(String, RunMemo)]) -> Vec<String> {
    let mut lines = vec![format!("{:40} {:16} {:>9} {:>11} {:>9}  {:16}  {:16}", "model", "prompt", "answers", "size", "needed", "oldest", "newest")];
    lines.extend(survey.groups.iter().map(|group| {
        let MemoGroup { model, prompt, entries, bytes, live, oldest_ms, newest_ms, .. } = group;
        let prompt = if prompt == "-" { "- (vectors)" } else { prompt };
        format!("{model:40} {prompt:16} {entries:>9} {:>11} {live:>9}  {:16}  {:16}", mib(*bytes), day(*oldest_ms), day(*newest_ms))
    }));
    if survey.groups.is_empty() {
        lines.push("no model has answered yet".to_owned());
    }
    lines.extend(runs.iter().map(|(name, memo)| {
        format!("run of {name}: {} answers, {} of them refusals, {} on disk", memo.answers + memo.refusals, memo.refusals, mib(memo.bytes))
    }));
    lines
}

fn document(command: &MemoCommand, survey: &MemoSurvey, runs: &[(String, RunMemo)]) -> Value {
    let groups: Vec<Value> = survey
        .groups
        .iter()
        .map(|group| {
            json!({
                "model": group.model, "prompt": group.prompt, "entries": group.entries, "bytes": group.bytes, "live": group.live,
                "live_bytes": group.live_bytes, "oldest": instant(group.oldest_ms), "newest": instant(group.newest_ms),
            })
        })
        .collect();
    let (count, bytes) = unneeded(survey);
    let mut document = json!({ "groups": groups, "unneeded": { "entries": count, "bytes": bytes } });
    match command {
        MemoCommand::Stats => {
            document["runs"] = runs
                .iter()
                .map(|(name, memo)| json!({ "name": name, "answers": memo.answers, "refusals": memo.refusals, "bytes": memo.bytes }))
                .collect();
        }
        MemoCommand::Gc { dry_run } => {
            document["dry_run"] = json!(dry_run);
            document["erased"] = json!(survey.erased);
            document["compacted"] = json!(survey.compacted);
        }
    }
    document
}
