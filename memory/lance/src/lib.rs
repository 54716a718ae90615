//! Tables on disk as ML engineers read them: columnar, versioned (Lance).
//!
//! A [`Table`] is written by one writer, an epoch a commit: the rows of an epoch and the stamp that says which epoch it was become
//! visible together, or not at all. A [`Scan`] reads one version of a dataset, whoever wrote it. [`MemoriesDataset`] is the table of everybody's
//! memories, fed by the stream of changes, and [`Memories`] a version of it.
//!
//! Holds always: every version that a writer here committed has whole epochs; an epoch that is in is not applied again; a writer that
//! another has replaced commits nothing more. Not promised: that an old version can still be read when it is older than the history that
//! is kept and has no tag. After a crash: the newest version is that of the last commit; files of a commit that did not happen stay until
//! the next clean-up.

mod columns;
mod commits;
mod error;
mod keys;
mod memories;
mod scan;
mod stamp;
mod table;

pub use error::LanceError;
pub use memories::{Checksum, Erased, Erasure, Memories, MemoriesDataset, MemoriesSpec, MemoryContent, MemoryRow, Merged, Near, memories_schema, row_hash};
pub use scan::{At, Scan};
pub use table::{Care, Cared, Table, TableSpec};
