//! Host functions of who has streams: writing to the terminal or the pipe that `hm` itself was given.

use std::io;
use std::pin::Pin;

use hm_abi::{HostError, HostFuture};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::{Args, PluginState};
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
}

impl Output {
    /// Streams, each with whether what is written has to be made harmless for a terminal.
    #[must_use]
    pub fn new((stdout, clean_stdout): (Stream, bool), (stderr, clean_stderr): (Stream, bool)) -> Self {
        let sink = |stream, clean: bool| Sink {
            stream,
            buffer: Vec::new(),
            sanitizer: clean.then(Sanitizer::default),
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
        self.stream.write_all(&buffer).await?;
        self.stream.flush().await
    }
}

/// `hm_write_stdout`
pub(super) fn write_stdout(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move { write(&mut output(state)?.stdout, &args[0]).await })
}

/// `hm_write_stderr`
pub(super) fn write_stderr(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move { write(&mut output(state)?.stderr, &args[0]).await })
}

async fn write(sink: &mut Sink, bytes: &[u8]) -> Result<Vec<u8>, HostError> {
    sink.write(bytes).await.map_err(|e| HostError::Failed(Box::new(e)))?;
    Ok(Vec::new())
}

fn output(state: &mut PluginState) -> Result<&mut Output, HostError> {
    let who = state.role.who();
    let denied = || HostError::Denied { capability: format!("writing to the terminal, by {}", who.plural()) };
    state.role.output().ok_or_else(denied)
}
