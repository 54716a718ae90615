//! The registry of models: those that come with the companion, and those that an operator adds.
//!
//! The added ones stand in `models/registry.toml` of the data folder, the built-in ones in `inference/registry.toml`; each with the BLAKE3 hash of
//! every file. Holds always: a model that is added could be read in form (headers, tokenizer, shapes); the file is replaced whole.
//! Not promised: that a model which is sound in form answers well, or that this program has a network for it.
//! After a crash: the registry as it was before or after.

mod adapter;
mod configured;
mod gguf;
mod inspect;
mod safetensors;
mod verify;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub(crate) use configured::settle;
pub(crate) use inspect::{Inspected, inspect, parameters};
pub(crate) use verify::{Damage, verify};

use crate::config::Config;
use crate::exit::{Ended, Exit};

/// Those that come with the companion.
const BUILT_IN: &str = include_str!("../inference/registry.toml");
/// Characters of a name at most.
const MAX_NAME: usize = 100;

/// What a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Task {
    /// Text to a vector.
    Embedding,
    /// Text to text.
    Chat,
}

/// A LoRA adapter over a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Adapter {
    /// Its folder.
    pub(crate) path: PathBuf,
    /// Rank of its matrices.
    pub(crate) rank: u32,
    /// What it says its base is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) base: Option<String>,
    /// BLAKE3 of each file, by its path in the folder.
    pub(crate) files: BTreeMap<String, String>,
}

/// One model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// Where it is: a file or a folder; of a built-in one, in the folder of what the set-up fetched.
    pub(crate) path: PathBuf,
    /// What it is for.
    pub(crate) task: Task,
    /// What stands for the weights in the memo: the base's and the adapter's.
    pub(crate) weights: String,
    /// Family of networks: `llama`, `mistral`, `bert`.
    pub(crate) architecture: String,
    /// Tokens it was made for; none if its files do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) context_tokens: Option<u64>,
    /// Numbers it consists of.
    pub(crate) parameters: u64,
    /// First 16 hex digits of the BLAKE3 hash of its chat template, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) chat_template: Option<String>,
    /// The licence, if its files say one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) licence: Option<String>,
    /// BLAKE3 of each file, by its path in the folder.
    pub(crate) files: BTreeMap<String, String>,
    /// An adapter that is put over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) adapter: Option<Adapter>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    models: BTreeMap<String, Entry>,
}

/// Every known model.
pub(crate) struct Registry {
    path: PathBuf,
    /// By name, with whether it is built in.
    models: BTreeMap<String, (Entry, bool)>,
}

fn refuse(path: &Path, what: impl std::fmt::Display) -> anyhow::Error {
    Ended::new(Exit::Unusable, format!("{}: {what}", path.display()))
}

impl Registry {
    /// Reads it.
    ///
    /// # Errors
    /// [`Exit::Unusable`] if the data folder's registry cannot be read.
    pub(crate) fn open(config: &Config) -> anyhow::Result<Self> {
        let path = config.data.join("models/registry.toml");
        let built_in: File = toml::from_str(BUILT_IN)?;
        let mut models: BTreeMap<String, (Entry, bool)> = BTreeMap::new();
        for (name, mut entry) in built_in.models {
            entry.path = config.assets.join(&entry.path);
            models.insert(name, (entry, true));
        }
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let added: File = toml::from_str(&text).map_err(|error| refuse(&path, format!("it is no registry of models: {error}")))?;
                models.extend(added.models.into_iter().map(|(name, entry)| (name, (entry, false))));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(refuse(&path, error)),
        }
        Ok(Self { path, models })
    }

    /// Every model by name, with whether it is built in.
    pub(crate) fn models(&self) -> impl Iterator<Item = (&str, &Entry, bool)> {
        self.models.iter().map(|(name, (entry, built_in))| (name.as_str(), entry, *built_in))
    }

    /// The model of a name.
    ///
    /// # Errors
    /// [`Exit::Usage`] when there is none, with the names there are.
    pub(crate) fn model(&self, name: &str) -> anyhow::Result<&Entry> {
        self.models.get(name).map(|(entry, _)| entry).ok_or_else(|| {
            let names: Vec<&str> = self.models.keys().map(String::as_str).collect();
            Ended::new(Exit::Usage, format!("there is no model {name:?} in the registry; it has {}", names.join(", ")))
        })
    }

    /// Adds a model, and writes the registry.
    ///
    /// # Errors
    /// [`Exit::Usage`] if the name is taken by another model or is none; [`Exit::Unusable`] if the registry cannot be written.
    pub(crate) fn add(&mut self, name: &str, entry: Entry) -> anyhow::Result<()> {
        let printable = name.chars().all(|letter| letter.is_alphanumeric() || matches!(letter, '-' | '_' | '.' | ':'));
        if name.is_empty() || name.chars().count() > MAX_NAME || !printable {
            let message = format!("{name:?} is no name for a model: 1 to {MAX_NAME} letters, digits and `-_.:`; give --name");
            return Err(Ended::new(Exit::Usage, message));
        }
        match self.models.get(name) {
            Some((held, _)) if *held == entry => return Ok(()),
            Some(_) => return Err(Ended::new(Exit::Usage, format!("there is another model {name:?} in the registry already; give --name"))),
            None => {}
        }
        self.models.insert(name.to_owned(), (entry, false));
        let added = self.models.iter().filter(|(_, (_, built_in))| !built_in).map(|(name, (entry, _))| (name.clone(), entry.clone()));
        let text = toml::to_string_pretty(&File { models: added.collect() })?;
        let part = self.path.with_extension("part");
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let written = std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&part, text))
            .and_then(|()| std::fs::File::open(&part)?.sync_all())
            .and_then(|()| std::fs::rename(&part, &self.path));
        written.map_err(|error| refuse(&self.path, format!("it cannot be written: {error}")))
    }
}

/// BLAKE3 of a file.
fn hash(path: &Path) -> anyhow::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    std::fs::File::open(path).and_then(|file| hasher.update_reader(file).map(drop)).map_err(|error| refuse(path, error))?;
    Ok(hasher.finalize())
}

/// First 16 hex digits.
fn short(hash: &blake3::Hash) -> String {
    hash.to_hex().chars().take(16).collect()
}
