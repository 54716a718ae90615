//! The batcher: fair, ordered, bounded, and one bad text harms nobody else.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ajatus_inference::clock::ManualClock;
use ajatus_inference::{BatchConfig, BatchedEmbedder, Class, Embedder, Embedding, InferenceError, ModelIdentity, Party};
use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Says a text's length; breaks on "poison", panics on "panic"; waits for a permit per batch when gated.
struct Lengths {
    model: ModelIdentity,
    gate: Option<Semaphore>,
    batches: Mutex<Vec<Vec<String>>>,
    dropped: AtomicUsize,
}

/// Counts a batch whose work was dropped before its end.
struct Work<'a>(&'a AtomicUsize, bool);

impl Drop for Work<'_> {
    fn drop(&mut self) {
        if !self.1 {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Lengths {
    fn new(gated: bool) -> Arc<Self> {
        Arc::new(Self {
            model: ModelIdentity { name: "lengths".into(), weights: "0".into() },
            gate: gated.then(|| Semaphore::new(0)),
            batches: Mutex::default(),
            dropped: AtomicUsize::new(0),
        })
    }

    fn open(&self, batches: usize) {
        self.gate.as_ref().expect("gated").add_permits(batches);
    }

    fn batches(&self) -> Vec<Vec<String>> {
        self.batches.lock().expect("no panic").clone()
    }
}

#[async_trait]
impl Embedder for Lengths {
    fn model(&self) -> &ModelIdentity {
        &self.model
    }

    fn dimension(&self) -> usize {
        1
    }

    async fn embed(&self, texts: Vec<String>) -> Result<Vec<Result<Embedding, InferenceError>>, InferenceError> {
        self.batches.lock().expect("no panic").push(texts.clone());
        let mut work = Work(&self.dropped, false);
        if let Some(gate) = &self.gate {
            gate.acquire().await.expect("open").forget();
        }
        work.1 = true;
        assert!(texts.iter().all(|text| text != "panic"), "this model panics");
        if texts.iter().any(|text| text == "poison") {
            return Err(InferenceError::Backend { reason: "poisoned".into() });
        }
        #[expect(clippy::cast_precision_loss, reason = "short texts")]
        Ok(texts.iter().map(|text| Ok(vec![text.len() as f32])).collect())
    }
}

fn texts(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|at| format!("{prefix}{}", "x".repeat(at))).collect()
}

async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn answers_each_caller_in_its_own_order() {
    let batched = BatchedEmbedder::new(Lengths::new(false), BatchConfig { max_batch_rows: 3, ..BatchConfig::default() });
    let (one, two) = (batched.handle(Class::Batch), batched.handle(Class::Interactive));
    let (first, second) = tokio::join!(one.embed(texts("ab", 10)), two.embed(texts("", 7)));
    let lengths = |answers: Vec<Result<Embedding, InferenceError>>| answers.into_iter().map(|answer| answer.expect("a length")[0]).collect::<Vec<_>>();
    assert_eq!(lengths(first.expect("answered")), (2..12_u8).map(f32::from).collect::<Vec<_>>());
    assert_eq!(lengths(second.expect("answered")), (0..7_u8).map(f32::from).collect::<Vec<_>>());
    batched.close().await;
}

#[tokio::test]
async fn interactive_goes_before_batch_and_callers_take_turns() {
    let model = Lengths::new(true);
    let batched = BatchedEmbedder::new(Arc::clone(&model) as Arc<dyn Embedder>, BatchConfig { max_batch_rows: 4, ..BatchConfig::default() });
    let (busy, a, b, me) = (batched.handle(Class::Batch), batched.handle(Class::Batch), batched.handle(Class::Batch), batched.handle(Class::Interactive));
    let run = async {
        let later = async {
            settle().await;
            tokio::join!(a.embed(texts("a", 6)), b.embed(texts("b", 2)), me.embed(texts("i", 1)))
        };
        tokio::join!(busy.embed(texts("z", 1)), later)
    };
    let open = async {
        settle().await;
        settle().await;
        model.open(100);
    };
    let _answers = tokio::join!(run, open);
    let batches = model.batches();
    assert_eq!(batches[0], ["z"], "an idle device starts at once");
    assert!(batches[1].contains(&"i".to_owned()), "{batches:?}");
    let of = |batch: &[String], name: &str| batch.iter().filter(|text| text.starts_with(name)).count();
    assert_eq!((of(&batches[1], "a"), of(&batches[1], "b")), (2, 1), "{batches:?}");
    assert!(batches.iter().all(|batch| batch.windows(2).all(|pair| pair[0].len() <= pair[1].len())), "sorted by length");
    batched.close().await;
}

#[tokio::test]
async fn a_poisoned_text_fails_alone() {
    let batched = BatchedEmbedder::new(Lengths::new(false), BatchConfig::default());
    let handle = batched.handle(Class::Batch);
    let texts = ["fine", "poison", "also fine", "panic", "and this", "poison"];
    let answers = handle.embed(texts.map(str::to_owned).to_vec()).await.expect("answered");
    let said = |at: usize| answers[at].as_ref().expect_err("broken").to_string();
    assert!([0, 2, 4].iter().all(|at| answers[*at].is_ok()), "{answers:?}");
    assert!(said(1).contains("poisoned") && said(3).contains("panicked") && said(5).contains("poisoned"), "{answers:?}");
    batched.close().await;
}

#[tokio::test]
async fn refuses_what_does_not_fit_and_forgets_callers_who_left() {
    let model = Lengths::new(true);
    let config = BatchConfig { max_batch_rows: 1, queue_capacity: 3, ..BatchConfig::default() };
    let batched = BatchedEmbedder::new(Arc::clone(&model) as Arc<dyn Embedder>, config);
    let handle = batched.handle(Class::Interactive);
    let mut calls = JoinSet::new();
    let (busy, leaver) = (Arc::clone(&handle), Arc::clone(&handle));
    calls.spawn(async move { busy.embed(texts("busy", 1)).await });
    settle().await;
    let leaving = calls.spawn(async move { leaver.embed(texts("left", 2)).await });
    settle().await;
    let refused = handle.embed(texts("more", 2)).await;
    assert!(matches!(refused, Err(InferenceError::Overloaded { waiting: 2, limit: 3 })), "{refused:?}");
    leaving.abort();
    assert!(calls.join_next().await.expect("a call").is_err_and(|error| error.is_cancelled()));
    model.open(100);
    calls.join_next().await.expect("a call").expect("no panic").expect("answered");
    handle.embed(texts("next", 1)).await.expect("answered");
    assert!(model.batches().iter().flatten().all(|text| !text.starts_with("left")), "{:?}", model.batches());
    batched.close().await;
}

#[tokio::test]
async fn a_closed_batcher_refuses_instead_of_hanging() {
    let model = Lengths::new(true);
    let batched = BatchedEmbedder::new(Arc::clone(&model) as Arc<dyn Embedder>, BatchConfig { max_batch_rows: 1, ..BatchConfig::default() });
    let handle = batched.handle(Class::Interactive);
    let mut calls = JoinSet::new();
    let waiter = Arc::clone(&handle);
    calls.spawn(async move { waiter.embed(texts("w", 3)).await });
    settle().await;
    model.open(100);
    batched.close().await;
    assert!(calls.join_next().await.expect("a call").expect("no panic").is_err());
    assert!(handle.embed(texts("late", 1)).await.is_err());
}

#[tokio::test]
async fn a_batch_caller_waits_for_room_and_an_interactive_one_has_its_own() {
    let model = Lengths::new(true);
    let config = BatchConfig { max_batch_rows: 2, queue_capacity: 2, ..BatchConfig::default() };
    let batched = BatchedEmbedder::new(Arc::clone(&model) as Arc<dyn Embedder>, config);
    let mut calls = JoinSet::new();
    for _ in 0..5 {
        let handle = batched.handle(Class::Batch);
        calls.spawn(async move { handle.embed(texts("b", 2)).await });
        settle().await;
    }
    let mine = batched.handle(Class::Interactive);
    calls.spawn(async move { mine.embed(texts("i", 1)).await });
    settle().await;
    model.open(100);
    while let Some(call) = calls.join_next().await {
        assert!(call.expect("no panic").expect("answered").iter().all(Result::is_ok));
    }
    assert_eq!(model.batches()[1][0], "i", "it passed those who wait for room: {:?}", model.batches());
    batched.close().await;
}

#[tokio::test]
async fn batch_callers_are_passed_over_only_so_often() {
    let model = Lengths::new(true);
    let config = BatchConfig { max_batch_rows: 4, patience: 2, ..BatchConfig::default() };
    let batched = BatchedEmbedder::new(Arc::clone(&model) as Arc<dyn Embedder>, config);
    let mut calls = JoinSet::new();
    for (class, name, count) in [(Class::Batch, "z", 1), (Class::Interactive, "i", 40), (Class::Batch, "b", 6)] {
        let handle = batched.handle(class);
        calls.spawn(async move { handle.embed(texts(name, count)).await });
        settle().await;
    }
    model.open(100);
    while let Some(call) = calls.join_next().await {
        assert!(call.expect("no panic").expect("answered").iter().all(Result::is_ok));
    }
    let of_batch: Vec<usize> = model.batches().iter().map(|batch| batch.iter().filter(|text| text.starts_with('b')).count()).collect();
    assert_eq!(&of_batch[..10], [0, 0, 0, 2, 0, 0, 2, 0, 0, 2], "{:?}", model.batches());
    batched.close().await;
}

#[tokio::test]
async fn users_take_turns_by_tokens_and_not_by_texts() {
    let model = Lengths::new(true);
    let config = BatchConfig { max_batch_rows: 8, ..BatchConfig::default() };
    let batched = BatchedEmbedder::new(Arc::clone(&model) as Arc<dyn Embedder>, config);
    let handle = batched.handle(Class::Batch);
    let mut calls = JoinSet::new();
    let busy = Arc::clone(&handle);
    calls.spawn(async move { busy.embed(texts("z", 1)).await });
    settle().await;
    // Ten tokens a text here, a hundred there, all in one call.
    let mut mixed: Vec<(Party, String)> = (0..40).map(|_| (Party(1), "long".repeat(98))).collect();
    mixed.extend((0..40).map(|_| (Party(2), "s".repeat(32))));
    calls.spawn(async move { handle.embed_for(mixed).await });
    settle().await;
    model.open(100);
    while let Some(call) = calls.join_next().await {
        call.expect("no panic").expect("answered");
    }
    let first: Vec<String> = model.batches()[1..5].concat();
    let long = first.iter().filter(|text| text.starts_with('l')).count();
    assert_eq!((long, first.len() - long), (3, 29), "ten short ones for each long one");
    batched.close().await;
}

#[tokio::test]
async fn keeps_to_the_tokens_and_refuses_what_fits_no_batch() {
    let model = Lengths::new(false);
    let config = BatchConfig { max_batch_tokens: 100, ..BatchConfig::default() };
    let batched = BatchedEmbedder::new(Arc::clone(&model) as Arc<dyn Embedder>, config);
    let handle = batched.handle(Class::Interactive);
    let mut asked: Vec<String> = (0..10).map(|_| "x".repeat(4 * 38)).collect();
    asked[4] = "x".repeat(400_000);
    let answers = handle.embed(asked).await.expect("answered");
    let refused = answers[4].as_ref().expect_err("too long").to_string();
    assert!(refused.contains("100002 tokens") && refused.contains("max_batch_tokens"), "{refused}");
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 9);
    let sizes: Vec<usize> = model.batches().iter().map(Vec::len).collect();
    assert_eq!(sizes, [2, 2, 2, 2, 1], "40 tokens each");
    batched.close().await;

    // A device that pads pays for its longest text in every row.
    let model = Lengths::new(false);
    let config = BatchConfig { max_batch_tokens: 100, padded: true, ..BatchConfig::default() };
    let batched = BatchedEmbedder::new(Arc::clone(&model) as Arc<dyn Embedder>, config);
    let asked = [10, 10, 10, 48, 48, 48].map(|tokens| "x".repeat(4 * (tokens - 2))).to_vec();
    assert!(batched.handle(Class::Batch).embed(asked).await.expect("answered").iter().all(Result::is_ok));
    let sizes: Vec<usize> = model.batches().iter().map(Vec::len).collect();
    assert_eq!(sizes, [3, 2, 1]);
    batched.close().await;
}

