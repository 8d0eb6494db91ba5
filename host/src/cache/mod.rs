//! Results of steps that may be used again: what a result depends on (its parts, and the key made of them), the store
//! of results on disk, and the words for why there was none. What a step is, and running it, is not known here; nor are
//! the layers that a result's tag names.

mod decision;
mod error;
mod eviction;
mod explain;
mod inputs;
mod key;
mod lock;
mod store;

pub use decision::{MissReason, StepDecision, StepVerdict, Uncacheable};
pub use error::CacheError;
pub use eviction::{CacheLimits, to_evict};
pub use explain::explain;
pub use inputs::{InputFiles, PathWarning, find_inputs};
pub use key::{Key, KeyInputs, NotAKey, ParentResult};
pub use lock::{KeyLock, SharedLock};
pub use store::{ListedResult, ResultMeta, Store};
