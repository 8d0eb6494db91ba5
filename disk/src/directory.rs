//! Directories: making them, listing those that may be missing, and having what happened in them reach the disk.

use std::fs::{self, DirBuilder, DirEntry, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::{PathError, cannot};

/// Makes a directory that nobody else may look into, with everything above it. Nothing happens if it is there.
///
/// # Errors
/// The system says no.
pub fn make_directory(path: &Path) -> Result<(), PathError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(cannot("create", path))
}

/// Like [`make_directory`]; what was made is on the disk when this returns.
///
/// # Errors
/// The system says no.
pub fn make_directory_synced(path: &Path) -> Result<(), PathError> {
    let missing: Vec<&Path> = path.ancestors().take_while(|above| !above.exists()).collect();
    make_directory(path)?;
    // The name of a directory is in the one above, and that is what has to reach the disk.
    missing
        .into_iter()
        .filter_map(Path::parent)
        .try_for_each(|parent| sync_directory(parent).map_err(|error| cannot("create", path)(error.source)))
}

/// Entries of a directory, in no order. A directory that is not there has none.
///
/// # Errors
/// The directory is there and cannot be read.
pub fn list(directory: &Path) -> Result<Vec<DirEntry>, PathError> {
    let entries = fs::read_dir(directory).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    match entries {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries.map_err(cannot("list", directory)),
    }
}

/// Names in a directory, without those that are not UTF-8: a program that gives its files such names finds no others.
///
/// # Errors
/// As [`list`].
pub fn list_names(directory: &Path) -> Result<Vec<String>, PathError> {
    Ok(list(directory)?.into_iter().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

/// Makes what was made, renamed or removed in a directory survive a crash of the machine.
///
/// # Errors
/// The system says no.
pub fn sync_directory(path: &Path) -> Result<(), PathError> {
    sync_directory_io(path).map_err(cannot("write to the disk", path))
}

pub(crate) fn sync_directory_io(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_missing_is_made_for_us_alone() {
        let scratch = tempfile::tempdir().unwrap();
        for make in [make_directory, make_directory_synced] {
            let path = scratch.path().join("a/b");
            make(&path).unwrap();
            make(&path).unwrap();
            for path in [&path, path.parent().unwrap()] {
                assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700);
            }
            fs::remove_dir_all(scratch.path().join("a")).unwrap();
        }
        fs::write(scratch.path().join("file"), "").unwrap();
        let error = make_directory_synced(&scratch.path().join("file/x")).unwrap_err();
        assert!(error.to_string().starts_with("cannot create "), "{error}");
    }

    #[test]
    fn a_directory_that_is_not_there_is_empty() {
        let scratch = tempfile::tempdir().unwrap();
        fs::write(scratch.path().join("file"), "").unwrap();
        fs::write(scratch.path().join(OsStr::from_bytes(b"\xff")), "").unwrap();
        assert_eq!(list(scratch.path()).unwrap().len(), 2);
        assert_eq!(list_names(scratch.path()).unwrap(), ["file"]);
        assert!(list(&scratch.path().join("none")).unwrap().is_empty());
        let error = list(&scratch.path().join("file")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
    }
}
