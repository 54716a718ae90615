//! Chat models: SmolLM2 as it comes, and a tiny Mistral that the test makes, through the same loader.
//! Needs SmolLM2 under `.cache/models` (`tools/setup`).

mod tiny;

use std::path::{Path, PathBuf};

use ajatus_candle::{CandleGenerator, GeneratorConfig};
use ajatus_inference::{ChatMessage, ChatRole, FinishReason, GenerateEvent, GenerateRequest, Generator as _, InferenceError, Sampling};
use futures::StreamExt as _;

fn smol() -> PathBuf {
    Path::new("../../.cache/models/SmolLM2-135M-Instruct").to_path_buf()
}

fn load(path: &Path) -> CandleGenerator {
    let config = GeneratorConfig { path: path.into(), name: "test".into(), ..GeneratorConfig::default() };
    CandleGenerator::load(config).expect("the model is there (run `tools/setup`)")
}

fn request(question: &str, max_tokens: usize) -> GenerateRequest {
    GenerateRequest {
        messages: vec![ChatMessage { role: ChatRole::User, content: question.to_owned() }],
        max_tokens,
        stop: Vec::new(),
        sampling: Sampling { temperature: 0.0, repetition_penalty: 1.0, ..Sampling::default() },
    }
}

async fn all(model: &CandleGenerator, request: GenerateRequest) -> (Vec<String>, FinishReason, usize, usize) {
    let mut stream = model.generate(request).await.expect("started");
    let mut texts = Vec::new();
    while let Some(event) = stream.next().await {
        match event.expect("an event") {
            GenerateEvent::Text(text) => texts.push(text),
            GenerateEvent::Done { reason, prompt_tokens, completion_tokens } => return (texts, reason, prompt_tokens, completion_tokens),
        }
    }
    panic!("the stream ended without its end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn smollm_answers_streams_stops_and_repeats_itself() {
    let model = load(&smol());
    assert_eq!(model.model().weights.len(), 16);
    let (texts, reason, prompt, completion) = all(&model, request("What is the capital of France?", 40)).await;
    assert_eq!(texts.concat(), "The capital of France is Paris.");
    assert_eq!(reason, FinishReason::Stop, "it ends by itself");
    assert!(texts.len() > 3, "it streams: {texts:?}");
    assert_eq!(prompt, model.count_tokens(&request("What is the capital of France?", 1).messages).await.expect("counted"));
    assert!(completion >= 7, "{completion}");
    // The same again, though another conversation came between.
    all(&model, request("Tell me about dogs.", 5)).await;
    assert_eq!(all(&model, request("What is the capital of France?", 40)).await.0, texts);

    let (texts, reason, ..) = all(&model, GenerateRequest { stop: vec!["Paris".into()], ..request("What is the capital of France?", 40) }).await;
    assert_eq!((texts.concat().as_str(), reason), ("The capital of France is ", FinishReason::Stop));
    let (_, reason, _, completion) = all(&model, request("Tell a long story.", 6)).await;
    assert_eq!((reason, completion), (FinishReason::Length, 6));

    // A caller who leaves does not hold the next one up for the rest of a long answer.
    let mut left = model.generate(request("Count to one thousand.", 3_000)).await.expect("started");
    left.next().await.expect("an event").expect("text");
    drop(left);
    assert_eq!(all(&model, request("What is the capital of France?", 40)).await.0.concat(), "The capital of France is Paris.");

    let long = request(&"word ".repeat(5_000), 10);
    assert!(matches!(model.generate(long).await, Err(InferenceError::Input { .. })), "longer than the context");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mistral_goes_through_the_same_loader_as_safetensors_and_as_gguf() {
    let folder = tempfile::tempdir().expect("a folder");
    tiny::write_safetensors(&folder.path().join("st"));
    tiny::write_gguf(&folder.path().join("gguf"));
    let mut said = Vec::new();
    for name in ["st", "gguf"] {
        let model = load(&folder.path().join(name));
        let (texts, reason, prompt, completion) = all(&model, request("ab ba", 12)).await;
        assert!(completion <= 12 && (completion == 12 || reason == FinishReason::Stop), "{name}: {completion} {reason:?}");
        said.push((texts.concat(), prompt, completion));
    }
    // The same random weights, the same tokens, the same words: both ways of reading a file agree.
    assert_eq!(said[0], said[1]);
    assert!(!said[0].0.is_empty());
}

#[test]
fn refuses_what_is_no_chat_model_and_says_which_file() {
    let refusal = |path: &Path, weights: Option<&str>| {
        let config = GeneratorConfig { path: path.into(), name: "m".into(), weights: weights.map(str::to_owned), ..GeneratorConfig::default() };
        match CandleGenerator::load(config).err().expect("refused") {
            InferenceError::Model { path, reason } => format!("{path}: {reason}"),
            other => panic!("{other}"),
        }
    };
    let folder = tempfile::tempdir().expect("a folder");
    assert!(refusal(&folder.path().join("nothing"), None).contains("tools/setup"));
    assert!(refusal(&smol(), Some("ffffffffffffffff")).contains("hash"));
    let garbage = folder.path().join("garbage.gguf");
    std::fs::write(&garbage, b"not a model").expect("written");
    assert!(refusal(&garbage, None).contains("no GGUF"));
    let cut = folder.path().join("cut.gguf");
    let whole = std::fs::read(smol().join("SmolLM2-135M-Instruct.Q4_1.gguf")).expect("read");
    std::fs::write(&cut, &whole[..whole.len() / 2]).expect("written");
    assert!(refusal(&cut, None).contains("cut short"));
    tiny::write_safetensors(&folder.path().join("st"));
    let config = folder.path().join("st/config.json");
    let text = std::fs::read_to_string(&config).expect("read").replace("mistral", "mamba");
    std::fs::write(&config, text).expect("written");
    assert!(refusal(&folder.path().join("st"), None).contains("mamba"));
}
