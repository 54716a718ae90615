//! Pure dataflow operators: they compute, they never wait.
//!
//! Holds always: the same collections and settings give the same output at every time, whatever the number of workers or
//! the order of arrival; no async runtime, socket, file, clock, randomness or hash-map order decides anything.
//! Not promised: bounded state; every operator says what it keeps.
//! After a crash: nothing is kept here; the caller feeds the collections again.

mod activity;
pub mod contribution;
mod emit;
mod infer;
mod keep;
pub mod relational;
pub mod row;

pub use activity::{Activity, Speaker, Spoken, count_activity};
pub use emit::{emit, emit_among, emit_here};
pub use infer::{Answer, Calls, Job, Pack, infer, infer_kept};
pub use keep::{Entries, Keep, Parts, Resume, Told, Vault, split};
