//! The lock of a key: a file of its own, so that several `hm` do not run one step at the same time, and nobody removes what
//! is in use. The system gives a lock back when its holder dies.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::{CacheError, Key, io_error};

/// The lock of a key, which nobody else has, until it is dropped.
#[derive(Debug)]
pub struct KeyLock {
    key: Key,
    _file: File,
}

/// A lock of a key that others may have at the same time, so that nobody has it alone.
#[derive(Debug)]
pub struct SharedLock {
    _file: File,
}

impl KeyLock {
    /// Key that is locked.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Takes the lock if that needs no waiting.
    ///
    /// # Errors
    /// The file cannot be opened or locked.
    pub(super) fn try_take(folder: &Path, key: &Key) -> Result<Option<Self>, CacheError> {
        let file = try_take(&folder.join(key.as_str()), File::try_lock)?;
        Ok(file.map(|file| Self { key: key.clone(), _file: file }))
    }

    /// Removes the lock's file, which nobody else may do, and gives the lock back.
    ///
    /// # Errors
    /// The system says no.
    pub(super) fn remove(self, folder: &Path) -> Result<(), CacheError> {
        let path = folder.join(self.key.as_str());
        fs::remove_file(&path).map_err(io_error("remove", &path))
    }
}

impl SharedLock {
    /// Takes the lock if that needs no waiting.
    ///
    /// # Errors
    /// The file cannot be opened or locked.
    pub(super) fn try_take(folder: &Path, key: &Key) -> Result<Option<Self>, CacheError> {
        let file = try_take(&folder.join(key.as_str()), File::try_lock_shared)?;
        Ok(file.map(|file| Self { _file: file }))
    }
}

fn try_take(path: &Path, take: fn(&File) -> Result<(), TryLockError>) -> Result<Option<File>, CacheError> {
    loop {
        let opened = File::options().append(true).create(true).mode(0o600).open(path);
        let file = opened.map_err(io_error("open", path))?;
        match take(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(io_error("lock", path)(error)),
        }
        // Somebody may have removed the file after it was opened; then this is the lock of nothing.
        if is_at(&file, path).map_err(io_error("look at", path))? {
            return Ok(Some(file));
        }
    }
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let file = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (file.dev(), file.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
