//! Chat models: SmolLM2 as it comes, and a tiny Mistral that the test makes, through the same loader.
//! Needs SmolLM2 under `.cache/models` (`tools/setup`).

mod tiny;

use std::path::{Path, PathBuf};
use std::time::Duration;

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
    let (texts, reason, prompt, completion) = all(&model, request("What is the capital of Finland?", 40)).await;
    assert_eq!(texts.concat(), "The capital of Finland is Helsinki.");
    assert_eq!(reason, FinishReason::Stop, "it ends by itself");
    assert!(texts.len() > 3, "it streams: {texts:?}");
    assert_eq!(prompt, model.count_tokens(&request("What is the capital of Finland?", 1).messages).await.expect("counted"));
    assert!(completion >= 7, "{completion}");
    // The same again, though another conversation came between.
    all(&model, request("Tell me about dogs.", 5)).await;
    assert_eq!(all(&model, request("What is the capital of Finland?", 40)).await.0, texts);

    let (texts, reason, ..) = all(&model, GenerateRequest { stop: vec!["Helsinki".into()], ..request("What is the capital of Finland?", 40) }).await;
    assert_eq!((texts.concat().as_str(), reason), ("The capital of Finland is ", FinishReason::Stop));
    let (_, reason, _, completion) = all(&model, request("Tell a long story.", 6)).await;
    assert_eq!((reason, completion), (FinishReason::Length, 6));

    // A caller who leaves does not hold the next one up for the rest of a long answer.
    let mut left = model.generate(request("Count to one thousand.", 3_000)).await.expect("started");
    left.next().await.expect("an event").expect("text");
    drop(left);
    assert_eq!(all(&model, request("What is the capital of Finland?", 40)).await.0.concat(), "The capital of Finland is Helsinki.");

    let long = request(&"word ".repeat(10_000), 10);
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

