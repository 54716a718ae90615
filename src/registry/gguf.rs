//! The header of a GGUF file: what it says of itself, and shapes of its tensors. Versions 2 and 3, little-endian.
//!
//! Source: the format's own description (ggml, `docs/gguf.md`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek as _};
use std::path::Path;

use super::refuse;

/// Bytes of a text at most: a chat template, a vocabulary's piece.
const MAX_TEXT: u64 = 16 << 20;
/// Keys, tensors and items of a list at most; more is a damaged count.
const MAX_COUNT: u64 = 16 << 20;

/// What a header says.
#[derive(Debug, Default)]
pub(super) struct Header {
    /// Texts by key.
    pub(super) texts: BTreeMap<String, String>,
    /// Whole numbers by key.
    pub(super) numbers: BTreeMap<String, u64>,
    /// Lists by key: how long.
    pub(super) lists: BTreeMap<String, u64>,
    /// Sides of each tensor, the fastest first: of a matrix, inputs and outputs.
    pub(super) tensors: BTreeMap<String, Vec<u64>>,
}

struct Reader {
    inner: BufReader<File>,
}

type Number = Result<u64, &'static str>;

impl Reader {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let mut bytes = [0; N];
        self.inner.read_exact(&mut bytes).map_err(|_| "it is cut off within its header")?;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, &'static str> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn u64(&mut self) -> Number {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    fn count(&mut self) -> Number {
        let count = self.u64()?;
        if count > MAX_COUNT { Err("it has a count past all bounds") } else { Ok(count) }
    }

    fn text(&mut self) -> Result<String, &'static str> {
        let length = self.u64()?;
        if length > MAX_TEXT {
            return Err("it has a text past all bounds");
        }
        let mut bytes = Vec::new();
        (&mut self.inner).take(length).read_to_end(&mut bytes).map_err(|_| "it cannot be read")?;
        if bytes.len() as u64 != length {
            return Err("it is cut off within its header");
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A whole number of a kind; nothing for a value that is none.
    fn scalar(&mut self, kind: u32) -> Result<Option<u64>, &'static str> {
        Ok(match kind {
            0 | 1 | 7 => Some(u64::from(self.bytes::<1>()?[0])),
            2 | 3 => Some(u64::from(u16::from_le_bytes(self.bytes()?))),
            4 | 5 => Some(u64::from(self.u32()?)),
            6 => {
                self.u32()?;
                None
            }
            10 | 11 => Some(self.u64()?),
            12 => {
                self.u64()?;
                None
            }
            _ => return Err("it has a value of an unknown kind"),
        })
    }
}

/// Reads the header; the file must go on behind it as far as its last tensor begins.
///
/// # Errors
/// With the file and what is wrong with it.
pub(super) fn header(path: &Path) -> anyhow::Result<Header> {
    let file = File::open(path).map_err(|error| refuse(path, error))?;
    let bytes = file.metadata().map_err(|error| refuse(path, error))?.len();
    read(Reader { inner: BufReader::new(file) }, bytes).map_err(|what| refuse(path, format!("it is no sound GGUF file: {what}")))
}

fn read(mut reader: Reader, bytes: u64) -> Result<Header, &'static str> {
    if &reader.bytes::<4>()? != b"GGUF" {
        return Err("it does not begin with GGUF");
    }
    if !(2..=3).contains(&reader.u32()?) {
        return Err("its version is neither 2 nor 3");
    }
    let (tensors, keys) = (reader.count()?, reader.count()?);
    let mut header = Header::default();
    for _ in 0..keys {
        let key = reader.text()?;
        match reader.u32()? {
            8 => drop(header.texts.insert(key, reader.text()?)),
            9 => {
                let (kind, count) = (reader.u32()?, reader.count()?);
                for _ in 0..count {
                    if kind == 8 {
                        reader.text()?;
                    } else {
                        reader.scalar(kind)?;
                    }
                }
                header.lists.insert(key, count);
            }
            kind => drop(reader.scalar(kind)?.and_then(|number| header.numbers.insert(key, number))),
        }
    }
    let mut last = 0;
    for _ in 0..tensors {
        let name = reader.text()?;
        let sides = reader.u32()?;
        if sides == 0 || sides > 4 {
            return Err("it has a tensor without sides, or with more than four");
        }
        let sides = (0..sides).map(|_| reader.u64()).collect::<Result<Vec<u64>, _>>()?;
        reader.u32()?;
        last = last.max(reader.u64()?);
        header.tensors.insert(name, sides);
    }
    if header.tensors.is_empty() {
        return Err("it holds no tensor");
    }
    let end = reader.inner.stream_position().map_err(|_| "it cannot be read")?;
    if end.checked_add(last).is_none_or(|least| least >= bytes) {
        return Err("it is cut off: its last tensor begins behind its end");
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Vec<u8> {
        [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
    }

    fn good() -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(3_u32.to_le_bytes());
        out.extend(1_u64.to_le_bytes());
        out.extend(3_u64.to_le_bytes());
        out.extend([text("general.architecture"), 8_u32.to_le_bytes().to_vec(), text("llama")].concat());
        out.extend([text("llama.context_length"), 4_u32.to_le_bytes().to_vec(), 2048_u32.to_le_bytes().to_vec()].concat());
        out.extend([text("tokenizer.ggml.tokens"), 9_u32.to_le_bytes().to_vec(), 8_u32.to_le_bytes().to_vec(), 2_u64.to_le_bytes().to_vec(), text("a"), text("b")].concat());
        out.extend([text("t"), 2_u32.to_le_bytes().to_vec(), 4_u64.to_le_bytes().to_vec(), 2_u64.to_le_bytes().to_vec(), 0_u32.to_le_bytes().to_vec(), 0_u64.to_le_bytes().to_vec()].concat());
        out.extend([0; 32]);
        out
    }

    #[test]
    fn reads_what_is_sound_and_refuses_every_beginning_of_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("m.gguf");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("a file");
            header(&path)
        };
        let bytes = good();
        let header = read(&bytes).expect("sound");
        assert_eq!(header.texts["general.architecture"], "llama");
        assert_eq!((header.numbers["llama.context_length"], header.lists["tokenizer.ggml.tokens"]), (2048, 2));
        assert_eq!(header.tensors["t"], [4, 2]);
        for length in 0..bytes.len() - 32 {
            let error = read(&bytes[..length]).expect_err("cut off");
            assert!(error.to_string().contains("no sound GGUF"), "{length}: {error}");
        }
        let mut wild = bytes.clone();
        wild[8..16].fill(0xff);
        assert!(read(&wild).expect_err("a wild count").to_string().contains("past all bounds"));
        wild = bytes.clone();
        wild[4] = 9;
        assert!(read(&wild).expect_err("another version").to_string().contains("version"));
        assert!(read(b"PK\x03\x04 something else").expect_err("no GGUF").to_string().contains("begin with GGUF"));
    }
}
