//! Keys: one per user, wrapped by the root key of the installation.
//!
//! Holds always: nothing sealed for one purpose, user or row opens as another; a destroyed key never comes back.
//! Not promised: protection from somebody who reads both the root key file and the database.
//! After a crash: a key is there whole or not at all (it is written in the transaction that makes the account).

mod cipher;
mod root;
mod rotation;
mod user;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ajatus_events::{Sealed, UserId};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use zeroize::Zeroizing;

pub use cipher::Purpose;
use cipher::seal;
pub use root::RootKey;
pub use user::UserKey;

use crate::postgres::{Postgres, StoreError, WrappedKeys};

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

/// All users' keys: the root key, the table of wrapped keys, and a cache.
#[derive(Clone)]
pub struct KeyRing {
    root: Arc<std::sync::RwLock<Arc<RootKey>>>,
    db: Postgres,
    cache: Arc<Mutex<HashMap<UserId, Arc<UserKey>>>>,
    /// Keys that were replaced while somebody may hold them.
    retired: Arc<Mutex<Vec<Weak<UserKey>>>>,
    writers: Arc<RwLock<()>>,
    /// Replacements that were begun.
    replaced: Arc<AtomicU64>,
}

impl KeyRing {
    /// Opens the ring over a database.
    #[must_use]
    pub fn new(root: RootKey, db: Postgres) -> Self {
        Self { root: Arc::new(std::sync::RwLock::new(Arc::new(root))), db, cache: Arc::default(), retired: Arc::default(), writers: Arc::default(), replaced: Arc::default() }
    }

    /// The user's key.
    ///
    /// # Errors
    /// [`KeyError::Destroyed`] if there is none; [`KeyError::Open`] if the root key is not the one it was wrapped with.
    pub async fn user(&self, user: UserId) -> Result<Arc<UserKey>, KeyError> {
        loop {
            if let Some(key) = self.cached(user) {
                return Ok(key);
            }
            let seen = self.replaced.load(Ordering::SeqCst);
            let Some(WrappedKeys { now: (version, wrapped), older }) = self.db.wrapped_key(user).await? else {
                return Err(KeyError::Destroyed { user });
            };
            let root = self.root();
            let plain = root.unwrap(user, version, &Sealed(wrapped))?;
            let older = older.map(|(version, wrapped)| Ok::<_, KeyError>((version, root.unwrap(user, version, &Sealed(wrapped))?))).transpose()?;
            let older = older.as_ref().map(|(version, plain)| (*version, plain.as_slice()));
            let key = self.keep(UserKey::read(user, (version, &plain), older)?);
            // Read before a replacement and kept after it: it must not be sealed with.
            if self.replaced.load(Ordering::SeqCst) == seen {
                return Ok(key);
            }
            self.retire(key);
            self.forget_cached(user);
        }
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
        self.root().wrap(user, 1, secret.as_slice())
    }

    /// Keyed hash under the root key, for looking up a value (a login) that is only stored sealed.
    #[must_use]
    pub fn blind(&self, label: &str, value: &str) -> [u8; 32] {
        *blake3::keyed_hash(&self.root().derived(&format!("blind {label}")), value.as_bytes()).as_bytes()
    }

    /// Seals under the root key.
    #[must_use]
    pub fn seal_root(&self, aad: &[u8], plain: &[u8]) -> Sealed {
        seal(&self.root().derived(Purpose::Accounts.label()), 1, aad, plain)
    }

    /// Opens what [`KeyRing::seal_root`] made.
    ///
    /// # Errors
    /// As [`UserKey::open`].
    pub fn open_root(&self, aad: &[u8], sealed: &Sealed) -> Result<Vec<u8>, KeyError> {
        self.root().open(Purpose::Accounts.label(), 1, aad, sealed)
    }

    /// A secret of the installation for another use, e.g. signing; stable for one root key and label.
    #[must_use]
    pub fn installation_secret(&self, label: &str) -> Zeroizing<[u8; 32]> {
        self.root().installation_secret(label)
    }

