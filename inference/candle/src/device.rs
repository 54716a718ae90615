//! Where a model is computed.

use ajatus_inference::InferenceError;
use serde::Deserialize;

use crate::files::broken;

/// A processor or a GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Device {
    /// This machine's processor, by networks of our own.
    #[default]
    Cpu,
    /// An NVIDIA GPU by its number, by candle's networks; of programs built with the feature `cuda`.
    Cuda(usize),
}

impl TryFrom<String> for Device {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match name.split_once(':') {
            None if name == "cpu" => Ok(Self::Cpu),
            None if name == "cuda" => Ok(Self::Cuda(0)),
            Some(("cuda", number)) if number.parse::<usize>().is_ok() => number.parse().map(Self::Cuda).map_err(|_| name),
            _ => Err(format!("a device is \"cpu\", \"cuda\" or \"cuda:1\", but not {name:?}")),
        }
    }
}

impl Device {
    /// The device as candle knows it.
    pub(crate) fn open(self) -> Result<candle_core::Device, InferenceError> {
        match self {
            Self::Cpu => Ok(candle_core::Device::Cpu),
            #[cfg(feature = "cuda")]
            Self::Cuda(number) => candle_core::Device::new_cuda(number).map_err(|error| broken(format!("the GPU {number} cannot be used: {error}; is its driver there, and new enough?"))),
            #[cfg(not(feature = "cuda"))]
            Self::Cuda(_) => Err(broken("this program was built without CUDA; build it with `--features cuda` (docs/gpu.md), or put vLLM or Ollama before it")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named() {
        let named = |name: &str| Device::try_from(name.to_owned());
        assert_eq!((named("cpu"), named("cuda"), named("cuda:3")), (Ok(Device::Cpu), Ok(Device::Cuda(0)), Ok(Device::Cuda(3))));
        for bad in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "cpu:0"] {
            assert!(named(bad).is_err(), "{bad}");
        }
        #[cfg(not(feature = "cuda"))]
        assert!(Device::Cuda(0).open().expect_err("no CUDA").to_string().contains("--features cuda"));
    }
}
