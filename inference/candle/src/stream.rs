//! From tokens to text: whole characters only, and never part of a stop text.

use tokenizers::Tokenizer;

/// Text as it grows.
pub(crate) struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    stops: Vec<String>,
    tokens: Vec<u32>,
    /// Tokens before this one are settled: their text has been taken into `ready`.
    from: usize,
    /// Up to here the text of `from..` was taken already.
    seen: usize,
    /// Decoded but held back, for it may open a stop text.
    held: String,
}

/// What a token brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Grown {
    /// Text to pass on, maybe none yet.
    Text(String),
    /// A stop text stands there; this came before it.
    Stopped(String),
}

impl<'a> TextStream<'a> {
    pub(crate) fn new(tokenizer: &'a Tokenizer, stops: Vec<String>) -> Self {
        Self { tokenizer, stops, tokens: Vec::new(), from: 0, seen: 0, held: String::new() }
    }

    /// Tokens so far.
    pub(crate) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Takes a token.
    pub(crate) fn push(&mut self, token: u32) -> Result<Grown, String> {
        self.tokens.push(token);
        let text = self.tokenizer.decode(&self.tokens[self.from..], true).map_err(|error| error.to_string())?;
        // A character whose bytes are not all there decodes to the replacement character.
        if text.len() > self.seen && !text.ends_with('\u{fffd}') {
            if let Some(new) = text.get(self.seen..) {
                self.held.push_str(new);
            }
            self.seen = text.len();
            // Decode from the last few tokens only, so that a long answer does not cost its square.
            if self.tokens.len() - self.from > 32 {
                let keep = self.tokens.len() - 1;
                self.from = keep;
                self.seen = self.tokenizer.decode(&self.tokens[keep..], true).map_err(|error| error.to_string())?.len();
            }
        }
        Ok(self.release())
    }

    /// The end: what was held back, without a character whose bytes never came.
    pub(crate) fn finish(mut self) -> String {
        // Tokens that were read and cannot be decoded bring no text.
        let text = self.tokenizer.decode(&self.tokens[self.from..], true).unwrap_or_default();
        self.held.push_str(text.get(self.seen..).unwrap_or_default().trim_end_matches('\u{fffd}'));
        match self.release() {
            Grown::Stopped(text) => text,
            Grown::Text(text) => text + &self.held,
        }
    }

    fn release(&mut self) -> Grown {
        let found = self.stops.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(at) = found {
            let text = self.held.get(..at).unwrap_or_default().to_owned();
            self.held.clear();
            return Grown::Stopped(text);
        }
        let open = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - open);
        Grown::Text(std::mem::replace(&mut self.held, rest))
    }
}

/// Length of the longest end of `text` that opens `stop`.
fn overlap(text: &str, stop: &str) -> usize {
    (1..=stop.len().min(text.len()))
        .rev()
        .find(|length| stop.is_char_boundary(*length) && stop.get(..*length).is_some_and(|opening| text.ends_with(opening)))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_may_open_a_stop_text() {
        assert_eq!(overlap("abc\nUs", "\nUser:"), 3);
        assert_eq!(overlap("abc", "x"), 0);
        assert_eq!(overlap("ä", "äö"), 2);
        assert_eq!(overlap("", "x"), 0);
    }

    #[test]
    fn the_end_gives_whole_characters_that_came_with_the_bytes_of_one_that_did_not() {
        // Bytes as byte-level vocabularies write them: the third word is "a" and the first byte of a letter of two.
        let vocabulary = r#"{"a": 0, "Ã": 1, "aÃ": 2, "¤": 3}"#;
        let text = format!(
            r#"{{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null, "post_processor": null,
                "pre_tokenizer": {{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}},
                "decoder": {{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}},
                "model": {{"type": "BPE", "vocab": {vocabulary}, "merges": []}}}}"#
        );
        let tokenizer = Tokenizer::from_bytes(text.as_bytes()).expect("a tokenizer");
        let told = |stops: &[&str], tokens: &[u32]| {
            let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
            let mut stream = TextStream::new(&tokenizer, stops);
            let mut said = String::new();
            for token in tokens {
                match stream.push(*token).expect("decoded") {
                    Grown::Text(text) => said.push_str(&text),
                    Grown::Stopped(text) => return said + &text,
                }
            }
            said + &stream.finish()
        };
        assert_eq!(told(&[], &[0, 2, 3]), "aaä");
        assert_eq!(told(&[], &[0, 2]), "aa", "the second letter came with half of the third");
        assert_eq!(told(&["aa"], &[0, 2]), "", "and a stop text is one at the end too");
        assert_eq!(told(&[], &[0, 1]), "a");
    }
}
