//! The profile: what is known of a person, made of what was said and of what the user changed.
//!
//! [`derive()`] is a pure function of a set of claims and edits: what a later claim contradicts is superseded and kept as history, and
//! comes back when the later claim goes. Nothing here knows the time: entries carry when they hold, and [`Entry::state`] is asked at a time.
//!
//! Holds always: the same claims and edits give the same entries in whatever order they come; every entry names at least one source.
//! Not promised: that a contradiction over several attributes is seen, except for those of [`depends_on`] and likes against dislikes.

mod batch;
mod derive;
mod entry;
mod habits;
mod rules;
mod topics;

pub use batch::{DAY_US, Document, Turn, batch, claims, fact_body, interest_body, use_body};
pub use derive::derive;
pub use entry::{Cause, Entry, Flags, Source, State};
pub use habits::{HOURS, Habits};
pub use rules::{depends_on, one_at_a_time};
pub use topics::topics;

use ajatus_events::ProfileEdit;
use serde::{Deserialize, Serialize};

use crate::{Fact, Polarity};

/// Changes when the same claims, edits and turns give another profile: rules of superseding, topics, or the form of a document.
pub const VERSION: u32 = 1;

/// One thing that was said, with who can answer for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Claim {
    /// When it was said, microseconds since 1970; the first field, because later words win over earlier ones.
    pub said_us: i64,
    /// The turn, or the edit.
    pub turn: String,
    /// First byte in the turn's text.
    pub start: i64,
    /// Behind the last byte.
    pub end: i64,
    /// Such as `home`. Any word: users may add what rules do not know.
    pub attribute: String,
    /// `self`, or a name.
    pub about: String,
    /// As said; `*`: whatever it was.
    pub value: String,
    /// Is, was, or is not.
    pub polarity: Polarity,
    /// 0 to 100.
    pub confidence: u8,
    /// From when, microseconds since 1970; `None`: not said.
    pub valid_from_us: Option<i64>,
    /// Until when, exclusive; `None`: not said.
    pub valid_to_us: Option<i64>,
    /// Rule or prompt.
    pub rule: String,
    /// Version of the rules, or the model.
    pub version: String,
}

impl Claim {
    /// A fact that a turn gave.
    #[must_use]
    pub fn of(fact: Fact, turn: &str, said_us: i64) -> Self {
        let narrow = |place: usize| i64::try_from(place).unwrap_or(i64::MAX);
        Self {
            said_us,
            turn: turn.to_owned(),
            start: narrow(fact.start),
            end: narrow(fact.end),
            attribute: fact.attribute.as_str().to_owned(),
            about: fact.about,
            value: fact.value,
            polarity: fact.polarity,
            confidence: fact.confidence,
            valid_from_us: fact.valid_from_us,
            valid_to_us: fact.valid_to_us,
            rule: fact.rule,
            version: fact.version,
        }
    }
}

/// One change by the user.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Edit {
    /// When it was made, microseconds since 1970.
    pub at_us: i64,
    /// Id of its record.
    pub id: String,
    /// What it changes.
    pub edit: ProfileEdit,
}

/// Values that differ in case and space only are one value.
#[must_use]
pub(crate) fn folded(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}
