//! Snapshots of a directory: of the project, the base layer of a run, and of `/etc`. The last one is kept, so that the
//! next one costs little.
//! A file that has not changed is a hard link to the previous snapshot's; snapshots are never written. What has become different since
//! then is as new as the snapshot: whatever steps made before was not made from it, and `make` and the like tell that by times.

use std::{
    ffi::OsStr,
    fs::{self, File, Metadata, TryLockError},
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    thread,
    time::{Duration, SystemTime},
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT},
    io::Errno,
};
use uuid::Uuid;

use super::{
    SandboxError,
    manifest::{Entry, Kind, Manifest},
    tree, walk,
};

/// A file changed less than this before we looked may change again without its times telling: the clock of file
/// systems ticks up to every hundredth of a second.
const CLOCK_TICK: Duration = Duration::from_millis(20);

/// Threads that copy, at the most: a disk does not get faster with more.
const COPIERS: usize = 8;

/// In a store: which snapshot is the last, and in which start of the machine it was taken.
const CURRENT: &str = "current";

/// A snapshot in use; it is kept at least as long as this lives.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// The tree, in full.
    pub(super) tree: PathBuf,
    _in_use: File,
}

impl Snapshot {
    /// Whether it is still the last one that was taken.
    pub(super) fn is_last(&self) -> bool {
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
    /// The directory itself.
    directory: File,
    /// Of which files we take the contents, once they are open.
    admit: fn(&Metadata) -> bool,
}

/// Takes a snapshot of `project` in `store`, a directory for this project alone that several hm may share. What is
/// at `except` is none of the project's, should it lie in there.
///
/// # Errors
/// Something in the project cannot be read, or something in the store cannot be written.
pub(super) fn take(project: &Path, store: &Path, except: &Path) -> Result<Snapshot, SandboxError> {
    take_listed(project, store, || walk::walk(project, except), |_| true)
}

/// Takes a snapshot of what everybody may read in `directory`, likewise. Our user may be root, or in the wrong group;
/// the snapshot is for others.
///
/// # Errors
/// Something in the store cannot be written.
pub(super) fn take_public(directory: &Path, store: &Path) -> Result<Snapshot, SandboxError> {
    take_listed(directory, store, || Ok(walk::public(directory)), walk::is_public)
}

fn take_listed(
    path: &Path,
    store: &Path,
    list: impl FnOnce() -> Result<Vec<Entry>, SandboxError>,
    admit: fn(&Metadata) -> bool,
) -> Result<Snapshot, SandboxError> {
    let source = Source::open_directory(path, admit).map_err(SandboxError::io("read", path))?;
    tree::make_directory(store)?;
    let lock = open_lock(&store.join("lock"))?;
    lock.lock().map_err(SandboxError::io("lock", store.join("lock")))?;
    let current = store.join(CURRENT);
    let boot = boot();
    let previous = fs::read_to_string(&current).ok().and_then(|text| Previous::open(store, &text, &boot));
    let settled = SystemTime::now().checked_sub(CLOCK_TICK).unwrap_or(SystemTime::UNIX_EPOCH);
    let found = list()?;

    if let Some(previous) = previous.as_ref().filter(|previous| previous.has_exactly(&found)) {
        return previous.use_it();
    }
    let name = format!("snapshot-{}", Uuid::new_v4().simple());
    let directory = store.join(&name);
    let made =
        fill(&source, found, settled, &directory.join("tree"), previous.as_ref()).and_then(|manifest| {
            let path = directory.join("manifest");
            fs::write(&path, manifest.encode()).map_err(SandboxError::io("write", &path))
        });
    if let Err(error) = made {
        let _ = tree::remove(&directory);
        return Err(error);
    }
    let snapshot = use_snapshot(&directory)?;
    let next = store.join("current.new");
    fs::write(&next, format!("{name} {boot}"))
        .and_then(|()| fs::rename(&next, &current))
        .map_err(SandboxError::io("write", &current))?;
    discard_others(store, &name);
    Ok(snapshot)
}

/// The snapshot that the last run took.
struct Previous {
    directory: PathBuf,
    tree: Source,
    /// What may be taken from it unseen. None if that is nothing.
    manifest: Option<Manifest>,
}

impl Previous {
    /// What was written before the machine last started may have been lost with the power, in part: waiting for the disk each time
    /// would cost more than one full copy after each start.
    fn open(store: &Path, current: &str, boot: &str) -> Option<Self> {
        let (name, when) = current.split_once(' ')?;
        let id = name.strip_prefix("snapshot-").and_then(|id| Uuid::try_parse(id).ok())?;
        let directory = store.join(format!("snapshot-{}", id.simple()));
        let tree = Source::open_directory(&directory.join("tree"), |_| true).ok()?;
        let manifest = || Manifest::decode(&fs::read(directory.join("manifest")).ok()?);
        let manifest = if when == boot { manifest() } else { None };
        Some(Self { directory, tree, manifest })
    }

