//! AjatusCore: the ports to models, and what stands before them (batching, prompts, configuration).
//!
//! Holds always: a caller gets exactly one answer or error for each request, its own.
//! Not promised: equal text from a generator on two machines.
//! After a crash: nothing is kept here; answers that must last are on the log (the memo).

pub mod port;

pub use port::{
    ChatMessage, ChatRole, Embedder, Embedding, FinishReason, GenerateEvent, GenerateRequest, GenerateStream, Generator,
    InferenceError, ModelIdentity, Sampling,
};
