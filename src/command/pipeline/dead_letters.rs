//! `ajatus pipeline dead-letters list | replay`.

use std::path::PathBuf;

use ajatus_pipelines::stream::{Fate, Letter, StreamError, letters, replay};
use serde_json::json;

use super::{checked, ended, state_folder};
use crate::cli::{DeadLettersCommand, PipelineDeadLettersArgs, PipelineFolder, ReplayArgs};
use crate::config::Config;
use crate::exit::{Ended, Exit};
use crate::output::Out;

/// Makes paths absolute.
pub(super) fn prepare(args: &mut PipelineDeadLettersArgs) -> anyhow::Result<()> {
    args.command = args.clone().meant();
    let (folder, mended) = match &mut args.command {
        Some(DeadLettersCommand::List(folder)) => (folder, None),
        Some(DeadLettersCommand::Replay(args)) => (&mut args.folder, args.mended.as_mut()),
        None => return Ok(()),
    };
    folder.file.named = folder.file.path.display().to_string();
    for path in [Some(&mut folder.file.path), folder.state.as_mut(), mended].into_iter().flatten() {
        *path = std::path::absolute(&*path)?;
    }
    Ok(())
}

/// Runs the command.
pub(super) async fn run(config: &Config, args: PipelineDeadLettersArgs, out: &Out) -> anyhow::Result<Exit> {
    match args.meant() {
        Some(DeadLettersCommand::List(folder)) => list(config, &folder, out).await,
        Some(DeadLettersCommand::Replay(args)) => again(config, &args, out).await,
        None => Err(Ended::new(Exit::Usage, "name the pipeline's file")),
    }
}

fn read(folder: &std::path::Path) -> anyhow::Result<Vec<Letter>> {
    let path = folder.join("dead-letters.jsonl");
    letters(&path).map_err(|error| match error {
        StreamError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            Ended::new(Exit::Unusable, format!("{} is not there; has the pipeline run on this folder?", path.display()))
        }
        other => ended(other),
    })
}

async fn list(config: &Config, folder: &PipelineFolder, out: &Out) -> anyhow::Result<Exit> {
    let path = state_folder(config, &folder.file, folder.state.clone());
    for letter in read(&path)? {
        if out.json() {
            out.document(&letter).await?;
        } else {
            let attempt = if letter.attempt == 1 { String::new() } else { format!("  attempt {}", letter.attempt) };
            out.line(format!("{}  {}  {}  {}{attempt}\n    {}", letter.step, letter.code, letter.origin, letter.message, letter.payload.trim_end())).await;
        }
    }
    Ok(Exit::Done)
}

async fn again(config: &Config, args: &ReplayArgs, out: &Out) -> anyhow::Result<Exit> {
    let Some(pipeline) = checked(&args.folder.file, false, out).await? else { return Ok(Exit::Unusable) };
    let folder: PathBuf = state_folder(config, &args.folder.file, args.folder.state.clone());
    let mended = args.mended.as_ref().map(|path| letters(path)).transpose().map_err(ended)?;
    let fits = |wanted: &Option<String>, there: &str| wanted.as_deref().is_none_or(|wanted| wanted == there);
    let chosen = read(&folder)?.into_iter().filter(|letter| fits(&args.step, &letter.step) && fits(&args.code, &letter.code));
    let chosen: Vec<Letter> = chosen.take(args.limit.map_or(usize::MAX, |limit| limit as usize)).collect();
    let dry_run = args.dry_run;
    let fates = tokio::task::spawn_blocking(move || replay(&folder, &pipeline, &chosen, mended.as_deref(), dry_run)).await?.map_err(ended)?;
    let replayed = fates.iter().filter(|(_, fate)| *fate == Fate::Replayed).count();
    for (letter, fate) in &fates {
        if out.json() {
            out.document(&json!({ "step": letter.step, "code": letter.code, "origin": letter.origin, "attempt": letter.attempt, "fate": fate })).await?;
        } else {
            out.line(format!("{}  {}  {}: {}", letter.step, letter.code, letter.origin, fate.says())).await;
        }
    }
    if !out.json() {
        let would = if dry_run { " would be" } else { "" };
        out.line(format!("{replayed} of {} letters{would} replayed", fates.len())).await;
    }
    Ok(Exit::Done)
}
