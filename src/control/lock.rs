//! One process per data folder.

use std::fs::{File, TryLockError};
use std::path::Path;

use crate::exit::{Ended, Exit};

/// Held while this process uses a data folder; the operating system drops it with the process, also after kill -9.
#[derive(Debug)]
pub(crate) struct DataLock {
    _file: File,
}

impl DataLock {
    /// Makes the folder if needed and takes its lock.
    ///
    /// # Errors
    /// [`Exit::Unavailable`] when another process holds it or the folder cannot be written.
    pub(crate) fn take(data: &Path) -> anyhow::Result<Self> {
        let unavailable = |what: String| Ended::new(Exit::Unavailable, what);
        std::fs::create_dir_all(data)
            .map_err(|error| unavailable(format!("data folder {} cannot be made: {error}", data.display())))?;
        let path = data.join("ajatus.lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| unavailable(format!("{} cannot be opened: {error}", path.display())))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(unavailable(format!(
                "another ajatus process uses the data folder {}; wait for it to end, or stop it, or give --data another folder",
                data.display()
            ))),
            Err(TryLockError::Error(error)) => Err(unavailable(format!("{} cannot be locked: {error}", path.display()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_second_holder_and_lets_the_next_in_after_the_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = DataLock::take(folder.path()).expect("free");
        let error = DataLock::take(folder.path()).expect_err("held");
        assert_eq!(crate::exit::of(&error), Exit::Unavailable);
        drop(first);
        DataLock::take(folder.path()).expect("free again");
    }
}
