//! The one suite: XChaCha20-Poly1305 under keys derived by HKDF-SHA256.
//!
//! A sealed text is: suite byte (1), key version (u32, big-endian), 24 random bytes of nonce, ciphertext and tag.

use ajatus_events::Sealed;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::KeyError;

const SUITE: u8 = 1;
const HEADER: usize = 5;
const NONCE: usize = 24;

/// What a text is sealed for; each purpose has a key of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Bodies of interactions, on the log and in `memories`.
    Messages,
    /// Titles and what is derived from memories.
    Memories,
    /// Answers of models, in the memo.
    Answers,
    /// Vectors on `memory-changes`.
    Vectors,
    /// Raw payloads of dead letters.
    DeadLetters,
    /// Logins.
    Accounts,
}

impl Purpose {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Messages => "ajatuskumppani/1/messages",
            Self::Memories => "ajatuskumppani/1/memories",
            Self::Answers => "ajatuskumppani/1/answers",
            Self::Vectors => "ajatuskumppani/1/vectors",
            Self::DeadLetters => "ajatuskumppani/1/dead-letters",
            Self::Accounts => "ajatuskumppani/1/accounts",
        }
    }
}

/// Random bytes of the operating system.
pub(super) fn random<const N: usize>() -> Zeroizing<[u8; N]> {
    let mut bytes = Zeroizing::new([0_u8; N]);
    getrandom::fill(bytes.as_mut_slice()).expect("the operating system has random bytes");
    bytes
}

/// A key for one label.
pub(super) fn derive(secret: &[u8; 32], label: &str) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0_u8; 32]);
    Hkdf::<Sha256>::new(None, secret).expand(label.as_bytes(), key.as_mut_slice()).expect("32 bytes are within HKDF's bound");
    key
}

pub(super) fn seal(key: &[u8; 32], version: u32, aad: &[u8], plain: &[u8]) -> Sealed {
    let nonce = random::<NONCE>();
    let cipher = XChaCha20Poly1305::new(key.into());
    let sealed = cipher
        .encrypt(&XNonce::from(*nonce), Payload { msg: plain, aad })
        .expect("a text shorter than the cipher's bound of 256 GiB");
    let mut bytes = Vec::with_capacity(HEADER + NONCE + sealed.len());
    bytes.push(SUITE);
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes.extend_from_slice(nonce.as_slice());
    bytes.extend_from_slice(&sealed);
    Sealed(bytes)
}

/// The key version of a sealed text; `None` if it is too short to have one.
pub(super) fn version(sealed: &Sealed) -> Option<u32> {
    let (header, _) = sealed.0.split_first_chunk::<HEADER>()?;
    Some(u32::from_be_bytes([header[1], header[2], header[3], header[4]]))
}

pub(super) fn open(key: &[u8; 32], known: u32, aad: &[u8], sealed: &Sealed) -> Result<Vec<u8>, KeyError> {
    let (header, rest) = sealed.0.split_first_chunk::<HEADER>().ok_or(KeyError::Open)?;
    let (nonce, body) = rest.split_first_chunk::<NONCE>().ok_or(KeyError::Open)?;
    let (suite, version) = (header[0], u32::from_be_bytes([header[1], header[2], header[3], header[4]]));
    if suite != SUITE || version != known {
        return Err(KeyError::Version { suite, version, known });
    }
    XChaCha20Poly1305::new(key.into())
        .decrypt(&XNonce::from(*nonce), Payload { msg: body, aad })
        .map_err(|_| KeyError::Open)
}
