//! The command line of `ajatus data`.

use std::path::PathBuf;

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use clap::{Args, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

/// `ajatus data …`.
#[derive(Clone, Debug, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DataCommand {
    /// Write the conversations of those who allowed it, opened from their seal, as a training set for a chat model.
    TrainingSet(TrainingSetArgs),
    /// Say which training sets were taken: when, by whom, what for, how much.
    TrainingExports,
    /// Write everything of a user, opened from its seal, with where each fact comes from: as JSONL, which `restore` reads, and as Parquet.
    Takeout(TakeoutArgs),
    /// Read what `takeout` wrote into an account, and compare what becomes of it with what was written.
    Restore(RestoreArgs),
}

/// `ajatus data takeout`.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub(crate) struct TakeoutArgs {
    /// Whose.
    #[arg(long, value_name = "NAME")]
    pub(crate) user: String,
    /// Folder for the files; it is made, and must be empty.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
}

/// `ajatus data restore`.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub(crate) struct RestoreArgs {
    /// Folder that `takeout` wrote.
    pub(crate) folder: PathBuf,
    /// Into whose account; it is made if there is none.
    #[arg(long, value_name = "NAME")]
    pub(crate) user: String,
}

/// `ajatus data training-set`.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
#[command(group = clap::ArgGroup::new("whose").required(true).args(["users", "all_consented"]))]
pub(crate) struct TrainingSetArgs {
    /// Folder for the files; it is made, and must not hold a training set yet.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// What the training set is for; kept in the trail.
    #[arg(long, value_name = "TEXT", value_parser = purpose)]
    pub(crate) purpose: String,
    /// As what.
    #[arg(long, value_enum, default_value_t = TrainingFormat::Jsonl)]
    pub(crate) format: TrainingFormat,
    /// Whose conversations: names with commas between. One who has not allowed it is refused.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) users: Vec<String>,
    /// The conversations of everybody who has allowed it.
    #[arg(long)]
    pub(crate) all_consented: bool,
    /// Only turns from this day or time on (`2026-03-01`, `2026-03-01T12:00:00Z`).
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub(crate) since: Option<DateTime<Utc>>,
    /// Only turns before this day or time.
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub(crate) until: Option<DateTime<Utc>>,
    /// A file whose text is put before every conversation as the system's message.
    #[arg(long, value_name = "FILE")]
    pub(crate) system: Option<PathBuf>,
    /// Share of the users whose conversations are kept apart for validation.
    #[arg(long, value_name = "SHARE", default_value = "0.1", value_parser = share)]
    pub(crate) valid_share: f64,
    /// Seed of that choice.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Who takes it, as read; never given on the command line.
    #[arg(skip)]
    pub(crate) by: String,
}

/// Forms of a training set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TrainingFormat {
    /// One conversation a line.
    Jsonl,
    /// Parquet.
    Parquet,
    /// Both.
    Both,
}

fn purpose(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > 500 || text.chars().any(char::is_control) {
        return Err("it must have 1 to 500 printable characters".to_owned());
    }
    Ok(text.to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "it is no number".to_owned())?;
    if (0.0..=0.9).contains(&value) { Ok(value) } else { Err("it must lie between 0 and 0.9".to_owned()) }
}

fn instant(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(day) = text.parse::<NaiveDate>() {
        return Ok(day.and_time(NaiveTime::MIN).and_utc());
    }
    let at = DateTime::parse_from_rfc3339(text).map_err(|_| "it is neither a day (2026-03-01) nor a time (2026-03-01T12:00:00Z)".to_owned())?;
    Ok(at.to_utc())
}
