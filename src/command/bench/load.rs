//! Asking for vectors: by callers that wait, and at a rate that waits for nobody.
//!
//! Holds always: a latency begins when the text should have been asked for, so that a model which falls behind does not hide it; only what is
//! answered within the measured time counts as throughput; every vector is looked at.
//! Not promised: the rate to better than a millisecond.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ajatus_inference::{BatchedEmbedder, Class, Embedder};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::texts::Random;
use super::watch::{Batches, Watched};

/// Callers whose turns the batcher mixes at an offered rate.
const PARTIES: usize = 16;
/// Texts that may wait for their vectors at an offered rate; those that come then are counted as failed.
const MOST_WAITING: usize = 8_000;

/// How texts are asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Load {
    /// So many callers, each with one text at a time.
    Callers(u16),
    /// So many texts a second, at random times.
    Rate(f64),
}

/// What is embedded.
pub(super) struct Texts {
    /// The texts.
    pub(super) all: Vec<String>,
    /// Tokens of each, as the model reads it.
    pub(super) tokens: Vec<u32>,
}

/// For how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// Not counted, before.
    pub(super) warm_up: Duration,
    /// Counted.
    pub(super) measured: Duration,
}

/// What came out.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    /// Of each text that was due in the measured time, sorted, milliseconds; of one that has no answer, how long it has waited.
    pub(super) latencies_ms: Vec<f64>,
    /// Texts, by position, that were answered in the measured time.
    pub(super) answered: Vec<usize>,
    /// Texts without a sound vector.
    pub(super) failed: u64,
    /// The first reason.
    pub(super) reason: Option<String>,
    /// Texts that had no answer when the waiting ended.
    pub(super) open: u64,
    /// Batches of the measured time.
    pub(super) batches: Batches,
    /// The measured time.
    pub(super) seconds: f64,
}

#[derive(Default)]
struct Notes {
    latencies: Vec<Duration>,
    answered: Vec<usize>,
    failed: u64,
    reason: Option<String>,
}

struct Bench {
    texts: Arc<Texts>,
    from: Instant,
    until: Instant,
    next: AtomicUsize,
    notes: Mutex<Notes>,
}

impl Bench {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, reason: String) {
        let mut notes = self.notes();
        notes.failed += 1;
        notes.reason.get_or_insert(reason);
    }

    /// Asks for the next text, which was due at `due`.
    async fn ask(&self, embedder: &dyn Embedder, due: Instant) {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.texts.all.len();
        let answer = embedder.embed(vec![self.texts.all[at].clone()]).await;
        let now = Instant::now();
        let vector = answer.and_then(|mut answers| answers.pop().unwrap_or_else(|| Err(ajatus_inference::InferenceError::Backend { reason: "no answer".to_owned() })));
        let sound = match vector {
            Ok(vector) if vector.len() == embedder.dimension() && vector.iter().all(|value| value.is_finite()) => Ok(()),
            Ok(_) => Err("a vector has the wrong length, or a value that is not finite".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        match sound {
            Err(reason) => self.fail(reason),
            Ok(()) => {
                let mut notes = self.notes();
                if now >= self.from && now < self.until {
                    notes.answered.push(at);
                }
                if due >= self.from && due < self.until {
                    notes.latencies.push(now - due);
                }
            }
        }
    }
}

/// Puts a load on a model through its batcher. Dropping the future ends it at once.
pub(super) async fn measure(batched: &Arc<BatchedEmbedder>, watched: &Watched, texts: &Arc<Texts>, load: Load, times: Times, seed: u64) -> Outcome {
    let from = Instant::now() + times.warm_up;
    let until = from + times.measured;
    let bench = Arc::new(Bench { texts: Arc::clone(texts), from, until, next: AtomicUsize::new(0), notes: Mutex::default() });
    let mut waiting = JoinSet::new();
    let putting = async {
        match load {
            Load::Callers(callers) => call(&bench, batched, callers, &mut waiting).await,
            Load::Rate(rate) => offer(&bench, batched, rate, seed, &mut waiting).await,
        }
    };
    let counting = async {
        tokio::time::sleep_until(from).await;
        watched.take();
        tokio::time::sleep_until(until).await;
        watched.take()
    };
    let ((), batches) = tokio::join!(putting, counting);
    // What is still open gets as long again, at most; then it is counted as it is.
    let patience = times.measured.max(Duration::from_secs(2));
    let ended = tokio::time::timeout(patience, async { while waiting.join_next().await.is_some() {} }).await.is_ok();
    let open = if ended { 0 } else { waiting.len() as u64 };
    waiting.shutdown().await;
    let mut notes = std::mem::take(&mut *bench.notes());
    let mut latencies_ms: Vec<f64> = notes.latencies.drain(..).map(|latency| latency.as_secs_f64() * 1e3).collect();
    // At least so long have those waited that are open.
    latencies_ms.extend(std::iter::repeat_n((times.measured + patience).as_secs_f64() * 1e3, usize::try_from(open).unwrap_or(0)));
    latencies_ms.sort_by(f64::total_cmp);
    Outcome { latencies_ms, answered: notes.answered, failed: notes.failed, reason: notes.reason, open, batches, seconds: times.measured.as_secs_f64() }
}

async fn call(bench: &Arc<Bench>, batched: &Arc<BatchedEmbedder>, callers: u16, waiting: &mut JoinSet<()>) {
    for _ in 0..callers {
        let (bench, embedder) = (Arc::clone(bench), batched.handle(Class::Batch));
        waiting.spawn(async move {
            loop {
                let due = Instant::now();
                if due >= bench.until {
                    return;
                }
                bench.ask(&*embedder, due).await;
            }
        });
    }
    tokio::time::sleep_until(bench.until).await;
}

/// Offers texts at times whose gaps are exponential, as those of many independent people are.
async fn offer(bench: &Arc<Bench>, batched: &Arc<BatchedEmbedder>, rate: f64, seed: u64, waiting: &mut JoinSet<()>) {
    let parties: Vec<Arc<dyn Embedder>> = (0..PARTIES).map(|_| batched.handle(Class::Batch)).collect();
    let mut random = Random::new(seed);
    let mut due = Instant::now();
    for at in 0_usize.. {
        due += Duration::from_secs_f64(-random.unit().ln() / rate);
        if due >= bench.until {
            return;
        }
        tokio::time::sleep_until(due).await;
        while waiting.try_join_next().is_some() {}
        if waiting.len() >= MOST_WAITING {
            bench.fail(format!("{MOST_WAITING} texts wait already: the model is far behind the rate"));
            continue;
        }
        let (bench, embedder) = (Arc::clone(bench), Arc::clone(&parties[at % PARTIES]));
        waiting.spawn(async move { bench.ask(&*embedder, due).await });
    }
}
