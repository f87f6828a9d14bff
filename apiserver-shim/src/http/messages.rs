//! Protobuf responses: objects, lists and watch events are written from the cached JSON.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::json;
use shim_model::protobuf::{self, ENVELOPE_TAIL, Encoder, MEDIA_TYPE, MessageId, envelope_head};
use shim_model::resource::KindRef;
use shim_model::status::{self, Status};

use super::body::{Response, in_parts};
use super::reply;
use super::shapes::ListMeta;
use crate::storage::catalog::ServedResource;
use crate::storage::object::Object;

/// The media type of watches.
pub const STREAM_TYPE: &str = "application/vnd.kubernetes.protobuf;stream=watch";
/// Size of the parts in which a list is sent; with the frame headers they fit into one write of a connection.
const PART_BYTES: usize = 60 * 1024;
/// The field of a list's message that has the items.
const ITEMS: u32 = 2;

/// The message of a kind, or the answer that it has none.
pub fn message_of(kind: KindRef<'_>) -> Result<MessageId, Status> {
    protobuf::message_of_kind(kind).ok_or_else(|| status::no_protobuf(kind.kind))
}

fn malformed<E: std::fmt::Display>(error: E) -> Status {
    status::internal(format!("a cached object cannot be encoded: {error}"))
}

/// Responds with one object of the stored version.
pub fn one(code: u16, resource: &ServedResource, object: &Object) -> Result<Response, Status> {
    let id = resource.object_type.message().ok_or_else(|| status::no_protobuf(&resource.kind))?;
    let mut encoder = Encoder::default();
    encoder.object(id, object.bytes(), Some(object.revision)).map_err(malformed)?;
    let message = encoder.bytes();
    let mut out = envelope_head(&resource.api_version(), &resource.kind, message.len() as u64);
    out.extend_from_slice(message);
    out.extend_from_slice(&ENVELOPE_TAIL);
    Ok(reply::typed(code, MEDIA_TYPE, out))
}

/// Responds with a list of objects of the stored version. The list's length comes before its items, so that these are
/// encoded before the first is sent.
pub fn many(resource: &ServedResource, items: &[Arc<Object>], meta: &ListMeta) -> Result<Response, Status> {
    let id = resource.object_type.message().ok_or_else(|| status::no_protobuf(&resource.kind))?;
    let kind = resource.list_kind.as_str();
    let list = KindRef { group: &resource.group, version: &resource.version, kind };
    let list_meta = json!({"metadata": meta.to_value()});
    let mut encoder = Encoder::default();
    encoder.object(message_of(list)?, list_meta.to_string().as_bytes(), None).map_err(malformed)?;
    let mut parts = vec![Bytes::new()];
    let mut length = 0;
    for object in items {
        encoder.item(ITEMS, id, object.bytes(), Some(object.revision)).map_err(malformed)?;
        if encoder.bytes().len() >= PART_BYTES {
            length += encoder.bytes().len();
            parts.push(encoder.take().into());
        }
    }
    length += encoder.bytes().len();
    let mut tail = encoder.take();
    tail.extend_from_slice(&ENVELOPE_TAIL);
    parts.push(tail.into());
    parts[0] = envelope_head(&resource.api_version(), kind, length as u64).into();
    let mut response = reply::typed(200, MEDIA_TYPE, Bytes::new());
    *response.body_mut() = in_parts(parts);
    Ok(response)
}

/// Writes the events of a watch: frames of a length of four bytes and a `WatchEvent`.
#[derive(Debug, Default)]
pub struct EventWriter {
    encoder: Encoder,
}

impl EventWriter {
    /// Appends an event with an object of encoded JSON. With `revision`, the JSON lacks its resourceVersion.
    pub fn object(
        &mut self,
        event: &str,
        (id, api_version, kind): (MessageId, &str, &str),
        (json, revision): (&[u8], Option<u64>),
        out: &mut BytesMut,
    ) -> Result<(), Status> {
        self.encoder.clear();
        self.encoder.object(id, json, revision).map_err(malformed)?;
        let message = self.encoder.bytes();
        let head = envelope_head(api_version, kind, message.len() as u64);
        frame(event, [&head, message, &ENVELOPE_TAIL], out);
        Ok(())
    }

    /// The frame of an event with a `Status`.
    pub fn error(status: &Status) -> Bytes {
        let mut out = BytesMut::new();
        let message = protobuf::encode_value(&status.to_value()).unwrap_or_default();
        frame("ERROR", [&message, &[], &[]], &mut out);
        out.freeze()
    }
}

/// Appends a frame: its length, and an event whose object has these parts.
fn frame(event: &str, parts: [&[u8]; 3], out: &mut BytesMut) {
    let object: usize = parts.iter().map(|part| part.len()).sum();
    let mut raw = Vec::with_capacity(12);
    protobuf::write_tag(&mut raw, 1, protobuf::Wire::Bytes);
    protobuf::write_varint(&mut raw, object as u64);
    let mut head = Vec::with_capacity(32);
    protobuf::write_bytes(&mut head, 1, event.as_bytes());
    protobuf::write_tag(&mut head, 2, protobuf::Wire::Bytes);
    protobuf::write_varint(&mut head, (raw.len() + object) as u64);
    let length = head.len() + raw.len() + object;
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    out.extend_from_slice(&head);
    out.extend_from_slice(&raw);
    parts.iter().for_each(|part| out.extend_from_slice(part));
}
