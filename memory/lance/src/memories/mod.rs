//! Memories for people who work with data: one row a memory, fed by the stream of changes (`docs/lance.md` has the columns and how to read them).
//!
//! [`MemoriesDataset`] is the one writer, [`Memories`] reads a version.
//!
//! Holds always: of two changes of a memory the one with the newer epoch counts, in whatever order and however often they come; a version is whole
//! and says its epoch; a scan of a user reads that user's rows only. Bodies rest as they travel, sealed under the user's key; vectors are to be
//! given turned by the user's secret matrix. Not promised: that a tag outlives a forgetting: what is erased goes from every version. After a crash
//! the newest version is that of the last commit; what is applied again changes nothing.

mod erase;
mod reader;
mod rebuild;
mod row;
mod writer;

pub use erase::{Erased, Erasure};
pub use ajatus_events::{Checksum, row_hash};
pub use reader::{Memories, Near};
pub use row::{MemoryContent, MemoryRow, memories_schema};
pub use writer::{MemoriesDataset, MemoriesSpec, Merged};
