//! A tiny Mistral with random weights, written as safetensors and as GGUF: the same model twice.

use std::collections::HashMap;
use std::path::Path;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

const HIDDEN: usize = 32;
const INNER: usize = 64;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const LAYERS: usize = 2;
const TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% else %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}";

/// Pieces, scores and types: unknown, control, bytes, letters, and a few that must be merged.
fn vocabulary() -> Vec<(String, f32, u32)> {
    let mut pieces = vec![("<unk>".to_owned(), 0.0, 2), ("<s>".to_owned(), 0.0, 3), ("</s>".to_owned(), 0.0, 3)];
    pieces.extend((0..=255_u32).map(|byte| (format!("<0x{byte:02X}>"), 0.0, 6)));
    for (at, piece) in ["▁", "a", "b", "[", "]", "/", "I", "N", "S", "T", "ab", "ba", "▁ab", "IN", "ST", "INST", "[INST", "▁["].iter().enumerate() {
        pieces.push(((*piece).to_owned(), -f32::from(u8::try_from(at).expect("few")), 1));
    }
    pieces
}

fn weights() -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let vocabulary = vocabulary().len();
    let head = HIDDEN / HEADS;
    let mut shapes = vec![
        ("model.embed_tokens.weight".to_owned(), vec![vocabulary, HIDDEN]),
        ("model.norm.weight".to_owned(), vec![HIDDEN]),
        ("lm_head.weight".to_owned(), vec![vocabulary, HIDDEN]),
    ];
    for layer in 0..LAYERS {
        for (name, shape) in [
            ("self_attn.q_proj", vec![HIDDEN, HIDDEN]),
            ("self_attn.k_proj", vec![KV_HEADS * head, HIDDEN]),
            ("self_attn.v_proj", vec![KV_HEADS * head, HIDDEN]),
            ("self_attn.o_proj", vec![HIDDEN, HIDDEN]),
            ("mlp.gate_proj", vec![INNER, HIDDEN]),
            ("mlp.up_proj", vec![INNER, HIDDEN]),
            ("mlp.down_proj", vec![HIDDEN, INNER]),
            ("input_layernorm", vec![HIDDEN]),
            ("post_attention_layernorm", vec![HIDDEN]),
        ] {
            shapes.push((format!("model.layers.{layer}.{name}.weight"), shape));
        }
    }
    let mut random = StdRng::seed_from_u64(42);
    shapes
        .into_iter()
        .map(|(name, shape)| {
            let count = shape.iter().product();
            let values = if shape.len() == 1 { vec![1.0; count] } else { (0..count).map(|_| random.random_range(-0.4..0.4)).collect() };
            (name, shape, values)
        })
        .collect()
}

/// A tokenizer.json of the same pieces, merges written out.
fn tokenizer_json() -> String {
    let pieces = vocabulary();
    let number = |piece: &str| pieces.iter().position(|(known, ..)| known == piece);
    let vocabulary: serde_json::Map<String, serde_json::Value> = pieces.iter().enumerate().map(|(at, (piece, ..))| (piece.clone(), at.into())).collect();
    let mut merges: Vec<(f32, usize, usize, String)> = Vec::new();
    for (piece, score, kind) in &pieces {
        for (cut, _) in piece.char_indices().skip(1) {
            let (left, right) = piece.split_at(cut);
            if let (1, Some(first), Some(second)) = (*kind, number(left), number(right)) {
                merges.push((*score, first, second, format!("{left} {right}")));
            }
        }
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let special = |id: usize, content: &str| {
        serde_json::json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true})
    };
    serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": null, "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": true, "byte_fallback": true, "vocab": vocabulary, "merges": merges.into_iter().map(|merge| merge.3).collect::<Vec<_>>()}
    })
    .to_string()
}

