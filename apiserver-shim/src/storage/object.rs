//! A cached object. It is encoded once when it is written and its header is parsed once when it is read from the
//! store. Responses are assembled by copying slices of the encoding; nothing is decoded or encoded again.

mod message;

use std::io::Write as _;
use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde_json::{Number, Value};
use shim_core::definition::ResourceDefinition;
use shim_core::kinds::{self, FieldName};
use shim_model::object::{Header, Parts, StoredObject};

pub use message::CachedMessages;

use super::selection::ShownVersions;
use message::CachedMessage;

/// Initial capacity of the encoding buffer; enough for most objects.
const SCRATCH_BYTES: usize = 4096;

/// A cached object at one revision.
#[derive(Debug)]
pub struct Object {
    /// The store revision of the last write, served as resourceVersion.
    pub revision: u64,
    stored: Arc<StoredObject>,
    definition: Arc<ResourceDefinition>,
    /// Values of the selectable fields, extracted on first use.
    fields: OnceLock<Vec<(FieldName, String)>>,
    /// What other versions show of a custom resource to selectors.
    shown: OnceLock<Box<ShownVersions>>,
    /// The message in protobuf, with its resourceVersion.
    message: OnceLock<CachedMessage>,
    /// Offset of the members after `apiVersion` and `kind`; list items are served from here.
    body: usize,
    /// Whether the bytes are not those in the store: a write that changes nothing still writes them.
    is_restored: bool,
}

impl Object {
    /// Wraps an object read from the store. Bytes that do not have the layout of [`encoded`] are encoded again, so
    /// that slices can be served. Returns `None` if they are not an object.
    pub fn new(
        stored: Arc<StoredObject>,
        definition: &Arc<ResourceDefinition>,
        revision: u64,
    ) -> Option<Arc<Object>> {
        Object::build(stored, definition, revision, false)
    }

    /// Wraps an object read from the store, as it would be if it were written now.
    pub fn restored(
        stored: Arc<StoredObject>,
        definition: &Arc<ResourceDefinition>,
        revision: u64,
    ) -> Option<Arc<Object>> {
        if !definition.strategy().is_restored() {
            return Object::new(stored, definition, revision);
        }
        let mut value: Value = serde_json::from_slice(&stored.bytes).ok()?;
        match definition.strategy().restore(&mut value) {
            true => Object::build(Arc::new(encoded(&value)), definition, revision, true),
            false => Object::new(stored, definition, revision),
        }
    }

    fn build(
        mut stored: Arc<StoredObject>,
        definition: &Arc<ResourceDefinition>,
        revision: u64,
        is_restored: bool,
    ) -> Option<Arc<Object>> {
        let body = match body_of(&stored) {
            Some(body) => body,
            None => {
                let value: Value = serde_json::from_slice(&stored.bytes).ok()?;
                stored = Arc::new(encoded(&value));
                body_of(&stored)?
            }
        };
        let definition = definition.clone();
        let (fields, shown, message) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Some(Arc::new(Object { revision, stored, definition, fields, shown, message, body, is_restored }))
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.stored.header
    }

    /// Whether the store has other bytes; see [`Object::restored`].
    pub fn is_restored(&self) -> bool {
        self.is_restored
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.stored.header.name
    }

    /// The namespace; empty for cluster-wide objects.
    pub fn namespace(&self) -> &str {
        &self.stored.header.namespace
    }

    /// The values of the selectable fields, without `metadata.name` and `metadata.namespace`, which all objects have.
    pub fn fields(&self) -> &[(FieldName, String)] {
        self.fields.get_or_init(|| kinds::selectable_fields(self.definition.strategy(), &self.stored))
    }

