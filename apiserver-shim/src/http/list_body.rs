//! The body of a list: items are copied out of the cache as the client takes them, some 60 KiB at a time, rather than
//! all of them into one buffer first. A listing of 20,000 Pods then holds references and not 27 MB, and what is sent
//! was written a moment ago and lies in the processor's cache. The length is known beforehand.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

use super::body::BoxError;
use crate::storage::object::Object;

/// Where a part ends that is not the last: with its frames' headers it is one write of a connection.
const PART_BYTES: usize = 60 * 1024;
const TAIL: &[u8] = b"]}\n";

/// A list that is written as it is sent.
pub struct ListBody {
    /// What comes before the items, up to the bracket; empty once it is written.
    head: String,
    items: std::vec::IntoIter<Arc<Object>>,
    /// The next item is not the first.
    begun: bool,
    left: usize,
}

impl ListBody {
    /// `head` begins a JSON object and ends with the bracket that opens the items.
    pub fn new(head: String, items: Vec<Arc<Object>>) -> Self {
        let commas = items.len().saturating_sub(1);
        let length: usize = items.iter().map(|object| object.item_length()).sum();
        let left = head.len() + length + commas + TAIL.len();
        ListBody { head, items: items.into_iter(), begun: false, left }
    }

    /// All of it at once.
    pub fn into_bytes(mut self) -> Bytes {
        self.part(usize::MAX)
    }

    /// The next part, at least so long if there is so much.
    fn part(&mut self, length: usize) -> Bytes {
        // The last item may go beyond the mark.
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
