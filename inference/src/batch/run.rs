//! The workers: they take batches to the device and answers to the callers.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::join_all;

use super::queue::{Item, Next};
use super::{Class, Device, Shared};
use crate::port::InferenceError;

type Batch<D> = Vec<Item<<D as Device>::Input, <D as Device>::Answer>>;

pub(super) async fn work<D: Device>(shared: Arc<Shared<D>>) {
    loop {
        let (next, more) = {
            let mut queue = shared.lock();
            let next = queue.next(&shared.config, shared.clock.now());
            shared.hand_back(&mut queue);
            report(queue.waiting(Class::Interactive), queue.waiting(Class::Batch));
            (next, !queue.is_empty())
        };
        match next {
            Next::Closed => return,
            Next::Batch(batch) => {
                if more {
                    // For a worker beside this one.
                    shared.news.notify_one();
                }
                answer(&shared, batch).await;
            }
            Next::Until(at) => tokio::select! {
                () = shared.news.notified() => {}
                () = shared.clock.sleep_until(at) => {}
                () = shared.closed.cancelled() => {}
            },
            Next::Nothing => tokio::select! {
                () = shared.news.notified() => {}
                () = shared.closed.cancelled() => {}
            },
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "metrics")]
fn report(interactive: usize, batch: usize) {
    metrics::gauge!("inference_queue_waiting", "class" => "interactive").set(interactive as f64);
    metrics::gauge!("inference_queue_waiting", "class" => "batch").set(batch as f64);
}

/// Answers a batch; one that breaks is halved until the input that breaks it stands alone.
async fn answer<D: Device>(shared: &Shared<D>, batch: Batch<D>) {
    measure(shared, &batch);
    let mut parts = vec![batch];
    while let Some(mut part) = parts.pop() {
        part.retain(|item| !item.reply.is_closed());
        if part.is_empty() {
            continue;
        }
        match attempt(shared, &mut part).await {
            None => {}
            Some(Ok(answers)) => {
                for (item, answer) in part.into_iter().zip(answers) {
                    // The caller may have left.
                    item.reply.send(answer).ok();
                }
            }
            Some(Err(error)) if part.len() > 1 && error.may_be_the_inputs_fault() => {
                metrics::counter!("inference_batch_split_total").increment(1);
                let half = part.split_off(part.len() / 2);
                parts.push(half);
                parts.push(part);
            }
            Some(Err(error)) => {
                for item in part {
                    item.reply.send(Err(error.clone())).ok();
                }
            }
        }
    }
}

type Answers<D> = Result<Vec<Result<<D as Device>::Answer, InferenceError>>, InferenceError>;

/// Asks the device once; nothing if everybody left meanwhile, which drops the work.
async fn attempt<D: Device>(shared: &Shared<D>, part: &mut Batch<D>) -> Option<Answers<D>> {
    let inputs: Vec<D::Input> = part.iter().map(|item| item.input.clone()).collect();
    let begun = shared.clock.now();
    let asked = AssertUnwindSafe(async { shared.device.answer(inputs).await }).catch_unwind();
    let answered = {
        let everybody_left = join_all(part.iter_mut().map(|item| item.reply.closed()));
        tokio::select! {
            biased;
            answered = asked => answered,
            _ = everybody_left => {
                metrics::counter!("inference_batch_dropped_total").increment(1);
                return None;
            }
        }
    };
    metrics::histogram!("inference_batch_seconds").record(shared.clock.now().saturating_sub(begun).as_secs_f64());
    Some(match answered {
        Ok(Ok(answers)) if answers.len() != part.len() => {
            let reason = format!("the model gave {} answers, but {} were asked for", answers.len(), part.len());
            Err(InferenceError::Backend { reason })
        }
        Ok(answered) => answered,
        Err(_) => Err(InferenceError::Backend { reason: "the model panicked".to_owned() }),
    })
}

#[expect(clippy::cast_precision_loss, reason = "metrics")]
fn measure<D: Device>(shared: &Shared<D>, batch: &Batch<D>) {
    let now = shared.clock.now();
    metrics::histogram!("inference_batch_rows").record(batch.len() as f64);
    metrics::histogram!("inference_batch_tokens").record(batch.iter().map(|item| item.tokens).sum::<usize>() as f64);
    let waited = metrics::histogram!("inference_queue_seconds");
    for item in batch {
        waited.record(now.saturating_sub(item.since).as_secs_f64());
    }
}