#[tokio::test]
async fn waits_for_a_batch_to_fill_only_as_long_as_it_was_told() {
    let (model, clock) = (Lengths::new(false), Arc::new(ManualClock::new()));
    let config = BatchConfig { max_batch_rows: 3, max_delay: Duration::from_millis(5), ..BatchConfig::default() };
    let batched = BatchedEmbedder::with_clock(Arc::clone(&model) as Arc<dyn Embedder>, config, Arc::<ManualClock>::clone(&clock));
    let handle = batched.handle(Class::Batch);
    let mut calls = JoinSet::new();
    let ask = |calls: &mut JoinSet<_>, count| {
        let handle = Arc::clone(&handle);
        calls.spawn(async move { handle.embed(texts("x", count)).await });
    };
    ask(&mut calls, 1);
    settle().await;
    clock.advance(Duration::from_millis(4));
    ask(&mut calls, 1);
    settle().await;
    assert!(model.batches().is_empty(), "not full, and not old enough");
    clock.advance(Duration::from_millis(1));
    settle().await;
    assert_eq!(model.batches().len(), 1, "the oldest has waited 5 ms");
    ask(&mut calls, 3);
    settle().await;
    assert_eq!(model.batches().len(), 2, "a full batch does not wait");
    while let Some(call) = calls.join_next().await {
        call.expect("no panic").expect("answered");
    }
    batched.close().await;
}

