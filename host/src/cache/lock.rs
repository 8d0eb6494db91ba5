//! The lock of a key: a file of its own, so that several `hm` do not run one step at the same time, and nobody removes
//! what is in use. The system gives a lock back when its holder dies.

use std::path::Path;
use std::time::Duration;

use hm_disk::{FileLock, LockFile};

use super::{CacheError, Key};

/// Pause before asking again for a lock that somebody has: little against a step.
const LOCKED: Duration = Duration::from_millis(50);

/// The lock of a key, which nobody else has, until it is dropped.
#[derive(Debug)]
pub struct KeyLock {
    key: Key,
    lock: FileLock,
}

/// A lock of a key that others may have at the same time, so that nobody has it alone.
#[derive(Debug)]
pub struct SharedLock {
    _lock: FileLock,
}

impl KeyLock {
    /// Key that is locked.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Takes the lock when nobody else has it. Dropping the future ends the waiting.
    ///
    /// # Errors
    /// The file cannot be opened or locked.
    pub(super) async fn take(folder: &Path, key: &Key) -> Result<Self, CacheError> {
        let lock = file(folder, key).exclusive_polled(LOCKED).await?;
        Ok(Self { key: key.clone(), lock })
    }

    /// Takes the lock if that needs no waiting.
    ///
    /// # Errors
    /// As [`KeyLock::take`].
    pub(super) fn try_take(folder: &Path, key: &Key) -> Result<Option<Self>, CacheError> {
        let lock = file(folder, key).try_exclusive()?.held();
        Ok(lock.map(|lock| Self { key: key.clone(), lock }))
    }

    /// Removes the lock's file, which nobody else may do, and gives the lock back.
    ///
    /// # Errors
    /// The system says no.
    pub(super) fn remove(self) -> Result<(), CacheError> {
        Ok(self.lock.remove()?)
    }
}

impl SharedLock {
    /// Takes the lock if that needs no waiting.
    ///
    /// # Errors
    /// As [`KeyLock::take`].
    pub(super) fn try_take(folder: &Path, key: &Key) -> Result<Option<Self>, CacheError> {
        let lock = file(folder, key).try_shared()?.held();
        Ok(lock.map(|lock| Self { _lock: lock }))
    }
}

fn file(folder: &Path, key: &Key) -> LockFile {
    LockFile::new(folder.join(key.as_str()))
}
