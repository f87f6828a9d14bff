//! Discovery and OpenAPI documents of one catalog generation. Each is built on first use and cached, encoded,
//! together with its hash.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;

/// Identifies a document.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DocumentKey {
    /// OpenAPI v3 of one group-version.
    OpenApi3 {
        /// API group; empty for the core group.
        group: String,
        /// Version in the group.
        version: String,
    },
    /// OpenAPI v3 of one path in protobuf.
    OpenApi3Protobuf {
        /// Such as `apis/apps/v1`.
        path: String,
    },
    /// OpenAPI v2 as JSON.
    OpenApi2,
    /// OpenAPI v2 as protobuf.
    OpenApi2Protobuf,
    /// Aggregated discovery of the core group (`/api`) or of all named groups (`/apis`).
    Discovery {
        /// Whether the document is the core group's.
        core: bool,
        /// The version of the discovery format.
        version: &'static str,
    },
}

/// An encoded document with its hash.
#[derive(Clone, Debug)]
pub struct Document {
    /// The encoded document.
    pub bytes: Bytes,
    /// The hash in upper-case hexadecimal, without quotes; clients see it as the ETag.
    pub hash: String,
}

type Slot = Arc<OnceLock<Document>>;

/// The documents of one generation.
#[derive(Debug, Default)]
pub struct Documents {
    slots: Mutex<HashMap<DocumentKey, Slot>>,
    /// The OpenAPI v2 documents merged with those of aggregated servers, of one generation of the latter.
    merged: Mutex<(u64, HashMap<DocumentKey, Slot>)>,
}

impl Documents {
    /// Returns a document; the first caller builds it with `make`, and concurrent callers wait for the result.
    pub fn get(&self, key: DocumentKey, make: impl FnOnce() -> Document) -> Document {
        let slot = self.lock().entry(key).or_default().clone();
        slot.get_or_init(make).clone()
    }

    /// Returns a document that depends on the documents of aggregated servers, which have a generation of their own. Those of an
    /// earlier one are dropped.
    pub fn merged(&self, generation: u64, key: DocumentKey, make: impl FnOnce() -> Document) -> Document {
        let slot = {
            let mut merged = self.merged.lock().expect("invariant: no holder of the lock panics");
            if merged.0 != generation {
                *merged = (generation, HashMap::new());
            }
            merged.1.entry(key).or_default().clone()
        };
        slot.get_or_init(make).clone()
    }

    /// Documents for the next generation. OpenAPI v3 documents of unchanged group-versions are reused; all others are
    /// rebuilt.
    pub fn next(&self, is_changed: impl Fn(&str, &str) -> bool) -> Documents {
        let kept = |key: &DocumentKey| match key {
            DocumentKey::OpenApi3 { group, version } => !is_changed(group, version),
            DocumentKey::OpenApi3Protobuf { .. }
            | DocumentKey::OpenApi2
            | DocumentKey::OpenApi2Protobuf
            | DocumentKey::Discovery { .. } => false,
        };
        let slots =
            self.lock().iter().filter(|(key, _)| kept(key)).map(|(k, s)| (k.clone(), s.clone())).collect();
        Documents { slots: Mutex::new(slots), merged: Mutex::default() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<DocumentKey, Slot>> {
        self.slots.lock().expect("invariant: no holder of the lock panics")
    }
}
