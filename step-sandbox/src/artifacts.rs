//! Brings files out of a sandbox: which of those that its commands saw are wanted. The layers are read as they lie on
//! disk, and through no link. Where the files go is the affair of `hm_workspace::artifacts`.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use hm_disk::open_below;
use hm_workspace::artifacts::{
    ArtifactError, Collected, Directory, LeftOut, MAX_BYTES, MAX_FILES, Patterns, Stop, StopOnDrop,
};
use rustix::fs::OFlags;

use crate::{
    error::{SandboxError, blocking},
    merge::{self, Sources},
    run::SandboxRun,
    sandbox_template::{Kind, TREE},
};

/// Files of a workspace that patterns name.
#[derive(Default)]
struct Found {
    /// Regular files: where they are in the workspace, and on disk.
    files: Vec<(PathBuf, PathBuf)>,
    left_out: LeftOut,
}

impl SandboxRun {
    /// Copies files of a sandbox into a directory, below their paths in the workspace, and removes what was there. They
    /// are those that the patterns name, and all in directories that they name.
    ///
    /// # Errors
    /// There is no such sandbox, or a command runs in it; a pattern is none; there is too much to copy, or it cannot be
    /// copied.
    pub async fn collect(
        &self,
        id: &str,
        patterns: &[String],
        out: &Path,
    ) -> Result<Collected, SandboxError> {
        let busy = self.sandbox(id)?.busy.try_lock_owned().map_err(|_| SandboxError::Busy(id.to_owned()))?;
        // Looked up again: it may have been committed before we had the lock.
        let sandbox = self.sandbox(id)?;
        let mut trees = vec![self.run.path().join(&sandbox.layer).join(TREE)];
        if self.template.kind == Kind::Namespaces {
            trees.extend(self.snapshots.lower(&sandbox.below));
        }
        let (texts, out) = (patterns.to_vec(), out.to_owned());
        let guard = StopOnDrop(Stop::default());
        let stop = guard.0.clone();
        blocking(move || {
            let _idle: tokio::sync::OwnedMutexGuard<()> = busy;
            collect(&trees, &texts, &out, &stop)
        })
        .await
    }
}

fn collect(trees: &[PathBuf], texts: &[String], out: &Path, stop: &Stop) -> Result<Collected, SandboxError> {
    let mut patterns = Patterns::new(texts)?;
    let Found { mut files, mut left_out } = find(trees, &mut patterns, stop)?;
    files.sort();
    let artifacts = Directory::create(out, stop.clone())?.fill(|directory| {
        let (mut artifacts, mut bytes) = (Vec::new(), 0_u64);
        for (path, source) in files {
            let Some(key) = path.to_str() else {
                left_out.odd_names += 1;
                continue;
            };
            let file = match open(&path, &source) {
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                    left_out.closed += 1;
                    continue;
                }
                opened => opened.map_err(ArtifactError::io("read", &source))?,
            };
            let about = file.metadata().map_err(ArtifactError::io("read", &source))?;
            bytes = bytes.saturating_add(about.len());
            if bytes > MAX_BYTES {
                return Err(ArtifactError::TooLarge);
            }
            artifacts.push(directory.put(key, &file)?);
        }
        Ok(artifacts)
    })?;
    Ok(Collected { artifacts, notes: patterns.notes(&left_out) })
}

/// Opens a file of a layer: neither it nor anything on the way there is a link, whoever made one of it meanwhile.
fn open(path: &Path, source: &Path) -> io::Result<File> {
    let tree = source.ancestors().nth(path.components().count()).unwrap_or(source);
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(open_below(File::open(tree)?, path, flags)?.into())
}

/// Looks for what the patterns name in the trees, topmost first, as the kernel would show them.
fn find(trees: &[PathBuf], patterns: &mut Patterns, stop: &Stop) -> Result<Found, SandboxError> {
    let mut found = Found::default();
    let top = PathBuf::new();
    let all = patterns.naming(&top);
    let mut open = vec![(trees.to_vec(), top, all)];
    while let Some((directories, at, whole)) = open.pop() {
        stop.check()?;
        let entries = match merge::entries(&directories) {
            Err(SandboxError::Io(error)) if error.source.kind() == ErrorKind::PermissionDenied => {
                found.left_out.closed += 1;
                continue;
            }
            entries => entries?,
        };
        for (name, sources) in entries {
            let path = at.join(name);
            let named = whole | patterns.naming(&path);
            match sources {
                Sources::Directories(directories) => {
                    if named != 0 || patterns.may_name_below(&path) {
                        open.push((directories, path, named));
                    }
                }
                Sources::File(_) if named == 0 => {}
                Sources::File(source) => {
                    patterns.found(named);
                    let about = fs::symlink_metadata(&source).map_err(SandboxError::io("read", &source))?;
                    if about.is_file() {
                        found.files.push((path, source));
                        if found.files.len() > MAX_FILES {
                            return Err(ArtifactError::TooManyFiles.into());
                        }
                    } else if about.is_symlink() {
                        found.left_out.links += 1;
                    } else {
                        found.left_out.others += 1;
                    }
                }
            }
        }
    }
    Ok(found)
}
