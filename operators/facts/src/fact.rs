//! What a fact is: one form for rules and models.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Whom a fact is about if it is about the one who speaks.
pub const SELF: &str = "self";

macro_rules! attributes {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal,)+) => {
        /// What of a person a fact tells.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum Attribute {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Attribute {
            /// Every attribute.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// As it is written.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word),+
                }
            }
        }
    };
}

attributes! {
    /// What somebody is called.
    Name = "name",
    /// Whole years.
    Age = "age",
    /// `1990-05-12`, `05-12` or `1990`.
    Birthday = "birthday",
    /// City or country where somebody lives.
    Home = "home",
    /// City or country where somebody comes from.
    Origin = "origin",
    /// Whom somebody works for.
    Employer = "employer",
    /// What somebody does for a living.
    Profession = "profession",
    /// What somebody studies.
    Studies = "studies",
    /// Where somebody studies.
    School = "school",
    /// `married`, `divorced`, `single`, `engaged`, `widowed`.
    MaritalStatus = "marital_status",
    /// Wife or husband.
    Spouse = "spouse",
    /// Whom somebody is together with, without marriage.
    Partner = "partner",
    /// A son or a daughter.
    Child = "child",
    /// How many children.
    Children = "children",
    /// A brother or a sister.
    Sibling = "sibling",
    /// Mother or father.
    Parent = "parent",
    /// Grandmother or grandfather.
    Grandparent = "grandparent",
    /// Any other relative.
    Relative = "relative",
    /// A friend.
    Friend = "friend",
    /// An animal of theirs: its name, else its kind.
    Pet = "pet",
    /// What kind of animal the one with this name is.
    Species = "species",
    /// What somebody likes.
    Likes = "likes",
    /// What somebody does not like.
    Dislikes = "dislikes",
    /// A language that somebody speaks.
    Language = "language",
    /// What somebody is allergic to.
    Allergy = "allergy",
    /// `vegan`, `vegetarian`, or `no` and what is not eaten.
    Diet = "diet",
    /// What somebody is going to do, and when.
    Plan = "plan",
}

impl fmt::Display for Attribute {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl FromStr for Attribute {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        Self::ALL.iter().copied().find(|attribute| attribute.as_str() == word).ok_or(())
    }
}

/// Whether the value is, was, or is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Polarity {
    /// It is so, within the valid time.
    Holds,
    /// It was so and is no longer: `valid_to` says since when.
    Ended,
    /// It is not so.
    Denied,
}

impl Polarity {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Ended => "ended",
            Self::Denied => "denied",
        }
    }
}

/// One fact, with where it stands and what found it.
///
/// The value `*` of a fact that has ended or is denied means: whatever it was (`I quit my job`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fact {
    /// What it tells.
    pub attribute: Attribute,
    /// The value; names and places in their base form where the rules know it.
    pub value: String,
    /// [`SELF`], a name, or a relation word such as `sister` where no name is said.
    pub about: String,
    /// Whether it is, was, or is not.
    pub polarity: Polarity,
    /// How sure it is, 0 to 100; see `docs/facts.md` for the scale.
    pub confidence: u8,
    /// From when it is so, microseconds since 1970, inclusive; `None`: not said.
    pub valid_from_us: Option<i64>,
    /// Until when it is so, exclusive; `None`: not said.
    pub valid_to_us: Option<i64>,
    /// Where it stands: the first byte in the text.
    pub start: usize,
    /// Behind the last byte.
    pub end: usize,
    /// Which rule found it, such as `en.home.live`, or which prompt, such as `facts.v1`.
    pub rule: String,
    /// Version of the rules, or the model.
    pub version: String,
}
