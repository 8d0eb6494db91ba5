//! What is given up: it gets another name at once, and is deleted when there is time. What that leaves, because the
//! program ended before, the next run deletes.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

use uuid::Uuid;

use crate::{PathError, tree};

/// The first characters of names of things that only wait to be deleted.
pub const PREFIX: &str = "trash-";

/// Gives something up: nobody finds it any more. Answers with where it waits to be deleted, beside its former place.
///
/// # Errors
/// The system says no.
pub fn discard(path: &Path) -> Result<PathBuf, PathError> {
    let trash = path.with_file_name(format!("{PREFIX}{}", Uuid::new_v4().simple()));
    fs::rename(path, &trash).map_err(PathError::on("remove", path))?;
    Ok(trash)
}

/// The things in a directory that were given up; none if there is no such directory.
#[must_use]
pub fn waiting(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let trash = entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()));
    trash.map(|entry| entry.path()).collect()
}

/// Deletes what has been given up in a directory, however long that takes.
///
/// # Errors
/// The system says no; then what can be deleted is.
pub fn empty(directory: &Path) -> Result<(), PathError> {
    waiting(directory).iter().map(|path| tree::remove(path)).fold(Ok(()), Result::and)
}

/// Deletes these things on a thread that nobody waits for.
pub fn remove_later(doomed: Vec<PathBuf>) {
    if !doomed.is_empty() {
        // Failing to remove a cache fails nothing.
        thread::spawn(move || doomed.iter().for_each(|path| drop(tree::remove(path))));
    }
}
