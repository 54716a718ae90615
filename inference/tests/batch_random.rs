//! Whatever the device does (errors, panics, wrong counts, delays, reorderings) and whatever callers do (leave, run out of time),
//! every input gets exactly one answer or error, its own, and the queue is whole afterwards.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ajatus_inference::clock::{Clock as _, ManualClock};
use ajatus_inference::{BatchConfig, Batcher, Class, Device, InferenceError, Party};
use async_trait::async_trait;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::{AbortHandle, JoinSet};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    /// Breaks its batch with an error.
    Poison,
    /// Breaks its batch with a panic.
    Panic,
    /// Is answered with an error of its own.
    Refused,
    /// Is larger than any batch.
    Giant,
}

type Input = (u64, Kind);

fn value(id: u64) -> u64 {
    id.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 7
}

struct Moody {
    dice: Mutex<StdRng>,
    clock: Arc<ManualClock>,
    /// Whether it still plays tricks.
    tricks: std::sync::atomic::AtomicBool,
}

#[async_trait]
impl Device for Moody {
    type Input = Input;
    type Answer = u64;

    fn tokens(&self, (id, kind): &Input) -> usize {
        if *kind == Kind::Giant { 10_000 } else { 1 + (*id % 40) as usize }
    }

    async fn answer(&self, batch: Vec<Input>) -> Result<Vec<Result<u64, InferenceError>>, InferenceError> {
        let (mood, pauses, delay) = {
            let mut dice = self.dice.lock().expect("no panic under the lock");
            (dice.random_range(0..100), dice.random_range(0..20), dice.random_range(0..4))
        };
        let tricks = self.tricks.load(std::sync::atomic::Ordering::SeqCst);
        for _ in 0..pauses {
            tokio::task::yield_now().await;
        }
        if tricks && mood < 20 {
            self.clock.sleep_until(self.clock.now() + Duration::from_millis(delay)).await;
        }
        if tricks && mood >= 95 {
            return Err(InferenceError::Unreachable { address: "nowhere".into(), reason: "a trick".into() });
        }
        for (id, kind) in &batch {
            assert!(*kind != Kind::Panic, "input {id}");
            if *kind == Kind::Poison {
                return Err(InferenceError::Backend { reason: format!("poisoned by {id}") });
            }
        }
        let mut answers: Vec<_> = batch
            .iter()
            .map(|(id, kind)| match kind {
                Kind::Refused => Err(InferenceError::Input { reason: format!("refused {id}") }),
                _ => Ok(value(*id)),
            })
            .collect();
        if tricks && (90..95).contains(&mood) {
            answers.pop();
        }
        Ok(answers)
    }
}

fn right((id, kind): Input, answer: &Result<u64, InferenceError>) -> bool {
    match (kind, answer) {
        (Kind::Plain, Ok(answer)) => *answer == value(id),
        (Kind::Refused, Err(InferenceError::Input { reason })) => *reason == format!("refused {id}"),
        (Kind::Giant, Err(InferenceError::Input { reason })) => reason.contains("max_batch_tokens"),
        (Kind::Poison, Err(InferenceError::Backend { reason })) => *reason == format!("poisoned by {id}") || reason.contains("answers"),
        (Kind::Panic, Err(InferenceError::Backend { reason })) => reason.contains("panicked"),
        // The device's own tricks: it was away, or it answered nothing to one input alone.
        (kind, Err(InferenceError::Unreachable { .. })) => kind != Kind::Giant,
        (Kind::Plain | Kind::Refused, Err(InferenceError::Backend { reason })) => reason == "the model gave 0 answers, but 1 were asked for",
        _ => false,
    }
}

type Call = (Vec<Input>, Result<Vec<Result<u64, InferenceError>>, InferenceError>);

struct Tally {
    answered: usize,
    timeouts: usize,
    refused: usize,
}

fn check(call: Call, tally: &mut Tally, timed: bool) {
    match call {
        (inputs, Ok(answers)) => {
            assert_eq!(inputs.len(), answers.len());
            for (input, answer) in inputs.iter().zip(&answers) {
                assert!(right(*input, answer), "{input:?}: {answer:?}");
            }
            tally.answered += 1;
        }
        (_, Err(InferenceError::Timeout { .. })) if timed => tally.timeouts += 1,
        (_, Err(InferenceError::Overloaded { .. })) => tally.refused += 1,
        (inputs, Err(error)) => panic!("{inputs:?}: {error}"),
    }
}

const CAPACITY: usize = 24;

