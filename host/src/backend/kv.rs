//! Small values that plugins keep: in memory, or in one file for each plugin that survives crashes and is shared by all
//! `hm` that run. Which plugin may keep what for how long is decided above.

mod file;
mod values;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hm_disk::{LockFile, blocking};
use parking_lot::Mutex;

use self::values::check_size;
pub use self::values::{KvError, Values};

/// Longest name of a plugin.
const NAME_MAX: usize = 64;

/// Pause before a lock that somebody has is tried again: about as long as a write takes.
const LOCKED: Duration = Duration::from_millis(3);

/// Values in memory that all instances of a plugin share.
#[derive(Debug, Default)]
pub struct SharedValues(Mutex<BTreeMap<Arc<str>, Values>>);

impl SharedValues {
    /// A value of a plugin.
    #[must_use]
    pub fn get(&self, plugin: &str, key: &str) -> Option<Vec<u8>> {
        let values = self.0.lock();
        values.get(plugin)?.get(key).map(<[u8]>::to_vec)
    }

    /// Keeps a value of a plugin instead of what was there.
    ///
    /// # Errors
    /// [`KvError::Limit`]; then nothing has changed.
    pub fn set(&self, plugin: &Arc<str>, key: &str, value: Vec<u8>) -> Result<(), KvError> {
        let mut values = self.0.lock();
        values.entry(plugin.clone()).or_default().set(key, value)
    }
}

/// Values on disk: a file `PLUGIN.kv` for each plugin, an object of arrays of bytes in JSON, as hm 0.0.1 wrote it.
#[derive(Debug, Clone)]
pub struct StoredValues {
    directory: PathBuf,
}

impl StoredValues {
    /// Those in this directory, which is made when something is kept.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// A value of a plugin.
    ///
    /// # Errors
    /// [`KvError`]; a file that is not there is none.
    pub async fn get(&self, plugin: &str, key: &str) -> Result<Option<Vec<u8>>, KvError> {
        let path = self.path(plugin)?;
        let key = key.to_owned();
        blocking(move || Ok(file::read(&path)?.0.remove(&key))).await?
    }

    /// Keeps a value of a plugin instead of what was there. It is on the disk when this returns. Waits for others who
    /// are about it; dropping the future ends the waiting, or leaves all of the change to happen.
    ///
    /// # Errors
    /// [`KvError`]; then what was there is there.
    pub async fn set(&self, plugin: &str, key: &str, value: Vec<u8>) -> Result<(), KvError> {
        check_size(key, &value)?;
        let path = self.path(plugin)?;
        let directory = self.directory.clone();
        blocking(move || file::make_directory(&directory)).await??;
        // The one that hm 0.0.1 takes too.
        let lock = LockFile::new(path.with_extension("lock")).exclusive_polled(LOCKED).await?;
        let key = key.to_owned();
        blocking(move || {
            let mut values = file::read(&path)?;
            values.set(&key, value)?;
            file::write(&path, &values)?;
            drop(lock);
            Ok(())
        })
        .await?
    }

    fn path(&self, plugin: &str) -> Result<PathBuf, KvError> {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let fine =
            (1..=NAME_MAX).contains(&plugin.len()) && !plugin.starts_with('-') && plugin.bytes().all(inner);
        if fine {
            Ok(self.directory.join(format!("{plugin}.kv")))
        } else {
            Err(KvError::Name(plugin.chars().take(NAME_MAX).collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::values::{KEY_MAX, KEYS_MAX, TOTAL_MAX, VALUE_MAX};
    use super::*;

    #[test]
    fn what_is_too_much_is_refused_and_changes_nothing() {
        let mut values = Values::default();
        let limit = |result: Result<(), KvError>| match result {
            Err(KvError::Limit { which, asked, allowed }) => (which, asked, allowed),
            other => panic!("{other:?}"),
        };
        let long = "k".repeat(KEY_MAX + 1);
        assert_eq!(
            limit(values.set(&long, vec![])),
            ("bytes of the key of a stored value", KEY_MAX + 1, KEY_MAX)
        );
        let large = vec![0; VALUE_MAX + 1];
        assert_eq!(limit(values.set("k", large)), ("bytes of a stored value", VALUE_MAX + 1, VALUE_MAX));
        for key in ["a", "b", "c"] {
            values.set(key, vec![0; VALUE_MAX]).unwrap();
        }
        let last = VALUE_MAX - 4;
        values.set("d", vec![0; last]).unwrap();
        let over = ("bytes of all stored values", TOTAL_MAX + 1, TOTAL_MAX);
        assert_eq!(limit(values.set("d", vec![0; last + 1])), over);
        assert_eq!(limit(values.set("", vec![0])), over);
        assert_eq!(values.get("d").map(<[u8]>::len), Some(last));
        values.set("d", vec![]).unwrap();
        assert_eq!(values.get("d"), Some(&[][..]), "empty is not the same as nothing");
        assert_eq!(format!("{values:?}"), "Values(4 keys)");
    }

    #[test]
    fn ten_thousand_keys_are_too_many() {
        let mut values = Values::default();
        let kept = (0..10_000).filter(|n| values.set(&n.to_string(), vec![]).is_ok()).count();
        assert_eq!(kept, KEYS_MAX);
        values.set("7", b"still".to_vec()).unwrap();
    }

    #[tokio::test]
    async fn names_that_are_no_file_names_of_ours_are_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let kept = StoredValues::new(scratch.path().join("state"));
        for name in ["", "../x", "/x", "a.b", "A", "a\0", "-a", "ä", &"a".repeat(65)] {
            assert!(matches!(kept.set(name, "k", vec![1]).await, Err(KvError::Name(_))), "{name}");
            assert!(matches!(kept.get(name, "k").await, Err(KvError::Name(_))), "{name}");
        }
        assert!(!scratch.path().join("state").exists());
    }

    #[tokio::test]
    async fn plugins_and_keys_are_kept_apart() {
        let scratch = tempfile::tempdir().unwrap();
        let kept = StoredValues::new(scratch.path().join("a/state"));
        let again = StoredValues::new(scratch.path().join("a/state"));
        let shared = SharedValues::default();
        for (plugin, key, value) in
            [("p", "k", 1_u8), ("p", "K", 2), ("q", "k", 3), ("p", "", 4), ("p", "\0é\"", 5)]
        {
            kept.set(plugin, key, vec![value]).await.unwrap();
            shared.set(&plugin.into(), key, vec![value]).unwrap();
        }
        for (plugin, key, value) in
            [("p", "k", 1), ("p", "K", 2), ("q", "k", 3), ("p", "", 4), ("p", "\0é\"", 5)]
        {
            assert_eq!(again.get(plugin, key).await.unwrap(), Some(vec![value]));
            assert_eq!(shared.get(plugin, key), Some(vec![value]));
        }
        for (plugin, key) in [("q", "K"), ("r", "k"), ("p", "x")] {
            assert_eq!(again.get(plugin, key).await.unwrap(), None);
            assert_eq!(shared.get(plugin, key), None);
        }
    }
}
