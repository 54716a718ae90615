//! The command line of `ajatus profile`.

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

/// `ajatus profile …`.
#[derive(Clone, Debug, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ProfileCommand {
    /// Show what is known: facts, interests, habits, and which memories were of use.
    Show(ProfileShowArgs),
    /// Say where a fact comes from: every turn that says it, with its words and the rule that read it.
    Why {
        #[command(flatten)]
        whose: Whose,
        /// Id of the fact, or its beginning (`ajatus profile show` prints it).
        id: String,
    },
    /// Say why a value is not in the profile: what ended it, or which turns hold the words and say no such fact.
    WhyNot {
        #[command(flatten)]
        whose: Whose,
        /// Words that one would expect.
        value: String,
        /// The attribute they would be of, such as `home`.
        #[arg(long)]
        attribute: Option<String>,
    },
    /// Say that a value was never so, and what is right.
    Correct {
        #[command(flatten)]
        fact: FactArgs,
        /// What is right; left out: the value was wrong and nothing takes its place.
        #[arg(long)]
        instead: Option<String>,
    },
    /// Keep a fact in sight, and do not let it go stale.
    Pin(FactArgs),
    /// Keep a fact, and do not use it in answers.
    Mute(FactArgs),
    /// Leave a fact out, however often it is said. (`ajatus forget` forgets what was said.)
    Forget(FactArgs),
    /// List the changes that stand.
    Edits(Whose),
    /// Take a change back.
    Undo {
        #[command(flatten)]
        whose: Whose,
        /// Id of the change.
        id: uuid::Uuid,
    },
}

/// Whose profile.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub(crate) struct Whose {
    /// Whose profile.
    #[arg(long, value_name = "NAME")]
    pub(crate) user: String,
}

/// `ajatus profile show`.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub(crate) struct ProfileShowArgs {
    #[command(flatten)]
    pub(crate) whose: Whose,
    /// As it was at an epoch, or at a time (RFC 3339), without what was forgotten since.
    #[arg(long, value_name = "EPOCH|TIME")]
    pub(crate) as_of: Option<String>,
    /// Show what is no longer so, too.
    #[arg(long)]
    pub(crate) history: bool,
    /// Days after which an interest counts half.
    #[arg(long, value_name = "DAYS", default_value_t = 30.0)]
    pub(crate) half_life: f64,
    /// Wait until the write with this receipt is in.
    #[arg(long, value_name = "RECEIPT")]
    pub(crate) after: Option<String>,
}

/// A fact that a change is about.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub(crate) struct FactArgs {
    #[command(flatten)]
    pub(crate) whose: Whose,
    /// Attribute of the fact, such as `home` or `likes`.
    pub(crate) attribute: String,
    /// Its value; left out: whatever it is.
    pub(crate) value: Option<String>,
    /// Whom it is about: `self`, or a name.
    #[arg(long, default_value = "self")]
    pub(crate) about: String,
}
