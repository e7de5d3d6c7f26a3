//! Peers that ask and do not read: their answers would wait, and hold a connection, for ever.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::interval;

/// How the writes of a connection go on.
#[derive(Default)]
pub(super) struct Writes {
    /// Whether the last one has to wait for the peer.
    waiting: AtomicBool,
    /// How many there were that did not.
    done: AtomicU64,
}

impl Writes {
    /// Resolves when something has waited to be written for `patience`, or up to twice as long, and nothing was.
    pub(super) async fn stall(&self, patience: Duration) {
        let mut ticks = interval(patience);
        let mut waited_at = None;
        loop {
            ticks.tick().await;
            let waits_at = self.waiting.load(Ordering::Relaxed).then(|| self.done.load(Ordering::Relaxed));
            if waits_at.is_some() && waits_at == waited_at {
                return;
            }
            waited_at = waits_at;
        }
    }

    fn note<T>(&self, write: Poll<T>) -> Poll<T> {
        self.waiting.store(write.is_pending(), Ordering::Relaxed);
        if write.is_ready() {
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        write
    }
}

/// A stream whose writes are watched.
pub(super) struct Watched<S> {
    stream: S,
    writes: Arc<Writes>,
}

impl<S> Watched<S> {
    /// Watches the writes of a stream.
    pub(super) fn new(stream: S, writes: Arc<Writes>) -> Self {
        Self { stream, writes }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.writes.note(write)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.writes.note(write)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
