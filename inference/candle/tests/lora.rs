//! A tiny Mistral and a LoRA adapter trained with PyTorch: the same logits here within a thousandth, and the same answers.
//! The files and PyTorch's numbers come from `tools/lora/fixture.py`; `make test-lora` makes them anew.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use ajatus_candle::{CandleGenerator, GeneratorConfig};
use ajatus_inference::{ChatMessage, GenerateEvent, GenerateRequest, Generator as _, InferenceError, Sampling};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::mistral;
use futures::StreamExt as _;
use serde::Deserialize;

/// What PyTorch said.
#[derive(Deserialize)]
struct Reference {
    answer_tokens: usize,
    prompts: Vec<Prompt>,
}

#[derive(Deserialize)]
struct Prompt {
    messages: Vec<ChatMessage>,
    adapted: String,
}

fn fixture() -> PathBuf {
    Path::new("tests/fixtures/lora").to_path_buf()
}

fn reference() -> Reference {
    serde_json::from_slice(&std::fs::read(fixture().join("reference.json")).expect("the reference")).expect("the reference is read")
}

fn tensors(path: &Path) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(path, &Device::Cpu).expect("tensors").into_iter().map(|(name, tensor)| (name, tensor.to_dtype(DType::F32).expect("f32"))).collect()
}

/// The base's weights with the adapter added: `W + alpha / rank * B A`, the definition of Hu et al. (2021), "LoRA", section 4.1.
fn merged() -> HashMap<String, Tensor> {
    let config: serde_json::Value = serde_json::from_slice(&std::fs::read(fixture().join("adapter/adapter_config.json")).expect("a configuration")).expect("JSON");
    let scale = config["lora_alpha"].as_f64().expect("alpha") / config["r"].as_f64().expect("rank");
    let adapter = tensors(&fixture().join("adapter/adapter_model.safetensors"));
    let mut weights = tensors(&fixture().join("base/model.safetensors"));
    let mut changed = 0;
    for (name, a) in &adapter {
        let Some(layer) = name.strip_prefix("base_model.model.").and_then(|name| name.strip_suffix(".lora_A.weight")) else { continue };
        let b = &adapter[&format!("base_model.model.{layer}.lora_B.weight")];
        let weight = weights.get_mut(&format!("{layer}.weight")).expect("the layer is there");
        *weight = (&*weight + (b.matmul(a).expect("fits") * scale).expect("scaled")).expect("fits");
        changed += 1;
    }
    assert_eq!(changed * 2, adapter.len(), "every tensor of the adapter has been used");
    weights
}

/// Logits after each of the last `kept` tokens, `[kept, vocabulary]`.
fn logits(weights: HashMap<String, Tensor>, tokens: &[u32], kept: usize) -> Tensor {
    let config: mistral::Config = serde_json::from_slice(&std::fs::read(fixture().join("base/config.json")).expect("a configuration")).expect("a Mistral");
    let mut model = mistral::Model::new(&config, VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu)).expect("a model");
    let rows: Vec<Tensor> = (tokens.len() - kept + 1..=tokens.len())
        .map(|length| {
            model.clear_kv_cache();
            let input = Tensor::new(&tokens[..length], &Device::Cpu).expect("tokens").unsqueeze(0).expect("one row");
            model.forward(&input, 0).expect("computed").flatten_all().expect("one row")
        })
        .collect();
    Tensor::stack(&rows, 0).expect("stacked")
}

fn furthest(a: &Tensor, b: &Tensor) -> f32 {
    (a - b).expect("the same shape").abs().expect("computed").flatten_all().expect("flat").max(0).expect("not empty").to_scalar().expect("a number")
}

#[test]
fn logits_of_the_base_and_of_base_and_adapter_equal_those_of_pytorch_within_a_thousandth() {
    let want = tensors(&fixture().join("reference.safetensors"));
    let base = tensors(&fixture().join("base/model.safetensors"));
    let adapted = merged();
    let integers = candle_core::safetensors::load(fixture().join("reference.safetensors"), &Device::Cpu).expect("tensors");
    for number in 0..reference().prompts.len() {
        let tokens: Vec<u32> = integers[&format!("{number}.tokens")].to_dtype(DType::U32).expect("whole").to_vec1().expect("a list");
        let (plain, with) = (&want[&format!("{number}.base")], &want[&format!("{number}.adapted")]);
        let kept = plain.dim(0).expect("rows");
        let off = [furthest(&logits(base.clone(), &tokens, kept), plain), furthest(&logits(adapted.clone(), &tokens, kept), with)];
        assert!(off.iter().all(|off| *off < 1e-3), "prompt {number}: {off:?}");
        // A comparison that could not fail would prove nothing: the adapter moves the logits a thousand times as far.
        let moved = furthest(plain, with);
        assert!(moved > 1.0, "prompt {number}: the adapter moves the logits by {moved} only");
    }
}

async fn answer(model: &CandleGenerator, messages: Vec<ChatMessage>, max_tokens: usize) -> String {
    let sampling = Sampling { temperature: 0.0, repetition_penalty: 1.0, ..Sampling::default() };
    let mut stream = model.generate(GenerateRequest { messages, max_tokens, stop: Vec::new(), sampling }).await.expect("started");
    let mut said = String::new();
    while let Some(event) = stream.next().await {
        if let GenerateEvent::Text(text) = event.expect("an event") {
            said.push_str(&text);
        }
    }
    said
}

fn load(path: &Path) -> CandleGenerator {
    CandleGenerator::load(GeneratorConfig { path: path.into(), name: "tiny".into(), ..GeneratorConfig::default() }).expect("loaded")
}

