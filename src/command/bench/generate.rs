//! `ajatus bench generate`: how many tokens a second does the chat model write, and how long does one wait for the first and for each next one?
//!
//! So many callers at once, each asks, hears its answer to the end, and asks again. Holds always: what Ctrl-C leaves is reported; tokens are
//! those that the model counted; greedy, so that the same model writes the same.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ajatus_inference::{ChatMessage, ChatRole, GenerateEvent, GenerateRequest, Generator, Sampling};
use futures::StreamExt as _;
use tokio::task::JoinSet;

use super::best::{Candidate, Choice, best};
use super::texts;
use crate::cli::BenchGenerateArgs;
use crate::config::Config;
use crate::exit::{Ended, Exit};
use crate::output::Out;
use crate::stack::{Needs, Stack, percentile};

mod show;

/// Longest wait for the next word.
const PATIENCE: Duration = Duration::from_secs(120);

/// One measurement.
#[derive(Clone, Debug)]
struct Point {
    threads: Option<u16>,
    concurrency: u16,
    max_tokens: u32,
    answers: usize,
    /// Tokens written a second, all answers together.
    tokens_per_second: f64,
    prompt_tokens_per_second: f64,
    first_ms: [f64; 2],
    /// Between two pieces of text, which are a token each where its characters are whole.
    between_ms: [f64; 2],
    /// Useful work, giga floating-point operations a second: two for each of the model's numbers and each token, of prompts and answers; attention is
    /// left out. Nothing where a server computes, or the model's files do not say.
    gflops: Option<f64>,
    /// The same as a share of the matrix peak of as many threads.
    peak_share: Option<f64>,
    failed: usize,
    reason: Option<String>,
}

/// What one answer was.
struct Answer {
    first: Duration,
    between: Vec<Duration>,
    prompt_tokens: usize,
    tokens: usize,
}

struct Found {
    model: String,
    name: String,
    provider: &'static str,
    questions: usize,
    /// Matrix peaks, GFLOP/s, by threads.
    peaks: Vec<(usize, f64)>,
    points: Vec<Point>,
    choice: Option<Choice>,
    interrupted: bool,
}

/// Runs the bench.
pub(super) async fn run(config: &Config, args: &BenchGenerateArgs, out: &Out) -> anyhow::Result<Exit> {
    let questions = Arc::new(args.texts.as_deref().map_or_else(|| Ok(texts::built_in(args.seed)), texts::from_file)?);
    let mut points = Vec::new();
    let (mut model, mut peaks) = (String::new(), Vec::new());
    let ended = tokio::select! {
        biased;
        ended = sweep(config, args, &questions, Noted { points: &mut points, model: &mut model, peaks: &mut peaks }, out) => Some(ended),
        _ = tokio::signal::ctrl_c() => None,
    };
    let interrupted = ended.is_none();
    ended.unwrap_or(Ok(()))?;
    if points.is_empty() {
        return Ok(Exit::Interrupted);
    }
    let candidate = |point: &Point| Candidate { per_second: point.tokens_per_second, p99_ms: point.first_ms[1], sound: point.failed == 0 && point.answers > 0 };
    let candidates: Vec<Candidate> = points.iter().map(candidate).collect();
    let chat = &config.models.chat;
    let found = Found {
        model,
        name: chat.name.clone(),
        provider: if chat.vllm.is_some() { "vllm" } else if chat.ollama.is_some() { "ollama" } else { "candle" },
        questions: questions.len(),
        peaks,
        choice: best(&candidates, args.p99_ms),
        points,
        interrupted,
    };
    show::show(&found, args, out).await?;
    Ok(match found.choice {
        _ if interrupted => Exit::Interrupted,
        Some(_) => Exit::Done,
        None => Exit::Failed,
    })
}

/// What is kept of a sweep that is interrupted.
struct Noted<'a> {
    points: &'a mut Vec<Point>,
    model: &'a mut String,
    peaks: &'a mut Vec<(usize, f64)>,
}

async fn sweep(config: &Config, args: &BenchGenerateArgs, questions: &Arc<Vec<String>>, noted: Noted<'_>, out: &Out) -> anyhow::Result<()> {
    let Noted { points, model, peaks } = noted;
    let chat = &config.models.chat;
    let served = chat.vllm.is_some() || chat.ollama.is_some();
    let parameters = if served { None } else { crate::registry::parameters(&chat.path) };
    if !args.threads.is_empty() && served {
        return Err(Ended::new(Exit::Usage, "--threads is for the model in this process, but a server answers for it; leave it out"));
    }
    let wanted: Vec<Option<u16>> = if args.threads.is_empty() { vec![None] } else { args.threads.iter().copied().map(Some).collect() };
    let total = (wanted.len() * args.concurrency.len() * args.max_tokens.len()) as u64;
    for threads in wanted {
        let mut config = config.clone();
        if let Some(threads) = threads {
            config.models.chat.threads = Some(threads.into());
        }
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (count, device) = (config.models.chat.threads.unwrap_or_else(cores), config.models.chat.device);
        let peak = if served { None } else { Some(tokio::task::spawn_blocking(move || ajatus_candle::peak_gflops(device, count)).await??) };
        peaks.extend(peak.map(|peak| (count, peak)));
        let stack = Stack::open(config, Needs::generator(), out).await?;
        let generator = stack.chat_generator();
        *model = generator.model().id();
        // One short answer that is not counted: what is made at the first use is there afterwards.
        let warm_up = one(&*generator, "Hello", 4).await;
        if let Err(reason) = warm_up {
            Stack::close(Arc::new(stack)).await?;
            return Err(Ended::new(Exit::Unavailable, format!("the chat model does not answer: {reason}")));
        }
        for max_tokens in &args.max_tokens {
            for concurrency in &args.concurrency {
                let mut point = measure(&generator, questions, threads, *concurrency, *max_tokens, Duration::from_secs_f64(args.seconds)).await;
                point.gflops = parameters.map(|parameters| work(parameters, &point));
                point.peak_share = point.gflops.zip(peak).map(|(gflops, peak)| gflops / peak);
                points.push(point);
                out.progress("measurements", points.len() as u64, total);
            }
        }
        drop(generator);
        Stack::close(Arc::new(stack)).await?;
    }
    Ok(())
}

