//! Facts from models that answer well, badly, or not at all.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use ajatus_facts::Attribute;
use ajatus_inference::facts::FactsPrompt;
use ajatus_inference::structured::MissError;
use ajatus_inference::{ChatMessage, ChatRole, FinishReason, GenerateEvent, GenerateRequest, GenerateStream, Generator, InferenceError, ModelIdentity};
use async_trait::async_trait;

/// Noon of Wednesday 2026-03-04.
const SAID_US: i64 = 1_772_625_600_000_000;
const TEXT: &str = "I'm Anna and I live in Oulu. I fly to Rome tomorrow.";

/// Says what is in its script, one piece a call, and remembers what it was asked.
struct Scripted {
    model: ModelIdentity,
    structured: bool,
    script: Mutex<VecDeque<Result<&'static str, InferenceError>>>,
    asked: Mutex<Vec<GenerateRequest>>,
}

impl Scripted {
    fn new(structured: bool, script: impl IntoIterator<Item = Result<&'static str, InferenceError>>) -> Self {
        let model = ModelIdentity { name: "scripted".into(), weights: "1".into() };
        Self { model, structured, script: Mutex::new(script.into_iter().collect()), asked: Mutex::default() }
    }

    fn requests(&self) -> Vec<GenerateRequest> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Generator for Scripted {
    fn model(&self) -> &ModelIdentity {
        &self.model
    }

    fn context_tokens(&self) -> usize {
        4096
    }

    async fn count_tokens(&self, messages: &[ChatMessage]) -> Result<usize, InferenceError> {
        Ok(messages.len())
    }

    async fn generate(&self, request: GenerateRequest) -> Result<GenerateStream, InferenceError> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        let said = self.script.lock().unwrap_or_else(PoisonError::into_inner).pop_front().expect("no more calls than the script has")?;
        let done = GenerateEvent::Done { reason: FinishReason::Stop, prompt_tokens: 1, completion_tokens: 1 };
        Ok(Box::pin(futures::stream::iter([Ok(GenerateEvent::Text(said.to_owned())), Ok(done)])))
    }

    fn structured(&self) -> bool {
        self.structured
    }
}

const GOOD: &str = r#"{"facts":[{"attribute":"name","value":"Anna"},{"attribute":"home","value":"Oulu","confidence":99},
    {"attribute":"home","value":"Stockholm"},{"attribute":"plan","value":"fly to Rome","when":"tomorrow"}]}"#;

#[tokio::test]
async fn keeps_what_is_in_the_text_with_the_model_and_the_prompt() {
    let model = Scripted::new(false, [Ok(GOOD)]);
    let facts = FactsPrompt::built_in().read(&model, TEXT, SAID_US).await.expect("facts");
    let shown: Vec<(Attribute, &str)> = facts.iter().map(|fact| (fact.attribute, fact.value.as_str())).collect();
    assert_eq!(shown, [(Attribute::Name, "Anna"), (Attribute::Home, "Oulu"), (Attribute::Plan, "fly to Rome")]);
    assert!(facts.iter().all(|fact| fact.rule == "facts.v1" && fact.version == "scripted@1" && fact.confidence <= 80));
    let noon_to_midnight = 43_200_000_000;
    assert_eq!(facts[2].valid_from_us, Some(SAID_US + noon_to_midnight));
    let asked = model.requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].sampling.schema, None, "it cannot be held to one");
    assert!(asked[0].messages[0].content.contains("\"attribute\""), "so it is told");
}

#[tokio::test]
async fn holds_a_backend_to_the_schema_that_can_be_held() {
    let model = Scripted::new(true, [Ok(r#"{"facts":[]}"#)]);
    assert_eq!(FactsPrompt::built_in().read(&model, TEXT, SAID_US).await.expect("facts"), []);
    assert!(model.requests()[0].sampling.schema.as_ref().is_some_and(|schema| schema["required"][0] == "facts"));
}

#[tokio::test]
async fn tells_a_model_what_it_missed_and_asks_again() {
    let model = Scripted::new(false, [Ok("Anna lives in Oulu."), Ok(r#"{"facts":[{"attribute":"mood","value":"glad"}]}"#), Ok(GOOD)]);
    let facts = FactsPrompt::built_in().read(&model, TEXT, SAID_US).await.expect("facts");
    assert_eq!(facts.len(), 3);
    let last = model.requests().pop().expect("a call").messages;
    assert_eq!(last.iter().map(|message| message.role).collect::<Vec<_>>(), [ChatRole::System, ChatRole::User, ChatRole::Assistant, ChatRole::User, ChatRole::Assistant, ChatRole::User]);
    assert!(last[3].content.contains("no JSON object"), "{}", last[3].content);
    assert!(last[5].content.contains("must be one of"), "{}", last[5].content);
}

#[tokio::test]
async fn gives_up_after_three_calls_and_says_why() {
    let model = Scripted::new(false, [Ok("no"), Ok("no"), Ok(r#"{"fact":1}"#)]);
    let error = FactsPrompt::built_in().read(&model, TEXT, SAID_US).await.expect_err("no facts");
    assert!(matches!(error, MissError::Misfit { attempts: 3, .. }), "{error:?}");
    assert_eq!(error.to_string(), "the answer lacks \"facts\", after 3 attempts");
}

#[tokio::test]
async fn passes_on_that_the_model_failed() {
    let model = Scripted::new(false, [Err(InferenceError::Overloaded { waiting: 9, limit: 8 })]);
    let error = FactsPrompt::built_in().read(&model, TEXT, SAID_US).await.expect_err("no facts");
    assert!(matches!(error, MissError::Model(InferenceError::Overloaded { .. })), "{error:?}");
}
