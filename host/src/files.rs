//! Reads files that somebody else may have put where we look: regular files only, up to a size. Anything else (a pipe that never
//! ends, a device) is an error and not a hang.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Reads a whole regular file.
///
/// # Errors
/// What the system says; also if it is no regular file, or larger than `max` bytes.
pub fn read_regular(path: &Path, max: usize) -> io::Result<Vec<u8>> {
    // Opening a pipe for reading would wait for a writer.
    let flags = rustix::fs::OFlags::NONBLOCK.bits();
    let file = OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    read_bounded(file, max)
}

/// Reads to the end of a stream.
///
/// # Errors
/// What the system says; also if there are more than `max` bytes.
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
}
