//! The incremental engine as a database that `sqllogictest` can ask.

pub(crate) mod database;
pub(crate) mod dataflow;
pub(crate) mod show;