/// GFLOP/s of a measurement on a model of so many numbers.
#[expect(clippy::cast_precision_loss, reason = "a rate")]
fn work(parameters: u64, point: &Point) -> f64 {
    2.0 * parameters as f64 * (point.tokens_per_second + point.prompt_tokens_per_second) / 1e9
}

/// Asks one question and hears the answer to its end.
async fn one(generator: &dyn Generator, question: &str, max_tokens: u32) -> Result<Answer, String> {
    let request = GenerateRequest {
        messages: vec![ChatMessage { role: ChatRole::User, content: question.to_owned() }],
        max_tokens: max_tokens as usize,
        stop: Vec::new(),
        sampling: Sampling { temperature: 0.0, ..Sampling::default() },
    };
    let asked = Instant::now();
    let late = || format!("no word within {} s", PATIENCE.as_secs());
    let mut events = tokio::time::timeout(PATIENCE, generator.generate(request)).await.map_err(|_| late())?.map_err(|error| error.to_string())?;
    let (mut first, mut last, mut between) = (None, asked, Vec::new());
    while let Some(event) = tokio::time::timeout(PATIENCE, events.next()).await.map_err(|_| late())? {
        let now = Instant::now();
        match event.map_err(|error| error.to_string())? {
            GenerateEvent::Text(_) => {
                if first.is_some() {
                    between.push(now - last);
                }
                first.get_or_insert(now - asked);
                last = now;
            }
            GenerateEvent::Done { prompt_tokens, completion_tokens, .. } => {
                // An answer without a word ends with its first token.
                return Ok(Answer { first: first.unwrap_or(now - asked), between, prompt_tokens, tokens: completion_tokens });
            }
        }
    }
    Err("the answer ended without its end".to_owned())
}

#[expect(clippy::cast_precision_loss, reason = "rates of counts")]
async fn measure(generator: &Arc<dyn Generator>, questions: &Arc<Vec<String>>, threads: Option<u16>, concurrency: u16, max_tokens: u32, time: Duration) -> Point {
    let (next, begun) = (Arc::new(AtomicUsize::new(0)), Instant::now());
    let heard: Arc<Mutex<Vec<Result<Answer, String>>>> = Arc::default();
    let mut callers = JoinSet::new();
    for _ in 0..concurrency {
        let (generator, questions, next, heard) = (Arc::clone(generator), Arc::clone(questions), Arc::clone(&next), Arc::clone(&heard));
        callers.spawn(async move {
            while begun.elapsed() < time {
                let at = next.fetch_add(1, Ordering::Relaxed) % questions.len();
                let answer = one(&*generator, &questions[at], max_tokens).await;
                let failed = answer.is_err();
                heard.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
                if failed {
                    // A caller who is refused does not ask again at once.
                    return;
                }
            }
        });
    }
    while callers.join_next().await.is_some() {}
    let seconds = begun.elapsed().as_secs_f64();
    let (mut answers, mut reasons) = (Vec::new(), Vec::new());
    for answer in std::mem::take(&mut *heard.lock().unwrap_or_else(PoisonError::into_inner)) {
        match answer {
            Ok(answer) => answers.push(answer),
            Err(reason) => reasons.push(reason),
        }
    }
    let sorted = |of: &mut dyn Iterator<Item = Duration>| {
        let mut sorted: Vec<f64> = of.map(|wait| wait.as_secs_f64() * 1e3).collect();
        sorted.sort_by(f64::total_cmp);
        [percentile(&sorted, 0.50), percentile(&sorted, 0.99)]
    };
    Point {
        threads,
        concurrency,
        max_tokens,
        answers: answers.len(),
        tokens_per_second: answers.iter().map(|answer| answer.tokens).sum::<usize>() as f64 / seconds,
        prompt_tokens_per_second: answers.iter().map(|answer| answer.prompt_tokens).sum::<usize>() as f64 / seconds,
        first_ms: sorted(&mut answers.iter().map(|answer| answer.first)),
        between_ms: sorted(&mut answers.iter().flat_map(|answer| answer.between.iter().copied())),
        gflops: None,
        peak_share: None,
        failed: reasons.len(),
        reason: reasons.into_iter().next(),
    }
}
