//! Audit: the id of every request, and a log of who did what in the form of `audit.k8s.io/v1`.
//!
//! [`policy`] decides per request how much is recorded, [`record`] is one request's event while it is carried out, [`log`]
//! writes events to a file off the request's path. The tower layer that opens and closes records is `http::audit`. Without
//! a policy a request costs its id and nothing else.

pub mod log;
pub mod policy;
pub mod record;

pub use log::{AuditLog, AuditMode, AuditOptions};
pub use policy::{Level, Policy, PolicyError, Stage};
pub use record::{AuditRecord, AuditRequest};

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::header::{HeaderMap, HeaderName, HeaderValue};
use uuid::{Builder, Uuid, Variant, Version};

/// The header that carries a request's id, both ways.
pub const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
/// Longest id that is accepted from a client.
const AUDIT_ID_BYTES_MAX: usize = 256;

/// The id of a request: sent back as `Audit-Id`, the `auditID` of audit events, `audit_id` in spans.
#[derive(Clone)]
pub struct AuditId(Id);

#[derive(Clone)]
enum Id {
    Given(HeaderValue),
    Drawn(Uuid),
}

/// Odd, so that every count maps to another number, and large, so that neighbours do not look alike.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl AuditId {
    /// A fresh id. A random number is drawn once per process and counted on from there, which saves a system call per
    /// request.
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

    /// The id that a client gave its request, or a fresh one.
    pub fn of_request(headers: &HeaderMap) -> AuditId {
        match headers.get(AUDIT_ID).filter(|value| value.len() <= AUDIT_ID_BYTES_MAX) {
            Some(given) => AuditId(Id::Given(given.clone())),
            None => AuditId::new(),
        }
    }

    /// As a header. It is marked as sensitive: no id comes twice, so it must not fill the table of headers that an HTTP/2
    /// connection remembers.
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
