//! Results of steps that may be used again: what a result depends on (its parts, and the key made of them), the store of results on
//! disk, and the words for why there was none. What a step is, and running it, is not known here; nor are the layers that
//! a result's tag names.

mod decision;
mod explain;
mod inputs;
mod lock;
mod parts;
mod store;
mod worth;

pub use decision::{Decision, Missing, Never, Verdict};
pub use explain::explain;
pub use inputs::{Doubt, Inputs, inputs};
pub use lock::{KeyLock, Reading};
pub use parts::{Key, NotAKey, Parent, Parts};
pub use store::{Entry, Found, Listed, Store};
pub use worth::{Limits, worthless};

use std::path::PathBuf;

use hm_disk::PathError;

/// Why something cannot be had from the cache or kept in it. A build can go on without.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The system says no.
    #[error(transparent)]
    Io(#[from] PathError),
    /// A file that was to be kept is not what it was said to be.
    #[error("{} has changed since the step made it", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A result and the lock that was taken for it are of different keys.
    #[error("the result {found} is not that of the lock, {locked}")]
    OtherKey {
        /// What was to be kept.
        found: Key,
        /// What is locked.
        locked: Key,
    },
}
