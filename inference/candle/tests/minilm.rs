//! all-MiniLM-L6-v2 on candle equals the reference model. Needs the model under `.cache/models` (`tools/setup`).

use std::path::{Path, PathBuf};

use ajatus_candle::{CandleEmbedder, EmbedderConfig, Engine, Kernel, Precision};
use ajatus_inference::{Embedder as _, InferenceError};
use serde::Deserialize;

#[derive(Deserialize)]
struct Reference {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    vector: Vec<f32>,
}

fn folder() -> PathBuf {
    Path::new("../../.cache/models/all-MiniLM-L6-v2").to_path_buf()
}

fn load() -> CandleEmbedder {
    load_with(Precision::Auto)
}

fn load_with(precision: Precision) -> CandleEmbedder {
    let config = EmbedderConfig { path: folder(), name: "all-MiniLM-L6-v2".into(), precision, ..EmbedderConfig::default() };
    CandleEmbedder::load(config).expect("the model is there (run `tools/setup`)")
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[tokio::test]
async fn equals_the_reference_within_a_ten_thousandth_alone_and_in_a_batch() {
    let reference: Reference = serde_json::from_str(include_str!("minilm_reference.json")).expect("a fixture");
    let model = load();
    assert_eq!(model.dimension(), 384);
    let texts: Vec<String> = reference.cases.iter().map(|case| case.text.clone()).collect();
    let together = model.embed(texts.clone()).await.expect("answered");
    for (case, vector) in reference.cases.iter().zip(&together) {
        let vector = vector.as_ref().expect("a vector");
        let shown: String = case.text.chars().take(30).collect();
        assert!(1.0 - cosine(vector, &case.vector) < 1e-4, "{shown:?} in a batch: {}", cosine(vector, &case.vector));
        let long: f32 = vector.iter().map(|value| value * value).sum();
        assert!((long - 1.0).abs() < 1e-5, "{shown:?} has length {long}");
        let alone = model.embed(vec![case.text.clone()]).await.expect("answered");
        let alone = alone[0].as_ref().expect("a vector");
        let worst = alone.iter().zip(vector).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-5, "{shown:?}: alone and in a batch differ by {worst}");
    }
}

#[tokio::test]
async fn finds_the_paraphrase_and_not_the_stranger() {
    let model = load();
    let texts = ["A cat naps on the sofa.", "The kitten is sleeping on the couch.", "Interest rates rose in March."];
    let vectors = model.embed(texts.map(str::to_owned).to_vec()).await.expect("answered");
    let vectors: Vec<&Vec<f32>> = vectors.iter().map(|vector| vector.as_ref().expect("a vector")).collect();
    assert!(cosine(vectors[0], vectors[1]) > cosine(vectors[0], vectors[2]) + 0.3);
}

#[test]
fn refuses_what_is_not_the_model_and_says_which_file() {
    let load = |path: &Path, weights: Option<&str>| {
        let config = EmbedderConfig { path: path.into(), name: "m".into(), weights: weights.map(str::to_owned), ..EmbedderConfig::default() };
        match CandleEmbedder::load(config).err().expect("refused") {
            InferenceError::Model { path, reason } => format!("{path}: {reason}"),
            other => panic!("{other}"),
        }
    };
    let temporary = tempfile::tempdir().expect("a folder");
    assert!(load(&temporary.path().join("nothing"), None).contains("tools/setup"));
    assert!(load(temporary.path(), None).contains("safetensors"));
    assert!(load(&folder(), Some("0000000000000000")).contains("hash"));
    let copy = |name: &str| std::fs::copy(folder().join(name), temporary.path().join(name)).map(drop).expect("copied");
    copy("tokenizer.json");
    copy("config.json");
    let weights = std::fs::read(folder().join("model.safetensors")).expect("read");
    std::fs::write(temporary.path().join("model.safetensors"), &weights[..weights.len() / 2]).expect("written");
    assert!(load(temporary.path(), None).contains("cannot be read"));
    std::fs::write(temporary.path().join("config.json"), r#"{"model_type": "whisper"}"#).expect("written");
    assert!(load(temporary.path(), None).contains("whisper"));
    std::fs::write(temporary.path().join("config.json"), "{").expect("written");
    assert!(load(temporary.path(), None).contains("config.json"));
}

#[tokio::test]
async fn our_encoder_equals_candle_and_a_text_has_the_same_bits_in_any_company() {
    let config = EmbedderConfig { path: folder(), name: "all-MiniLM-L6-v2".into(), engine: Engine::Candle, ..EmbedderConfig::default() };
    let candle = CandleEmbedder::load(config).expect("the model is there");
    let words: Vec<&str> = "the cat sat on a mat and watched rain while äiti read Tampere news about 42 ferries, prices & Höyryjuna".split(' ').collect();
    let texts: Vec<String> = (0..60_usize).map(|at| (0..(at * at) % 310).map(|word| words[(word * 7 + at) % words.len()]).collect::<Vec<_>>().join(" ")).collect();
    let vectors = async |model: &CandleEmbedder, texts: &[String]| -> Vec<Vec<f32>> {
        model.embed(texts.to_vec()).await.expect("answered").into_iter().map(|vector| vector.expect("a vector")).collect()
    };
    let reference = vectors(&candle, &texts).await;
    let mut turned = texts.clone();
    turned.reverse();
    for precision in [Precision::F32, Precision::Bf16] {
        if precision == Precision::Bf16 && !Kernel::Bf16.available() {
            let config = EmbedderConfig { path: folder(), name: "m".into(), precision, ..EmbedderConfig::default() };
            let refused = CandleEmbedder::load(config).err().expect("refused").to_string();
            assert!(refused.contains("does not have its instructions"), "{refused}");
            continue;
        }
        let ours = load_with(precision);
        let together = vectors(&ours, &texts).await;
        for ((text, ours), right) in texts.iter().zip(&together).zip(&reference) {
            let worst = ours.iter().zip(right).map(|(a, b)| (a - b).abs()).fold(0.0_f32, f32::max);
            let (most, least) = if precision == Precision::F32 { (1e-5, 0.999_999) } else { (2e-3, 0.9999) };
            assert!(worst < most && cosine(ours, right) >= least, "{precision:?}, {} bytes: candle's differs by {worst}, cosine {}", text.len(), cosine(ours, right));
        }
        for (at, text) in texts.iter().enumerate() {
            assert_eq!(vectors(&ours, std::slice::from_ref(text)).await[0], together[at], "{precision:?}, text {at} alone");
        }
        let one = EmbedderConfig { path: folder(), name: "all-MiniLM-L6-v2".into(), threads: Some(1), precision, ..EmbedderConfig::default() };
        let mut back = vectors(&CandleEmbedder::load(one).expect("the model is there"), &turned).await;
        back.reverse();
        assert_eq!(back, together, "{precision:?}, another order, another number of threads");
    }
}
