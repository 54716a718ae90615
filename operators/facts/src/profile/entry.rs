//! One entry of a profile.

use serde::{Deserialize, Serialize};

/// One thing known of a person, for one stretch of time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Entry {
    /// `self`, or a name.
    pub about: String,
    /// Such as `home`.
    pub attribute: String,
    /// As last said; empty once the user had it forgotten.
    pub value: String,
    /// Which stretch of time this is, if the value came back: from 0.
    pub stint: u32,
    /// From when it is so, microseconds since 1970; `None`: it is only known that it was.
    pub from_us: Option<i64>,
    /// Until when, exclusive; `None`: it still is.
    pub to_us: Option<i64>,
    /// 0 to 100: the claims' confidences taken together as if they erred apart from each other, 99 at most, 100 of the user's own correction.
    pub confidence: u8,
    /// What ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<Cause>,
    /// What it depended on has changed since it was last said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale: Option<Cause>,
    /// What the user did to it.
    #[serde(default, skip_serializing_if = "Flags::none")]
    pub flags: Flags,
    /// Who said so, in order of saying.
    pub sources: Vec<Source>,
}

/// Where an entry comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Source {
    /// The turn, or the user's edit.
    pub turn: String,
    /// When it was said, microseconds since 1970.
    pub said_us: i64,
    /// First byte of the words in the turn's text.
    pub start: i64,
    /// Behind the last byte.
    pub end: i64,
    /// 0 to 100.
    pub confidence: u8,
    /// Rule or prompt.
    pub rule: String,
    /// Version of the rules, or the model.
    pub version: String,
}

/// What ended an entry, or made it doubtful.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cause {
    /// `superseded`, `ended`, `denied`, `corrected`, or the attribute that changed.
    pub why: String,
    /// From when, microseconds since 1970.
    pub at_us: i64,
    /// The value that took its place, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The turn or edit that says so.
    pub turn: String,
}

/// What the user did to an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Flags {
    /// Kept in sight.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
    /// Not used in answers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub muted: bool,
    /// Left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forgotten: bool,
}

impl Flags {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    fn none(&self) -> bool {
        *self == Self::default()
    }
}

/// What an entry is at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is so.
    Current,
    /// It will be so.
    Upcoming,
    /// It is so as far as was said, but what it depends on has changed since.
    Stale,
    /// It was so.
    Past,
    /// Something else took its place.
    Superseded,
    /// The user said that it was never so.
    Corrected,
    /// The user had it left out.
    Forgotten,
}

impl State {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Upcoming => "upcoming",
            Self::Stale => "stale",
            Self::Past => "past",
            Self::Superseded => "superseded",
            Self::Corrected => "corrected",
            Self::Forgotten => "forgotten",
        }
    }
}

impl Entry {
    /// What it is at a time, microseconds since 1970.
    #[must_use]
    pub fn state(&self, now_us: i64) -> State {
        let cause = self.ended_by.as_ref().map(|cause| cause.why.as_str());
        if self.flags.forgotten {
            State::Forgotten
        } else if cause == Some("corrected") {
            State::Corrected
        } else if self.to_us.is_some_and(|to| to <= now_us) {
            if cause == Some("superseded") { State::Superseded } else { State::Past }
        } else if self.from_us.is_some_and(|from| from > now_us) {
            State::Upcoming
        } else if self.stale.as_ref().is_some_and(|stale| stale.at_us <= now_us) && !self.flags.pinned {
            State::Stale
        } else {
            State::Current
        }
    }

    /// Names the entry among those of one user.
    #[must_use]
    pub fn name(&self) -> String {
        // A forgotten one has no value any more; it is named by what made it so.
        let value = if self.flags.forgotten { self.sources.first().map(|source| source.turn.clone()).unwrap_or_default() } else { super::folded(&self.value) };
        format!("{}\u{1f}{}\u{1f}{value}\u{1f}{}", self.about, self.attribute, self.stint)
    }
}
