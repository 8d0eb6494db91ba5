//! Brings files out of a container: those that a step names as what it produces. They come as the engine's tar of the
//! directories that the patterns begin with, and are written as they come. Where they go is the affair of
//! `hm_workspace::artifacts`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::pin::Pin;

use bollard::Docker;
use bollard::errors::Error as EngineError;
use bollard::query_parameters::{ContainerArchiveInfoOptionsBuilder, DownloadFromContainerOptionsBuilder};
use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt};
use hm_disk::blocking;
use hm_workspace::artifacts::{
    ArtifactError, Collected, Directory, LeftOut, MAX_BYTES, MAX_FILES, Patterns, Stop, StopOnDrop, Which,
};
use hm_workspace::content::Artifact;
use hm_workspace::untar::{Entry, Untar};
use tar::EntryType;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::error::{DockerError, is_missing};
use crate::manifest::as_path;

/// The bit of a mode that tells a directory, as the engine has it.
const DIRECTORY: u32 = 1 << 31;

/// Bytes in a path that no file has any more.
const TOO_LONG: usize = 4096;

/// Bytes in a part of a path that no file has any more.
const PART_TOO_LONG: usize = 256;

/// Copies files of a container into a directory, below their paths in the workspace, and removes what was there. They
/// are those that the patterns name, and all in directories that they name. Below the workspace, no link is followed.
///
/// # Errors
/// A pattern is none, there is too much to copy, or it cannot be copied; the engine does not hand it out.
pub(crate) async fn collect(
    docker: &Docker,
    endpoint: &str,
    container: &str,
    workdir: &str,
    patterns: &[String],
    out: &Path,
) -> Result<Collected, DockerError> {
    let patterns = Patterns::new(patterns)?;
    let failed = |error| DockerError::engine(endpoint, format!("hand out files of `{container}`"))(error);
    let mut starts = Vec::new();
    for start in patterns.starts() {
        if is_reached(docker, container, workdir, &start).await.map_err(failed)? {
            starts.push(start);
        }
    }
    let guard = StopOnDrop(Stop::default());
    let (_waiting, nobody_waits) = oneshot::channel();
    let source = Source {
        docker: docker.clone(),
        container: container.to_owned(),
        workdir: workdir.to_owned(),
        runtime: Handle::current(),
        nobody_waits: RefCell::new(nobody_waits),
        failure: RefCell::default(),
    };
    let (stop, out) = (guard.0.clone(), out.to_owned());
    let work = blocking(move || {
        let collected = Directory::create(&out, stop).and_then(|directory| {
            directory.fill(|directory| Collecting::new(&source, directory, patterns).all(starts))
        });
        (collected, source.failure.into_inner())
    });
    let collected = match work.await? {
        // What follows from that is of no interest.
        (Err(_), Some(failure)) => return Err(failed(failure)),
        (collected, _) => collected?,
    };
    // Or else nothing was found for another reason.
    docker.inspect_container(container, None).await.map_err(failed)?;
    Ok(collected)
}

/// True if there is a directory at an absolute path in a container. A link is none; those on the way there are
/// followed.
///
/// # Errors
/// The engine does not tell.
pub(crate) async fn is_directory(docker: &Docker, container: &str, path: &str) -> Result<bool, EngineError> {
    let options = ContainerArchiveInfoOptionsBuilder::default().path(path).build();
    match docker.get_container_archive_info(container, Some(options)).await {
        Err(error) if is_missing(&error) => Ok(false),
        about => Ok(about?.file_mode & DIRECTORY != 0),
    }
}

/// True if what is at a path of the workspace, if anything is, is reached through directories alone.
async fn is_reached(
    docker: &Docker,
    container: &str,
    workdir: &str,
    path: &Path,
) -> Result<bool, EngineError> {
    let bytes = path.as_os_str().as_encoded_bytes();
    let is_name = |part: Component<'_>| part.as_os_str().len() < PART_TOO_LONG;
    if workdir.len() + bytes.len() + 2 > TOO_LONG || bytes.contains(&0) || !path.components().all(is_name) {
        return Ok(false);
    }
    let mut above: Vec<_> = path.ancestors().skip(1).filter(|above| *above != Path::new("")).collect();
    above.reverse();
    for directory in above {
        if !is_directory(docker, container, &absolute(workdir, directory)).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Path of the workspace as the engine wants it, so that it answers with what is there and not with where a link leads.
/// The workspace itself may be a link, which is its image's affair.
fn absolute(workdir: &str, path: &Path) -> String {
    let path = if path == Path::new("") { Path::new(".") } else { path };
    format!("{}/{}", workdir.trim_end_matches('/'), path.display())
}

/// Source of a container's files, for a thread that may wait.
struct Source {
    docker: Docker,
    container: String,
    workdir: String,
    runtime: Handle,
    /// Ends when whoever wanted the files does not any more.
    nobody_waits: RefCell<oneshot::Receiver<()>>,
    /// Reason why the engine does not hand them out.
    failure: RefCell<Option<EngineError>>,
}

/// A tar as it comes from the engine.
struct Incoming<'a> {
    engine: &'a Source,
    pieces: Pin<Box<dyn Stream<Item = Result<Bytes, EngineError>> + 'a>>,
    piece: Bytes,
}

impl Source {
    /// Tar of what is at a path of the workspace, and all below it.
    fn tar(&self, path: &Path) -> Incoming<'_> {
        let path = absolute(&self.workdir, path);
        let options = DownloadFromContainerOptionsBuilder::default().path(&path).build();
        let pieces = Box::pin(self.docker.download_from_container(&self.container, Some(options)).fuse());
        Incoming { engine: self, pieces, piece: Bytes::new() }
    }
}

