//! The log: one port, [`Log`], and two implementations of it.
//!
//! - [`EmbeddedLog`]: in this process, on fjall, one fsync for all appends that wait; the default.
//! - [`KafkaLog`]: a Kafka broker.
//! - [`Topics`]: what topics there are; [`wire`]: how a value is written.
//!
//! Holds always: what is in the port's comment ([`log`]); both implementations pass one conformance suite.
//! Not promised: see the port.
//! After a crash: an acknowledged record is there; a record never acknowledged is there whole or not at all.

mod embedded;
mod kafka;
pub mod log;
mod partition;
mod topics;
pub mod wire;

pub use embedded::EmbeddedLog;
pub use kafka::{KafkaConfig, KafkaLog, TopicChange, topics_apply};
pub use log::{Chunk, Entry, Erasure, Log, LogError, Record};
pub use partition::partition_for_user;
pub use topics::{Cleanup, Topic, Topics};
