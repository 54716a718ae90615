//! Models behind HTTP: [`vllm`] (vLLM and every other server of that interface, ours among them) and [`ollama`].
//!
//! The HTTP, the event streams and the errors are our own, because a client that corrupts split characters, takes a cut stream for
//! a whole one, or loses `Retry-After` would pass that on to a user.
//!
//! Holds always: a generation that did not say why it ended is an error, never a short answer; dropping a stream closes its
//! connection, which is how both servers learn that they may stop; every wait has a limit; every error names the server and what
//! to do. Not promised: TLS (put a proxy on this machine before a remote server); that a server counts its tokens as we do.
//! After a crash: the server sees the connection close.

mod http;
mod lines;
pub mod ollama;
mod talk;
mod vector;
pub mod vllm;

pub use http::{PASSED_ON, Patience, Server};
pub use ollama::{OllamaConfig, OllamaEmbedder, OllamaGenerator};
pub use vllm::{VllmConfig, VllmEmbedder, VllmGenerator};
