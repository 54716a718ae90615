//! Nearest neighbours for one user who has very many memories (above about 50,000), and for batch work: FAISS, inverted lists over whole vectors.
//!
//! A [`LargeIndex`] holds one user's unit vectors under the ids of the memories. Serving's exact scan is better below; [`Promotion`] says
//! where a user belongs.
//!
//! Holds always: what was removed is never found again; a change older than what is held changes nothing, also after a removal; a search
//! with [`Allowed`] gives allowed ids only; a file that is not whole is refused. Several threads may search at once, whoever changes it is
//! alone. Not promised: that all of the nearest are found; how many lists a search reads is measured when an index is
//! made, so that 99 of 100 are. After a crash nothing is left but what was saved: it is a
//! cache, made anew from the store.

mod calibrate;
mod change;
mod error;
mod files;
mod index;
mod native;
mod promotion;
mod rows;
mod slots;

pub use change::{Applied, Change};
pub use error::FaissError;
pub use files::Saved;
pub use ajatus_events::{Checksum, row_hash};
pub use index::{Hit, LEAST_VECTORS, LargeIndex, Retrain};
pub use promotion::{Home, Promotion};
pub use rows::Rows;
pub use slots::Allowed;
