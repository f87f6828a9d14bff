//! What clients are told about the catalog, as bytes: discovery and OpenAPI documents. They belong to one generation, are
//! made when first asked for, and are kept with their hashes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;

/// Which document.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DocumentKey {
    /// OpenAPI v3 of one group-version.
    OpenApi3 {
        /// API group; empty for the core group.
        group: String,
        /// Version in the group.
        version: String,
    },
    /// OpenAPI v2 as JSON.
    OpenApi2,
    /// OpenAPI v2 as protobuf.
    OpenApi2Protobuf,
    /// Aggregated discovery of the core group or of all others, in one version of its format.
    Discovery {
        /// Whether it is the core group's.
        core: bool,
        /// `v2` or `v2beta1`.
        version: &'static str,
    },
}

/// A document with its hash.
#[derive(Clone, Debug)]
pub struct Document {
    /// The encoded document.
    pub bytes: Bytes,
    /// The hash in upper-case hexadecimal, without quotes.
    pub hash: String,
}

type Slot = Arc<OnceLock<Document>>;

/// The documents of one generation.
#[derive(Debug, Default)]
pub struct Documents {
    slots: Mutex<HashMap<DocumentKey, Slot>>,
}

impl Documents {
    /// A document, made by `make` if nobody has asked for it before. Others who ask meanwhile wait for it.
    pub fn get(&self, key: DocumentKey, make: impl FnOnce() -> Document) -> Document {
        let slot = self.lock().entry(key).or_default().clone();
        slot.get_or_init(make).clone()
    }

    /// Documents for the next generation: OpenAPI v3 documents are taken over, except for those that `is_changed`.
    pub fn next(&self, is_changed: impl Fn(&str, &str) -> bool) -> Documents {
        let kept = |key: &DocumentKey| match key {
            DocumentKey::OpenApi3 { group, version } => !is_changed(group, version),
            DocumentKey::OpenApi2 | DocumentKey::OpenApi2Protobuf | DocumentKey::Discovery { .. } => false,
        };
        let slots =
            self.lock().iter().filter(|(key, _)| kept(key)).map(|(k, s)| (k.clone(), s.clone())).collect();
        Documents { slots: Mutex::new(slots) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<DocumentKey, Slot>> {
        self.slots.lock().expect("invariant: no holder of the lock panics")
    }
}
