//! Values of one plugin, and the limits that they have to keep.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use hm_disk::{PathError, TaskError};

/// Keys of one plugin, in each place where it keeps values.
pub(super) const KEYS_MAX: usize = 1024;

/// Bytes in a key.
pub(super) const KEY_MAX: usize = 1024;

/// Bytes in a value.
pub(super) const VALUE_MAX: usize = 1 << 20;

/// Bytes in all keys and values of one plugin, in each place where it keeps values.
pub(super) const TOTAL_MAX: usize = 4 << 20;

/// Error of a value that cannot be had or kept.
#[derive(Debug, thiserror::Error)]
pub enum KvError {
    /// A limit that the value would exceed.
    #[error("{which}: {asked}, of at most {allowed}")]
    Limit {
        which: &'static str,
        /// Amount that there would have been.
        asked: usize,
        /// Amount that there may be.
        allowed: usize,
    },
    /// The name cannot be that of a file.
    #[error("{0:?} is no name to keep values under: it has to be of the form [a-z0-9][a-z0-9-]{{0,63}}")]
    Name(String),
    /// The file is there, and is not one of ours.
    #[error("{} is damaged, and stays as it is: nothing can be kept until it is removed or restored", .path.display())]
    Damaged { path: PathBuf, source: serde_json::Error },
    /// The system says no.
    #[error(transparent)]
    Io(#[from] PathError),
    /// A thread of ours ended in a panic, or the program is ending.
    #[error("the work on stored values was given up")]
    Task(#[from] TaskError),
}

/// Values of one plugin, in memory.
#[derive(Default)]
pub struct Values(pub(super) BTreeMap<String, Vec<u8>>);

impl Values {
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.0.get(key).map(Vec::as_slice)
    }

    /// Keeps a value instead of what was there.
    ///
    /// # Errors
    /// [`KvError::Limit`]; then nothing has changed.
    pub fn set(&mut self, key: &str, value: Vec<u8>) -> Result<(), KvError> {
        check_size(key, &value)?;
        let replaced = self.get(key).map(<[u8]>::len);
        if replaced.is_none() {
            within("keys of stored values", self.0.len() + 1, KEYS_MAX)?;
        }
        // What is over the limit already, because an older hm had none, may at least become less.
        if replaced.is_none_or(|length| length < value.len()) {
            let others: usize =
                self.0.iter().filter(|(k, _)| *k != key).map(|(k, v)| k.len() + v.len()).sum();
            within("bytes of all stored values", others + key.len() + value.len(), TOTAL_MAX)?;
        }
        self.0.insert(key.to_owned(), value);
        Ok(())
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be secrets.
        write!(f, "Values({} keys)", self.0.len())
    }
}

/// Checks the limits that do not depend on the values that are there.
pub(super) fn check_size(key: &str, value: &[u8]) -> Result<(), KvError> {
    within("bytes of the key of a stored value", key.len(), KEY_MAX)?;
    within("bytes of a stored value", value.len(), VALUE_MAX)
}

fn within(which: &'static str, asked: usize, allowed: usize) -> Result<(), KvError> {
    if asked <= allowed { Ok(()) } else { Err(KvError::Limit { which, asked, allowed }) }
}
