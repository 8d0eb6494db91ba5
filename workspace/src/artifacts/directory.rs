//! The directory of one step's artifacts, held open: all that is done in it is done from there, so that no link,
//! whoever puts it in the way and whenever, leads out of it. What goes into it is decided elsewhere.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{AtFlags, Dir, Mode, OFlags, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;
use uuid::Uuid;

use super::{ArtifactError, Stop, media_type};
use crate::content::{Artifact, Content, HashingWriter};
use hm_disk::{open_below, read_if_regular};

/// The file by which a directory for artifacts is known; it also keeps them out of git, and out of what steps see.
const MARK: &str = ".gitignore";

/// Content of the file.
const MARK_TEXT: &[u8] = b"# hm puts what steps produce here, and removes it again.\n*\n";

/// Time between two attempts at a lock.
const POLL: Duration = Duration::from_millis(50);

/// Bytes that are copied before we look whether anybody still wants them.
const CHUNK: u64 = 64 << 20;

/// Times that a directory is gone through to empty it, at the most: somebody else may be filling it.
const ROUNDS: usize = 10_000;

/// Flags for opening directories.
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The directory of a step. No other `hm` changes it as long as this is there.
pub struct Directory {
    path: PathBuf,
    handle: File,
    stop: Stop,
    /// Name of a file until it is whole.
    partial: String,
}

impl Directory {
    /// Opens it, if it is there.
    ///
    /// # Errors
    /// The system says no; also if any part of its path is a link, or if the directory above is not one of ours.
    pub(super) fn open(path: &Path, stop: Stop) -> Result<Option<Self>, ArtifactError> {
        let failed = |error| ArtifactError::io("open", path)(error);
        let root = File::open("/").and_then(|top| open_below(top, inside(parent(path)), DIRECTORY));
        let both = root.and_then(|root| {
            let handle = open_below(&root, Path::new(name(path)?), DIRECTORY)?;
            Ok((File::from(root), File::from(handle)))
        });
        let (root, handle) = match both {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            both => both.map_err(failed)?,
        };
        if !is_marked(&root) {
            return Err(ArtifactError::NotOurs(parent(path).to_owned()));
        }
        Self::locked(path, handle, stop).map(Some)
    }

    /// Makes it, with all that is missing above it, or opens it.
    ///
    /// # Errors
    /// The directory cannot be made, or something in it is not from `hm`.
    pub fn create(path: &Path, stop: Stop) -> Result<Self, ArtifactError> {
        let root = claimed(parent(path), &stop)?;
        let handle = name(path).and_then(|name| make_below(&root, Path::new(name)));
        Self::locked(path, handle.map_err(ArtifactError::io("create", path))?, stop)
    }

    fn locked(path: &Path, handle: File, stop: Stop) -> Result<Self, ArtifactError> {
        lock(&handle, path, &stop)?;
        let partial = format!(".hm-partial-{}", Uuid::new_v4().simple());
        Ok(Self { path: path.to_owned(), handle, stop, partial })
    }

    /// Empties it and has it filled; it is empty again if that fails.
    ///
    /// # Errors
    /// The system says no, or `fill` does.
    pub fn fill<T>(&self, fill: impl FnOnce(&Self) -> Result<T, ArtifactError>) -> Result<T, ArtifactError> {
        self.empty()?;
        let filled = fill(self);
        if filled.is_err() {
            // Half of what a step produced is of no use, and the disk may be full of it. What went wrong first counts.
            let _ = self.empty();
        }
        filled
    }

    /// Copies a regular file to a name with `/` in it, replacing what has that name, and says what was copied. It is
    /// there whole or not at all; of its mode, only whether anybody may run it is kept.
    ///
    /// # Errors
    /// The system says no; also if the name leads out, or through a link.
    pub fn put(&self, key: &str, from: &File) -> Result<Artifact, ArtifactError> {
        let failed = |error| ArtifactError::io("write", self.path.join(key))(error);
        let about = from.metadata().map_err(failed)?;
        if !about.is_file() {
            return Err(failed(io::Error::other("it is no regular file")));
        }
        let executable = about.permissions().mode() & 0o111 != 0;
        self.place(key, executable, |to| self.copy(from, about.len(), to))
    }

