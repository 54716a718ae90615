//! Finding the turns a question is about: many cheap signals over one user's own turns, summed.
//!
//! The recipe is measured (18 signals, weights fitted on five conversations; each normalised to 0..1 over the user's turns
//! for this question, then summed); what matters is the set of signals, hardly the weights.
//!
//! Holds always: the same turns give the same ranking, whatever order they came in and whatever came and went between; one
//! [`Arena`] holds one user, so no other user's turn can be found in it.
//! Not promised: that a signal which is a habit of dated, named conversations helps elsewhere; it then gives 0 to all turns.
//! After a crash: an arena is rebuilt from Postgres.

mod arena;
mod document;
mod lexicon;
mod question;
mod score;
mod signals;

pub use arena::{Arena, Hit};
pub use lexicon::Language;
pub use question::PreparedQuery;
pub use signals::{SearchOptions, Signal, Signals};
