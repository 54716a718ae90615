//! The header of a safetensors file: names, types and shapes of its tensors.
//!
//! Source: the format's own description: eight bytes of length, little-endian; so many bytes of JSON; the tensors' bytes without gaps.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;

use super::refuse;

/// Bytes of a header at most, as the format has it.
const MAX_HEADER: u64 = 100_000_000;

/// A tensor as the header has it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Tensor {
    pub(super) dtype: String,
    pub(super) shape: Vec<u64>,
    data_offsets: [u64; 2],
}

impl Tensor {
    /// Numbers in it; nothing if that is past all bounds.
    pub(super) fn count(&self) -> Option<u64> {
        self.shape.iter().try_fold(1_u64, |product, side| product.checked_mul(*side))
    }
}

/// Bytes of one number.
fn size(dtype: &str) -> Option<u64> {
    Some(match dtype {
        "BOOL" | "U8" | "I8" | "F8_E5M2" | "F8_E4M3" => 1,
        "I16" | "U16" | "F16" | "BF16" => 2,
        "I32" | "U32" | "F32" => 4,
        "I64" | "U64" | "F64" => 8,
        _ => return None,
    })
}

/// Reads the header and holds it against the file's length.
///
/// # Errors
/// With the file and what is wrong with it.
pub(super) fn header(path: &Path) -> anyhow::Result<BTreeMap<String, Tensor>> {
    let wrong = |what: String| refuse(path, format!("it is no sound safetensors file: {what}"));
    let mut file = std::fs::File::open(path).map_err(|error| refuse(path, error))?;
    let bytes = file.metadata().map_err(|error| refuse(path, error))?.len();
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(|_| wrong("it is shorter than eight bytes".to_owned()))?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER || length > bytes.saturating_sub(8) {
        return Err(wrong(format!("its header should have {length} bytes, but the file has {bytes}")));
    }
    let mut text = vec![0; usize::try_from(length)?];
    file.read_exact(&mut text).map_err(|error| refuse(path, error))?;
    let mut values: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(&text).map_err(|error| wrong(format!("its header is no JSON: {error}")))?;
    values.remove("__metadata__");
    let mut tensors = BTreeMap::new();
    let mut spans = Vec::new();
    for (name, value) in values {
        let tensor: Tensor = serde_json::from_value(value).map_err(|error| wrong(format!("tensor {name:?}: {error}")))?;
        let [from, to] = tensor.data_offsets;
        let wanted = size(&tensor.dtype).zip(tensor.count()).and_then(|(size, count)| count.checked_mul(size));
        if wanted.is_none() || to.checked_sub(from) != wanted {
            return Err(wrong(format!("tensor {name:?} of {} {:?} does not fit its place from {from} to {to}", tensor.dtype, tensor.shape)));
        }
        spans.push((from, to));
        tensors.insert(name, tensor);
    }
    spans.sort_unstable();
    let mut end = 0;
    for (from, to) in spans {
        if from != end {
            return Err(wrong(format!("there is a gap or an overlap at {end}")));
        }
        end = to;
    }
    if end != bytes - 8 - length {
        return Err(wrong(format!("its tensors take {end} bytes, but {} follow the header: it is cut off or has something behind", bytes - 8 - length)));
    }
    if tensors.is_empty() {
        return Err(wrong("it holds no tensor".to_owned()));
    }
    Ok(tensors)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A file with these f32 tensors, all zero.
    pub(in crate::registry) fn file(tensors: &[(&str, &[u64])]) -> Vec<u8> {
        let (mut header, mut at) = (serde_json::Map::new(), 0);
        for (name, shape) in tensors {
            let bytes = 4 * shape.iter().product::<u64>();
            header.insert((*name).to_owned(), serde_json::json!({ "dtype": "F32", "shape": shape, "data_offsets": [at, at + bytes] }));
            at += bytes;
        }
        let text = serde_json::Value::Object(header).to_string();
        let mut out = (text.len() as u64).to_le_bytes().to_vec();
        out.extend(text.into_bytes());
        out.resize(out.len() + usize::try_from(at).expect("small"), 0);
        out
    }

    #[test]
    fn reads_what_is_sound_and_names_what_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("m.safetensors");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("a file");
            header(&path)
        };
        let good = file(&[("a", &[2, 3]), ("b", &[4])]);
        let tensors = read(&good).expect("sound");
        assert_eq!((tensors["a"].shape.as_slice(), tensors["b"].count()), (&[2, 3][..], Some(4)));
        let mut long = good.clone();
        long.push(0);
        let text = |json: &str, data: usize| [&(json.len() as u64).to_le_bytes()[..], json.as_bytes(), &vec![0; data]].concat();
        for (bytes, said) in [
            (b"abc".to_vec(), "shorter than eight bytes"),
            (good[..good.len() - 1].to_vec(), "it is cut off"),
            (long, "something behind"),
            (u64::MAX.to_le_bytes().to_vec(), "its header should have"),
            (text("{nonsense", 0), "is no JSON"),
            (text("{}", 0), "holds no tensor"),
            (text(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, 4), "does not fit its place"),
            (text(r#"{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}"#, 4), "does not fit its place"),
            (text(r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}"#, 4), "does not fit its place"),
            (text(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, 8), "gap or an overlap"),
        ] {
            let error = read(&bytes).expect_err(said);
            assert!(error.to_string().contains(said) && error.to_string().contains("m.safetensors"), "{said}: {error}");
        }
        for length in 0..good.len() {
            assert!(read(&good[..length]).is_err(), "cut off after {length} bytes");
        }
    }
}
