//! The command line of `ajatus memo`.

use clap::Subcommand;
use serde::{Deserialize, Serialize};

/// `ajatus memo …`.
#[derive(Clone, Debug, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MemoCommand {
    /// Say what models have answered, by model and prompt: how many answers, how large, how old, and how many a live turn needs.
    Stats,
    /// Forget the answers that no live turn needs.
    Gc {
        /// Only say what would be forgotten.
        #[arg(long)]
        dry_run: bool,
    },
}
