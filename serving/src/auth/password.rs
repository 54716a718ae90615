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

/// Checks passwords.
pub(crate) struct Passwords {
    permits: Semaphore,
    /// A hash that no password has, checked when there is no account, so that the answer takes as long.
    nobody: String,
}

impl Passwords {
    pub(crate) fn new() -> Arc<Self> {
        let mut random = [0_u8; 24];
        getrandom::fill(&mut random).expect("the operating system has random bytes");
        let password: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        Arc::new(Self { permits: Semaphore::new(AT_ONCE), nobody: hash_password(&password).expect("a long enough password") })
    }

    pub(crate) async fn hash(&self, password: String) -> Result<String, String> {
        let _permit = self.permits.acquire().await.expect("never closed");
        tokio::task::spawn_blocking(move || hash_password(&password)).await.map_err(|error| error.to_string())?
    }

    /// Whether the password is the hash's; `None` takes as long and is never right.
    pub(crate) async fn verify(&self, password: String, hash: Option<String>) -> bool {
        let _permit = self.permits.acquire().await.expect("never closed");
        let (hash, known) = match hash {
            Some(hash) => (hash, true),
            None => (self.nobody.clone(), false),
        };
        let check = move || Argon2::default().verify_password(password.as_bytes(), hash.as_str()).is_ok();
        tokio::task::spawn_blocking(check).await.unwrap_or(false) && known
    }
}
