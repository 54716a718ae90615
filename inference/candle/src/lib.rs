//! Models in this process: sentence embeddings (BERT family) and chat (Llama and Mistral family). candle reads their files, and is the reference in tests.
//!
//! - [`CandleEmbedder`]: a folder with `config.json`, `tokenizer.json`, `model.safetensors`; mean pooling, length 1. Computed by an encoder of our own,
//!   without padding; candle is the reference that it equals, and computes the models that it does not.
//! - [`CandleGenerator`]: a GGUF file, or a folder with safetensors; the model's own chat template; streaming; several answers at once, held to a JSON schema where
//!   one is asked for. Computed by a decoder of our own.
//!
//! Holds always: loading is by path; nothing is fetched. The weights' hash is part of the model's name.
//! Not promised: the same answers as other engines; models of other families.
//! After a crash: nothing is kept.

mod adapter;
mod decoder;
mod device;
mod embedder;
mod encoder;
mod files;
mod generator;
mod guide;
mod kernels;
mod load;
mod packed;
mod padded;
mod peak;
mod sample;
mod schedule;
mod stream;
mod words;

pub use device::Device;
pub use embedder::{CandleEmbedder, EmbedderConfig, Engine, Precision};
pub use encoder::Kernel;
pub use generator::{CandleGenerator, GeneratorConfig};
pub use peak::gflops as peak_gflops;
