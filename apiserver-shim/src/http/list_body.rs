//! The body of a list. Items are copied from the cache in parts of about 60 KiB as the client reads them, instead of
//! into one buffer. So a list of 20,000 Pods holds references instead of 27 MB, and each part is still in the CPU's
//! cache when it is sent. The content length is known in advance.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

use super::body::BoxError;
use crate::storage::object::Object;

/// Size of a part; with the frame headers it fits into one write of a connection.
const PART_BYTES: usize = 60 * 1024;
const TAIL: &[u8] = b"]}\n";

/// A list that is encoded while it is sent.
pub struct ListBody {
    /// The bytes before the items, up to and including the bracket; emptied when written.
    head: String,
    items: std::vec::IntoIter<Arc<Object>>,
    /// Whether an item has been written, so that a comma is needed.
    begun: bool,
    left: usize,
}

impl ListBody {
    /// `head` starts a JSON object and ends with the opening bracket of `items`.
    pub fn new(head: String, items: Vec<Arc<Object>>) -> Self {
        let commas = items.len().saturating_sub(1);
        let length: usize = items.iter().map(|object| object.item_length()).sum();
        let left = head.len() + length + commas + TAIL.len();
        ListBody { head, items: items.into_iter(), begun: false, left }
    }

    /// Encodes the whole list at once.
    pub fn into_bytes(mut self) -> Bytes {
        self.part(usize::MAX)
    }

    /// Encodes the next part, of at least `length` bytes unless the list ends.
    fn part(&mut self, length: usize) -> Bytes {
        // The last item may exceed `length`.
        let mut out = BytesMut::with_capacity(self.left.min(length.saturating_add(PART_BYTES / 8)));
        out.extend_from_slice(std::mem::take(&mut self.head).as_bytes());
        while out.len() < length {
            let Some(object) = self.items.next() else {
                out.extend_from_slice(TAIL);
                break;
            };
            if std::mem::replace(&mut self.begun, true) {
                out.put_u8(b',');
            }
            object.write_item(&mut out);
        }
        self.left = self.left.saturating_sub(out.len());
        out.freeze()
    }
}

impl Body for ListBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.is_end_stream() {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Ok(Frame::data(self.part(PART_BYTES)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}

#[cfg(test)]
mod tests;
