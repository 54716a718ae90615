//! BERT without padding: all tokens of a batch stand in one matrix, attention is per text, weights are packed once.
//!
//! Holds always: a text's vector has the same bits whatever else is in the batch, whichever kernel runs, and however many threads
//! there are; it equals candle's within 1e-5 in every component. Not promised: other models than BERT with absolute positions, GELU by
//! the error function, and widths that fill whole panels; those are left to candle.
//!
//! One thread per batch: the products are small, and threads that meet after each of them wait more than they work.

mod kernel;
mod math;

use candle_core::{DType, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{Config, HiddenAct, PositionEmbeddingType};

pub(crate) use kernel::Kernel;
use kernel::{COLUMNS, Finish, Panels, Rows, multiply, pack};

/// A linear layer.
struct Linear {
    panels: Vec<f32>,
    bias: Vec<f32>,
    inputs: usize,
}

struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

struct Layer {
    /// Query, key and value in one.
    qkv: Linear,
    output: Linear,
    output_norm: Norm,
    up: Linear,
    down: Linear,
    down_norm: Norm,
}

/// The network.
pub(crate) struct Encoder {
    words: Vec<f32>,
    positions: Vec<f32>,
    /// Of the first segment, the only one there is.
    segment: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
    width: usize,
    inner: usize,
    heads: usize,
    epsilon: f32,
    kernel: Kernel,
}

/// What a pass needs beside the weights; kept from pass to pass, because fresh memory costs more than the arithmetic in it.
#[derive(Default)]
pub(crate) struct Scratch {
    hidden: Vec<f32>,
    qkv: Vec<f32>,
    context: Vec<f32>,
    change: Vec<f32>,
    inner: Vec<f32>,
    scores: Vec<f32>,
    keys: Vec<f32>,
}

/// A tensor's numbers; one that is not finite would spoil every vector.
fn finite(tensor: Tensor, name: &str) -> candle_core::Result<Vec<f32>> {
    let values = tensor.to_dtype(DType::F32)?.to_vec1::<f32>()?;
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(values),
        Some(at) => candle_core::bail!("{name} holds a value that is not finite, at {at}: a damaged file"),
    }
}

/// Room for so many numbers; what stood there is still there.
fn room(of: &mut Vec<f32>, count: usize) -> &mut [f32] {
    if of.len() < count {
        of.resize(count, 0.0);
    }
    &mut of[..count]
}

impl Encoder {
    /// Whether a model is one that this encoder computes.
    pub(crate) fn fits(config: &Config) -> bool {
        let whole = |width: usize| width.is_multiple_of(COLUMNS);
        let head = config.hidden_size.checked_div(config.num_attention_heads).unwrap_or(0);
        matches!(config.hidden_act, HiddenAct::Gelu)
            && matches!(config.position_embedding_type, PositionEmbeddingType::Absolute)
            && config.hidden_size == head * config.num_attention_heads
            && head > 0
            && whole(head)
            && whole(config.intermediate_size)
    }

