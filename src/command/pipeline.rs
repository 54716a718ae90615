//! `ajatus pipeline check | explain | graph | test | run | backfill | query | repair | status | dead-letters | deploy | reference`.

mod arroyo;
mod dead_letters;
mod deploy;
mod numbers;
mod question;
mod supervise;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ajatus_inference::{Embedder, Generator, facts};
use ajatus_pipelines::stream::{Backend, Backends, Backfill, Cluster, Ledger, Progress, REPLAYS, RunConfig, RunParts, StreamError, run as run_stream, snapshots, test as run_cases};
use ajatus_sql::diagnostic::{Code, Diagnostic, Source};
use ajatus_sql::pipeline::Pipeline;
use ajatus_sql::plan::{function_reference, operator_reference};
use ajatus_sql::script::{Connector, Provider, RecordFormat, Statement, Task, option_reference};
use ajatus_sql::{explain, graph};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::cli::{GraphFormat, PipelineBackfillArgs, PipelineCommand, PipelineFile, PipelineRunArgs};
use crate::config::Config;
use crate::exit::{Ended, Exit};
use crate::output::Out;
use crate::stack::{Needs, Stack, columnar, served};

/// Makes paths absolute: the command may run in another process.
pub(crate) fn prepare(command: &mut PipelineCommand) -> anyhow::Result<()> {
    let absolute = |path: &mut PathBuf| -> anyhow::Result<()> {
        *path = std::path::absolute(&*path)?;
        Ok(())
    };
    let (file, state) = match command {
        PipelineCommand::Check(file) | PipelineCommand::Explain { file, .. } | PipelineCommand::Graph { file, .. } | PipelineCommand::Test { file, .. } => (file, None),
        PipelineCommand::Run(args) | PipelineCommand::Backfill(PipelineBackfillArgs { run: args, .. }) => (&mut args.file, args.state.as_mut()),
        PipelineCommand::Query(args) => (&mut args.file, args.state.as_mut()),
        PipelineCommand::Repair { file, state, .. } => (file, state.as_mut()),
        PipelineCommand::Deploy(args) => (&mut args.file, None),
        PipelineCommand::DeadLetters(args) => return dead_letters::prepare(args),
        PipelineCommand::Status { file, state } => (file, state.as_mut()),
        PipelineCommand::Reference => return Ok(()),
    };
    file.named = file.path.display().to_string();
    state.map(absolute).transpose()?;
    absolute(&mut file.path)
}

/// Whether it needs neither the log nor the database of a running `ajatus up`.
pub(crate) fn stands_alone(command: &PipelineCommand) -> bool {
    !needs(command).is_ok_and(|needs| needs.is_some())
}

/// What it needs; `None`: nothing at all.
pub(crate) fn needs(command: &PipelineCommand) -> anyhow::Result<Option<Needs>> {
    let file = match command {
        // Its child needs something.
        PipelineCommand::Run(args) if args.supervise => return Ok(None),
        PipelineCommand::Run(args) | PipelineCommand::Backfill(PipelineBackfillArgs { run: args, .. }) => &args.file,
        PipelineCommand::Query(args) => &args.file,
        PipelineCommand::Repair { file, .. } => file,
        PipelineCommand::Test { file, .. } => file,
        _ => return Ok(None),
    };
    // A file that is wrong is reported where it is run.
    let Ok(Ok(pipeline)) = load(file, false) else { return Ok(None) };
    let mut needs = Needs::nothing();
    for statement in &pipeline.script.statements {
        match statement {
            Statement::Table(table) if !matches!(command, PipelineCommand::Test { .. }) => match &table.connector {
                // What is said is sealed, and the keys lie in the database.
                Connector::Kafka { format: RecordFormat::Ajatus, bootstrap_servers: None, .. } => needs = needs.with_log().with_database(),
                Connector::Kafka { format: RecordFormat::Ajatus, .. } => needs = needs.with_database(),
                Connector::Kafka { bootstrap_servers: None, .. } => needs = needs.with_log(),
                Connector::Postgres { url: None, .. } => needs = needs.with_database(),
                _ => {}
            },
            // A question is answered from the memo.
            Statement::Model(_) if matches!(command, PipelineCommand::Query(_) | PipelineCommand::Repair { .. }) => {}
            Statement::Model(model) if model.provider == Provider::Candle => {
                needs = if matches!(model.task, Task::Embedding { .. }) { needs.with_embedder() } else { needs.with_generator() };
            }
            _ => {}
        }
    }
    Ok((!needs.empty()).then_some(needs))
}

