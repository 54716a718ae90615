//! `ajatus pipeline query | repair`, and the range of `backfill`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use ajatus_pipelines::stream::{Backfill, RunConfig, RunParts, ask, repair as repair_sink};
use ajatus_sql::record::json_value;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{checked, ended, name_of, state_folder};
use crate::cli::{PipelineBackfillArgs, PipelineFile, PipelineQueryArgs};
use crate::config::Config;
use crate::exit::{Ended, Exit};
use crate::output::Out;
use crate::stack::{Stack, columnar};

/// What a question may use.
fn parts(stack: Option<&Arc<Stack>>) -> RunParts {
    RunParts {
        log: stack.and_then(|stack| stack.log_if_open()),
        db: stack.and_then(|stack| stack.database_if_open()),
        columnar: Some(columnar()),
        keys: stack.and_then(|stack| stack.keys_if_open()),
        backends: BTreeMap::new(),
        handle: tokio::runtime::Handle::current(),
        print: Arc::new(|_| {}),
        stop: CancellationToken::new(),
    }
}

/// Prints the rows of a view or a sink.
pub(super) async fn query(stack: Option<&Arc<Stack>>, config: &Config, args: PipelineQueryArgs, out: &Out) -> anyhow::Result<Exit> {
    let Some(pipeline) = checked(&args.file, true, out).await? else { return Ok(Exit::Unusable) };
    let mut only = Vec::new();
    for condition in &args.only {
        let (column, value) = condition.split_once('=').ok_or_else(|| Ended::new(Exit::Usage, format!("--where {condition:?} is not COLUMN=VALUE")))?;
        only.push((column.to_owned(), value.to_owned()));
    }
    let run = RunConfig { workers: usize::from(args.workers), state: Some(state_folder(config, &args.file, args.state)), ..RunConfig::default() };
    let (parts, name) = (parts(stack), args.name.clone());
    let answer = tokio::task::spawn_blocking(move || ask(&pipeline, &run, &parts, &name, args.as_of)).await?.map_err(ended)?;
    if let Some((column, _)) = only.iter().find(|(column, _)| !answer.names.contains(column)) {
        return Err(Ended::new(Exit::Usage, format!("{:?} has no column {column:?}; it has {}", args.name, answer.names.join(", "))));
    }
    let (mut shown, mut found) = (0, 0_usize);
    for (row, count) in &answer.rows {
        let document = json_value(row, &answer.names, &answer.types);
        if !only.iter().all(|(column, value)| printed(&document[column]) == *value) {
            continue;
        }
        for _ in 0..count.unsigned_abs() {
            found += 1;
            if shown < args.limit {
                shown += 1;
                out.line(Value::Object(document.clone()).to_string()).await;
            }
        }
    }
    if !out.json() {
        let more = if found > shown { format!(", {} more not shown (--limit)", found - shown) } else { String::new() };
        out.note(format!("{found} rows of {} as of epoch {}{more}", args.name, answer.epoch)).await;
    }
    Ok(Exit::Done)
}

/// A value as a person writes it: text without quotes.
fn printed(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Compares a sink with what it should hold.
pub(super) async fn repair(
    stack: Option<&Arc<Stack>>,
    config: &Config,
    file: &PipelineFile,
    sink: String,
    dry: bool,
    state: Option<PathBuf>,
    out: &Out,
) -> anyhow::Result<Exit> {
    let Some(pipeline) = checked(file, true, out).await? else { return Ok(Exit::Unusable) };
    let run = RunConfig { name: name_of(file), state: Some(state_folder(config, file, state)), ..RunConfig::default() };
    let (parts, name) = (parts(stack), sink.clone());
    let found = tokio::task::spawn_blocking(move || repair_sink(&pipeline, &run, &parts, &name, dry)).await?.map_err(ended)?;
    if out.json() {
        let mut document = serde_json::to_value(found)?;
        document["sink"] = json!(sink);
        out.document(&document).await?;
        return Ok(Exit::Done);
    }
    let state = match (found.missing + found.extra, found.written) {
        (0, _) => "it is as it should be",
        (_, true) => "mended",
        (_, false) => "nothing was written (--dry-run)",
    };
    out.line(format!("{sink}: {} rows as of epoch {}; {} missing or different, {} too many; {state}", found.rows, found.epoch, found.missing, found.extra)).await;
    Ok(Exit::Done)
}

/// The range of a backfill.
pub(super) fn backfill(args: &PipelineBackfillArgs) -> anyhow::Result<Backfill> {
    Ok(Backfill { from: places(&args.from, "--from")?, to: places(&args.to, "--to")?, rows_per_second: args.rate_limit, stop: args.stop })
}

fn places(texts: &[String], option: &str) -> anyhow::Result<BTreeMap<String, BTreeMap<u32, u64>>> {
    let mut places: BTreeMap<String, BTreeMap<u32, u64>> = BTreeMap::new();
    for text in texts {
        let mut parts = text.rsplitn(3, ':');
        let place = (|| {
            let offset = parts.next()?.parse().ok()?;
            let partition = parts.next()?.parse().ok()?;
            Some((parts.next()?.to_owned(), partition, offset))
        })();
        let (source, partition, offset) = place.ok_or_else(|| Ended::new(Exit::Usage, format!("{option} {text:?} is not SOURCE:PARTITION:OFFSET, such as orders:0:1200")))?;
        places.entry(source).or_default().insert(partition, offset);
    }
    Ok(places)
}