    /// Writes a stream to a name, as [`put`](Self::put) does with a file.
    ///
    /// # Errors
    /// As there; also if there are not exactly `size` bytes.
    pub fn put_stream(
        &self,
        key: &str,
        executable: bool,
        from: impl Read,
        size: u64,
    ) -> Result<Artifact, ArtifactError> {
        self.place(key, executable, |to| {
            let content = self.pass_on(from, size, to)?;
            if content.size_bytes < size { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(content) }
        })
    }

    fn place(
        &self,
        key: &str,
        executable: bool,
        copy: impl FnOnce(File) -> io::Result<Content>,
    ) -> Result<Artifact, ArtifactError> {
        self.stop.check()?;
        let failed = |error| ArtifactError::io("write", self.path.join(key))(error);
        let path = Path::new(key);
        let folder = make_below(&self.handle, parent(path)).map_err(failed)?;
        let mode = if executable { 0o777 } else { 0o666 };
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let to = openat(&self.handle, &self.partial, flags, Mode::from_raw_mode(mode))
            .map_err(|errno| failed(errno.into()))?;
        let put = copy(File::from(to)).map_err(failed).and_then(|content| {
            // Those who stopped us wait for nothing.
            self.stop.check()?;
            let renamed = name(path).and_then(|name| {
                renameat(&self.handle, &self.partial, &folder, name).map_err(io::Error::from)
            });
            let (key, mime) = (key.to_owned(), media_type(key).to_owned());
            renamed.map(|()| Artifact { key, mime, executable, content }).map_err(failed)
        });
        if put.is_err() {
            let _ = unlinkat(&self.handle, &self.partial, AtFlags::empty());
        }
        put
    }

    /// Copies `size` bytes, or less if there are no more, or nobody wants them.
    fn copy(&self, from: &File, size: u64, to: File) -> io::Result<Content> {
        if rustix::fs::ioctl_ficlone(&to, from).is_ok() {
            // What is in the clone may be more than was there before.
            return self.pass_on(&to, u64::MAX, io::sink());
        }
        self.pass_on(from, size, to)
    }

    fn pass_on(&self, mut from: impl Read, size: u64, to: impl Write) -> io::Result<Content> {
        let (mut to, mut copied) = (HashingWriter::new(to), 0);
        while copied < size && self.stop.check().is_ok() {
            match io::copy(&mut from.by_ref().take(CHUNK.min(size - copied)), &mut to)? {
                0 => break,
                more => copied += more,
            }
        }
        // Some file systems say only here that there was no room.
        to.flush()?;
        Ok(to.content())
    }

    /// Removes all that is in it.
    ///
    /// # Errors
    /// The system says no.
    pub(super) fn empty(&self) -> Result<(), ArtifactError> {
        let mut number = 0;
        for _ in 0..ROUNDS {
            self.stop.check()?;
            if self.empty_once(&mut number).map_err(ArtifactError::io("empty", &self.path))? {
                return Ok(());
            }
        }
        let busy = io::Error::other("somebody else is filling it");
        Err(ArtifactError::io("empty", &self.path)(busy))
    }

    /// Removes the files in it and the directories that hold no others; those are moved up. So trees of any depth take
    /// two open directories. Whether nothing was left to be done.
    fn empty_once(&self, number: &mut u64) -> io::Result<bool> {
        let mut directories = Vec::new();
        for name in names(&self.handle)? {
            match unlinkat(&self.handle, &name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR) => directories.push(name),
                Err(errno) => return Err(errno.into()),
            }
        }
        for name in &directories {
            let flags = DIRECTORY | OFlags::NOFOLLOW;
            let directory = match openat(&self.handle, name, flags, Mode::empty()) {
                // It is something else by now, for the next round.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                opened => File::from(opened?),
            };
            for name in names(&directory)? {
                match unlinkat(&directory, &name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(Errno::ISDIR) => {
                        *number += 1;
                        renameat(&directory, &name, &self.handle, format!("{}-{number}", self.partial))?;
                    }
                    Err(errno) => return Err(errno.into()),
                }
            }
            match unlinkat(&self.handle, name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::NOTEMPTY) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(directories.is_empty())
    }
}

