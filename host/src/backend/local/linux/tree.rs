//! Copying, linking and removing files and whole trees, with what matters to a build: modes, times, symbolic links.
//! Which files, and why, is decided elsewhere.

use std::{
    collections::BTreeSet,
    fs::{self, File, Metadata, Permissions},
    io::{self, Read, Seek},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use rustix::{fs::SeekFrom, io::Errno};
use uuid::Uuid;

use super::SandboxError;

/// Bytes in a block of [`MetadataExt::blocks`], whatever the file system's own are.
const BLOCK: u64 = 512;

/// Copies the contents, permissions and modification time of a regular file to a path where nothing is. Blocks are
/// shared where the file system can, and holes stay holes.
///
/// # Errors
/// `source` cannot be opened or read, `target` cannot be made or written.
pub(super) fn copy_file(source: &Path, target: &Path) -> Result<(), SandboxError> {
    let from = File::open(source).map_err(SandboxError::io("read", source))?;
    let about = from.metadata().map_err(SandboxError::io("read", source))?;
    copy_open_file(from, &about, source, target)
}

/// Like [`copy_file`], of a file that is open already; `source` is what it is called in errors.
///
/// # Errors
/// It cannot be read, `target` cannot be made or written.
pub(super) fn copy_open_file(
    mut from: File,
    about: &Metadata,
    source: &Path,
    target: &Path,
) -> Result<(), SandboxError> {
    let mut to = File::create_new(target).map_err(SandboxError::io("create", target))?;
    if rustix::fs::ioctl_ficlone(&to, &from).is_err() {
        let copied = if about.blocks().saturating_mul(BLOCK) < about.size() {
            copy_parts(&mut from, &mut to, about.size())
        } else {
            // No more than it had: it may be growing faster than we read.
            io::copy(&mut from.take(about.size()), &mut to).map(drop)
        };
        copied.map_err(SandboxError::io("copy", source))?;
    }
    let failed = |error| SandboxError::io("set the times and mode of", target)(error);
    to.set_permissions(plain_mode(about)).map_err(failed)?;
    about.modified().and_then(|time| to.set_modified(time)).map_err(failed)
}

/// Copies what a file of `size` bytes has between its holes.
fn copy_parts(from: &mut File, to: &mut File, size: u64) -> io::Result<()> {
    to.set_len(size)?;
    let mut end = 0;
    while end < size {
        let start = match rustix::fs::seek(&*from, SeekFrom::Data(end)) {
            Ok(start) => start,
            // Nothing but a hole is left.
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        end = rustix::fs::seek(&*from, SeekFrom::Hole(start))?.min(size);
        from.seek(io::SeekFrom::Start(start))?;
        to.seek(io::SeekFrom::Start(start))?;
        io::copy(&mut (&*from).take(end.saturating_sub(start)), to)?;
    }
    Ok(())
}

/// Makes a symbolic link like the one at `source`.
///
/// # Errors
/// `source` cannot be read, or something is at `target`.
pub(super) fn copy_link(source: &Path, target: &Path) -> Result<(), SandboxError> {
    let to = fs::read_link(source).map_err(SandboxError::io("read the link", source))?;
    symlink(to, target).map_err(SandboxError::io("create", target))
}

/// Makes a directory that we can fill, whatever mode it is going to have; nothing happens if it is there.
///
/// # Errors
/// The system says no.
pub(super) fn make_directory(path: &Path) -> Result<(), SandboxError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(SandboxError::io("create", path))
}

/// Gives a directory, now full, the mode and time of another.
///
/// # Errors
/// The system says no.
pub(super) fn finish_directory(path: &Path, like: &Metadata) -> Result<(), SandboxError> {
    let done = File::open(path).and_then(|directory| {
        like.modified().and_then(|time| directory.set_modified(time))?;
        directory.set_permissions(plain_mode(like))
    });
    done.map_err(SandboxError::io("set the times and mode of", path))
}

/// Neither set-user-id nor the like: in a sandbox they mean nothing, and outside nobody should find such files.
fn plain_mode(about: &Metadata) -> Permissions {
    Permissions::from_mode(about.permissions().mode() & 0o777)
}

/// Copies a tree whole. Devices, sockets and pipes are left out. What its owner may not read is made readable
/// meanwhile, so that copies of one tree wait for each other: a lock is taken on the source's own directory.
///
/// # Errors
/// The first thing that cannot be read or made.
pub(super) fn copy_tree(source: &Path, target: &Path) -> Result<(), SandboxError> {
    let lock = File::open(source).map_err(SandboxError::io("open", source))?;
    lock.lock().map_err(SandboxError::io("lock", source))?;
    // Directories are finished after what is in them, so this is a stack with a way back, and no recursion:
    // how deep a tree is, is not ours to say.
    let mut finish = Vec::new();
    let mut open = vec![(source.to_owned(), target.to_owned())];
    let mut opened = Opened::default();
    while let Some((from, to)) = open.pop() {
        let about = fs::symlink_metadata(&from).map_err(SandboxError::io("read", &from))?;
        if about.is_symlink() {
            copy_link(&from, &to)?;
        } else if about.is_file() {
            opened.open(&from, &about)?;
            let file = File::open(&from).map_err(SandboxError::io("read", &from))?;
            copy_open_file(file, &about, &from, &to)?;
        } else if about.is_dir() {
            opened.open(&from, &about)?;
            make_directory(&to)?;
            for entry in fs::read_dir(&from).map_err(SandboxError::io("read", &from))? {
                let name = entry.map_err(SandboxError::io("read", &from))?.file_name();
                open.push((from.join(&name), to.join(&name)));
            }
            finish.push((to, about));
        }
    }
    finish.into_iter().rev().try_for_each(|(path, about)| finish_directory(&path, &about))
}

/// Files and directories of ours that their own modes kept us from reading. They get those back when this goes.
#[derive(Default)]
pub(super) struct Opened(Vec<(PathBuf, Permissions)>);

impl Opened {
    /// Makes a file or directory readable, and a directory passable, if it is not.
    ///
    /// # Errors
    /// The system says no.
    pub(super) fn open(&mut self, path: &Path, about: &Metadata) -> Result<(), SandboxError> {
        let needed = if about.is_dir() { 0o500 } else { 0o400 };
        let mode = about.permissions().mode();
        if mode & needed != needed {
            fs::set_permissions(path, Permissions::from_mode(mode & 0o7777 | needed))
                .map_err(SandboxError::io("open", path))?;
            self.0.push((path.to_owned(), about.permissions()));
        }
        Ok(())
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // What lies in a directory before the directory itself.
        for (path, permissions) in self.0.drain(..).rev() {
            let _ = fs::set_permissions(path, permissions);
        }
    }
}

/// How much of the disk a tree takes, in bytes. A file with several names counts once, and what cannot be read not at
/// all. Nobody else may be in it.
pub(super) fn size(top: &Path) -> u64 {
    let mut bytes = 0_u64;
    let mut linked = BTreeSet::new();
    let mut open = vec![top.to_owned()];
    let mut opened = Opened::default();
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

/// Removes whatever is there, if anything. Nobody else may be writing in it.
///
/// # Errors
/// The system says no.
pub(super) fn remove(path: &Path) -> Result<(), SandboxError> {
    match remove_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(SandboxError::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Steps make trees that are deeper than a stack and longer than a path may be. So there is no way down here:
/// directories are moved up to the top, and each is removed from there.
fn remove_all(top: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(top)?.is_dir() {
        return fs::remove_file(top);
    }
    // No name that may be there already.
    let prefix = Uuid::new_v4().simple().to_string();
    let mut number = 0_u64;
    let mut more = true;
    while more {
        more = false;
        for entry in entries(top)? {
            let (entry, is_directory) = entry?;
            if is_directory {
                for below in entries(&entry)? {
                    let (below, is_directory) = below?;
                    if is_directory {
                        unlock(&below)?;
                        number = number.wrapping_add(1);
                        fs::rename(below, top.join(format!("{prefix}{number}")))?;
                        more = true;
                    } else {
                        fs::remove_file(below)?;
                    }
                }
                fs::remove_dir(entry)?;
            } else {
                fs::remove_file(entry)?;
            }
        }
    }
    fs::remove_dir(top)
}

/// What is in a directory, and whether it is a directory too. Whatever the directory's mode was, it can be read and
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
    use super::*;

    #[test]
    fn a_locked_tree_is_removed_and_a_missing_one_is_fine() {
        let scratch = tempfile::tempdir().unwrap();
        let tree = scratch.path().join("tree");
        fs::create_dir_all(tree.join("work/work")).unwrap();
        fs::write(tree.join("work/work/file"), "").unwrap();
        fs::set_permissions(tree.join("work/work"), Permissions::from_mode(0o000)).unwrap();
        fs::set_permissions(tree.join("work"), Permissions::from_mode(0o500)).unwrap();
        remove(&tree).unwrap();
        assert!(!tree.exists());
        remove(&tree).unwrap();
    }

    #[test]
    fn a_tree_deeper_than_any_path_or_stack_is_removed() {
        let scratch = tempfile::tempdir().unwrap();
        let tree = scratch.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let mut bottom = std::os::fd::OwnedFd::from(File::open(&tree).unwrap());
        let (flags, mode) = (rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::from_raw_mode(0o700));
        // Twice as many bytes of path as levels: more than the 4096 that a path may have.
        for level in 0..2500 {
            rustix::fs::mkdirat(&bottom, "d", mode).unwrap();
            if level % 1000 == 0 {
                rustix::fs::symlinkat("/", &bottom, "link").unwrap();
            }
            bottom = rustix::fs::openat(&bottom, "d", flags, mode).unwrap();
        }
        let little_stack = std::thread::Builder::new().stack_size(64 << 10);
        let removed = tree.clone();
        little_stack.spawn(move || remove(&removed)).unwrap().join().unwrap().unwrap();
        assert!(!tree.exists());
    }

    #[test]
    fn the_size_of_a_tree_counts_what_is_closed_and_links_once() {
        let scratch = tempfile::tempdir().unwrap();
        let tree = scratch.path().join("tree");
        fs::create_dir_all(tree.join("closed")).unwrap();
        fs::write(tree.join("closed/file"), vec![1; 1 << 20]).unwrap();
        fs::hard_link(tree.join("closed/file"), tree.join("again")).unwrap();
        symlink("/usr", tree.join("elsewhere")).unwrap();
        fs::set_permissions(tree.join("closed"), Permissions::from_mode(0o000)).unwrap();
        let bytes = size(&tree);
        assert!((1 << 20..3 << 19).contains(&bytes), "{bytes}");
        assert_eq!(fs::metadata(tree.join("closed")).unwrap().mode() & 0o777, 0);
        assert_eq!(size(&tree.join("nothing")), 0);
        remove(&tree).unwrap();
    }

    #[test]
    fn holes_stay_holes() {
        let scratch = tempfile::tempdir().unwrap();
        let (from, to) = (scratch.path().join("from"), scratch.path().join("to"));
        let mut file = File::create(&from).unwrap();
        for start in [1_u64 << 20, 1 << 30] {
            file.seek(io::SeekFrom::Start(start)).unwrap();
            io::Write::write_all(&mut file, b"data").unwrap();
        }
        file.set_len(3 << 30).unwrap();
        copy_file(&from, &to).unwrap();
        let about = fs::metadata(&to).unwrap();
        assert_eq!(about.size(), 3 << 30);
        if fs::metadata(&from).unwrap().blocks() * BLOCK < 1 << 20 {
            assert!(about.blocks() * BLOCK < 1 << 20, "{} blocks", about.blocks());
        }
        let mut copy = File::open(&to).unwrap();
        for start in [1_u64 << 20, 1 << 30] {
            let mut bytes = [1; 6];
            copy.seek(io::SeekFrom::Start(start - 1)).unwrap();
            copy.read_exact(&mut bytes).unwrap();
            assert_eq!(&bytes, b"\0data\0");
        }
    }

    #[test]
    fn what_its_owner_may_not_read_is_copied_and_stays_so() {
        let scratch = tempfile::tempdir().unwrap();
        let (from, to) = (scratch.path().join("from"), scratch.path().join("to"));
        fs::create_dir_all(from.join("closed/below")).unwrap();
        fs::write(from.join("closed/below/file"), "x").unwrap();
        let closed = ["closed/below/file", "closed/below", "closed"];
        for path in closed {
            fs::set_permissions(from.join(path), Permissions::from_mode(0o000)).unwrap();
        }
        copy_tree(&from, &to).unwrap();
        for tree in [&from, &to] {
            for path in closed.iter().rev() {
                let path = tree.join(path);
                assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0, "{}", path.display());
                fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
            }
        }
        assert_eq!(fs::read_to_string(to.join("closed/below/file")).unwrap(), "x");
    }

    #[test]
    fn a_copy_keeps_modes_times_and_links_and_drops_setuid() {
        let scratch = tempfile::tempdir().unwrap();
        let (from, to) = (scratch.path().join("from"), scratch.path().join("to"));
        fs::create_dir_all(from.join("closed")).unwrap();
        fs::write(from.join("closed/run"), "#!").unwrap();
        fs::set_permissions(from.join("closed/run"), Permissions::from_mode(0o4755)).unwrap();
        let long_ago = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 123_456_789);
        File::open(from.join("closed/run")).unwrap().set_modified(long_ago).unwrap();
        symlink("nowhere", from.join("link")).unwrap();
        fs::set_permissions(from.join("closed"), Permissions::from_mode(0o555)).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, from.join("pipe"), rustix::fs::Mode::from_raw_mode(0o644))
            .unwrap();
        copy_tree(&from, &to).unwrap();
        let about = fs::metadata(to.join("closed/run")).unwrap();
        assert_eq!(about.permissions().mode() & 0o7777, 0o755);
        assert_eq!(about.modified().unwrap(), long_ago);
        assert_eq!(fs::metadata(to.join("closed")).unwrap().permissions().mode() & 0o777, 0o555);
        assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("nowhere"));
        assert!(!to.join("pipe").exists());
        remove(&from).unwrap();
        remove(&to).unwrap();
    }

    /// As of two steps on the same parent: one must not close again what the other has yet to read.
    #[test]
    fn copies_of_one_tree_do_not_disturb_each_other() {
        let scratch = tempfile::tempdir().unwrap();
        let from = scratch.path().join("from");
        for number in 0..50 {
            let closed = from.join(format!("closed{number}"));
            fs::create_dir_all(&closed).unwrap();
            fs::write(closed.join("file"), "x").unwrap();
            for path in [closed.join("file"), closed] {
                fs::set_permissions(path, Permissions::from_mode(0o000)).unwrap();
            }
        }
        std::thread::scope(|scope| {
            for number in 0..4 {
                let (from, to) = (&from, scratch.path().join(format!("to{number}")));
                scope.spawn(move || {
                    for round in 0..5 {
                        copy_tree(from, &to.with_extension(round.to_string())).unwrap();
                    }
                });
            }
        });
        for entry in fs::read_dir(scratch.path()).unwrap() {
            remove(&entry.unwrap().path()).unwrap();
        }
    }
}
