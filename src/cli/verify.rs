//! The command line of `ajatus memory verify`.

use clap::Args;
use serde::{Deserialize, Serialize};

/// `ajatus memory verify`.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub(crate) struct VerifyArgs {
    /// Only this user. Default: everybody.
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// Make what differs anew from Postgres, and profiles from the turns.
    #[arg(long)]
    pub(crate) repair: bool,
    /// Users whose rows are compared byte for byte, bodies and vectors; which ones changes with the epoch.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) vectors: u32,
}
