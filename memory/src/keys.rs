//! Keys: one per user, wrapped by the root key of the installation.
//!
//! Holds always: nothing sealed for one purpose, user or row opens as another; a destroyed key never comes back.
//! Not promised: protection from somebody who reads both the root key file and the database.
//! After a crash: a key is there whole or not at all (it is written in the transaction that makes the account).

mod cipher;
mod root;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ajatus_events::{Sealed, UserId};
use zeroize::Zeroizing;

pub use cipher::Purpose;
use cipher::{derive, open, seal};
pub use root::RootKey;

use crate::postgres::{Postgres, StoreError};

/// Keys kept unwrapped at most; past it the cache starts over.
const CACHE: usize = 4096;

/// Why a key or a sealed text could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The user's key is gone, so what was sealed under it is forgotten; treat the content as deleted.
    #[error("the key of user {user} does not exist or was destroyed")]
    Destroyed {
        /// Whose.
        user: UserId,
    },
    /// The ciphertext was changed, moved to another row, or sealed under another key.
    #[error("a sealed field does not open: wrong key, wrong place, or damaged")]
    Open,
    /// The ciphertext is of a suite or key version this program does not know; update the program.
    #[error("a sealed field has suite {suite} and key version {version}, but suite 1 and version {known} are known")]
    Version {
        /// Suite byte found.
        suite: u8,
        /// Key version found.
        version: u32,
        /// Key version held.
        known: u32,
    },
    /// The root key file cannot be read or made.
    #[error("the root key {path:?} cannot be used: {reason}")]
    RootKey {
        /// The file.
        path: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The database could not say.
    #[error("the key could not be looked up")]
    Store(#[from] StoreError),
}

/// One user's data key, unwrapped.
pub struct UserKey {
    user: UserId,
    version: u32,
    secret: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for UserKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserKey").field("user", &self.user).field("version", &self.version).finish_non_exhaustive()
    }
}

impl UserKey {
    /// Seals a text for one purpose; `aad` names its place (table, column, user, row) and must be given to open it.
    #[must_use]
    pub fn seal(&self, purpose: Purpose, aad: &[u8], plain: &[u8]) -> Sealed {
        seal(&derive(&self.secret, purpose.label()), self.version, aad, plain)
    }

    /// Opens what [`UserKey::seal`] made.
    ///
    /// # Errors
    /// [`KeyError::Open`] for anything but the sealed text in its place; [`KeyError::Version`] for another suite.
    pub fn open(&self, purpose: Purpose, aad: &[u8], sealed: &Sealed) -> Result<Vec<u8>, KeyError> {
        open(&derive(&self.secret, purpose.label()), self.version, aad, sealed)
    }

    /// Keyed hash of an input, 64 hex digits: equal inputs of one user are equal, of two users they are not.
    #[must_use]
    pub fn fingerprint(&self, purpose: Purpose, input: &[u8]) -> String {
        let key = derive(&self.secret, &format!("{} fingerprint", purpose.label()));
        blake3::keyed_hash(&key, input).to_hex().to_string()
    }
}

/// All users' keys: the root key, the table of wrapped keys, and a cache.
#[derive(Clone)]
pub struct KeyRing {
    root: Arc<RootKey>,
    db: Postgres,
    cache: Arc<Mutex<HashMap<UserId, Arc<UserKey>>>>,
}

impl KeyRing {
    /// Opens the ring over a database.
    #[must_use]
    pub fn new(root: RootKey, db: Postgres) -> Self {
        Self { root: Arc::new(root), db, cache: Arc::default() }
    }

    /// The user's key.
    ///
    /// # Errors
    /// [`KeyError::Destroyed`] if there is none; [`KeyError::Open`] if the root key is not the one it was wrapped with.
    pub async fn user(&self, user: UserId) -> Result<Arc<UserKey>, KeyError> {
        if let Some(key) = self.cached(user) {
            return Ok(key);
        }
        let Some((version, wrapped)) = self.db.wrapped_key(user).await? else {
            return Err(KeyError::Destroyed { user });
        };
        let secret = self.root.unwrap(user, version, &Sealed(wrapped))?;
        Ok(self.keep(UserKey { user, version, secret }))
    }

    /// The user's key, made if the account has none yet.
    ///
    /// # Errors
    /// As [`KeyRing::user`]; a destroyed key stays destroyed.
    pub async fn create(&self, user: UserId) -> Result<Arc<UserKey>, KeyError> {
        self.db.insert_key(user, 1, &self.fresh(user).0).await?;
        self.user(user).await
    }

    /// Makes the wrapped form of a new key, to be stored in the transaction that makes the account.
    pub(crate) fn fresh(&self, user: UserId) -> Sealed {
        let secret = cipher::random::<32>();
        self.root.wrap(user, 1, &secret)
    }

    /// Keyed hash under the root key, for looking up a value (a login) that is only stored sealed.
    #[must_use]
    pub fn blind(&self, label: &str, value: &str) -> [u8; 32] {
        *blake3::keyed_hash(&self.root.derived(&format!("blind {label}")), value.as_bytes()).as_bytes()
    }

    /// Seals under the root key.
    #[must_use]
    pub fn seal_root(&self, aad: &[u8], plain: &[u8]) -> Sealed {
        seal(&self.root.derived(Purpose::Accounts.label()), 1, aad, plain)
    }

    /// Opens what [`KeyRing::seal_root`] made.
    ///
    /// # Errors
    /// As [`UserKey::open`].
    pub fn open_root(&self, aad: &[u8], sealed: &Sealed) -> Result<Vec<u8>, KeyError> {
        open(&self.root.derived(Purpose::Accounts.label()), 1, aad, sealed)
    }

    /// A secret of the installation for another use, e.g. signing; stable for one root key and label.
    #[must_use]
    pub fn installation_secret(&self, label: &str) -> Zeroizing<[u8; 32]> {
        self.root.derived(&format!("installation {label}"))
    }

    fn cached(&self, user: UserId) -> Option<Arc<UserKey>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).get(&user).cloned()
    }

    fn keep(&self, key: UserKey) -> Arc<UserKey> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= CACHE {
            cache.clear();
        }
        let key = Arc::new(key);
        cache.insert(key.user, Arc::clone(&key));
        key
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn key(number: u128) -> UserKey {
        UserKey { user: UserId(Uuid::from_u128(number)), version: 1, secret: Zeroizing::new([u8::try_from(number).expect("small"); 32]) }
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
    }
}
