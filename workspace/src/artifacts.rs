//! Artifacts of steps, outside of their sandboxes: a directory for each step below one for the build. Nothing is
//! written elsewhere, and nothing is removed that was not put there. How files get out of a sandbox is the sandbox's
//! affair.

mod directory;
mod error;
mod media_type;
mod patterns;
mod stop;

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

pub use self::directory::Directory;
pub use self::error::{ArtifactError, MAX_BYTES, MAX_FILES, MAX_PATTERNS};
pub use self::media_type::media_type;
pub use self::patterns::{LeftOut, Patterns, Which};
pub use self::stop::{Stop, StopOnDrop};
use crate::content::Artifact;
use hm_disk::{open_below, sha256_hex};

/// Directory of a project for the artifacts of its builds.
const IN_PROJECT: &str = ".hm/out";

/// Bytes in the name of a directory that says all of a step's key; longer ones end with a digest.
const LONGEST_NAME: usize = 200;

/// Hexadecimal digits of that digest.
const DIGEST: usize = 32;

/// Artifacts that came out of a sandbox.
#[derive(Debug, Default)]
pub struct Collected {
    /// The files, by name.
    pub artifacts: Vec<Artifact>,
    /// Sentences for the author of the pipeline.
    pub notes: Vec<String>,
}

/// The directory for the artifacts of a build: the one that was chosen, by its absolute path, or one in the project.
/// Links on the way to what is there now are the user's own and are followed once, here; later on none is.
///
/// # Errors
/// The project is not there, or a link leads nowhere.
pub fn root(project: &Path, chosen: Option<&Path>) -> Result<PathBuf, ArtifactError> {
    let real = |path: &Path| path.canonicalize().map_err(ArtifactError::io("find", path));
    let Some(chosen) = chosen else { return Ok(real(project)?.join(IN_PROJECT)) };
    // A link that leads nowhere counts as there: it is an error, and not something to be replaced.
    let there = chosen.ancestors().find(|path| path.symlink_metadata().is_ok()).unwrap_or(chosen);
    let mut root = real(there)?;
    root.extend(chosen.strip_prefix(there).unwrap_or(Path::new("")));
    Ok(root)
}

/// The directory of a step. No two steps have the same, also where file names do not tell capitals.
#[must_use]
pub fn directory(root: &Path, key: &str) -> PathBuf {
    let mut name = String::new();
    for (index, &byte) in key.as_bytes().iter().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => name.push(byte.into()),
            b'.' if index > 0 => name.push('.'),
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    if name.len() > LONGEST_NAME {
        name.truncate(LONGEST_NAME / 2);
        name.push('~');
        name.push_str(&sha256_hex(key)[..DIGEST]);
    }
    root.join(name)
}

/// Makes a directory one for artifacts, if it is not one yet, with all that is missing above it.
///
/// # Errors
/// The system says no, or somebody keeps other things there.
pub async fn claim(root: PathBuf) -> Result<(), ArtifactError> {
    in_background(move |stop| directory::claimed(&root, &stop).map(drop)).await
}

/// Empties the directory of a step, if there is one.
///
/// # Errors
/// Something there cannot be removed, or the directory above is not one of ours.
pub async fn clear(directory: PathBuf) -> Result<(), ArtifactError> {
    in_background(move |stop| match Directory::open(&directory, stop)? {
        Some(directory) => directory.empty(),
        None => Ok(()),
    })
    .await
}

/// Makes the directory of a step have these files and no others, as they were kept in `from` under their names.
///
/// # Errors
/// They are not there as they were, or cannot be copied. The directory is empty then.
pub async fn restore(from: PathBuf, directory: PathBuf, artifacts: &[Artifact]) -> Result<(), ArtifactError> {
    if artifacts.is_empty() {
        return clear(directory).await;
    }
    let artifacts = artifacts.to_vec();
    in_background(move |stop| {
        let kept = File::open(&from).map_err(ArtifactError::io("read", &from))?;
        Directory::create(&directory, stop)?.fill(|directory| {
            for artifact in &artifacts {
                let name = Path::new(&artifact.key);
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
                let file = open_below(&kept, name, flags);
                let file = file.map(File::from).map_err(ArtifactError::io("read", from.join(name)))?;
                let put = directory.put(&artifact.key, &file)?;
                if (&put.content, put.executable) != (&artifact.content, artifact.executable) {
                    return Err(ArtifactError::NotWhole(artifact.key.clone()));
                }
            }
            Ok(())
        })
    })
    .await
}

/// For work that waits for the disk; it stops soon after nobody waits for it.
async fn in_background<T: Send + 'static>(
    work: impl FnOnce(Stop) -> Result<T, ArtifactError> + Send + 'static,
) -> Result<T, ArtifactError> {
    let guard = StopOnDrop(Stop::default());
    let stop = guard.0.clone();
    hm_disk::blocking(move || work(stop)).await?
}

#[cfg(test)]
mod tests;
