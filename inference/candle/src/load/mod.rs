//! A chat model from its files: GGUF, or a folder with safetensors.

pub(crate) mod folder;
pub(crate) mod gguf;
mod tokenizer;

use std::path::{Path, PathBuf};

use ajatus_inference::InferenceError;
use ajatus_inference::template::ChatTemplate;
use tokenizers::Tokenizer;

use crate::decoder::Decoder;
use crate::device::Device;
use crate::files::{refuse, safetensors};

/// Tokens of prompt and answer together at most, where nobody says otherwise.
const CONTEXT: usize = 8_192;

/// A chat model, loaded.
pub(crate) struct Loaded {
    pub(crate) decoder: Decoder,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) template: ChatTemplate,
    /// Tokens that end an answer.
    pub(crate) ends: Vec<u32>,
    /// Tokens of prompt and answer together at most.
    pub(crate) context: usize,
    /// Whether the tokenizer adds the first token itself; a template that writes it must not get it twice.
    pub(crate) adds_special: bool,
}

/// The files that hold the weights.
pub(crate) fn files(path: &Path) -> Result<Vec<PathBuf>, InferenceError> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut found: Vec<PathBuf> = std::fs::read_dir(path)
        .map_err(|error| refuse(path, format!("{error}; run `tools/setup`, or mend the model's path in ajatus.toml")))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|file| file.extension().is_some_and(|extension| extension == "gguf"))
        .collect();
    found.sort();
    match found.len() {
        0 => safetensors(path),
        1 => Ok(found),
        _ => Err(refuse(path, "there are several GGUF files; name one of them in ajatus.toml")),
    }
}

/// How a model is loaded.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wish {
    /// Of the model's own context. Default: all, if it is not very much.
    pub(crate) context: Option<usize>,
    pub(crate) device: Device,
    /// By candle on the processor too.
    pub(crate) reference: bool,
}

impl Wish {
    /// The device for candle's networks, if they are wanted.
    fn candle(self) -> Result<Option<candle_core::Device>, InferenceError> {
        if self.reference || self.device != Device::Cpu { self.device.open().map(Some) } else { Ok(None) }
    }
}

/// Loads from a GGUF file, or from a folder with safetensors, these with an adapter if there is one.
pub(crate) fn load(files: &[PathBuf], adapter: Option<&Path>, wish: Wish) -> Result<Loaded, InferenceError> {
    match (files, adapter) {
        ([file], Some(adapter)) if quantised(file) => {
            Err(refuse(adapter, "an adapter is added to the safetensors of its base, not to a GGUF file; name the base's folder, or merge the two first (tools/lora/merge.py)"))
        }
        ([file], None) if quantised(file) => gguf::load(file, wish),
        ([first, ..], _) => folder::load(first.parent().unwrap_or_else(|| Path::new(".")), files, adapter, wish),
        ([], _) => Err(refuse(Path::new("."), "there are no weights")),
    }
}

fn quantised(file: &Path) -> bool {
    file.extension().is_none_or(|extension| extension != "safetensors")
}

/// The context to use: what is wanted, if the model was made for so much; without a wish what the model was made for, if that is not very much.
fn context(made_for: usize, wanted: Option<usize>) -> usize {
    wanted.map_or(made_for.min(CONTEXT), |wanted| wanted.clamp(made_for.min(16), made_for))
}
