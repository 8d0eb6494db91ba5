//! Copying, linking and removing files and whole trees, with what matters to a build: modes, times, symbolic links.
//! Which files, and why, is decided elsewhere.

use std::{
    fs::{self, File, Metadata, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt, symlink},
    path::Path,
};

use super::SandboxError;

/// Copies the contents, permissions and modification time of a regular file to a path where nothing is. Blocks are
/// shared where the file system can. Answers with what the file was when it was opened.
///
/// # Errors
/// `source` cannot be opened or read, `target` cannot be made or written.
pub(super) fn copy_file(source: &Path, target: &Path) -> Result<Metadata, SandboxError> {
    let mut from = File::open(source).map_err(SandboxError::io("read", source))?;
    let about = from.metadata().map_err(SandboxError::io("read", source))?;
    let mut to = File::create_new(target).map_err(SandboxError::io("create", target))?;
    if rustix::fs::ioctl_ficlone(&to, &from).is_err() {
        io::copy(&mut from, &mut to).map_err(SandboxError::io("copy", source))?;
    }
    let failed = |error| SandboxError::io("set the times and mode of", target)(error);
    to.set_permissions(plain_mode(&about)).map_err(failed)?;
    about.modified().and_then(|time| to.set_modified(time)).map_err(failed)?;
    Ok(about)
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

/// Copies a tree whole. Devices, sockets and pipes are left out.
///
/// # Errors
/// The first thing that cannot be read or made.
pub(super) fn copy_tree(source: &Path, target: &Path) -> Result<(), SandboxError> {
    // Directories are finished after what is in them, so this is a stack with a way back, and no recursion:
    // how deep a tree is, is not ours to say.
    let mut finish = Vec::new();
    let mut open = vec![(source.to_owned(), target.to_owned())];
    while let Some((from, to)) = open.pop() {
        let about = fs::symlink_metadata(&from).map_err(SandboxError::io("read", &from))?;
        if about.is_symlink() {
            copy_link(&from, &to)?;
        } else if about.is_file() {
            copy_file(&from, &to)?;
        } else if about.is_dir() {
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

/// Removes whatever is there, if anything. Nobody else may be writing in it.
///
/// # Errors
/// The system says no.
pub(super) fn remove(path: &Path) -> Result<(), SandboxError> {
    let gone = |error: io::Error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) };
    let first = fs::remove_dir_all(path).or_else(gone);
    if first.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
        // Overlays leave directories that even their owner may not enter, and so do steps.
        unlock(path);
        return fs::remove_dir_all(path).or_else(gone).map_err(SandboxError::io("remove", path));
    }
    first.map_err(SandboxError::io("remove", path))
}

/// Makes every directory of a tree removable, as far as that goes.
fn unlock(path: &Path) {
    let mut open = vec![path.to_owned()];
    while let Some(directory) = open.pop() {
        // Removing says what is wrong if this does not help.
        let _ = fs::set_permissions(&directory, Permissions::from_mode(0o700));
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
        open.extend(
            entries
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
    }
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
}
