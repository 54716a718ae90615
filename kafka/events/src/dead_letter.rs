//! Dead letters: what could not be used, kept whole, with the reason.

use serde::{Deserialize, Serialize};

use crate::Sealed;

/// Value of the `dead-letters` topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadLetter {
    /// Where it was refused: `import`, `decode`, `embed`, ….
    pub step: String,
    /// Stable code a program can match on, e.g. `import.malformed_line`.
    pub code: String,
    /// One sentence for a person: what, where, what to do.
    pub message: String,
    /// Where it came from: file and line, or topic, partition and offset.
    pub origin: String,
    /// How often it was tried, from 1.
    pub attempt: u32,
    /// The raw bytes. Sealed under the user's key with [`DeadLetter::aad`] where the user is known and the bytes may
    /// be personal; the record as it stood on the log (ciphertext inside) where it came from the log.
    pub payload: Sealed,
    /// Whether `payload` is sealed; `false`: raw bytes.
    pub sealed: bool,
}

impl DeadLetter {
    /// Additional authenticated data of a sealed payload.
    #[must_use]
    pub fn aad(origin: &str) -> Vec<u8> {
        format!("1/dead-letters/payload/{origin}").into_bytes()
    }
}
