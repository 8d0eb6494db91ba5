//! Streams of an instance: the terminal or the pipe that `hm` itself was given.

use std::io;
use std::pin::Pin;

use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::sys::Sanitizer;

/// A stream that is ready to be written to.
pub type Stream = Pin<Box<dyn AsyncWrite + Send>>;

/// Bytes that may wait to be written while more is to come.
const BUFFER: usize = 64 * 1024;

/// The two streams of an instance. What is written is kept until [`Output::flush`], so that a flood of small events
/// does not become a flood of system calls.
pub struct Output {
    pub(super) stdout: Sink,
    pub(super) stderr: Sink,
}

/// One of the streams, with what waits to be written.
pub(super) struct Sink {
    stream: Stream,
    buffer: Vec<u8>,
    /// On a terminal, what a plugin writes must not move the cursor or worse.
    sanitizer: Option<Sanitizer>,
    is_unread: bool,
}

impl Output {
    /// Streams, each with true if what is written has to be made harmless for a terminal.
    #[must_use]
    pub fn new((stdout, clean_stdout): (Stream, bool), (stderr, clean_stderr): (Stream, bool)) -> Self {
        let sink = |stream, clean: bool| Sink {
            stream,
            buffer: Vec::new(),
            sanitizer: clean.then(Sanitizer::default),
            is_unread: false,
        };
        Self { stdout: sink(stdout, clean_stdout), stderr: sink(stderr, clean_stderr) }
    }

    /// Adds to standard output.
    ///
    /// # Errors
    /// Those of the system, for instance that nobody reads any more.
    pub(crate) async fn write_stdout(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stdout.write(bytes).await
    }

    /// True once somebody has stopped reading a stream.
    #[must_use]
    pub(crate) fn is_unread(&self) -> bool {
        self.stdout.is_unread || self.stderr.is_unread
    }

    /// Writes all that waits.
    ///
    /// # Errors
    /// Those of the system, for instance that nobody reads any more.
    pub async fn flush(&mut self) -> io::Result<()> {
        self.stdout.flush().await?;
        self.stderr.flush().await
    }
}

impl Sink {
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.sanitizer {
            Some(sanitizer) => sanitizer.push(bytes, &mut self.buffer),
            None => self.buffer.extend_from_slice(bytes),
        }
        if self.buffer.len() >= BUFFER { self.flush().await } else { Ok(()) }
    }

    pub(super) async fn flush(&mut self) -> io::Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        let written = match self.stream.write_all(&buffer).await {
            Ok(()) => self.stream.flush().await,
            Err(e) => Err(e),
        };
        self.is_unread |= matches!(&written, Err(e) if e.kind() == io::ErrorKind::BrokenPipe);
        written
    }
}
