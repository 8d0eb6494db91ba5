//! Snapshots of a directory: of the project, the base layer of a run, and of `/etc`. The last one is kept, so that the
//! next one costs little. A file that has not changed is a hard link to the previous snapshot's; snapshots are never
//! written. What has changed since then gets the time of the new snapshot: whatever steps made before was not made from
//! it, and tools such as `make` tell that by times.

use std::{
    ffi::OsStr,
    fs::{self, File, Metadata},
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    thread,
    time::{Duration, SystemTime},
};

use hm_disk::{
    Boot, FileLock, LockFile, PathError, TRASH_PREFIX, discard, list, make_directory, remove_later,
    remove_tree,
};
use rustix::{
    fs::{AtFlags, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT},
    io::Errno,
};
use uuid::Uuid;

pub use crate::walk::is_public;
use crate::{
    WorkspaceError,
    stat_manifest::{Entry, Kind, StatManifest},
    tree, walk,
};

/// A file that changed less than this before we looked may change again without its times showing it: the clock of file
/// systems ticks up to every hundredth of a second.
const CLOCK_TICK: Duration = Duration::from_millis(20);

/// The most threads that copy at once: a disk does not get faster with more.
const COPIERS: usize = 8;

/// In a store: which snapshot is the last, and in which start of the machine it was taken.
const CURRENT: &str = "current";

/// The first characters of a snapshot's directory.
const SNAPSHOT: &str = "snapshot-";

/// In a store: held by whoever takes a snapshot, or removes them all.
const LOCK: &str = "lock";

/// In a snapshot's directory: held shared by whoever uses it.
const IN_USE: &str = "in-use";

/// A snapshot in use; it is kept at least as long as this lives.
#[derive(Debug)]
pub struct Snapshot {
    tree: PathBuf,
    _in_use: FileLock,
}

impl Snapshot {
    /// The directory with all its files. Nobody may write there.
    #[must_use]
    pub fn tree(&self) -> &Path {
        &self.tree
    }

    /// True if it is still the last one that was taken.
    #[must_use]
    pub fn is_last(&self) -> bool {
        let directory = self.tree.parent();
        let last = directory.and_then(Path::parent).map(|store| store.join(CURRENT));
        let last = last.and_then(|last| fs::read_to_string(last).ok());
        let name = last.as_deref().and_then(|text| Some(text.split_once(' ')?.0));
        name.is_some() && name == directory.and_then(Path::file_name).and_then(OsStr::to_str)
    }
}

/// A directory to take a snapshot of, while others may be changing it.
struct Source {
    path: PathBuf,
    /// Handle of that directory.
    directory: File,
    /// True for a file whose contents we take; asked once it is open.
    admit: fn(&Metadata) -> bool,
}

/// Takes a snapshot of `project` in `store`, a directory for this project alone that several `hm` may share. If
/// `except` lies in the project, what is there is left out.
///
/// # Errors
/// Something in the project cannot be read, or something in the store cannot be written.
pub fn take(project: &Path, store: &Path, except: &Path) -> Result<Snapshot, WorkspaceError> {
    take_listed(project, store, || walk::walk(project, except), |_| true)
}

/// Takes a snapshot of what everybody may read in `directory`, in the same way. What our own user may read does not
/// count: it may be root, or in some group, and the snapshot is for others.
///
/// # Errors
/// Something in the store cannot be written.
pub fn take_public(directory: &Path, store: &Path) -> Result<Snapshot, WorkspaceError> {
    take_listed(directory, store, || Ok(walk::public(directory)), walk::is_public)
}

