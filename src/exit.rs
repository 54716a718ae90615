//! Exit codes: what a script may rely on. The table also stands in the README.

use serde::{Deserialize, Serialize};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Exit {
    /// Everything was done.
    Done,
    /// It failed for a reason named on standard error.
    Failed,
    /// The command line or the configuration is wrong (clap uses the same number).
    Usage,
    /// Done, but some input was refused and stands in `dead-letters`.
    Partly,
    /// A part cannot be reached or its place is taken: Postgres, Kafka, the port, the data folder.
    Unavailable,
    /// A file cannot be used: a model, a format, a missing input.
    Unusable,
    /// Interrupted by Ctrl-C or SIGTERM.
    Interrupted,
}

impl Exit {
    /// The number the shell sees.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Partly => 3,
            Self::Unavailable => 4,
            Self::Unusable => 5,
            Self::Interrupted => 130,
        }
    }
}

impl Exit {
    /// How a process of ours ended; a number that is none of these is a failure.
    pub(crate) fn of_code(code: Option<i32>) -> Self {
        let all = [Self::Done, Self::Failed, Self::Usage, Self::Partly, Self::Unavailable, Self::Unusable, Self::Interrupted];
        all.into_iter().find(|exit| code == Some(i32::from(exit.code()))).unwrap_or(Self::Failed)
    }
}

/// An error that chooses its exit code; anything else ends with [`Exit::Failed`].
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Ended {
    /// Which code.
    pub(crate) exit: Exit,
    /// What, where, and what to do.
    pub(crate) message: String,
}

impl Ended {
    /// An error for `exit` that says `message`.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> anyhow::Error {
        Self { exit, message: message.into() }.into()
    }
}

/// The exit code that an error stands for.
pub(crate) fn of(error: &anyhow::Error) -> Exit {
    error.chain().find_map(|cause| cause.downcast_ref::<Ended>()).map_or(Exit::Failed, |ended| ended.exit)
}
