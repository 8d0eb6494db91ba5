//! Whole trees: removing them, their size, their age. Trees here are those that strangers' programs have made: with
//! directories that even their owner may not enter, and deeper than a stack or a path may be.

use std::collections::BTreeSet;
use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use crate::{PathError, cannot};

/// Bytes in a block of [`MetadataExt::blocks`], whatever the file system's own are.
const BLOCK: u64 = 512;

/// Rounds in which a removal may find new things without having moved any itself, before it gives up.
const PATIENCE: u32 = 10;

/// Modes of files and directories that kept their owner from reading them. They get those back when this goes.
#[derive(Debug, Default)]
pub struct ModeGuard(Vec<(PathBuf, Permissions)>);

impl ModeGuard {
    /// Makes a file or directory readable, and a directory passable, if it is not.
    ///
    /// # Errors
    /// The system says no.
    pub fn open(&mut self, path: &Path, about: &Metadata) -> Result<(), PathError> {
        let needed = if about.is_dir() { 0o500 } else { 0o400 };
        let mode = about.permissions().mode();
        if mode & needed != needed {
            fs::set_permissions(path, Permissions::from_mode(mode & 0o7777 | needed))
                .map_err(cannot("open", path))?;
            self.0.push((path.to_owned(), about.permissions()));
        }
        Ok(())
    }
}

impl Drop for ModeGuard {
    fn drop(&mut self) {
        // What lies in a directory before the directory itself.
        for (path, permissions) in self.0.drain(..).rev() {
            let _ = fs::set_permissions(path, permissions);
        }
    }
}

/// Bytes of the disk that a tree takes. A file with several names counts once, and what cannot be read not at all.
/// Nobody else may be in it, for directories that are closed are opened meanwhile.
#[must_use]
pub fn disk_usage(top: &Path) -> u64 {
    let mut bytes = 0_u64;
    let mut linked = BTreeSet::new();
    let mut open = vec![top.to_owned()];
    let mut opened = ModeGuard::default();
    while let Some(path) = open.pop() {
        let Ok(about) = fs::symlink_metadata(&path) else { continue };
        if !about.is_dir() && about.nlink() > 1 && !linked.insert((about.dev(), about.ino())) {
            continue;
        }
        bytes = bytes.saturating_add(about.blocks().saturating_mul(BLOCK));
        if about.is_dir() && opened.open(&path, &about).is_ok() {
            open.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
    }
    bytes
}

/// Bytes that the files of a directory hold, as far as they can be read: the sum of their lengths.
#[must_use]
pub fn apparent_size(directory: &Path) -> u64 {
    let mut sum = 0_u64;
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(about) if about.is_dir() => directories.push(entry.path()),
                Ok(about) => sum = sum.saturating_add(about.len()),
                Err(_) => {}
            }
        }
    }
    sum
}

/// Time since something was last changed. None for what is not there, and for what was changed later than now.
#[must_use]
pub fn age(path: &Path) -> Option<Duration> {
    let changed = fs::symlink_metadata(path).and_then(|about| about.modified()).ok()?;
    SystemTime::now().duration_since(changed).ok()
}

/// Removes whatever is there, if anything. Nobody else may be writing in it; others may be removing it too.
///
/// # Errors
/// The system says no.
pub fn remove_tree(path: &Path) -> Result<(), PathError> {
    gone(remove_all(path)).map_err(cannot("remove", path))
}

/// Programs make trees that are deeper than a stack and longer than a path may be. So there is no way down here:
/// directories are moved up to the top, and each is removed from there.
fn remove_all(top: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(top)?.is_dir() {
        return fs::remove_file(top);
    }
    // No name that may be there already.
    let prefix = Uuid::new_v4().simple().to_string();
    let mut number = 0_u64;
    let mut patience = PATIENCE;
    loop {
        let before = number;
        for entry in entries(top)? {
            let (entry, is_directory) = entry?;
            if !is_directory {
                gone(fs::remove_file(entry))?;
                continue;
            }
            let inside = match entries(&entry) {
                // Somebody else was faster.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                inside => inside?,
            };
            for below in inside {
                let (below, is_directory) = below?;
                if is_directory {
                    // A directory that is moved gets another `..`, and changing that takes the right to write in it.
                    gone(unlock(&below))?;
                    number = number.wrapping_add(1);
                    gone(fs::rename(below, top.join(format!("{prefix}{number}"))))?;
                } else {
                    gone(fs::remove_file(below))?;
                }
            }
            match gone(fs::remove_dir(entry)) {
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                removed => removed?,
            }
        }
        match fs::remove_dir(top) {
            // What was moved up, by us or somebody else who removes the tree.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && patience > 0 => {
                patience = if number == before { patience - 1 } else { PATIENCE };
            }
            removed => return removed,
        }
    }
}

