//! What was forgotten, signed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ajatus_events::{Sealed, UserId};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::ScopeName;

/// Of what it says and how it is signed.
const VERSION: u32 = 1;
/// Where the nonce of a sealed text lies.
const NONCE: std::ops::Range<usize> = 5..29;

/// The nonce of a sealed text: 24 random bytes that lie wherever the sealed text lies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Witness(pub [u8; 24]);

impl Witness {
    /// Of a sealed text; `None` if it is too short to be one.
    #[must_use]
    pub fn of(sealed: &Sealed) -> Option<Self> {
        sealed.0.get(NONCE)?.try_into().ok().map(Self)
    }
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Witness {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Witness {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || serde::de::Error::custom("a witness is not 48 hex digits");
        if text.len() != 48 || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(wrong());
        }
        let mut bytes = [0; 24];
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = std::str::from_utf8(digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok()).ok_or_else(wrong)?;
        }
        Ok(Self(bytes))
    }
}

/// How far the views were when it was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frontier {
    /// The last epoch in them.
    pub epoch: u64,
    /// Per partition of `interactions`: everything below is in them.
    pub positions: BTreeMap<u32, u64>,
}

/// What was forgotten; this is what is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// Version of this document.
    pub version: u32,
    /// Names the forgetting.
    pub id: Uuid,
    /// Whose.
    pub user_id: UserId,
    /// What was asked.
    pub scope: ScopeName,
    /// When.
    pub requested_at: DateTime<Utc>,
    /// When the last byte was gone.
    pub finished_at: DateTime<Utc>,
    /// Turns that were there and are not any more.
    pub turns: u64,
    /// Hash of their ids ([`hash_of`]).
    pub ids_hash: String,
    /// How far the views were then.
    pub frontier: Frontier,
    /// What went, per place.
    pub counts: BTreeMap<String, u64>,
    /// How the files were rid of it: `log`, `database`.
    pub files: BTreeMap<String, Value>,
    /// What this forgetting could not reach, a sentence each.
    pub not_reached: Vec<String>,
    /// Witnesses there were; a receipt may hold fewer.
    pub witnesses: u64,
    /// Hash of those that the receipt holds ([`hash_of`]).
    pub witnesses_hash: String,
}

/// A statement and its signature; with the witnesses where it is handed over, without where it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForgetReceipt {
    /// What is said.
    pub statement: Statement,
    /// Nonces of the sealed texts that are gone, as hex.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub witnesses: Vec<Witness>,
    /// Ed25519, base64url.
    pub public_key: String,
    /// Over the statement as JSON, base64url.
    pub signature: String,
}

/// Why a receipt is not believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// Of another version of the program.
    #[error("the receipt is of version {0}, but version {VERSION} is known; update the program")]
    Version(u32),
    /// What it says is not what was signed.
    #[error("the receipt was changed: its signature is not that of what it says")]
    Signature,
    /// Its witnesses are not those it was signed with.
    #[error("the receipt was changed: its witnesses are not those that were signed")]
    Witnesses,
    /// It was signed by somebody else.
    #[error("the receipt was signed with key {got}, but this installation signs with {want}; it is of another one")]
    Key {
        /// Its key.
        got: String,
        /// Ours.
        want: String,
    },
}

/// BLAKE3 of things in the order of their text, a line each: the same however they are listed.
#[must_use]
pub fn hash_of<T: fmt::Display>(things: impl IntoIterator<Item = T>) -> String {
    let sorted: BTreeSet<String> = things.into_iter().map(|thing| thing.to_string()).collect();
    let mut hasher = blake3::Hasher::new();
    for thing in &sorted {
        hasher.update(thing.as_bytes());
        hasher.update(b"\n");
    }
    hasher.finalize().to_hex().to_string()
}

/// Signs receipts, with a key of the installation.
pub struct Signer {
    key: SigningKey,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("public", &self.public()).finish_non_exhaustive()
    }
}

impl Signer {
    /// Label of the installation's secret that it is made of.
    pub const LABEL: &'static str = "receipts";
    /// The version that it writes.
    pub const VERSION: u32 = VERSION;

    /// With the installation's secret for [`Self::LABEL`].
    #[must_use]
    pub fn new(secret: &Zeroizing<[u8; 32]>) -> Self {
        Self { key: SigningKey::from_bytes(secret) }
    }

    /// The key that it can be checked with.
    #[must_use]
    pub fn public(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.key.verifying_key().as_bytes())
    }

    /// Signs.
    #[must_use]
    pub fn sign(&self, statement: Statement, witnesses: Vec<Witness>) -> ForgetReceipt {
        let signature = self.key.sign(&signed(&statement));
        ForgetReceipt { statement, witnesses, public_key: self.public(), signature: URL_SAFE_NO_PAD.encode(signature.to_bytes()) }
    }
}

/// What is signed: a heading, and the statement as JSON without spaces, the fields of every object in the order of their names. So it does
/// not matter how the receipt was written down.
fn signed(statement: &Statement) -> Vec<u8> {
    let mut text = "ajatuskumppani/1/forgetting\n".to_owned();
    canonical(&serde_json::to_value(statement).expect("a statement is JSON"), &mut text);
    text.into_bytes()
}

fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => {
            let sorted: BTreeMap<&String, &Value> = fields.iter().collect();
            text.push('{');
            for (at, (name, value)) in sorted.into_iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                canonical(&Value::String(name.clone()), text);
                text.push(':');
                canonical(value, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                canonical(item, text);
            }
            text.push(']');
        }
        plain => text.push_str(&plain.to_string()),
    }
}

impl ForgetReceipt {
    /// Checks that it is as it was signed, by `ours` if that is known, else by the key it names.
    ///
    /// # Errors
    /// [`ReceiptError`].
    pub fn verify(&self, ours: Option<&str>) -> Result<(), ReceiptError> {
        if self.statement.version != VERSION {
            return Err(ReceiptError::Version(self.statement.version));
        }
        let decoded = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| ReceiptError::Signature);
        let key: [u8; 32] = decoded(&self.public_key)?.try_into().map_err(|_| ReceiptError::Signature)?;
        let key = VerifyingKey::from_bytes(&key).map_err(|_| ReceiptError::Signature)?;
        let signature: [u8; 64] = decoded(&self.signature)?.try_into().map_err(|_| ReceiptError::Signature)?;
        key.verify_strict(&signed(&self.statement), &Signature::from_bytes(&signature)).map_err(|_| ReceiptError::Signature)?;
        // A receipt as it is kept holds none.
        if !self.witnesses.is_empty() && hash_of(&self.witnesses) != self.statement.witnesses_hash {
            return Err(ReceiptError::Witnesses);
        }
        match ours {
            Some(ours) if ours != self.public_key => Err(ReceiptError::Key { got: self.public_key.clone(), want: ours.to_owned() }),
            _ => Ok(()),
        }
    }

    /// As it is kept: without witnesses, which would be found by the search that they are for.
    #[must_use]
    pub fn without_witnesses(&self) -> Self {
        Self { witnesses: Vec::new(), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt() -> (Signer, ForgetReceipt) {
        let signer = Signer::new(&Zeroizing::new([7; 32]));
        let witnesses = vec![Witness([1; 24]), Witness([2; 24])];
        let statement = Statement {
            version: VERSION,
            id: Uuid::from_u128(1),
            user_id: UserId(Uuid::from_u128(2)),
            scope: ScopeName::Topic { words: 2 },
            requested_at: DateTime::<Utc>::UNIX_EPOCH,
            finished_at: DateTime::<Utc>::UNIX_EPOCH + chrono::TimeDelta::microseconds(1_500_001),
            turns: 2,
            ids_hash: hash_of(["b", "a"]),
            frontier: Frontier { epoch: 3, positions: BTreeMap::from([(0, 7)]) },
            counts: BTreeMap::from([("memories".to_owned(), 2)]),
            files: BTreeMap::from([("log".to_owned(), serde_json::json!({ "journals": 1, "by": "log" }))]),
            not_reached: vec!["backups".to_owned()],
            witnesses: 2,
            witnesses_hash: hash_of(&witnesses),
        };
        let receipt = signer.sign(statement, witnesses);
        (signer, receipt)
    }

    #[test]
    fn is_believed_as_it_was_signed_also_after_a_way_through_json() {
        let (signer, receipt) = receipt();
        let text = serde_json::to_string_pretty(&receipt).expect("JSON");
        let read: ForgetReceipt = serde_json::from_str(&text).expect("read");
        assert_eq!(read, receipt);
        read.verify(Some(&signer.public())).expect("believed");
        read.without_witnesses().verify(None).expect("believed without its witnesses");
        let other_order = text.replacen("\"journals\": 1", "\"swapped\"", 1).replacen("\"by\": \"log\"", "\"journals\": 1", 1).replacen("\"swapped\"", "\"by\": \"log\"", 1);
        assert_ne!(other_order, text);
        serde_json::from_str::<ForgetReceipt>(&other_order).expect("read").verify(Some(&signer.public())).expect("believed, however it was written");
        let other = Signer::new(&Zeroizing::new([8; 32])).public();
        assert!(matches!(read.verify(Some(&other)), Err(ReceiptError::Key { .. })));
    }

    #[test]
    fn is_not_believed_when_any_value_of_it_was_changed() {
        let (signer, receipt) = receipt();
        let text = serde_json::to_string(&receipt).expect("JSON");
        let mut refused = 0;
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'1' { b'2' } else { b'1' };
            // Either no receipt any more, or one that is not believed.
            let Ok(changed) = serde_json::from_slice::<ForgetReceipt>(&bytes) else { continue };
            assert!(changed.verify(Some(&signer.public())).is_err(), "byte {at} of {text}");
            refused += 1;
        }
        assert!(refused > 100, "{refused}");
    }

    #[test]
    fn hashes_a_list_whatever_its_order_and_tells_lists_apart() {
        assert_eq!(hash_of(["a", "b"]), hash_of(["b", "a", "a"]));
        assert_ne!(hash_of(["ab", "c"]), hash_of(["a", "bc"]));
        assert_ne!(hash_of(["a"]), hash_of::<&str>([]));
    }
}
