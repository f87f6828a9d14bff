//! The protobuf messages of cached objects. The first list in protobuf encodes them, and they stay with their objects until these
//! change, so that later lists copy bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of the messages that are kept for one resource: those of 200,000 Pods with two kilobytes each. Further objects are encoded
/// for each list.
const KEPT_BYTES_MAX: usize = 384 << 20;

/// How many bytes are kept.
#[derive(Debug, Default)]
pub struct CachedMessages {
    bytes: AtomicUsize,
}

impl CachedMessages {
    /// Keeps a message, unless there are too many.
    pub(super) fn keep(self: &Arc<Self>, message: &[u8]) -> Option<CachedMessage> {
        let length = message.len();
        let before = self.bytes.fetch_add(length, Ordering::Relaxed);
        if before + length > KEPT_BYTES_MAX {
            self.bytes.fetch_sub(length, Ordering::Relaxed);
            return None;
        }
        // It is no longer counted when it is dropped.
        Some(CachedMessage { message: message.into(), counted_by: self.clone() })
    }

    /// The bytes of all kept messages.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// A message that is counted as long as it exists.
#[derive(Debug)]
pub(super) struct CachedMessage {
    pub message: Box<[u8]>,
    counted_by: Arc<CachedMessages>,
}

impl Drop for CachedMessage {
    fn drop(&mut self) {
        self.counted_by.bytes.fetch_sub(self.message.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_bytes_are_bounded_and_counted() {
        let kept = Arc::new(CachedMessages::default());
        let large = vec![0; KEPT_BYTES_MAX / 2];
        let first = kept.keep(&large).unwrap();
        let second = kept.keep(&large).unwrap();
        assert!(kept.keep(b"x").is_none());
        assert_eq!(kept.bytes(), KEPT_BYTES_MAX);
        drop(first);
        assert!(kept.keep(b"x").is_some());
        drop(second);
        assert_eq!(kept.bytes(), 0);
    }
}
