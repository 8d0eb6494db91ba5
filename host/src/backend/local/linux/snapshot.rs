//! The base layer of a run: a snapshot of the project tree, kept per project so that the next one costs little.
//! A file that has not changed is a hard link to the previous snapshot's; snapshots are never written.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, SystemTime},
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

/// A snapshot in use; it is kept at least as long as this lives.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// The tree, in full.
    pub(super) tree: PathBuf,
    _in_use: File,
}

/// Takes a snapshot of `project` in `store`, a directory for this project alone that several hm may share. What is
/// at `except` is none of the project's, should it lie in there.
///
/// # Errors
/// Something in the project cannot be read, or something in the store cannot be written.
pub(super) fn take(project: &Path, store: &Path, except: &Path) -> Result<Snapshot, SandboxError> {
    tree::make_directory(store)?;
    let lock = open_lock(&store.join("lock"))?;
    lock.lock().map_err(SandboxError::io("lock", store.join("lock")))?;
    let current = store.join("current");
    let boot = boot();
    let previous = fs::read_to_string(&current).ok().and_then(|text| Previous::open(store, &text, &boot));
    let settled = SystemTime::now().checked_sub(CLOCK_TICK).unwrap_or(SystemTime::UNIX_EPOCH);
    let found = walk::walk(project, except)?;

    if let Some(previous) = previous.as_ref().filter(|previous| previous.manifest.entries == found) {
        return previous.use_it();
    }
    let name = format!("snapshot-{}", Uuid::new_v4().simple());
    let directory = store.join(&name);
    let made =
        fill(project, found, settled, &directory.join("tree"), previous.as_ref()).and_then(|manifest| {
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
    manifest: Manifest,
}

impl Previous {
    /// None if there is none to trust. What was written before the machine last started may have been lost with the
    /// power, in part: waiting for the disk each time would cost more than one full copy after each start.
    fn open(store: &Path, current: &str, boot: &str) -> Option<Self> {
        let (name, when) = current.split_once(' ')?;
        let id = name.strip_prefix("snapshot-").and_then(|id| Uuid::try_parse(id).ok())?;
        let directory = store.join(format!("snapshot-{}", id.simple()));
        if when != boot {
            return None;
        }
        let manifest = Manifest::decode(&fs::read(directory.join("manifest")).ok()?)?;
        Some(Self { directory, manifest })
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

/// Those who hold the store's lock never wait here: only they look for snapshots out of use.
fn use_snapshot(directory: &Path) -> Result<Snapshot, SandboxError> {
    let path = directory.join("in-use");
    let in_use = open_lock(&path)?;
    in_use.lock_shared().map_err(SandboxError::io("lock", path))?;
    Ok(Snapshot { tree: directory.join("tree"), _in_use: in_use })
}

/// Makes the new tree; answers with what may be trusted next time.
fn fill(
    project: &Path,
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
                    files.iter_mut().try_for_each(|entry| bring(project, entry, settled, target, previous))
                })
            })
            .collect();
        copiers
            .into_iter()
            .try_for_each(|copier| copier.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    for entry in directories.iter().rev() {
        let source = project.join(&entry.path);
        match fs::symlink_metadata(&source) {
            Ok(about) if about.is_dir() => tree::finish_directory(&target.join(&entry.path), &about)?,
            // It is gone by now, or was replaced: what we have of it stays as it was.
            _ => {}
        }
    }
    let mut entries = directories;
    entries.append(&mut files);
    entries.sort();
    Ok(Manifest { entries })
}

/// Brings one file or link into the new tree.
fn bring(
    project: &Path,
    entry: &mut Entry,
    settled: SystemTime,
    target: &Path,
    previous: Option<&Previous>,
) -> Result<(), SandboxError> {
    let (source, target) = (project.join(&entry.path), target.join(&entry.path));
    if let Some(previous) = previous.filter(|previous| previous.manifest.entries.binary_search(entry).is_ok())
    {
        // Too many links, say: then it is copied.
        if fs::hard_link(previous.directory.join("tree").join(&entry.path), &target).is_ok() {
            return Ok(());
        }
    }
    let copied = match entry.kind {
        Kind::Link => tree::copy_link(&source, &target),
        _ => tree::copy_file(&source, &target).map(drop),
    };
    match copied {
        // It was deleted since we looked.
        Err(SandboxError::Io { source: error, path, .. })
            if error.kind() == io::ErrorKind::NotFound && path == source =>
        {
            entry.distrust();
            return Ok(());
        }
        other => other?,
    }
    let unchanged = fs::symlink_metadata(&source)
        .is_ok_and(|about| Entry::new(&entry.path, &about).as_ref() == Some(&*entry));
    if !unchanged || entry.changed_after(settled) {
        entry.distrust();
    }
    Ok(())
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
