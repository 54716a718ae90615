//! A LoRA adapter as `peft` writes it, and whether it fits its base.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::{Adapter, refuse, safetensors};

/// The two files of an adapter, in the order in which they are hashed.
pub(super) const FILES: [&str; 2] = ["adapter_config.json", "adapter_model.safetensors"];

#[derive(Deserialize)]
struct Settings {
    peft_type: String,
    r: u32,
    #[serde(default)]
    base_model_name_or_path: Option<String>,
}

/// Inputs and outputs of the base's matrices, by the name that the base's own family gives them.
pub(super) type Shapes = BTreeMap<String, (u64, u64)>;

/// The name of a matrix in a GGUF file of the llama architecture, of its name in safetensors.
pub(super) fn gguf_name(name: &str) -> Option<String> {
    let rest = name.strip_prefix("model.layers.")?;
    let (layer, part) = rest.split_once('.')?;
    let part = match part {
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.o_proj" => "attn_output",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        _ => return None,
    };
    Some(format!("blk.{layer}.{part}"))
}

/// Reads an adapter's headers and holds the shapes against the base's. Its files' hashes are left to the caller.
///
/// # Errors
/// With the file and what is wrong: another kind of adapter, half of a pair, a matrix that the base does not have or that has other sides.
pub(super) fn fitting(folder: &Path, base: &Shapes) -> anyhow::Result<Adapter> {
    let [settings_path, weights_path] = FILES.map(|name| folder.join(name));
    let text = std::fs::read_to_string(&settings_path).map_err(|error| refuse(&settings_path, format!("{error}; an adapter is a folder with {}", FILES.join(" and "))))?;
    let settings: Settings = serde_json::from_str(&text).map_err(|error| refuse(&settings_path, error))?;
    if settings.peft_type != "LORA" {
        return Err(refuse(&settings_path, format!("it is an adapter of the type {:?}, but LORA is known", settings.peft_type)));
    }
    let tensors = safetensors::header(&weights_path)?;
    let wrong = |what: String| refuse(&weights_path, what);
    let mut pairs: BTreeMap<&str, [Option<&[u64]>; 2]> = BTreeMap::new();
    for (name, tensor) in &tensors {
        let plain = name.strip_prefix("base_model.model.").unwrap_or(name);
        let halves = [".lora_A.weight", ".lora_B.weight"].map(|ending| plain.strip_suffix(ending));
        let (half, matrix) = match halves {
            [Some(matrix), _] => (0, matrix),
            [_, Some(matrix)] => (1, matrix),
            _ => return Err(wrong(format!("tensor {name:?} is no half of a LoRA pair"))),
        };
        pairs.entry(matrix).or_default()[half] = Some(&tensor.shape);
    }
    for (matrix, halves) in pairs {
        let [Some(&[rank_a, inputs]), Some(&[outputs, rank_b])] = halves else {
            return Err(wrong(format!("{matrix}: a half is missing, or is no matrix")));
        };
        if rank_a != rank_b || rank_a != u64::from(settings.r) {
            return Err(wrong(format!("{matrix}: its halves have rank {rank_a} and {rank_b}, but {} says {}", FILES[0], settings.r)));
        }
        match base.get(matrix) {
            None => return Err(wrong(format!("{matrix}: the base has no such matrix"))),
            Some(sides) if *sides != (inputs, outputs) => {
                return Err(wrong(format!("{matrix}: it is for {inputs} inputs and {outputs} outputs, but the base's has {} and {}", sides.0, sides.1)));
            }
            Some(_) => {}
        }
    }
    Ok(Adapter { path: folder.to_path_buf(), rank: settings.r, base: settings.base_model_name_or_path, files: BTreeMap::new() })
}