impl Read for Incoming<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            let mut nobody_waits = self.engine.nobody_waits.borrow_mut();
            if nobody_waits.is_terminated() {
                return Err(io::Error::other("nobody waits for it"));
            }
            let next = self.engine.runtime.block_on(async {
                tokio::select! {
                    biased;
                    _ = &mut *nobody_waits => None,
                    next = self.pieces.next() => Some(next),
                }
            });
            match next {
                None => {}
                Some(None) => return Ok(0),
                Some(Some(Ok(piece))) => self.piece = piece,
                Some(Some(Err(error))) => {
                    let answer = io::Error::other(error.to_string());
                    self.engine.failure.replace(Some(error));
                    return Err(answer);
                }
            }
        }
        let length = to.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut to[..length]);
        Ok(length)
    }
}

/// Artifacts that have come out so far.
struct Collecting<'a> {
    engine: &'a Source,
    directory: &'a Directory,
    patterns: Patterns,
    /// The directory that was last looked at and those above it, from the workspace on, with the patterns that name
    /// each of them or what it is in.
    within: Vec<(PathBuf, Which)>,
    artifacts: BTreeMap<PathBuf, Artifact>,
    bytes: u64,
    /// Further names of files that were in the tar, which have to be asked for alone.
    again: Vec<PathBuf>,
    left_out: LeftOut,
}

impl<'a> Collecting<'a> {
    fn new(engine: &'a Source, directory: &'a Directory, patterns: Patterns) -> Self {
        Self {
            engine,
            directory,
            patterns,
            within: Vec::new(),
            artifacts: BTreeMap::new(),
            bytes: 0,
            again: Vec::new(),
            left_out: LeftOut::default(),
        }
    }

    fn all(mut self, mut starts: Vec<PathBuf>) -> Result<Collected, ArtifactError> {
        while let Some(start) = starts.pop() {
            self.read(&start)?;
            starts.append(&mut self.again);
        }
        let notes = self.patterns.notes(&self.left_out);
        Ok(Collected { artifacts: self.artifacts.into_values().collect(), notes })
    }

    /// Reads what is at a path of the workspace and below it.
    fn read(&mut self, start: &Path) -> Result<(), ArtifactError> {
        let unreadable = |error| ArtifactError::io("read", absolute(&self.engine.workdir, start))(error);
        let mut tar = Untar::new(self.engine.tar(start));
        // What the first entry is called, if that is a directory: what is in it begins with that.
        let mut top = None;
        loop {
            let entry = match tar.entry() {
                // It is not there.
                Err(_) if self.engine.failure.borrow().as_ref().is_some_and(is_missing) => {
                    self.engine.failure.take();
                    return Ok(());
                }
                entry => entry.map_err(unreadable)?,
            };
            let Some(mut entry) = entry else { return Ok(()) };
            let name = entry.name.strip_suffix(b"/").unwrap_or(&entry.name);
            let path = match &top {
                None if entry.kind == EntryType::Directory => {
                    top = Some([name, b"/"].concat());
                    continue;
                }
                None => Some(start.to_owned()),
                Some(top) => name.strip_prefix(top.as_slice()).map(|name| start.join(as_path(name))),
            };
            // Nothing else was asked for.
            let Some(path) = path.filter(|path| is_plain(path)) else { continue };
            if top.is_none() && entry.kind == EntryType::Link {
                // A further name of what is not there under another.
                entry.kind = EntryType::Fifo;
            }
            self.take(path, &entry, tar.content())?;
        }
    }

    /// Brings out one thing, if it is wanted.
    fn take(&mut self, path: PathBuf, entry: &Entry, content: impl Read) -> Result<(), ArtifactError> {
        let named = self.within(path.parent().unwrap_or(Path::new(""))) | self.patterns.naming(&path);
        if named == 0 || entry.kind == EntryType::Directory {
            return Ok(());
        }
        self.patterns.found(named);
        match entry.kind {
            EntryType::Regular | EntryType::Continuous | EntryType::Link => {}
            EntryType::Symlink => {
                self.left_out.links += 1;
                return Ok(());
            }
            _ => {
                self.left_out.others += 1;
                return Ok(());
            }
        }
        let Some(key) = path.to_str() else {
            self.left_out.odd_names += 1;
            return Ok(());
        };
        if self.artifacts.len() + self.again.len() >= MAX_FILES {
            return Err(ArtifactError::TooManyFiles);
        }
        if entry.kind == EntryType::Link {
            self.again.push(path);
            return Ok(());
        }
        self.bytes = self.bytes.saturating_add(entry.size);
        if self.bytes > MAX_BYTES {
            return Err(ArtifactError::TooLarge);
        }
        let produced = self.directory.put_stream(key, entry.executable, content, entry.size)?;
        self.artifacts.insert(path, produced);
        Ok(())
    }

    /// The patterns that name a directory or one that it is in.
    fn within(&mut self, directory: &Path) -> Which {
        while self.within.last().is_some_and(|(above, _)| !directory.starts_with(above)) {
            self.within.pop();
        }
        let mut which = self.within.last().map_or(0, |(_, which)| *which);
        let mut missing: Vec<_> = directory.ancestors().collect();
        missing.reverse();
        for path in missing.into_iter().skip(self.within.len()) {
            which |= self.patterns.naming(path);
            self.within.push((path.to_owned(), which));
        }
        which
    }
}

/// True if a path leads from the workspace down.
fn is_plain(path: &Path) -> bool {
    path.file_name().is_some() && path.components().all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests;
