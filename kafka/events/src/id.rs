//! Names of people, conversations and interactions: one newtype each, so that they cannot be swapped.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

id! {
    /// A person who talks with the companion.
    UserId
}
id! {
    /// One thread of talk.
    ConversationId
}
id! {
    /// One turn: something said by the user, by the companion, or by somebody in an imported conversation.
    InteractionId
}

impl ConversationId {
    /// Derives the id of an imported conversation from its owner and its name at the source, so that importing
    /// twice names the same conversation.
    #[must_use]
    pub fn imported(user: UserId, source: &str) -> Self {
        Self(derived("conversation", &[user.0.as_bytes(), source.as_bytes()]))
    }
}

impl InteractionId {
    /// Derives the id of an imported turn from its conversation and its name at the source, so that importing
    /// twice writes the same key.
    #[must_use]
    pub fn imported(conversation: ConversationId, source: &str) -> Self {
        Self(derived("interaction", &[conversation.0.as_bytes(), source.as_bytes()]))
    }
}

/// A version 8 (custom) UUID over the BLAKE3 hash of length-prefixed parts.
fn derived(kind: &str, parts: &[&[u8]]) -> Uuid {
    let mut hasher = blake3::Hasher::new_derive_key("ajatuskumppani 2026 imported id");
    hasher.update(kind.as_bytes());
    for part in parts {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let mut bytes = [0_u8; 16];
    hasher.finalize_xof().fill(&mut bytes);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derives_the_same_imported_id_twice_and_another_for_another_owner() {
        let (a, b) = (UserId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
        assert_eq!(ConversationId::imported(a, "x"), ConversationId::imported(a, "x"));
        assert_ne!(ConversationId::imported(a, "x"), ConversationId::imported(b, "x"));
        let conversation = ConversationId::imported(a, "x");
        assert_ne!(
            InteractionId::imported(conversation, "D1:1"),
            InteractionId::imported(conversation, "D1:11")
        );
    }
}
