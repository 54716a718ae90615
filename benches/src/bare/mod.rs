//! The yardstick: each job as one would write it by hand on differential dataflow, with typed rows and serde's parser.
//!
//! The last state of a result is kept in a map, as any sink must; it is hashed after the clocks were read.

mod feed;
mod join;
mod profiles;
mod wordcount;

use std::path::PathBuf;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use timely::worker::Worker;

use crate::arguments::Arguments;
use crate::checksum::Checksum;
use crate::error::BenchError;
use crate::process;

/// A map that costs as little as a map can.
type Map<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;

/// What a job reads, and how.
#[derive(Clone, Debug)]
struct Settings {
    file: PathBuf,
    users: Option<PathBuf>,
    epoch_rows: u64,
    workers: usize,
}

/// What one worker has at the end.
struct Part<L> {
    rows: u64,
    changes: u64,
    live: L,
}

/// What `bare` prints, and the peers too.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Who did it.
    pub(crate) engine: String,
    /// What was done.
    pub(crate) job: String,
    /// Rows read, of all inputs.
    pub(crate) rows: u64,
    /// Rows of an epoch.
    pub(crate) epoch_rows: u64,
    /// Changes of the result that came out.
    pub(crate) changes: u64,
    /// Processor seconds of the job, without the start of an interpreter and without the checksum.
    pub(crate) cpu_seconds: f64,
    /// The same by the clock on the wall.
    pub(crate) wall_seconds: f64,
    /// The most memory held.
    pub(crate) peak_rss_mib: f64,
    /// Rows of the result at the end.
    pub(crate) live_rows: u64,
    /// Their checksum.
    pub(crate) checksum: String,
}

/// `bare JOB --file F`.
pub(crate) fn command(mut arguments: Arguments) -> Result<(), BenchError> {
    let job = arguments.word("a job")?;
    let settings = Settings {
        file: arguments.needed_path("file")?,
        users: arguments.text("users").map(PathBuf::from),
        epoch_rows: arguments.number("epoch-rows", 1_000_u64)?.max(1),
        workers: arguments.number("workers", 1_usize)?.max(1),
    };
    arguments.finish()?;
    let report = match job.as_str() {
        "wordcount" => run(&job, &settings, wordcount::work, wordcount::check),
        "profiles" => run(&job, &settings, profiles::work, profiles::check),
        "join" => run(&job, &settings, join::work, join::check),
        other => Err(BenchError::Usage(format!("{other:?} is not wordcount, profiles or join"))),
    }?;
    println!("{}", serde_json::to_string(&report).expect("a report is JSON"));
    Ok(())
}

fn run<L: Send + 'static>(
    job: &str,
    settings: &Settings,
    work: fn(&mut Worker, &Settings) -> Result<Part<L>, BenchError>,
    check: fn(L, &mut Checksum),
) -> Result<Report, BenchError> {
    let started = Instant::now();
    let failed = |why: String| BenchError::Contender { contender: "bare".to_owned(), why };
    let own = settings.clone();
    let guards = timely::execute(timely::Config::process(settings.workers), move |worker| work(worker, &own)).map_err(failed)?;
    let parts = guards.join().into_iter().map(|part| part.map_err(failed)?).collect::<Result<Vec<_>, _>>()?;
    let (wall_seconds, cpu_seconds) = (started.elapsed().as_secs_f64(), process::own_cpu_seconds()?);
    let peak_rss_mib = process::peak_rss_mib("self").unwrap_or_default();
    let (mut rows, mut changes, mut sum) = (0, 0, Checksum::default());
    for part in parts {
        rows += part.rows;
        changes += part.changes;
        check(part.live, &mut sum);
    }
    Ok(Report {
        engine: "bare".to_owned(),
        job: job.to_owned(),
        rows,
        epoch_rows: settings.epoch_rows,
        changes,
        cpu_seconds,
        wall_seconds,
        peak_rss_mib,
        live_rows: sum.rows,
        checksum: sum.hex(),
    })
}