/// Runs it.
pub(crate) async fn run(stack: Option<&Arc<Stack>>, config: &Config, mut command: PipelineCommand, out: &Out) -> anyhow::Result<Exit> {
    if let Some(file) = file_of(&mut command) {
        // Behind what the user sets, what the configuration says of the model.
        file.set.splice(0..0, configured(stack, config));
    }
    match command {
        PipelineCommand::Check(file) => {
            let Some(pipeline) = checked(&file, false, out).await? else { return Ok(Exit::Unusable) };
            let steps = explain::describe(&pipeline).len();
            if out.json() {
                out.document(&json!({ "ok": true, "steps": steps, "plan": pipeline.hash, "tests": pipeline.script.cases.len() })).await?;
            } else {
                let (views, sinks) = (pipeline.views.len(), pipeline.outputs.len());
                out.line(format!("{}: {views} views, {sinks} outputs, {steps} steps, {} tests; plan {}", file.named, pipeline.script.cases.len(), pipeline.hash)).await;
            }
            Ok(Exit::Done)
        }
        PipelineCommand::Explain { file, logical } => {
            let Some(pipeline) = checked(&file, false, out).await? else { return Ok(Exit::Unusable) };
            if out.json() {
                let plans = logical.then(|| explain::logical(&pipeline));
                out.document(&json!({ "plan": pipeline.hash, "steps": explain::describe(&pipeline), "logical": plans })).await?;
            } else {
                if logical {
                    out.text(explain::logical(&pipeline)).await;
                }
                out.text(explain::text(&pipeline)).await;
            }
            Ok(Exit::Done)
        }
        PipelineCommand::Graph { file, format } => {
            let Some(pipeline) = checked(&file, false, out).await? else { return Ok(Exit::Unusable) };
            if out.json() {
                out.document(&json!({ "plan": pipeline.hash, "steps": explain::describe(&pipeline) })).await?;
                return Ok(Exit::Done);
            }
            out.text(match format {
                GraphFormat::Text => explain::text(&pipeline),
                GraphFormat::Dot => graph::dot(&pipeline),
                GraphFormat::Mermaid => graph::mermaid(&pipeline),
                GraphFormat::Svg => graph::svg(&pipeline),
            })
            .await;
            Ok(Exit::Done)
        }
        PipelineCommand::Test { file, kill, workers } => test(stack, config, &file, kill, workers, out).await,
        PipelineCommand::Run(args) if args.supervise => supervise::supervise(out).await,
        PipelineCommand::Run(args) => start(stack, config, &args, None, out).await,
        PipelineCommand::Backfill(args) => {
            let range = question::backfill(&args)?;
            start(stack, config, &args.run, Some(range), out).await
        }
        PipelineCommand::Query(args) => question::query(stack, config, args, out).await,
        PipelineCommand::Repair { file, sink, dry_run, state } => question::repair(stack, config, &file, sink, dry_run, state, out).await,
        PipelineCommand::DeadLetters(args) => dead_letters::run(config, args, out).await,
        PipelineCommand::Status { file, state } => status(config, &file, state, out).await,
        PipelineCommand::Deploy(args) => deploy::run(config, &args, out).await,
        PipelineCommand::Reference => {
            out.text(reference()).await;
            Ok(Exit::Done)
        }
    }
}

