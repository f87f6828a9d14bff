//! The kernel's wire formats: Mesos v1 messages in protobuf and in Mesos' JSON, RecordIO framing, our own messages
//! between agent and master, and their conversion to and from the values of `kernel-model`.
//!
//! Pure: bytes in, values out. Sockets belong to the shell. Each family of values has a file. Fields that the kernel
//! does not interpret stay encoded in the `extra` field of the value, so that nothing that a framework sent is lost.
//!
//! An absent optional field has its declared default: that is its meaning in proto2. A part that the message's type needs,
//! and bytes that do not decode, are errors.

pub mod codec;
#[allow(deprecated)] // deprecated fields are refused by name
pub mod container;
pub mod container_path;
#[allow(deprecated)] // deprecated fields are still sent and read
pub mod executor;
pub mod executor_api;
pub mod extra;
#[allow(deprecated)] // deprecated fields are still sent and read
pub mod framework;
pub mod json;
pub mod labels;
pub mod limits;
pub mod link;
pub mod offer;
pub mod offer_preferences;
mod offers_event;
pub mod operation;
pub mod operator;
pub mod quota;
pub mod record;
pub mod recordio;
pub mod required;
#[allow(deprecated)] // deprecated fields are still sent and read
pub mod resources;
pub mod scheduler_call;
pub mod scheduler_event;
pub mod supported;
pub mod task;
mod wirescan;
mod wirewrite;

/// The generated messages, a module per package.
#[allow(missing_docs, clippy::all)]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/protos.rs"));
}

pub use prost;
pub use proto::catamaran::link as link_proto;
pub use proto::mesos::v1;

use bytes::Bytes;
use prost::Message;

/// A message that decodes but is invalid; the text is a Mesos master's answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

impl Invalid {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Encodes the fields of a message that were not taken; empty if none are left.
pub(crate) fn encode_extra<M: Message + Default + PartialEq>(rest: &M) -> Bytes {
    if *rest == M::default() { Bytes::new() } else { rest.encode_to_vec().into() }
}

/// Decodes what [`encode_extra`] encoded. Values from elsewhere are validated before they are used: see [`extra`].
pub(crate) fn decode_extra<M: Message + Default>(extra: &Bytes) -> M {
    extra::decode(extra).expect("invariant: `extra` comes from `encode_extra` or was validated")
}

#[cfg(test)]
mod tests;
