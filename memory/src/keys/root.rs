//! The root key: 32 random bytes in a file that only its owner may read.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use ajatus_events::{Sealed, UserId};
use zeroize::Zeroizing;

use super::KeyError;
use super::cipher::{derive, open, random, seal};

const HEADER: &str = "ajatuskumppani root key 1";
/// Begins the line of the key that is being replaced.
const OLDER: &str = "older";
/// Begins the line of a secret that is carried.
const SECRET: &str = "secret";

/// The key that wraps every user's key. Lose it, and everything sealed is lost.
///
/// While it is replaced it holds both: the new one seals, both open. Secrets of the installation are carried over, because what was signed
/// with them must stay checkable.
#[derive(Clone)]
pub struct RootKey {
    now: Zeroizing<[u8; 32]>,
    older: Option<Zeroizing<[u8; 32]>>,
    carried: BTreeMap<String, Zeroizing<[u8; 32]>>,
}

/// Labels of the secrets that are carried to a new root key.
const CARRIED: [&str; 2] = ["receipts", "access token"];

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
        Self { now: random(), older: None, carried: BTreeMap::new() }
    }

    /// Whether it is being replaced.
    #[must_use]
    pub fn replaces(&self) -> bool {
        self.older.is_some()
    }

    /// A new one that still opens what this one sealed.
    pub(super) fn successor(&self) -> Self {
        let carried = CARRIED.iter().map(|label| ((*label).to_owned(), self.installation_secret(label))).collect();
        Self { now: random(), older: Some(self.now.clone()), carried }
    }

    /// Itself, without the one that it replaces.
    pub(super) fn alone(&self) -> Self {
        Self { older: None, ..self.clone() }
    }

    /// Puts it in place of the key file: the file is the one or the other, whole.
    pub(super) fn replace(&self, path: &Path) -> Result<(), KeyError> {
        let refuse = |error: std::io::Error| KeyError::RootKey { path: path.display().to_string(), reason: error.to_string() };
        let beside = self.beside(path).map_err(refuse)?;
        std::fs::rename(&beside, path).map_err(refuse)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(refuse)
    }

    fn read(path: &Path) -> Option<Self> {
        parse(&std::fs::read_to_string(path).ok()?)
    }

    /// Writes it, synced, into a file beside the name.
    fn beside(&self, path: &Path) -> std::io::Result<PathBuf> {
        let beside = path.with_extension(format!("new-{}", std::process::id()));
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        let hex = |key: &[u8; 32]| key.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let mut text = Zeroizing::new(format!("{HEADER}\n{}\n", hex(&self.now)));
        if let Some(older) = &self.older {
            text.push_str(&format!("{OLDER} {}\n", hex(older)));
        }
        for (label, secret) in &self.carried {
            text.push_str(&format!("{SECRET} {} {label}\n", hex(secret)));
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        Ok(beside)
    }

    /// Writes beside the name, then links: the file is never seen half-written and never replaced.
    fn write(&self, path: &Path) -> std::io::Result<()> {
        let beside = self.beside(path)?;
        let linked = std::fs::hard_link(&beside, path);
        std::fs::remove_file(&beside)?;
        match linked {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    /// Reads the key file.
    ///
    /// # Errors
    /// [`KeyError::RootKey`] if there is none, or it is not a key file.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let refuse = |reason: &str| KeyError::RootKey { path: path.display().to_string(), reason: reason.to_owned() };
        if !path.exists() {
            return Err(refuse("there is none"));
        }
        Self::read(path).ok_or_else(|| refuse("it is not a key file"))
    }

    /// A secret of the installation for another use, e.g. signing; stable for one label, also when the root key is replaced (for the labels
    /// that are carried).
    #[must_use]
    pub fn installation_secret(&self, label: &str) -> Zeroizing<[u8; 32]> {
        self.carried.get(label).cloned().unwrap_or_else(|| self.derived(&format!("installation {label}")))
    }

    /// A key for one use.
    pub(super) fn derived(&self, label: &str) -> Zeroizing<[u8; 32]> {
        derive(&self.now, &format!("ajatuskumppani/1/root/{label}"))
    }

    pub(super) fn wrap(&self, user: UserId, version: u32, secret: &[u8]) -> Sealed {
        seal(&self.derived("wrap"), version, &wrap_aad(user), secret)
    }

    pub(super) fn unwrap(&self, user: UserId, version: u32, wrapped: &Sealed) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        self.open("wrap", version, &wrap_aad(user), wrapped).map(Zeroizing::new)
    }

    /// Whether a wrapped key opens with the present key.
    pub(super) fn is_present(&self, user: UserId, version: u32, wrapped: &Sealed) -> bool {
        open(&self.derived("wrap"), version, &wrap_aad(user), wrapped).is_ok()
    }

    /// Opens with this key, or with the one that it replaces.
    pub(super) fn open(&self, label: &str, version: u32, aad: &[u8], sealed: &Sealed) -> Result<Vec<u8>, KeyError> {
        let first = open(&self.derived(label), version, aad, sealed);
        match (&first, &self.older) {
            (Err(KeyError::Open), Some(older)) => open(&derive(older, &format!("ajatuskumppani/1/root/{label}")), version, aad, sealed),
            _ => first,
        }
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
    let mut key = RootKey { now: key(lines.next()?)?, older: None, carried: BTreeMap::new() };
    for line in lines {
        let mut words = line.splitn(3, ' ');
        match (words.next()?, words.next().and_then(self::key), words.next()) {
            (OLDER, Some(older), None) if key.older.is_none() => key.older = Some(older),
            (SECRET, Some(secret), Some(label)) => drop(key.carried.insert(label.to_owned(), secret)),
            _ => return None,
        }
    }
    Some(key)
}

fn key(hex: &str) -> Option<Zeroizing<[u8; 32]>> {
    let hex = hex.as_bytes();
    let mut key = Zeroizing::new([0_u8; 32]);
    if hex.len() != 64 || !hex.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    for (byte, digits) in key.iter_mut().zip(hex.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(key)
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
        assert_eq!(*first.now, *RootKey::load_or_create(&path).expect("read").now);
    }

    #[test]
    fn refuses_a_file_that_others_may_read_or_that_is_no_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("root.key");
        RootKey::load_or_create(&path).expect("made");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("changed");
        assert!(RootKey::load_or_create(&path).expect_err("readable").to_string().contains("chmod 600"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("changed");
        for garbage in ["", "x", "ajatuskumppani root key 1\nzz", "ajatuskumppani root key 2\n00", &format!("{HEADER}\n{0}\nolder {0}\nolder {0}\n", "ab".repeat(32)), &format!("{HEADER}\n{}\nmore\n", "ab".repeat(32))] {
            std::fs::write(&path, garbage).expect("written");
            assert!(RootKey::load_or_create(&path).is_err(), "{garbage:?} was taken");
        }
    }

    #[test]
    fn a_successor_opens_both_and_carries_what_was_signed_with() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("root.key");
        let first = RootKey::load_or_create(&path).expect("made");
        let user = UserId(uuid::Uuid::from_u128(1));
        let wrapped = first.wrap(user, 1, &[5; 32]);
        first.successor().replace(&path).expect("replaced");
        let both = RootKey::load_or_create(&path).expect("read");
        assert!(both.replaces() && !both.is_present(user, 1, &wrapped));
        assert_eq!(both.unwrap(user, 1, &wrapped).expect("the older opens it").as_slice(), [5; 32]);
        let anew = both.wrap(user, 1, &[5; 32]);
        both.alone().replace(&path).expect("replaced");
        let second = RootKey::load_or_create(&path).expect("read");
        assert!(second.is_present(user, 1, &anew) && second.unwrap(user, 1, &wrapped).is_err() && !second.replaces());
        assert_eq!(second.installation_secret("receipts"), first.installation_secret("receipts"));
        assert_ne!(second.installation_secret("other"), first.installation_secret("other"));
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    }
}
