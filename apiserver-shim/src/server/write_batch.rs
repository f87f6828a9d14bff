//! What an HTTP/2 connection writes, gathered: the protocol flushes after every frame, though ten watches on one
//! connection are often served one right after the other. Here a flush waits until a turn of the connection's task has
//! brought nothing more, which is when every other task that could run has run. Nothing waits for a clock.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is written on at once, however much more may come: the most that TLS takes and TCP sends in one go.
const BATCH_BYTES_MAX: usize = 64 * 1024;
/// Batches begin with room for one frame.
const BATCH_BYTES_MIN: usize = 16 * 1024 + 512;

/// A connection whose writes are gathered. Its task must both read and write: a flush is finished when the task is
/// polled next, for which it is woken.
pub struct WriteBatch<S> {
    stream: S,
    batch: Vec<u8>,
    /// How much of the batch has been written on.
    written: usize,
    /// Something was added in this turn of the task.
    added: bool,
}

impl<S: AsyncWrite + Unpin> WriteBatch<S> {
    /// Gathers what is written to `stream`.
    pub fn new(stream: S) -> Self {
        WriteBatch { stream, batch: Vec::new(), written: 0, added: false }
    }

    /// Writes on what has been gathered.
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.batch.len() {
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.batch[self.written..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
        }
        // Given back: most connections are idle most of the time.
        self.batch = Vec::new();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    /// Makes room for something; what is larger than a batch then is one by itself.
    fn make_room(&mut self, cx: &mut Context<'_>, bytes: usize) -> Poll<io::Result<()>> {
        if !self.batch.is_empty() && self.batch.len() + bytes > BATCH_BYTES_MAX {
            ready!(self.drain(cx))?;
        }
        self.added = true;
        if self.batch.is_empty() {
            self.batch.reserve(bytes.max(BATCH_BYTES_MIN));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WriteBatch<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // A turn of the task begins by reading.
        self.added = false;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteBatch<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.make_room(cx, bytes.len()))?;
        self.batch.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = slices.iter().map(|slice| slice.len()).sum();
        ready!(self.make_room(cx, count))?;
        for slice in slices {
            self.batch.extend_from_slice(slice);
        }
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.added {
            // Behind every task that is ready now; each turn but the last adds something, and a batch is bounded.
            cx.waker().wake_by_ref();
            return Poll::Ready(Ok(()));
        }
        ready!(self.drain(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