    fn has_exactly(&self, found: &[Entry]) -> bool {
        self.manifest.as_ref().is_some_and(|manifest| manifest.entries == found)
    }

    /// Its own of a file that is still the same.
    fn unchanged(&self, entry: &Entry) -> Option<PathBuf> {
        let entries = &self.manifest.as_ref()?.entries;
        entries.binary_search(entry).is_ok().then(|| self.tree.path.join(&entry.path))
    }

    /// Makes a copy no older than it has to be: one of what was there before, no older than that; any other, as new as can be.
    fn date(&self, entry: &Entry, copy: &Path) -> io::Result<()> {
        let since = match (self.tree.open(entry), File::open(copy)) {
            (Ok(Some((before, about))), Ok(copy)) if is_same(&before, &copy)? => about.modified()?,
            _ => SystemTime::now(),
        };
        if fs::symlink_metadata(copy)?.modified()? < since { set_modified(copy, since) } else { Ok(()) }
    }

    fn use_it(&self) -> Result<Snapshot, SandboxError> {
        use_snapshot(&self.directory)
    }
}

/// Which start of the machine this is.
fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn open_lock(path: &Path) -> Result<File, SandboxError> {
    let mut options = File::options();
    options.create(true).append(true).open(path).map_err(SandboxError::io("open", path))
}

/// Whether two files hold the same.
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

/// For who may not open the file for writing, or at all, although it is his. Before 1970, nothing happens.
fn set_modified(path: &Path, time: SystemTime) -> io::Result<()> {
    let Ok(since) = time.duration_since(SystemTime::UNIX_EPOCH) else { return Ok(()) };
    let omitted = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let seconds = since.as_secs().try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
    let modified = Timespec { tv_sec: seconds, tv_nsec: since.subsec_nanos().into() };
    let times = Timestamps { last_access: omitted, last_modification: modified };
    Ok(rustix::fs::utimensat(rustix::fs::CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Those who hold the store's lock never wait here: only they look for snapshots out of use.
fn use_snapshot(directory: &Path) -> Result<Snapshot, SandboxError> {
    let path = directory.join("in-use");
    let in_use = open_lock(&path)?;
    in_use.lock_shared().map_err(SandboxError::io("lock", path))?;
    Ok(Snapshot { tree: directory.join("tree"), _in_use: in_use })
}

/// Makes the new tree; answers with what may be trusted next time.
fn fill(
    source: &Source,
    found: Vec<Entry>,
    settled: SystemTime,
    target: &Path,
    previous: Option<&Previous>,
) -> Result<Manifest, SandboxError> {
    tree::make_directory(target)?;
    let (directories, mut files): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|entry| entry.kind == Kind::Directory);
    // A directory comes before what is in it.
    for entry in &directories {
        tree::make_directory(&target.join(&entry.path))?;
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
    for entry in directories.iter().rev() {
        match fs::symlink_metadata(source.path.join(&entry.path)) {
            Ok(about) if about.is_dir() => tree::finish_directory(&target.join(&entry.path), &about)?,
            // It is gone by now, or was replaced: what we have of it stays as it was.
            _ => {}
        }
    }
    let about = source.directory.metadata().map_err(SandboxError::io("read", &source.path))?;
    tree::finish_directory(target, &about)?;
    let mut entries = directories;
    entries.append(&mut files);
    entries.sort();
    Ok(Manifest { entries })
}

/// Brings one file or link into the new tree. What is gone or something else by now is left out.
fn bring(
    source: &Source,
    entry: &mut Entry,
    settled: SystemTime,
    target: &Path,
    previous: Option<&Previous>,
) -> Result<(), SandboxError> {
    let (path, target) = (source.path.join(&entry.path), target.join(&entry.path));
    // Too many links, say: then it is copied.
    if let Some(unchanged) = previous.and_then(|previous| previous.unchanged(entry))
        && fs::hard_link(unchanged, &target).is_ok()
    {
        return Ok(());
    }
    let Some((file, about)) = source.open(entry).map_err(SandboxError::io("read", &path))? else {
        entry.distrust();
        return Ok(());
    };
    if entry.kind == Kind::Link {
        let to = rustix::fs::readlinkat(&file, "", Vec::new())
            .map_err(|error| SandboxError::io("read the link", &path)(error.into()))?;
        rustix::fs::symlink(to, &target)
            .map_err(|error| SandboxError::io("create", &target)(error.into()))?;
    } else {
        tree::copy_open_file(file, &about, &path, &target)?;
        let dated = previous.map_or(Ok(()), |previous| previous.date(entry, &target));
        dated.map_err(SandboxError::io("set the time of", &target))?;
    }
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

    /// Opens a file for reading, or a link itself. None if it is gone, or what is there by now is of another kind, or
    /// not to be taken: whoever changes the directory meanwhile may not lead us out of it, nor make us wait.
    fn open(&self, entry: &Entry) -> io::Result<Option<(File, Metadata)>> {
        let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let flags =
            flags | if entry.kind == Kind::Link { OFlags::PATH } else { OFlags::NONBLOCK | OFlags::NOCTTY };
        let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let opened = rustix::fs::openat2(&self.directory, &entry.path, flags, Mode::empty(), within);
        let (opened, only_this) = match opened {
            // A filter that does not know the call. Then it has to be the very file that we found.
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

/// Removes what no run uses any more, on a thread of its own: it may take longer than anyone wants to wait. What is
/// not done when the program ends, the next run does.
fn discard_others(store: &Path, keep: &str) {
    let mut doomed = Vec::new();
    for entry in fs::read_dir(store).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.starts_with("trash-") {
            doomed.push(entry.path());
        } else if name.starts_with("snapshot-") && name != keep {
            let unused = open_lock(&entry.path().join("in-use"))
                .is_ok_and(|lock| !matches!(lock.try_lock(), Err(TryLockError::WouldBlock)));
            let trash = store.join(format!("trash-{}", Uuid::new_v4().simple()));
            if unused && fs::rename(entry.path(), &trash).is_ok() {
                doomed.push(trash);
            }
        }
    }
    if !doomed.is_empty() {
        // Failing to remove a cache fails nothing.
        thread::spawn(move || doomed.iter().for_each(|path| drop(tree::remove(path))));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn project() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let scratch = tempfile::tempdir().unwrap();
        let (project, store) = (scratch.path().join("project"), scratch.path().join("store"));
        fs::create_dir_all(project.join("src")).unwrap();
        fs::write(project.join("src/a"), "aaaa").unwrap();
        fs::write(project.join("src/b"), "bbbb").unwrap();
        (scratch, project, store)
    }

    #[test]
    fn the_store_may_lie_in_the_project() {
        let (_scratch, project, _) = project();
        let store = project.join("cache/store");
        for _ in 0..3 {
            let snapshot = take(&project, &store, &store).unwrap();
            assert!(snapshot.tree.join("cache").exists());
            assert!(!snapshot.tree.join("cache/store").exists());
            fs::write(project.join("src/a"), Uuid::new_v4().as_bytes()).unwrap();
        }
    }

    fn wait_for_the_clock() {
        thread::sleep(CLOCK_TICK * 2);
    }

    fn inode(snapshot: &Snapshot, path: &str) -> u64 {
        fs::metadata(snapshot.tree.join(path)).unwrap().ino()
    }

    #[test]
    fn what_did_not_change_is_linked_and_what_did_is_copied() {
        let (_scratch, project, store) = project();
        wait_for_the_clock();
        let first = take(&project, &store, &store).unwrap();
        assert_ne!(inode(&first, "src/a"), fs::metadata(project.join("src/a")).unwrap().ino());
        // In place, same length, and with the time put back: the worst case.
        let before = fs::metadata(project.join("src/b")).unwrap().modified().unwrap();
        fs::write(project.join("src/b"), "BBBB").unwrap();
        File::options().append(true).open(project.join("src/b")).unwrap().set_modified(before).unwrap();
        wait_for_the_clock();
        let second = take(&project, &store, &store).unwrap();
        assert_eq!(inode(&first, "src/a"), inode(&second, "src/a"));
        assert_ne!(inode(&first, "src/b"), inode(&second, "src/b"));
        assert_eq!(fs::read_to_string(first.tree.join("src/b")).unwrap(), "bbbb");
        assert_eq!(fs::read_to_string(second.tree.join("src/b")).unwrap(), "BBBB");
        let third = take(&project, &store, &store).unwrap();
        assert_eq!(second.tree, third.tree, "nothing changed, so there is nothing to make");
    }

    #[test]
    fn what_has_become_different_is_as_new_as_the_snapshot() {
        let (_scratch, project, store) = project();
        let modified = |tree: &Path, name: &str| fs::metadata(tree.join(name)).unwrap().modified().unwrap();
        let written = |name: &str, content: &str, mode: u32| {
            let path = project.join(name);
            let _ = fs::remove_file(&path);
            fs::write(&path, content).unwrap();
            File::open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        written("src/a", "aaaa", 0o644);
        let first = take(&project, &store, &store).unwrap();
        assert_eq!(modified(&first.tree, "src/a"), SystemTime::UNIX_EPOCH, "the first has the file's own");
        let before = SystemTime::now();
        written("src/a", "AAAA", 0o444);
        written("src/new", "", 0o600);
        let second = take(&project, &store, &store).unwrap();
        let then = modified(&second.tree, "src/a");
        assert!(then >= before && modified(&second.tree, "src/new") >= before);
        assert_eq!(modified(&second.tree, "src/b"), modified(&first.tree, "src/b"));
        written("src/a", "AAAA", 0o600);
        // Also after the machine has been off.
        let current = fs::read_to_string(store.join("current")).unwrap();
        fs::write(store.join("current"), current.replace(&boot(), "another")).unwrap();
        let third = take(&project, &store, &store).unwrap();
        assert_eq!(modified(&third.tree, "src/a"), then, "it holds the same");
        symlink("b", project.join("src/was-link")).unwrap();
        let _fourth = take(&project, &store, &store).unwrap();
        fs::remove_file(project.join("src/was-link")).unwrap();
        written("src/was-link", "bbbb", 0o600);
        let fifth = take(&project, &store, &store).unwrap();
        assert!(modified(&fifth.tree, "src/was-link") > then, "a link is not what it leads to");
    }

    #[test]
    fn files_that_hold_the_same_are_told_from_others() {
        let scratch = tempfile::tempdir().unwrap();
        let (one, other) = (scratch.path().join("one"), scratch.path().join("other"));
        let long = vec![7; 100_000];
        let almost = [&long[..99_999], &[8]].concat();
        for (left, right, same) in
            [(&b""[..], &b""[..], true), (b"a", b"", false), (&long, &long, true), (&long, &almost, false)]
        {
            fs::write(&one, left).unwrap();
            fs::write(&other, right).unwrap();
            assert_eq!(is_same(&File::open(&one).unwrap(), &File::open(&other).unwrap()).unwrap(), same);
        }
    }

    #[test]
    fn a_file_changed_just_now_is_not_trusted() {
        let (_scratch, project, store) = project();
        let future = SystemTime::now() + Duration::from_secs(60);
        File::open(project.join("src/a")).unwrap().set_modified(future).unwrap();
        wait_for_the_clock();
        let (first, second) =
            (take(&project, &store, &store).unwrap(), take(&project, &store, &store).unwrap());
        assert_ne!(inode(&first, "src/a"), inode(&second, "src/a"));
        assert_eq!(inode(&first, "src/b"), inode(&second, "src/b"));
    }

    #[test]
    fn deleted_files_go_and_modes_and_links_come_along() {
        let (_scratch, project, store) = project();
        take(&project, &store, &store).unwrap();
        fs::remove_file(project.join("src/a")).unwrap();
        fs::set_permissions(project.join("src/b"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink("b", project.join("src/link")).unwrap();
        let snapshot = take(&project, &store, &store).unwrap();
        assert!(!snapshot.tree.join("src/a").exists());
        assert_eq!(fs::metadata(snapshot.tree.join("src/b")).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(fs::read_link(snapshot.tree.join("src/link")).unwrap(), Path::new("b"));
    }

    fn source(path: &Path) -> Source {
        Source::open_directory(path, |_| true).unwrap()
    }

    #[test]
    fn what_is_swapped_while_we_look_leads_nowhere() {
        let (scratch, project, _store) = project();
        let outside = scratch.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("a"), "canary").unwrap();
        let found = |path: &str| {
            Entry::new(Path::new(path), &fs::symlink_metadata(project.join(path)).unwrap()).unwrap()
        };
        let (a, b) = (found("src/a"), found("src/b"));
        let source = source(&project);
        assert!(source.open(&a).unwrap().is_some());
        fs::remove_file(project.join("src/a")).unwrap();
        assert!(source.open(&a).unwrap().is_none(), "gone");
        symlink(outside.join("a"), project.join("src/a")).unwrap();
        assert!(source.open(&a).unwrap().is_none(), "a link by now");
        let link = found("src/a");
        fs::remove_file(project.join("src/a")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, project.join("src/a"), Mode::from_raw_mode(0o644)).unwrap();
        assert!(source.open(&a).unwrap().is_none(), "a pipe by now");
        assert!(source.open(&link).unwrap().is_none(), "no link any more");
        fs::write(project.join("src/new"), "new").unwrap();
        fs::rename(project.join("src/new"), project.join("src/b")).unwrap();
        assert!(source.open(&b).unwrap().is_some(), "saved by an editor");
        fs::remove_dir_all(project.join("src")).unwrap();
        symlink(&outside, project.join("src")).unwrap();
        assert!(source.open(&a).unwrap().is_none(), "in a link by now");
    }

    #[test]
    fn of_a_public_snapshot_everybody_may_read_everything() {
        let (_scratch, etc, store) = project();
        fs::create_dir(etc.join("private")).unwrap();
        fs::write(etc.join("private/key"), "secret").unwrap();
        symlink("src/a", etc.join("link")).unwrap();
        for (path, mode) in [("private", 0o750), ("src/b", 0o640), ("src/a", 0o644), ("src", 0o755)] {
            fs::set_permissions(etc.join(path), fs::Permissions::from_mode(mode)).unwrap();
        }
        let snapshot = take_public(&etc, &store).unwrap();
        assert_eq!(fs::read_to_string(snapshot.tree.join("link")).unwrap(), "aaaa");
        assert!(!snapshot.tree.join("private").exists());
        assert!(!snapshot.tree.join("src/b").exists());
        let a = Entry::new(Path::new("src/a"), &fs::metadata(etc.join("src/a")).unwrap()).unwrap();
        fs::set_permissions(etc.join("src/a"), fs::Permissions::from_mode(0o600)).unwrap();
        let source = Source { admit: walk::is_public, ..source(&etc) };
        assert!(source.open(&a).unwrap().is_none(), "closed since we looked");
    }

    #[test]
    fn a_snapshot_lasts_while_somebody_uses_it() {
        let (_scratch, project, store) = project();
        let first = take(&project, &store, &store).unwrap();
        fs::write(project.join("src/new"), "").unwrap();
        let second = take(&project, &store, &store).unwrap();
        assert!(first.tree.join("src/a").exists());
        let gone = first.tree.clone();
        drop(first);
        fs::write(project.join("src/newer"), "").unwrap();
        let _third = take(&project, &store, &store).unwrap();
        assert!(!gone.exists());
        assert!(second.tree.exists());
    }

    #[test]
    fn a_broken_manifest_means_a_full_copy() {
        let (_scratch, project, store) = project();
        wait_for_the_clock();
        let first = take(&project, &store, &store).unwrap();
        fs::write(first.tree.parent().unwrap().join("manifest"), b"\xff nonsense").unwrap();
        let second = take(&project, &store, &store).unwrap();
        assert_ne!(inode(&first, "src/a"), inode(&second, "src/a"));
        fs::write(store.join("current"), "../../elsewhere").unwrap();
        assert_eq!(
            fs::read_to_string(take(&project, &store, &store).unwrap().tree.join("src/b")).unwrap(),
            "bbbb"
        );
    }
}