async fn round(seed: u64, tally: &mut Tally, cancelled: &mut usize) {
    let mut dice = StdRng::seed_from_u64(seed);
    let clock = Arc::new(ManualClock::new());
    let config = BatchConfig {
        max_batch_tokens: dice.random_range(40..200),
        max_batch_rows: dice.random_range(1..12),
        max_delay: Duration::from_millis(dice.random_range(0..3)),
        max_in_flight: dice.random_range(1..4),
        queue_capacity: CAPACITY,
        padded: dice.random_bool(0.5),
        patience: dice.random_range(0..4),
    };
    let device = Moody { dice: Mutex::new(StdRng::seed_from_u64(!seed)), clock: Arc::clone(&clock), tricks: true.into() };
    let batcher = Arc::new(Batcher::new(device, config, Arc::<ManualClock>::clone(&clock)));
    let mut calls: JoinSet<(bool, Call)> = JoinSet::new();
    let mut handles: Vec<AbortHandle> = Vec::new();
    let mut id = 0;
    for _ in 0..120 {
        match dice.random_range(0..10) {
            0..=5 => {
                let inputs: Vec<Input> = (0..dice.random_range(0..9))
                    .map(|_| {
                        id += 1;
                        let kind = match dice.random_range(0..40) {
                            0 => Kind::Poison,
                            1 => Kind::Panic,
                            2 => Kind::Refused,
                            3 => Kind::Giant,
                            _ => Kind::Plain,
                        };
                        (id, kind)
                    })
                    .collect();
                let class = if dice.random_bool(0.5) { Class::Interactive } else { Class::Batch };
                let within = dice.random_bool(0.3).then(|| Duration::from_millis(dice.random_range(0..6)));
                let asked = inputs.iter().map(|input| (Party(u128::from(input.0 % 3)), *input)).collect();
                let batcher = Arc::clone(&batcher);
                handles.push(calls.spawn(async move { (within.is_some(), (inputs, batcher.ask(class, within, asked).await)) }));
            }
            6 if !handles.is_empty() => handles.swap_remove(dice.random_range(0..handles.len())).abort(),
            7 => clock.advance(Duration::from_millis(dice.random_range(0..3))),
            _ => {
                for _ in 0..dice.random_range(0..30) {
                    tokio::task::yield_now().await;
                }
            }
        }
    }
    let mut turns = 0;
    while !calls.is_empty() {
        while let Some(ended) = calls.try_join_next() {
            match ended {
                Ok((timed, call)) => check(call, tally, timed),
                Err(error) if error.is_cancelled() => *cancelled += 1,
                Err(error) => panic!("seed {seed}: {error}"),
            }
        }
        clock.advance(Duration::from_millis(1));
        tokio::task::yield_now().await;
        turns += 1;
        assert!(turns < 100_000, "seed {seed}: {} calls hang", calls.len());
    }
    // Nothing is left behind: both queues have all their places, and the device answers as if nothing had been.
    batcher.device().tricks.store(false, std::sync::atomic::Ordering::SeqCst);
    for class in [Class::Interactive, Class::Batch] {
        let inputs: Vec<Input> = (0..CAPACITY as u64).map(|at| (1_000_000 + at, Kind::Plain)).collect();
        let asked = inputs.iter().map(|input| (Party(0), *input)).collect();
        let ask = batcher.ask(class, None, asked);
        let moving = async {
            loop {
                clock.advance(Duration::from_millis(1));
                tokio::task::yield_now().await;
            }
        };
        let answers = tokio::select! {
            answers = ask => answers.expect("a place for each"),
            () = moving => unreachable!("it goes on for ever"),
        };
        assert!(inputs.iter().zip(&answers).all(|(input, answer)| right(*input, answer)), "seed {seed}");
    }
    batcher.close().await;
}

#[tokio::test]
async fn every_input_gets_its_own_answer_or_error_exactly_once() {
    // Panics of the device are part of the play: they are not printed.
    std::panic::set_hook(Box::new(|info| {
        if info.location().is_none_or(|place| !place.file().ends_with("batch_random.rs")) || !info.to_string().contains("input ") {
            eprintln!("{info}");
        }
    }));
    let (mut tally, mut cancelled) = (Tally { answered: 0, timeouts: 0, refused: 0 }, 0);
    for seed in 0..2_000 {
        round(seed, &mut tally, &mut cancelled).await;
    }
    // The play was rich enough to mean something.
    assert!(tally.answered > 50_000, "{}", tally.answered);
    assert!(tally.timeouts > 2_000 && tally.refused > 2_000 && cancelled > 2_000, "{} {} {cancelled}", tally.timeouts, tally.refused);
}
