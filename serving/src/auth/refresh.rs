//! Refresh tokens: 32 random bytes, of which only a hash is kept.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// A refresh token.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RefreshToken([u8; 32]);

impl RefreshToken {
    pub(crate) fn random() -> Self {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).expect("the operating system has random bytes");
        Self(bytes)
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(Self(URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?))
    }

    pub(crate) fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    pub(crate) fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }

    /// The successor, sealed so that only a holder of this token can open it: each token is the key of one pad, used once.
    pub(crate) fn seal_successor(&self, successor: &Self) -> Vec<u8> {
        self.pad().iter().zip(successor.0).map(|(pad, byte)| pad ^ byte).collect()
    }

    fn pad(&self) -> [u8; 32] {
        blake3::derive_key("ajatuskumppani 2026 refresh token successor", &self.0)
    }
}

/// The successor that was given at the token's exchange.
pub(crate) fn unseal_successor(token: &RefreshToken, sealed: &[u8]) -> Option<RefreshToken> {
    let sealed: [u8; 32] = sealed.try_into().ok()?;
    let mut bytes = token.pad();
    bytes.iter_mut().zip(sealed).for_each(|(byte, sealed)| *byte ^= sealed);
    Some(RefreshToken(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_successor_to_the_holder_of_the_token_alone() {
        let (token, next, other) = (RefreshToken::random(), RefreshToken::random(), RefreshToken::random());
        let sealed = token.seal_successor(&next);
        assert!(unseal_successor(&token, &sealed).is_some_and(|found| found == next));
        assert!(unseal_successor(&other, &sealed).is_some_and(|found| found != next));
        assert!(unseal_successor(&token, b"short").is_none());
        assert!(RefreshToken::parse(&token.text()).is_some_and(|parsed| parsed == token));
        assert!(RefreshToken::parse("***").is_none() && RefreshToken::parse("").is_none());
    }
}
