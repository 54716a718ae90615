//! Whether the files of a model are still those that were added.

use std::path::Path;

use super::{Entry, hash};

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Damage {
    /// The file.
    pub(crate) path: String,
    /// `missing`, `changed`, or what the operating system said.
    pub(crate) what: String,
}

/// Hashes every file again. Blocks: a gigabyte takes about a second.
pub(crate) fn verify(entry: &Entry) -> Vec<Damage> {
    let folder = if entry.path.is_file() || entry.path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf")) {
        entry.path.parent().unwrap_or(Path::new("/"))
    } else {
        &entry.path
    };
    let own = entry.files.iter().map(|(name, want)| (folder.join(name), want));
    let over = entry.adapter.iter().flat_map(|adapter| adapter.files.iter().map(|(name, want)| (adapter.path.join(name), want)));
    own.chain(over)
        .filter_map(|(path, want)| {
            let what = match hash(&path) {
                _ if !path.exists() => "missing".to_owned(),
                Ok(found) if found.to_hex().as_str() == want => return None,
                Ok(_) => "changed".to_owned(),
                Err(error) => format!("{error:#}"),
            };
            Some(Damage { path: path.display().to_string(), what })
        })
        .collect()
}
