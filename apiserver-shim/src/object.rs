//! An object as the watch cache and every reader share it: encoded once when it was written, its header parsed once
//! when it arrived, served by copying slices. Serving never decodes and never encodes.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::Value;
use shim_model::object::{Header, StoredObject, metadata_start};

/// A cached object at one revision.
#[derive(Debug)]
pub struct Object {
    /// The store revision that wrote it: its resourceVersion.
    pub revision: u64,
    stored: Arc<StoredObject>,
    /// Where the members after `apiVersion` and `kind` begin; items of lists are served from here.
    body: usize,
    /// Where the members of `metadata` begin; resourceVersion is put in here.
    metadata: usize,
}

impl Object {
    /// Wraps what the store holds. Bytes that [`encode`] did not write are written anew, so that slices can be served.
    pub fn new(mut stored: StoredObject, revision: u64) -> Option<Arc<Object>> {
        let layout = match layout(&stored.bytes) {
            Some(layout) => layout,
            None => {
                let value: Value = serde_json::from_slice(&stored.bytes).ok()?;
                stored.bytes = encode(&value);
                layout(&stored.bytes)?
            }
        };
        Some(Arc::new(Object { revision, stored: Arc::new(stored), body: layout.0, metadata: layout.1 }))
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.stored.header
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.stored.header.name
    }

    /// The namespace; empty for cluster-wide objects.
    pub fn namespace(&self) -> &str {
        &self.stored.header.namespace
    }

    /// The value of a selectable field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.stored.fields.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str())
    }

    /// The encoded object without resourceVersion, as the store has it.
    pub fn bytes(&self) -> &Bytes {
        &self.stored.bytes
    }

    /// The header, bytes and fields together.
    pub fn stored(&self) -> &Arc<StoredObject> {
        &self.stored
    }

    /// Decodes the object, with its resourceVersion.
    pub fn value(&self) -> Value {
        let mut value: Value = serde_json::from_slice(&self.stored.bytes).unwrap_or_default();
        set_resource_version(&mut value, self.revision);
        value
    }

    /// Decodes into a typed value; the resourceVersion is not part of it.
    pub fn decode<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.stored.bytes)
    }

    /// Appends the object as a GET serves it, with `revision` as resourceVersion (a deletion has its own).
    pub fn write(&self, revision: u64, out: &mut BytesMut) {
        self.write_from(0, revision, out);
    }

    /// Appends the object as an item of a list: without apiVersion and kind.
    pub fn write_item(&self, out: &mut BytesMut) {
        out.put_u8(b'{');
        self.write_from(self.body, self.revision, out);
    }

    /// How long the object is as an item of a list.
    pub fn item_length(&self) -> usize {
        let comma = usize::from(self.stored.bytes[self.metadata] != b'}');
        let digits = self.revision.checked_ilog10().unwrap_or(0) as usize + 1;
        // The brace, `"resourceVersion":"` and the quote behind the number.
        1 + self.stored.bytes.len() - self.body + 19 + digits + 1 + comma
    }

    fn write_from(&self, start: usize, revision: u64, out: &mut BytesMut) {
        let bytes = &self.stored.bytes;
        out.extend_from_slice(&bytes[start..self.metadata]);
        write_resource_version(revision, out);
        if bytes[self.metadata] != b'}' {
            out.put_u8(b',');
        }
        out.extend_from_slice(&bytes[self.metadata..]);
    }

    /// The object as a GET serves it.
    pub fn served(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.stored.bytes.len() + 48);
        self.write(self.revision, &mut out);
        out.freeze()
    }
}

/// Encodes an object for the store: `apiVersion`, `kind` and `metadata` come first, so that readers can serve slices;
/// resourceVersion is left out, for the store's revision says it.
pub fn encode(value: &Value) -> Bytes {
    let mut out = Vec::with_capacity(1024);
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or("");
    out.extend_from_slice(b"{\"apiVersion\":");
    write_json(&mut out, &Value::from(text("apiVersion")));
    out.extend_from_slice(b",\"kind\":");
    write_json(&mut out, &Value::from(text("kind")));
    out.extend_from_slice(b",\"metadata\":{");
    let members = value.get("metadata").and_then(Value::as_object).into_iter().flatten();
    let mut first = true;
    for (key, member) in members.filter(|(k, _)| *k != "resourceVersion") {
        write_member(&mut out, &mut first, key, member);
    }
    out.push(b'}');
    let mut first = false;
    for (key, member) in value.as_object().into_iter().flatten() {
        if !matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
            write_member(&mut out, &mut first, key, member);
        }
    }
    out.push(b'}');
    Bytes::from(out)
}

/// Puts a resourceVersion into a decoded object.
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

fn write_member(out: &mut Vec<u8>, first: &mut bool, key: &str, member: &Value) {
    if !std::mem::take(first) {
        out.push(b',');
    }
    write_json(out, &Value::from(key));
    out.push(b':');
    write_json(out, member);
}

fn write_json(out: &mut Vec<u8>, value: &Value) {
    serde_json::to_writer(out, value).expect("invariant: a JSON value always encodes into memory");
}

/// Where the body and the metadata begin, if the bytes have [`encode`]'s layout.
fn layout(bytes: &[u8]) -> Option<(usize, usize)> {
    let rest = bytes.strip_prefix(b"{\"apiVersion\":\"")?;
    let quote = rest.iter().position(|b| *b == b'"')?;
    let rest = rest[quote + 1..].strip_prefix(b",\"kind\":\"")?;
    let quote = rest.iter().position(|b| *b == b'"')?;
    let rest = rest[quote + 1..].strip_prefix(b",")?;
    let body = bytes.len() - rest.len();
    rest.strip_prefix(b"\"metadata\":{")?;
    Some((body, metadata_start(bytes)?))
}

#[cfg(test)]
mod tests;
