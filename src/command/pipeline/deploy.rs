//! `ajatus pipeline deploy`: a portable file becomes a pipeline of an Arroyo cluster.
//!
//! Holds always: a deployment is found again by its labels, so the same file is deployed once and a changed one replaces it; a
//! pipeline of another hand is never touched. What a crash leaves: the old pipeline stopped with a checkpoint, or the new one on its
//! way; the same command goes on from there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ajatus_sql::diagnostic::{Code, Diagnostic};
use ajatus_sql::pipeline::Pipeline;
use ajatus_sql::portable::{Surroundings, Translation, translate};
use serde_json::json;

use super::arroyo::{Arroyo, ArroyoError, Finding, Job, NewPipeline};
use crate::cli::PipelineDeployArgs;
use crate::config::Config;
use crate::exit::{Ended, Exit};
use crate::output::Out;

/// Label of everything that we deploy.
const MANAGED_BY: &str = "managed-by";
/// Label with the pipeline's name.
const PIPELINE: &str = "ajatus-pipeline";
/// Label with what it was made from.
const PLAN: &str = "ajatus-plan";

/// States in which a job does nothing any more.
const ENDED: [&str; 3] = ["Stopped", "Finished", "Failed"];

/// Runs the command.
pub(super) async fn run(config: &Config, args: &PipelineDeployArgs, out: &Out) -> anyhow::Result<Exit> {
    let Some(pipeline) = super::checked(&args.file, true, out).await? else { return Ok(Exit::Unusable) };
    let surroundings = Surroundings { own_log: config.log.kafka.clone() };
    let translation = match translate(&pipeline, &surroundings) {
        Ok(translation) => translation,
        Err(found) => {
            super::refuse(&pipeline.source, &found, out).await?;
            return Ok(Exit::Unusable);
        }
    };
    let notes = notes(&pipeline, &translation);
    if !out.json() {
        for note in &notes {
            out.note(format!("note: {note}")).await;
        }
    }
    let Some(url) = args.arroyo.as_ref().filter(|_| !args.dry_run) else {
        if out.json() {
            out.document(&json!({ "query": translation.sql, "notes": notes })).await?;
        } else {
            out.text(translation.sql).await;
        }
        return Ok(Exit::Done);
    };
    let name = args.name.clone().unwrap_or_else(|| super::name_of(&args.file));
    let plan = plan(&translation, args);
    let arroyo = Arroyo::new(url, config.arroyo.token.as_deref(), Duration::from_secs(config.arroyo.request_s)).map_err(ended)?;
    let deployment = Deployment { arroyo, config, args, name: &name, plan: &plan, out };
    deployment.step(format!("asking {url}")).await;
    deployment.arroyo.ping().await.map_err(ended)?;
    let findings = deployment.arroyo.validate(&translation.sql).await.map_err(ended)?;
    if !findings.is_empty() {
        let found: Vec<Diagnostic> = findings.iter().map(|finding| placed(finding, &translation)).collect();
        super::refuse(&pipeline.source, &found, out).await?;
        return Ok(Exit::Unusable);
    }
    let done = deployment.carry_out(&translation).await?;
    if out.json() {
        let mut document = done.document;
        document["notes"] = json!(notes);
        out.document(&document).await?;
    } else {
        out.line(done.line).await;
    }
    Ok(Exit::Done)
}

/// What is different there, with its place.
fn notes(pipeline: &Pipeline, translation: &Translation) -> Vec<String> {
    let said = translation.notes.iter().map(|note| {
        let at = pipeline.source.position(note.span.start);
        format!("{}:{}:{}: {}", pipeline.source.name, at.line, at.column, note.message)
    });
    said.collect()
}

/// Names what is deployed: the text and all settings.
fn plan(translation: &Translation, args: &PipelineDeployArgs) -> String {
    let mut hash = blake3::Hasher::new();
    hash.update(translation.sql.as_bytes());
    hash.update(format!("\n{} {:?} {:?}", args.parallelism, args.checkpoint_interval, args.state_url).as_bytes());
    hash.finalize().to_hex().chars().take(16).collect()
}

