//! `ajatus bench embed`: which sizes of batches give this machine the most vectors a second, and what latency do they cost?
//!
//! Every setting is measured through the batcher and the model that the companion uses: by callers that wait, then at a rate that waits for nobody.
//! Holds always: what Ctrl-C leaves is reported; a setting that failed or fell behind is never named the best.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ajatus_inference::clock::SystemClock;
use ajatus_inference::{BatchConfig, BatchedEmbedder, Embedder};

use super::best::{Candidate, Choice, best};
use super::load::{Load, Outcome, Texts, Times, measure};
use super::settings::Batching;
use super::watch::{Batches, Watched};
use super::work::Bert;
use super::texts;
use crate::cli::BenchEmbedArgs;
use crate::config::Config;
use crate::exit::{Ended, Exit};
use crate::output::Out;
use crate::stack::{Needs, Stack, percentile};

mod show;

/// Share of the best closed loop that is offered when no rate is given.
const OFFERED: f64 = 0.7;
/// Share of the offered texts that must be answered in the measured time by a setting that keeps up.
const KEPT_UP: f64 = 0.9;
/// Texts waiting for the batcher at most.
const QUEUE: usize = 8_192;
/// Bytes of a text that make about one token, where the model cannot count.
const BYTES_PER_TOKEN: usize = 4;

/// One measurement.
#[derive(Clone, Debug)]
struct Point {
    setting: Batching,
    load: Load,
    texts_per_second: f64,
    tokens_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    batches: Batches,
    /// Useful work; nothing where a server computes or the model's sizes are not known.
    gflops: Option<f64>,
    /// The same as a share of the matrix peak of as many threads.
    peak_share: Option<f64>,
    failed: u64,
    reason: Option<String>,
    kept_up: bool,
}

impl Point {
    fn candidate(&self) -> Candidate {
        // What keeps up with a rate does that rate: which texts fell just within the measured time is chance.
        let per_second = if let Load::Rate(rate) = self.load { rate } else { self.texts_per_second };
        Candidate { per_second, p99_ms: self.p99_ms, sound: self.failed == 0 && self.kept_up && self.texts_per_second > 0.0 }
    }
}

/// A loaded model with a number of threads.
struct Device {
    stack: Stack,
    model: Arc<dyn Embedder>,
    threads: Option<u16>,
    /// GFLOP/s of matrix products with as many threads.
    peak: Option<f64>,
}

/// What is measured, and with what.
struct Sweep<'a> {
    args: &'a BenchEmbedArgs,
    texts: Arc<Texts>,
    lengths: Arc<HashMap<String, u32>>,
    bert: Option<Bert>,
    counted: bool,
}

/// What there is to say at the end.
struct Found {
    model: String,
    name: String,
    provider: &'static str,
    dimension: usize,
    counted: bool,
    points: Vec<Point>,
    peaks: Vec<(usize, f64)>,
    choice: Option<Choice>,
    interrupted: bool,
}

/// Runs the bench.
pub(super) async fn run(config: &Config, args: &BenchEmbedArgs, out: &Out) -> anyhow::Result<Exit> {
    let all = args.texts.as_deref().map_or_else(|| Ok(texts::built_in(args.seed)), texts::from_file)?;
    let devices = open(config, args, out).await?;
    let Some(first) = devices.first() else { anyhow::bail!("there is no model") };
    let (local, model) = (first.stack.bare_embedder().1, Arc::clone(&first.model));
    let (tokens, counted) = count(&model, &all);
    let sweep = Sweep {
        args,
        lengths: Arc::new(all.iter().cloned().zip(tokens.iter().copied()).collect()),
        texts: Arc::new(Texts { all, tokens }),
        bert: if local { Bert::of(&config.models.embedding.path) } else { None },
        counted,
    };
    let mut points = Vec::new();
    let ended = tokio::select! {
        biased;
        ended = sweep.run(&devices, &mut points, out) => Some(ended),
        _ = tokio::signal::ctrl_c() => None,
    };
    let peaks = devices.iter().filter_map(|device| Some((threads(device.threads, config), device.peak?))).collect();
    for device in devices {
        Stack::close(Arc::new(device.stack)).await?;
    }
    let interrupted = ended.is_none();
    ended.unwrap_or(Ok(()))?;
    if points.is_empty() {
        return Ok(Exit::Interrupted);
    }
    let candidates: Vec<Candidate> = points.iter().map(Point::candidate).collect();
    let found = Found {
        model: model.model().id(),
        name: config.models.embedding.name.clone(),
        provider: if local { "candle" } else if config.models.embedding.vllm.is_some() { "vllm" } else { "ollama" },
        dimension: model.dimension(),
        counted: sweep.counted,
        choice: best(&candidates, args.p99_ms),
        points,
        peaks,
        interrupted,
    };
    show::show(&found, &sweep, out).await?;
    Ok(match found.choice {
        _ if interrupted => Exit::Interrupted,
        Some(_) => Exit::Done,
        None => Exit::Failed,
    })
}

/// Threads that a model has.
fn threads(chosen: Option<u16>, config: &Config) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    chosen.map(usize::from).or(config.models.embedding.threads).unwrap_or_else(cores)
}

