//! Projects that a cache has something for: their snapshots, the home directory of their steps, and where they are, so
//! that all that can go when the project has gone. Who else keeps something for a project asks here for those that have
//! vanished.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use hm_disk::{PathError, cannot, discard, make_directory, sha256_hex};

use crate::snapshot;

/// Hexadecimal digits that stand for a project: half of a SHA-256, for names that mounts and people have to bear.
const KEY: usize = 32;

/// A project, as a cache knows it: by the path that it really has.
#[derive(Debug, Clone)]
pub struct Project {
    path: PathBuf,
    key: String,
}

/// The end of a project's snapshots.
#[derive(Debug, PartialEq, Eq)]
pub enum Discarded {
    /// A run uses one of them, so all are still there.
    InUse,
    /// There were no snapshots.
    Nothing,
    /// They wait there to be deleted.
    Trash(PathBuf),
}

impl Project {
    /// The project in this directory.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let mut key = sha256_hex(path.as_os_str().as_encoded_bytes());
        key.truncate(KEY);
        Self { path, key }
    }

    /// A name for it that a file can have: 32 hexadecimal digits.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The store of its snapshots.
    #[must_use]
    pub fn snapshots(&self, cache: &Path) -> PathBuf {
        Self::all_snapshots(cache).join(&self.key)
    }

    /// The directory with the stores of all projects.
    #[must_use]
    pub fn all_snapshots(cache: &Path) -> PathBuf {
        cache.join("base")
    }

    /// Notes where it is, before anything is kept for it. A link is there whole or not at all, and takes every path.
    ///
    /// # Errors
    /// The system says no.
    pub fn note(&self, cache: &Path) -> Result<(), PathError> {
        let notes = notes(cache);
        make_directory(&notes)?;
        let note = notes.join(&self.key);
        match symlink(&self.path, &note) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(cannot("create", note)(error)),
            _ => Ok(()),
        }
    }

    /// Gives up its snapshots, unless a run uses one.
    ///
    /// # Errors
    /// The system says no.
    pub fn discard_snapshots(&self, cache: &Path) -> Result<Discarded, PathError> {
        let store = self.snapshots(cache);
        if !store.is_dir() {
            return Ok(Discarded::Nothing);
        }
        // Held until the store has its new name: who waits for it finds that and begins anew.
        let Some(_lock) = snapshot::lock_unused(&store)? else { return Ok(Discarded::InUse) };
        Ok(discard(&store)?.map_or(Discarded::Nothing, Discarded::Trash))
    }

    /// Forgets where it is, when nothing is kept for it any more.
    ///
    /// # Errors
    /// The system says no.
    pub fn forget(&self, cache: &Path) -> Result<(), PathError> {
        let note = notes(cache).join(&self.key);
        fs::remove_file(&note).map_err(cannot("remove", note))
    }
}

fn notes(cache: &Path) -> PathBuf {
    cache.join("projects")
}

/// The projects that a cache knows and that are not there any more.
///
/// # Errors
/// It cannot be told which there are.
pub fn vanished(cache: &Path) -> Result<Vec<Project>, PathError> {
    let notes = notes(cache);
    let failed = |error| cannot("read", &notes)(error);
    let entries = match fs::read_dir(&notes) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut vanished = Vec::new();
    for entry in entries {
        let note = entry.map_err(failed)?;
        let Some(key) = note.file_name().to_str().map(str::to_owned) else { continue };
        let Ok(path) = fs::read_link(note.path()) else { continue };
        // A project on a disk that does not answer is not gone.
        let gone = fs::symlink_metadata(&path).is_err_and(|error| {
            matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        });
        if gone {
            vanished.push(Project { path, key });
        }
    }
    Ok(vanished)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Workspace;

    #[tokio::test]
    async fn snapshots_in_use_stay_when_their_project_has_gone() {
        let scratch = tempfile::tempdir().unwrap();
        let (path, cache) = (scratch.path().join("project"), scratch.path().join("cache"));
        fs::create_dir(&path).unwrap();
        fs::write(path.join("file"), "text").unwrap();
        let workspace = Workspace::new(&path, &cache);
        let tree = workspace.tree().await.unwrap().to_owned();
        assert_eq!(vanished(&cache).unwrap().len(), 0);
        fs::rename(&path, scratch.path().join("moved")).unwrap();
        let [project] = &vanished(&cache).unwrap()[..] else { panic!("one has vanished") };
        assert_eq!(project.discard_snapshots(&cache).unwrap(), Discarded::InUse);
        assert_eq!(fs::read_to_string(tree.join("file")).unwrap(), "text");
        drop(workspace);
        assert!(matches!(project.discard_snapshots(&cache).unwrap(), Discarded::Trash(_)));
        assert!(!tree.exists());
        project.forget(&cache).unwrap();
        assert_eq!(vanished(&cache).unwrap().len(), 0);
        assert_eq!(project.discard_snapshots(&cache).unwrap(), Discarded::Nothing);
    }
}
