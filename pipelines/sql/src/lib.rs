//! Pipelines as SQL: from a file of statements to a dataflow that keeps its views, row by row and exactly.
//!
//! Holds always: what is accepted is kept exactly, over insertions, deletions and any order of arrival; what cannot be is
//! refused with code, file, line, column and a hint before anything runs. Not promised: that every query DataFusion can answer
//! once can be kept up to date; `docs/pipelines.md` lists what can.
//! After a crash: nothing is kept here; the runtime feeds the dataflow again.

pub mod codec;
pub mod diagnostic;
pub mod explain;
pub mod graph;
pub mod pipeline;
pub mod plan;
pub mod portable;
pub mod record;
pub mod render;
pub mod script;

/// The part of JSON schema that answers are held to.
pub use ajatus_facts::schema;