    /// Destroys a user's key for good: what was sealed under it never opens again. Their sessions end, and their password is gone. Twice
    /// does no harm; whoever holds the key unwrapped holds it until they let go.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn destroy(&self, user: UserId) -> Result<(), KeyError> {
        self.db.destroy_key(user).await?;
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).remove(&user);
        Ok(())
    }

    /// Begins to replace a user's key: from now on texts are sealed with a new one, and the older still opens. Where that has begun already it
    /// goes on: the present key is returned.
    ///
    /// # Errors
    /// As [`KeyRing::user`].
    pub async fn begin_replacing(&self, user: UserId) -> Result<Arc<UserKey>, KeyError> {
        self.forget_cached(user);
        let held = self.user(user).await?;
        if held.replaces().is_none() {
            let next = held.version() + 1;
            let wrapped = self.root().wrap(user, next, &held.successor());
            self.db.replace_key(user, held.version(), next, &wrapped.0).await?;
            self.replaced.fetch_add(1, Ordering::SeqCst);
            self.retire(held);
            self.forget_cached(user);
        }
        self.user(user).await
    }

    /// Ends it: the older key is destroyed, and whatever it sealed is lost. The caller has sealed everything anew. `false` if somebody still
    /// holds the older key alone, and may be sealing with it: ask again.
    ///
    /// # Errors
    /// As [`KeyRing::user`].
    pub async fn end_replacing(&self, user: UserId) -> Result<bool, KeyError> {
        {
            let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
            retired.retain(|key| key.strong_count() > 0);
            if retired.iter().any(|key| key.upgrade().is_some_and(|key| key.user() == user)) {
                return Ok(false);
            }
        }
        self.db.drop_older_key(user).await?;
        self.forget_cached(user);
        Ok(true)
    }

    /// Held while sealed or null records are appended to the log; replacing a key waits for it between two of its steps, so that what it
    /// seals anew is never older than what it follows.
    pub async fn writing(&self) -> OwnedRwLockReadGuard<()> {
        Arc::clone(&self.writers).read_owned().await
    }

    /// Held while records are sealed anew: nobody appends meanwhile.
    pub async fn alone(&self) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.writers).write_owned().await
    }

    /// Replaces the root key: every user's key is wrapped anew and every login sealed anew, then the older root key goes. Nobody signs up
    /// and nothing is appended meanwhile. Returns how many keys and logins that were.
    ///
    /// After a crash the file holds both keys, and the next call goes on.
    ///
    /// # Errors
    /// [`KeyError::RootKey`] if the file cannot be written; as the pool's.
    pub async fn replace_root(&self, path: &std::path::Path) -> Result<(u64, u64), KeyError> {
        let _alone = self.alone().await;
        let mut root = self.root();
        if !root.replaces() {
            root = Arc::new(root.successor());
            root.replace(path)?;
            self.set_root(Arc::clone(&root));
        }
        let mut keys = 0;
        for (user, held) in self.db.wrapped_keys().await? {
            let anew = |(version, wrapped): &(u32, Vec<u8>)| -> Result<(u32, Vec<u8>), KeyError> {
                let sealed = Sealed(wrapped.clone());
                if root.is_present(user, *version, &sealed) {
                    return Ok((*version, sealed.0));
                }
                Ok((*version, root.wrap(user, *version, &root.unwrap(user, *version, &sealed)?).0))
            };
            let wrapped = WrappedKeys { now: anew(&held.now)?, older: held.older.as_ref().map(anew).transpose()? };
            if wrapped != held {
                self.db.rewrap_key(user, &held, &wrapped).await?;
                keys += 1;
            }
        }
        let logins = self.db.seal_logins_anew(self).await?;
        let alone = Arc::new(root.alone());
        alone.replace(path)?;
        self.set_root(alone);
        Ok((keys, logins))
    }

    fn root(&self) -> Arc<RootKey> {
        Arc::clone(&self.root.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_root(&self, root: Arc<RootKey>) {
        *self.root.write().unwrap_or_else(PoisonError::into_inner) = root;
    }

    /// Whether the root key is being replaced: a crash came between.
    #[must_use]
    pub fn root_replaces(&self) -> bool {
        self.root().replaces()
    }

    fn retire(&self, key: Arc<UserKey>) {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&key));
    }

    fn forget_cached(&self, user: UserId) {
        let held = self.cache.lock().unwrap_or_else(PoisonError::into_inner).remove(&user);
        if let Some(key) = held {
            self.retire(key);
        }
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
        cache.insert(key.user(), Arc::clone(&key));
        key
    }
}
