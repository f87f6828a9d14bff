//! Kubernetes protobuf: objects as the messages that Go clients send by default, in both directions.
//!
//! `data/protobuf.tsv` has the numbers and types of all messages of the built-in groups. Objects stay JSON in this server:
//! [`Encoder`] goes over encoded JSON once and writes the message, [`decode`] makes a JSON value of a message. Both walk the
//! table, so that a kind needs nothing but its message's row. Custom resources have no messages.

mod decode;
mod encode;
mod envelope;
mod go_order;
mod json_cursor;
mod members;
mod table;
mod wire;

pub use decode::{DecodeError, decode};
pub use encode::{Encoder, Malformed};
pub use envelope::{Envelope, TAIL as ENVELOPE_TAIL, head as envelope_head, open};
pub(crate) use go_order::go_order;
pub(crate) use members::members;
pub use table::MessageId;
pub(crate) use table::embedded;
pub use wire::{Wire, bytes_length, write_bytes, write_tag, write_varint};

use crate::resource::{KindRef, split_api_version};
use serde_json::Value;
use table::Table;

/// The media type.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// API groups and the package of their messages, where that is not the group's first label.
const PACKAGES: &[(&str, &str)] = &[("", "core"), ("internal.apiserver.k8s.io", "apiserverinternal")];
/// Groups without a dot that are built in; others with one are if they end in `.k8s.io`.
const PLAIN_GROUPS: &[&str] = &["apps", "autoscaling", "batch", "policy"];

/// The message of a built-in type with this full name, such as `io.k8s.api.core.v1.Pod`.
pub fn message_of_type(name: &str) -> Option<MessageId> {
    let package = name.rmatch_indices('.').nth(2).map_or(0, |(dot, _)| dot + 1);
    Table::builtin().find(&name[package..])
}

/// The message of a kind. Each built-in group has DeleteOptions and its like.
pub fn message_of_kind(kind: KindRef<'_>) -> Option<MessageId> {
    let KindRef { group, version, kind } = kind;
    let label = group.split('.').next().unwrap_or(group);
    let package = match PACKAGES.iter().find(|(known, _)| *known == group) {
        Some((_, package)) => package,
        None if PLAIN_GROUPS.contains(&group) || group.ends_with(".k8s.io") => label,
        None => return None,
    };
    let table = Table::builtin();
    let own = table.find(&format!("{package}.{version}.{kind}"));
    let shared = matches!(package, "core" | "meta") || kind.ends_with("Options");
    own.or_else(|| table.find(&format!("meta.v1.{kind}")).filter(|_| shared))
}

/// Encodes an object, in its envelope. `None` if its kind has no message, such as a Table.
pub fn encode_value(value: &Value) -> Option<Vec<u8>> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or("");
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let (group, version) = split_api_version(api_version);
    let message = message_of_kind(KindRef { group, version, kind })?;
    let mut encoder = Encoder::default();
    encoder.object(message, value.to_string().as_bytes(), None).ok()?;
    Some(envelope::wrap(api_version, kind, encoder.bytes()))
}

/// Decodes an object in its envelope, with `apiVersion` and `kind`. `None` if it is malformed or of an unknown kind.
pub fn decode_value(body: &[u8]) -> Option<Value> {
    let envelope = open(body).ok()?;
    let (group, version) = split_api_version(&envelope.api_version);
    let message = message_of_kind(KindRef { group, version, kind: &envelope.kind })?;
    let mut object = decode(message, envelope.raw).ok()?;
    object.insert("apiVersion".into(), envelope.api_version.into());
    object.insert("kind".into(), envelope.kind.into());
    Some(Value::Object(object))
}

#[cfg(test)]
#[path = "protobuf/tests.rs"]
mod tests;
