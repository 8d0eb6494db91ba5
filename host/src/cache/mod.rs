//! Results of steps that may be used again: what a result depends on (its parts, and the key made of them), the store of results on
//! disk, and the words for why there was none. What a step is, and running it, is not known here; nor are the layers that
//! a result's tag names.

mod decision;
mod eviction;
mod explain;
mod inputs;
mod key;
mod lock;
mod store;

pub use decision::{MissReason, StepDecision, StepVerdict, Uncacheable};
pub use eviction::{CacheLimits, to_evict};
pub use explain::explain;
pub use inputs::{InputFiles, PathWarning, find_inputs};
pub use key::{Key, KeyInputs, NotAKey, ParentResult};
pub use lock::{KeyLock, SharedLock};
pub use store::{ListedResult, ResultMeta, Store};

use std::path::PathBuf;

use hm_disk::PathError;

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
