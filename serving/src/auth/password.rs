//! Passwords: argon2id, off the reactor, a few at a time.

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use tokio::sync::Semaphore;

/// Characters of a password at least.
pub const MIN_PASSWORD: usize = 8;
/// Bytes of a password at most: hashing takes time by length.
pub const MAX_PASSWORD: usize = 256;

/// Hashes at once: each takes 19 MiB.
const AT_ONCE: usize = 2;
/// Waiting and running at once; more are refused.
const QUEUE: usize = 64;

/// Hashes a password: argon2id with 19 MiB, two passes, one lane (the first choice of the OWASP password storage sheet).
///
/// Blocks for some tens of milliseconds: call it off the reactor.
///
/// # Errors
/// A sentence for the user, if the password is too short or too long.
pub fn hash_password(password: &str) -> Result<String, String> {
    let characters = password.chars().count();
    if characters < MIN_PASSWORD {
        return Err(format!("the password has {characters} characters, but it must have {MIN_PASSWORD} at least"));
    }
    if password.len() > MAX_PASSWORD {
        return Err(format!("the password has {} bytes, but it may have {MAX_PASSWORD} at most", password.len()));
    }
    Argon2::default().hash_password(password.as_bytes()).map(|hash| hash.to_string()).map_err(|error| error.to_string())
}

/// Why a password was not hashed or checked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PasswordError {
    /// Too short or too long.
    #[error("{0}")]
    Refused(String),
    /// Too many are waiting.
    #[error("too many passwords are being checked")]
    Busy,
    /// Hashing itself failed.
    #[error("a password could not be hashed: {0}")]
    Failed(String),
}

/// Hashes and checks passwords.
pub(crate) struct Passwords {
    /// Waiting and running.
    queue: Arc<Semaphore>,
    running: Arc<Semaphore>,
    /// A hash that no password has, checked when there is no account, so that the answer takes as long.
    nobody: String,
}

impl Passwords {
    pub(crate) fn new() -> Arc<Self> {
        let mut random = [0_u8; 24];
        getrandom::fill(&mut random).expect("the operating system has random bytes");
        let password: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        Arc::new(Self {
            queue: Arc::new(Semaphore::new(QUEUE)),
            running: Arc::new(Semaphore::new(AT_ONCE)),
            nobody: hash_password(&password).expect("a long enough password"),
        })
    }

    pub(crate) async fn hash(&self, password: String) -> Result<String, PasswordError> {
        self.run(move || hash_password(&password)).await?.map_err(PasswordError::Refused)
    }

    /// Whether the password is the hash's; `None` takes as long and is never right.
    pub(crate) async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, PasswordError> {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.nobody.clone());
        let right = self.run(move || Argon2::default().verify_password(password.as_bytes(), hash.as_str()).is_ok()).await?;
        Ok(right && known)
    }

    /// The permits go with the work, not with the caller: a client that hangs up does not make room before its hash is done.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, PasswordError> {
        let place = Arc::clone(&self.queue).try_acquire_owned().map_err(|_| PasswordError::Busy)?;
        let permit = Arc::clone(&self.running).acquire_owned().await.expect("never closed");
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop((place, permit));
            done
        });
        done.await.map_err(|error| PasswordError::Failed(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn refuses_when_the_queue_is_full_and_goes_on_after() {
        let passwords = Passwords::new();
        let places: Vec<_> = (0..QUEUE).map(|_| Arc::clone(&passwords.queue).try_acquire_owned().expect("a place")).collect();
        assert!(matches!(passwords.hash("a long password".into()).await, Err(PasswordError::Busy)));
        drop(places);
        let hash = passwords.hash("a long password".into()).await.expect("hashed");
        assert!(hash.starts_with("$argon2id$"), "{hash}");
        assert!(passwords.verify("a long password".into(), Some(hash.clone())).await.expect("checked"));
        assert!(!passwords.verify("another password".into(), Some(hash)).await.expect("checked"));
        assert!(!passwords.verify("a long password".into(), None).await.expect("checked"));
        assert!(matches!(passwords.hash("short".into()).await, Err(PasswordError::Refused(_))));
    }
}