/// Success for something that is not there any more: it needs no removing.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Entries of a directory, and which of them are directories too. Whatever the directory's mode was, it can be read and
/// changed now.
fn entries(directory: &Path) -> io::Result<impl Iterator<Item = io::Result<(PathBuf, bool)>>> {
    unlock(directory)?;
    Ok(fs::read_dir(directory)?.map(|entry| {
        let entry = entry?;
        Ok((entry.path(), entry.file_type()?.is_dir()))
    }))
}

/// Overlays leave directories that even their owner may not enter, and so do steps.
fn unlock(directory: &Path) -> io::Result<()> {
    fs::set_permissions(directory, Permissions::from_mode(0o700))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_locked_tree_is_removed_and_a_missing_one_is_fine() {
        let scratch = tempfile::tempdir().unwrap();
        let tree = scratch.path().join("tree");
        fs::create_dir_all(tree.join("work/work")).unwrap();
        fs::write(tree.join("work/work/file"), "").unwrap();
        fs::set_permissions(tree.join("work/work"), Permissions::from_mode(0o000)).unwrap();
        fs::set_permissions(tree.join("work"), Permissions::from_mode(0o500)).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
        remove_tree(&tree).unwrap();
    }

    #[test]
    fn a_tree_deeper_than_any_path_or_stack_is_removed() {
        let scratch = tempfile::tempdir().unwrap();
        let tree = scratch.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let mut bottom = std::os::fd::OwnedFd::from(File::open(&tree).unwrap());
        let (flags, mode) = (rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::from_raw_mode(0o700));
        for level in 0..800 {
            rustix::fs::mkdirat(&bottom, "directory", mode).unwrap();
            if level % 200 == 0 {
                rustix::fs::symlinkat("/", &bottom, "link").unwrap();
            }
            bottom = rustix::fs::openat(&bottom, "directory", flags, mode).unwrap();
        }
        let little_stack = std::thread::Builder::new().stack_size(64 << 10);
        let removed = tree.clone();
        little_stack.spawn(move || remove_tree(&removed)).unwrap().join().unwrap().unwrap();
        assert!(!tree.exists());
    }

    #[test]
    fn disk_usage_counts_what_is_closed_and_links_once() {
        let scratch = tempfile::tempdir().unwrap();
        let tree = scratch.path().join("tree");
        fs::create_dir_all(tree.join("closed")).unwrap();
        fs::write(tree.join("closed/file"), vec![1; 1 << 20]).unwrap();
        fs::hard_link(tree.join("closed/file"), tree.join("again")).unwrap();
        symlink("/usr", tree.join("elsewhere")).unwrap();
        fs::set_permissions(tree.join("closed"), Permissions::from_mode(0o000)).unwrap();
        let bytes = disk_usage(&tree);
        assert!((1 << 20..3 << 19).contains(&bytes), "{bytes}");
        assert_eq!(fs::metadata(tree.join("closed")).unwrap().mode() & 0o777, 0);
        assert_eq!(disk_usage(&tree.join("nothing")), 0);
        remove_tree(&tree).unwrap();
    }

    #[test]
    fn several_may_remove_one_tree() {
        let scratch = tempfile::tempdir().unwrap();
        for _ in 0..3 {
            let tree = scratch.path().join("tree");
            for number in 0..20 {
                fs::create_dir_all(tree.join(format!("{number}/a/b/c"))).unwrap();
                fs::write(tree.join(format!("{number}/a/file")), "").unwrap();
            }
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| remove_tree(&tree).unwrap());
                }
            });
            assert!(!tree.exists());
        }
    }

    #[test]
    fn sizes_and_ages_are_those_of_files() {
        let scratch = tempfile::tempdir().unwrap();
        fs::create_dir(scratch.path().join("below")).unwrap();
        fs::write(scratch.path().join("file"), "123").unwrap();
        fs::write(scratch.path().join("below/file"), "45").unwrap();
        assert_eq!(apparent_size(scratch.path()), 5);
        assert_eq!(apparent_size(&scratch.path().join("none")), 0);
        let file = scratch.path().join("file");
        assert!(age(&file).unwrap() < Duration::from_secs(60));
        let hour_ago = SystemTime::now() - Duration::from_secs(3600);
        File::open(&file).unwrap().set_modified(hour_ago).unwrap();
        assert!(age(&file).unwrap() >= Duration::from_secs(3600));
        File::open(&file).unwrap().set_modified(SystemTime::now() + Duration::from_secs(3600)).unwrap();
        assert_eq!((age(&file), age(&scratch.path().join("none"))), (None, None));
    }
}
