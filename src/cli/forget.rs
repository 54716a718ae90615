//! The command line of `ajatus forget`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// `ajatus forget …`.
#[derive(Clone, Debug, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ForgetCommand {
    /// Forget one turn, or several.
    Turn {
        /// Which, as `ajatus memory search --json` names them.
        #[arg(required = true)]
        ids: Vec<Uuid>,
        /// Whose, and how.
        #[command(flatten)]
        how: ForgetHow,
    },
    /// Forget a conversation, its name included.
    Conversation {
        /// Its id or its name.
        conversation: String,
        /// Whose, and how.
        #[command(flatten)]
        how: ForgetHow,
    },
    /// Forget what was said in a time.
    Range {
        /// From: a day (it begins at midnight, UTC), or a time of RFC 3339.
        #[arg(long, value_name = "TIME")]
        from: String,
        /// To before: likewise.
        #[arg(long, value_name = "TIME")]
        to: String,
        /// Whose, and how.
        #[command(flatten)]
        how: ForgetHow,
    },
    /// Forget the turns that hold all of these words, in any form of theirs; without --yes they are only shown.
    Topic {
        /// The words.
        #[arg(required = true)]
        words: Vec<String>,
        /// Whose, and how.
        #[command(flatten)]
        how: ForgetHow,
    },
    /// Forget no turn that is there, but take off the disk what edits have replaced and what was forgotten before.
    Replaced {
        /// Whose, and how.
        #[command(flatten)]
        how: ForgetHow,
    },
    /// Forget an account: every turn, the key, the login. The name is free again.
    Account {
        /// Whose, and how.
        #[command(flatten)]
        how: ForgetHow,
    },
    /// Check that a receipt is as this installation signed it.
    Verify {
        /// The file.
        receipt: PathBuf,
    },
    /// Search the raw bytes of every file of the data folder for what was forgotten; exit code 1 if any is left.
    Prove(ProveArgs),
}

/// Whose turns are forgotten, and how.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub(crate) struct ForgetHow {
    /// Whose.
    #[arg(long, value_name = "NAME")]
    pub(crate) user: String,
    /// Only say what would be forgotten.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Also forget the companion's answers that were given what is forgotten.
    #[arg(long)]
    pub(crate) with_answers: bool,
    /// Write the receipt, with its witnesses, to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) receipt: Option<PathBuf>,
    /// Do it without being asked: an account and a topic need it.
    #[arg(long)]
    pub(crate) yes: bool,
}

/// `ajatus forget prove` and `ajatus memory prove-forgotten`.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub(crate) struct ProveArgs {
    /// A receipt whose witnesses are looked for; may be given several times.
    #[arg(long, value_name = "FILE")]
    pub(crate) receipt: Vec<PathBuf>,
    /// A text that is looked for, 8 bytes at least; may be given several times.
    #[arg(long, value_name = "TEXT")]
    pub(crate) canary: Vec<String>,
    /// The folder. Default: the data folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
}

impl ForgetCommand {
    /// Whose and how, of those that forget.
    pub(crate) fn how_mut(&mut self) -> Option<&mut ForgetHow> {
        match self {
            Self::Turn { how, .. }
            | Self::Conversation { how, .. }
            | Self::Range { how, .. }
            | Self::Topic { how, .. }
            | Self::Replaced { how }
            | Self::Account { how } => Some(how),
            Self::Verify { .. } | Self::Prove(_) => None,
        }
    }
}