/// The file whose statements the command plans.
fn file_of(command: &mut PipelineCommand) -> Option<&mut PipelineFile> {
    match command {
        PipelineCommand::Check(file)
        | PipelineCommand::Explain { file, .. }
        | PipelineCommand::Graph { file, .. }
        | PipelineCommand::Test { file, .. }
        | PipelineCommand::Status { file, .. } => Some(file),
        PipelineCommand::Run(args) => Some(&mut args.file),
        _ => None,
    }
}

/// `EMBEDDING_MODEL`, and `EMBEDDING_DIMENSIONS` where the model is loaded.
fn configured(stack: Option<&Arc<Stack>>, config: &Config) -> Vec<String> {
    let mut known = vec![format!("EMBEDDING_MODEL={}", config.models.embedding.name)];
    let embedder = stack.and_then(|stack| stack.embedder_if_open());
    known.extend(embedder.map(|embedder| format!("EMBEDDING_DIMENSIONS={}", embedder.dimension())));
    known
}

/// Options and error codes, as the documentation has them.
fn reference() -> String {
    let options = format!("{}\n{}\n{}", option_reference(), operator_reference(), function_reference()).replace("### ", "## ");
    let mut text = format!("{}\n\n## Errors\n\n| code | what | why, and what to do |\n|---|---|---|\n", options.trim_end());
    for code in Code::ALL {
        text.push_str(&format!("| `{}` | {} | {} |\n", code.text(), code.title(), code.explain()));
    }
    text
}

/// Reads a file and lowers it; one that is to run needs a value for every `${NAME}`. The outer error: it cannot be read.
fn load(file: &PipelineFile, running: bool) -> anyhow::Result<Result<Arc<Pipeline>, (Source, Vec<Diagnostic>)>> {
    let text = std::fs::read_to_string(&file.path)
        .map_err(|error| Ended::new(Exit::Unusable, format!("{} cannot be read: {error}", file.path.display())))?;
    // What a model needs to extract facts is the platform's own; whoever sets it otherwise means it.
    let own = [("FACTS_PROMPT", facts::TEMPLATE), ("FACTS_SCHEMA", facts::SCHEMA)];
    let mut values: BTreeMap<String, String> = own.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    for setting in &file.set {
        let (name, value) = setting.split_once('=').ok_or_else(|| Ended::new(Exit::Usage, format!("--set {setting:?} is not NAME=VALUE")))?;
        values.insert(name.to_owned(), value.to_owned());
    }
    let source = Source::new(file.named.clone(), text).with_settings(values.clone());
    let mut pipeline = match Pipeline::check(source.clone()) {
        Ok(pipeline) => pipeline,
        Err(found) => return Ok(Err((source, found))),
    };
    let folder = file.path.parent().unwrap_or(Path::new("."));
    match (pipeline.settle(folder, &values), running) {
        (Err(message), true) => Err(Ended::new(Exit::Usage, message)),
        _ => Ok(Ok(Arc::new(pipeline))),
    }
}

/// The pipeline of a file; what is wrong with it is said.
async fn checked(file: &PipelineFile, running: bool, out: &Out) -> anyhow::Result<Option<Arc<Pipeline>>> {
    let file = file.clone();
    let loaded = tokio::task::spawn_blocking(move || load(&file, running)).await??;
    match loaded {
        Ok(pipeline) => Ok(Some(pipeline)),
        Err((source, found)) => {
            refuse(&source, &found, out).await?;
            Ok(None)
        }
    }
}

/// Says what is wrong with a file.
async fn refuse(source: &Source, found: &[Diagnostic], out: &Out) -> anyhow::Result<()> {
    if out.json() {
        return out.document(&json!({ "ok": false, "errors": found.iter().map(|one| one.json(source)).collect::<Vec<_>>() })).await;
    }
    for one in found {
        out.note(one.render(source)).await;
    }
    out.note(if found.len() == 1 { "1 error".to_owned() } else { format!("{} errors", found.len()) }).await;
    Ok(())
}

