//! What is embedded: chat-like texts made from a seed, or the user's own.

use std::path::Path;

use serde::Deserialize;

use crate::exit::{Ended, Exit};

/// Built-in texts. Enough that the same text seldom stands twice in a batch.
const COUNT: usize = 2_000;
/// Lengths of the built-in texts, tokens of a WordPiece vocabulary with its two marks: log-normal, cut at these ends: median 34, mean 47.
const SHORTEST: f64 = 5.0;
const LONGEST: f64 = 240.0;
const MEDIAN: f64 = 34.0;
const SPREAD: f64 = 0.9;
/// Marks around a text.
const MARKS: usize = 2;
/// Bytes of a user's file at most.
const MOST_BYTES: u64 = 1 << 30;

/// Words that are one token each in the vocabulary of BERT.
const WORDS: [&str; 64] = [
    "the", "and", "you", "that", "was", "for", "are", "with", "his", "they", "this", "have", "from", "one", "had", "word", "but", "not", "what",
    "all", "were", "when", "your", "can", "said", "there", "use", "each", "which", "she", "how", "their", "will", "other", "about", "out", "many",
    "then", "them", "these", "some", "her", "would", "make", "like", "him", "into", "time", "has", "look", "two", "more", "write", "see", "number",
    "way", "could", "people", "than", "first", "water", "been", "call", "who",
];

/// Numbers from a seed: `SplitMix64` (Steele, Lea and Flood, 2014).
pub(super) struct Random(u64);

impl Random {
    /// Begins at a seed.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Between 0 and 1, both left out.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    pub(super) fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// From the normal distribution of mean 0 and variance 1, by Box and Muller (1958).
    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    fn pick(&mut self) -> &'static str {
        #[expect(clippy::cast_possible_truncation, reason = "a remainder of 64")]
        WORDS[(self.next() % WORDS.len() as u64) as usize]
    }
}

/// Texts of the lengths that chat has, the same for the same seed.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 5 and 240")]
pub(super) fn built_in(seed: u64) -> Vec<String> {
    let mut random = Random::new(seed);
    (0..COUNT)
        .map(|_| {
            // Outside the ends it is drawn again, so that no length is piled up at an end.
            let tokens = loop {
                let drawn = (MEDIAN.ln() + SPREAD * random.normal()).exp().round();
                if (SHORTEST..=LONGEST).contains(&drawn) {
                    break drawn as usize;
                }
            };
            let words: Vec<&str> = (0..tokens - MARKS).map(|_| random.pick()).collect();
            words.join(" ")
        })
        .collect()
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Text(String),
    Object { text: String },
}

/// Reads a user's texts: a JSON string a line, or an object with a field `text`; empty lines are passed over.
///
/// # Errors
/// [`Exit::Unusable`] with the file, the line and what is wrong.
pub(super) fn from_file(path: &Path) -> anyhow::Result<Vec<String>> {
    let refuse = |what: String| Ended::new(Exit::Unusable, format!("--texts {}: {what}", path.display()));
    let bytes = std::fs::metadata(path).map_err(|error| refuse(error.to_string()))?.len();
    if bytes > MOST_BYTES {
        return Err(refuse(format!("it has {bytes} bytes, but may have {MOST_BYTES}; take a part of it")));
    }
    let bytes = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
    let mut texts = Vec::new();
    for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let number = at + 1;
        let line = std::str::from_utf8(line).map_err(|_| refuse(format!("line {number} is not UTF-8")))?.trim();
        if line.is_empty() {
            continue;
        }
        let read: Line = serde_json::from_str(line).map_err(|_| {
            refuse(format!("line {number} is neither a JSON string nor an object with a text in the field \"text\""))
        })?;
        let (Line::Text(text) | Line::Object { text }) = read;
        if text.trim().is_empty() {
            return Err(refuse(format!("line {number} has an empty text; leave it out")));
        }
        texts.push(text);
    }
    if texts.is_empty() {
        return Err(refuse("it holds no text".to_owned()));
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    fn built_in_texts_have_the_lengths_they_promise_and_are_the_same_for_a_seed() {
        let texts = built_in(1);
        assert_eq!(texts, built_in(1));
        assert_ne!(texts, built_in(2));
        let mut lengths: Vec<usize> = texts.iter().map(|text| text.split(' ').count() + MARKS).collect();
        lengths.sort_unstable();
        let mean = lengths.iter().sum::<usize>() as f64 / lengths.len() as f64;
        assert!((44.0..=50.0).contains(&mean), "{mean}");
        assert!(lengths[0] >= 5 && lengths[lengths.len() - 1] <= 240);
        assert!((29..=37).contains(&lengths[lengths.len() / 2]), "{}", lengths[lengths.len() / 2]);
    }

    #[test]
    fn reads_strings_and_objects_and_names_the_line_of_what_is_neither() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("texts.jsonl");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("a file");
            from_file(&path)
        };
        assert_eq!(read("\"yö\"\n\n{\"text\": \"b\", \"id\": 3}\r\n".as_bytes()).expect("good"), ["yö", "b"]);
        for (bytes, said) in [
            (&b"\"a\"\n{\"words\": \"b\"}\n"[..], "line 2 is neither"),
            (b"\"a\"\n\n\"b\n", "line 3 is neither"),
            (b"\"a\"\n\xff\xfe\n", "line 2 is not UTF-8"),
            (b"{\"text\": \" \"}\n", "line 1 has an empty text"),
            (b"\n\n", "it holds no text"),
        ] {
            let error = read(bytes).expect_err(said);
            assert_eq!(crate::exit::of(&error), Exit::Unusable);
            assert!(error.to_string().contains(said), "{error}");
        }
        assert!(from_file(&folder.path().join("none")).is_err());
    }
}
