//! Publishing: files and directories that are under their name whole, or not at all. All are made beside their place,
//! on the same file system, and get their name by one system call.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use uuid::Uuid;

use crate::directory::sync_directory_io;
use crate::{PathError, cannot, discard, remove_tree};

/// Makes a file of these bytes, or replaces it, with mode 0600: a reader sees the old file or the new one, also after
/// a crash. It is on the disk when this returns.
///
/// The caller holds a lock on it: the new file always has the same name before it takes the old one's place, so that
/// crashes leave one such file at the most.
///
/// # Errors
/// The system says no; the old file is then still there.
pub fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), PathError> {
    let failed = |error| cannot("write", path)(error);
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(failed(io::Error::other("it is not a path of a file")));
    };
    let mut new_name = OsString::from(".");
    new_name.push(name);
    new_name.push(".new");
    let new = directory.join(new_name);
    // What is there was left by a crash.
    remove_if_there(&new).map_err(|error| failed(error.source))?;
    // The bytes reach the disk before the name does: a file system may write a rename first, and after a crash the
    // name would lead to nothing. The directory last, or the old file could come back.
    write_new(&new, &[bytes], File::sync_all)
        .and_then(|()| {
            fs::rename(&new, path).inspect_err(|_| {
                let _ = fs::remove_file(&new);
            })
        })
        .and_then(|()| sync_directory_io(directory))
        .map_err(failed)
}

/// Makes a file of these bytes, or replaces it, with mode 0600: other processes see the old file or the new one. After
/// a crash of the machine it may be neither, so its reader has to check it. No lock is needed.
///
/// # Errors
/// The system says no; the old file is then still there.
pub fn replace_file_unsynced(path: &Path, parts: &[&[u8]]) -> Result<(), PathError> {
    let new = unique_beside(path);
    write_new(&new, parts, |_| Ok(()))
        .and_then(|()| {
            fs::rename(&new, path).inspect_err(|_| {
                let _ = fs::remove_file(&new);
            })
        })
        .map_err(cannot("write", path))
}

/// Makes a file of these bytes, with mode 0600, unless there is one. Of several processes that do so at the same time
/// one is first, and all find its bytes, whole. They are on the disk when this returns.
///
/// # Errors
/// The system says no.
pub fn create_once(path: &Path, bytes: &[u8]) -> Result<(), PathError> {
    let failed = |error| cannot("create", path)(error);
    let new = unique_beside(path);
    write_new(&new, &[bytes], File::sync_all).map_err(failed)?;
    // A link does not replace what is there, and every file system that we meet has links.
    let linked = fs::hard_link(&new, path);
    fs::remove_file(&new).map_err(failed)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked.and_then(|()| path.parent().map_or(Ok(()), sync_directory_io)).map_err(failed),
    }
}

/// Gives a directory, complete, the name under which others look for it. What was there goes into the trash. In between
/// nothing is there, which readers take for a miss. Not synced: see [`sync_file_system`].
///
/// # Errors
/// The system says no; the new directory is then still where it was.
pub fn replace_directory(new: &Path, place: &Path) -> Result<(), PathError> {
    // A rename replaces empty directories only.
    let old = discard(place)?;
    fs::rename(new, place).map_err(cannot("create", place))?;
    // After the rename: deleting may take long, and until then nothing is there. What of it cannot be deleted stays
    // trash, and the new directory is in place all the same.
    old.iter().for_each(|trash| drop(remove_tree(trash)));
    Ok(())
}

/// Renames something to where nothing is. The ordinary call would replace a file or an empty directory.
///
/// # Errors
/// The system says no, or something is there.
pub fn rename_new(from: &Path, to: &Path) -> Result<(), PathError> {
    renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)
        .map_err(|error| cannot("create", to)(error.into()))
}

/// Removes a file, so that it stays away after a crash too. False if there is none.
///
/// # Errors
/// The system says no.
pub fn remove_if_there(path: &Path) -> Result<bool, PathError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        removed => removed
            .and_then(|()| path.parent().map_or(Ok(()), sync_directory_io))
            .map(|()| true)
            .map_err(cannot("remove", path)),
    }
}

/// Makes everything that was written on a file system survive a crash of the machine: one wait for the disk, where many
/// files would need one each.
///
/// # Errors
/// The system says no.
pub fn sync_file_system(path: &Path) -> Result<(), PathError> {
    File::open(path)
        .and_then(|directory| Ok(rustix::fs::syncfs(directory)?))
        .map_err(cannot("write to the disk what is in", path))
}

/// A name in the same directory, which nobody else has.
fn unique_beside(path: &Path) -> PathBuf {
    path.with_file_name(format!(".new-{}", Uuid::new_v4().simple()))
}

/// Writes a file where nothing is; nothing stays there if that fails.
fn write_new(path: &Path, parts: &[&[u8]], sync: fn(&File) -> io::Result<()>) -> io::Result<()> {
    let mut file = File::options().create_new(true).write(true).mode(0o600).open(path)?;
    let written = parts.iter().try_for_each(|part| file.write_all(part)).and_then(|()| sync(&file));
    written.inspect_err(|_| {
        let _ = fs::remove_file(path);
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names = crate::list_names(directory).unwrap();
        names.sort();
        names
    }

    #[test]
    fn files_are_replaced_whole_and_nothing_else_stays() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("file");
        fs::write(scratch.path().join(".file.new"), "of a crash").unwrap();
        for bytes in [&b"old"[..], b"new"] {
            replace_file(&file, bytes).unwrap();
            assert_eq!(fs::read(&file).unwrap(), bytes);
            replace_file_unsynced(&file, &[b"in ", b"parts"]).unwrap();
            assert_eq!(fs::read(&file).unwrap(), b"in parts");
        }
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let directory = scratch.path().join("directory");
        fs::create_dir(&directory).unwrap();
        assert!(replace_file(&directory, b"x").is_err(), "a directory is not replaced");
        assert!(replace_file_unsynced(&directory, &[b"x"]).is_err());
        assert_eq!(names(scratch.path()), ["directory", "file"]);
        assert!(remove_if_there(&file).unwrap());
        assert!(!remove_if_there(&file).unwrap());
    }

    #[test]
    fn of_several_who_create_a_file_one_is_first() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("key");
        let found: Vec<Vec<u8>> = std::thread::scope(|scope| {
            let create = |number: u8| {
                create_once(&file, &[number; 32]).unwrap();
                fs::read(&file).unwrap()
            };
            let threads: Vec<_> = (0..8).map(|number| scope.spawn(move || create(number))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(found[0].len(), 32);
        assert!(found.iter().all(|bytes| *bytes == found[0]));
        assert_eq!(names(scratch.path()), ["key"]);
    }

    #[test]
    fn directories_appear_whole_in_the_place_of_others_or_of_none() {
        let scratch = tempfile::tempdir().unwrap();
        let (new, place) = (scratch.path().join("new"), scratch.path().join("place"));
        for text in ["one", "two"] {
            fs::create_dir(&new).unwrap();
            fs::write(new.join("file"), text).unwrap();
            replace_directory(&new, &place).unwrap();
            assert_eq!(fs::read_to_string(place.join("file")).unwrap(), text);
        }
        let error = replace_directory(&new, &place).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot create {}", place.display()));

        fs::create_dir_all(&new).unwrap();
        fs::create_dir_all(&place).unwrap();
        assert_eq!(rename_new(&new, &place).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        fs::remove_dir_all(&place).unwrap();
        rename_new(&new, &place).unwrap();
        assert!(place.is_dir() && !new.exists());
    }
}
