//! The command line of `ajatus keys`.

use clap::Subcommand;
use serde::{Deserialize, Serialize};

/// `ajatus keys …`.
#[derive(Clone, Debug, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KeysCommand {
    /// Say which keys there are, and whose are being replaced.
    Status,
    /// Replace data keys: everything is sealed anew while it stays readable, then the older key is destroyed. Interrupted, it goes on when it
    /// is run again.
    Rotate {
        /// Whose key; left out: everybody's.
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
    },
    /// Replace the root key, which wraps every data key. Back the new `root.key` up afterwards.
    RotateRoot,
}
