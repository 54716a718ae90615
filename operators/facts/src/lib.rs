//! Facts about people, read from what they say.
//!
//! - [`read`]: what the rules find in a text, English and Finnish ([`Fact`]); the rules are the files in `rules/`.
//! - [`ground()`]: what a model found, in the same form, checked against the text.
//! - [`profile`]: what is known of a person, from all that was said and what the user changed.
//! - [`schema`]: the part of JSON schema that models' answers are held to.
//!
//! Holds always: the same text and the same time give the same facts, in the order of the text; a span stands on borders of
//! characters; the work grows with the length of the text ([`read_counted`]). No clock, no I/O, no randomness, no panic.
//! Not promised: that everything said is found. A sentence that may mean something else (a question, a quote, a wish, what
//! others say) gives nothing.

mod capture;
mod date;
mod date_words;
mod fact;
mod finnish;
mod ground;
mod guard;
mod lexicon;
mod object;
mod pattern;
mod places;
pub mod profile;
mod reader;
mod rule;
pub mod schema;
mod words;

pub use fact::{Attribute, Fact, Polarity, SELF};
pub use ground::{GroundError, ground};
pub use reader::{RULES_VERSION, read, read_counted};
pub use rule::{RuleText, rules};
