//! Trash: what is given up gets another name at once, and is deleted when there is time. What is left because the
//! program ended before, the next one deletes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use uuid::Uuid;

use crate::{PathError, cannot, list, remove_tree};

/// Beginning of the names of things that only wait to be deleted. Their directories are where they were used.
pub const TRASH_PREFIX: &str = "trash-";

/// Gives something up: nobody finds it any more. Answers with the trash that it has become; none if nothing was there.
///
/// # Errors
/// The system says no.
pub fn discard(path: &Path) -> Result<Option<PathBuf>, PathError> {
    // Beside it, since a rename cannot leave the file system. One rename, so that of several who give up the same thing
    // one deletes it, and nobody ever sees a part of it under its name.
    let trash = path.with_file_name(format!("{TRASH_PREFIX}{}", Uuid::new_v4().simple()));
    match fs::rename(path, &trash) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        renamed => renamed.map(|()| Some(trash)).map_err(cannot("remove", path)),
    }
}

/// Removes something whole: at once for all others, by [`discard`], and then piece by piece. False if nothing was
/// there.
///
/// # Errors
/// The system says no. What could not be deleted is trash then.
pub fn remove_whole(path: &Path) -> Result<bool, PathError> {
    let Some(trash) = discard(path)? else { return Ok(false) };
    remove_tree(&trash)?;
    Ok(true)
}

/// Trash in a directory, as far as it can be read.
#[must_use]
pub fn trash_in(directory: &Path) -> Vec<PathBuf> {
    let mut trash = list(directory).unwrap_or_default();
    trash.retain(|entry| entry.file_name().as_encoded_bytes().starts_with(TRASH_PREFIX.as_bytes()));
    trash.into_iter().map(|entry| entry.path()).collect()
}

/// Deletes the trash in some directories, however long that takes.
///
/// # Errors
/// The system says no to one or more of it; then what can be deleted is.
pub fn empty_trash<D: AsRef<Path>>(directories: impl IntoIterator<Item = D>) -> Result<(), PathError> {
    let trash = directories.into_iter().flat_map(|directory| trash_in(directory.as_ref()));
    trash.map(|path| remove_tree(&path)).fold(Ok(()), Result::and)
}

/// Deletes trash on a thread of its own, for nobody to wait for. What cannot be deleted, or is left because the program
/// ends, stays trash.
pub fn remove_later(trash: Vec<PathBuf>) {
    if !trash.is_empty() {
        let remove = move || trash.iter().for_each(|path| drop(remove_tree(path)));
        // A system that is short of threads keeps its trash until later.
        let _ = thread::Builder::new().name("hm-disk trash".into()).spawn(remove);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn what_is_given_up_is_gone_at_once_and_deleted_later() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("thing");
        for _ in 0..2 {
            fs::create_dir_all(path.join("below")).unwrap();
            assert!(discard(&path).unwrap().unwrap().join("below").is_dir());
            assert!(!path.exists());
        }
        assert_eq!(discard(&path).unwrap(), None);
        assert!(!remove_whole(&path).unwrap());
        fs::create_dir_all(path.join("below")).unwrap();
        assert!(remove_whole(&path).unwrap() && !path.exists());
        let mut trash = trash_in(scratch.path());
        assert_eq!(trash.len(), 2);
        remove_later(trash.split_off(1));
        let start = Instant::now();
        while trash_in(scratch.path()).len() > 1 {
            assert!(start.elapsed() < Duration::from_secs(30), "something stays");
            thread::sleep(Duration::from_millis(1));
        }
        fs::write(scratch.path().join("other"), "").unwrap();
        empty_trash([scratch.path(), &scratch.path().join("missing")]).unwrap();
        assert_eq!(crate::list_names(scratch.path()).unwrap(), ["other"]);
    }
}