#[tokio::test]
async fn a_deadline_ends_a_call_and_what_nobody_waits_for_ends_at_the_device() {
    let (model, clock) = (Lengths::new(true), Arc::new(ManualClock::new()));
    let config = BatchConfig { max_batch_rows: 2, queue_capacity: 4, ..BatchConfig::default() };
    let batched = BatchedEmbedder::with_clock(Arc::clone(&model) as Arc<dyn Embedder>, config, Arc::<ManualClock>::clone(&clock));
    let handle = batched.handle_within(Class::Interactive, Some(Duration::from_secs(1)));
    let mut calls = JoinSet::new();
    for _ in 0..2 {
        let handle = Arc::clone(&handle);
        calls.spawn(async move { handle.embed(texts("x", 2)).await });
        settle().await;
    }
    assert_eq!(model.batches().len(), 1, "one at the device, one waits");
    clock.advance(Duration::from_secs(1));
    for _ in 0..2 {
        let late = calls.join_next().await.expect("a call").expect("no panic");
        assert!(matches!(late, Err(InferenceError::Timeout { limit_ms: 1000 })), "{late:?}");
    }
    settle().await;
    assert_eq!(model.dropped.load(Ordering::SeqCst), 1, "the batch at the device was dropped, the other never got there");
    assert_eq!(model.batches().len(), 1);
    model.open(100);
    // All places are free again: a call that needs the whole queue is let in.
    assert_eq!(handle.embed(texts("y", 4)).await.expect("answered").len(), 4);
    batched.close().await;
}

#[tokio::test]
async fn a_dropped_batcher_leaves_nobody_waiting() {
    let model = Lengths::new(true);
    let batched = BatchedEmbedder::new(Arc::clone(&model) as Arc<dyn Embedder>, BatchConfig { max_batch_rows: 1, ..BatchConfig::default() });
    let handle = batched.handle(Class::Batch);
    let mut calls = JoinSet::new();
    calls.spawn(async move { handle.embed(texts("w", 3)).await });
    settle().await;
    drop(batched);
    model.open(100);
    assert!(calls.join_next().await.expect("a call").expect("no panic").is_err());
}
