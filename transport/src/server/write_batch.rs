//! Coalesces the writes of an HTTP/2 connection. hyper flushes after every frame of at most 16 KiB. Here the frames of one
//! poll of the connection's task become one write. If they are few, the flush also waits until the tasks that are ready to
//! run have run: ten watches on one connection are often served right after each other. No timer is involved.
//!
//! Waiting costs one more poll of the task, and often the wake-up of an idle thread. A connection on which it brings nothing,
//! such as one with a request at a time, stops waiting, and tries it again now and then.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Maximum size of a batch, and so of a single write.
const BATCH_BYTES_MAX: usize = 64 * 1024;
/// A batch of this size is written at the end of a poll without waiting for other tasks: the write then costs less
/// than loading the bytes into the CPU's cache again.
const BATCH_BYTES_ENOUGH: usize = 16 * 1024;
/// Bytes per copy, here and in TLS, which gets slices of this length. From about 2,100 bytes on the C library copies with
/// `rep movsb`. AMD's processors do that at 2 to 3 GB/s instead of 60 when the target's offset in its page is a little
/// larger than the source's, as it is for a TLS record behind its header of 5 bytes.
const COPY_BYTES: usize = 2048;
/// Slices per vectored write.
const SLICES_MAX: usize = BATCH_BYTES_MAX / COPY_BYTES;
/// After so many flushes in a row that waited for nothing, a connection stops waiting. One watch among ten may well have an
/// event of its own a few times in a row.
const VAIN_WAITS_MAX: u32 = 4;
/// Then every so many flushes one waits, so that a connection that gets busy is noticed: the cost of waiting becomes a
/// sixteenth.
const WAIT_EVERY: u32 = 16;
/// Empty batches kept per thread, so that the next connection's batch is in the CPU's cache.
const SPARE_MAX: usize = 4;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A connection whose writes are coalesced. One task must both read and write: a flush completes at the task's next poll,
/// for which it is woken.
pub(super) struct WriteBatch<S> {
    stream: S,
    batch: Vec<u8>,
    /// The number of bytes of the batch that have been written.
    written: usize,
    /// Whether data was added during this poll of the task.
    added: bool,
    /// Whether data was added since the last flush; if not, the flush is the last one of its poll.
    unflushed: bool,
    /// The size of the batch when a flush first waited; 0 if none does.
    waited_at: usize,
    /// Flushes in a row that waited for nothing.
    vain_waits: u32,
    /// Flushes that did not wait since then.
    unwaited: u32,
    /// Whether a batch was written during this poll without waiting.
    hasty: bool,
}

impl<S: AsyncWrite + Unpin> WriteBatch<S> {
    pub(super) fn new(stream: S) -> Self {
        WriteBatch {
            stream,
            batch: Vec::new(),
            written: 0,
            added: false,
            unflushed: false,
            waited_at: 0,
            vain_waits: 0,
            unwaited: 0,
            hasty: false,
        }
    }

    /// Writes the batch to the stream.
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
        let waited_at = std::mem::take(&mut self.waited_at);
        if self.batch.len() > waited_at && waited_at > 0 {
            self.vain_waits = 0;
        } else if waited_at > 0 {
            self.vain_waits = self.vain_waits.saturating_add(1);
        }
        // Most connections are idle most of the time: release the buffer.
        give_back(std::mem::take(&mut self.batch));
        (self.written, self.added) = (0, false);
        Poll::Ready(Ok(()))
    }

    /// Whether a flush waits for what the tasks that are ready to run may add.
    fn waits(&mut self) -> bool {
        if self.waited_at == 0 && self.vain_waits >= VAIN_WAITS_MAX {
            self.unwaited = (self.unwaited + 1) % WAIT_EVERY;
            if self.unwaited != 0 {
                self.hasty = true;
                return false;
            }
        }
        if self.waited_at == 0 {
            self.waited_at = self.batch.len();
        }
        true
    }

    /// Makes room for `bytes`; a write larger than a batch becomes a batch of its own.
    fn make_room(&mut self, cx: &mut Context<'_>, bytes: usize) -> Poll<io::Result<()>> {
        if !self.batch.is_empty() && self.batch.len() + bytes > BATCH_BYTES_MAX {
            ready!(self.drain(cx))?;
        }
        if std::mem::take(&mut self.hasty) {
            // More frames of the same poll.
            self.vain_waits = 0;
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
        // Each poll of the connection's task begins by reading.
        (self.added, self.hasty) = (false, false);
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
        if self.added && !(last && self.batch.len() >= BATCH_BYTES_ENOUGH) && self.waits() {
            // Queue behind every task that is ready now. This ends: each poll but the last adds something, and a batch is
            // bounded.
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