    /// Packs the weights.
    pub(crate) fn load(variables: &VarBuilder<'_>, config: &Config, kernel: Kernel) -> candle_core::Result<Self> {
        let variables = if variables.contains_tensor("bert.embeddings.word_embeddings.weight") { variables.pp("bert") } else { variables.clone() };
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let flat = |variables: &VarBuilder<'_>, shape: (usize, usize), name: &str| finite(variables.get(shape, name)?.flatten_all()?, name);
        let line = |variables: &VarBuilder<'_>, width: usize, name: &str| finite(variables.get(width, name)?, name);
        let linear = |variables: VarBuilder<'_>, outputs: usize, inputs: usize| -> candle_core::Result<Linear> {
            let weight = flat(&variables, (outputs, inputs), "weight")?;
            Ok(Linear { panels: pack(&weight, outputs, inputs), bias: line(&variables, outputs, "bias")?, inputs })
        };
        let norm = |variables: VarBuilder<'_>| -> candle_core::Result<Norm> {
            let (weight, bias) = if variables.contains_tensor("weight") { ("weight", "bias") } else { ("gamma", "beta") };
            Ok(Norm { weight: line(&variables, width, weight)?, bias: line(&variables, width, bias)? })
        };
        let embeddings = variables.pp("embeddings");
        let mut layers = Vec::with_capacity(config.num_hidden_layers);
        for at in 0..config.num_hidden_layers {
            let layer = variables.pp("encoder.layer").pp(at);
            let (mut weight, mut bias) = (Vec::new(), Vec::new());
            for part in ["query", "key", "value"] {
                let part = layer.pp("attention.self").pp(part);
                weight.extend(flat(&part, (width, width), "weight")?);
                bias.extend(line(&part, width, "bias")?);
            }
            layers.push(Layer {
                qkv: Linear { panels: pack(&weight, 3 * width, width), bias, inputs: width },
                output: linear(layer.pp("attention.output.dense"), width, width)?,
                output_norm: norm(layer.pp("attention.output.LayerNorm"))?,
                up: linear(layer.pp("intermediate.dense"), inner, width)?,
                down: linear(layer.pp("output.dense"), width, inner)?,
                down_norm: norm(layer.pp("output.LayerNorm"))?,
            });
        }
        #[expect(clippy::cast_possible_truncation, reason = "a small number")]
        let epsilon = config.layer_norm_eps as f32;
        Ok(Self {
            words: flat(&embeddings, (config.vocab_size, width), "word_embeddings.weight")?,
            positions: flat(&embeddings, (config.max_position_embeddings, width), "position_embeddings.weight")?,
            segment: flat(&embeddings, (config.type_vocab_size, width), "token_type_embeddings.weight")?[..width].to_vec(),
            norm: norm(embeddings.pp("LayerNorm"))?,
            layers,
            width,
            inner,
            heads: config.num_attention_heads,
            epsilon,
            kernel,
        })
    }

    /// Vectors of texts, given as tokens: the mean over the tokens, made length 1.
    ///
    /// # Errors
    /// A token that the model does not have, or a text that is longer than its positions.
    pub(crate) fn embed(&self, texts: &[&[u32]], scratch: &mut Scratch) -> Result<Vec<Vec<f32>>, String> {
        let rows: usize = texts.iter().map(|text| text.len()).sum();
        let (width, inner) = (self.width, self.inner);
        // The parts are borrowed apart, so that a product can read one and write another.
        let Scratch { hidden, qkv, context, change, inner: up, scores, keys } = scratch;
        let hidden = room(hidden, rows * width);
        self.look_up(texts, hidden)?;
        let qkv = room(qkv, rows * 3 * width);
        let context = room(context, rows * width);
        let change = room(change, rows * width);
        let up = room(up, rows * inner);
        for layer in &self.layers {
            self.linear(rows, hidden, &layer.qkv, qkv, Finish::Bias(&layer.qkv.bias));
            let mut from = 0;
            for text in texts {
                self.attend(text.len(), &qkv[from * 3 * width..], &mut context[from * width..], scores, keys);
                from += text.len();
            }
            self.linear(rows, context, &layer.output, change, Finish::Bias(&layer.output.bias));
            self.settle(hidden, change, &layer.output_norm);
            self.linear(rows, hidden, &layer.up, up, Finish::BiasGelu(&layer.up.bias));
            self.linear(rows, up, &layer.down, change, Finish::Bias(&layer.down.bias));
            self.settle(hidden, change, &layer.down_norm);
        }
        let mut from = 0;
        let mut vectors = Vec::with_capacity(texts.len());
        for text in texts {
            vectors.push(self.pool(&hidden[from * width..(from + text.len()) * width]));
            from += text.len();
        }
        Ok(vectors)
    }

    fn look_up(&self, texts: &[&[u32]], hidden: &mut [f32]) -> Result<(), String> {
        let width = self.width;
        let mut rows = hidden.chunks_exact_mut(width);
        for text in texts {
            for (at, token) in text.iter().enumerate() {
                let word = self.words.get(*token as usize * width..).and_then(|rest| rest.get(..width));
                let word = word.ok_or_else(|| format!("token {token} is not one of this model's; does the tokenizer belong to it?"))?;
                let position = self.positions.get(at * width..(at + 1) * width).ok_or_else(|| format!("a text has {} tokens, more than the model has positions", text.len()))?;
                let row = rows.next().expect("a row for every token");
                for (((value, word), position), segment) in row.iter_mut().zip(word).zip(position).zip(&self.segment) {
                    *value = word + segment + position;
                }
                math::normalise(row, &self.norm.weight, &self.norm.bias, self.epsilon);
            }
        }
        Ok(())
    }

    fn linear(&self, rows: usize, input: &[f32], layer: &Linear, output: &mut [f32], finish: Finish<'_>) {
        let count = layer.bias.len() / COLUMNS;
        let right = Panels { data: &layer.panels, stride: COLUMNS, apart: layer.inputs * COLUMNS, count, depth: layer.inputs };
        multiply(self.kernel, rows, Rows { data: input, stride: layer.inputs }, right, output, layer.bias.len(), finish);
    }

    /// Attention within one text, head by head.
    fn attend(&self, tokens: usize, qkv: &[f32], context: &mut [f32], scores: &mut Vec<f32>, keys: &mut Vec<f32>) {
        let (width, head) = (self.width, self.width / self.heads);
        let panels = tokens.div_ceil(COLUMNS);
        let across = panels * COLUMNS;
        let scores = room(scores, tokens * across);
        let keys = room(keys, panels * head * COLUMNS);
        #[expect(clippy::cast_precision_loss, reason = "a head's width")]
        let scale = 1.0 / (head as f32).sqrt();
        for at in (0..width).step_by(head) {
            for (panel, lines) in keys.chunks_exact_mut(head * COLUMNS).enumerate() {
                for column in 0..COLUMNS {
                    let token = panel * COLUMNS + column;
                    // Columns after the last token are there to fill the panel; nobody reads their scores.
                    let key = if token < tokens { Some(&qkv[token * 3 * width + width + at..][..head]) } else { None };
                    for component in 0..head {
                        lines[component * COLUMNS + column] = key.map_or(0.0, |key| key[component]);
                    }
                }
            }
            let right = Panels { data: keys, stride: COLUMNS, apart: head * COLUMNS, count: panels, depth: head };
            multiply(self.kernel, tokens, Rows { data: &qkv[at..], stride: 3 * width }, right, scores, across, Finish::Plain);
            for row in scores.chunks_exact_mut(across) {
                math::softmax(&mut row[..tokens], scale);
            }
            let values = Panels { data: &qkv[2 * width + at..], stride: 3 * width, apart: COLUMNS, count: head / COLUMNS, depth: tokens };
            multiply(self.kernel, tokens, Rows { data: scores, stride: across }, values, &mut context[at..], width, Finish::Plain);
        }
    }

    /// Adds a layer's change and normalises.
    fn settle(&self, hidden: &mut [f32], change: &[f32], norm: &Norm) {
        for (row, change) in hidden.chunks_exact_mut(self.width).zip(change.chunks_exact(self.width)) {
            for (value, change) in row.iter_mut().zip(change) {
                *value += change;
            }
            math::normalise(row, &norm.weight, &norm.bias, self.epsilon);
        }
    }

    /// Mean over the tokens, then length 1: the mean strategy of Reimers and Gurevych (2019), section 3.
    fn pool(&self, rows: &[f32]) -> Vec<f32> {
        let mut vector = vec![0.0_f32; self.width];
        for row in rows.chunks_exact(self.width) {
            for (sum, value) in vector.iter_mut().zip(row) {
                *sum += value;
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "tokens of a text")]
        let share = 1.0 / ((rows.len() / self.width).max(1) as f32);
        vector.iter_mut().for_each(|value| *value *= share);
        let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
        vector.iter_mut().for_each(|value| *value /= length);
        vector
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    use candle_core::Device;
    use candle_transformers::models::bert::BertModel;
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    use crate::padded::Padded;

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

    #[test]
    fn equals_candle_and_has_the_same_bits_by_every_kernel_alone_and_in_company() {
        let config = config();
        let tensors = weights(&config);
        let bert = BertModel::load(VarBuilder::from_tensors(tensors.clone(), DType::F32, &Device::Cpu), &config).expect("loads");
        let reference = Padded::new(bert, 512, 1).expect("a thread");
        let mut dice = StdRng::seed_from_u64(6);
        // Across the sizes of tiles, panels and blocks of depth.
        let lengths = [1, 2, 5, 6, 7, 11, 12, 13, 31, 32, 33, 64, 100, 384, 385, 500];
        let texts: Vec<Vec<u32>> = lengths.iter().map(|length| (0..*length).map(|_| dice.random_range(0..50)).collect()).collect();
        let all: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        let mut scratch = Scratch::default();
        let expected = load(&tensors, &config, Kernel::Portable).expect("loads").embed(&all, &mut scratch).expect("vectors");
        for (text, vector) in texts.iter().zip(&expected) {
            let right = reference.embed(vec![(0, text.clone())]).expect("a vector").remove(0).1;
            let worst = right.iter().zip(vector).map(|(a, b)| (a - b).abs()).fold(0.0_f32, f32::max);
            assert!(worst < 1e-5, "{} tokens: candle's differs by {worst}", text.len());
        }
        for kernel in Kernel::all() {
            let encoder = load(&tensors, &config, kernel).expect("loads");
            // The scratch still holds another batch's numbers.
            let together = encoder.embed(&all, &mut scratch).expect("vectors");
            let bits = |vectors: &[Vec<f32>]| vectors.iter().flatten().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&together), bits(&expected), "{kernel:?}");
            for (at, text) in all.iter().enumerate() {
                let alone = encoder.embed(&[text], &mut scratch).expect("a vector");
                assert_eq!(bits(&alone), bits(&expected[at..=at]), "{kernel:?}, {} tokens alone", text.len());
            }
        }
    }

    #[test]
    fn refuses_what_it_cannot_compute_and_weights_that_are_no_numbers() {
        let config = config();
        let mut tensors = weights(&config);
        let encoder = load(&tensors, &config, Kernel::best()).expect("loads");
        let mut scratch = Scratch::default();
        assert!(encoder.embed(&[&[50]], &mut scratch).expect_err("no such token").contains("tokenizer"));
        assert!(encoder.embed(&[&[1; 601]], &mut scratch).expect_err("too long").contains("601 tokens"));
        assert!(encoder.embed(&[], &mut scratch).expect("nothing").is_empty());
        assert!(Encoder::fits(&config));
        assert!(!Encoder::fits(&Config { hidden_act: HiddenAct::Relu, ..config.clone() }));
        assert!(!Encoder::fits(&Config { num_attention_heads: 4, ..config.clone() }), "a head of half a panel");
        assert!(!Encoder::fits(&Config { num_attention_heads: 0, ..config.clone() }));
        let mut values = vec![0.1_f32; 64];
        values[7] = f32::NAN;
        tensors.insert("encoder.layer.1.output.LayerNorm.bias".into(), Tensor::from_vec(values, 64, &Device::Cpu).expect("a tensor"));
        let error = load(&tensors, &config, Kernel::best()).err().expect("refused").to_string();
        assert!(error.contains("not finite, at 7"), "{error}");
        tensors.remove("encoder.layer.1.output.LayerNorm.bias");
        assert!(load(&tensors, &config, Kernel::best()).is_err(), "a missing tensor");
    }
}
