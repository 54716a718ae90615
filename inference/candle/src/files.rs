//! Files of a model: found, hashed, refused with a reason.

use std::fs::File;
use std::path::{Path, PathBuf};

use ajatus_inference::{InferenceError, ModelIdentity};

/// Files of an adapter's folder, in the order in which they are hashed.
pub(crate) const ADAPTER: [&str; 2] = ["adapter_config.json", "adapter_model.safetensors"];

/// A refusal that names the file.
pub(crate) fn refuse(path: &Path, reason: impl std::fmt::Display) -> InferenceError {
    InferenceError::Model { path: path.display().to_string(), reason: reason.to_string() }
}

/// A failure of the device or of our use of it.
pub(crate) fn broken(error: impl std::fmt::Display) -> InferenceError {
    InferenceError::Backend { reason: error.to_string() }
}

/// Reads a small file of a model.
pub(crate) fn read(path: &Path) -> Result<String, InferenceError> {
    std::fs::read_to_string(path).map_err(|error| refuse(path, format!("{error}; run `tools/setup`, or mend the model's path in ajatus.toml")))
}

/// The weights of a folder: `model.safetensors`, or its numbered parts.
pub(crate) fn safetensors(folder: &Path) -> Result<Vec<PathBuf>, InferenceError> {
    let single = folder.join("model.safetensors");
    if single.is_file() {
        return Ok(vec![single]);
    }
    let mut parts: Vec<PathBuf> = std::fs::read_dir(folder)
        .map_err(|error| refuse(folder, format!("{error}; run `tools/setup`, or mend the model's path in ajatus.toml")))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"))
        .collect();
    // Where there are numbered parts, another file is the same weights once more (Mistral's `consolidated.safetensors`).
    let numbered = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("model-"));
    if parts.iter().any(numbered) {
        parts.retain(numbered);
    }
    parts.sort();
    if parts.is_empty() {
        return Err(refuse(folder, "there is no *.safetensors file; run `tools/setup`, or mend the model's path in ajatus.toml"));
    }
    Ok(parts)
}

/// Names a model by its weights: first 16 hex digits of the BLAKE3 hash over the files in order; with an adapter, of the hash over that hash's 32 bytes and the
/// adapter's files.
///
/// # Errors
/// [`InferenceError::Model`] if a file cannot be read, or the hash is not the one wanted.
pub(crate) fn identify(name: &str, files: &[PathBuf], adapter: Option<&Path>, want: Option<&str>) -> Result<ModelIdentity, InferenceError> {
    let mut hasher = blake3::Hasher::new();
    for path in files {
        let file = File::open(path).map_err(|error| refuse(path, error))?;
        hasher.update_reader(file).map_err(|error| refuse(path, error))?;
    }
    if let Some(folder) = adapter {
        let base = hasher.finalize();
        hasher = blake3::Hasher::new();
        hasher.update(base.as_bytes());
        for name in ADAPTER {
            let path = folder.join(name);
            let file = File::open(&path).map_err(|error| refuse(&path, format!("{error}; is this the folder of an adapter?")))?;
            hasher.update_reader(file).map_err(|error| refuse(&path, error))?;
        }
    }
    let weights: String = hasher.finalize().to_hex().chars().take(16).collect();
    if let (Some(want), Some(path)) = (want, files.first())
        && want != weights
    {
        return Err(refuse(path, format!("the weights' hash is {weights}, but {want} is configured: another or a damaged file")));
    }
    Ok(ModelIdentity { name: name.to_owned(), weights })
}

/// Threads to use: what is wanted, else one per core.
pub(crate) fn threads(want: Option<usize>) -> usize {
    want.filter(|count| *count > 0).unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
}

/// A pool of its own, so that the model keeps to its threads.
pub(crate) fn pool(name: &'static str, threads: usize) -> Result<rayon::ThreadPool, InferenceError> {
    rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(move |at| format!("{name} {at}")).build().map_err(broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_parts_go_before_the_same_weights_in_another_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let names = |found: Vec<PathBuf>| -> Vec<String> { found.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect() };
        let write = |name: &str| std::fs::write(folder.path().join(name), b"").expect("written");
        assert!(safetensors(folder.path()).is_err());
        write("consolidated.safetensors");
        assert_eq!(names(safetensors(folder.path()).expect("found")), ["consolidated.safetensors"]);
        write("model-00002-of-00002.safetensors");
        write("model-00001-of-00002.safetensors");
        assert_eq!(names(safetensors(folder.path()).expect("found")), ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]);
        write("model.safetensors");
        assert_eq!(names(safetensors(folder.path()).expect("found")), ["model.safetensors"]);
    }
}
