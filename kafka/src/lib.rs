//! The log: one port, [`Log`], and two implementations of it.
//!
//! Holds always: what is in the port's comment ([`log`]); both implementations pass one conformance suite.
//! Not promised: see the port.
//! After a crash: an acknowledged record is there; a record never acknowledged is there whole or not at all.

pub mod log;

pub use log::{Chunk, Entry, Log, LogError, Record};
