//! What every generator and every embedder must do, whatever stands behind it.
#![allow(unreachable_pub, dead_code, reason = "a module shared by test binaries, each of which uses its part")]

use std::sync::Arc;

use ajatus_inference::{
    ChatMessage, ChatRole, Embedder, FinishReason, GenerateEvent, GenerateRequest, Generator, InferenceError, Sampling,
};
use futures::StreamExt as _;

/// A request for the most probable answer.
pub fn request(question: &str, max_tokens: usize) -> GenerateRequest {
    GenerateRequest {
        messages: vec![ChatMessage { role: ChatRole::User, content: question.to_owned() }],
        max_tokens,
        stop: Vec::new(),
        sampling: Sampling { temperature: 0.0, repetition_penalty: 1.0, ..Sampling::default() },
    }
}

/// An answer that came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    pub texts: Vec<String>,
    pub reason: FinishReason,
    pub prompt_tokens: usize,
    pub completion_tokens: usize,
}

impl Whole {
    pub fn text(&self) -> String {
        self.texts.concat()
    }
}

/// Reads a generation to its end; the end must be the last event.
pub async fn answer(model: &dyn Generator, request: GenerateRequest) -> Result<Whole, InferenceError> {
    let started = model.start(request).await?;
    assert_eq!(started.model.id(), model.model().id(), "one model answers, and says so");
    let mut events = started.events;
    let mut texts = Vec::new();
    while let Some(event) = events.next().await {
        match event? {
            GenerateEvent::Text(text) => {
                assert!(!text.is_empty(), "an event without text");
                texts.push(text);
            }
            GenerateEvent::Done { reason, prompt_tokens, completion_tokens } => {
                assert!(events.next().await.is_none(), "something came after the end");
                return Ok(Whole { texts, reason, prompt_tokens, completion_tokens });
            }
        }
    }
    panic!("the stream ended without its end");
}

/// What is special about one backend.
pub struct Facts {
    /// A question whose greedy answer ends by itself.
    pub question: &'static str,
    /// That answer, if it is known.
    pub says: Option<&'static str>,
    /// A question with a long answer.
    pub long: &'static str,
    /// Whether tokens of a prompt are counted exactly before it is sent.
    pub counts: bool,
    /// Tokens of prompt and answer at most.
    pub context: usize,
}

