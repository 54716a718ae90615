//! Who is run, at what, and by which command.

use std::path::Path;
use std::process::Command;

use super::Settings;
use super::run::{Ended, Process, run_ours};
use crate::bare::Report;
use crate::checksum::Checksum;
use crate::error::BenchError;

/// A job of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// Counts of words.
    Wordcount,
    /// Counts and sums by user, with withdrawals.
    Profiles,
    /// Changes with the names of their users, with withdrawals.
    Join,
}

impl Job {
    pub(super) fn of(name: &str) -> Result<Self, BenchError> {
        let known = [Self::Wordcount, Self::Profiles, Self::Join];
        let found = known.into_iter().find(|job| job.name() == name);
        found.ok_or_else(|| BenchError::Usage(format!("{name:?} is not wordcount, profiles or join")))
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Wordcount => "wordcount",
            Self::Profiles => "profiles",
            Self::Join => "join",
        }
    }
}

/// A contender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    /// `ajatus pipeline run`.
    Ours,
    /// Differential dataflow by hand.
    Bare,
    /// Pathway, from PyPI.
    Pathway,
    /// Bytewax, from PyPI.
    Bytewax,
}

impl Engine {
    pub(super) fn of(name: &str) -> Result<Self, BenchError> {
        let known = [Self::Ours, Self::Bare, Self::Pathway, Self::Bytewax];
        let found = known.into_iter().find(|engine| engine.name() == name);
        found.ok_or_else(|| BenchError::Usage(format!("{name:?} is not ours, bare, pathway or bytewax")))
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Bare => "bare",
            Self::Pathway => "pathway",
            Self::Bytewax => "bytewax",
        }
    }
}

impl Settings {
    /// Says why a contender cannot be run; `None` if it can.
    pub(super) fn missing(&self, engine: Engine) -> Option<String> {
        let gone = |path: &Path| (!path.is_file()).then(|| format!("{} is not there", path.display()));
        match engine {
            Engine::Bare => None,
            Engine::Ours => gone(&self.ajatus).map(|reason| format!("{reason}: cargo build --bin ajatus")),
            Engine::Bytewax if self.workers > 1 => Some("this script runs it on one worker".to_owned()),
            Engine::Pathway | Engine::Bytewax => {
                gone(&self.python).map(|reason| format!("{reason}: benches/peers/setup makes it"))
            }
        }
    }

    /// Runs a contender once.
    pub(super) fn run(&self, engine: Engine, job: Job, epoch_rows: u64) -> Result<Ended, BenchError> {
        if engine == Engine::Ours {
            let sql = self.benches.join("pipelines").join(format!("{}.sql", job.name()));
            let inputs = [("WORDS", &self.inputs.words), ("CHANGES", &self.inputs.changes), ("USERS", &self.inputs.users)];
            let used = inputs.iter().filter(|(name, _)| job.reads(name)).map(|(name, path)| (*name, path.as_path()));
            let (mut ended, sum) = run_ours(&self.ajatus, &sql, used, epoch_rows, self.workers, self.limit, Checksum::of_file)?;
            (ended.live_rows, ended.checksum) = (sum.rows, sum.hex());
            return Ok(ended);
        }
        let mut command = if engine == Engine::Bare {
            let mut command = Command::new(super::beside("ajatus-benches")?);
            command.arg("bare");
            command
        } else {
            let mut command = Command::new(&self.python);
            command.env("PYTHONDONTWRITEBYTECODE", "1");
            command.arg(self.benches.join("peers").join(format!("on_{}.py", engine.name())));
            command
        };
        let file = if job == Job::Wordcount { &self.inputs.words } else { &self.inputs.changes };
        command.arg(job.name()).arg("--file").arg(file).args(["--epoch-rows", &epoch_rows.to_string()]);
        command.args(["--workers", &self.workers.to_string()]);
        if job == Job::Join {
            command.arg("--users").arg(&self.inputs.users);
        }
        let process = Process::run(engine.name(), command, self.limit)?;
        let report: Report = process.last_line(engine.name())?;
        Ok(Ended {
            rows: report.rows,
            changes: report.changes,
            // What the job took: an interpreter's start and the checksum are not held against anyone.
            cpu_seconds: report.cpu_seconds,
            wall_seconds: report.wall_seconds,
            peak_rss_mib: report.peak_rss_mib,
            live_rows: report.live_rows,
            checksum: report.checksum,
        })
    }
}

impl Job {
    fn reads(self, input: &str) -> bool {
        match self {
            Self::Wordcount => input == "WORDS",
            Self::Profiles => input == "CHANGES",
            Self::Join => input != "WORDS",
        }
    }
}
