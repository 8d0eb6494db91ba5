//! Where the layers of one run are on disk, and that they go when the run has gone, however it went.
//! What is in a layer, and how layers stack, is not known here.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    thread,
};

use uuid::Uuid;

use super::{SandboxError, tree};

/// The directory of a run. Its lock is held as long as this lives, and it is removed with this.
#[derive(Debug)]
pub(super) struct RunDirectory {
    path: PathBuf,
    removed: bool,
    _lock: File,
}

impl RunDirectory {
    /// Makes it below `layers`, and has those of runs that died removed.
    ///
    /// # Errors
    /// Something there cannot be made.
    pub(super) fn create(layers: &Path, run: Uuid) -> Result<Self, SandboxError> {
        tree::make_directory(layers)?;
        // Held while a run's directory is there but not yet locked.
        let gate = open_lock(&layers.join("lock"))?;
        gate.lock().map_err(SandboxError::io("lock", layers))?;
        remove_dead(layers);
        let path = layers.join(format!("run-{}", run.simple()));
        fs::create_dir(&path).map_err(SandboxError::io("create", &path))?;
        let lock = open_lock(&path.join("lock"))?;
        lock.lock().map_err(SandboxError::io("lock", &path))?;
        Ok(Self { path, removed: false, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it with all that is in it. Nothing may run in there any more.
    ///
    /// # Errors
    /// The system says no.
    pub(super) fn remove(mut self) -> Result<(), SandboxError> {
        self.removed = true;
        tree::remove(&self.path)
    }
}

impl Drop for RunDirectory {
    fn drop(&mut self) {
        if !self.removed {
            // What this leaves, the next run removes.
            let _ = tree::remove(&self.path);
        }
    }
}

fn open_lock(path: &Path) -> Result<File, SandboxError> {
    File::options().create(true).append(true).open(path).map_err(SandboxError::io("open", path))
}

/// A run is dead when nobody holds its lock. Removing it may take long, so that is left to a thread; what that does
/// not get done before the program ends is left to the next run.
fn remove_dead(layers: &Path) {
    let mut doomed = Vec::new();
    for entry in fs::read_dir(layers).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let dead = name.starts_with("run-")
            && open_lock(&path.join("lock"))
                .is_ok_and(|lock| !matches!(lock.try_lock(), Err(TryLockError::WouldBlock)));
        if name.starts_with("trash-") {
            doomed.push(path);
        } else if dead {
            let trash = layers.join(format!("trash-{}", Uuid::new_v4().simple()));
            doomed.extend(fs::rename(path, &trash).is_ok().then_some(trash));
        }
    }
    if !doomed.is_empty() {
        thread::spawn(move || doomed.iter().for_each(|path| drop(tree::remove(path))));
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn the_dead_are_removed_and_the_living_are_not() {
        let scratch = tempfile::tempdir().unwrap();
        let living = RunDirectory::create(scratch.path(), Uuid::new_v4()).unwrap();
        let dead = scratch.path().join("run-dead");
        fs::create_dir(&dead).unwrap();
        let other = RunDirectory::create(scratch.path(), Uuid::new_v4()).unwrap();
        assert!(living.path().exists());
        assert!(!dead.exists());
        let path = other.path().to_owned();
        drop(other);
        assert!(!path.exists());
        living.remove().unwrap();
        let start = Instant::now();
        while fs::read_dir(scratch.path()).unwrap().count() > 1 {
            assert!(start.elapsed() < Duration::from_secs(30), "something stays");
            thread::sleep(Duration::from_millis(10));
        }
    }
}