    /// The value of a selectable field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields().iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str())
    }

    /// What other versions show to selectors, as far as they were asked for.
    pub(super) fn shown(&self) -> Option<&ShownVersions> {
        self.shown.get().map(|shown| &**shown)
    }

    /// The same, to add to it.
    pub(super) fn shown_or_default(&self) -> &ShownVersions {
        self.shown.get_or_init(Box::default)
    }

    /// The encoded object as it is stored, without resourceVersion.
    pub fn bytes(&self) -> &Bytes {
        &self.stored.bytes
    }

    /// The header and the bytes together.
    pub fn stored(&self) -> &Arc<StoredObject> {
        &self.stored
    }

    /// The message in protobuf with the object's resourceVersion, if it is kept.
    pub fn message(&self) -> Option<&[u8]> {
        self.message.get().map(|kept| &*kept.message)
    }

    /// Keeps the message, unless too much is kept already.
    pub fn keep_message(&self, message: &[u8], kept: &Arc<CachedMessages>) {
        if let Some(message) = kept.keep(message) {
            // Somebody else may have been faster, with the same bytes.
            let _ = self.message.set(message);
        }
    }

    /// The members after `metadata`, including the closing brace.
    pub fn tail(&self) -> &[u8] {
        &self.stored.bytes[self.stored.parts.metadata.end..]
    }

    /// Decodes the object and sets its resourceVersion.
    pub fn value(&self) -> Value {
        let mut value: Value =
            serde_json::from_slice(&self.stored.bytes).expect("invariant: a stored object is JSON");
        set_resource_version(&mut value, self.revision);
        value
    }

    /// Decodes the object into a typed value, without the resourceVersion.
    pub fn decode<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.stored.bytes)
    }

    /// Appends the object as a GET returns it. `revision` is the resourceVersion to show; a DELETED event has its
    /// own.
    pub fn write(&self, revision: u64, out: &mut BytesMut) {
        self.write_from(0, revision, out);
    }

    /// Appends the object as an item of a list, without `apiVersion` and `kind`.
    pub fn write_item(&self, out: &mut BytesMut) {
        if self.is_item_typed() {
            return self.write(self.revision, out);
        }
        out.put_u8(b'{');
        self.write_from(self.body, self.revision, out);
    }

    /// Whether the items of lists have `apiVersion` and `kind`: as upstream, those of custom resources do.
    fn is_item_typed(&self) -> bool {
        self.definition.custom.is_some()
    }

    /// The length of the object as an item of a list, in bytes.
    pub fn item_length(&self) -> usize {
        let comma = usize::from(self.stored.bytes[self.members()] != b'}');
        let digits = self.revision.checked_ilog10().unwrap_or(0) as usize + 1;
        // The opening brace (1), `"resourceVersion":"` (19), the digits, and the closing quote (1).
        let skipped = if self.is_item_typed() { 1 } else { self.body };
        1 + self.stored.bytes.len() - skipped + 19 + digits + 1 + comma
    }

    fn write_from(&self, start: usize, revision: u64, out: &mut BytesMut) {
        let (bytes, members) = (&self.stored.bytes, self.members());
        out.extend_from_slice(&bytes[start..members]);
        write_resource_version(revision, out);
        if bytes[members] != b'}' {
            out.put_u8(b',');
        }
        out.extend_from_slice(&bytes[members..]);
    }

    /// Offset of the first member of `metadata`; the resourceVersion is inserted here.
    fn members(&self) -> usize {
        self.stored.parts.metadata.start + 1
    }

    /// The object as a GET returns it.
    pub fn served(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.stored.bytes.len() + 48);
        self.write(self.revision, &mut out);
        out.freeze()
    }
}

/// Encodes an object for the store. `apiVersion`, `kind` and `metadata` come first, so that slices can be served. The
/// resourceVersion is left out because the store's revision is its source.
pub fn encoded(value: &Value) -> StoredObject {
    let mut out = Vec::with_capacity(SCRATCH_BYTES);
    let mut parts = Parts::default();
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or("");
    out.extend_from_slice(b"{\"apiVersion\":");
    write_text(&mut out, text("apiVersion"));
    out.extend_from_slice(b",\"kind\":");
    write_text(&mut out, text("kind"));
    out.extend_from_slice(b",\"metadata\":");
    parts.metadata.start = out.len();
    out.push(b'{');
    let members = value.get("metadata").and_then(Value::as_object).into_iter().flatten();
    for (i, (key, member)) in members.filter(|(k, _)| *k != "resourceVersion").enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_text(&mut out, key);
        out.push(b':');
        write_value(&mut out, member);
    }
    out.push(b'}');
    parts.metadata.end = out.len();
    for (key, member) in value.as_object().into_iter().flatten() {
        if matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
            continue;
        }
        out.push(b',');
        write_text(&mut out, key);
        out.push(b':');
        let start = out.len();
        write_value(&mut out, member);
        match key.as_str() {
            "spec" if !member.is_null() => parts.spec = start..out.len(),
            "status" if !member.is_null() => parts.status = start..out.len(),
            _ => {}
        }
    }
    out.push(b'}');
    // Copy into a buffer of exact size, because objects are kept for long.
    StoredObject { bytes: Bytes::copy_from_slice(&out), header: Arc::new(Header::of(value)), parts }
}

