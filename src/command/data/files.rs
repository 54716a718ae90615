//! The files of a training set: written under other names first, so that none is found without its line in the trail.

use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ajatus_pipelines::{TrainingConversation, write_training_parquet};
use serde_json::{Value, json};

use super::taken;
use crate::cli::TrainingFormat;
use crate::exit::{Ended, Exit};

/// The parts of a set.
const PARTS: [&str; 2] = ["train", "valid"];
const MANIFEST: &str = "manifest.json";

/// A set that is being put together.
pub(super) struct Files {
    folder: PathBuf,
    format: TrainingFormat,
    parts: [Vec<TrainingConversation>; 2],
}

/// A set that is written and not yet named.
pub(super) struct Written {
    folder: PathBuf,
    names: Vec<String>,
    /// BLAKE3 of the manifest, hex.
    pub(super) hash: String,
    document: Value,
}

fn refuse(path: &Path, error: &dyn std::fmt::Display) -> anyhow::Error {
    Ended::new(Exit::Unusable, format!("{} cannot be written: {error}; give --out another folder", path.display()))
}

impl Files {
    /// Begins one in a folder; nothing is made yet.
    ///
    /// # Errors
    /// [`Exit::Unusable`] if it holds a set already.
    pub(super) fn begin(folder: &Path, format: TrainingFormat) -> anyhow::Result<Self> {
        let every: Vec<String> = PARTS.iter().flat_map(|part| [format!("{part}.jsonl"), format!("{part}.parquet")]).chain([MANIFEST.to_owned()]).collect();
        if let Some(path) = taken(folder, &every) {
            return Err(Ended::new(Exit::Unusable, format!("{} is there already; give --out another folder", path.display())));
        }
        Ok(Self { folder: folder.to_path_buf(), format, parts: [Vec::new(), Vec::new()] })
    }

    /// Takes a user's conversations.
    pub(super) fn add(&mut self, conversations: Vec<TrainingConversation>, valid: bool) {
        self.parts[usize::from(valid)].extend(conversations);
    }

    /// Writes every file under another name.
    ///
    /// # Errors
    /// [`Exit::Unusable`] with the path.
    pub(super) fn write(self, mut manifest: Value) -> anyhow::Result<Written> {
        // Opened words: nobody else may look into a folder that is made for them.
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        made.map_err(|error| refuse(&self.folder, &error))?;
        let mut names = Vec::new();
        let mut files = serde_json::Map::new();
        for (part, conversations) in PARTS.iter().zip(&self.parts) {
            let mut texts: Vec<(&str, Vec<u8>)> = Vec::new();
            if self.format != TrainingFormat::Parquet {
                let mut lines = Vec::new();
                for one in conversations {
                    serde_json::to_writer(&mut lines, one)?;
                    lines.push(b'\n');
                }
                texts.push(("jsonl", lines));
            }
            if self.format != TrainingFormat::Jsonl {
                let mut bytes = Vec::new();
                write_training_parquet(&mut bytes, conversations)?;
                texts.push(("parquet", bytes));
            }
            for (ending, bytes) in texts {
                let name = format!("{part}.{ending}");
                let about = json!({ "conversations": conversations.len(), "bytes": bytes.len(), "blake3": blake3::hash(&bytes).to_hex().as_str() });
                files.insert(name.clone(), about);
                self.put(&name, &bytes)?;
                names.push(name);
            }
        }
        manifest["files"] = Value::Object(files);
        let text = format!("{manifest:#}\n");
        self.put(MANIFEST, text.as_bytes())?;
        names.push(MANIFEST.to_owned());
        let hash = blake3::hash(text.as_bytes()).to_hex().to_string();
        manifest["content_hash"] = json!(hash);
        manifest["out"] = json!(self.folder);
        Ok(Written { folder: self.folder, names, hash, document: manifest })
    }

    fn put(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        use std::io::Write as _;
        let path = self.folder.join(format!("{name}.part"));
        // Nobody else may read them.
        let opened = std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&path);
        opened.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all())).map_err(|error| refuse(&path, &error))
    }
}

impl Written {
    /// Gives the files their names; what was written.
    ///
    /// # Errors
    /// [`Exit::Unusable`] with the path.
    pub(super) fn publish(self) -> anyhow::Result<Value> {
        for name in &self.names {
            let path = self.folder.join(name);
            std::fs::rename(self.folder.join(format!("{name}.part")), &path).map_err(|error| refuse(&path, &error))?;
        }
        Ok(self.document)
    }
}
