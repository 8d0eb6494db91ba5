//! Changes the user's plugin folder and lock file together, one `hm` at a time. What goes into them is decided, and
//! agreed to, before.
//!
//! A crash leaves the old plugin or the new one, with its own grants: the lock file gets the new entry beside the old
//! one first, then the file of the plugin is replaced, then the old entry goes. An entry without a file grants nothing
//! to anybody.

use std::fs;
use std::path::{Path, PathBuf};

use super::lock::{LOCK_FILE, LockEntry, LockError, PluginLock};
use super::trust::FOLDER;
use hm_disk::{FileLock, LockFile, cannot, remove_if_there, replace_file};

/// The file that whoever changes anything holds locked.
const TURN: &str = ".plugins.turn";

/// The right to change the user's plugins; other `hm` wait until it is dropped.
pub(crate) struct PluginStore {
    config: PathBuf,
    lock: PluginLock,
    _turn: FileLock,
}

impl PluginStore {
    /// Waits until it is our turn. `config` is the user's configuration folder.
    ///
    /// # Errors
    /// [`LockError`], which names the file.
    pub(crate) fn open(config: &Path) -> Result<Self, LockError> {
        let path = config.join(TURN);
        fs::create_dir_all(config.join(FOLDER)).map_err(cannot("write", &path))?;
        let turn = LockFile::new(path).exclusive().map_err(|error| error.during("write"))?;
        // Read only now: whoever had the lock before may have changed the file until then.
        Ok(Self { lock: PluginLock::read(&config.join(LOCK_FILE))?, config: config.into(), _turn: turn })
    }

    /// File of a plugin of this name, once it is installed.
    #[must_use]
    pub(crate) fn path(config: &Path, name: &str) -> PathBuf {
        config.join(FOLDER).join(format!("{name}.wasm"))
    }

    /// Puts a plugin into the user's folder, in the place of the one of its name, whose entry was `former` when the
    /// user agreed.
    ///
    /// # Errors
    /// [`LockError`]; what was there before is then still there.
    pub(crate) fn install(
        mut self,
        mut new: LockEntry,
        wasm: &[u8],
        former: Option<&LockEntry>,
    ) -> Result<PathBuf, LockError> {
        new.installed = true;
        new.trusted = self.lock.of(&new.sha256).is_some_and(|same| same.trusted);
        let now = self.lock.installed(&new.name);
        if now != former && now != Some(&new) {
            return Err(LockError::Changed { name: new.name });
        }
        // A crash may come between any two of these writes. Each leaves a file whose own bytes have an entry: the new
        // entry is there before the new bytes, and the old one goes only after the old bytes.
        let before = self.lock.clone();
        let (name, digest) = (new.name.clone(), new.sha256.clone());
        self.lock.put(new);
        self.write()?;
        let path = Self::path(&self.config, &name);
        if let Err(error) = replace_file(&path, wasm) {
            self.lock = before;
            self.write()?;
            return Err(error.into());
        }
        self.uninstalled(&name, |entry| entry.sha256 != digest);
        self.write()?;
        Ok(path)
    }

    /// Removes the file of a plugin and what this name was granted. False if there was neither.
    ///
    /// # Errors
    /// [`LockError`]
    pub(crate) fn remove(mut self, name: &str, path: &Path) -> Result<bool, LockError> {
        // The file first: an entry without a file lets nobody in, but a file without its entry would be one that was
        // altered.
        let removed = remove_if_there(path).map_err(|error| error.during("write"))?;
        let there = removed | self.lock.installed(name).is_some();
        self.uninstalled(name, |_| true);
        self.write()?;
        Ok(there)
    }

    /// Lets a plugin of a project in.
    ///
    /// # Errors
    /// [`LockError`]
    pub(crate) fn trust(mut self, mut new: LockEntry) -> Result<(), LockError> {
        new.trusted = true;
        new.installed = self.lock.of(&new.sha256).is_some_and(|same| same.installed);
        self.lock.put(new);
        self.write()
    }

