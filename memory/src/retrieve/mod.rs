//! Finding the turns a question is about: many cheap signals over one user's own turns, summed.
//!
//! The recipe is measured (docs/retrieval.md): 22 signals, each within 0..1 over the user's turns for this question, are
//! weighted and summed; then the first place is settled among the best five, and a question for several things spreads its
//! hits over sessions. What matters is the set of signals, hardly the weights.
//!
//! Holds always: the same turns give the same ranking, whatever order they came in and whatever came and went between; one
//! [`Arena`] holds one user, so no other user's turn can be found in it; without a vector (`&[]`) a search goes by words alone.
//! Not promised: that a signal which is a habit of dated, named conversations helps elsewhere; it then gives 0 to all turns.
//! After a crash: an arena is rebuilt from Postgres.

mod arena;
mod document;
mod kinds;
mod layout;
mod lexical;
mod lexicon;
mod options;
mod period;
mod question;
mod score;
mod select;
mod signals;
#[cfg(test)]
mod speed;
#[cfg(test)]
mod tests;
mod vectors;

pub use arena::Arena;
pub use lexicon::Language;
pub use options::{Evidence, Found, Hit, SearchOptions, TimeUse};
pub use question::PreparedQuery;
pub use signals::{Signal, Signals, UnknownSignal};