/// The backends of the file's models.
fn backends(stack: Option<&Arc<Stack>>, config: &Config, pipeline: &Pipeline) -> anyhow::Result<Backends> {
    let mut all = Backends::new();
    for statement in &pipeline.script.statements {
        let Statement::Model(model) = statement else { continue };
        let refuse = |what: &str| Ended::new(Exit::Usage, format!("model {:?}: {what}", model.name));
        // What is loaded is what ajatus.toml names; the file says which it means.
        let meant = |loaded: String, setting: &str| {
            if model.path.is_none() && !loaded.starts_with(&model.checkpoint) {
                return Err(refuse(&format!("the file names {:?}, but {loaded} is loaded ({setting} in ajatus.toml)", model.checkpoint)));
            }
            Ok(())
        };
        let backend = match (model.provider, &model.task, stack) {
            (Provider::Candle, Task::Embedding { dimensions }, Some(stack)) => {
                let embedder: Arc<dyn Embedder> = stack.batch_embedder();
                if embedder.dimension() != *dimensions {
                    return Err(refuse(&format!("it declares {dimensions} dimensions, but the model has {}", embedder.dimension())));
                }
                meant(embedder.model().id(), "models.embedding")?;
                Backend::Embedder(embedder)
            }
            (Provider::Candle, Task::Generation(_) | Task::Extraction { .. }, Some(stack)) => {
                let generator: Arc<dyn Generator> = stack.chat_generator();
                meant(generator.model().id(), "models.chat")?;
                Backend::Generator(generator)
            }
            (Provider::Candle, _, None) => return Err(refuse("no model is loaded; this is our mistake, please tell us")),
            (Provider::Vllm | Provider::Ollama, ..) => served(config, model).map_err(|error| refuse(&error.to_string()))?,
        };
        all.insert(model.name.clone(), backend);
    }
    Ok(all)
}

async fn test(stack: Option<&Arc<Stack>>, config: &Config, file: &PipelineFile, kill: bool, workers: u16, out: &Out) -> anyhow::Result<Exit> {
    let Some(pipeline) = checked(file, false, out).await? else { return Ok(Exit::Unusable) };
    let models = backends(stack, config, &pipeline)?;
    let handle = tokio::runtime::Handle::current();
    let tested = Arc::clone(&pipeline);
    let verdicts = tokio::task::spawn_blocking(move || run_cases(&tested, usize::from(workers), kill, &models, &handle)).await?.map_err(ended)?;
    let failed = verdicts.iter().filter(|verdict| verdict.failure.is_some()).count();
    for verdict in &verdicts {
        let line = pipeline.source.position(verdict.span.start).line;
        if out.json() {
            out.document(&json!({ "test": verdict.name, "line": line, "ok": verdict.failure.is_none(), "failure": verdict.failure })).await?;
        } else if let Some(failure) = &verdict.failure {
            out.line(format!("FAILED  {} ({}:{line})\n{failure}", verdict.name, pipeline.source.name)).await;
        } else {
            out.line(format!("ok      {}", verdict.name)).await;
        }
    }
    if !out.json() {
        out.line(format!("{} passed, {failed} failed", verdicts.len() - failed)).await;
    }
    Ok(if failed == 0 { Exit::Done } else { Exit::Failed })
}

fn state_folder(config: &Config, file: &PipelineFile, state: Option<PathBuf>) -> PathBuf {
    state.unwrap_or_else(|| config.data.join("pipelines").join(name_of(file)))
}