    /// Takes the trust in plugins of this name, or with this digest, back. The number of those that had it.
    ///
    /// # Errors
    /// [`LockError`]
    pub(crate) fn revoke(mut self, name: &str, digest: Option<&str>) -> Result<usize, LockError> {
        let mut revoked = 0;
        self.lock.retain(|entry| {
            if entry.trusted && (entry.name == name || Some(entry.sha256.as_str()) == digest) {
                entry.trusted = false;
                revoked += 1;
            }
            entry.trusted || entry.installed
        });
        self.write()?;
        Ok(revoked)
    }

    /// Marks entries of a name as no longer installed; those that nothing else needs go.
    fn uninstalled(&mut self, name: &str, which: impl Fn(&LockEntry) -> bool) {
        self.lock.retain(|entry| {
            if entry.name == name && which(entry) {
                entry.installed = false;
            }
            entry.trusted || entry.installed
        });
    }

    fn write(&mut self) -> Result<(), LockError> {
        self.lock.write(&self.config.join(LOCK_FILE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, digit: &str) -> LockEntry {
        LockEntry { name: name.into(), sha256: digit.repeat(64), ..LockEntry::default() }
    }

    /// Name, first digit and use of all entries, and the content of the plugin's file.
    fn state(config: &Path) -> (Vec<String>, Option<String>) {
        let lock = PluginLock::read(&config.join(LOCK_FILE)).expect("a lock file");
        let entries = lock.named("x").map(|e| {
            let marks = [("i", e.installed), ("t", e.trusted)].map(|(mark, is)| if is { mark } else { "" });
            format!("{}{}", &e.sha256[..1], marks.concat())
        });
        (entries.collect(), fs::read_to_string(PluginStore::path(config, "x")).ok())
    }

    fn open(config: &Path) -> PluginStore {
        PluginStore::open(config).expect("our turn")
    }

    #[test]
    fn plugins_come_and_go_with_their_entries() {
        let dir = tempfile::tempdir().expect("a directory");
        let config = dir.path();
        open(config).install(entry("x", "1"), b"one", None).expect("installed");
        assert_eq!(state(config), (vec!["1i".into()], Some("one".into())));
        open(config).trust(entry("x", "1")).expect("trusted");
        let former = PluginLock::read(&config.join(LOCK_FILE)).expect("a lock file").installed("x").cloned();
        open(config).install(entry("x", "2"), b"two", former.as_ref()).expect("installed");
        assert_eq!(state(config), (vec!["1t".into(), "2i".into()], Some("two".into())));
        let changed = open(config).install(entry("x", "3"), b"three", former.as_ref());
        assert!(matches!(changed, Err(LockError::Changed { .. })));
        open(config).install(entry("x", "2"), b"two", None).expect("the same again");
        let path = PluginStore::path(config, "x");
        assert!(open(config).remove("x", &path).expect("removed"));
        assert_eq!(state(config), (vec!["1t".into()], None));
        assert!(!open(config).remove("x", &path).expect("nothing"));
        assert_eq!(open(config).revoke("y", Some(&"1".repeat(64))).expect("revoked"), 1);
        assert_eq!(state(config), (vec![], None));
    }

    #[test]
    fn what_cannot_be_written_changes_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let config = dir.path();
        open(config).install(entry("x", "1"), b"one", None).expect("installed");
        let path = PluginStore::path(config, "y");
        fs::create_dir_all(path.join("in the way")).expect("a directory");
        let before = fs::read(config.join(LOCK_FILE)).expect("a lock file");
        let refused = open(config).install(entry("y", "2"), b"two", None);
        assert!(
            matches!(refused, Err(LockError::Io(error)) if (error.what, &error.path) == ("write", &path))
        );
        assert_eq!(fs::read(config.join(LOCK_FILE)).expect("a lock file"), before);
    }
}
