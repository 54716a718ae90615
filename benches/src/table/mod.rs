//! The one table: every contender on every job, one after another, with equal results or none.

mod contender;
mod print;
mod run;

use std::path::PathBuf;
use std::time::Duration;

use crate::arguments::Arguments;
use crate::error::BenchError;
use crate::generate::{self, Input, SEED, USERS};
use crate::process;

pub(crate) use self::print::aligned;
pub(crate) use self::run::run_ours;

use self::contender::{Engine, Job};
use self::run::Ended;

/// More rows than any input has: one epoch for all of them.
pub(crate) const ALL: u64 = 1_000_000_000;

/// What is run, and with which programs and files.
struct Settings {
    epochs: Vec<u64>,
    jobs: Vec<Job>,
    engines: Vec<Engine>,
    runs: usize,
    workers: usize,
    ajatus: PathBuf,
    python: PathBuf,
    benches: PathBuf,
    inputs: Inputs,
    limit: Duration,
}

struct Inputs {
    words: PathBuf,
    changes: PathBuf,
    users: PathBuf,
}

/// What became of one contender at one job.
struct Entry {
    job: Job,
    epoch_rows: u64,
    engine: Engine,
    outcome: Outcome,
}

enum Outcome {
    /// Figures of every repetition.
    Ran(Vec<Ended>),
    /// It is not there.
    NotRun(String),
    /// It gave no result.
    Failed(BenchError),
}

/// `table`.
pub(crate) fn command(mut arguments: Arguments) -> Result<(), BenchError> {
    let rows = arguments.number("rows", 1_000_000_u64)?;
    let seed = arguments.number("seed", SEED)?;
    let data = arguments.path("data", ".cache/benches");
    let json = arguments.switch("json");
    let epochs = arguments.names("epochs", "1000,all");
    let settings = Settings {
        epochs: epochs.iter().map(|text| epoch(text)).collect::<Result<_, _>>()?,
        jobs: arguments.names("jobs", "wordcount,profiles,join").iter().map(|name| Job::of(name)).collect::<Result<_, _>>()?,
        engines: arguments
            .names("only", "ours,bare,pathway,bytewax")
            .iter()
            .map(|name| Engine::of(name))
            .collect::<Result<_, _>>()?,
        runs: arguments.number("runs", 3_usize)?.max(1),
        workers: arguments.number("workers", 1_usize)?.max(1),
        ajatus: match arguments.text("ajatus") {
            Some(path) => PathBuf::from(path),
            None => beside("ajatus")?,
        },
        python: arguments.path("python", ".cache/peers/bin/python"),
        benches: arguments.path("benches", "benches"),
        limit: Duration::from_secs(arguments.number("limit-seconds", 900)?),
        inputs: Inputs {
            words: generate::cached(&data, Input::Words, rows, seed)?,
            changes: generate::cached(&data, Input::Changes, rows, seed)?,
            users: generate::cached(&data, Input::Users, u64::from(USERS), seed)?,
        },
    };
    arguments.finish()?;

    let before = process::machine();
    let entries = measure(&settings);
    if json {
        print::lines(&entries);
    } else {
        println!("{before}");
        let repetitions = settings.runs;
        println!("{rows} rows, seed {seed}, {} worker(s), {repetitions} run(s) each, one after another\n", settings.workers);
        print::table(&entries);
        println!("\nafterwards: {}", process::machine());
    }
    verdict(entries)
}

fn epoch(text: &str) -> Result<u64, BenchError> {
    if text == "all" {
        return Ok(ALL);
    }
    let rows = text.replace('_', "").parse().ok().filter(|rows| *rows > 0);
    rows.ok_or_else(|| BenchError::Usage(format!("--epochs: {text:?} is neither a number of rows nor \"all\"")))
}

/// A program in this program's folder: cargo puts them side by side.
///
/// # Errors
/// [`BenchError::File`] if this program's own path is not known.
pub(crate) fn beside(name: &str) -> Result<PathBuf, BenchError> {
    let own = std::env::current_exe().map_err(BenchError::file(std::path::Path::new("/proc/self/exe")))?;
    Ok(own.with_file_name(name))
}

/// Runs everything; the repetitions go round, so that a busy spell of the machine meets every contender.
fn measure(settings: &Settings) -> Vec<Entry> {
    let mut entries = Vec::new();
    for job in &settings.jobs {
        for epoch_rows in &settings.epochs {
            for engine in &settings.engines {
                let outcome = match settings.missing(*engine) {
                    Some(reason) => Outcome::NotRun(reason),
                    None => Outcome::Ran(Vec::new()),
                };
                entries.push(Entry { job: *job, epoch_rows: *epoch_rows, engine: *engine, outcome });
            }
        }
    }
    for repetition in 1..=settings.runs {
        for entry in &mut entries {
            let Outcome::Ran(ended) = &mut entry.outcome else { continue };
            eprintln!("run {repetition}: {} {} {}", entry.job.name(), print::epoch(entry.epoch_rows), entry.engine.name());
            match settings.run(entry.engine, entry.job, entry.epoch_rows) {
                Ok(one) => ended.push(one),
                Err(error) => {
                    eprintln!("  {error}");
                    entry.outcome = Outcome::Failed(error);
                }
            }
        }
    }
    entries
}

/// Fails if any two results of a job differ, or if a contender that is there gave none.
fn verdict(entries: Vec<Entry>) -> Result<(), BenchError> {
    let mut failed = None;
    let mut first: Vec<(Job, Engine, u64, String)> = Vec::new();
    for entry in entries {
        let ended = match entry.outcome {
            Outcome::Ran(ended) => ended,
            Outcome::NotRun(_) => continue,
            Outcome::Failed(error) => {
                failed.get_or_insert(error);
                continue;
            }
        };
        for one in ended {
            let Some((_, engine, rows, checksum)) = first.iter().find(|(job, ..)| *job == entry.job) else {
                first.push((entry.job, entry.engine, one.live_rows, one.checksum));
                continue;
            };
            if (*rows, checksum) != (one.live_rows, &one.checksum) {
                let (job, name, epoch) = (entry.job.name(), entry.engine.name(), print::epoch(entry.epoch_rows));
                return Err(BenchError::Differ(format!(
                    "{job}: {} has {rows} rows with checksum {checksum}, {name} (epoch {epoch}) has {} with {}",
                    engine.name(),
                    one.live_rows,
                    one.checksum
                )));
            }
        }
    }
    failed.map_or(Ok(()), Err)
}
