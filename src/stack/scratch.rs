//! Folders for measurements: a log, a database and keys that nobody else uses.

use std::path::{Path, PathBuf};

use crate::config::Config;

/// A folder that goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Temporary {
    path: PathBuf,
}

impl Temporary {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(folder = %self.path.display(), %error, "scratch folder stays behind");
        }
    }
}

/// Makes an empty folder in the system's temporary folder.
pub(crate) fn scratch_folder() -> anyhow::Result<Temporary> {
    let path = std::env::temp_dir().join(format!("ajatus-{}", uuid::Uuid::now_v7().simple()));
    std::fs::create_dir(&path)?;
    Ok(Temporary { path })
}

impl Config {
    /// This configuration on another data folder, with the embedded log and a private database: real services are not
    /// measured with scratch data in them.
    pub(crate) fn scratch(&self, folder: &Path) -> Self {
        let mut config = self.clone();
        config.data = folder.to_path_buf();
        config.log.kafka = None;
        config.postgres.url = None;
        // What is measured there is not this copy.
        config.memory.lance = false;
        config
    }
}