/// Loads the model once for each number of threads, and measures what so many threads could do.
async fn open(config: &Config, args: &BenchEmbedArgs, out: &Out) -> anyhow::Result<Vec<Device>> {
    let wanted: Vec<Option<u16>> = if args.threads.is_empty() { vec![None] } else { args.threads.iter().copied().map(Some).collect() };
    let mut devices = Vec::new();
    for threads in wanted {
        let mut config = config.clone();
        if let Some(threads) = threads {
            config.models.embedding.threads = Some(threads.into());
        }
        let count = self::threads(threads, &config);
        let device = config.models.embedding.device;
        let stack = Stack::open(config, Needs::embedder(), out).await?;
        let (model, local) = stack.bare_embedder();
        if !local && threads.is_some() {
            return Err(Ended::new(Exit::Usage, "--threads is for the model in this process, but a server answers for it; leave it out"));
        }
        let peak = if local { Some(tokio::task::spawn_blocking(move || ajatus_candle::peak_gflops(device, count)).await??) } else { None };
        devices.push(Device { stack, model, threads, peak });
    }
    Ok(devices)
}

/// Tokens of each text as the model reads it, and whether they were counted or guessed.
fn count(model: &Arc<dyn Embedder>, texts: &[String]) -> (Vec<u32>, bool) {
    let short = |tokens: usize| u32::try_from(tokens).unwrap_or(u32::MAX);
    match model.measure(texts) {
        Some(measured) => (measured.iter().map(|tokens| short(tokens.read)).collect(), true),
        None => (texts.iter().map(|text| short((text.len() / BYTES_PER_TOKEN + 2).min(model.max_tokens()))).collect(), false),
    }
}

impl Sweep<'_> {
    /// Measures every setting; each measurement is kept as soon as it is there.
    async fn run(&self, devices: &[Device], points: &mut Vec<Point>, out: &Out) -> anyhow::Result<()> {
        let args = self.args;
        let settings: Vec<(usize, Batching)> = devices
            .iter()
            .enumerate()
            .flat_map(|(device, of)| {
                let tokens = args.batch_tokens.iter().flat_map(|tokens| args.in_flight.iter().map(move |in_flight| (*tokens, *in_flight)));
                tokens.flat_map(move |(batch_tokens, in_flight)| {
                    let of = Batching { batch_tokens, batch_rows: args.batch_rows, delay_ms: 0, in_flight, threads: of.threads };
                    args.delay_ms.iter().map(move |delay_ms| (device, Batching { delay_ms: *delay_ms, ..of }))
                })
            })
            .collect();
        let total = settings.len() as u64 * (1 + args.rate.len().max(1) as u64);
        for (device, setting) in &settings {
            points.push(self.point(&devices[*device], *setting, Load::Callers(args.callers)).await);
            out.progress("measurements", points.len() as u64, total);
        }
        let best = points.iter().filter(|point| point.failed == 0).map(|point| point.texts_per_second).fold(0.0, f64::max);
        let rates = if args.rate.is_empty() { vec![best * OFFERED] } else { args.rate.clone() };
        for rate in rates.into_iter().filter(|rate| *rate > 0.0) {
            for (device, setting) in &settings {
                points.push(self.point(&devices[*device], *setting, Load::Rate(rate)).await);
                out.progress("measurements", points.len() as u64, total);
            }
        }
        Ok(())
    }

    async fn point(&self, device: &Device, setting: Batching, load: Load) -> Point {
        let watched = Arc::new(Watched::new(Arc::clone(&device.model), Arc::clone(&self.lengths), setting.batch_tokens, setting.batch_rows));
        let config = BatchConfig {
            max_batch_tokens: setting.batch_tokens as usize,
            max_batch_rows: setting.batch_rows as usize,
            max_delay: Duration::from_millis(setting.delay_ms),
            max_in_flight: setting.in_flight.into(),
            queue_capacity: QUEUE,
            ..BatchConfig::default()
        };
        let batched = BatchedEmbedder::with_clock(Arc::clone(&watched) as Arc<dyn Embedder>, config, Arc::new(SystemClock::start()));
        let times = Times { warm_up: Duration::from_secs_f64(self.args.warm_up_seconds), measured: Duration::from_secs_f64(self.args.seconds) };
        let outcome = measure(&batched, &watched, &self.texts, load, times, self.args.seed).await;
        batched.close().await;
        self.evaluate(setting, load, device.peak, outcome)
    }

    #[expect(clippy::cast_precision_loss, reason = "rates of counts")]
    fn evaluate(&self, setting: Batching, load: Load, peak: Option<f64>, outcome: Outcome) -> Point {
        // From 0, because the sum of nothing is -0.
        let sum = |of: &dyn Fn(u32) -> f64| outcome.answered.iter().fold(0.0, |sum, at| sum + of(self.texts.tokens[*at])) / outcome.seconds;
        let gflops = self.bert.filter(|_| self.counted).map(|bert| sum(&|tokens| bert.flop(tokens)) / 1e9);
        let (due, answered) = (outcome.latencies_ms.len() as f64, outcome.answered.len() as f64);
        Point {
            setting,
            load,
            texts_per_second: answered / outcome.seconds,
            tokens_per_second: sum(&f64::from),
            p50_ms: percentile(&outcome.latencies_ms, 0.50),
            p99_ms: percentile(&outcome.latencies_ms, 0.99),
            max_ms: percentile(&outcome.latencies_ms, 1.0),
            batches: outcome.batches,
            gflops,
            peak_share: gflops.zip(peak).map(|(gflops, peak)| gflops / peak),
            failed: outcome.failed,
            reason: outcome.reason,
            kept_up: outcome.open == 0 && (matches!(load, Load::Callers(_)) || answered >= KEPT_UP * due),
        }
    }
}
