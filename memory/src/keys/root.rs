//! The root key: 32 random bytes in a file that only its owner may read.

use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use ajatus_events::{Sealed, UserId};
use zeroize::Zeroizing;

use super::KeyError;
use super::cipher::{derive, open, random, seal};

const HEADER: &str = "ajatuskumppani root key 1";

/// The key that wraps every user's key. Lose it, and everything sealed is lost.
pub struct RootKey(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for RootKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RootKey(..)")
    }
}

impl RootKey {
    /// Reads the key file, or makes it (mode 0600) if there is none.
    ///
    /// # Errors
    /// [`KeyError::RootKey`] if the file is not a key file, or others may read it.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        let refuse = |reason: String| KeyError::RootKey { path: path.display().to_string(), reason };
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let mode = std::fs::metadata(path).map_err(|error| refuse(error.to_string()))?.permissions().mode();
                if mode & 0o077 != 0 {
                    return Err(refuse(format!("its mode is {:o}, so others may read it; `chmod 600` it", mode & 0o777)));
                }
                parse(&text).ok_or_else(|| refuse(format!("it does not hold the line {HEADER:?} and 64 hex digits; restore it from your backup")))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let key = Self::random();
                key.write(path).map_err(|error| refuse(error.to_string()))?;
                // Another process may have been first: the file decides.
                Self::read(path).ok_or_else(|| refuse("it was written but cannot be read back".to_owned()))
            }
            Err(error) => Err(refuse(error.to_string())),
        }
    }

    /// A key of its own that no file holds.
    #[must_use]
    pub fn random() -> Self {
        Self(random())
    }

    fn read(path: &Path) -> Option<Self> {
        parse(&std::fs::read_to_string(path).ok()?)
    }

    /// Writes beside the name, syncs, then links: the file is never seen half-written and never replaced.
    fn write(&self, path: &Path) -> std::io::Result<()> {
        let beside = path.with_extension(format!("new-{}", std::process::id()));
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        let hex = Zeroizing::new(self.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        file.write_all(format!("{HEADER}\n{}\n", *hex).as_bytes())?;
        file.sync_all()?;
        let linked = std::fs::hard_link(&beside, path);
        std::fs::remove_file(&beside)?;
        match linked {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    /// A key for one use.
    pub(super) fn derived(&self, label: &str) -> Zeroizing<[u8; 32]> {
        derive(&self.0, &format!("ajatuskumppani/1/root/{label}"))
    }

    pub(super) fn wrap(&self, user: UserId, version: u32, secret: &[u8; 32]) -> Sealed {
        seal(&self.derived("wrap"), version, &wrap_aad(user), secret)
    }

    pub(super) fn unwrap(&self, user: UserId, version: u32, wrapped: &Sealed) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        let plain = Zeroizing::new(open(&self.derived("wrap"), version, &wrap_aad(user), wrapped)?);
        let secret: [u8; 32] = plain.as_slice().try_into().map_err(|_| KeyError::Open)?;
        Ok(Zeroizing::new(secret))
    }
}

fn wrap_aad(user: UserId) -> Vec<u8> {
    format!("1/user_keys/wrapped/{user}").into_bytes()
}

fn parse(text: &str) -> Option<RootKey> {
    let mut lines = text.lines();
    if lines.next()? != HEADER {
        return None;
    }
    let hex = lines.next()?.as_bytes();
    let mut key = Zeroizing::new([0_u8; 32]);
    if hex.len() != 64 || !hex.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    for (byte, digits) in key.iter_mut().zip(hex.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(RootKey(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_the_file_once_and_reads_the_same_key_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("root.key");
        let first = RootKey::load_or_create(&path).expect("made");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(*first.0, *RootKey::load_or_create(&path).expect("read").0);
    }

    #[test]
    fn refuses_a_file_that_others_may_read_or_that_is_no_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("root.key");
        RootKey::load_or_create(&path).expect("made");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("changed");
        assert!(RootKey::load_or_create(&path).expect_err("readable").to_string().contains("chmod 600"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("changed");
        for garbage in ["", "x", "ajatuskumppani root key 1\nzz", "ajatuskumppani root key 2\n00"] {
            std::fs::write(&path, garbage).expect("written");
            assert!(RootKey::load_or_create(&path).is_err(), "{garbage:?} was taken");
        }
    }
}
