//! The batcher: fair, ordered, bounded, and one bad text harms nobody else.

use std::sync::Arc;
use std::sync::Mutex;

use ajatus_inference::{BatchConfig, BatchedEmbedder, Class, Embedder, Embedding, InferenceError, ModelIdentity};
use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Says a text's length; breaks on "poison"; waits for a permit per batch when gated.
struct Lengths {
    model: ModelIdentity,
    gate: Option<Semaphore>,
    batches: Mutex<Vec<Vec<String>>>,
}

impl Lengths {
    fn new(gated: bool) -> Arc<Self> {
        Arc::new(Self {
            model: ModelIdentity { name: "lengths".into(), weights: "0".into() },
            gate: gated.then(|| Semaphore::new(0)),
            batches: Mutex::default(),
        })
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
        if let Some(gate) = &self.gate {
            gate.acquire().await.expect("open").forget();
        }
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
        model.gate.as_ref().expect("gated").add_permits(100);
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
    let answers = handle.embed(vec!["fine".into(), "poison".into(), "also fine".into()]).await.expect("answered");
    assert!(answers[0].is_ok() && answers[1].is_err() && answers[2].is_ok());
    batched.close().await;
}

#[tokio::test]
async fn refuses_what_does_not_fit_and_forgets_callers_who_left() {
    let model = Lengths::new(true);
    let config = BatchConfig { max_batch_rows: 1, queue_capacity: 3, ..BatchConfig::default() };
    let batched = BatchedEmbedder::new(Arc::clone(&model) as Arc<dyn Embedder>, config);
    let handle = batched.handle(Class::Batch);
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
    model.gate.as_ref().expect("gated").add_permits(100);
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
    model.gate.as_ref().expect("gated").add_permits(100);
    batched.close().await;
    assert!(calls.join_next().await.expect("a call").expect("no panic").is_err());
    assert!(handle.embed(texts("late", 1)).await.is_err());
}
