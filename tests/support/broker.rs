//! A real Apache Kafka on loopback.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A broker on a folder; stopped by its pid when dropped.
pub struct Broker {
    folder: PathBuf,
    /// `host:port`.
    pub address: String,
}

fn script(name: &str) -> PathBuf {
    super::root().join("kafka/broker").join(name)
}

impl Broker {
    /// Starts it, and waits until it answers.
    pub fn start(folder: &Path) -> Self {
        let started = Command::new(script("start")).arg(folder).output().expect("the start script runs");
        assert!(started.status.success(), "no broker: {}", String::from_utf8_lossy(&started.stderr));
        Self { folder: folder.to_path_buf(), address: String::from_utf8_lossy(&started.stdout).trim().to_owned() }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        Command::new(script("stop")).arg(&self.folder).status().ok();
    }
}
