//! Host functions of instances that have streams: writing to the terminal or the pipe that `hm` itself was given.

use std::io;
use std::pin::Pin;

use hm_abi::HostError;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::{PluginState, Role};
use crate::sys::Sanitizer;

/// A stream that is ready to be written to.
pub type Stream = Pin<Box<dyn AsyncWrite + Send>>;

/// Bytes that may wait to be written while more is to come.
const BUFFER: usize = 64 * 1024;

/// The two streams of an instance. What is written is kept until [`Output::flush`], so that a flood of small events does not
/// become a flood of system calls.
pub struct Output {
    stdout: Sink,
    stderr: Sink,
}

struct Sink {
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
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.sanitizer {
            Some(sanitizer) => sanitizer.push(bytes, &mut self.buffer),
            None => self.buffer.extend_from_slice(bytes),
        }
        if self.buffer.len() >= BUFFER { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> io::Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        let written = match self.stream.write_all(&buffer).await {
            Ok(()) => self.stream.flush().await,
            Err(e) => Err(e),
        };
        self.is_unread |= matches!(&written, Err(e) if e.kind() == io::ErrorKind::BrokenPipe);
        written
    }
}

/// `hm_write_stdout`: adds to the standard output of `hm`.
pub(super) async fn hm_write_stdout(state: &mut PluginState, text: Vec<u8>) -> Result<(), HostError> {
    let at_once = is_at_once(state);
    write(&mut output(state)?.stdout, at_once, &text).await
}

/// `hm_write_stderr`: adds to the standard error of `hm`.
pub(super) async fn hm_write_stderr(state: &mut PluginState, text: Vec<u8>) -> Result<(), HostError> {
    let at_once = is_at_once(state);
    write(&mut output(state)?.stderr, at_once, &text).await
}

/// True if what is written must be seen before the guest goes on: it may wait for a person who is to read it. A formatter is told
/// when there is time to write.
fn is_at_once(state: &PluginState) -> bool {
    !matches!(state.role, Role::Formatter(_))
}

async fn write(sink: &mut Sink, at_once: bool, bytes: &[u8]) -> Result<(), HostError> {
    sink.write(bytes).await?;
    if at_once {
        sink.flush().await?;
    }
    Ok(())
}

fn output(state: &mut PluginState) -> Result<&mut Output, HostError> {
    let role = state.role.kind();
    let denied =
        || HostError::Denied { capability: format!("writing to the terminal, by {}", role.plural()) };
    state.role.output().ok_or_else(denied)
}
