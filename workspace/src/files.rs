//! Writes files so that they are there whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Makes a file of these bytes, or replaces it, with mode 0600: whoever reads it, also after a crash, sees the old file or the new one.
/// It is on the disk when this returns. The caller holds a lock on it: the new file always has the same name before it takes the
/// old one's place, so that crashes leave one such file at the most.
///
/// # Errors
/// What the system says; the old file is then still there.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::other("it is not a path of a file"));
    };
    let mut new_name = std::ffi::OsString::from(".");
    new_name.push(name);
    new_name.push(".new");
    let new = folder.join(new_name);
    // What is there was left by a crash.
    remove_if_there(&new)?;
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&new)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if let Err(error) = written.and_then(|()| std::fs::rename(&new, path)) {
        let _ = std::fs::remove_file(&new);
        return Err(error);
    }
    sync_folder(folder)
}

/// Removes a file, durably. False if there is none.
///
/// # Errors
/// What the system says.
pub fn remove_if_there(path: &Path) -> io::Result<bool> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        removed => removed.and_then(|()| path.parent().map_or(Ok(()), sync_folder)).map(|()| true),
    }
}

/// Makes what was made, renamed or removed in a folder survive a crash of the machine.
///
/// # Errors
/// What the system says.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
