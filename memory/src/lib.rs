//! AjatusMemory: what is remembered, where it rests, and how it is found again.
//!
//! - [`keys`]: a data key per user, wrapped by a root key; everything personal is sealed under it.
//! - [`postgres`]: the system of record of the served views, and the pipeline's books beside them.
//! - [`profile`]: what is known of each user, opened; why, why not, and as of the past.
//! - [`server`]: a private Postgres for those who bring none.
//! - [`forget`]: what is meant by it, the signed proof of it, and the search that checks the proof.
//! - [`index`]: the in-memory index, a rebuildable cache that follows `memory-changes`.
//! - [`retrieve`]: the ranking itself, pure, over one user's own turns.
//!
//! Holds always: a view's rows, its epoch and its positions change in one transaction; no text leaves this crate
//! unsealed except to the caller who asked with the user's id.
//! Not promised: that vectors at rest tell nothing (they are not sealed in Postgres yet; `docs/privacy.md`).
//! After a crash: Postgres holds whole epochs; the index is loaded from it again.

pub mod forget;
pub mod index;
pub mod keys;
pub mod postgres;
pub mod profile;
pub mod retrieve;
pub mod server;
pub mod testing;
