//! One user's data key, unwrapped, and the one that it replaces.
//!
//! A key is replaced while everything goes on: new texts are sealed with the new one, old ones open with the old one until they are sealed anew.
//! Keyed hashes and the turning of vectors keep theirs, which is carried from key to key (it was derived from the first): equal contents are
//! told from different ones by them, and a new one would make every text look changed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ajatus_events::{Sealed, UserId};
use zeroize::Zeroizing;

use super::KeyError;
use super::cipher::{Purpose, derive, open, random, seal, version};
use super::rotation::Rotation;

/// Purposes in the order in which their hash keys are carried.
const CARRIED: [Purpose; 6] =
    [Purpose::Messages, Purpose::Memories, Purpose::Answers, Purpose::Vectors, Purpose::DeadLetters, Purpose::Accounts];
/// Label of the seed by which vectors are turned.
const TURNING: &str = "ajatuskumppani/1/vectors turning";
const SECRET: usize = 32;
/// Bytes of a key that has replaced another: the secret, and what is carried.
const LONG: usize = SECRET * (2 + CARRIED.len());

/// What is unwrapped: a secret, and what is carried with it.
struct Material {
    version: u32,
    secret: Zeroizing<[u8; SECRET]>,
    /// Hash key of each purpose, then the seed of the turning.
    carried: Zeroizing<[[u8; SECRET]; CARRIED.len() + 1]>,
}

impl Material {
    fn read(version: u32, plain: &[u8]) -> Result<Self, KeyError> {
        let (secret, rest) = plain.split_first_chunk::<SECRET>().ok_or(KeyError::Open)?;
        let mut carried = Zeroizing::new([[0; SECRET]; CARRIED.len() + 1]);
        if rest.is_empty() {
            for (place, purpose) in carried.iter_mut().zip(CARRIED) {
                *place = *derive(secret, &format!("{} fingerprint", purpose.label()));
            }
            carried[CARRIED.len()] = *derive(secret, TURNING);
        } else if plain.len() == LONG {
            let (parts, _) = rest.as_chunks::<SECRET>();
            carried.copy_from_slice(parts);
        } else {
            return Err(KeyError::Open);
        }
        Ok(Self { version, secret: Zeroizing::new(*secret), carried })
    }
}

/// One user's data key, unwrapped.
pub struct UserKey {
    user: UserId,
    now: Material,
    older: Option<(u32, Zeroizing<[u8; SECRET]>)>,
    turnings: Mutex<HashMap<usize, Arc<Rotation>>>,
}

impl std::fmt::Debug for UserKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserKey").field("user", &self.user).field("version", &self.now.version).finish_non_exhaustive()
    }
}

impl UserKey {
    /// From what was wrapped.
    pub(super) fn read(user: UserId, (version, plain): (u32, &[u8]), older: Option<(u32, &[u8])>) -> Result<Self, KeyError> {
        let older = older.map(|(version, plain)| Ok::<_, KeyError>((version, Material::read(version, plain)?.secret))).transpose()?;
        Ok(Self { user, now: Material::read(version, plain)?, older, turnings: Mutex::default() })
    }