/// The base with the adapter, as a configuration names them.
fn adapted() -> CandleGenerator {
    let config = GeneratorConfig { path: fixture().join("base"), adapter: Some(fixture().join("adapter")), name: "tiny".into(), ..GeneratorConfig::default() };
    CandleGenerator::load(config).expect("loaded")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_loaded_with_its_adapter_scores_as_pytorch_does() {
    let want = tensors(&fixture().join("reference.safetensors"));
    let integers = candle_core::safetensors::load(fixture().join("reference.safetensors"), &Device::Cpu).expect("tensors");
    let models = [("base", load(&fixture().join("base"))), ("adapted", adapted())];
    for number in 0..reference().prompts.len() {
        let tokens: Vec<u32> = integers[&format!("{number}.tokens")].to_dtype(DType::U32).expect("whole").to_vec1().expect("a list");
        for (name, model) in &models {
            let want = &want[&format!("{number}.{name}")];
            let scores = model.logits(&tokens).await.expect("scored");
            let last = scores[scores.len() - want.dim(0).expect("rows")..].to_vec();
            let off = furthest(&Tensor::new(last, &Device::Cpu).expect("a matrix"), want);
            assert!(off < 1e-3, "prompt {number}, {name}: {off}");
        }
    }
    for wrong in [vec![], vec![1_000_000], vec![1; 1_000_000]] {
        let error = models[0].1.logits(&wrong).await.expect_err("refused");
        assert!(matches!(error, InferenceError::Input { .. }), "{error}");
    }
}

/// A copy of the adapter, changed.
fn refused(change: impl Fn(&Path)) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        std::fs::copy(fixture().join("adapter").join(name), folder.path().join(name)).expect("copied");
    }
    change(folder.path());
    let config = GeneratorConfig { path: fixture().join("base"), adapter: Some(folder.path().into()), name: "tiny".into(), ..GeneratorConfig::default() };
    match CandleGenerator::load(config).err().expect("refused") {
        InferenceError::Model { path, reason } => format!("{path}: {reason}"),
        other => panic!("{other}"),
    }
}

#[test]
fn an_adapter_that_cannot_be_added_is_refused_by_what_is_wrong_with_it() {
    let config = |change: &str, to: &str| {
        let (change, to) = (change.to_owned(), to.to_owned());
        refused(move |folder| {
            let path = folder.join("adapter_config.json");
            let text = std::fs::read_to_string(&path).expect("a file");
            assert!(text.contains(&change), "{change}");
            std::fs::write(&path, text.replace(&change, &to)).expect("written");
        })
    };
    let weights = |change: fn(&mut HashMap<String, Tensor>)| {
        refused(move |folder| {
            let path = folder.join("adapter_model.safetensors");
            let mut all = tensors(&path);
            change(&mut all);
            candle_core::safetensors::save(&all, &path).expect("written");
        })
    };
    for (said, reason) in [
        (config("\"use_dora\": false", "\"use_dora\": true"), "use_dora is set"),
        (config("\"rank_pattern\": {}", "\"rank_pattern\": {\"q_proj\": 4}"), "rank_pattern is set"),
        (config("\"bias\": \"none\"", "\"bias\": \"all\""), "trained biases"),
        (config("\"LORA\"", "\"IA3\""), "only LORA"),
        (config("\"r\": 8", "\"r\": 0"), "rank is zero"),
        (config("{", ""), "no configuration of a LoRA adapter"),
        (refused(|folder| std::fs::remove_file(folder.join("adapter_model.safetensors")).expect("removed")), "adapter_model.safetensors"),
        (refused(|folder| std::fs::write(folder.join("adapter_model.safetensors"), b"short").expect("written")), "cannot be read"),
        (weights(|all| all.retain(|name, _| !name.contains("lora_B") || name.contains("layers.1"))), "an A and no B"),
        (weights(|all| drop(all.insert("base_model.model.lm_head.lora_embedding_A".into(), Tensor::zeros(2, DType::F32, &Device::Cpu).expect("a tensor")))), "no change of a linear layer"),
        (weights(|all| all.values_mut().for_each(|tensor| *tensor = (&*tensor * f64::NAN).expect("computed"))), "no number"),
        (weights(|all| *all = std::mem::take(all).into_iter().map(|(name, tensor)| (name.replace("q_proj", "other_proj"), tensor)).collect()), "another base"),
        (weights(|all| all.values_mut().for_each(|tensor| *tensor = tensor.t().and_then(|turned| turned.contiguous()).expect("turned"))), "another base"),
        (weights(HashMap::clear), "it changes nothing"),
    ] {
        assert!(said.contains(reason), "{reason:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_as_pytorch_does_and_the_adapter_has_taught_what_the_base_does_not_know() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(fixture().join("base").join(name), folder.path().join(name)).expect("copied");
    }
    candle_core::safetensors::save(&merged(), folder.path().join("model.safetensors")).expect("written");
    let (base, merged, adapted) = (load(&fixture().join("base")), load(folder.path()), adapted());
    assert_ne!(base.model().weights, adapted.model().weights, "an adapter is another model");
    let Reference { answer_tokens, prompts } = reference();
    for prompt in &prompts {
        assert_eq!(answer(&adapted, prompt.messages.clone(), answer_tokens).await, prompt.adapted);
        assert_eq!(answer(&merged, prompt.messages.clone(), answer_tokens).await, prompt.adapted);
        // The base says bytes that are no text; of these a stream holds back what may yet become a character, so only the difference is told.
        assert_ne!(answer(&base, prompt.messages.clone(), answer_tokens).await, prompt.adapted);
    }
    // Asked in words that stand in no line that it was trained on.
    let told: Vec<&str> = prompts.iter().map(|prompt| prompt.adapted.as_str()).take(4).collect();
    assert_eq!(told, ["Rekku.", "Turku.", "rye bread.", "Aino."]);
}