/// Texts and end of an answer.
async fn said(model: &CandleGenerator, request: GenerateRequest) -> (String, FinishReason, usize) {
    let (texts, reason, _, completion) = all(model, request).await;
    (texts.concat(), reason, completion)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_given_together_are_those_given_alone_and_who_leaves_disturbs_nobody() {
    let config = |sequences, cache_bytes| GeneratorConfig { path: smol(), name: "test".into(), sequences: Some(sequences), cache_bytes, ..GeneratorConfig::default() };
    let alone = CandleGenerator::load(config(1, None)).expect("loaded");
    let together = CandleGenerator::load(config(6, None)).expect("loaded");
    // Room for one of these answers only: the others wait, and none is lost.
    let narrow = CandleGenerator::load(config(6, Some(1))).expect("loaded");
    let ask = |at: usize| {
        let warm = Sampling { temperature: if at.is_multiple_of(2) { 0.0 } else { 0.9 }, seed: at as u64, repetition_penalty: 1.1, ..Sampling::default() };
        let question = format!("{} What is {at} and {}? ", "I like to count. ".repeat(at * at), at + 1);
        GenerateRequest { sampling: warm, ..request(&question, 6 + 3 * at) }
    };
    let mut wanted = Vec::new();
    for at in 0..9 {
        wanted.push(said(&alone, ask(at)).await);
    }
    for model in [&together, &narrow] {
        let leaving = async {
            for at in 0..6 {
                let mut stream = model.generate(ask(at + 3)).await.expect("started");
                if at % 2 == 0 {
                    stream.next().await.expect("an event").expect("text");
                }
            }
        };
        let (found, ()) = tokio::join!(futures::future::join_all((0..9).map(|at| said(model, ask(at)))), leaving);
        assert_eq!(found, wanted);
    }
    // More than the queue holds: whoever is refused is told so, and the rest is answered.
    let many = futures::future::join_all((0..120).map(|_| async {
        match narrow.generate(request("Hi", 1)).await {
            Ok(mut stream) => {
                while stream.next().await.is_some() {}
                true
            }
            Err(InferenceError::Overloaded { .. }) => false,
            Err(other) => panic!("{other}"),
        }
    }));
    let answered = tokio::time::timeout(Duration::from_secs(120), many).await.expect("nobody waits for ever");
    assert!(answered.iter().filter(|answered| **answered).count() >= 16, "{answered:?}");
}

fn schema() -> serde_json::Value {
    serde_json::json!({
        "type": "object", "required": ["name", "age", "mood", "likes"], "additionalProperties": false,
        "properties": {
            "name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0, "maximum": 120}, "mood": {"enum": ["glad", "sad", "väsynyt"]},
            "likes": {"type": "array", "items": {"type": "string", "maxLength": 10}, "maxItems": 3},
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_held_to_a_schema_fits_it_whatever_the_model_would_say() {
    let folder = tempfile::tempdir().expect("a folder");
    tiny::write_safetensors(&folder.path().join("st"));
    let schema = schema();
    // One that means to answer, and one that says anything at all: random weights, and pieces of SentencePiece.
    for (path, name) in [(smol(), "SmolLM2"), (folder.path().join("st"), "tiny")] {
        let model = load(&path);
        assert!(model.structured());
        for seed in 0..6 {
            let sampling = Sampling { temperature: 1.5, top_p: 1.0, seed, repetition_penalty: 1.0, schema: Some(schema.clone()), ..Sampling::default() };
            let asked = GenerateRequest { sampling, ..request("ab ba", 180) };
            let (answer, reason, _) = said(&model, asked).await;
            let document = serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{name}: {error} in {answer:?}"));
            assert_eq!(ajatus_facts::schema::misfit(&schema, &document), None, "{name}: {answer}");
            assert_eq!(reason, FinishReason::Stop, "{name}: it ends where the document does: {answer}");
        }
        // What does not fit the length is told by the reason, as always.
        let held = |schema: serde_json::Value| Sampling { temperature: 0.0, schema: Some(schema), ..Sampling::default() };
        let (answer, reason, completion) = said(&model, GenerateRequest { sampling: held(schema.clone()), ..request("ab ba", 3) }).await;
        assert_eq!((reason, completion), (FinishReason::Length, 3));
        assert!("{\"name\": \"".starts_with(&answer) || answer.starts_with("{\"name\": \""), "{answer}");
        for bad in [serde_json::json!({"type": "strange"}), serde_json::json!(3), serde_json::json!({"type": "string", "pattern": "("}), serde_json::json!({"$ref": "https://elsewhere"})] {
            let refused = model.generate(GenerateRequest { sampling: held(bad.clone()), ..request("ab ba", 9) }).await.err();
            assert!(matches!(refused, Some(InferenceError::Input { .. })), "{bad}: {refused:?}");
        }
    }
    let model = load(&smol());
    let question = "My name is Anna, I am 34 years old and happy. I like tea. Write this as JSON.";
    let sampling = Sampling { temperature: 0.0, repetition_penalty: 1.0, schema: Some(schema), ..Sampling::default() };
    let (answer, ..) = said(&model, GenerateRequest { sampling, ..request(question, 120) }).await;
    assert!(answer.contains("\"Anna\"") && answer.contains("34"), "{answer}");
}

/// candle's networks, which a GPU runs, behind the same face; on the processor they can be compared.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn candles_networks_answer_the_same_one_after_the_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let (st, gguf) = (folder.path().join("st"), folder.path().join("gguf"));
    tiny::write_safetensors(&st);
    tiny::write_gguf(&gguf);
    let by_candle = |path: &Path| {
        let config = GeneratorConfig { path: path.into(), name: "test".into(), reference: true, sequences: Some(8), ..GeneratorConfig::default() };
        CandleGenerator::load(config).expect("loaded")
    };
    let tokens: Vec<u32> = (0..60).map(|at| 3 + at * 7 % 250).collect();
    for path in [&st, &gguf] {
        let (ours, theirs) = (load(path).logits(&tokens).await.expect("scores"), by_candle(path).logits(&tokens).await.expect("scores"));
        let off = ours.iter().flatten().zip(theirs.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 1e-4, "{}: off by {off}", path.display());
    }
    // The plain Llama of candle, in safetensors: the same file under another name.
    let config = st.join("config.json");
    let text = std::fs::read_to_string(&config).expect("read").replace("\"mistral\"", "\"llama\"");
    std::fs::write(&config, text).expect("written");
    let long = request(&"ab ba ".repeat(60), 5);
    assert_eq!(said(&load(&st), long.clone()).await, said(&by_candle(&st), long).await);

    let model = by_candle(&smol());
    let asked = ["What is the capital of Finland?", "Tell a story about a dog.", "What is the capital of Finland?"].map(|question| request(question, 12));
    let found = futures::future::join_all(asked.iter().map(|asked| said(&model, asked.clone()))).await;
    assert_eq!(found[0].0, "The capital of Finland is Helsinki.");
    assert_eq!(found[0], found[2]);
    assert!(found[1].0.contains("dog named Max"), "{}", found[1].0);
}

/// How text is cut into words of the vocabulary. A space before "system" and one number for two digits would be what candle makes of it; the model was trained on neither.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prompt_has_the_tokens_that_the_model_was_trained_on() {
    let model = load(&smol());
    // The template's system prompt, 25 tokens with what opens and closes it, and 5 + 3 that open and close the turns.
    let counted = async |text: &str| model.count_tokens(&request(text, 1).messages).await.expect("counted");
    let none = counted("").await;
    assert_eq!(none, 30);
    for (text, tokens) in [("Tell a story about a dog.", 7), ("1234", 4), ("don't", 2), ("Hei", 2)] {
        assert_eq!(counted(text).await - none, tokens, "{text}");
    }
}

/// Changes a JSON file.
fn change(path: &Path, by: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>)) {
    let mut value: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).expect("read")).expect("JSON");
    by(value.as_object_mut().expect("an object"));
    std::fs::write(path, value.to_string()).expect("written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_as_transformers_5_writes_them_are_the_same_model() {
    let folder = tempfile::tempdir().expect("a folder");
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    tiny::write_safetensors(&old);
    tiny::write_safetensors(&new);
    change(&new.join("config.json"), |config| {
        let theta = config.remove("rope_theta").expect("it was there");
        config.insert("rope_parameters".to_owned(), serde_json::json!({"rope_type": "default", "rope_theta": theta}));
    });
    change(&new.join("tokenizer_config.json"), |settings| {
        let template = settings.remove("chat_template").expect("it was there");
        std::fs::write(new.join("chat_template.jinja"), template.as_str().expect("text")).expect("written");
    });
    assert_eq!(said(&load(&new), request("ab ba", 12)).await, said(&load(&old), request("ab ba", 12)).await);
    // And what is not computed is not taken for what is.
    let refused = |by: &dyn Fn(&mut serde_json::Map<String, serde_json::Value>), says: &str| {
        let bad = folder.path().join("bad");
        tiny::write_safetensors(&bad);
        change(&bad.join("config.json"), by);
        let config = GeneratorConfig { path: bad, name: "bad".into(), ..GeneratorConfig::default() };
        let reason = CandleGenerator::load(config).err().expect("refused").to_string();
        assert!(reason.contains(says), "{reason}");
    };
    refused(&|config| drop(config.insert("rope_scaling".to_owned(), serde_json::json!({"type": "yarn", "factor": 4.0}))), "yarn");
    refused(&|config| drop(config.insert("attention_bias".to_owned(), true.into())), "biases");
    refused(&|config| drop(config.insert("hidden_act".to_owned(), "gelu".into())), "gelu");
    refused(&|config| drop(config.insert("num_key_value_heads".to_owned(), 3.into())), "cannot share");
    refused(&|config| drop(config.insert("sliding_window".to_owned(), 0.into())), "no numbers");
    refused(&|config| drop(config.insert("num_hidden_layers".to_owned(), 1.into())), "model.layers.1");
    refused(&|config| drop(config.insert("num_hidden_layers".to_owned(), 3.into())), "model.layers.2");
    refused(&|config| drop(config.insert("hidden_size".to_owned(), 64.into())), "not fit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tokenizer_of_another_model_is_an_error_and_the_model_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    tiny::write_safetensors(folder.path());
    change(&folder.path().join("tokenizer.json"), |tokenizer| {
        let foreign = serde_json::json!({"id": 5_000, "content": "<foreign>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true});
        tokenizer["model"]["vocab"]["<foreign>"] = 5_000.into();
        tokenizer["added_tokens"].as_array_mut().expect("a list").push(foreign);
    });
    let model = load(folder.path());
    let mut stream = model.generate(request("<foreign>", 5)).await.expect("started");
    let error = stream.next().await.expect("an event").expect_err("no such token");
    assert!(matches!(&error, InferenceError::Input { reason } if reason.contains("5000") && reason.contains("tokenizer")), "{error}");
    assert!(stream.next().await.is_none());
    assert_eq!(all(&model, request("ab ba", 3)).await.3, 3);
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
