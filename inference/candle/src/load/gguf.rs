//! GGUF files of the Llama family. Names and keys: ggml's `docs/gguf.md`.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;

use ajatus_inference::InferenceError;
use ajatus_inference::template::ChatTemplate;
use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use candle_transformers::models::quantized_llama::ModelWeights;
use half::{bf16, f16};

use super::{Loaded, Wish};
use crate::decoder::{Decoder, Matrix, Name, Network, Origin, Rope, Scaling, Shape};
use crate::files::refuse;

/// Divisors of the rotary embedding's frequencies.
const FREQUENCIES: &str = "rope_freqs.weight";

pub(super) fn load(path: &Path, wish: Wish) -> Result<Loaded, InferenceError> {
    let mut file = File::open(path).map_err(|error| refuse(path, error))?;
    let content = Content::read(&mut file).map_err(|error| refuse(path, format!("it is no GGUF file, or a damaged one: {error}")))?;
    let text = |key: &str| content.metadata.get(key).and_then(|value| value.to_string().ok()).cloned();
    let architecture = text("general.architecture").unwrap_or_else(|| "unknown".to_owned());
    if architecture != "llama" {
        return Err(refuse(path, format!("the architecture is {architecture:?}, but a chat model must be of the llama family (Mistral is)")));
    }
    let source = text("tokenizer.chat_template").ok_or_else(|| refuse(path, "it holds no chat template, so it is no chat model"))?;
    let mut tokenizer = super::tokenizer::from_gguf(path, &content)?;
    tokenizer.with_padding(None);
    let number = |key: &str| content.metadata.get(key).and_then(unsigned);
    let special = |key: &str| number(key).and_then(|id| tokenizer.id_to_token(id)).unwrap_or_default();
    let template = ChatTemplate::new(source, special("tokenizer.ggml.bos_token_id"), special("tokenizer.ggml.eos_token_id"))?;
    let ends: Vec<u32> = ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"].iter().filter_map(|key| number(key)).collect();
    let misfit = |reason: String| refuse(path, format!("the weights cannot be used; is the file cut short? ({reason})"));
    let mut origin = Gguf { content: &content, file: &mut file, used: HashSet::new() };
    let mut shape = shape(&content).map_err(|reason| refuse(path, reason))?;
    if content.tensor_infos.contains_key(FREQUENCIES) {
        let count = shape.rope.dimensions / 2;
        shape.rope.scaling = Scaling::Each(origin.numbers(FREQUENCIES, count).map_err(misfit)?);
    }
    if let Some(device) = wish.candle()? {
        if let Some(what) = Network::quantised_lacks(&shape) {
            return Err(refuse(path, format!("it has {what}, which candle's network leaves out; compute it on the processor (device = \"cpu\"), or by vLLM or Ollama")));
        }
        // candle lays out positions for 4,096 tokens and no more.
        let context = super::context(shape.context.min(4_096), wish.context);
        let model = ModelWeights::from_gguf(content, &mut file, &device).map_err(|error| misfit(error.to_string()))?;
        let decoder = Decoder::by_candle(Network::Quantised(Box::new(model)), device, Shape { context, ..shape });
        return Ok(Loaded { decoder, tokenizer, template, ends, context, adds_special: false });
    }
    let context = super::context(shape.context, wish.context);
    let decoder = Decoder::load(shape, context, &mut origin).map_err(misfit)?;
    if let Some(left) = origin.left() {
        return Err(refuse(path, format!("{left} is no part of the networks that are computed here; serve this model by vLLM or Ollama")));
    }
    Ok(Loaded { decoder, tokenizer, template, ends, context, adds_special: false })
}

fn unsigned(value: &Value) -> Option<u32> {
    value.to_u32().ok().or_else(|| value.to_u64().ok().and_then(|wide| wide.try_into().ok())).or_else(|| value.to_i32().ok().and_then(|signed| signed.try_into().ok()))
}

fn shape(content: &Content) -> Result<Shape, String> {
    let whole = |key: &str| content.metadata.get(&format!("llama.{key}")).and_then(unsigned).map(|number| number as usize);
    let real = |key: &str| content.metadata.get(&format!("llama.{key}")).and_then(|value| value.to_f32().ok());
    let needed = |key: &str| whole(key).ok_or_else(|| format!("llama.{key} is missing, or no number"));
    let (width, heads) = (needed("embedding_length")?, needed("attention.head_count")?);
    let head = whole("attention.key_length").or_else(|| width.checked_div(heads)).ok_or("it has no heads")?;
    let outputs = |wanted: Name| content.tensor_infos.get(&name(wanted)).and_then(|info| info.shape.dims().first().copied());
    let kind = content.metadata.get("llama.rope.scaling.type").and_then(|value| value.to_string().ok()).map_or("none", String::as_str);
    let scaling = match (kind, real("rope.scaling.factor")) {
        ("none", _) => Scaling::None,
        ("linear", Some(factor)) if factor > 0.0 => Scaling::Linear(factor),
        (other, _) => return Err(format!("its positions are scaled by {other:?}, which is not computed here; serve this model by vLLM or Ollama")),
    };
    let shape = Shape {
        layers: needed("block_count")?,
        width,
        inner: whole("feed_forward_length").or_else(|| outputs(Name::Gate(0))).ok_or("it has no feed-forward layers; is the file cut short?")?,
        heads,
        kv_heads: whole("attention.head_count_kv").unwrap_or(heads),
        head,
        vocabulary: outputs(Name::Words).ok_or("it has no embeddings of words; is the file cut short?")?,
        epsilon: real("attention.layer_norm_rms_epsilon").unwrap_or(1e-5),
        window: whole("attention.sliding_window").filter(|window| *window > 0),
        context: whole("context_length").unwrap_or(2_048),
        rope: Rope { base: real("rope.freq_base").unwrap_or(10_000.0), dimensions: whole("rope.dimension_count").unwrap_or(head), paired: true, scaling },
        rounded: content.tensor_infos.get(&name(Name::Query(0))).is_some_and(|info| !matches!(info.ggml_dtype, GgmlDType::F32 | GgmlDType::F16 | GgmlDType::BF16)),
    };
    shape.check()?;
    Ok(shape)
}

