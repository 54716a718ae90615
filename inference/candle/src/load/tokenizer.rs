//! A GGUF file's tokenizer: byte-level BPE (Llama 3, SmolLM2, Mistral Nemo) mostly by candle, SentencePiece (Llama 2, Mistral) by us.
//!
//! SentencePiece BPE stands in the file as pieces with scores and no merges. The merges follow from them: every piece that is
//! two other pieces put together is a merge, ranked by the score of the whole (as the reference conversion does it).

use std::collections::HashMap;
use std::path::Path;

use ajatus_inference::InferenceError;
use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::quantized::tokenizer::TokenizerFromGguf as _;
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::prepend::Prepend;
use tokenizers::normalizers::replace::Replace;
use tokenizers::normalizers::utils::Sequence as Normalizers;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence as Cuts;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, ModelWrapper, PreTokenizerWrapper, SplitDelimiterBehavior, Tokenizer};

use crate::files::refuse;

/// Types of pieces that never come from text: unknown, control.
const UNKNOWN: u64 = 2;
const CONTROL: u64 = 3;

/// Builds the tokenizer of a GGUF file; a `tokenizer.json` beside the file goes before what stands in it.
pub(super) fn from_gguf(path: &Path, content: &Content) -> Result<Tokenizer, InferenceError> {
    let beside = path.with_file_name("tokenizer.json");
    if beside.is_file() {
        return Tokenizer::from_file(&beside).map_err(|error| refuse(&beside, error));
    }
    let kind = content.metadata.get("tokenizer.ggml.model").and_then(|value| value.to_string().ok()).map_or("none", String::as_str);
    match kind {
        "llama" => sentence_piece(content).map_err(|reason| refuse(path, format!("its tokenizer cannot be built: {reason}"))),
        "gpt2" => byte_level(content).map_err(|reason| refuse(path, format!("its tokenizer cannot be built: {reason}"))),
        other => Err(refuse(path, format!("its tokenizer is of the kind {other:?}, but \"llama\" and \"gpt2\" are known; put a tokenizer.json beside the file"))),
    }
}

/// Byte-level BPE. candle (0.11) builds it, but cuts text as GPT-2's first release did, with a space put before every piece between two special tokens; how a
/// text is cut is decided here, by the name that stands in the file. The rules are those of `llama-vocab.cpp`, as the models' own `tokenizer.json` have them.
fn byte_level(content: &Content) -> Result<Tokenizer, String> {
    let mut tokenizer = Tokenizer::from_gguf(content).map_err(|error| error.to_string())?;
    let kind = content.metadata.get("tokenizer.ggml.pre").and_then(|value| value.to_string().ok()).map_or("default", String::as_str);
    tokenizer.with_pre_tokenizer(Some(cut(kind)?));
    if matches!(kind, "llama-bpe" | "llama3" | "llama-v3" | "tekken")
        && let ModelWrapper::BPE(model) = tokenizer.get_model()
    {
        // A piece that is a word of the vocabulary is that word, however its parts would merge.
        let mut model = model.clone();
        model.ignore_merges = true;
        tokenizer.with_model(model);
    }
    Ok(tokenizer)
}

/// How text is cut before its pieces are merged, by the name that stands in the file.
fn cut(kind: &str) -> Result<PreTokenizerWrapper, String> {
    const QWEN: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    const LLAMA: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    Ok(match kind {
        "default" | "gpt-2" | "olmo" | "mpt" | "jais" | "phi-2" => ByteLevel::new(false, true, true).into(),
        "smollm" | "starcoder" | "refact" | "codeshell" | "command-r" => Cuts::new(vec![Digits::new(true).into(), ByteLevel::new(false, true, true).into()]).into(),
        "llama-bpe" | "llama3" | "llama-v3" | "smaug-bpe" | "dbrx" | "falcon3" => by_rule(LLAMA)?,
        "qwen2" | "stablelm2" | "deepseek-r1-qwen" => by_rule(QWEN)?,
        "tekken" => by_rule(TEKKEN)?,
        other => return Err(format!("how it cuts text is called {other:?}, which is not known here; put the model's tokenizer.json beside the file")),
    })
}

fn by_rule(rule: &str) -> Result<PreTokenizerWrapper, String> {
    let split = Split::new(SplitPattern::Regex(rule.to_owned()), SplitDelimiterBehavior::Isolated, false).map_err(|error| error.to_string())?;
    Ok(Cuts::new(vec![split.into(), ByteLevel::new(false, true, false).into()]).into())
}

