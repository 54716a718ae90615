//! Models in this process, by candle: sentence embeddings (BERT family) and chat (Llama and Mistral family).
//!
//! - [`CandleEmbedder`]: a folder with `config.json`, `tokenizer.json`, `model.safetensors`; mean pooling, length 1. Computed by an encoder of our own,
//!   without padding; candle is the reference that it equals, and computes the models that it does not.
//! - [`CandleGenerator`]: a GGUF file, or a folder with safetensors; the model's own chat template; streaming.
//!
//! Holds always: loading is by path; nothing is fetched. The weights' hash is part of the model's name.
//! Not promised: for chat, the speed of engines with hand-written kernels.
//! After a crash: nothing is kept.

mod adapter;
mod embedder;
mod encoder;
mod files;
mod generator;
mod packed;
mod padded;
mod sample;
mod stream;
mod tokenizer;
mod weights;

pub use embedder::{CandleEmbedder, EmbedderConfig, Engine, Precision};
pub use encoder::Kernel;
pub use generator::{CandleGenerator, GeneratorConfig};