fn take_listed(
    path: &Path,
    store: &Path,
    list: impl FnOnce() -> Result<Vec<Entry>, WorkspaceError>,
    admit: fn(&Metadata) -> bool,
) -> Result<Snapshot, WorkspaceError> {
    let source = Source::open_directory(path, admit).map_err(WorkspaceError::io("read", path))?;
    let _lock = lock_store(store)?;
    let current = store.join(CURRENT);
    let boot = Boot::current();
    let previous = fs::read_to_string(&current).ok().and_then(|text| Previous::open(store, &text, &boot));
    // Taken before the first look at any file: the times of what changes from here on may not show it.
    let settled = SystemTime::now().checked_sub(CLOCK_TICK).unwrap_or(SystemTime::UNIX_EPOCH);
    let found = list()?;

    if let Some(previous) = previous.as_ref().filter(|previous| previous.has_exactly(&found)) {
        return previous.use_it();
    }
    let name = format!("{SNAPSHOT}{}", Uuid::new_v4().simple());
    let directory = store.join(&name);
    let made =
        fill(&source, found, settled, &directory.join("tree"), previous.as_ref()).and_then(|manifest| {
            let path = directory.join("manifest");
            fs::write(&path, manifest.encode()).map_err(WorkspaceError::io("write", &path))
        });
    if let Err(error) = made {
        let _ = remove_tree(&directory);
        return Err(error);
    }
    // Before the lock is released: the next run that takes a snapshot removes all others that nobody uses.
    let snapshot = use_snapshot(&directory)?;
    let next = store.join("current.new");
    fs::write(&next, format!("{name} {}", boot.as_str()))
        .and_then(|()| fs::rename(&next, &current))
        .map_err(WorkspaceError::io("write", &current))?;
    discard_others(store, &name);
    Ok(snapshot)
}

/// The snapshot that the last run took.
struct Previous {
    directory: PathBuf,
    tree: Source,
    /// Entries that may be taken from it unchecked; `None` if nothing may.
    manifest: Option<StatManifest>,
}

impl Previous {
    /// Opens it. If it is from before the machine last started, a power failure may have cost it some of its files, so
    /// none is taken unchecked. Waiting for the disk each time would cost more than one full copy after each start.
    fn open(store: &Path, current: &str, boot: &Boot) -> Option<Self> {
        let (name, when) = current.split_once(' ')?;
        let id = name.strip_prefix(SNAPSHOT).and_then(|id| Uuid::try_parse(id).ok())?;
        let directory = store.join(format!("{SNAPSHOT}{}", id.simple()));
        let tree = Source::open_directory(&directory.join("tree"), |_| true).ok()?;
        let manifest = || StatManifest::decode(&fs::read(directory.join("manifest")).ok()?);
        let manifest = if boot.is(when) { manifest() } else { None };
        Some(Self { directory, tree, manifest })
    }

    fn has_exactly(&self, found: &[Entry]) -> bool {
        self.manifest.as_ref().is_some_and(|manifest| manifest.entries == found)
    }

    /// Path of its copy of a file, if the file is still the same.
    fn unchanged(&self, entry: &Entry) -> Option<PathBuf> {
        let entries = &self.manifest.as_ref()?.entries;
        entries.binary_search(entry).is_ok().then(|| self.tree.path.join(&entry.path))
    }

    /// Makes a copy as new as it has to be: if the contents are what they were before, at least as new as the file in
    /// the previous snapshot; otherwise as new as now.
    fn date(&self, entry: &Entry, copy: &Path) -> io::Result<()> {
        let since = match (self.tree.open(entry), File::open(copy)) {
            (Ok(Some((before, about))), Ok(copy)) if is_same(&before, &copy)? => about.modified()?,
            _ => SystemTime::now(),
        };
        if fs::symlink_metadata(copy)?.modified()? < since { set_modified(copy, since) } else { Ok(()) }
    }

    fn use_it(&self) -> Result<Snapshot, WorkspaceError> {
        use_snapshot(&self.directory)
    }
}

/// Makes a store if there is none, and waits for its lock.
fn lock_store(store: &Path) -> Result<FileLock, PathError> {
    loop {
        make_directory(store)?;
        // Whoever held the lock may have removed the whole store. Then this would lock something in the trash, and a
        // snapshot taken there would be lost with it. hm-disk notices, and finds no store to make the lock in.
        match LockFile::new(store.join(LOCK)).exclusive() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            lock => return lock,
        }
    }
}

