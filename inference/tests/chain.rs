//! A dead backend is not noticed: who answers when one is down, and what may stand in for what.

mod conformance;
mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ajatus_inference::backend::{OllamaConfig, OllamaEmbedder, OllamaGenerator, VllmConfig, VllmEmbedder, VllmGenerator};
use ajatus_inference::chain::{BreakerState, ChainConfig, EmbedderChain, EmbedderLink, GeneratorChain, GeneratorLink};
use ajatus_inference::clock::ManualClock;
use ajatus_inference::{
    ChatMessage, Embedder, Embedding, FinishReason, GenerateEvent, GenerateRequest, GenerateStream, Generator, InferenceError,
    ModelIdentity, Sampling,
};
use async_trait::async_trait;
use conformance::request;
use futures::StreamExt as _;
use support::{Running, with_clock};

/// A model in this process that does as it is told.
struct Told {
    model: ModelIdentity,
    asked: AtomicUsize,
    does: Mutex<Vec<Result<GenerateEvent, InferenceError>>>,
    hangs: bool,
}

fn text(text: &str) -> Result<GenerateEvent, InferenceError> {
    Ok(GenerateEvent::Text(text.to_owned()))
}

fn done() -> Result<GenerateEvent, InferenceError> {
    Ok(GenerateEvent::Done { reason: FinishReason::Stop, prompt_tokens: 1, completion_tokens: 1 })
}

impl Told {
    fn new(name: &str, does: Vec<Result<GenerateEvent, InferenceError>>) -> Arc<Self> {
        Arc::new(Self { model: ModelIdentity { name: name.into(), weights: "0".into() }, asked: AtomicUsize::new(0), does: Mutex::new(does), hangs: false })
    }