/// Sets the resourceVersion of a decoded object.
pub fn set_resource_version(value: &mut Value, revision: u64) {
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".into(), revision.to_string().into());
    }
}

/// Appends `"resourceVersion":"<revision>"`.
pub fn write_resource_version(revision: u64, out: &mut BytesMut) {
    out.extend_from_slice(b"\"resourceVersion\":\"");
    write_decimal(revision, out);
    out.put_u8(b'"');
}

fn write_decimal(mut number: u64, out: &mut BytesMut) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends a JSON value. Most strings have nothing to escape and are copied in one piece.
fn write_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::String(text) => write_text(out, text),
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_value(out, item);
            }
            out.push(b']');
        }
        Value::Object(members) => {
            out.push(b'{');
            for (i, (key, member)) in members.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_text(out, key);
                out.push(b':');
                write_value(out, member);
            }
            out.push(b'}');
        }
        Value::Number(number) => write_number(out, number),
        scalar => write_as_serde_does(out, scalar),
    }
}

/// Appends a number as Go's JSON encoder writes it: a float without a fraction reads as an integer from then on, and only very small
/// and very large ones have an exponent.
fn write_number(out: &mut Vec<u8>, number: &Number) {
    let float = number.as_f64().filter(|_| number.is_f64());
    match float.filter(|float| *float == 0.0 || (1e-6..1e21).contains(&float.abs())) {
        Some(float) => write!(out, "{float}").expect("invariant: a number always encodes into memory"),
        None => write_as_serde_does(out, number),
    }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    if needs_escaping(text.as_bytes()) {
        return write_as_serde_does(out, text);
    }
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// Whether a string needs escaping. Tests eight bytes at a time; the last word may overlap the one before it.
fn needs_escaping(text: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    // Sets the high bit of each byte of `word` below `limit`. Bytes above such a byte may be false positives.
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word;
    let has = |word: u64, byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    let escaped = |eight: &[u8; 8]| {
        let word = u64::from_ne_bytes(*eight);
        (below(word, b' ') | has(word, b'"') | has(word, b'\\')) & HIGHS
    };
    match text.last_chunk() {
        Some(last) => text.as_chunks().0.iter().fold(escaped(last), |all, eight| all | escaped(eight)) != 0,
        None => text.iter().any(|b| *b < b' ' || matches!(b, b'"' | b'\\')),
    }
}

fn write_as_serde_does<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).expect("invariant: a JSON value always encodes into memory");
}

/// The offset of the body if the bytes have the layout of [`encoded`].
fn body_of(stored: &StoredObject) -> Option<usize> {
    let rest = stored.bytes.strip_prefix(b"{\"apiVersion\":\"")?;
    let quote = rest.iter().position(|b| *b == b'"')?;
    let rest = rest[quote + 1..].strip_prefix(b",\"kind\":\"")?;
    let quote = rest.iter().position(|b| *b == b'"')?;
    let rest = rest[quote + 1..].strip_prefix(b",")?;
    let metadata = rest.strip_prefix(b"\"metadata\":")?;
    let fits =
        stored.bytes.len() - metadata.len() == stored.parts.metadata.start && metadata.starts_with(b"{");
    fits.then(|| stored.bytes.len() - rest.len())
}

#[cfg(test)]
mod tests;