/// A finding of the cluster as one of ours, at its place in the file.
fn placed(finding: &Finding, translation: &Translation) -> Diagnostic {
    let (message, range) = match finding {
        Finding::Text(message) => (message, None),
        Finding::Placed { message, span } => (message, *span),
    };
    let span = range.and_then(|range| translation.place((range.start.line, range.start.column), (range.end.line, range.end.column)));
    Diagnostic::new(Code::PortableRefused, message.as_str()).at(span).hint("the message is the cluster's; `--dry-run` prints the text that it was sent")
}

/// What was done.
struct Done {
    line: String,
    document: serde_json::Value,
}

/// One deployment on its way.
struct Deployment<'a> {
    arroyo: Arroyo,
    config: &'a Config,
    args: &'a PipelineDeployArgs,
    name: &'a str,
    plan: &'a str,
    out: &'a Out,
}

impl Deployment<'_> {
    async fn carry_out(&self, translation: &Translation) -> anyhow::Result<Done> {
        let ours = |pipeline: &super::arroyo::Pipeline| pipeline.tag(MANAGED_BY) == Some("ajatus") && pipeline.tag(PIPELINE) == Some(self.name);
        let all = self.arroyo.pipelines().await.map_err(ended)?;
        if let Some(other) = all.iter().find(|pipeline| pipeline.name == self.name && !ours(pipeline)) {
            let message = format!("pipeline {:?} ({}) is there and was not deployed by ajatus; give another --name, or delete it there", other.name, other.id);
            return Err(Ended::new(Exit::Failed, message));
        }
        // Those that were replaced stay, stopped: the newest is the one that counts.
        let last = all.into_iter().filter(|pipeline| ours(pipeline)).max_by_key(|pipeline| pipeline.created_at);
        let mut action = "created";
        if let Some(last) = last {
            let job = self.arroyo.job(&last.id).await.map_err(ended)?;
            if last.tag(PLAN) == Some(self.plan) {
                return self.same(&last.id, job.as_ref()).await;
            }
            if !job.as_ref().is_some_and(|job| ENDED.contains(&job.state.as_str())) {
                self.step(format!("the file has changed: stopping {} with a checkpoint", last.id)).await;
                self.arroyo.stop(&last.id, "checkpoint").await.map_err(ended)?;
                self.until(&last.id, "stop", |job| ENDED.contains(&job.state.as_str()), false).await?;
            }
            action = "replaced";
        }
        let new = NewPipeline {
            name: self.name,
            query: &translation.sql,
            parallelism: self.args.parallelism,
            checkpoint_interval_micros: self.args.checkpoint_interval.map(|seconds| u64::from(seconds) * 1_000_000),
            state_url: self.args.state_url.as_deref(),
            tags: BTreeMap::from([(MANAGED_BY, "ajatus"), (PIPELINE, self.name), (PLAN, self.plan)]),
        };
        let made = self.arroyo.create(&new).await.map_err(ended)?;
        self.step(format!("made {} ({})", self.name, made.id)).await;
        self.follow(&made.id, action).await
    }

    /// What is there is what is asked for.
    async fn same(&self, id: &str, job: Option<&Job>) -> anyhow::Result<Done> {
        match job.map(|job| (job, job.state.as_str())) {
            Some((job, "Running" | "Finished")) => Ok(self.done(id, "unchanged", job, None)),
            Some((job, "Failed")) => Err(failed(id, job)),
            Some((_, "Stopped")) => {
                self.step(format!("{id} is this file, stopped: letting it go on")).await;
                self.arroyo.stop(id, "none").await.map_err(ended)?;
                self.follow(id, "resumed").await
            }
            // On its way: an earlier deployment did not wait for it.
            _ => self.follow(id, "unchanged").await,
        }
    }

    /// Waits until it runs and has a checkpoint; what is bounded may end before.
    async fn follow(&self, id: &str, action: &str) -> anyhow::Result<Done> {
        let mut job = self.until(id, "run", |job| job.state == "Running" || job.state == "Finished", true).await?;
        let clock = Instant::now();
        loop {
            let checkpoints = self.arroyo.checkpoints(id, &job.id).await.map_err(ended)?;
            let last = checkpoints.iter().filter(|checkpoint| checkpoint.finish_time.is_some()).map(|checkpoint| checkpoint.epoch).max();
            if last.is_some() || job.state == "Finished" {
                return Ok(self.done(id, action, &job, last));
            }
            self.pause(clock, id, "have a checkpoint").await?;
            match self.arroyo.job(id).await.map_err(ended)? {
                Some(next) if next.state == "Failed" => return Err(failed(id, &next)),
                Some(next) => job = next,
                None => {}
            }
        }
    }

    /// Asks for the job until `reached` says so, and says each state that it passes. `alive`: a failed one is an error.
    async fn until(&self, id: &str, what: &str, reached: impl Fn(&Job) -> bool, alive: bool) -> anyhow::Result<Job> {
        let clock = Instant::now();
        let mut told = String::new();
        loop {
            if let Some(job) = self.arroyo.job(id).await.map_err(ended)? {
                if job.state != told {
                    told.clone_from(&job.state);
                    self.step(format!("{id} is {}", told.to_lowercase())).await;
                }
                if alive && job.state == "Failed" {
                    return Err(failed(id, &job));
                }
                if reached(&job) {
                    return Ok(job);
                }
            }
            self.pause(clock, id, what).await?;
        }
    }

    async fn pause(&self, since: Instant, id: &str, what: &str) -> anyhow::Result<()> {
        let most = self.config.arroyo.deadline_s;
        if since.elapsed() > Duration::from_secs(most) {
            let message = format!("pipeline {id} did not {what} within {most} s (arroyo.deadline_s); the same command goes on waiting");
            return Err(Ended::new(Exit::Unavailable, message));
        }
        tokio::time::sleep(Duration::from_millis(self.config.arroyo.poll_ms)).await;
        Ok(())
    }

    /// Says how far it is.
    async fn step(&self, what: String) {
        let line = if self.out.json() { json!({ "progress": { "label": what } }).to_string() } else { what };
        self.out.note(line).await;
    }

    fn done(&self, id: &str, action: &str, job: &Job, epoch: Option<u64>) -> Done {
        let reached = epoch.map_or_else(String::new, |epoch| format!(", checkpoint {epoch}"));
        let what = if action == "unchanged" { "nothing to do" } else { action };
        Done {
            line: format!("{what}: {} is {id}, {}{reached}; plan {}", self.name, job.state.to_lowercase(), self.plan),
            document: json!({
                "action": action, "name": self.name, "pipeline": id, "job": job.id, "state": job.state, "checkpoint": epoch, "plan": self.plan,
            }),
        }
    }
}

fn failed(id: &str, job: &Job) -> anyhow::Error {
    let reason = job.failure_reason.as_deref().unwrap_or("no reason given");
    Ended::new(Exit::Failed, format!("pipeline {id} failed: {reason}; mend the file and deploy it again, or restart it there"))
}

fn ended(error: ArroyoError) -> anyhow::Error {
    let exit = match &error {
        ArroyoError::Address { .. } => Exit::Usage,
        ArroyoError::Unreachable { .. } => Exit::Unavailable,
        ArroyoError::Refused { .. } | ArroyoError::Garbage { .. } => Exit::Failed,
    };
    let token = matches!(&error, ArroyoError::Refused { status: 401 | 403, .. });
    let message = error.to_string();
    Ended::new(exit, if token { format!("{message}; set arroyo.token or AJATUS_ARROYO_TOKEN") } else { message })
}
