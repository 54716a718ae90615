//! A LoRA adapter as peft writes it, added to the weights of a base while they are loaded.
//!
//! `W + scale * B A` with `scale = alpha / r`, or `alpha / sqrt(r)` where the adapter says so (rank-stabilised): Hu et al. (2021), "LoRA", section
//! 4.1; Kalajdzievski (2023), "A rank stabilization scaling factor". The sum is done once, so an answer costs what the base's does.
//!
//! Holds always: every tensor of the adapter is used, or the model is refused; a form of adapter that is not computed here is refused by name.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use ajatus_inference::InferenceError;
use candle_core::safetensors::MmapedSafetensors;
use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::Init;
use candle_nn::var_builder::SimpleBackend;
use serde::Deserialize;
use serde_json::Value;

use crate::files::{ADAPTER, read, refuse};

/// What of `adapter_config.json` changes the numbers.
#[derive(Deserialize)]
struct Config {
    peft_type: String,
    r: usize,
    lora_alpha: f64,
    #[serde(default)]
    use_rslora: bool,
    #[serde(flatten)]
    rest: HashMap<String, Value>,
}

/// Settings that, unless they are off, change the computation in ways that are not computed here.
const NOT_HERE: [&str; 9] =
    ["use_dora", "use_qalora", "use_bdlora", "fan_in_fan_out", "lora_bias", "modules_to_save", "rank_pattern", "alpha_pattern", "layer_replication"];

/// The base's weights with the adapter's changes in them.
pub(crate) struct Adapted {
    base: MmapedSafetensors,
    /// Per tensor of the base: `A` of `[r, inputs]` and `B` of `[outputs, r]`, in `f32`.
    changes: HashMap<String, (Tensor, Tensor)>,
    scale: f64,
}

fn scale(path: &Path) -> Result<f64, InferenceError> {
    let path = path.join(ADAPTER[0]);
    let config: Config = serde_json::from_str(&read(&path)?).map_err(|error| refuse(&path, format!("it is no configuration of a LoRA adapter: {error}")))?;
    if config.peft_type != "LORA" {
        return Err(refuse(&path, format!("the adapter is of type {:?}, but only LORA is computed here", config.peft_type)));
    }
    let off = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    if let Some(name) = NOT_HERE.iter().find(|name| config.rest.get(**name).is_some_and(|value| !off(value))) {
        return Err(refuse(&path, format!("{name} is set, which is not computed here; merge the adapter into its base (tools/lora/merge.py), or serve it by vLLM")));
    }
    if config.rest.get("bias").and_then(Value::as_str).is_some_and(|bias| bias != "none") {
        return Err(refuse(&path, "it has trained biases, which are not computed here; merge the adapter into its base (tools/lora/merge.py)"));
    }
    if config.r == 0 || !config.lora_alpha.is_finite() {
        return Err(refuse(&path, "its rank is zero, or its alpha is no number"));
    }
    #[expect(clippy::cast_precision_loss, reason = "a rank is small")]
    let rank = config.r as f64;
    Ok(config.lora_alpha / if config.use_rslora { rank.sqrt() } else { rank })
}

impl Adapted {
    /// Reads an adapter for a base.
    ///
    /// # Errors
    /// [`InferenceError::Model`] that names the file: missing, another kind of adapter, a tensor that the base does not have or that does not
    /// fit it, or that is no number.
    pub(crate) fn open(base: MmapedSafetensors, folder: &Path) -> Result<Self, InferenceError> {
        let scale = scale(folder)?;
        let path: PathBuf = folder.join(ADAPTER[1]);
        let unread = |error: candle_core::Error| refuse(&path, format!("it cannot be read: {error}"));
        let mut tensors = candle_core::safetensors::load(&path, &Device::Cpu).map_err(unread)?;
        let mut names: Vec<String> = tensors.keys().cloned().collect();
        names.sort();
        let mut changes = HashMap::new();
        for name in &names {
            let Some(layer) = name.strip_suffix(".lora_A.weight") else { continue };
            let target = format!("{}.weight", layer.strip_prefix("base_model.model.").unwrap_or(layer));
            let missing = || refuse(&path, format!("{layer} has an A and no B"));
            let (a, b) = (tensors.remove(name), tensors.remove(&format!("{layer}.lora_B.weight")));
            let (a, b) = (a.ok_or_else(missing)?, b.ok_or_else(missing)?);
            let there = base.get(&target).map_err(|_| refuse(&path, format!("it changes {target}, which the base does not have: is it for another base?")))?;
            let fits = matches!((a.dims(), b.dims(), there.shape()), ([rank, inputs], [outputs, same], [rows, columns]) if rank == same && outputs == rows && inputs == columns);
            if !fits {
                return Err(refuse(&path, format!("{target} is {:?} in the base, but the adapter has {:?} and {:?}: is it for another base?", there.shape(), b.dims(), a.dims())));
            }
            let whole = |tensor: Tensor| -> Result<Tensor, InferenceError> {
                let tensor = tensor.to_dtype(DType::F32).map_err(unread)?;
                let sum = tensor.abs().and_then(|all| all.sum_all()).and_then(|sum| sum.to_scalar::<f32>()).map_err(unread)?;
                if sum.is_finite() { Ok(tensor) } else { Err(refuse(&path, format!("{layer} holds what is no number"))) }
            };
            changes.insert(target, (whole(a)?, whole(b)?));
        }
        if let Some(left) = tensors.keys().min() {
            return Err(refuse(&path, format!("{left} is no change of a linear layer, which is all that is computed here")));
        }
        if changes.is_empty() {
            return Err(refuse(&path, "it changes nothing"));
        }
        Ok(Self { base, changes, scale })
    }

    /// A base without an adapter.
    pub(crate) fn plain(base: MmapedSafetensors) -> Self {
        Self { base, changes: HashMap::new(), scale: 0.0 }
    }

    /// A tensor as it is stored, or in `f32` with its change.
    pub(crate) fn tensor(&self, name: &str) -> candle_core::Result<Tensor> {
        let tensor = self.base.load(name, &Device::Cpu)?;
        match self.changes.get(name) {
            None => Ok(tensor),
            Some((a, b)) => tensor.to_dtype(DType::F32)? + (b.matmul(a)? * self.scale)?,
        }
    }
}

/// For candle's own networks.
impl SimpleBackend for Adapted {
    fn get(&self, shape: Shape, name: &str, _: Init, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        let tensor = self.get_unchecked(name, dtype, device)?;
        if tensor.shape() != &shape {
            candle_core::bail!("{name} is {:?}, not {shape:?}", tensor.shape());
        }
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        self.tensor(name)?.to_dtype(dtype)?.to_device(device)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.base.get(name).is_ok()
    }
}