/// A tensor's name in the file.
pub(crate) fn name(name: Name) -> String {
    let (at, part) = match name {
        Name::Words => return "token_embd.weight".to_owned(),
        Name::Scores => return "output.weight".to_owned(),
        Name::Norm => return "output_norm.weight".to_owned(),
        Name::AttentionNorm(at) => (at, "attn_norm"),
        Name::Query(at) => (at, "attn_q"),
        Name::Key(at) => (at, "attn_k"),
        Name::Value(at) => (at, "attn_v"),
        Name::Output(at) => (at, "attn_output"),
        Name::InnerNorm(at) => (at, "ffn_norm"),
        Name::Gate(at) => (at, "ffn_gate"),
        Name::Up(at) => (at, "ffn_up"),
        Name::Down(at) => (at, "ffn_down"),
    };
    format!("blk.{at}.{part}.weight")
}

struct Gguf<'a> {
    content: &'a Content,
    file: &'a mut File,
    used: HashSet<String>,
}

impl Gguf<'_> {
    fn tensor(&mut self, name: &str) -> Result<QTensor, String> {
        let tensor = self.content.tensor(self.file, name, &Device::Cpu).map_err(|error| error.to_string())?;
        self.used.insert(name.to_owned());
        Ok(tensor)
    }

    fn numbers(&mut self, name: &str, count: usize) -> Result<Vec<f32>, String> {
        let tensor = self.tensor(name)?;
        if tensor.shape().elem_count() != count {
            return Err(format!("{name} has {} numbers, not {count}", tensor.shape().elem_count()));
        }
        let values = tensor.dequantize(&Device::Cpu).and_then(|tensor| tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>());
        let values = values.map_err(|error| format!("{name}: {error}"))?;
        if values.iter().all(|value| value.is_finite()) { Ok(values) } else { Err(format!("{name} holds what is no number: a damaged file")) }
    }

    /// A tensor that nobody asked for.
    fn left(&self) -> Option<&String> {
        self.content.tensor_infos.keys().filter(|name| !self.used.contains(*name)).min()
    }
}

impl Origin for Gguf<'_> {
    fn has(&self, wanted: Name) -> bool {
        self.content.tensor_infos.contains_key(&name(wanted))
    }

    fn matrix(&mut self, wanted: Name, outputs: usize, inputs: usize) -> Result<Matrix, String> {
        let name = name(wanted);
        let tensor = self.tensor(&name)?;
        if tensor.shape().dims() != [outputs, inputs] {
            return Err(format!("{name} is {:?}, not [{outputs}, {inputs}]", tensor.shape().dims()));
        }
        let in_file = |reason: String| format!("{name}: {reason}");
        let bytes = tensor.data().map_err(|error| in_file(error.to_string()))?;
        let halves = || bytes.as_chunks::<2>().0.iter();
        let matrix = match tensor.dtype() {
            GgmlDType::F32 => {
                let values: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
                Matrix::from_f32(&values, outputs, inputs)
            }
            GgmlDType::F16 => Matrix::from_f16(&halves().map(|bytes| f16::from_le_bytes(*bytes)).collect::<Vec<_>>(), outputs, inputs),
            GgmlDType::BF16 => Matrix::from_bf16(&halves().map(|bytes| bf16::from_le_bytes(*bytes)).collect::<Vec<_>>(), outputs, inputs),
            dtype => Matrix::from_blocks(dtype, &bytes, outputs, inputs).unwrap_or_else(|| {
                // Rarer forms are read by candle, and kept in 16 bits.
                let values = tensor.dequantize(&Device::Cpu).and_then(|tensor: Tensor| tensor.to_dtype(DType::F16)?.flatten_all()?.to_vec1::<f16>());
                Matrix::from_f16(&values.map_err(|error| error.to_string())?, outputs, inputs)
            }),
        };
        matrix.map_err(in_file)
    }

    fn row(&mut self, wanted: Name, count: usize) -> Result<Vec<f32>, String> {
        self.numbers(&name(wanted), count)
    }
}
