//! AjatusCore: the ports to models, the batcher before them, the prompts and the chat templates.
//!
//! - [`Embedder`], [`Generator`]: the ports ([`port`]).
//! - [`Batcher`]: many callers, one device, full batches; [`BatchedEmbedder`] is one before an embedding model.
//! - [`backend`]: models behind HTTP, vLLM and Ollama.
//! - [`chain`]: several backends as one, the next answering when one is down.
//! - [`clock`]: the time, handed in.
//! - [`facts`], [`structured`]: answers that fit a JSON schema, and facts among them.
//! - [`prompt`]: what the companion is told, versioned files.
//! - [`template`]: a model's own chat template, rendered; never written by hand.
//!
//! Holds always: what is in the ports' comments. Not promised: any particular model; those are adapters in crates of their own.
//! After a crash: nothing here is kept.

pub mod backend;
mod batch;
pub mod chain;
pub mod clock;
pub mod facts;
pub mod port;
pub mod prompt;
pub mod structured;
pub mod template;

pub use batch::{BatchConfig, BatchedEmbedder, Batcher, Class, Device};
pub use port::{
    ChatMessage, ChatRole, Embedder, Embedding, FinishReason, GenerateEvent, GenerateRequest, GenerateStream, Generator, InferenceError,
    ModelIdentity, Party, Sampling, Started, TextTokens,
};
