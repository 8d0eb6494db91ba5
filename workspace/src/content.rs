//! Length and digest of a file when it was copied or read, so that it is known again later. Which files are copied, and
//! what it means when one is no longer the same, is for others to say.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Content of a file, by which it is known again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Its length in bytes.
    pub size_bytes: u64,
    /// The SHA-256 of its bytes, in hexadecimal digits.
    pub sha256: String,
}

impl Content {
    /// Reads to the end.
    ///
    /// # Errors
    /// The system says no.
    pub fn of(mut reader: impl Read) -> io::Result<Self> {
        let mut nowhere = HashingWriter::new(io::sink());
        io::copy(&mut reader, &mut nowhere)?;
        Ok(nowhere.content())
    }
}

/// A file that a step brought out, as it was then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Its name within the step.
    pub key: String,
    /// Media type, such as `text/plain`.
    pub mime: String,
    /// True if anybody may run it.
    pub executable: bool,
    /// Content of the file.
    #[serde(flatten)]
    pub content: Content,
}

/// Writes, and notes what.
pub struct HashingWriter<W> {
    to: W,
    size_bytes: u64,
    hash: Sha256,
}

impl<W> HashingWriter<W> {
    /// Nothing is written yet.
    pub fn new(to: W) -> Self {
        Self { to, size_bytes: 0, hash: Sha256::new() }
    }

    /// Content that was written.
    pub fn content(self) -> Content {
        let sha256 = hm_disk::hex(self.hash.finalize());
        Content { size_bytes: self.size_bytes, sha256 }
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.size_bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes one byte at a time.
    struct Slow(Vec<u8>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.extend(&bytes[..1]);
            Ok(1)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_was_written_is_noted_and_no_more() {
        let mut noting = HashingWriter::new(Slow(Vec::new()));
        noting.write_all(b"abc").unwrap();
        assert_eq!(noting.to.0, b"abc");
        let content = noting.content();
        assert_eq!(content, Content::of(&b"abc"[..]).unwrap());
        assert_eq!(content.size_bytes, 3);
        assert_eq!(content.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_ne!(content, Content::of(&b"abd"[..]).unwrap());
    }
}
