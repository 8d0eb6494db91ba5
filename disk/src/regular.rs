//! Reading files that somebody else may have put there: regular files only, up to a size. Anything else (a pipe that
//! never ends, a device) is an error and does not hang.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

/// Reads a whole regular file.
///
/// # Errors
/// The system says no; it is no regular file, or larger than `max` bytes.
pub fn read_regular(path: &Path, max: usize) -> io::Result<Vec<u8>> {
    read_bounded(open_regular(path)?, max)
}

/// Opens a regular file for reading.
///
/// # Errors
/// The system says no; it is no regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    // Opening a pipe for reading would wait for a writer.
    let flags = OFlags::NONBLOCK.bits();
    let file = OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path)?;
    only_regular(file)
}

/// Reads a whole regular file of a directory that somebody else has filled: no part of the path below may be a link,
/// or errors about the file could quote another.
///
/// # Errors
/// As [`read_regular`]; also for a link.
pub fn read_regular_below(directory: &Path, path: &Path, max: usize) -> io::Result<Vec<u8>> {
    let directory = File::open(directory)?;
    let file = File::from(open_below(&directory, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?);
    read_if_regular(file, max)
}

/// Opens what is at a relative path below a directory; no part of that path may be a link, or lead out.
///
/// # Errors
/// The system says no.
pub fn open_below(directory: impl AsFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(directory, path, flags | OFlags::CLOEXEC, Mode::empty(), how) {
        Err(Errno::LOOP) => {
            Err(io::Error::new(io::ErrorKind::PermissionDenied, "a part of its path is a symbolic link"))
        }
        opened => Ok(opened?),
    }
}

/// Reads an open file whole; it was opened so that a pipe did not wait for a writer.
///
/// # Errors
/// As [`read_regular`].
pub fn read_if_regular(file: File, max: usize) -> io::Result<Vec<u8>> {
    read_bounded(only_regular(file)?, max)
}

fn only_regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a regular file")) }
}

/// Reads to the end of a stream.
///
/// # Errors
/// The system says no; there are more than `max` bytes.
pub fn read_bounded(reader: impl Read, max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > max {
        return Err(io::Error::other(format!("it is larger than {max} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_of_that_size_are_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("file");
        std::fs::write(&file, "12345").expect("a file");
        assert_eq!(read_regular(&file, 5).expect("readable"), b"12345");
        assert_eq!(read_regular(&file, 4).expect_err("too large").to_string(), "it is larger than 4 bytes");
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .expect("a pipe");
        for path in [pipe.as_path(), dir.path(), Path::new("/dev/zero")] {
            assert_eq!(read_regular(path, 5).expect_err("no file").to_string(), "it is not a regular file");
        }
    }

    #[test]
    fn below_a_folder_no_link_is_followed() {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = dir.path().join("folder");
        std::fs::create_dir_all(folder.join("real")).expect("a directory");
        std::fs::write(folder.join("real/file"), "text").expect("a file");
        std::fs::write(dir.path().join("canary"), "secret").expect("a file");
        for (link, to) in [("file", "../canary"), ("inside", "real/file"), ("dir", "real")] {
            std::os::unix::fs::symlink(to, folder.join(link)).expect("a link");
        }
        let read = |path: &str| read_regular_below(&folder, Path::new(path), 10);
        assert_eq!(read("real/file").expect("readable"), b"text");
        for path in ["file", "inside", "dir/file"] {
            assert_eq!(read(path).expect_err("a link").to_string(), "a part of its path is a symbolic link");
        }
        assert!(read("../canary").is_err());
        assert_eq!(read("none").expect_err("nothing").kind(), io::ErrorKind::NotFound);
        assert_eq!(read("real").expect_err("no file").to_string(), "it is not a regular file");
    }
}
