//! What the cache has for each project: its last snapshot, the home directory of its steps, and where it is, so that both
//! can go when it has gone.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{Removed, SandboxError, layers, trash, tree};

/// The directory of the private home directories, as the links in a run's directory lead there.
const FROM_RUN: &str = "../../home";

/// A project, as the cache knows it.
#[derive(Debug, Clone)]
pub(super) struct Project {
    path: PathBuf,
    key: String,
}

impl Project {
    pub(super) fn new(path: &Path) -> Self {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
        let key = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Self { path, key }
    }

    /// Where its snapshots are.
    pub(super) fn base(&self, cache: &Path) -> PathBuf {
        cache.join("base").join(&self.key)
    }

    /// Where the home directory of its steps is.
    pub(super) fn home(&self, cache: &Path) -> PathBuf {
        cache.join("home").join(&self.key)
    }

    /// What a link in the directory of a run of this project leads to.
    pub(super) fn link(&self) -> PathBuf {
        Path::new(FROM_RUN).join(&self.key)
    }

    /// Notes where it is. A link is there whole or not at all, and takes every path.
    ///
    /// # Errors
    /// The system says no.
    pub(super) fn note(&self, cache: &Path) -> Result<(), SandboxError> {
        let notes = notes(cache);
        tree::make_directory(&notes)?;
        let note = notes.join(&self.key);
        match symlink(&self.path, &note) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(SandboxError::io("create", note)(error))
            }
            _ => Ok(()),
        }
    }
}

fn notes(cache: &Path) -> PathBuf {
    cache.join("projects")
}

/// Gives up what a cache has for projects that are not there any more, but for those that are being built. What it takes
/// is free when the trash has been emptied.
///
/// # Errors
/// It cannot be told what is in use, or the system says no.
pub fn forget_vanished(cache: &Path) -> Result<Removed, SandboxError> {
    let (runs, notes) = (cache.join("layers"), notes(cache));
    let failed = |error| SandboxError::io("read", &notes)(error);
    let entries = match fs::read_dir(&notes) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Removed::default()),
        entries => entries.map_err(failed)?,
    };
    // No run begins meanwhile.
    let gate = layers::gate(&runs)?;
    let used = layers::used(&runs)?;
    let mut given_up = Vec::new();
    let mut removed = Removed::default();
    for entry in entries {
        let note = entry.map_err(failed)?;
        let Some(key) = note.file_name().to_str().map(str::to_owned) else { continue };
        let Ok(path) = fs::read_link(note.path()) else { continue };
        let project = Project { path, key };
        let gone = fs::symlink_metadata(&project.path).is_err_and(|error| {
            matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        });
        if !gone || used.contains(&project.link()) {
            continue;
        }
        for directory in [project.base(cache), project.home(cache)] {
            if directory.is_dir() {
                given_up.push(trash::discard(&directory)?);
                removed.layers += 1;
            }
        }
        fs::remove_file(note.path()).map_err(SandboxError::io("remove", note.path()))?;
    }
    drop(gate);
    removed.bytes = given_up.iter().map(|path| tree::size(path)).fold(0, u64::saturating_add);
    Ok(removed)
}
