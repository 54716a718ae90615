//! The encoder against candle's network, on weights from a seed, by every kernel that this processor has.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use candle_transformers::models::bert::BertModel;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::*;
use crate::padded::Padded;

/// The kernels that can be tried here; the others are named.
pub(super) fn kernels() -> Vec<Kernel> {
    let (here, missing): (Vec<Kernel>, Vec<Kernel>) = Kernel::ALL.into_iter().partition(|kernel| kernel.available());
    if !missing.is_empty() {
        eprintln!("not tried, because this processor does not have them: {missing:?}");
    }
    assert!(here.contains(&Kernel::Portable));
    here
}

fn config() -> Config {
    let text = r#"{"vocab_size": 50, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96, "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1, "max_position_embeddings": 600, "type_vocab_size": 2, "initializer_range": 0.02, "layer_norm_eps": 1e-12,
        "pad_token_id": 0, "position_embedding_type": "absolute", "model_type": "bert"}"#;
    serde_json::from_str(text).expect("a configuration")
}

fn weights(config: &Config) -> HashMap<String, Tensor> {
    let mut dice = StdRng::seed_from_u64(5);
    let (width, inner) = (config.hidden_size, config.intermediate_size);
    let mut tensors = HashMap::new();
    let mut put = |name: String, shape: &[usize]| {
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| dice.random_range(-0.3..0.3)).collect();
        tensors.insert(name, Tensor::from_vec(values, shape, &Device::Cpu).expect("a tensor"));
    };
    put("embeddings.word_embeddings.weight".into(), &[config.vocab_size, width]);
    put("embeddings.position_embeddings.weight".into(), &[config.max_position_embeddings, width]);
    put("embeddings.token_type_embeddings.weight".into(), &[config.type_vocab_size, width]);
    let mut norms = vec!["embeddings.LayerNorm".to_owned()];
    for at in 0..config.num_hidden_layers {
        let layer = format!("encoder.layer.{at}");
        for (name, outputs, inputs) in [
            ("attention.self.query", width, width),
            ("attention.self.key", width, width),
            ("attention.self.value", width, width),
            ("attention.output.dense", width, width),
            ("intermediate.dense", inner, width),
            ("output.dense", width, inner),
        ] {
            put(format!("{layer}.{name}.weight"), &[outputs, inputs]);
            put(format!("{layer}.{name}.bias"), &[outputs]);
        }
        norms.extend([format!("{layer}.attention.output.LayerNorm"), format!("{layer}.output.LayerNorm")]);
    }
    for norm in norms {
        put(format!("{norm}.weight"), &[width]);
        put(format!("{norm}.bias"), &[width]);
    }
    tensors
}

fn load(tensors: &HashMap<String, Tensor>, config: &Config, kernel: Kernel) -> candle_core::Result<Encoder> {
    Encoder::load(&VarBuilder::from_tensors(tensors.clone(), DType::F32, &Device::Cpu), config, kernel)
}

