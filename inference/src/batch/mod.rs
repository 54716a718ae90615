//! Many callers, one device: dynamic batches.
//!
//! A batch leaves when the device is free and the batch is full or its oldest input is `max_delay` old. With the default delay of
//! zero there is no timer: waiting on purpose gains nothing on a CPU, whose rate is flat from some 128 tokens up, and what comes
//! while it is busy fills the next batch anyway. Interactive callers go before batch callers, who are never passed over more than
//! `patience` batches in a row; within a class, parties (users) take turns by tokens; within a batch, inputs are sorted by length.
//!
//! Holds always: every input gets exactly one answer or error, its own; answers come in the caller's order; an input that breaks
//! its batch (error, panic, wrong count) is found by halving and fails alone; both queues are bounded, an interactive caller is
//! refused at once and a batch caller waits for room; an input larger than a batch is refused, never stuck; a caller who leaves
//! frees its place, and a batch that nobody waits for any more is dropped at the device.
//! Not promised: that two inputs of one call are in one batch; any order between batches in flight.
//! After a crash: waiting calls are gone; callers ask again.

mod embed;
mod queue;
mod run;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, Semaphore, TryAcquireError, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use embed::BatchedEmbedder;

use crate::clock::Clock;
use crate::port::{InferenceError, Party};
use queue::{Item, Queue};

/// Longest wait for batches at the device when the batcher is closed.
const PARTING: Duration = Duration::from_secs(5);

/// What answers a batch.
#[async_trait]
pub trait Device: Send + Sync + 'static {
    /// What is asked.
    type Input: Clone + Send + Sync + 'static;
    /// What is answered.
    type Answer: Send + 'static;

    /// Tokens that the device will see of an input, about; an input that it cuts counts with what is left.
    fn tokens(&self, input: &Self::Input) -> usize;

    /// Answers a batch: one answer per input, in order. Dropping the future ends the work.
    ///
    /// # Errors
    /// The outer error is the batch's, an inner one its input's.
    async fn answer(&self, batch: Vec<Self::Input>) -> Result<Vec<Result<Self::Answer, InferenceError>>, InferenceError>;
}

/// Who goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Somebody waits for the answer.
    Interactive,
    /// It may take a while.
    Batch,
}

impl Class {
    fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Batch => "batch",
        }
    }
}

/// Sizes of batches and of the queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchConfig {
    /// Tokens of a batch at most; a larger input is refused. Default 16,384, at least 1.
    pub max_batch_tokens: usize,
    /// Inputs of a batch at most. Default 64: small enough that an interactive caller need not wait long for the device.
    pub max_batch_rows: usize,
    /// How long an input waits for its batch to fill when the device is free. Default 0: not at all, no timer.
    pub max_delay: Duration,
    /// Batches at the device at once. Default 1.
    pub max_in_flight: usize,
    /// Inputs waiting at most, per class. Default 8,192. A call larger than that is let in when nothing else waits.
    pub queue_capacity: usize,
    /// Whether a batch costs its rows times its longest input (the device pads) instead of the sum. Default false.
    pub padded: bool,
    /// Batches in a row that may pass over batch callers. Default 4; after that half a batch is theirs.
    pub patience: usize,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self {
            max_batch_tokens: 16_384,
            max_batch_rows: 64,
            max_delay: Duration::ZERO,
            max_in_flight: 1,
            queue_capacity: 8_192,
            padded: false,
            patience: 4,
        }
    }
}

struct Shared<D: Device> {
    device: D,
    config: BatchConfig,
    clock: Arc<dyn Clock>,
    queue: Mutex<Queue<D::Input, D::Answer>>,
    /// Free places of the two queues.
    room: [Semaphore; 2],
    news: Notify,
    closed: CancellationToken,
}

impl<D: Device> Shared<D> {
    fn lock(&self) -> MutexGuard<'_, Queue<D::Input, D::Answer>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn room(&self, class: Class) -> &Semaphore {
        &self.room[usize::from(class == Class::Batch)]
    }

    /// Hands free places back.
    fn hand_back(&self, queue: &mut Queue<D::Input, D::Answer>) {
        for class in [Class::Interactive, Class::Batch] {
            self.room(class).add_permits(queue.freed(class));
        }
    }

    fn close(&self) {
        self.lock().close();
        for room in &self.room {
            room.close();
        }
        self.closed.cancel();
    }
}

/// The batcher before a device.
pub struct Batcher<D: Device> {
    shared: Arc<Shared<D>>,
    tasks: Mutex<Option<JoinSet<()>>>,
}

impl<D: Device> Batcher<D> {
    /// Starts it. Must be called within a runtime.
    #[must_use]
    pub fn new(device: D, config: BatchConfig, clock: Arc<dyn Clock>) -> Self {
        let config = BatchConfig {
            max_batch_tokens: config.max_batch_tokens.max(1),
            max_batch_rows: config.max_batch_rows.max(1),
            queue_capacity: config.queue_capacity.clamp(1, u32::MAX as usize >> 4),
            ..config
        };
        let room = || Semaphore::new(config.queue_capacity);
        let shared = Arc::new(Shared {
            device,
            room: [room(), room()],
            config,
            clock,
            queue: Mutex::default(),
            news: Notify::new(),
            closed: CancellationToken::new(),
        });
        let mut tasks = JoinSet::new();
        for _ in 0..shared.config.max_in_flight.max(1) {
            tasks.spawn(run::work(Arc::clone(&shared)));
        }
        Self { shared, tasks: Mutex::new(Some(tasks)) }
    }

