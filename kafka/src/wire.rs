//! How a value is written: one version byte, then JSON.
//!
//! An unknown version is an error and never guessed at; the reader puts it among the dead letters.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Version 1: JSON.
const JSON: u8 = 1;

/// Why a value could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// There is not even a version byte.
    #[error("the value is empty")]
    Empty,
    /// Written by a newer program, or not by us.
    #[error("the value has wire version {got}, but versions up to {JSON} are known")]
    Version {
        /// Its first byte.
        got: u8,
    },
    /// Not the JSON it should be.
    #[error("the value is not what it should be: {0}")]
    Json(#[from] serde_json::Error),
}

/// Writes a value.
///
/// # Errors
/// [`WireError::Json`] if the type cannot be JSON.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, WireError> {
    let mut bytes = vec![JSON];
    serde_json::to_writer(&mut bytes, value)?;
    Ok(bytes)
}

/// Reads a value.
///
/// # Errors
/// See [`WireError`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    match bytes.split_first() {
        None => Err(WireError::Empty),
        Some((&JSON, json)) => Ok(serde_json::from_slice(json)?),
        Some((&got, _)) => Err(WireError::Version { got }),
    }
}

#[cfg(test)]
mod tests {
    use ajatus_events::{ChangeRecord, Frontier};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_back_what_it_writes_and_refuses_another_version() {
        let record = ChangeRecord::Frontier(Frontier { epoch: 3, partition: 1, next_offset: 9 });
        let mut bytes = encode(&record).expect("JSON");
        assert_eq!(decode::<ChangeRecord>(&bytes).expect("its own"), record);
        bytes[0] = 2;
        assert!(matches!(decode::<ChangeRecord>(&bytes), Err(WireError::Version { got: 2 })));
        assert!(matches!(decode::<ChangeRecord>(&[]), Err(WireError::Empty)));
    }

    proptest! {
        #[test]
        fn never_panics_on_garbage(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode::<ajatus_events::Interaction>(&bytes).is_err());
        }
    }
}
