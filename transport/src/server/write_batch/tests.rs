//! Writes of successive polls are coalesced; no byte is lost, and no batch grows without bound.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt;

use super::*;

/// Records the length of every write; accepts this many bytes before it blocks once.
#[derive(Clone, Default)]
struct Sink {
    writes: Arc<Mutex<Vec<usize>>>,
    bytes: Arc<Mutex<Vec<u8>>>,
    room: Option<usize>,
}

impl AsyncRead for Sink {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Sink {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut writes = self.writes.lock().unwrap();
        let blocked = self.room.is_some() && writes.last().is_some_and(|last| *last > 0);
        let count = if blocked { 0 } else { bytes.len().min(self.room.unwrap_or(usize::MAX)) };
        writes.push(count);
        self.bytes.lock().unwrap().extend_from_slice(&bytes[..count]);
        if blocked {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        assert!(slices.iter().all(|slice| slice.len() <= COPY_BYTES));
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        self.poll_write(cx, &bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Behaves like a connection's task: each poll reads, writes its frames, and flushes after each.
async fn turns(stream: &mut WriteBatch<Sink>, script: &[&[&[u8]]]) {
    let mut left = script.iter();
    poll_fn(|cx| {
        let mut room = [0; 8];
        assert!(Pin::new(&mut *stream).poll_read(cx, &mut ReadBuf::new(&mut room)).is_pending());
        let turn = left.next();
        for frame in turn.copied().unwrap_or_default() {
            assert!(Pin::new(&mut *stream).poll_write(cx, frame).is_ready());
            assert!(Pin::new(&mut *stream).poll_flush(cx).is_ready());
        }
        ready!(Pin::new(&mut *stream).poll_flush(cx)).unwrap();
        if turn.is_some() { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
}

#[tokio::test]
async fn frames_of_successive_polls_are_one_write() {
    let sink = Sink::default();
    let mut stream = WriteBatch::new(sink.clone());
    turns(&mut stream, &[&[b"one ", b"two "], &[b"three "]]).await;
    turns(&mut stream, &[&[b"four"]]).await;
    assert_eq!(*sink.writes.lock().unwrap(), [14, 4]);
    assert_eq!(*sink.bytes.lock().unwrap(), b"one two three four");
}

#[tokio::test]
async fn a_full_batch_is_written_without_waiting() {
    let sink = Sink::default();
    let mut stream = WriteBatch::new(sink.clone());
    let frame = vec![7; BATCH_BYTES_MAX / 4];
    let large = vec![8; BATCH_BYTES_MAX * 2];
    turns(&mut stream, &[&[&frame, &frame, &frame, &frame, &frame, &large]]).await;
    let quarter = BATCH_BYTES_MAX / 4;
    assert_eq!(*sink.writes.lock().unwrap(), [quarter * 4, quarter, quarter * 4, quarter * 4]);
}

#[tokio::test]
async fn a_large_batch_does_not_wait_for_the_next_poll() {
    let sink = Sink::default();
    let mut stream = WriteBatch::new(sink.clone());
    let frame = vec![7; BATCH_BYTES_ENOUGH * 2 / 3];
    turns(&mut stream, &[&[&frame, &frame], &[&frame], &[b"more"]]).await;
    assert_eq!(*sink.writes.lock().unwrap(), [frame.len() * 2, frame.len() + 4]);
}

#[tokio::test]
async fn a_slow_reader_receives_everything() {
    let sink = Sink { room: Some(3), ..Sink::default() };
    let mut stream = WriteBatch::new(sink.clone());
    turns(&mut stream, &[&[b"slow "]]).await;
    stream.write_all(b"and the end").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(*sink.bytes.lock().unwrap(), b"slow and the end");
}

#[tokio::test]
async fn a_connection_with_one_request_at_a_time_does_not_wait() {
    let sink = Sink::default();
    let mut stream = WriteBatch::new(sink.clone());
    let mut polls = Vec::new();
    for _ in 0..40 {
        let before = sink.writes.lock().unwrap().len();
        // One poll writes the response; a second one only if the flush waits.
        let mut frame = Some(b"response");
        let mut count = 0;
        poll_fn(|cx| {
            count += 1;
            let mut room = [0; 8];
            assert!(Pin::new(&mut stream).poll_read(cx, &mut ReadBuf::new(&mut room)).is_pending());
            if let Some(frame) = frame.take() {
                assert!(Pin::new(&mut stream).poll_write(cx, frame).is_ready());
            }
            assert!(Pin::new(&mut stream).poll_flush(cx).is_ready());
            if sink.writes.lock().unwrap().len() > before { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        polls.push(count);
    }
    assert_eq!(polls.iter().take_while(|count| **count == 2).count(), VAIN_WAITS_MAX as usize);
    let later = &polls[VAIN_WAITS_MAX as usize..];
    assert_eq!(later.iter().filter(|count| **count == 2).count(), later.len() / WAIT_EVERY as usize);
    // Once frames follow each other, they are one write again.
    sink.writes.lock().unwrap().clear();
    turns(&mut stream, &[&[b"one ", b"two "], &[b"three "]]).await;
    turns(&mut stream, &[&[b"four "], &[b"five "]]).await;
    assert_eq!(*sink.writes.lock().unwrap(), [4, 10, 10]);
}