/// Names in a directory.
fn names(directory: &File) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_owned();
        if name.as_bytes() != b"." && name.as_bytes() != b".." {
            names.push(name);
        }
    }
    Ok(names)
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// An absolute path, as it counts from the root.
fn inside(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

fn name(path: &Path) -> io::Result<&std::ffi::OsStr> {
    path.file_name().ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "it is no path of a file"))
}

/// Opens a directory below another, through no link, and makes what is missing.
fn make_below(top: &File, path: &Path) -> io::Result<File> {
    let mut folder = top.try_clone()?;
    for part in path.components() {
        let Component::Normal(name) = part else {
            return Err(io::Error::new(ErrorKind::InvalidInput, "its path leads elsewhere"));
        };
        let name = Path::new(name);
        folder = match open_below(&folder, name, DIRECTORY) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                match mkdirat(&folder, name, Mode::from_raw_mode(0o777)) {
                    Ok(()) | Err(Errno::EXIST) => open_below(&folder, name, DIRECTORY),
                    Err(errno) => Err(errno.into()),
                }
            }
            opened => opened,
        }?
        .into();
    }
    Ok(folder)
}

/// Waits until nobody else has a directory.
fn lock(directory: &File, path: &Path, stop: &Stop) -> Result<(), ArtifactError> {
    loop {
        match directory.try_lock() {
            Ok(()) => return Ok(()),
            Err(std::fs::TryLockError::WouldBlock) => {
                stop.check()?;
                thread::sleep(POLL);
            }
            Err(std::fs::TryLockError::Error(error)) => return Err(ArtifactError::io("lock", path)(error)),
        }
    }
}

/// A directory for artifacts, which is made if it is not there.
///
/// # Errors
/// The system says no; also if any part of its path is a link, or if others have filled it.
pub(super) fn claimed(path: &Path, stop: &Stop) -> Result<File, ArtifactError> {
    let root = File::open("/").and_then(|top| make_below(&top, inside(path)));
    let root = root.map_err(ArtifactError::io("create", path))?;
    claim(&root, path, stop)?;
    Ok(root)
}

/// Makes an empty directory one for artifacts. One that others have filled stays theirs.
fn claim(root: &File, path: &Path, stop: &Stop) -> Result<(), ArtifactError> {
    if is_marked(root) {
        return Ok(());
    }
    let failed = |error| ArtifactError::io("write", path.join(MARK))(error);
    // A lock lasts as long as what it was opened with, and `root` is used further on.
    let gate = openat(root, ".", DIRECTORY, Mode::empty()).map_err(|errno| failed(errno.into()))?;
    let gate = File::from(gate);
    lock(&gate, path, stop)?;
    if is_marked(root) {
        return Ok(());
    }
    // What there is may be a mark that somebody began to make.
    let there = names(root).map_err(failed)?;
    let only_mark = there.iter().all(|name| name.as_bytes() == MARK.as_bytes());
    let begun = || mark(root).is_some_and(|text| MARK_TEXT.starts_with(&text));
    if !(there.is_empty() || only_mark && begun()) {
        return Err(ArtifactError::NotOurs(path.to_owned()));
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mark = openat(root, MARK, flags, Mode::from_raw_mode(0o666)).map_err(|errno| failed(errno.into()))?;
    File::from(mark).write_all(MARK_TEXT).map_err(failed)
}

/// Text of a directory's mark, if there is one.
fn mark(root: &File) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    read_if_regular(open_below(root, Path::new(MARK), flags).ok()?.into(), MARK_TEXT.len()).ok()
}

fn is_marked(root: &File) -> bool {
    mark(root).is_some_and(|text| text == MARK_TEXT)
}
