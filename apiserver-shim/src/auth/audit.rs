//! Audit: the id of every request, and a log of events in the format of `audit.k8s.io/v1`.
//!
//! [`policy`] decides per request what is recorded. [`record`] builds the event of a request in progress. [`log`]
//! writes events to a file in the background, [`rotation`] replaces full files. The tower layer that opens and closes records is `http::audit`. Without
//! a policy a request gets an id and nothing else.

pub mod log;
pub mod policy;
pub mod record;
pub mod rotation;

pub use log::{AuditLog, AuditMode, AuditOptions};
pub use policy::{Level, Policy, PolicyError, Stage};
pub use record::{AuditRecord, AuditRequest};
pub use rotation::Rotation;

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::header::{HeaderMap, HeaderName, HeaderValue};
use uuid::{Builder, Uuid, Variant, Version};

/// The header of a request's id, in requests and responses.
pub const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
/// Maximum length of an id that a client sends.
const AUDIT_ID_BYTES_MAX: usize = 256;

/// The id of a request: the `Audit-Id` header, `auditID` of audit events and `audit_id` of spans.
#[derive(Clone)]
pub struct AuditId(Id);

#[derive(Clone)]
enum Id {
    Given(HeaderValue),
    Drawn(Uuid),
}

/// An odd factor, so that each counter value maps to a distinct number; a large one, so that successive ids differ
/// visibly.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl AuditId {
    /// Generates an id. One random number is drawn per process and incremented per request, which saves a system
    /// call.
    pub fn new() -> AuditId {
        static NEXT: OnceLock<(u64, AtomicU64)> = OnceLock::new();
        let (run, next) = NEXT.get_or_init(|| {
            let (run, first) = Uuid::new_v4().as_u64_pair();
            (run, AtomicU64::new(first))
        });
        let count = next.fetch_add(1, Ordering::Relaxed).wrapping_mul(SPREAD);
        let id = Builder::from_u128((u128::from(*run) << 64) | u128::from(count));
        AuditId(Id::Drawn(id.with_version(Version::Random).with_variant(Variant::RFC4122).into_uuid()))
    }

    /// The id that the client sent, or a new one.
    pub fn of_request(headers: &HeaderMap) -> AuditId {
        match headers.get(AUDIT_ID).filter(|value| value.len() <= AUDIT_ID_BYTES_MAX) {
            Some(given) => AuditId(Id::Given(given.clone())),
            None => AuditId::new(),
        }
    }

    /// The id as a header value. It is marked sensitive to keep it out of HTTP/2's header compression table, because
    /// ids never repeat.
    pub fn to_header(&self) -> HeaderValue {
        let mut value = match &self.0 {
            Id::Given(value) => value.clone(),
            Id::Drawn(id) => {
                let mut text = Uuid::encode_buffer();
                let text = id.hyphenated().encode_lower(&mut text);
                HeaderValue::from_str(text)
                    .expect("invariant: hexadecimal digits and dashes fit into a header")
            }
        };
        value.set_sensitive(true);
        value
    }
}

impl Default for AuditId {
    fn default() -> Self {
        AuditId::new()
    }
}

impl fmt::Display for AuditId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Id::Given(value) => f.write_str(&String::from_utf8_lossy(value.as_bytes())),
            Id::Drawn(id) => id.hyphenated().fmt(f),
        }
    }
}

impl fmt::Debug for AuditId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
