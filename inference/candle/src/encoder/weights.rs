//! The network's weights, checked and packed for an instruction set.

use candle_core::{DType, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::Config;

use crate::kernels::product::pack;
use crate::kernels::set::Set;

/// A linear layer.
pub(super) struct Linear {
    pub(super) panels: Vec<u32>,
    pub(super) bias: Vec<f32>,
    pub(super) inputs: usize,
}

/// A layer normalisation.
pub(super) struct Norm {
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

/// A block of attention and what follows it.
pub(super) struct Layer {
    /// Query, key and value in one.
    pub(super) qkv: Linear,
    pub(super) output: Linear,
    pub(super) output_norm: Norm,
    pub(super) up: Linear,
    pub(super) down: Linear,
    pub(super) down_norm: Norm,
}

/// All of them.
pub(super) struct Weights {
    pub(super) words: Vec<f32>,
    pub(super) positions: Vec<f32>,
    /// Of the first segment, the only one there is.
    pub(super) segment: Vec<f32>,
    pub(super) norm: Norm,
    pub(super) layers: Vec<Layer>,
    pub(super) width: usize,
    pub(super) inner: usize,
    pub(super) heads: usize,
    pub(super) epsilon: f32,
}

/// A tensor's numbers; one that is not finite would spoil every vector.
fn finite(tensor: Tensor, name: &str) -> candle_core::Result<Vec<f32>> {
    let values = tensor.to_dtype(DType::F32)?.to_vec1::<f32>()?;
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(values),
        Some(at) => candle_core::bail!("{name} holds a value that is not finite, at {at}: a damaged file"),
    }
}

fn flat(variables: &VarBuilder<'_>, shape: (usize, usize), name: &str) -> candle_core::Result<Vec<f32>> {
    finite(variables.get(shape, name)?.flatten_all()?, name)
}

fn line(variables: &VarBuilder<'_>, width: usize, name: &str) -> candle_core::Result<Vec<f32>> {
    finite(variables.get(width, name)?, name)
}

fn linear<S: Set>(variables: VarBuilder<'_>, outputs: usize, inputs: usize) -> candle_core::Result<Linear> {
    let weight = flat(&variables, (outputs, inputs), "weight")?;
    Ok(Linear { panels: pack::<S>(&weight, outputs, inputs), bias: line(&variables, outputs, "bias")?, inputs })
}

fn norm(variables: VarBuilder<'_>, width: usize) -> candle_core::Result<Norm> {
    let (weight, bias) = if variables.contains_tensor("weight") { ("weight", "bias") } else { ("gamma", "beta") };
    Ok(Norm { weight: line(&variables, width, weight)?, bias: line(&variables, width, bias)? })
}

impl Weights {
    /// Reads and packs them.
    ///
    /// # Errors
    /// A tensor that is missing, has another shape, or holds what is no number.
    pub(super) fn load<S: Set>(variables: &VarBuilder<'_>, config: &Config) -> candle_core::Result<Self> {
        let variables = if variables.contains_tensor("bert.embeddings.word_embeddings.weight") { variables.pp("bert") } else { variables.clone() };
        let (width, inner) = (config.hidden_size, config.intermediate_size);
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
                qkv: Linear { panels: pack::<S>(&weight, 3 * width, width), bias, inputs: width },
                output: linear::<S>(layer.pp("attention.output.dense"), width, width)?,
                output_norm: norm(layer.pp("attention.output.LayerNorm"), width)?,
                up: linear::<S>(layer.pp("intermediate.dense"), inner, width)?,
                down: linear::<S>(layer.pp("output.dense"), width, inner)?,
                down_norm: norm(layer.pp("output.LayerNorm"), width)?,
            });
        }
        #[expect(clippy::cast_possible_truncation, reason = "a small number")]
        let epsilon = config.layer_norm_eps as f32;
        Ok(Self {
            words: flat(&embeddings, (config.vocab_size, width), "word_embeddings.weight")?,
            positions: flat(&embeddings, (config.max_position_embeddings, width), "position_embeddings.weight")?,
            segment: flat(&embeddings, (config.type_vocab_size, width), "token_type_embeddings.weight")?[..width].to_vec(),
            norm: norm(embeddings.pp("LayerNorm"), width)?,
            layers,
            width,
            inner,
            heads: config.num_attention_heads,
            epsilon,
        })
    }
}
