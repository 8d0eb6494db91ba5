//! What is given up: it gets another name at once, and is deleted when there is time. What that leaves, because the
//! program ended before, the next run deletes.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

use uuid::Uuid;

use super::{SandboxError, tree};

/// What the names of things begin with that only wait to be deleted.
const TRASH: &str = "trash-";

/// The directories of a cache that have such things in them.
const PLACES: [&str; 3] = ["kept", "base", "home"];

/// Gives something up: nobody finds it any more.
///
/// # Errors
/// The system says no.
pub(super) fn discard(path: &Path) -> Result<PathBuf, SandboxError> {
    let trash = path.with_file_name(format!("{TRASH}{}", Uuid::new_v4().simple()));
    fs::rename(path, &trash).map_err(SandboxError::io("remove", path))?;
    Ok(trash)
}

/// Deletes what has been given up in a cache, however long that takes.
///
/// # Errors
/// The system says no; then what can be deleted is.
pub fn empty_trash(cache: &Path) -> Result<(), SandboxError> {
    trash(cache).iter().map(|path| tree::remove(path)).fold(Ok(()), Result::and)
}

/// The same on a thread, for nobody to wait for.
pub(super) fn empty_later(cache: &Path) {
    let trash = trash(cache);
    if !trash.is_empty() {
        // Failing to remove a cache fails nothing.
        thread::spawn(move || trash.iter().for_each(|path| drop(tree::remove(path))));
    }
}

fn trash(cache: &Path) -> Vec<PathBuf> {
    let places = PLACES.iter().flat_map(|place| fs::read_dir(cache.join(place)).into_iter().flatten());
    let trash =
        places.flatten().filter(|entry| entry.file_name().as_encoded_bytes().starts_with(TRASH.as_bytes()));
    trash.map(|entry| entry.path()).collect()
}