fn bits(vectors: &[Vec<f32>]) -> Vec<u32> {
    vectors.iter().flatten().map(|value| value.to_bits()).collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Texts across the sizes of tiles, panels and blocks.
fn texts() -> Vec<Vec<u32>> {
    let mut dice = StdRng::seed_from_u64(6);
    let lengths = [1, 2, 3, 5, 6, 7, 11, 12, 13, 16, 17, 31, 32, 33, 47, 48, 49, 64, 97, 100, 256, 384, 385, 500];
    lengths.iter().map(|length| (0..*length).map(|_| dice.random_range(0..50)).collect()).collect()
}

#[test]
fn every_kernel_equals_candle_within_what_its_numbers_allow() {
    let config = config();
    let tensors = weights(&config);
    let bert = BertModel::load(VarBuilder::from_tensors(tensors.clone(), DType::F32, &Device::Cpu), &config).expect("loads");
    let reference = Padded::new(bert, Device::Cpu, 512, 1).expect("a thread");
    let texts = texts();
    let all: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    let right: Vec<Vec<f32>> = texts.iter().map(|text| reference.embed(vec![(0, text.clone())]).expect("a vector").remove(0).1).collect();
    for kernel in kernels() {
        let found = load(&tensors, &config, kernel).expect("loads").embed(&all, &mut Scratch::default()).expect("vectors");
        for ((text, right), found) in texts.iter().zip(&right).zip(&found) {
            let worst = right.iter().zip(found).map(|(a, b)| (a - b).abs()).fold(0.0_f32, f32::max);
            let alike = cosine(right, found);
            if kernel.exact() {
                assert!(worst < 1e-5, "{kernel:?}, {} tokens: candle's differs by {worst}", text.len());
            } else {
                assert!(alike >= 0.9999, "{kernel:?}, {} tokens: cosine {alike} with candle's", text.len());
            }
        }
    }
}

#[test]
fn a_text_has_the_same_bits_alone_and_in_company_and_by_every_kernel_of_f32() {
    let config = config();
    let tensors = weights(&config);
    let texts = texts();
    let all: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    let turned: Vec<&[u32]> = all.iter().rev().copied().collect();
    let mut scratch = Scratch::default();
    let portable = load(&tensors, &config, Kernel::Portable).expect("loads").embed(&all, &mut scratch).expect("vectors");
    for kernel in kernels() {
        let encoder = load(&tensors, &config, kernel).expect("loads");
        // The scratch still holds another batch's numbers, of another kernel.
        let together = encoder.embed(&all, &mut scratch).expect("vectors");
        if kernel.exact() {
            assert_eq!(bits(&together), bits(&portable), "{kernel:?}");
        } else {
            assert_ne!(bits(&together), bits(&portable), "{kernel:?} computes with other numbers");
        }
        let mut back = encoder.embed(&turned, &mut scratch).expect("vectors");
        back.reverse();
        assert_eq!(bits(&back), bits(&together), "{kernel:?}, in another order");
        for (at, text) in all.iter().enumerate() {
            let alone = encoder.embed(&[text], &mut scratch).expect("a vector");
            assert_eq!(bits(&alone), bits(&together[at..=at]), "{kernel:?}, {} tokens alone", text.len());
        }
    }
}

#[test]
fn refuses_a_kernel_that_is_not_there() {
    let config = config();
    let tensors = weights(&config);
    for kernel in Kernel::ALL {
        assert_eq!(load(&tensors, &config, kernel).is_ok(), kernel.available(), "{kernel:?}");
    }
}

#[test]
fn refuses_what_it_cannot_compute_and_weights_that_are_no_numbers() {
    let config = config();
    let mut tensors = weights(&config);
    let encoder = load(&tensors, &config, Kernel::Portable).expect("loads");
    let mut scratch = Scratch::default();
    assert!(encoder.embed(&[&[50]], &mut scratch).expect_err("no such token").contains("tokenizer"));
    assert!(encoder.embed(&[&[1; 601]], &mut scratch).expect_err("too long").contains("601 tokens"));
    assert!(encoder.embed(&[&[1], &[]], &mut scratch).expect_err("nothing to average").contains("no tokens"));
    assert!(encoder.embed(&[], &mut scratch).expect("nothing").is_empty());
    assert!(Encoder::fits(&config));
    assert!(!Encoder::fits(&Config { hidden_act: HiddenAct::Relu, ..config.clone() }));
    assert!(!Encoder::fits(&Config { num_attention_heads: 4, ..config.clone() }), "a head of half a panel");
    assert!(!Encoder::fits(&Config { num_attention_heads: 0, ..config.clone() }));
    let mut values = vec![0.1_f32; 64];
    values[7] = f32::NAN;
    tensors.insert("encoder.layer.1.output.LayerNorm.bias".into(), Tensor::from_vec(values, 64, &Device::Cpu).expect("a tensor"));
    let error = load(&tensors, &config, Kernel::Portable).err().expect("refused").to_string();
    assert!(error.contains("not finite, at 7"), "{error}");
    tensors.remove("encoder.layer.1.output.LayerNorm.bias");
    assert!(load(&tensors, &config, Kernel::Portable).is_err(), "a missing tensor");
}
