//! AjatusCore: the ports to models, the batcher before them, the prompts and the chat templates.
//!
//! - [`Embedder`], [`Generator`]: the ports ([`port`]).
//! - [`BatchedEmbedder`]: many callers, one device, full batches.
//! - [`prompt`]: what the companion is told, versioned files.
//! - [`template`]: a model's own chat template, rendered; never written by hand.
//!
//! Holds always: what is in the ports' comments. Not promised: any particular model; those are adapters in crates of their own.
//! After a crash: nothing here is kept.

mod batch;
pub mod port;
pub mod prompt;
pub mod template;

pub use batch::{BatchConfig, BatchedEmbedder, Class};
pub use port::{
    ChatMessage, ChatRole, Embedder, Embedding, FinishReason, GenerateEvent, GenerateRequest, GenerateStream, Generator, InferenceError,
    ModelIdentity, Sampling,
};
