//! What an HTTP/2 connection writes, gathered: the protocol flushes after every frame, and no frame is larger than
//! 16 KiB. Here the frames of one turn of the connection's task are one write; and if they are few, it waits for what
//! the other tasks that are ready to run have for this connection, for ten watches on one are often served one right
//! after the other. Nothing waits for a clock.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is written on at once, however much more may come: the most that TLS takes and TCP sends in one go.
const BATCH_BYTES_MAX: usize = 64 * 1024;
/// A batch that has this much at the end of a turn waits for nothing more: by then a write costs less than what it
/// takes to bring the bytes back into the processor's cache.
const BATCH_BYTES_ENOUGH: usize = 16 * 1024;
/// Bytes copied at once, here and by TLS, which is handed slices of this length. From some 2,100 bytes on the C library
/// copies with `rep movsb`, which AMD's processors do at 2 to 3 GB/s instead of 60 where the target lies a little
/// further into its page than the source: and that is where a record lies, behind its header of 5 bytes.
const COPY_BYTES: usize = 2048;
/// Slices handed on at once.
const SLICES_MAX: usize = BATCH_BYTES_MAX / COPY_BYTES;
/// Empty batches that a thread keeps: the next connection's is then in the processor's cache.
const SPARE_MAX: usize = 4;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A connection whose writes are gathered. Its task must both read and write: a flush is finished when the task is
/// polled next, for which it is woken.
pub struct WriteBatch<S> {
    stream: S,
    batch: Vec<u8>,
    /// How much of the batch has been written on.
    written: usize,
    /// Something was added in this turn of the task.
    added: bool,
    /// Something was added since the last flush: if not, a flush is the last of its turn.
    unflushed: bool,
}

impl<S: AsyncWrite + Unpin> WriteBatch<S> {
    /// Gathers what is written to `stream`.
    pub fn new(stream: S) -> Self {
        WriteBatch { stream, batch: Vec::new(), written: 0, added: false, unflushed: false }
    }

    /// Writes on what has been gathered.
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.batch.len() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let pieces = self.batch[self.written..].chunks(COPY_BYTES);
            let filled =
                slices.iter_mut().zip(pieces).map(|(slice, piece)| *slice = IoSlice::new(piece)).count();
            let writing = Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..filled]);
            let count = ready!(writing)?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
        }
        // Given back: most connections are idle most of the time.
        give_back(std::mem::take(&mut self.batch));
        (self.written, self.added) = (0, false);
        Poll::Ready(Ok(()))
    }

    /// Makes room for something; what is larger than a batch then is one by itself.
    fn make_room(&mut self, cx: &mut Context<'_>, bytes: usize) -> Poll<io::Result<()>> {
        if !self.batch.is_empty() && self.batch.len() + bytes > BATCH_BYTES_MAX {
            ready!(self.drain(cx))?;
        }
        (self.added, self.unflushed) = (true, true);
        if self.batch.capacity() == 0 {
            self.batch = take_spare();
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
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.make_room(cx, bytes.len()))?;
        append(&mut self.batch, bytes);
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
            append(&mut self.batch, slice);
        }
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let last = !std::mem::take(&mut self.unflushed);
        if self.added && !(last && self.batch.len() >= BATCH_BYTES_ENOUGH) {
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

fn append(batch: &mut Vec<u8>, bytes: &[u8]) {
    batch.reserve(bytes.len());
    bytes.chunks(COPY_BYTES).for_each(|piece| batch.extend_from_slice(piece));
}

fn take_spare() -> Vec<u8> {
    let spare = SPARE.with_borrow_mut(Vec::pop);
    spare.unwrap_or_else(|| Vec::with_capacity(BATCH_BYTES_MAX))
}

fn give_back(mut batch: Vec<u8>) {
    if batch.capacity() != BATCH_BYTES_MAX {
        return;
    }
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < SPARE_MAX {
            batch.clear();
            spare.push(batch);
        }
    });
}

#[cfg(test)]
mod tests;
