//! Answers held to a JSON schema: at each step only tokens that keep the answer within it.
//!
//! The grammar is llguidance's; here its words are made of the tokenizer's vocabulary.

use std::sync::Arc;

use ajatus_inference::InferenceError;
use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde_json::Value as Json;
use tokenizers::{DecoderWrapper, Tokenizer};

use crate::files::broken;

/// A vocabulary, ready to be held to schemas.
pub(crate) struct Grammar {
    factory: ParserFactory,
}

/// One answer on its way through a schema.
pub(crate) struct Guide {
    matcher: Matcher,
}

/// How a vocabulary's entries stand for bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spelling {
    /// Every byte is a character of its own (GPT-2).
    Bytes,
    /// Pieces of text, with `<0x0A>` for single bytes (SentencePiece).
    Pieces,
}

/// How the vocabulary is spelled: its decoder knows.
fn spelling(decoder: &DecoderWrapper) -> Option<Spelling> {
    match decoder {
        DecoderWrapper::ByteLevel(_) => Some(Spelling::Bytes),
        DecoderWrapper::ByteFallback(_) => Some(Spelling::Pieces),
        DecoderWrapper::Sequence(decoders) => decoders.get_decoders().iter().find_map(spelling),
        _ => None,
    }
}

/// The byte that a character of a byte-level vocabulary stands for: printable ones stand for themselves, the others come from 256 on, in order
/// (`bytes_to_unicode` of GPT-2's `encoder.py`).
fn byte(character: char) -> Option<u8> {
    let plain = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let code = u32::from(character);
    match u8::try_from(code) {
        Ok(byte) => plain(byte).then_some(byte),
        Err(_) => (0..=255_u8).filter(|byte| !plain(*byte)).nth(usize::try_from(code - 256).ok()?),
    }
}

/// The bytes of each token; of those that are no text, a marker and their name.
fn words(tokenizer: &Tokenizer, spelling: Spelling, count: usize) -> Vec<Vec<u8>> {
    let special: std::collections::HashSet<u32> = tokenizer.get_added_tokens_decoder().into_iter().filter(|(_, token)| token.special).map(|(id, _)| id).collect();
    let pieces = |piece: &str| match piece.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>')) {
        Some(digits) => u8::from_str_radix(digits, 16).map_or_else(|_| piece.as_bytes().to_vec(), |byte| vec![byte]),
        None => piece.replace('▁', " ").into_bytes(),
    };
    let word = |id: u32| -> Vec<u8> {
        let Some(piece) = tokenizer.id_to_token(id) else { return Vec::new() };
        if special.contains(&id) {
            return [&[TokTrie::SPECIAL_TOKEN_MARKER], piece.as_bytes()].concat();
        }
        match spelling {
            Spelling::Bytes => piece.chars().map(byte).collect::<Option<Vec<u8>>>().unwrap_or_else(|| piece.into_bytes()),
            Spelling::Pieces => pieces(&piece),
        }
    };
    (0..u32::try_from(count).unwrap_or(u32::MAX)).map(word).collect()
}

impl Grammar {
    /// The vocabulary of `count` tokens; `end` ends an answer.
    ///
    /// # Errors
    /// [`InferenceError::Backend`] for a tokenizer whose tokens do not stand for bytes.
    pub(crate) fn new(tokenizer: &Tokenizer, count: usize, end: u32) -> Result<Self, InferenceError> {
        let spelling = tokenizer.get_decoder().and_then(spelling).ok_or_else(|| broken("this model's tokenizer does not say which bytes its tokens stand for, so it cannot be held to a schema"))?;
        let info = TokRxInfo::new(u32::try_from(count).map_err(broken)?, end);
        let trie = TokTrie::from(&info, &words(tokenizer, spelling, count));
        let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory = ParserFactory::new(&environment, InferenceCapabilities::default(), &llguidance::earley::SlicedBiasComputer::json_slices()).map_err(broken)?;
        factory.quiet();
        Ok(Self { factory })
    }

    /// Begins an answer within a schema.
    ///
    /// # Errors
    /// [`InferenceError::Input`] for what is no schema, or one with rules that cannot be kept token by token.
    pub(crate) fn begin(&self, schema: &Json) -> Result<Guide, InferenceError> {
        let refused = |error: String| InferenceError::Input { reason: format!("an answer cannot be held to this schema: {}", error.lines().next().unwrap_or_default()) };
        let mut schema = match schema {
            Json::Object(fields) => fields.clone(),
            _ => return Err(refused("it is no object".to_owned())),
        };
        // As models write it, and no more: a small one that may add spaces adds nothing else.
        schema.insert("x-guidance".to_owned(), serde_json::json!({"whitespace_flexible": false, "item_separator": ", ", "key_separator": ": "}));
        let parser = self.factory.create_parser(TopLevelGrammar::from_json_schema(Json::Object(schema)));
        let matcher = Matcher::new(parser);
        match matcher.get_error() {
            Some(error) => Err(refused(error)),
            None => Ok(Guide { matcher }),
        }
    }
}

impl Guide {
    /// Takes the scores from tokens that would leave the schema.
    pub(crate) fn mask(&mut self, scores: &mut [f32]) -> Result<(), InferenceError> {
        let allowed: SimpleVob = self.matcher.compute_mask_or_eos().map_err(broken)?;
        for (token, score) in scores.iter_mut().enumerate() {
            if !u32::try_from(token).is_ok_and(|token| allowed.get(token as usize)) {
                *score = f32::NEG_INFINITY;
            }
        }
        Ok(())
    }

    /// Takes a token; whether the answer is whole and nothing can follow.
    pub(crate) fn take(&mut self, token: u32) -> Result<bool, InferenceError> {
        self.matcher.consume_token(token).map_err(broken)?;
        Ok(self.matcher.is_stopped())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_stand_for_bytes_as_gpt_2_has_it() {
        assert_eq!(byte('a'), Some(b'a'));
        // A space and a line's end, the best known of them.
        assert_eq!((byte('Ġ'), byte('Ċ')), (Some(b' '), Some(b'\n')));
        let all: std::collections::BTreeSet<u8> = (0..0x200).filter_map(|code| byte(char::from_u32(code)?)).collect();
        assert_eq!(all.len(), 256, "every byte has its character");
        assert_eq!(byte('漢'), None);
    }
}
