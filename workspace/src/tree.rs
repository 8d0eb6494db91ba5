//! Copying, linking and removing files and whole trees, with what matters to a build: modes, times, symbolic links.
//! The choice of files is made elsewhere.

use std::{
    fs::{self, File, Metadata, Permissions},
    io::{self, Read, Seek},
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
};

use rustix::{fs::SeekFrom, io::Errno};

use hm_disk::{ModeGuard, PathError, cannot, make_directory};

/// Bytes in a block of [`MetadataExt::blocks`], whatever the file system's own are.
const BLOCK: u64 = 512;

/// Copies the contents, permissions and modification time of a regular file to a path where nothing is. Blocks are
/// shared where the file system can, and holes stay holes.
///
/// # Errors
/// `source` cannot be opened or read, `target` cannot be made or written.
pub fn copy_file(source: &Path, target: &Path) -> Result<(), PathError> {
    let from = File::open(source).map_err(cannot("read", source))?;
    let about = from.metadata().map_err(cannot("read", source))?;
    copy_open_file(from, &about, source, target)
}

/// Like [`copy_file`], of a file that is open already; `source` is what it is called in errors.
///
/// # Errors
/// It cannot be read, `target` cannot be made or written.
pub fn copy_open_file(
    mut from: File,
    about: &Metadata,
    source: &Path,
    target: &Path,
) -> Result<(), PathError> {
    let mut to = File::create_new(target).map_err(cannot("create", target))?;
    if rustix::fs::ioctl_ficlone(&to, &from).is_err() {
        let copied = if about.blocks().saturating_mul(BLOCK) < about.size() {
            copy_parts(&mut from, &mut to, about.size())
        } else {
            // No more than it had: it may be growing faster than we read.
            io::copy(&mut from.take(about.size()), &mut to).map(drop)
        };
        copied.map_err(cannot("copy", source))?;
    }
    let failed = |error| cannot("set the times and mode of", target)(error);
    to.set_permissions(plain_mode(about)).map_err(failed)?;
    // After the copying: each write sets it anew.
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
pub fn copy_link(source: &Path, target: &Path) -> Result<(), PathError> {
    let to = fs::read_link(source).map_err(cannot("read the link", source))?;
    symlink(to, target).map_err(cannot("create", target))
}

/// Gives a directory, now full, the mode and time of another.
///
/// # Errors
/// The system says no.
pub fn finish_directory(path: &Path, like: &Metadata) -> Result<(), PathError> {
    let done = File::open(path).and_then(|directory| {
        like.modified().and_then(|time| directory.set_modified(time))?;
        directory.set_permissions(plain_mode(like))
    });
    done.map_err(cannot("set the times and mode of", path))
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
pub fn copy_tree(source: &Path, target: &Path) -> Result<(), PathError> {
    let lock = File::open(source).map_err(cannot("open", source))?;
    lock.lock().map_err(cannot("lock", source))?;
    // Directories are finished after what is in them, so this is a stack with a way back, and no recursion:
    // how deep a tree is, is not ours to say.
    let mut finish = Vec::new();
    let mut open = vec![(source.to_owned(), target.to_owned())];
    let mut opened = ModeGuard::default();
    while let Some((from, to)) = open.pop() {
        let about = fs::symlink_metadata(&from).map_err(cannot("read", &from))?;
        if about.is_symlink() {
            copy_link(&from, &to)?;
        } else if about.is_file() {
            opened.open(&from, &about)?;
            let file = File::open(&from).map_err(cannot("read", &from))?;
            copy_open_file(file, &about, &from, &to)?;
        } else if about.is_dir() {
            opened.open(&from, &about)?;
            make_directory(&to)?;
            for entry in fs::read_dir(&from).map_err(cannot("read", &from))? {
                let name = entry.map_err(cannot("read", &from))?.file_name();
                open.push((from.join(&name), to.join(&name)));
            }
            finish.push((to, about));
        }
    }
    finish.into_iter().rev().try_for_each(|(path, about)| finish_directory(&path, &about))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        hm_disk::remove_tree(&from).unwrap();
        hm_disk::remove_tree(&to).unwrap();
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
            hm_disk::remove_tree(&entry.unwrap().path()).unwrap();
        }
    }
}
