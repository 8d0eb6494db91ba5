//! Locks on files, for processes that share a directory. The kernel gives a lock back when its holder dies, however it
//! dies, so no lock is ever stale.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{PathError, cannot};

/// A file that stands for something that processes lock: alone, or together with others who only read.
#[derive(Debug, Clone)]
pub struct LockFile {
    path: PathBuf,
    /// Makes the file if it is missing.
    create: bool,
}

/// A lock, which is given back when this goes.
#[derive(Debug)]
pub struct FileLock {
    path: PathBuf,
    _file: File,
}

/// Answer to an attempt that does not wait.
#[derive(Debug)]
#[must_use]
pub enum TryLock {
    /// Nobody else had it: here is the lock.
    Held(FileLock),
    /// Somebody else has it in a way that excludes this one.
    Contended,
}

impl TryLock {
    /// The lock, unless somebody else has it.
    pub fn held(self) -> Option<FileLock> {
        match self {
            Self::Held(lock) => Some(lock),
            Self::Contended => None,
        }
    }
}

impl LockFile {
    /// A lock file that is made, with mode 0600, by whoever locks it first. Its directory is there.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), create: true }
    }

    /// A lock file that is never made here. Locking one that is missing fails with [`io::ErrorKind::NotFound`], and
    /// nobody holds it.
    #[must_use]
    pub fn existing(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), create: false }
    }

    /// Waits until nobody else has the lock in any way.
    ///
    /// # Errors
    /// The file cannot be opened or locked.
    pub fn exclusive(&self) -> Result<FileLock, PathError> {
        self.wait(File::lock)
    }

    /// Waits until nobody has the lock exclusively; others may share it.
    ///
    /// # Errors
    /// As [`LockFile::exclusive`].
    pub fn shared(&self) -> Result<FileLock, PathError> {
        self.wait(File::lock_shared)
    }

    /// Takes the lock if nobody else has it in any way.
    ///
    /// # Errors
    /// As [`LockFile::exclusive`].
    pub fn try_exclusive(&self) -> Result<TryLock, PathError> {
        self.take(File::try_lock)
    }

    /// Takes the lock if nobody has it exclusively; others may share it.
    ///
    /// # Errors
    /// As [`LockFile::exclusive`].
    pub fn try_shared(&self) -> Result<TryLock, PathError> {
        self.take(File::try_lock_shared)
    }

    /// Like [`LockFile::exclusive`], for async programs: dropping the future ends the waiting. A thread that waits in
    /// the kernel could not be called off, so this asks again and again.
    ///
    /// # Errors
    /// As [`LockFile::exclusive`].
    pub async fn exclusive_polled(&self, interval: Duration) -> Result<FileLock, PathError> {
        loop {
            if let TryLock::Held(lock) = self.try_exclusive()? {
                return Ok(lock);
            }
            tokio::time::sleep(interval).await;
        }
    }

    /// Does something that nobody who holds the lock could bear, while nobody can take it. None, and nothing done, if
    /// somebody holds it.
    ///
    /// A missing file of [`LockFile::existing`] keeps nobody out. The caller knows why none is made meanwhile.
    ///
    /// # Errors
    /// The file cannot be opened or locked, or what was done failed.
    pub fn if_unheld<T>(&self, act: impl FnOnce() -> Result<T, PathError>) -> Result<Option<T>, PathError> {
        match self.try_exclusive() {
            Ok(TryLock::Held(_lock)) => act().map(Some),
            Ok(TryLock::Contended) => Ok(None),
            Err(error) if !self.create && error.kind() == io::ErrorKind::NotFound => act().map(Some),
            Err(error) => Err(error),
        }
    }

    /// True if somebody has the lock exclusively, or if that cannot be asked: what may be in use must
    /// not be removed.
    #[must_use]
    pub fn is_held(&self) -> bool {
        // Shared, so that two who look do not take each other for the holder.
        match Self::existing(&self.path).try_shared() {
            Ok(TryLock::Held(_)) => false,
            Ok(TryLock::Contended) => true,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    fn wait(&self, lock: fn(&File) -> io::Result<()>) -> Result<FileLock, PathError> {
        loop {
            let file = self.open()?;
            // Its holder may remove the file while we wait, so it is looked at afterwards.
            lock(&file).map_err(cannot("lock", &self.path))?;
            if self.is_still(&file)? {
                return Ok(self.locked(file));
            }
        }
    }

    fn take(&self, lock: fn(&File) -> Result<(), TryLockError>) -> Result<TryLock, PathError> {
        loop {
            let file = self.open()?;
            match lock(&file) {
                Ok(()) if self.is_still(&file)? => return Ok(TryLock::Held(self.locked(file))),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(TryLock::Contended),
                Err(TryLockError::Error(error)) => return Err(cannot("lock", &self.path)(error)),
            }
        }
    }

    fn open(&self) -> Result<File, PathError> {
        let mut options = File::options();
        if self.create {
            // Appending leaves alone what is in it.
            options.append(true).create(true).mode(0o600);
        } else {
            options.read(true);
        }
        options.open(&self.path).map_err(cannot("open", &self.path))
    }

    /// Its holder may have removed the file after it was opened here. Then this would be the lock of nothing, while
    /// others make, and lock, a new file.
    fn is_still(&self, file: &File) -> Result<bool, PathError> {
        let failed = |error| cannot("look at", &self.path)(error);
        let file = file.metadata().map_err(failed)?;
        match fs::symlink_metadata(&self.path) {
            Ok(there) => Ok((there.dev(), there.ino()) == (file.dev(), file.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    fn locked(&self, file: File) -> FileLock {
        FileLock { path: self.path.clone(), _file: file }
    }
}

impl FileLock {
    /// Waits for the exclusive lock of something that is open already, a directory say. A lock lasts as long as what it
    /// was opened with: `file` is not to be a clone that is used further on.
    ///
    /// # Errors
    /// It cannot be locked.
    pub fn of_open(file: File, path: impl Into<PathBuf>) -> Result<Self, PathError> {
        let path = path.into();
        file.lock().map_err(cannot("lock", &path))?;
        Ok(Self { path, _file: file })
    }

    /// Path of the lock's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the lock's file, and gives the lock back. For exclusive locks: those who wait for it notice.
    ///
    /// # Errors
    /// The system says no.
    pub fn remove(self) -> Result<(), PathError> {
        fs::remove_file(&self.path).map_err(cannot("remove", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn readers_share_and_writers_are_alone() {
        let scratch = tempfile::tempdir().unwrap();
        let file = LockFile::new(scratch.path().join("lock"));
        let readers = [file.shared().unwrap(), file.try_shared().unwrap().held().unwrap()];
        assert!(matches!(file.try_exclusive().unwrap(), TryLock::Contended));
        assert!(!file.is_held(), "readers do not count");
        drop(readers);
        let writer = file.exclusive().unwrap();
        assert!(file.try_shared().unwrap().held().is_none() && file.is_held());
        assert_eq!(file.if_unheld(|| Ok(())).unwrap(), None);
        drop(writer);
        assert_eq!(file.if_unheld(|| Ok(file.try_shared()?.held().is_some())).unwrap(), Some(false));
        assert!(file.try_exclusive().unwrap().held().is_some());
    }

    #[test]
    fn a_missing_file_is_made_only_where_that_was_asked_for() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("lock");
        let existing = LockFile::existing(&path);
        assert_eq!(existing.shared().unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(!existing.is_held() && !LockFile::new(&path).is_held());
        assert_eq!(existing.if_unheld(|| Ok(1)).unwrap(), Some(1));
        assert!(!path.exists());
        drop(LockFile::new(&path).exclusive().unwrap());
        assert!(existing.try_exclusive().unwrap().held().is_some());
        let nowhere = LockFile::new(scratch.path().join("none/lock"));
        let error = nowhere.if_unheld(|| Ok(())).unwrap_err();
        assert!(error.to_string().starts_with("cannot open "), "{error}");
    }

    /// Each holder removes the file that the others have open; still there is never a second holder.
    #[test]
    fn a_lock_whose_file_is_removed_is_nobodys() {
        let scratch = tempfile::tempdir().unwrap();
        let file = LockFile::new(scratch.path().join("lock"));
        let taken = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let lock = file.exclusive().unwrap();
                        assert!(!taken.swap(true, Ordering::SeqCst));
                        taken.store(false, Ordering::SeqCst);
                        lock.remove().unwrap();
                    }
                });
            }
        });
        assert!(!scratch.path().join("lock").exists());
    }

    #[test]
    fn who_waits_for_a_lock_can_be_called_off() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let file = LockFile::new(scratch.path().join("lock"));
        let held = file.exclusive().unwrap();
        runtime.block_on(async {
            let poll = Duration::from_millis(1);
            let waiting = file.exclusive_polled(poll);
            assert!(tokio::time::timeout(Duration::from_millis(50), waiting).await.is_err());
            drop(held);
            file.exclusive_polled(poll).await.unwrap();
        });
    }

    #[test]
    fn a_directory_is_its_own_lock() {
        let scratch = tempfile::tempdir().unwrap();
        let open = || File::open(scratch.path()).unwrap();
        let lock = FileLock::of_open(open(), scratch.path()).unwrap();
        assert!(open().try_lock().is_err());
        assert_eq!(lock.path(), scratch.path());
        drop(lock);
        open().try_lock().unwrap();
    }
}
