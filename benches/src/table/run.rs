//! Runs one process to its end, watches it, and reads what it said last.

use std::io::{Read as _, Seek as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::BenchError;
use crate::process;

/// How often a process is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Figures of one run.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) rows: u64,
    pub(crate) changes: u64,
    pub(crate) cpu_seconds: f64,
    pub(crate) wall_seconds: f64,
    pub(crate) peak_rss_mib: f64,
    pub(crate) live_rows: u64,
    pub(crate) checksum: String,
}

/// A process that has ended well.
pub(crate) struct Process {
    cpu_seconds: f64,
    wall_seconds: f64,
    peak_rss_mib: f64,
    output: String,
}

/// What `ajatus pipeline run --json` says last.
#[derive(Deserialize)]
struct Said {
    rows: u64,
    changes: u64,
    cpu_seconds: f64,
}

impl Process {
    /// Runs a command to its end; nothing else may be waited for meanwhile, because the kernel sums up ended children.
    ///
    /// # Errors
    /// [`BenchError::Contender`] if it cannot be started, ends badly, or not within the limit; it is ended then.
    pub(crate) fn run(name: &str, mut command: Command, limit: Duration) -> Result<Self, BenchError> {
        let failed = |why: String| BenchError::Contender { contender: name.to_owned(), why };
        // Files and not pipes: nobody has to empty them while the process runs.
        let temporary = || tempfile::tempfile().map_err(BenchError::file(Path::new("a temporary file")));
        let (mut output, mut errors) = (temporary()?, temporary()?);
        let handle = |file: &std::fs::File| file.try_clone().map_err(BenchError::file(Path::new("a temporary file")));
        command.stdin(Stdio::null()).stdout(handle(&output)?).stderr(handle(&errors)?);
        let cpu = process::children_cpu_seconds()?;
        let started = Instant::now();
        let mut child = command.spawn().map_err(|error| failed(format!("cannot be started: {error}")))?;
        let id = child.id().to_string();
        let mut peak_rss_mib = 0.0;
        let status = loop {
            if let Some(status) = child.try_wait().map_err(|error| failed(error.to_string()))? {
                break status;
            }
            peak_rss_mib = process::peak_rss_mib(&id).unwrap_or(peak_rss_mib);
            if started.elapsed() > limit {
                // It may have ended by itself in between; it is waited for in either case.
                drop(child.kill());
                drop(child.wait());
                return Err(failed(format!("not done within {} s", limit.as_secs())));
            }
            std::thread::sleep(LOOK);
        };
        let wall_seconds = started.elapsed().as_secs_f64();
        let cpu_seconds = process::children_cpu_seconds()? - cpu;
        let output = text(&mut output)?;
        if !status.success() {
            let errors = text(&mut errors)?;
            let said: Vec<&str> = errors.lines().rev().take(8).collect();
            let said: Vec<&str> = said.into_iter().rev().collect();
            return Err(failed(format!("{status}\n{}", said.join("\n"))));
        }
        Ok(Self { cpu_seconds, wall_seconds, peak_rss_mib, output })
    }

    /// Reads the last line of standard output that is an object.
    ///
    /// # Errors
    /// [`BenchError::Contender`] if there is none of that shape.
    pub(crate) fn last_line<T: DeserializeOwned>(&self, name: &str) -> Result<T, BenchError> {
        let line = self.output.lines().rev().find(|line| line.starts_with('{')).unwrap_or_default();
        serde_json::from_str(line).map_err(|error| BenchError::Contender {
            contender: name.to_owned(),
            why: format!("its last line {line:?} is no report: {error}"),
        })
    }
}

fn text(file: &mut std::fs::File) -> Result<String, BenchError> {
    let mut bytes = Vec::new();
    let read = file.rewind().and_then(|()| file.read_to_end(&mut bytes));
    read.map_err(BenchError::file(Path::new("a temporary file")))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Runs an SQL file by the real binary, in fresh state, and gives what `read` makes of the file `${OUT}` that it leaves.
///
/// Everything the process takes is counted: start, planning, ledger, sink.
///
/// # Errors
/// [`BenchError::Contender`], and those of `read`.
pub(crate) fn run_ours<'path, T>(
    ajatus: &Path,
    sql: &Path,
    inputs: impl Iterator<Item = (&'static str, &'path Path)>,
    epoch_rows: u64,
    workers: usize,
    limit: Duration,
    read: impl FnOnce(&Path) -> Result<T, BenchError>,
) -> Result<(Ended, T), BenchError> {
    let folder = tempfile::tempdir().map_err(BenchError::file(Path::new("a temporary folder")))?;
    let out = folder.path().join("out.jsonl");
    let mut command = Command::new(ajatus);
    command.args(["pipeline", "run"]).arg(sql).args(["--epoch-rows", &epoch_rows.to_string()]);
    command.args(["--workers", &workers.to_string()]).arg("--state").arg(folder.path().join("state"));
    for (name, path) in inputs.map(|(name, path)| (name, path.to_owned())).chain([("OUT", out.clone())]) {
        let path = std::path::absolute(&path).map_err(BenchError::file(&path))?;
        command.arg("--set").arg(format!("{name}={}", path.display()));
    }
    command.arg("--json");
    let process = Process::run("ours", command, limit)?;
    let said: Said = process.last_line("ours")?;
    let result = read(&out)?;
    let ended = Ended {
        rows: said.rows,
        changes: said.changes,
        // From outside, start and all; never less than it admits to.
        cpu_seconds: process.cpu_seconds.max(said.cpu_seconds),
        wall_seconds: process.wall_seconds,
        peak_rss_mib: process.peak_rss_mib,
        live_rows: 0,
        checksum: String::new(),
    };
    Ok((ended, result))
}