    /// The device.
    pub fn device(&self) -> &D {
        &self.shared.device
    }

    /// Inputs that wait, of both classes.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let mut queue = self.shared.lock();
        queue.waiting(Class::Interactive) + queue.waiting(Class::Batch)
    }

    /// Asks. Dropping the future takes back what has not been answered. `within` is this call's deadline, queue included.
    ///
    /// # Errors
    /// The outer error fails the call: [`InferenceError::Overloaded`] (interactive only; a batch caller waits for room),
    /// [`InferenceError::Timeout`], [`InferenceError::Backend`] when the batcher was closed. An inner one fails its input.
    pub async fn ask(
        &self,
        class: Class,
        within: Option<Duration>,
        inputs: Vec<(Party, D::Input)>,
    ) -> Result<Vec<Result<D::Answer, InferenceError>>, InferenceError> {
        let asked = ask(&self.shared, class, inputs);
        let Some(limit) = within else { return asked.await };
        let clock = &self.shared.clock;
        tokio::select! {
            biased;
            answers = asked => answers,
            () = clock.sleep_until(clock.now() + limit) => {
                metrics::counter!("inference_deadline_total", "class" => class.as_str()).increment(1);
                Err(InferenceError::Timeout { limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX) })
            }
        }
    }

    /// Ends the batcher: what waits and what comes later is refused, what is at the device gets a moment.
    pub async fn close(&self) {
        self.shared.close();
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut tasks) = tasks else { return };
        let until = self.shared.clock.now() + PARTING;
        let ended = tokio::select! {
            () = async { while tasks.join_next().await.is_some() {} } => true,
            () = self.shared.clock.sleep_until(until) => false,
        };
        if !ended {
            tracing::warn!("a batch did not end in time and was given up");
            tasks.shutdown().await;
        }
    }
}

impl<D: Device> Drop for Batcher<D> {
    fn drop(&mut self) {
        // Whoever still waits hears that nobody will answer; the workers end with their set.
        self.shared.close();
    }
}

/// Notes when a call is dropped before all its answers came.
struct Leaving<'a, D: Device> {
    shared: &'a Shared<D>,
    class: Class,
    open: usize,
}

impl<D: Device> Drop for Leaving<'_, D> {
    fn drop(&mut self) {
        if self.open > 0 {
            let mut queue = self.shared.lock();
            queue.left(self.class, self.open);
            self.shared.hand_back(&mut queue);
        }
    }
}

type Waiting<A> = oneshot::Receiver<Result<A, InferenceError>>;

async fn ask<D: Device>(
    shared: &Shared<D>,
    class: Class,
    inputs: Vec<(Party, D::Input)>,
) -> Result<Vec<Result<D::Answer, InferenceError>>, InferenceError> {
    let mut places = find_room(shared, class, inputs.len()).await?;
    let limit = shared.config.max_batch_tokens;
    // Declared first, so that it is dropped after the receivers, when the queue can see that they are gone.
    let mut leaving = Leaving { shared, class, open: 0 };
    let mut waiting: Vec<Result<Waiting<D::Answer>, InferenceError>> = Vec::with_capacity(inputs.len());
    {
        let mut queue = shared.lock();
        if queue.is_closed() {
            return Err(closed());
        }
        let since = shared.clock.now();
        for (party, input) in inputs {
            let tokens = shared.device.tokens(&input);
            if tokens > limit {
                let reason = format!("the input has about {tokens} tokens, but a batch holds {limit}; shorten it, or raise max_batch_tokens");
                waiting.push(Err(InferenceError::Input { reason }));
                continue;
            }
            let placed = places > 0;
            places -= usize::from(placed);
            let (reply, answer) = oneshot::channel();
            queue.push(class, party, Item { input, tokens, since, placed, reply });
            leaving.open += 1;
            waiting.push(Ok(answer));
        }
    }
    // Places of inputs that were refused.
    shared.room(class).add_permits(places);
    shared.news.notify_one();
    let mut answers = Vec::with_capacity(waiting.len());
    for answer in waiting {
        answers.push(match answer {
            Ok(answer) => {
                let answer = answer.await;
                leaving.open -= 1;
                answer.map_err(|_| closed())?
            }
            Err(refused) => Err(refused),
        });
    }
    Ok(answers)
}

/// Places for so many inputs, or for as many as the queue holds.
async fn find_room<D: Device>(shared: &Shared<D>, class: Class, inputs: usize) -> Result<usize, InferenceError> {
    let limit = shared.config.queue_capacity;
    let places = inputs.min(limit);
    let wanted = u32::try_from(places).expect("the capacity is below 2^28");
    let room = shared.room(class);
    let taken = match (room.try_acquire_many(wanted), class) {
        (Ok(taken), _) => taken,
        (Err(TryAcquireError::Closed), _) => return Err(closed()),
        (Err(TryAcquireError::NoPermits), Class::Interactive) => {
            metrics::counter!("inference_refused_total", "class" => class.as_str()).increment(1);
            return Err(InferenceError::Overloaded { waiting: shared.lock().waiting(class), limit });
        }
        (Err(TryAcquireError::NoPermits), Class::Batch) => room.acquire_many(wanted).await.map_err(|_| closed())?,
    };
    taken.forget();
    Ok(places)
}

fn closed() -> InferenceError {
    InferenceError::Backend { reason: "the batcher was closed".to_owned() }
}