/// A pipeline is named by its file, without folder and ending.
fn name_of(file: &PipelineFile) -> String {
    file.path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Which of several processes this is.
fn cluster(args: &PipelineRunArgs) -> anyhow::Result<Option<Cluster>> {
    let (Some(file), Some(process), Some(control)) = (&args.hosts, args.process, &args.control) else { return Ok(None) };
    let text = std::fs::read_to_string(file).map_err(|error| Ended::new(Exit::Usage, format!("{} cannot be read: {error}", file.display())))?;
    let hosts: Vec<String> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if usize::from(process) >= hosts.len() {
        return Err(Ended::new(Exit::Usage, format!("--process {process}, but {} names {} processes, from 0", file.display(), hosts.len())));
    }
    Ok(Some(Cluster { process: usize::from(process), hosts, control: control.clone() }))
}

async fn start(stack: Option<&Arc<Stack>>, config: &Config, args: &PipelineRunArgs, backfill: Option<Backfill>, out: &Out) -> anyhow::Result<Exit> {
    let Some(pipeline) = checked(&args.file, true, out).await? else { return Ok(Exit::Unusable) };
    let models = backends(stack, config, &pipeline)?;
    if let Some((point, time)) = args.crash_at {
        ajatus_pipelines::stream::die_at(point, time);
    }
    let numbers = match args.metrics {
        Some(address) => Some(numbers::serve(address, out).await?),
        None => None,
    };
    let cpu_before = crate::stack::cpu_seconds();
    let stop = CancellationToken::new();
    // Lines of stdout sinks: bounded, so that a slow reader slows the run.
    let (lines, mut printed) = tokio::sync::mpsc::channel::<String>(1_024);
    let (told, mut progress) = tokio::sync::watch::channel(Progress::default());
    let parts = RunParts {
        log: stack.and_then(|stack| stack.log_if_open()),
        db: stack.and_then(|stack| stack.database_if_open()),
        columnar: Some(columnar()),
        keys: stack.and_then(|stack| stack.keys_if_open()),
        backends: models,
        handle: tokio::runtime::Handle::current(),
        print: Arc::new(move |line| drop(lines.blocking_send(line))),
        stop: stop.clone(),
    };
    let run_config = RunConfig {
        name: name_of(&args.file),
        workers: usize::from(args.workers),
        epoch_rows: args.epoch_rows as usize,
        state: Some(state_folder(config, &args.file, args.state.clone())),
        bounded: args.bounded,
        snapshot_every: Duration::from_secs(args.snapshot_seconds),
        snapshot_epochs: args.snapshot_epochs,
        backfill,
        cluster: cluster(args)?,
        ..RunConfig::default()
    };
    // Dropped (a hung-up client, Ctrl-C in `run_alone`), the run ends between two epochs.
    let _stopper = stop.clone().drop_guard();
    let mut running = tokio::task::spawn_blocking(move || {
        run_stream(pipeline, &run_config, parts, &mut |progress| {
            told.send_replace(progress.clone());
        })
    });
    let mut shown = tokio::time::interval(Duration::from_secs(1));
    let mut last = (0, std::time::Instant::now());
    let report = loop {
        tokio::select! {
            biased;
            Some(line) = printed.recv() => out.line(line).await,
            ended = &mut running => break ended?.map_err(self::ended),
            _ = tokio::signal::ctrl_c() => stop.cancel(),
            _ = shown.tick() => {
                let now = progress.borrow_and_update().clone();
                show(&now, &mut last, out).await?;
            }
        }
    };
    if let Some(numbers) = numbers {
        numbers.stop().await;
    }
    let report = report?;
    while let Some(line) = printed.recv().await {
        out.line(line).await;
    }
    let interrupted = stop.is_cancelled();
    let cpu_seconds = crate::stack::cpu_seconds() - cpu_before;
    let rate = report.rows as f64 / report.seconds.max(1e-9);
    if out.json() {
        let mut document = serde_json::to_value(&report)?;
        document["cpu_seconds"] = json!(cpu_seconds);
        document["peak_rss_mib"] = json!(crate::stack::peak_rss_mib());
        document["rows_per_second"] = json!(rate);
        document["interrupted"] = json!(interrupted);
        out.document(&document).await?;
    } else {
        out.note(format!(
            "{} rows in {} epochs, {} changes, {:.2} s ({rate:.0} rows/s, {cpu_seconds:.2} s of processor time); {} dead letters",
            report.rows, report.epochs, report.changes, report.seconds, report.dead_letters
        ))
        .await;
    }
    Ok(if interrupted {
        Exit::Interrupted
    } else if report.dead_letters > 0 {
        Exit::Partly
    } else {
        Exit::Done
    })
}

/// A live line, or a document where a program reads.
async fn show(now: &Progress, last: &mut (u64, std::time::Instant), out: &Out) -> anyhow::Result<()> {
    let seconds = last.1.elapsed().as_secs_f64();
    let rate = if seconds > 0.0 { (now.rows.saturating_sub(last.0)) as f64 / seconds } else { 0.0 };
    *last = (now.rows, std::time::Instant::now());
    if now.read.1 > 0 {
        out.progress("read", now.read.0, now.read.1);
    }
    if rate > 0.0 && out.json() {
        out.note(json!({ "running": now, "rows_per_second": rate }).to_string()).await;
    } else if rate > 0.0 && now.read.1 == 0 {
        out.note(format!("{} rows ({rate:.0} rows/s), epoch {} ({} ahead), {} behind, {} dead letters", now.rows, now.epoch, now.epochs_ahead, now.lag, now.dead_letters)).await;
    }
    Ok(())
}

async fn status(config: &Config, file: &PipelineFile, state: Option<PathBuf>, out: &Out) -> anyhow::Result<Exit> {
    let Some(pipeline) = checked(file, false, out).await? else { return Ok(Exit::Unusable) };
    let folder = state_folder(config, file, state);
    let Some(book) = Ledger::read(&folder).map_err(ended)? else {
        return Err(Ended::new(Exit::Unusable, format!("{} holds no ledger; has the pipeline been run?", folder.display())));
    };
    let (read, epochs, plan) = (book.offsets_at(u64::MAX), book.last(), &book.plan);
    let snapshots = snapshots(&folder, &book);
    let letters = std::fs::read_to_string(folder.join("dead-letters.jsonl")).map_or(0, |text| text.lines().count());
    let current = *plan == pipeline.hash;
    if out.json() {
        out.document(&json!({
            "folder": folder, "plan": plan, "current": current, "epochs": epochs, "read": read, "snapshots": snapshots, "dead_letters": letters,
        }))
        .await?;
        return Ok(Exit::Done);
    }
    out.line(format!("{}: {epochs} epochs of plan {plan}{}", folder.display(), if current { "" } else { "; the file has changed since, the next run begins anew" })).await;
    for (source, partitions) in read {
        let offsets = partitions.iter().map(|(partition, to)| if *partition == REPLAYS { format!("replays:{to}") } else { format!("{partition}:{to}") });
        let offsets = offsets.collect::<Vec<_>>().join(" ");
        out.line(format!("  {source} read to {offsets}")).await;
    }
    match snapshots.last() {
        Some(last) => out.line(format!("  a restart goes on from the snapshot of epoch {} ({:.1} MiB)", last.epoch, last.bytes as f64 / f64::from(1 << 20))).await,
        None => out.line("  no snapshot yet: a restart reads everything again".to_owned()).await,
    }
    out.line(format!("  {letters} dead letters at the end of the last run")).await;
    Ok(Exit::Done)
}

fn ended(error: StreamError) -> anyhow::Error {
    let exit = match &error {
        StreamError::Unsupported { .. } => Exit::Usage,
        StreamError::Locked { .. } | StreamError::Cluster { .. } | StreamError::Log(_) | StreamError::Store(_) => Exit::Unavailable,
        StreamError::Damaged { .. } | StreamError::Gap { .. } | StreamError::Io { .. } => Exit::Unusable,
        _ => Exit::Failed,
    };
    Ended::new(exit, error.to_string())
}
