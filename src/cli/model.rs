//! The command line of `ajatus model`.

use std::path::PathBuf;

use clap::Subcommand;
use serde::{Deserialize, Serialize};

/// `ajatus model …`.
#[derive(Clone, Debug, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ModelCommand {
    /// List the models that are known: those that come with the companion, and those that were added.
    List,
    /// Read a model's files in form, hash them, and add it to the registry; a name in the registry can stand in the configuration.
    Add {
        /// A GGUF file, a folder with one, or a folder with safetensors.
        path: PathBuf,
        /// What it is called here. Default: as its file or folder is called.
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// A LoRA adapter to put over it: a folder with adapter_config.json and adapter_model.safetensors.
        #[arg(long, value_name = "DIR")]
        adapter: Option<PathBuf>,
    },
    /// Hash the files again and name those that are missing or changed.
    Verify {
        /// Which models. Default: all.
        names: Vec<String>,
    },
}