    /// What the key that replaces this one is: a secret of its own, and what is carried.
    pub(super) fn successor(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(LONG));
        bytes.extend_from_slice(random::<SECRET>().as_slice());
        self.now.carried.iter().for_each(|part| bytes.extend_from_slice(part));
        bytes
    }

    /// Version of the key that this one replaces, as long as that goes on.
    #[must_use]
    pub fn replaces(&self) -> Option<u32> {
        self.older.as_ref().map(|(version, _)| *version)
    }

    /// Whose.
    #[must_use]
    pub fn user(&self) -> UserId {
        self.user
    }

    /// The version that texts are sealed with now.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.now.version
    }

    /// Whether a text was sealed with another version than the present one, and is to be sealed anew.
    #[must_use]
    pub fn is_old(&self, sealed: &Sealed) -> bool {
        version(sealed).is_some_and(|version| version != self.now.version)
    }

    /// Seals a text for one purpose; `aad` names its place (table, column, user, row) and must be given to open it.
    #[must_use]
    pub fn seal(&self, purpose: Purpose, aad: &[u8], plain: &[u8]) -> Sealed {
        seal(&derive(&self.now.secret, purpose.label()), self.now.version, aad, plain)
    }

    /// Opens what [`UserKey::seal`] made, of this version or of the one that it replaces.
    ///
    /// # Errors
    /// [`KeyError::Open`] for anything but the sealed text in its place; [`KeyError::Version`] for another suite or version.
    pub fn open(&self, purpose: Purpose, aad: &[u8], sealed: &Sealed) -> Result<Vec<u8>, KeyError> {
        let (known, secret) = match &self.older {
            Some((older, secret)) if version(sealed) == Some(*older) => (*older, secret),
            _ => (self.now.version, &self.now.secret),
        };
        open(&derive(secret, purpose.label()), known, aad, sealed)
    }

    /// Keyed hash of an input, 64 hex digits: equal inputs of one user are equal, of two users they are not.
    #[must_use]
    pub fn fingerprint(&self, purpose: Purpose, input: &[u8]) -> String {
        let at = CARRIED.iter().position(|known| *known == purpose).expect("every purpose is carried");
        blake3::keyed_hash(&self.now.carried[at], input).to_hex().to_string()
    }

    /// Turns a vector into the user's own coordinates, in which it rests and is searched; inner products stay.
    #[must_use]
    pub fn turned(&self, mut vector: Vec<f32>) -> Vec<f32> {
        if !vector.is_empty() {
            self.turning(vector.len()).turn(&mut vector);
        }
        vector
    }

    /// The inverse of [`UserKey::turned`], but for the last digits.
    #[must_use]
    pub fn turned_back(&self, mut vector: Vec<f32>) -> Vec<f32> {
        if !vector.is_empty() {
            self.turning(vector.len()).turn_back(&mut vector);
        }
        vector
    }

    fn turning(&self, dimension: usize) -> Arc<Rotation> {
        let mut known = self.turnings.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(dimension).or_insert_with(|| Arc::new(Rotation::new(&self.now.carried[CARRIED.len()], dimension))))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn key(number: u128) -> UserKey {
        let secret = [u8::try_from(number).expect("small"); SECRET];
        UserKey::read(UserId(Uuid::from_u128(number)), (1, &secret), None).expect("a key")
    }

    #[test]
    fn opens_only_with_the_same_key_purpose_and_place() {
        let sealed = key(1).seal(Purpose::Messages, b"row 1", b"salaisuus");
        assert_eq!(key(1).open(Purpose::Messages, b"row 1", &sealed).expect("its own"), b"salaisuus");
        assert!(matches!(key(2).open(Purpose::Messages, b"row 1", &sealed), Err(KeyError::Open)));
        assert!(matches!(key(1).open(Purpose::Answers, b"row 1", &sealed), Err(KeyError::Open)));
        assert!(matches!(key(1).open(Purpose::Messages, b"row 2", &sealed), Err(KeyError::Open)));
    }

    #[test]
    fn refuses_every_damaged_byte_and_every_cut() {
        let sealed = key(1).seal(Purpose::Messages, b"row", b"text");
        for at in 0..sealed.0.len() {
            let mut damaged = sealed.clone();
            damaged.0[at] ^= 1;
            assert!(key(1).open(Purpose::Messages, b"row", &damaged).is_err(), "byte {at} was changed unseen");
            let cut = Sealed(sealed.0[..at].to_vec());
            assert!(key(1).open(Purpose::Messages, b"row", &cut).is_err(), "a cut at {at} was unseen");
        }
    }

    #[test]
    fn fingerprints_agree_for_one_user_and_differ_for_two() {
        let print = |number, purpose| key(number).fingerprint(purpose, b"text");
        assert_eq!(print(1, Purpose::Answers), print(1, Purpose::Answers));
        assert_ne!(print(1, Purpose::Answers), print(2, Purpose::Answers));
        assert_ne!(print(1, Purpose::Answers), print(1, Purpose::Messages));
        assert_eq!(print(1, Purpose::Answers).len(), 64);
        // As every release before derived it: a database keeps them.
        let derived = derive(&[1; SECRET], "ajatuskumppani/1/answers fingerprint");
        assert_eq!(print(1, Purpose::Answers), blake3::keyed_hash(&derived, b"text").to_hex().to_string());
    }

    #[test]
    fn a_successor_opens_both_and_hashes_and_turns_as_before() {
        let first = key(1);
        let plain = [1; SECRET];
        let second = first.successor();
        let both = UserKey::read(first.user(), (2, &second), Some((1, &plain))).expect("a key");
        let (old, new) = (first.seal(Purpose::Messages, b"row", b"old"), both.seal(Purpose::Messages, b"row", b"new"));
        assert_eq!(both.open(Purpose::Messages, b"row", &old).expect("the older opens it"), b"old");
        assert_eq!(both.open(Purpose::Messages, b"row", &new).expect("its own"), b"new");
        assert!(both.is_old(&old) && !both.is_old(&new));
        assert_eq!(both.fingerprint(Purpose::Messages, b"x"), first.fingerprint(Purpose::Messages, b"x"));
        assert_eq!(both.turned(vec![1.0, 2.0, 3.0]), first.turned(vec![1.0, 2.0, 3.0]));
        // Once the older one is gone, what it sealed is gone.
        let alone = UserKey::read(first.user(), (2, &second), None).expect("a key");
        assert!(matches!(alone.open(Purpose::Messages, b"row", &old), Err(KeyError::Version { version: 1, .. })));
        assert!(first.open(Purpose::Messages, b"row", &new).is_err());
        // And a third carries on.
        let third = alone.successor();
        assert_eq!(UserKey::read(first.user(), (3, &third), None).expect("a key").fingerprint(Purpose::Answers, b"x"), first.fingerprint(Purpose::Answers, b"x"));
        assert!(UserKey::read(first.user(), (3, &third[..100]), None).is_err());
    }

    #[test]
    fn turned_vectors_keep_their_inner_products_and_come_back() {
        let (a, b) = (vec![0.6, 0.8, 0.0], vec![0.0, 0.6, 0.8]);
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let (left, right) = (key(1).turned(a.clone()), key(1).turned(b.clone()));
        assert!((dot(&left, &right) - dot(&a, &b)).abs() < 1e-6);
        assert_ne!(left, key(2).turned(a.clone()));
        assert!(key(1).turned_back(left).iter().zip(&a).all(|(one, other)| (one - other).abs() < 1e-6));
    }
}
