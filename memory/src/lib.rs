//! AjatusMemory: what is remembered, where it rests, and how it is found again.
//!
//! - [`keys`]: a data key per user, wrapped by a root key; everything personal is sealed under it.
//! - [`postgres`]: the system of record of the served views, and the pipeline's books beside them.
//! - [`server`]: a private Postgres for those who bring none.
//! - [`index`]: the in-memory index, a rebuildable cache that follows `memory-changes`.
//! - [`retrieve`]: the ranking itself, pure, over one user's own turns.
//!
//! Holds always: a view's rows, its epoch and its positions change in one transaction; no text leaves this crate
//! unsealed except to the caller who asked with the user's id.
//! Not promised: that vectors at rest tell nothing (they are not sealed in Postgres yet; `docs/privacy.md`).
//! After a crash: Postgres holds whole epochs; the index is loaded from it again.

pub mod index;
pub mod keys;
pub mod postgres;
pub mod retrieve;
pub mod server;
pub mod testing;
