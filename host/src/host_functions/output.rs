//! Host functions of who has streams: writing to the terminal or the pipe that `hm` itself was given.

use std::io;
use std::pin::Pin;

use hm_abi::{HostError, HostFuture};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::{Args, PluginState, Role};
use crate::sys::Sanitizer;

/// A stream that is ready to be written to.
pub type Stream = Pin<Box<dyn AsyncWrite + Send>>;

/// How much may wait before it is written although more is to come.
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
    /// Streams, each with whether what is written has to be made harmless for a terminal.
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
    /// What the system says, for instance that nobody reads any more.
    pub async fn write_stdout(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stdout.write(bytes).await
    }

    /// Whether somebody has stopped reading a stream.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        self.stdout.is_unread || self.stderr.is_unread
    }

    /// Writes all that waits.
    ///
    /// # Errors
    /// What the system says, for instance that nobody reads any more.
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

/// `hm_write_stdout`
pub(super) fn write_stdout(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move {
        let at_once = is_at_once(state);
        write(&mut output(state)?.stdout, at_once, &args[0]).await
    })
}

/// `hm_write_stderr`
pub(super) fn write_stderr(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move {
        let at_once = is_at_once(state);
        write(&mut output(state)?.stderr, at_once, &args[0]).await
    })
}

/// Whether what is written must be seen before the guest goes on: it may wait for a person who is to read it. A formatter is told
/// when there is time to write.
fn is_at_once(state: &PluginState) -> bool {
    !matches!(state.role, Role::Formatter(_))
}

async fn write(sink: &mut Sink, at_once: bool, bytes: &[u8]) -> Result<Vec<u8>, HostError> {
    let failed = |e| HostError::Failed(Box::new(e));
    sink.write(bytes).await.map_err(failed)?;
    if at_once {
        sink.flush().await.map_err(failed)?;
    }
    Ok(Vec::new())
}

fn output(state: &mut PluginState) -> Result<&mut Output, HostError> {
    let who = state.role.who();
    let denied = || HostError::Denied { capability: format!("writing to the terminal, by {}", who.plural()) };
    state.role.output().ok_or_else(denied)
}
