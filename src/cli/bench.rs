//! The command line of `ajatus bench embed` and `ajatus bench generate`.

use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};

/// A number of seconds that a measurement may take.
fn seconds(text: &str) -> Result<f64, String> {
    bounded(text, 0.05, 600.0)
}

fn milliseconds(text: &str) -> Result<f64, String> {
    bounded(text, 0.1, 3_600_000.0)
}

fn rate(text: &str) -> Result<f64, String> {
    bounded(text, 0.01, 1_000_000.0)
}

fn bounded(text: &str, low: f64, high: f64) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "it is no number".to_owned())?;
    if value >= low && value <= high { Ok(value) } else { Err(format!("it must lie between {low} and {high}")) }
}

/// `ajatus bench embed`.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub(crate) struct BenchEmbedArgs {
    /// Tokens of a batch at most; several with commas between.
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', default_value = "512,2048,8192", value_parser = clap::value_parser!(u32).range(512..=1_048_576))]
    pub(crate) batch_tokens: Vec<u32>,
    /// Texts of a batch at most.
    #[arg(long, value_name = "ROWS", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) batch_rows: u32,
    /// Batches at the model at once; several with commas between.
    #[arg(long, value_name = "BATCHES", value_delimiter = ',', default_value = "1,2", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) in_flight: Vec<u16>,
    /// How long a text waits for its batch to fill, milliseconds; several with commas between.
    #[arg(long, value_name = "MS", value_delimiter = ',', default_value = "0,5", value_parser = clap::value_parser!(u64).range(0..=1000))]
    pub(crate) delay_ms: Vec<u64>,
    /// Threads of the model in this process; several with commas between. Default: as configured.
    #[arg(long, value_name = "THREADS", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Vec<u16>,
    /// Texts to embed: a JSON string a line, or a JSON object with a field `text`. Default: built in, 5 to 240 tokens, 47 in the mean.
    #[arg(long, value_name = "FILE")]
    pub(crate) texts: Option<PathBuf>,
    /// Seed of the built-in texts and of the times at which texts are offered.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Callers of the closed loop: each asks for one text and waits for its vector.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(crate) callers: u16,
    /// Texts a second that are offered whether or not the last ones are done; several with commas between. Default: 70 % of the best closed loop.
    #[arg(long, value_name = "TEXTS", value_delimiter = ',', value_parser = rate)]
    pub(crate) rate: Vec<f64>,
    /// Seconds of each measurement.
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = seconds)]
    pub(crate) seconds: f64,
    /// Seconds before each measurement that are not counted.
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = seconds)]
    pub(crate) warm_up_seconds: f64,
    /// The latency that 99 of 100 texts must keep, milliseconds.
    #[arg(long, value_name = "MS", default_value = "100", value_parser = milliseconds)]
    pub(crate) p99_ms: f64,
    /// Folder for the report and the best setting: embed.html, embed.json, embed.sql, embed.toml.
    #[arg(long, value_name = "DIR", default_value = "bench")]
    pub(crate) out: PathBuf,
}

/// `ajatus bench generate`.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub(crate) struct BenchGenerateArgs {
    /// Answers that are being written at once; several with commas between.
    #[arg(long, value_name = "ANSWERS", value_delimiter = ',', default_value = "1,2,4", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) concurrency: Vec<u16>,
    /// Tokens of an answer at most; several with commas between.
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', default_value = "32,128", value_parser = clap::value_parser!(u32).range(2..=131_072))]
    pub(crate) max_tokens: Vec<u32>,
    /// Threads of the model in this process; several with commas between. Default: as configured.
    #[arg(long, value_name = "THREADS", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Vec<u16>,
    /// Questions to ask: a JSON string a line, or a JSON object with a field `text`. Default: built in, 5 to 240 words, about 45 in the mean.
    #[arg(long, value_name = "FILE")]
    pub(crate) texts: Option<PathBuf>,
    /// Seed of the built-in texts.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Seconds of each measurement; answers that have begun in them are heard to their end.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(crate) seconds: f64,
    /// The time to the first token that 99 of 100 answers must keep, milliseconds.
    #[arg(long, value_name = "MS", default_value = "2000", value_parser = milliseconds)]
    pub(crate) p99_ms: f64,
    /// Folder for the report and the best setting: generate.html, generate.json, generate.sql, generate.toml.
    #[arg(long, value_name = "DIR", default_value = "bench")]
    pub(crate) out: PathBuf,
}
