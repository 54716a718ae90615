//! Does the batcher cost less than 20 us a request when 10,000 wait?
//!
//! Ten thousand callers, each with one text and a user of its own out of a hundred, queue up before a device that is busy; then the
//! device answers at once, and the clock runs until the last caller has its answer. Each answer is checked. What is measured is
//! the batcher alone: queueing, turns, forming batches, handing answers back, and the runtime under it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ajatus_inference::clock::SystemClock;
use ajatus_inference::{BatchConfig, Batcher, Class, Device, InferenceError, Party};
use async_trait::async_trait;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::arguments::Arguments;
use crate::error::BenchError;

/// Answers a number with its double, once it is let.
struct Doubles(Arc<Semaphore>);

#[async_trait]
impl Device for Doubles {
    type Input = u64;
    type Answer = u64;

    fn tokens(&self, input: &u64) -> usize {
        // 5 to 244 tokens, as chat has.
        5 + (input.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize * 240 / 256
    }

    async fn answer(&self, batch: Vec<u64>) -> Result<Vec<Result<u64, InferenceError>>, InferenceError> {
        // Open or closed for ever: nothing is taken.
        drop(self.0.acquire().await);
        Ok(batch.into_iter().map(|input| Ok(input * 2)).collect())
    }
}

struct Figures {
    queued: Duration,
    answered: Duration,
}

pub(crate) fn command(mut arguments: Arguments) -> Result<(), BenchError> {
    let callers: u64 = arguments.number("callers", 10_000)?;
    let runs: usize = arguments.number("runs", 7)?;
    let threads: usize = arguments.number("threads", 1)?;
    let json = arguments.switch("json");
    arguments.finish()?;
    if callers == 0 || runs == 0 || threads == 0 {
        return Err(BenchError::Usage("--callers, --runs and --threads must be at least 1".to_owned()));
    }
    let runtime = match threads {
        1 => tokio::runtime::Builder::new_current_thread().enable_all().build(),
        more => tokio::runtime::Builder::new_multi_thread().worker_threads(more).enable_all().build(),
    };
    let runtime = runtime.map_err(|error| BenchError::Usage(format!("--threads {threads}: {error}")))?;
    // The first run warms up and is not counted.
    let mut figures = Vec::new();
    for _ in 0..=runs {
        figures.push(runtime.block_on(run(callers))?);
    }
    figures.remove(0);
    #[expect(clippy::cast_precision_loss, reason = "a figure")]
    let each = |duration: Duration| duration.as_secs_f64() * 1e6 / callers as f64;
    let mut total: Vec<f64> = figures.iter().map(|figures| each(figures.queued + figures.answered)).collect();
    total.sort_by(f64::total_cmp);
    let median = |pick: fn(&Figures) -> Duration| {
        let mut values: Vec<f64> = figures.iter().map(|figures| each(pick(figures))).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let (queued, answered) = (median(|figures| figures.queued), median(|figures| figures.answered));
    if json {
        println!("{}", json!({"callers": callers, "threads": threads, "runs": runs, "queue_us": queued, "answer_us": answered, "total_us": {"min": total[0], "median": total[total.len() / 2], "max": total[total.len() - 1]}}));
    } else {
        println!("{callers} callers, {threads} thread(s), {runs} runs, microseconds a request");
        println!("to stand in the queue {queued:.2}, from there to the answer {answered:.2}");
        println!("both: least {:.2}, median {:.2}, most {:.2}", total[0], total[total.len() / 2], total[total.len() - 1]);
    }
    Ok(())
}

async fn run(callers: u64) -> Result<Figures, BenchError> {
    let gate = Arc::new(Semaphore::new(0));
    let config = BatchConfig { queue_capacity: usize::try_from(callers).unwrap_or(usize::MAX).max(1_024) * 2, ..BatchConfig::default() };
    let batcher = Arc::new(Batcher::new(Doubles(Arc::clone(&gate)), config, Arc::new(SystemClock::start())));
    let mut calls = JoinSet::new();
    let begun = Instant::now();
    for input in 0..callers {
        let batcher = Arc::clone(&batcher);
        let class = if input % 2 == 0 { Class::Interactive } else { Class::Batch };
        calls.spawn(async move { (input, batcher.ask(class, Some(Duration::from_secs(60)), vec![(Party(u128::from(input % 100)), input)]).await) });
    }
    // All stand in the queue but those of the batch that the busy device holds.
    let rows = BatchConfig::default().max_batch_rows;
    while batcher.waiting() + rows < usize::try_from(callers).unwrap_or(usize::MAX) {
        tokio::task::yield_now().await;
    }
    let queued = begun.elapsed();
    let begun = Instant::now();
    gate.add_permits(Semaphore::MAX_PERMITS);
    let mut right = 0;
    while let Some(call) = calls.join_next().await {
        let (input, answer) = call.map_err(|error| BenchError::Differ(format!("a call ended badly: {error}")))?;
        let answer = answer.map_err(|error| BenchError::Differ(format!("{input} was not answered: {error}")))?;
        if !matches!(answer.as_slice(), [Ok(double)] if *double == input * 2) {
            return Err(BenchError::Differ(format!("{input} has another's answer")));
        }
        right += 1;
    }
    let answered = begun.elapsed();
    if right != callers {
        return Err(BenchError::Differ(format!("{right} answers for {callers} callers")));
    }
    batcher.close().await;
    Ok(Figures { queued, answered })
}
