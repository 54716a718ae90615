//! Models in this process, by candle: sentence embeddings (BERT family) and chat (Llama and Mistral family).
//!
//! - [`CandleEmbedder`]: a folder with `config.json`, `tokenizer.json`, `model.safetensors`; mean pooling, length 1.
//! - [`CandleGenerator`]: a GGUF file, or a folder with safetensors; the model's own chat template; streaming.
//!
//! Holds always: loading is by path; nothing is fetched. The weights' hash is part of the model's name.
//! Not promised: the speed of engines with hand-written kernels (`notes` in the README give the distance).
//! After a crash: nothing is kept.

mod embedder;
mod files;
mod generator;
mod sample;
mod stream;
mod tokenizer;
mod weights;

pub use embedder::{CandleEmbedder, EmbedderConfig};
pub use generator::{CandleGenerator, GeneratorConfig};