/// A folder as Mistral-7B-Instruct comes, only smaller.
pub(crate) fn write_safetensors(folder: &Path) {
    std::fs::create_dir_all(folder).expect("a folder");
    let tensors: HashMap<String, Tensor> = weights()
        .into_iter()
        .map(|(name, shape, values)| (name, Tensor::from_vec(values, shape, &Device::Cpu).expect("a tensor")))
        .collect();
    candle_core::safetensors::save(&tensors, folder.join("model.safetensors")).expect("written");
    let config = serde_json::json!({
        "architectures": ["MistralForCausalLM"], "model_type": "mistral", "vocab_size": vocabulary().len(), "hidden_size": HIDDEN,
        "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": null,
        "hidden_act": "silu", "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "sliding_window": null,
        "bos_token_id": 1, "eos_token_id": 2
    });
    std::fs::write(folder.join("config.json"), config.to_string()).expect("written");
    std::fs::write(folder.join("tokenizer.json"), tokenizer_json()).expect("written");
    let settings = serde_json::json!({"chat_template": TEMPLATE, "bos_token": "<s>", "eos_token": {"content": "</s>"}});
    std::fs::write(folder.join("tokenizer_config.json"), settings.to_string()).expect("written");
}

/// The rows of a projection as GGUF has them for this family: the two halves of each head interleaved.
fn interleaved(values: &[f32], rows: usize, heads: usize) -> Vec<f32> {
    let (columns, head) = (values.len() / rows, rows / heads);
    let mut out = Vec::with_capacity(values.len());
    for number in 0..heads {
        for half in 0..head / 2 {
            for side in 0..2 {
                let row = number * head + side * (head / 2) + half;
                out.extend_from_slice(&values[row * columns..(row + 1) * columns]);
            }
        }
    }
    out
}

/// One GGUF file of the same weights, with its SentencePiece pieces and its template inside.
pub(crate) fn write_gguf(folder: &Path) {
    std::fs::create_dir_all(folder).expect("a folder");
    let rename = |name: &str| {
        name.replace("model.embed_tokens", "token_embd")
            .replace("model.norm", "output_norm")
            .replace("lm_head", "output")
            .replace("model.layers.", "blk.")
            .replace("self_attn.q_proj", "attn_q")
            .replace("self_attn.k_proj", "attn_k")
            .replace("self_attn.v_proj", "attn_v")
            .replace("self_attn.o_proj", "attn_output")
            .replace("mlp.gate_proj", "ffn_gate")
            .replace("mlp.up_proj", "ffn_up")
            .replace("mlp.down_proj", "ffn_down")
            .replace("input_layernorm", "attn_norm")
            .replace("post_attention_layernorm", "ffn_norm")
    };
    let tensors: Vec<(String, QTensor)> = weights()
        .into_iter()
        .map(|(name, shape, values)| {
            let values = match name.as_str() {
                name if name.contains("q_proj") => interleaved(&values, shape[0], HEADS),
                name if name.contains("k_proj") => interleaved(&values, shape[0], KV_HEADS),
                _ => values,
            };
            let tensor = Tensor::from_vec(values, shape, &Device::Cpu).expect("a tensor");
            (rename(&name), QTensor::quantize(&tensor, GgmlDType::F32).expect("kept as it is"))
        })
        .collect();
    let small = |value: usize| Value::U32(u32::try_from(value).expect("small"));
    let text = |value: &str| Value::String(value.to_owned());
    let pieces = vocabulary();
    let metadata = [
        ("general.architecture", text("llama")),
        ("llama.attention.head_count", small(HEADS)),
        ("llama.attention.head_count_kv", small(KV_HEADS)),
        ("llama.block_count", small(LAYERS)),
        ("llama.embedding_length", small(HIDDEN)),
        ("llama.rope.dimension_count", small(HIDDEN / HEADS)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ("llama.rope.freq_base", Value::F32(10_000.0)),
        ("llama.context_length", small(256)),
        ("tokenizer.ggml.model", text("llama")),
        ("tokenizer.ggml.tokens", Value::Array(pieces.iter().map(|(piece, ..)| text(piece)).collect())),
        ("tokenizer.ggml.scores", Value::Array(pieces.iter().map(|(_, score, _)| Value::F32(*score)).collect())),
        ("tokenizer.ggml.token_type", Value::Array(pieces.iter().map(|(_, _, kind)| Value::U32(*kind)).collect())),
        ("tokenizer.ggml.bos_token_id", Value::U32(1)),
        ("tokenizer.ggml.eos_token_id", Value::U32(2)),
        ("tokenizer.chat_template", text(TEMPLATE)),
    ];
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(name, value)| (*name, value)).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let mut file = std::fs::File::create(folder.join("tiny-mistral.gguf")).expect("a file");
    gguf_file::write(&mut file, &metadata, &tensors).expect("written");
}
