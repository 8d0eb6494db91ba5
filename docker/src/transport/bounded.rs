//! Connections from which only so much can be read for each request: the client collects most answers whole, however
//! much an engine sends. Which answers may be longer is decided by whoever asks.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most MiB of an answer. The longest are lists of what a step has changed.
const ANSWER_MIB: u64 = 256;

/// Most bytes of an answer.
const ANSWER: u64 = ANSWER_MIB << 20;

/// Number of bytes that may still be read from a connection.
#[derive(Clone)]
pub(crate) struct ByteBudget(Arc<AtomicU64>);

/// A connection with a budget.
pub(crate) struct Bounded<S> {
    stream: S,
    budget: ByteBudget,
}

impl ByteBudget {
    /// Budget for one answer.
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(ANSWER)))
    }

    /// For the next answer.
    pub(crate) fn renew(&self) {
        self.0.store(ANSWER, Ordering::Relaxed);
    }

    /// The answer that has begun may be of any length.
    pub(crate) fn lift(&self) {
        self.0.store(u64::MAX, Ordering::Relaxed);
    }

    fn is_used_up(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    fn spend(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        // In one go, for it may be lifted meanwhile.
        let spent = |left: u64| Some(left.saturating_sub(bytes));
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spent);
    }
}

impl<S> Bounded<S> {
    /// Stream whose bytes count against a budget.
    pub(crate) fn new(stream: S, budget: ByteBudget) -> Self {
        Self { stream, budget }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.budget.is_used_up() {
            return Poll::Ready(Err(io::Error::other(format!("the answer is longer than {ANSWER_MIB} MiB"))));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        this.budget.spend(buf.filled().len().saturating_sub(before));
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