/// Every promise of the port, one after the other. `live` says how many generations the backend is at.
pub async fn generates(model: Arc<dyn Generator>, facts: &Facts, live: impl Fn() -> usize) {
    let model = &*model;
    // It streams, ends by itself, counts, and says the same again.
    let whole = answer(model, request(facts.question, 100)).await.expect("an answer");
    assert_eq!(whole.reason, FinishReason::Stop, "{whole:?}");
    assert!(whole.texts.len() > 3, "it streams: {whole:?}");
    if let Some(says) = facts.says {
        assert_eq!(whole.text(), says);
    }
    let counted = model.count_tokens(&request(facts.question, 1).messages).await.expect("counted");
    if facts.counts {
        assert_eq!(counted, whole.prompt_tokens);
    } else {
        assert!(counted >= whole.prompt_tokens, "an estimate is on the high side: {counted} of {}", whole.prompt_tokens);
    }
    assert!(whole.completion_tokens >= 4, "{whole:?}");
    assert_eq!(model.context_tokens(), facts.context);
    let again = answer(model, request(facts.question, 100)).await.expect("an answer");
    assert_eq!((again.text(), again.completion_tokens), (whole.text(), whole.completion_tokens));

    // It keeps to the tokens it is given.
    let short = answer(model, request(facts.question, 3)).await.expect("an answer");
    assert_eq!((short.reason, short.completion_tokens), (FinishReason::Length, 3));
    assert!(!short.text().is_empty() && whole.text().starts_with(short.text().trim_end_matches('\u{fffd}')), "{short:?}");

    // It stops before a stop text, even one that comes in pieces.
    let text = whole.text();
    let stop: String = text.chars().skip(text.chars().count() / 2).take(4).collect();
    let before = text.split(&stop).next().expect("it is in there");
    let stopped = answer(model, GenerateRequest { stop: vec!["never said".to_owned(), stop.clone()], ..request(facts.question, 100) });
    let stopped = stopped.await.expect("an answer");
    assert_eq!((stopped.text().as_str(), stopped.reason), (before, FinishReason::Stop), "stop at {stop:?}");

    // Two at once do not mix, and a draw with a seed is the same again.
    let (one, two) = tokio::join!(answer(model, request(facts.question, 100)), answer(model, request(facts.long, 8)));
    let alone = answer(model, request(facts.long, 8)).await.expect("an answer");
    assert_eq!((one.expect("an answer").text(), two.expect("an answer").text()), (whole.text(), alone.text()));
    let drawn = || GenerateRequest { sampling: Sampling { temperature: 1.0, top_k: Some(20), seed: u64::MAX, ..Sampling::default() }, ..request(facts.long, 8) };
    let draws = (answer(model, drawn()).await.expect("an answer"), answer(model, drawn()).await.expect("an answer"));
    assert_eq!(draws.0.text(), draws.1.text());

    // A caller who leaves ends the work.
    let mut left = model.generate(request(facts.long, 1_000)).await.expect("started");
    assert!(matches!(left.next().await, Some(Ok(GenerateEvent::Text(_)))));
    drop(left);
    for _ in 0..20_000 {
        if live() == 0 {
            break;
        }
        tokio::task::yield_now().await;
        std::thread::yield_now();
    }
    assert_eq!(live(), 0, "the backend goes on for nobody");
    assert_eq!(answer(model, request(facts.question, 100)).await.expect("an answer").text(), whole.text());

    // What fits no context is refused, and said so; what leaves little room gets that.
    let long = request(&"word ".repeat(facts.context * 2), 10);
    let mut refused = answer(model, long.clone()).await;
    // A server may refuse before it has read all of it and close the connection, which then looks as if it were gone: asked again, it says why.
    for _ in 0..3 {
        if refused.as_ref().err().is_some_and(InferenceError::may_pass) {
            refused = answer(model, long.clone()).await;
        }
    }
    assert!(matches!(refused, Err(InferenceError::Input { .. })), "longer than the context: {:?}", refused.err());

    // A schema is kept to, or refused.
    let schema = serde_json::json!({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]});
    let asked = request(facts.question, 200);
    let structured = GenerateRequest { sampling: Sampling { schema: Some(schema), ..asked.sampling.clone() }, ..asked };
    match (model.structured(), answer(model, structured).await) {
        (true, Ok(whole)) => {
            let value: serde_json::Value = serde_json::from_str(&whole.text()).expect("JSON");
            assert!(value["name"].is_string(), "{value}");
        }
        (false, Err(InferenceError::Input { .. })) => {}
        (can, other) => panic!("structured is {can}: {other:?}"),
    }
}

/// Every promise of the port.
pub async fn embeds(model: Arc<dyn Embedder>, dimension: usize) {
    assert_eq!(model.dimension(), dimension);
    assert!(model.embed(Vec::new()).await.expect("nothing asked").is_empty());
    let texts: Vec<String> = ["a cat", "", "Höyryävä kahvi 🦀", "a cat", "x\n\ty"].map(str::to_owned).to_vec();
    let together = model.embed(texts.clone()).await.expect("answered");
    assert_eq!(together.len(), texts.len());
    let vector = |at: usize| together[at].as_ref().expect("a vector");
    for (at, text) in texts.iter().enumerate() {
        assert_eq!(vector(at).len(), dimension);
        let length: f32 = vector(at).iter().map(|value| value * value).sum();
        assert!((length - 1.0).abs() < 1e-4, "{text:?} has length {length}");
        let alone = model.embed(vec![text.clone()]).await.expect("answered").remove(0).expect("a vector");
        let worst = alone.iter().zip(vector(at)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-5, "{text:?} alone and in company differ by {worst}");
    }
    assert_eq!(vector(0), vector(3), "the same text, the same vector");
    assert_ne!(vector(0), vector(2));
    // A text of 100,000 words is cut, not refused, and holds nobody up.
    let long = model.embed(vec!["word ".repeat(100_000), "short".to_owned()]).await.expect("answered");
    assert!(long.iter().all(Result::is_ok), "{long:?}");
}
