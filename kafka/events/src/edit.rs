//! What users change of their profile. Each change is a record of its own; forgetting the record undoes the change.

use serde::{Deserialize, Serialize};

/// One change, as part of a [`crate::Body`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileEdit {
    /// What is done.
    pub op: ProfileOp,
    /// Attribute of the fact, such as `home`.
    pub attribute: String,
    /// Whom the fact is about: `self`, or a name.
    pub about: String,
    /// Value of the fact; absent: whatever it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What is right, of a correction; absent: the value was wrong and nothing takes its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead: Option<String>,
}

/// What an edit does to the facts it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProfileOp {
    /// It was never so.
    Correct,
    /// Keep it in sight, and do not let it go stale.
    Pin,
    /// Keep it, and do not use it in answers.
    Mute,
    /// Leave it out of the profile, however often it is said.
    Forget,
}