    fn silent(name: &str) -> Arc<Self> {
        Arc::new(Self { model: ModelIdentity { name: name.into(), weights: "0".into() }, asked: AtomicUsize::new(0), does: Mutex::default(), hangs: true })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Generator for Told {
    fn model(&self) -> &ModelIdentity {
        &self.model
    }
    fn context_tokens(&self) -> usize {
        512
    }
    async fn count_tokens(&self, _: &[ChatMessage]) -> Result<usize, InferenceError> {
        Ok(7)
    }
    async fn generate(&self, _: GenerateRequest) -> Result<GenerateStream, InferenceError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.hangs {
            return Ok(futures::stream::pending().boxed());
        }
        let mut does = self.does.lock().expect("no panic").clone();
        if let Some(Err(error)) = does.first().cloned() {
            // At once, as a server that refuses.
            does.clear();
            return Err(error);
        }
        Ok(futures::stream::iter(does).boxed())
    }
}

fn link(name: &str, generator: &Arc<Told>) -> GeneratorLink {
    GeneratorLink { name: name.to_owned(), generator: Arc::clone(generator) as Arc<dyn Generator>, probe: None }
}

fn chain(links: Vec<GeneratorLink>, clock: &Arc<ManualClock>) -> GeneratorChain {
    GeneratorChain::new(links, ChainConfig::default(), Arc::<ManualClock>::clone(clock))
}

fn backend(reason: &str) -> InferenceError {
    InferenceError::Backend { reason: reason.to_owned() }
}

async fn said(chain: &GeneratorChain) -> (String, Vec<Result<GenerateEvent, InferenceError>>) {
    let started = chain.start(request("hei", 20)).await.expect("somebody answers");
    (started.model.name, started.events.collect().await)
}

#[tokio::test]
async fn what_fails_before_its_first_word_is_not_noticed() {
    let clock = Arc::new(ManualClock::new());
    let refuses = Told::new("refuses", vec![Err(backend("500"))]);
    let empty = Told::new("empty", Vec::new());
    let good = Told::new("good", vec![text("hei "), text("vaan"), done()]);
    let chain = chain(vec![link("a", &refuses), link("b", &empty), link("c", &good)], &clock);
    for _ in 0..3 {
        let (model, events) = said(&chain).await;
        let events: Vec<GenerateEvent> = events.into_iter().map(|event| event.expect("an event")).collect();
        let expected: Vec<GenerateEvent> = [text("hei "), text("vaan"), done()].into_iter().map(|event| event.expect("an event")).collect();
        assert_eq!((model.as_str(), events), ("good", expected));
    }
    assert_eq!((refuses.asked(), empty.asked()), (3, 3));
    said(&chain).await;
    assert_eq!((refuses.asked(), empty.asked()), (3, 3), "after three failures nobody waits for them");
    clock.advance(Duration::from_secs(1));
    *refuses.does.lock().expect("no panic") = vec![text("back"), done()];
    assert_eq!(said(&chain).await.0, "refuses", "it is tried again after a pause, and answers");
    assert_eq!(chain.model().name, "refuses");
}

#[tokio::test]
async fn what_breaks_after_its_first_word_ends_with_an_error_and_is_not_begun_again() {
    let clock = Arc::new(ManualClock::new());
    for broken in [vec![text("The answer "), Err(InferenceError::Timeout { limit_ms: 5 })], vec![text("The answer ")]] {
        let breaks = Told::new("breaks", broken);
        let other = Told::new("other", vec![text("mine"), done()]);
        let chain = chain(vec![link("a", &breaks), link("b", &other)], &clock);
        let (model, events) = said(&chain).await;
        assert_eq!((model.as_str(), events.len(), other.asked()), ("breaks", 2, 0));
        let error = events[1].as_ref().expect_err("broken off");
        assert!(matches!(error, InferenceError::BrokenOff { .. }) && error.to_string().contains("ask again"), "{error}");
    }
}

#[tokio::test]
async fn a_silent_backend_is_left_after_the_limit_and_a_bad_request_goes_nowhere_else() {
    let clock = Arc::new(ManualClock::new());
    let (silent, good) = (Told::silent("silent"), Told::new("good", vec![text("hei"), done()]));
    let both = chain(vec![link("a", &silent), link("b", &good)], &clock);
    let hurry = async {
        loop {
            clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
    };
    let answered = tokio::select! {
        answered = said(&both) => answered,
        () = hurry => unreachable!("for ever"),
    };
    assert_eq!((answered.0.as_str(), silent.asked()), ("good", 1));
    assert_eq!(both.states()[0], ("a".to_owned(), BreakerState::Open));
    said(&both).await;
    assert_eq!(silent.asked(), 1, "nobody waits for it again");

    let bad = Told::new("bad", vec![Err(InferenceError::Input { reason: "too long".into() })]);
    let both = chain(vec![link("a", &bad), link("b", &good)], &clock);
    let before = good.asked();
    for _ in 0..5 {
        assert!(matches!(both.start(request("hei", 1)).await, Err(InferenceError::Input { .. })));
    }
    assert_eq!((bad.asked(), good.asked()), (5, before), "it is no failure of the backend");
    // A schema goes to nobody who cannot keep it.
    let sampling = Sampling { schema: Some(serde_json::json!({"type": "object"})), ..Sampling::default() };
    let refused = both.start(GenerateRequest { sampling, ..request("hei", 1) }).await.err().expect("refused");
    assert!(refused.to_string().contains("JSON schema") && matches!(refused, InferenceError::Input { .. }), "{refused}");
}

#[tokio::test]
async fn when_nobody_answers_it_says_what_is_wrong_with_each() {
    let clock = Arc::new(ManualClock::new());
    let unreachable = InferenceError::Unreachable { address: "http://x".into(), reason: "refused".into() };
    let (one, two) = (Told::new("one", vec![Err(unreachable)]), Told::new("two", vec![Err(backend("kaput"))]));
    let both = chain(vec![link("vllm", &one), link("ollama", &two)], &clock);
    let first = both.start(request("hei", 1)).await.err().expect("nobody").to_string();
    assert!(first.contains("vllm: nobody answers at http://x") && first.contains("ollama: ") && first.contains("kaput"), "{first}");
    let second = both.start(request("hei", 1)).await.err().expect("nobody").to_string();
    assert!(second.contains("vllm: it failed a moment ago"), "{second}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_die_and_come_back_are_left_and_found_again() {
    let clock = Arc::new(ManualClock::new());
    let vllm = Running::start(support::vllm::Fake::default().router()).await;
    let ollama = Running::start(support::ollama::Fake::default().router()).await;
    let local = Told::new("local", vec![text("hei"), done()]);
    let first = Arc::new(VllmGenerator::new(with_clock(&vllm.url, None, Arc::<ManualClock>::clone(&clock)), VllmConfig::default()));
    let second = Arc::new(OllamaGenerator::new(with_clock(&ollama.url, None, Arc::<ManualClock>::clone(&clock)), OllamaConfig::new("mistral")));
    let links = vec![
        GeneratorLink { name: "vllm".into(), generator: Arc::clone(&first) as Arc<dyn Generator>, probe: Some(first) },
        GeneratorLink { name: "ollama".into(), generator: Arc::clone(&second) as Arc<dyn Generator>, probe: Some(second) },
        link("candle", &local),
    ];
    let chain = chain(links, &clock);
    let who = async || chain.start(request("Hei!", 50)).await.expect("somebody answers").model.name;
    assert_eq!(who().await, support::vllm::MODEL);
    assert_eq!(chain.context_tokens(), 512, "what fits whoever answers");

    // One dies in the middle of an answer, and then altogether.
    let mut events = chain.start(request("Halfway, please.", 50)).await.expect("started").events;
    assert!(events.next().await.expect("a word").is_ok());
    let vllm = vllm.stop().await;
    let rest: Vec<_> = events.collect().await;
    assert!(matches!(rest.last(), Some(Err(InferenceError::BrokenOff { .. }))), "{:?}", rest.last());
    assert_eq!(who().await, "mistral");
    let ollama = ollama.stop().await;
    assert_eq!(who().await, "local");
    assert_eq!(local.asked(), 1);
    chain.check().await;
    assert_eq!(chain.states().iter().filter(|(_, state)| *state == BreakerState::Open).count(), 2, "{:?}", chain.states());

    // They come back; a look in the background finds them before anybody asks.
    let running = (Running::on(&vllm, support::vllm::Fake::default().router()).await, Running::on(&ollama, support::ollama::Fake::default().router()).await);
    clock.advance(Duration::from_secs(30));
    chain.check().await;
    assert!(chain.states().iter().all(|(_, state)| *state == BreakerState::Closed), "{:?}", chain.states());
    assert_eq!(who().await, support::vllm::MODEL);
    running.0.stop().await;
    running.1.stop().await;
}

/// The model in this process that the others are held to.
struct Right(ModelIdentity, AtomicUsize);

impl Right {
    fn new() -> Arc<Self> {
        Arc::new(Self(ModelIdentity { name: "right".into(), weights: "1".into() }, AtomicUsize::new(0)))
    }
}

#[async_trait]
impl Embedder for Right {
    fn model(&self) -> &ModelIdentity {
        &self.0
    }
    fn dimension(&self) -> usize {
        8
    }
    fn max_tokens(&self) -> usize {
        256
    }
    async fn embed(&self, texts: Vec<String>) -> Result<Vec<Result<Embedding, InferenceError>>, InferenceError> {
        self.1.fetch_add(1, Ordering::SeqCst);
        let cut = |text: &str| match text.split_whitespace().nth(256) {
            Some(_) => text.split_whitespace().take(256).collect::<Vec<_>>().join(" "),
            None => text.to_owned(),
        };
        Ok(texts.iter().map(|text| Ok(support::vector(&cut(text)))).collect())
    }
}

fn served(url: &str, clock: &Arc<ManualClock>, max_tokens: usize) -> EmbedderLink {
    let config = VllmConfig { model: Some(support::vllm::EMBEDDING.to_owned()), ..VllmConfig::default() };
    let embedder = Arc::new(VllmEmbedder::new(with_clock(url, None, Arc::<ManualClock>::clone(clock)), config, 8, max_tokens));
    EmbedderLink { name: "vllm".into(), embedder: Arc::clone(&embedder) as Arc<dyn Embedder>, probe: Some(embedder) }
}

fn embedders(links: Vec<EmbedderLink>, clock: &Arc<ManualClock>) -> Result<EmbedderChain, InferenceError> {
    EmbedderChain::new(links, "candle", ChainConfig::default(), Arc::<ManualClock>::clone(clock))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedding_backend_stands_in_only_while_it_is_the_same_model() {
    let clock = Arc::new(ManualClock::new());
    let right = Right::new();
    let local = EmbedderLink { name: "candle".into(), embedder: Arc::clone(&right) as Arc<dyn Embedder>, probe: None };
    // The fake rounds as a server with bf16 does.
    let rounded = |text: &str| support::vector(text).into_iter().map(|value| f32::from_bits(value.to_bits() & 0xffff_8000)).collect();
    let same = support::vllm::Fake { vectors: Arc::new(rounded), ..Default::default() };
    let running = Running::start(same.clone().router()).await;
    let ollama = Running::start(support::ollama::Fake::default().router()).await;
    let beside = Arc::new(OllamaEmbedder::new(with_clock(&ollama.url, None, Arc::<ManualClock>::clone(&clock)), OllamaConfig::new(support::ollama::EMBEDDING), 8, 256));
    let second = EmbedderLink { name: "ollama".into(), embedder: Arc::clone(&beside) as Arc<dyn Embedder>, probe: Some(beside) };
    let chain = embedders(vec![served(&running.url, &clock, 256), second, local.clone()], &clock).expect("one dimension");
    assert_eq!((chain.model().id().as_str(), chain.dimension(), chain.max_tokens()), ("right@1", 8, 256));
    let ask = async || chain.embed(vec!["a cat".to_owned()]).await.expect("answered").remove(0).expect("a vector");
    ask().await;
    let own = right.1.load(Ordering::SeqCst);
    assert_eq!(own, 1, "asked once, for what is expected");
    ask().await;
    assert_eq!(right.1.load(Ordering::SeqCst), own, "the server answers");

    // It dies; Ollama answers; it comes back with another model under the same name, and is not believed.
    let address = running.stop().await;
    ask().await;
    assert_eq!(right.1.load(Ordering::SeqCst), own);
    let reversed = |text: &str| support::vector(text).into_iter().rev().collect();
    let other = Running::on(&address, support::vllm::Fake { vectors: Arc::new(reversed), ..Default::default() }.router()).await;
    clock.advance(Duration::from_secs(1));
    chain.check().await;
    assert_eq!(chain.states()[0].1, BreakerState::Open, "{:?}", chain.states());
    assert_eq!(ask().await, support::vector("a cat"));
    ollama.stop().await;
    assert_eq!(ask().await, support::vector("a cat"), "the model in this process is always there");
    assert!(right.1.load(Ordering::SeqCst) > own);
    let address = other.stop().await;
    let back = Running::on(&address, same.router()).await;
    clock.advance(Duration::from_secs(30));
    chain.check().await;
    assert_eq!(chain.states()[0].1, BreakerState::Closed, "the right one again: {:?}", chain.states());

    // The same model that cuts long texts elsewhere is another one, too.
    let longer = embedders(vec![served(&back.url, &clock, 300), local.clone()], &clock).expect("one dimension");
    longer.check().await;
    assert_eq!(longer.states()[0].1, BreakerState::Open);
    back.stop().await;

    // Another dimension is refused before anything is asked; so is a chain without a model to hold the others to.
    let wide = Arc::new(VllmEmbedder::new(with_clock("http://127.0.0.1:1", None, Arc::<ManualClock>::clone(&clock)), VllmConfig::default(), 9, 256));
    let wide = EmbedderLink { name: "vllm".into(), embedder: wide, probe: None };
    let refused = embedders(vec![wide.clone(), local], &clock).err().expect("refused").to_string();
    assert!(refused.contains("9 components") && refused.contains("same model"), "{refused}");
    assert!(embedders(vec![wide], &clock).is_err());
}
