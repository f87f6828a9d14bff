//! Protobuf responses: objects, lists and watch events are written from the cached JSON.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use serde_json::json;
use shim_model::protobuf::{self, ENVELOPE_TAIL, Encoder, MEDIA_TYPE, MessageId, envelope_head};
use shim_model::resource::KindRef;
use shim_model::status::{self, Status};

use super::body::{BoxError, Response};
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
    let message = match object.message() {
        Some(kept) => kept,
        None => {
            encoder.object(id, object.bytes(), Some(object.revision)).map_err(malformed)?;
            encoder.bytes()
        }
    };
    let mut out = envelope_head(&resource.api_version(), &resource.kind, message.len() as u64);
    out.extend_from_slice(message);
    out.extend_from_slice(&ENVELOPE_TAIL);
    Ok(reply::typed(code, MEDIA_TYPE, out))
}

/// Responds with a list of objects of the stored version. The list's length comes before its items, so that all of them are
/// encoded, or kept from an earlier list, before the first is sent.
pub fn many(resource: &ServedResource, items: Vec<Arc<Object>>, meta: &ListMeta) -> Result<Response, Status> {
    let id = resource.object_type.message().ok_or_else(|| status::no_protobuf(&resource.kind))?;
    let kind = resource.list_kind.as_str();
    let list = KindRef { group: &resource.group, version: &resource.version, kind };
    let list_meta = json!({"metadata": meta.to_value()});
    let mut encoder = Encoder::default();
    encoder.object(message_of(list)?, list_meta.to_string().as_bytes(), None).map_err(malformed)?;
    let list_meta = encoder.take();
    let kept = resource.store().map(|store| store.messages());
    let mut length = list_meta.len();
    let mut parts = Vec::with_capacity(items.len());
    for object in items {
        let item = match object.message() {
            Some(_) => Item::Shared(object),
            None => {
                encoder.clear();
                encoder.object(id, object.bytes(), Some(object.revision)).map_err(malformed)?;
                if let Some(kept) = kept {
                    object.keep_message(encoder.bytes(), kept);
                }
                match object.message() {
                    Some(_) => Item::Shared(object),
                    None => Item::Encoded(encoder.bytes().into()),
                }
            }
        };
        length += item.length();
        parts.push(item);
    }
    let mut head = envelope_head(&resource.api_version(), kind, length as u64);
    head.extend_from_slice(&list_meta);
    let left = head.len() - list_meta.len() + length + ENVELOPE_TAIL.len();
    let mut response = reply::typed(200, MEDIA_TYPE, Bytes::new());
    *response.body_mut() = MessageList { head, items: parts.into_iter(), left }.boxed_unsync();
    Ok(response)
}

/// An item of a list.
enum Item {
    /// Its object has the message.
    Shared(Arc<Object>),
    Encoded(Box<[u8]>),
}

impl Item {
    fn message(&self) -> &[u8] {
        match self {
            Item::Shared(object) => object.message().unwrap_or_default(),
            Item::Encoded(message) => message,
        }
    }

    /// The length of the item as a field of the list.
    fn length(&self) -> usize {
        let message = self.message().len();
        protobuf::bytes_length(ITEMS, message)
    }
}

/// A list that is copied from kept messages while it is sent, in parts that are still in the CPU's cache then.
struct MessageList {
    /// What comes before the items; emptied when written.
    head: Vec<u8>,
    items: std::vec::IntoIter<Item>,
    left: usize,
}

impl MessageList {
    fn part(&mut self) -> Bytes {
        let mut out = Vec::with_capacity(self.left.min(PART_BYTES + PART_BYTES / 8));
        out.append(&mut self.head);
        while out.len() < PART_BYTES {
            let Some(item) = self.items.next() else {
                out.extend_from_slice(&ENVELOPE_TAIL);
                break;
            };
            protobuf::write_bytes(&mut out, ITEMS, item.message());
        }
        self.left = self.left.saturating_sub(out.len());
        out.into()
    }
}

impl http_body::Body for MessageList {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.left {
            0 => Poll::Ready(None),
            _ => Poll::Ready(Some(Ok(Frame::data(self.part())))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
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
        EventWriter::message(event, (api_version, kind), self.encoder.bytes(), out);
        Ok(())
    }

    /// Appends an event with an encoded object.
    pub fn message(event: &str, (api_version, kind): (&str, &str), message: &[u8], out: &mut BytesMut) {
        let head = envelope_head(api_version, kind, message.len() as u64);
        frame(event, [&head, message, &ENVELOPE_TAIL], out);
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