fn sentence_piece(content: &Content) -> Result<Tokenizer, String> {
    let list = |key: &str| match content.metadata.get(key) {
        Some(Value::Array(values)) => Ok(values),
        _ => Err(format!("{key} is missing")),
    };
    let pieces: Vec<String> =
        list("tokenizer.ggml.tokens")?.iter().map(|value| value.to_string().cloned()).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    let scores: Vec<f32> =
        list("tokenizer.ggml.scores")?.iter().map(Value::to_f32).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    let types: Vec<u64> = list("tokenizer.ggml.token_type")?.iter().map(|value| number(value).unwrap_or(1)).collect();
    if pieces.len() != scores.len() || pieces.len() != types.len() {
        return Err(format!("{} pieces, {} scores, {} types", pieces.len(), scores.len(), types.len()));
    }
    let numbers: HashMap<&str, usize> = pieces.iter().enumerate().map(|(at, piece)| (piece.as_str(), at)).collect();
    let mut ranked: Vec<(f32, usize, usize, (String, String))> = Vec::new();
    for (at, piece) in pieces.iter().enumerate().filter(|(at, _)| types[*at] == 1) {
        for (cut, _) in piece.char_indices().skip(1) {
            let (left, right) = piece.split_at(cut);
            if let (Some(first), Some(second)) = (numbers.get(left), numbers.get(right)) {
                ranked.push((scores[at], *first, *second, (left.to_owned(), right.to_owned())));
            }
        }
    }
    // Best score first; among equals, as the reference conversion sorts them.
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let vocabulary = pieces.iter().enumerate().map(|(at, piece)| (piece.clone(), u32::try_from(at).expect("fewer than 2^32 pieces"))).collect::<Vec<_>>();
    let merges = ranked.into_iter().map(|(_, _, _, pair)| pair).collect();
    let unknown = types.iter().position(|kind| *kind == UNKNOWN).and_then(|at| pieces.get(at)).cloned();
    let mut builder = BPE::builder().vocab_and_merges(vocabulary.into_iter().collect::<Vocab>(), merges).byte_fallback(true).fuse_unk(true);
    if let Some(unknown) = unknown {
        builder = builder.unk_token(unknown);
    }
    let mut tokenizer = Tokenizer::new(builder.build().map_err(|error| error.to_string())?);
    let space = || Replace::new(" ", "▁").map_err(|error| error.to_string());
    let back = tokenizers::normalizers::replace::Replace::new("▁", " ").map_err(|error| error.to_string())?;
    tokenizer.with_normalizer(Some(Normalizers::new(vec![Prepend::new("▁".to_owned()).into(), space()?.into()]))).map_err(|error| error.to_string())?;
    tokenizer.with_decoder(Some(Decoders::new(vec![back.into(), ByteFallback::new().into(), Fuse::new().into(), Strip::new(' ', 1, 0).into()])));
    let special: Vec<AddedToken> = pieces
        .iter()
        .zip(&types)
        .filter(|(_, kind)| matches!(**kind, UNKNOWN | CONTROL))
        .map(|(piece, _)| AddedToken::from(piece.clone(), true).normalized(false))
        .collect();
    tokenizer.add_special_tokens(special).map_err(|error| error.to_string())?;
    Ok(tokenizer)
}

fn number(value: &Value) -> Option<u64> {
    value.to_u32().map(u64::from).ok().or_else(|| value.to_u64().ok()).or_else(|| value.to_i32().ok().and_then(|signed| signed.try_into().ok()))
}

#[cfg(test)]
mod tests {
    use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _};

    use super::*;

    fn pieces(kind: &str, text: &str) -> Vec<String> {
        let mut cutting = PreTokenizedString::from(text);
        cut(kind).expect("it is known").pre_tokenize(&mut cutting).expect("cut");
        let splits = cutting.get_splits(OffsetReferential::Original, OffsetType::Byte);
        splits.into_iter().map(|(_, (from, to), _)| text.get(from..to).expect("a boundary").to_owned()).collect()
    }

    /// As the models' own tokenizers cut: figures one by one, by threes or whole, and no space before the first word.
    #[test]
    fn text_is_cut_as_the_models_own_tokenizers_cut_it() {
        let text = "DON'T pay 12345 mk";
        assert_eq!(pieces("gpt-2", text), ["DON", "'", "T", " pay", " 12345", " mk"]);
        assert_eq!(pieces("smollm", text), ["DON", "'", "T", " pay", " ", "1", "2", "3", "4", "5", " mk"]);
        assert_eq!(pieces("llama-bpe", text), ["DON", "'T", " pay", " ", "123", "45", " mk"]);
        assert_eq!(pieces("qwen2", text), ["DON", "'T", " pay", " ", "1", "2", "3", "4", "5", " mk"]);
        assert_eq!(pieces("tekken", text), ["DON", "'T", " pay", " ", "1", "2", "3", "4", "5", " mk"]);
        assert_eq!(pieces("tekken", "myHTTPServer"), ["my", "HTTPServer"]);
        assert!(cut("strange").expect_err("not known").contains("tokenizer.json"));
    }
}