/// The lock of a store that nobody uses: as long as it is held, nobody takes a snapshot there, and none is in use.
pub(crate) fn lock_unused(store: &Path) -> Result<Option<FileLock>, PathError> {
    let Some(lock) = LockFile::new(store.join(LOCK)).try_exclusive()?.held() else { return Ok(None) };
    // Runs begin to use a snapshot only while they hold the lock above, so from now on, none of these can come into
    // use.
    for entry in list(store)? {
        let is_snapshot = entry.file_name().as_encoded_bytes().starts_with(SNAPSHOT.as_bytes());
        if is_snapshot && LockFile::existing(entry.path().join(IN_USE)).if_unheld(|| Ok(()))?.is_none() {
            return Ok(None);
        }
    }
    Ok(Some(lock))
}

/// True if two files have the same contents.
fn is_same(one: &File, other: &File) -> io::Result<bool> {
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut one, mut other) = (BufReader::new(one), BufReader::new(other));
    loop {
        let (left, right) = (one.fill_buf()?, other.fill_buf()?);
        let both = left.len().min(right.len());
        if left[..both] != right[..both] {
            return Ok(false);
        }
        if both == 0 {
            return Ok(true);
        }
        one.consume(both);
        other.consume(both);
    }
}

/// Sets a time by path: a file's owner may not be allowed to open it for writing, or at all. A time before 1970 is left
/// out.
fn set_modified(path: &Path, time: SystemTime) -> io::Result<()> {
    let Ok(since) = time.duration_since(SystemTime::UNIX_EPOCH) else { return Ok(()) };
    let omitted = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let seconds = since.as_secs().try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
    let modified = Timespec { tv_sec: seconds, tv_nsec: since.subsec_nanos().into() };
    let times = Timestamps { last_access: omitted, last_modification: modified };
    Ok(rustix::fs::utimensat(rustix::fs::CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Marks a snapshot as in use. Whoever holds the store's lock never waits here, since only such holders look for unused
/// snapshots.
fn use_snapshot(directory: &Path) -> Result<Snapshot, WorkspaceError> {
    let in_use = LockFile::new(directory.join(IN_USE)).shared()?;
    Ok(Snapshot { tree: directory.join("tree"), _in_use: in_use })
}

/// Makes the new tree; returns what may be trusted next time.
fn fill(
    source: &Source,
    found: Vec<Entry>,
    settled: SystemTime,
    target: &Path,
    previous: Option<&Previous>,
) -> Result<StatManifest, WorkspaceError> {
    make_directory(target)?;
    let (directories, mut files): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|entry| entry.kind == Kind::Directory);
    // A directory comes before what is in it.
    for entry in &directories {
        make_directory(&target.join(&entry.path))?;
    }
    let copiers = thread::available_parallelism().map_or(1, usize::from).min(COPIERS);
    let share = files.len().div_ceil(copiers).max(1);
    thread::scope(|scope| {
        let copiers: Vec<_> = files
            .chunks_mut(share)
            .map(|files| {
                scope.spawn(move || {
                    files.iter_mut().try_for_each(|entry| bring(source, entry, settled, target, previous))
                })
            })
            .collect();
        copiers
            .into_iter()
            .try_for_each(|copier| copier.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    // The deepest first, when they are full: putting something in would change their times, and their own modes may
    // forbid it.
    for entry in directories.iter().rev() {
        match fs::symlink_metadata(source.path.join(&entry.path)) {
            Ok(about) if about.is_dir() => tree::finish_directory(&target.join(&entry.path), &about)?,
            // It is gone by now, or was replaced: our copy of it stays as it is.
            _ => {}
        }
    }
    let about = source.directory.metadata().map_err(WorkspaceError::io("read", &source.path))?;
    tree::finish_directory(target, &about)?;
    let mut entries = directories;
    entries.append(&mut files);
    entries.sort();
    Ok(StatManifest { entries })
}

/// Brings one file or link into the new tree. What is gone or something else by now is left out.
fn bring(
    source: &Source,
    entry: &mut Entry,
    settled: SystemTime,
    target: &Path,
    previous: Option<&Previous>,
) -> Result<(), WorkspaceError> {
    let (path, target) = (source.path.join(&entry.path), target.join(&entry.path));
    // If linking fails, for instance because there are too many links, the file is copied.
    if let Some(unchanged) = previous.and_then(|previous| previous.unchanged(entry))
        && fs::hard_link(unchanged, &target).is_ok()
    {
        return Ok(());
    }
    let Some((file, about)) = source.open(entry).map_err(WorkspaceError::io("read", &path))? else {
        entry.distrust();
        return Ok(());
    };
    if entry.kind == Kind::Link {
        let to = rustix::fs::readlinkat(&file, "", Vec::new())
            .map_err(|error| WorkspaceError::io("read the link", &path)(error.into()))?;
        rustix::fs::symlink(to, &target)
            .map_err(|error| WorkspaceError::io("create", &target)(error.into()))?;
    } else {
        tree::copy_open_file(file, &about, &path, &target)?;
        let dated = previous.map_or(Ok(()), |previous| previous.date(entry, &target));
        dated.map_err(WorkspaceError::io("set the time of", &target))?;
    }
    // Looked at again: if the file was changed meanwhile, the copy may be half old and half new. Then the next snapshot
    // copies it anew.
    let unchanged = fs::symlink_metadata(&path)
        .is_ok_and(|about| Entry::new(&entry.path, &about).as_ref() == Some(&*entry));
    if !unchanged || entry.changed_after(settled) {
        entry.distrust();
    }
    Ok(())
}

impl Source {
    fn open_directory(path: &Path, admit: fn(&Metadata) -> bool) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), directory: File::open(path)?, admit })
    }

    /// Opens a file for reading, or a link itself. `None` if it is gone, is of another kind by now, or is not to be
    /// taken. Whoever changes the directory meanwhile must not lead us out of it, or make us wait.
    fn open(&self, entry: &Entry) -> io::Result<Option<(File, Metadata)>> {
        let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let flags =
            flags | if entry.kind == Kind::Link { OFlags::PATH } else { OFlags::NONBLOCK | OFlags::NOCTTY };
        let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let opened = rustix::fs::openat2(&self.directory, &entry.path, flags, Mode::empty(), within);
        let (opened, only_this) = match opened {
            // A system call filter does not know the call. Then it has to be the very file that we found.
            Err(Errno::NOSYS | Errno::PERM) => {
                (rustix::fs::openat(&self.directory, &entry.path, flags, Mode::empty()), true)
            }
            other => (other, false),
        };
        let file = match opened {
            Ok(file) => File::from(file),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::NXIO) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let about = file.metadata()?;
        let same_kind = Entry::new(&entry.path, &about)
            .is_some_and(|now| now.kind == entry.kind && (!only_this || now.is_same_file(entry)));
        let admitted = entry.kind == Kind::Link || (self.admit)(&about);
        Ok((same_kind && admitted).then_some((file, about)))
    }
}

/// Removes what no run uses any more, on a thread of its own: it may take longer than anyone wants to wait. If the
/// program ends before that is done, the next run does it.
fn discard_others(store: &Path, keep: &str) {
    let mut doomed = Vec::new();
    for entry in fs::read_dir(store).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.starts_with(TRASH_PREFIX) {
            doomed.push(entry.path());
        } else if name.starts_with(SNAPSHOT) && name != keep {
            let in_use = LockFile::existing(entry.path().join(IN_USE));
            doomed.extend(in_use.if_unheld(|| discard(&entry.path())).ok().flatten().flatten());
        }
    }
    // Failing to remove a cache is no failure of the snapshot.
    remove_later(doomed);
}

#[cfg(test)]
mod tests;
