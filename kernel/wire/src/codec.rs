//! The two body encodings, by content type, with Mesos' messages for bodies that do not parse.

use std::sync::LazyLock;

use bytes::Bytes;
use prost::{Message, Name};
use prost_reflect::{DescriptorPool, MessageDescriptor};
use serde_json::Value;

use crate::{json, required};

static DESCRIPTORS: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let encoded = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
    DescriptorPool::decode(encoded.as_slice()).expect("invariant: the build script wrote this descriptor set")
});

/// The encoding of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ContentType {
    /// `application/json`
    Json,
    /// `application/x-protobuf`
    Protobuf,
}

impl ContentType {
    /// The media type.
    pub fn as_str(self) -> &'static str {
        match self {
            ContentType::Json => "application/json",
            ContentType::Protobuf => "application/x-protobuf",
        }
    }
}

/// A body that does not parse. The texts are sent to clients.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not protobuf, or required fields are missing.
    #[error("Failed to parse body into {0} protobuf")]
    Protobuf(&'static str),
    /// Not JSON.
    #[error("Failed to parse body into JSON: {0}")]
    Json(json::JsonError),
    /// JSON that does not match the message.
    #[error("Failed to convert JSON into {0} protobuf: {1}")]
    Convert(&'static str, json::JsonError),
}

/// The descriptors of all messages.
pub(crate) fn descriptor_pool() -> &'static DescriptorPool {
    &DESCRIPTORS
}

/// The descriptor of a generated message.
pub fn descriptor<M: Name>() -> MessageDescriptor {
    DESCRIPTORS
        .get_message_by_name(&M::full_name())
        .expect("invariant: every generated message is in the descriptor set")
}

/// Decodes a body.
pub fn decode<M: Message + Name + Default>(content: ContentType, body: &Bytes) -> Result<M, DecodeError> {
    match content {
        ContentType::Protobuf => {
            let message = M::decode(body.clone()).map_err(|_| DecodeError::Protobuf(M::NAME))?;
            match required::missing(&descriptor::<M>(), body) {
                Ok(missing) if missing.is_empty() => Ok(message),
                _ => Err(DecodeError::Protobuf(M::NAME)),
            }
        }
        ContentType::Json => {
            let value = json::parse(body).map_err(DecodeError::Json)?;
            from_json(&value).map_err(|e| DecodeError::Convert(M::NAME, e))
        }
    }
}

/// Decodes a JSON value.
pub fn from_json<M: Message + Name + Default>(value: &Value) -> Result<M, json::JsonError> {
    let bytes = json::encode_value(&descriptor::<M>(), value)?;
    M::decode(bytes.as_slice()).map_err(|_| json::JsonError::custom("the message is nested too deeply"))
}

/// Encodes a message as a JSON value.
pub fn to_json<M: Message + Name>(message: &M) -> Value {
    let text = encode(ContentType::Json, message);
    serde_json::from_slice(&text).expect("invariant: the codec prints JSON")
}

/// Encodes a message.
pub fn encode<M: Message + Name>(content: ContentType, message: &M) -> Bytes {
    let bytes = message.encode_to_vec();
    match content {
        ContentType::Protobuf => bytes.into(),
        ContentType::Json => {
            let text = json::print(&descriptor::<M>(), &bytes);
            text.expect("invariant: prost encoded this message").into()
        }
    }
}
