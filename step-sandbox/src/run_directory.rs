//! Directory of one run's layers. It goes when the run has gone, however it went.
//! Contents and order of layers are not known here.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use uuid::Uuid;

use hm_disk::{FileLock, LockFile, TRASH_PREFIX, discard, list, make_directory, remove_later, remove_tree};

use crate::error::SandboxError;

/// The directory of a run, `run-ID`. The lock beside it, `run-ID.lock`, is held until the directory has gone, and both
/// go with this.
#[derive(Debug)]
pub(crate) struct RunDirectory {
    path: PathBuf,
    removed: bool,
    _lock: FileLock,
}

/// End of the name of a run's lock.
const LOCK: &str = ".lock";

impl RunDirectory {
    /// Makes it below `layers`, with a link that says what the run uses from its beginning, and has those of runs that
    /// died removed.
    ///
    /// # Errors
    /// Something there cannot be made.
    pub(crate) fn create(layers: &Path, run: Uuid, uses: &Path) -> Result<Self, SandboxError> {
        make_directory(layers)?;
        // Between making a lock's file and locking it, a run looks like one that died.
        let _gate = gate(layers)?;
        remove_dead(layers);
        let path = layers.join(format!("run-{}", run.simple()));
        let lock = LockFile::new(lock_of(&path)).exclusive()?;
        fs::create_dir(&path).map_err(SandboxError::io("create", &path))?;
        symlink(uses, path.join("project")).map_err(SandboxError::io("write", &path))?;
        Ok(Self { path, removed: false, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it with all that is in it. Nothing may run in there any more.
    ///
    /// # Errors
    /// The system says no.
    pub(crate) fn remove(mut self) -> Result<(), SandboxError> {
        self.removed = true;
        self.remove_both()
    }

    /// The lock last: without it, the directory would be anybody's.
    fn remove_both(&self) -> Result<(), SandboxError> {
        remove_tree(&self.path)?;
        Ok(remove_tree(&lock_of(&self.path))?)
    }
}

impl Drop for RunDirectory {
    fn drop(&mut self) {
        if !self.removed {
            // What this leaves, the next run removes.
            let _ = self.remove_both();
        }
    }
}

/// Keeps runs from beginning, until this goes: a run's lock may be there and not locked yet.
///
/// # Errors
/// There is no such directory, or the system says no.
pub(crate) fn gate(layers: &Path) -> Result<FileLock, SandboxError> {
    Ok(LockFile::new(layers.join("lock")).exclusive()?)
}

/// Things that running runs use: the targets of the links in their directories.
///
/// # Errors
/// Something cannot be read.
pub(crate) fn used(layers: &Path) -> Result<BTreeSet<PathBuf>, SandboxError> {
    let mut used = BTreeSet::new();
    for run in list(layers)? {
        let run = run.path();
        if run.extension().is_some() || is_dead(&run) {
            continue;
        }
        for entry in list(&run)? {
            let entry = entry.path();
            match fs::read_link(&entry) {
                Ok(target) => drop(used.insert(target)),
                // A layer, or gone with its run.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotFound) => {}
                Err(error) => return Err(SandboxError::io("read", entry)(error)),
            }
        }
    }
    Ok(used)
}

fn lock_of(run: &Path) -> PathBuf {
    let mut name = run.as_os_str().to_owned();
    name.push(LOCK);
    name.into()
}

/// True if nobody holds the lock of a run. It is not made here: one that is missing is nobody's.
fn is_dead(run: &Path) -> bool {
    !LockFile::existing(lock_of(run)).is_held()
}

/// Removes what runs that died have left. Directories may take long, so they are left to a thread; what that does not
/// get done before the program ends is left to the next run.
fn remove_dead(layers: &Path) {
    let mut doomed = Vec::new();
    for entry in fs::read_dir(layers).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(TRASH_PREFIX) {
            doomed.push(path);
        } else if name.starts_with("run-") {
            let run = layers.join(name.strip_suffix(LOCK).unwrap_or(&name));
            if is_dead(&run) {
                doomed.extend(discard(&run).ok().flatten());
                // Gone already, if it was the directory's turn before.
                let _ = fs::remove_file(lock_of(&run));
            }
        }
    }
    remove_later(doomed);
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use std::thread;

    use super::*;

    #[test]
    fn the_dead_are_removed_and_the_living_are_not() {
        let scratch = tempfile::tempdir().unwrap();
        let living = RunDirectory::create(scratch.path(), Uuid::new_v4(), Path::new("one")).unwrap();
        let dead = scratch.path().join("run-dead");
        fs::create_dir(&dead).unwrap();
        let killed = scratch.path().join("run-killed");
        fs::create_dir_all(killed.join("layer")).unwrap();
        symlink("three", killed.join("project")).unwrap();
        for lock in ["run-killed.lock", "run-killed-while-it-removed.lock"] {
            fs::write(scratch.path().join(lock), "").unwrap();
        }
        let other = RunDirectory::create(scratch.path(), Uuid::new_v4(), Path::new("two")).unwrap();
        assert!(living.path().exists());
        assert!(!dead.exists() && !killed.exists());
        assert_eq!(used(scratch.path()).unwrap(), ["one", "two"].map(PathBuf::from).into());
        let path = other.path().to_owned();
        drop(other);
        assert_eq!(used(scratch.path()).unwrap(), [PathBuf::from("one")].into());
        assert!(!path.exists());
        living.remove().unwrap();
        let start = Instant::now();
        while fs::read_dir(scratch.path()).unwrap().count() > 1 {
            assert!(start.elapsed() < Duration::from_secs(30), "something stays");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Others look for dead runs while one of them is being removed: they leave it alone, and its removal succeeds.
    #[test]
    fn a_run_that_is_being_removed_is_not_dead() {
        let scratch = tempfile::tempdir().unwrap();
        let layers = scratch.path();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let run = RunDirectory::create(layers, Uuid::new_v4(), Path::new("x")).unwrap();
                        fs::write(run.path().join("file"), "").unwrap();
                        run.remove().unwrap();
                    }
                });
            }
        });
        let left: Vec<_> = fs::read_dir(layers).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["lock"]);
    }
}
