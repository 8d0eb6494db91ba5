//! Errors of the cache.

use std::path::PathBuf;

use hm_disk::PathError;

use super::key::Key;

/// Error of the cache. A build can go on without one.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The system says no.
    #[error(transparent)]
    Io(#[from] PathError),
    /// A file that was to be kept is not what it was said to be.
    #[error("{} has changed since the step made it", path.display())]
    Changed {
        /// Path of the file.
        path: PathBuf,
    },
    /// A result and the lock that was taken for it are of different keys.
    #[error("the result {found} is not that of the lock, {locked}")]
    OtherKey {
        /// Key of the result.
        found: Key,
        /// Key of the lock.
        locked: Key,
    },
}
